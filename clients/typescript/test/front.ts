// The page of the tests in a browser: the clients of clients.ts, at the page's origin.
import { Client, fetchExchange, mapExchange } from "@urql/core";
import { offlineExchange } from "@urql/exchange-graphcache";
import { makeDefaultStorage } from "@urql/exchange-graphcache/default-storage";

import { localStore, sessionStore } from "../src/stores.js";
import { idempotencyExchange, retryKeyed } from "../src/urql.js";
import { bare, createProject, helped, type Seen } from "./clients.js";

const stores = { memory: () => undefined, session: sessionStore, local: localStore };
const open = new Map<string, ReturnType<(typeof helped)[string]>>();

const seen: Seen[] = [];

export const front = {
  /** Sends createProject through a client of helped, or of bare when there is no store. */
  create(client: string, name: string, store?: keyof typeof stores, intent = "create"): Promise<Seen> {
    const id = `${client}/${store}`;
    if (!open.has(id)) {
      const options = store && store !== "memory" ? { store: stores[store](), user: () => "ann" } : {};
      open.set(id, (store ? helped : bare)[client]!(location.origin, options));
    }
    return open.get(id)!.mutate(createProject, { input: { name } }, store ? { intent } : {});
  },

  /** Shows a button that creates a project with each click. */
  showButton(client: string, name: string, store?: keyof typeof stores): void {
    const button = document.createElement("button");
    button.textContent = "Create";
    button.onclick = () => void front.create(client, name, store).then((one) => seen.push(one));
    document.body.append(button);
  },

  /** What the clicks have brought so far. */
  seen: (): Seen[] => seen,

  /**
   * Opens urql's offline queue, as an app does when it starts, above the helper or
   * above a key for each try. What is left in it is sent.
   */
  async startOffline(withHelper: boolean): Promise<void> {
    await new Promise<void>((onCacheHydrated) => {
      const queue = offlineExchange({
        storage: makeDefaultStorage({ onCacheHydrated }),
        optimistic: {
          createProject: () => ({ __typename: "CreateProjectPayload", project: { __typename: "Project", id: "new", name: "" } }),
        },
      });
      const keyed = withHelper ? [idempotencyExchange(), retryKeyed({ attempts: 2, initialDelayMs: 10, offlineMs: 0 })] : [newKeys];
      offline = new Client({ url: location.origin + "/graphql", preferGetMethod: false, exchanges: [queue, ...keyed, fetchExchange] });
    });
  },

  createOffline(name: string): void {
    void offline.mutation(createProject, { input: { name } }).toPromise();
  },
};

let offline: Client;

const newKeys = mapExchange({
  onOperation: (operation) => ({ ...operation, variables: { ...operation.variables, idempotencyKey: crypto.randomUUID() } }),
});

Object.assign(window, { front });
