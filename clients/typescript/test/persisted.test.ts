import { createHash, randomUUID } from "node:crypto";

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { expect, test } from "vitest";

import { idempotencyLink, retryKeyed } from "../src/apollo.js";
import { createProject } from "./clients.js";
import { effects, server } from "./server.js";

test("Apollo's persisted-query link sends the document once it is told that hashes are not served", async () => {
  const sent: { query?: string; variables: { idempotencyKey: string } }[] = [];
  const http = new HttpLink({
    uri: server + "/graphql",
    fetch: (url, init) => {
      sent.push(JSON.parse(init?.body as string));
      return fetch(url, init);
    },
  });
  const persisted = new PersistedQueryLink({ sha256: (text: string) => createHash("sha256").update(text).digest("hex") });
  const client = new ApolloClient({
    link: ApolloLink.from([idempotencyLink(), retryKeyed(), persisted, http]),
    cache: new InMemoryCache(),
  });
  const name = "persisted " + randomUUID();
  for (const _ of [1, 2]) await client.mutate({ mutation: gql(createProject), variables: { input: { name } } });
  expect(sent.map(({ query }) => query !== undefined)).toEqual([false, true, true]);
  expect(sent[0]?.variables.idempotencyKey).toBe(sent[1]?.variables.idempotencyKey);
  expect(await effects(name)).toBe(2);
});
