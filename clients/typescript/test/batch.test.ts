import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, InMemoryCache } from "@apollo/client";
import { BatchHttpLink } from "@apollo/client/link/batch-http";
import { expect, test } from "vitest";

import { idempotencyLink } from "../src/apollo.js";
import { createProject } from "./clients.js";
import { server } from "./server.js";

test("a batch of Apollo's is refused with BAD_USER_INPUT", async () => {
  const link = ApolloLink.from([idempotencyLink(), new BatchHttpLink({ uri: server + "/graphql" })]);
  const client = new ApolloClient({ cache: new InMemoryCache(), link });
  const { error } = await client.mutate({
    mutation: gql(createProject),
    variables: { input: { name: "in a batch" } },
    errorPolicy: "all",
  });
  expect(CombinedGraphQLErrors.is(error) && error.errors).toMatchObject([
    { message: "the body must be one JSON object; batches are not served", extensions: { code: "BAD_USER_INPUT", retryable: false } },
  ]);
});
