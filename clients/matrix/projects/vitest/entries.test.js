import * as ApolloClient from "@apollo/client";
import * as client from "@onceql/client";
import * as apollo from "@onceql/client/apollo";
import * as codegen from "@onceql/client/codegen";
import * as stores from "@onceql/client/stores";
import * as urql from "@onceql/client/urql";
import * as urqlCore from "@urql/core";
import * as urqlRetry from "@urql/exchange-retry";
import * as graphql from "graphql";
import { expect, test } from "vitest";

import exercise from "./exercise.cjs";

test("both clients", async () => {
  const entries = { client, apollo, urql, stores, codegen };
  const options = { url: process.env.ENDPOINT, name: process.env.NAME };
  const outcomes = await exercise(entries, { ApolloClient, urqlCore, urqlRetry, graphql }, options);
  expect(outcomes).toEqual(["apollo replayed", "urql replayed"]);
});
