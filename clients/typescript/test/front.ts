// The page of the tests in a browser: the clients of clients.ts, at the page's origin.
import { Client, fetchExchange, mapExchange } from "@urql/core";
import { offlineExchange } from "@urql/exchange-graphcache";
import { makeDefaultStorage } from "@urql/exchange-graphcache/default-storage";
import { retryExchange } from "@urql/exchange-retry";

import { localStore, sessionStore } from "../src/stores.js";
import { idempotencyExchange, retryKeyed } from "../src/urql.js";
import { bare, createProject, helped, type Seen } from "./clients.js";

const stores = { memory: () => undefined, session: sessionStore, local: localStore };
const open = new Map<string, ReturnType<(typeof helped)[string]>>();

export const front = {
  /** Sends createProject through a client of helped, or of bare when there is no store. */
  create(client: string, name: string, store?: keyof typeof stores, intent = "create"): Promise<Seen> {
    const id = `${client}/${store}`;
    if (!open.has(id)) {
      const options = store && store !== "memory" ? { store: stores[store](), user: () => "ann" } : {};
      open.set(id, (store ? helped : bare)[client]!(location.origin, options));
    }
    return open.get(id)!.mutate(createProject, { input: { name } }, { intent });
  },

  /** Sends it through urql's offline queue, above the helper or above a key for each try. */
  createOffline(name: string, withHelper: boolean): void {
    void offline(withHelper).mutation(createProject, { input: { name } }).toPromise();
  },

  /** Opens the offline queue, as an app does when it starts. */
  startOffline(withHelper: boolean): void {
    offline(withHelper);
  },
};

let queue: Client | undefined;

function offline(withHelper: boolean): Client {
  const keyed = withHelper
    ? idempotencyExchange()
    : mapExchange({ onOperation: (operation) => ({ ...operation, variables: { ...operation.variables, idempotencyKey: crypto.randomUUID() } }) });
  return (queue ??= new Client({
    url: location.origin + "/graphql",
    preferGetMethod: false,
    exchanges: withHelper
      ? [queueExchange(), keyed, retryExchange(retryKeyed({ attempts: 2, initialDelayMs: 10 })), fetchExchange]
      : [queueExchange(), keyed, fetchExchange],
  }));
}

function queueExchange() {
  return offlineExchange({
    storage: makeDefaultStorage(),
    optimistic: { createProject: () => ({ __typename: "CreateProjectPayload", project: { __typename: "Project", id: "new", name: "" } }) },
  });
}

Object.assign(window, { front });
