// Checked by TypeScript alone: every entry has its types, and none of them is `any`.
import { ApolloClient, ApolloLink, type DefaultContext, HttpLink, InMemoryCache } from "@apollo/client";
import { type Answer, keyedCalls, keyedFields, newKey, retryDelay, UnsettledError } from "@onceql/client";
import * as apollo from "@onceql/client/apollo";
import * as apolloReact from "@onceql/client/apollo/react";
import { idempotencyKeys } from "@onceql/client/codegen";
import * as relay from "@onceql/client/relay";
import { localStore, sessionStore } from "@onceql/client/stores";
import * as urql from "@onceql/client/urql";
import * as urqlReact from "@onceql/client/urql/react";
import { Client, fetchExchange, type OperationContext } from "@urql/core";
import { parse } from "graphql";
import { type FetchFunction, Network } from "relay-runtime";

const user = () => "ann";
const options: apollo.Options & urql.Options = { store: sessionStore(), user, onOutcome: ({ outcome }) => void (outcome satisfies string) };

export const apolloClient = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.from([apollo.idempotencyLink(options), apollo.retryKeyed({ attempts: 3 }), new HttpLink({ uri: "/graphql" })]),
});
export const apolloContext: DefaultContext = { intent: "create", onPayloadChange: "newKey" };
// @ts-expect-error An intent is a name.
export const noContext: DefaultContext = { intent: 1 };
// @ts-expect-error What outlives the page has to know whose it is.
apollo.idempotencyLink({ store: localStore() });
// @ts-expect-error A link is no exchange.
urql.idempotencyExchange().request;

export const urqlClient = new Client({
  url: "/graphql",
  preferGetMethod: false,
  exchanges: [urql.idempotencyExchange(options), urql.retryKeyed({ attempts: 3 }), fetchExchange],
});
export const urqlContext: Partial<OperationContext> = { intent: "create" };
// @ts-expect-error An intent is a name.
export const noIntent: Partial<OperationContext> = { intent: 1 };

const fetchRelay: FetchFunction = async () => ({ data: {} });
export const network = Network.create(relay.idempotentFetch(fetchRelay, { ...options, retry: { attempts: 3 } }));
// @ts-expect-error It takes a function.
relay.idempotentFetch("/graphql");

export async function call(answer: Answer): Promise<number | undefined> {
  const document = parse("{ a }");
  try {
    const call = await keyedCalls({ store: new Map<string, string>(), user })(document, { key: newKey() }, {});
    call.resolve(answer);
  } catch (error) {
    if (error instanceof UnsettledError || error instanceof apollo.UnsettledError || error instanceof urql.UnsettledError) {
      return error.keys.length + error.sentAt.getTime();
    }
  }
  // @ts-expect-error It is a number, where it is one.
  retryDelay(1, {}) satisfies string;
  return retryDelay(keyedFields(document).length, {});
}

export function useHooks(): (Date | undefined)[] {
  const [create, { unsettled }] = apolloReact.useIdempotentMutation(parse("mutation { a }"), { intent: "create", errorPolicy: "all" });
  // @ts-expect-error A result is no array.
  create({}).then((result) => result.length);
  const [rename, state] = urqlReact.useIdempotentMutation("mutation { a }", { intent: "rename" });
  // @ts-expect-error Neither is this one.
  rename({}).then((result) => result.length);
  // @ts-expect-error An intent is a name.
  urqlReact.useIdempotentMutation("mutation { a }", { intent: 1 });
  return [unsettled?.sentAt, state.unsettled?.sentAt];
}

export const config = { documentTransforms: [idempotencyKeys] };
// @ts-expect-error It is no string.
idempotencyKeys satisfies string;
