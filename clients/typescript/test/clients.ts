import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { RetryLink } from "@apollo/client/link/retry";
import { Client as UrqlClient, fetchExchange, mapExchange } from "@urql/core";
import { retryExchange } from "@urql/exchange-retry";
import { parse } from "graphql";

import * as apollo from "../src/apollo.js";
import { type Answer, type AnswerError, type CallContext, keyedCalls, keyedFields, type Options, retryDelay } from "../src/index.js";
import * as urql from "../src/urql.js";

/** What a front end has of a mutation. */
export interface Seen {
  ids: string[];
  statuses: string[];
  /** The code of the first GraphQL error, or the name of another. */
  error?: string | undefined;
}

/** A front end's client. */
export interface TestClient {
  mutate(document: string, variables: object, context?: CallContext): Promise<Seen>;
}

export const createProject = `mutation Create($input: CreateProjectInput!, $idempotencyKey: String! = "") {
  createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id name } }
}`;

// Short waits: it is the number of tries that the tests are about.
const retries = { initialDelayMs: 10, maxDelayMs: 50, offlineMs: 100 };

function seen(data: any, extensions: any, errors: readonly AnswerError[] = [], other?: Error): Seen {
  const [error] = errors;
  return {
    ids: Object.values<any>(data ?? {}).flatMap((payload) => payload?.project.id ?? []),
    statuses: Object.values<any>(extensions?.idempotency ?? {}).map(({ status }) => status),
    error: error?.extensions?.code ?? other?.name,
  };
}

function apolloOver(links: ApolloLink[]): TestClient {
  const client = new ApolloClient({ link: ApolloLink.from(links), cache: new InMemoryCache() });
  return {
    async mutate(document, variables, context) {
      const { data, error, extensions } = await client.mutate({
        mutation: gql(document),
        variables,
        context: context ?? {},
        errorPolicy: "all",
      });
      return CombinedGraphQLErrors.is(error) ? seen(data, error.extensions, error.errors) : seen(data, extensions, [], error);
    },
  };
}

function urqlOver(url: string, exchanges: ConstructorParameters<typeof UrqlClient>[0]["exchanges"]): TestClient {
  const client = new UrqlClient({ url: url + "/graphql", exchanges, preferGetMethod: false });
  return {
    async mutate(document, variables, context) {
      const { data, error, extensions } = await client.mutation(document, variables, context).toPromise();
      return seen(data, extensions, error?.graphQLErrors, error?.networkError);
    },
  };
}

/** The helper of docs/clients/fetch.md for a client that has none, with its waits as an option. */
function fetchOver(url: string, open: ReturnType<typeof keyedCalls>, most = 6): TestClient {
  async function mutate(
    query: string,
    variables: Record<string, unknown>,
    context: CallContext = {},
    signal?: AbortSignal,
  ): Promise<Answer & { data?: unknown; name?: string | undefined }> {
    const document = parse(query);
    const call = await open(document, variables, context, signal);
    const body = JSON.stringify({ query, variables: call.variables });
    const attempts = keyedFields(document).length ? most : 1;
    for (let attempt = 1; ; attempt++) {
      if (!call.isSignedIn()) {
        call.resolve({});
        throw new Error("another user has signed in");
      }
      let answer: Answer & { data?: unknown } = {};
      let response: Response | undefined;
      let name: string | undefined;
      try {
        const timeout = AbortSignal.timeout(15_000);
        response = await fetch(url + "/graphql", {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body,
          signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
        });
        const json = await response.json();
        if (!json?.data && !json?.errors) throw new Error(`HTTP ${response.status}`);
        answer = json;
      } catch (error) {
        ({ name } = error as Error);
      }
      const failed = name !== undefined || answer.errors;
      const delay = failed ? retryDelay(attempt, { ...answer, response, name, signal }, { ...retries, attempts }) : undefined;
      if (delay === undefined) {
        call.resolve(answer);
        return { ...answer, name };
      }
      await new Promise((resolve) => {
        setTimeout(resolve, delay);
        signal?.addEventListener("abort", resolve);
      });
    }
  }
  return {
    async mutate(document, variables, context) {
      try {
        const { data, extensions, errors, name } = await mutate(document, variables as Record<string, unknown>, context);
        return seen(data, extensions, errors, name ? new Error(name) : undefined);
      } catch (error) {
        return seen(undefined, undefined, [], error as Error);
      }
    },
  };
}

/** The clients with the helpers, by name. */
export const helped: Record<string, (url: string, options?: Options) => TestClient> = {
  "Apollo Client": (url, options) =>
    apolloOver([apollo.idempotencyLink(options), apollo.retryKeyed(retries), new HttpLink({ uri: url + "/graphql" })]),
  urql: (url, options) => urqlOver(url, [urql.idempotencyExchange(options), urql.retryKeyed(retries), fetchExchange]),
  fetch: (url, options) => fetchOver(url, keyedCalls(options)),
};

/** The same clients with retries of their own, or of their user, and a key made where each request is. */
export const bare: typeof helped = {
  "Apollo Client": (url) =>
    apolloOver([
      new RetryLink({ delay: { initial: 10 } }),
      new ApolloLink((operation, forward) => {
        operation.variables = { ...operation.variables, idempotencyKey: crypto.randomUUID() };
        return forward(operation);
      }),
      new HttpLink({ uri: url + "/graphql" }),
    ]),
  urql: (url) =>
    urqlOver(url, [
      retryExchange({ initialDelayMs: 10, maxNumberAttempts: 6 }),
      mapExchange({
        onOperation: (operation) => ({ ...operation, variables: { ...operation.variables, idempotencyKey: crypto.randomUUID() } }),
      }),
      fetchExchange,
    ]),
  fetch: (url) => fetchOver(url, keyedCalls(), 1),
};
