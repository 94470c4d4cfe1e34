// The clients' hooks as one, for the tests of what they have in common.
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { ApolloProvider } from "@apollo/client/react";
import { Client as UrqlClient, fetchExchange } from "@urql/core";
import { createElement, type ReactNode } from "react";
import { Provider as UrqlProvider } from "urql";

import * as apollo from "../src/apollo.js";
import * as apolloReact from "../src/apollo-react.js";
import type { Options } from "../src/index.js";
import type { IntentState } from "../src/react.js";
import * as urql from "../src/urql.js";
import * as urqlReact from "../src/urql-react.js";
import { createProject } from "./clients.js";

/** How a call failed: a GraphQL error's code, or another error's name. */
export type Sent = { error?: string | undefined };
/** What a call says beside the project's name. */
export interface Saying {
  onPayloadChange?: "newKey";
  signal?: AbortSignal;
  /** A key of the caller's own. */
  idempotencyKey?: string;
}
export type Hook = (intent: string) => [mutate: (name: string, saying?: Saying) => Promise<Sent>, state: IntentState];

/** A front end's client, its provider and its hook, which creates projects. */
export interface ReactClient {
  provide(children: ReactNode): ReactNode;
  /** A call of the intent that no hook knows of. */
  mutate(name: string, intent: string): Promise<unknown>;
}

const retries = { attempts: 3, initialDelayMs: 10, maxDelayMs: 50 };
const document = gql(createProject);

export const reactClients: Record<string, { make(url: string, options?: Options | null): ReactClient; useCreate: Hook }> = {
  "Apollo Client": {
    make(url, options) {
      const links = [apollo.retryKeyed(retries), new HttpLink({ uri: url + "/graphql" })];
      if (options !== null) links.unshift(apollo.idempotencyLink(options));
      // What an app may have set, and have declared.
      const defaultOptions: any = { query: { errorPolicy: "all" } };
      const client = new ApolloClient({ link: ApolloLink.from(links), cache: new InMemoryCache(), defaultOptions });
      return {
        provide: (children) => createElement(ApolloProvider, { client, children }),
        mutate: (name, intent) =>
          client.mutate({ mutation: document, variables: { input: { name } }, context: { intent }, errorPolicy: "all" }),
      };
    },
    useCreate(intent) {
      const [create, state] = apolloReact.useIdempotentMutation(document, { intent });
      return [
        (name, { onPayloadChange, signal, ...key } = {}) =>
          create({ input: { name }, ...key }, { onPayloadChange, signal }).then(
            () => ({}),
            (error) => ({ error: CombinedGraphQLErrors.is(error) ? `${error.errors[0]!.extensions!.code}` : error.name }),
          ),
        state,
      ];
    },
  },
  urql: {
    make(url, options) {
      const exchanges = [urql.retryKeyed(retries), fetchExchange];
      if (options !== null) exchanges.unshift(urql.idempotencyExchange(options));
      const client = new UrqlClient({ url: url + "/graphql", exchanges, preferGetMethod: false });
      return {
        provide: (children) => createElement(UrqlProvider, { value: client, children }),
        mutate: (name, intent) => client.mutation(document, { input: { name } }, { intent }).toPromise(),
      };
    },
    useCreate(intent) {
      const [create, state] = urqlReact.useIdempotentMutation(document, { intent });
      return [
        async (name, { onPayloadChange, signal, ...key } = {}) => {
          const { error } = await create({ input: { name }, ...key }, { onPayloadChange, signal });
          return { error: error?.graphQLErrors[0] ? `${error.graphQLErrors[0].extensions.code}` : error?.networkError?.name };
        },
        state,
      ];
    },
  },
};
