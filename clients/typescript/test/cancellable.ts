import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { Client as UrqlClient, createRequest, fetchExchange, makeOperation } from "@urql/core";
import { subscribe } from "wonka";

import * as apollo from "../src/apollo.js";
import type { Options, RetryOptions } from "../src/index.js";
import * as urql from "../src/urql.js";
import { createProject } from "./clients.js";

export interface Sending {
  /** What the caller's promise came to: a status, or what it was rejected with. */
  ended: Promise<{ status?: string; error?: any }>;
  /** Leaves, as a component does that goes away. */
  leave: () => void;
}

export interface Cancellable {
  create(input: object, context?: { intent?: string; signal?: AbortSignal | undefined }): Sending;
}

// No time is random: what waits as long as something else comes after it.
const retries: RetryOptions = { initialDelayMs: 0, timeoutMs: 30_000 };

/** The clients by name. */
export const cancellable: Record<string, (url: string, options?: RetryOptions & Options) => Cancellable> = {
  "Apollo Client": (url, options = {}) => {
    const links = [apollo.idempotencyLink(options), apollo.retryKeyed({ ...retries, ...options }), new HttpLink({ uri: url })];
    const client = new ApolloClient({ link: ApolloLink.from(links), cache: new InMemoryCache() });
    return {
      create(input, { intent, signal } = {}) {
        const call = ApolloLink.execute(
          client.link,
          { query: gql(createProject), variables: { input }, context: { intent, fetchOptions: { signal } } },
          { client },
        );
        let leave = () => {};
        const ended = new Promise<{ status?: string; error?: any }>((resolve) => {
          const subscription = call.subscribe({
            next: ({ extensions }: any) => resolve({ status: extensions?.idempotency?.createProject?.status }),
            error: (error) => resolve({ error }),
          });
          leave = () => subscription.unsubscribe();
        });
        return { ended, leave };
      },
    };
  },
  urql: (url, options = {}) => {
    const client = new UrqlClient({
      url,
      preferGetMethod: false,
      exchanges: [urql.idempotencyExchange(options), urql.retryKeyed({ ...retries, ...options }), fetchExchange],
    });
    return {
      create(input, { intent, signal } = {}) {
        const operation = client.createRequestOperation("mutation", createRequest(createProject, { input }), {
          intent,
          fetchOptions: () => ({ signal: signal ?? null }),
        });
        const ended = new Promise<{ status?: string; error?: any }>((resolve) => {
          subscribe(({ error, extensions }: any) =>
            resolve(error ? { error: error.networkError ?? error } : { status: extensions?.idempotency?.createProject?.status }),
          )(client.executeRequestOperation(operation));
        });
        return { ended, leave: () => client.reexecuteOperation(makeOperation("teardown", operation)) };
      },
    };
  },
};
