import { ApolloClient, ApolloLink, gql, InMemoryCache, ServerError } from "@apollo/client";
import { BatchHttpLink } from "@apollo/client/link/batch-http";
import { expect, test } from "vitest";

import { idempotencyLink } from "../src/apollo.js";
import { createProject } from "./clients.js";
import { server } from "./server.js";

test("a batch of Apollo's is refused with BAD_USER_INPUT", async () => {
  const link = ApolloLink.from([idempotencyLink(), new BatchHttpLink({ uri: server + "/graphql" })]);
  const client = new ApolloClient({ cache: new InMemoryCache(), link });
  const refused = await client.mutate({ mutation: gql(createProject), variables: { input: { name: "batch" } } }).catch((error) => error);
  expect(refused).toBeInstanceOf(ServerError);
  expect(refused.statusCode).toBe(400);
  expect(JSON.parse(refused.bodyText).errors[0].extensions).toMatchObject({ code: "BAD_USER_INPUT", retryable: false });
});
