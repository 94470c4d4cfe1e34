import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { Client as UrqlClient, fetchExchange } from "@urql/core";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";

import * as apollo from "../src/apollo.js";
import { idempotentFetch } from "../src/relay.js";
import * as urql from "../src/urql.js";
import { asks, document, executed, lost, opened, reopened } from "./opened.js";

const user = () => "ann";
const mutation = `mutation M($input: I!, $idempotencyKey: String! = "") {
  create(input: $input, idempotencyKey: $idempotencyKey) { id }
}`;

// What a gateway, or a server that is no GraphQL server, may answer.
const answers: Record<string, any> = {
  "errors that are text": { errors: "Unauthorized" },
  "errors that are an object": { errors: { message: "no" } },
  "an error that is null": { errors: [null] },
  "data that is text": { data: "no" },
  "a status that is text": { data: { create: {} }, extensions: { idempotency: { create: "EXECUTED" } } },
  "a status without a status": { data: { create: {} }, extensions: { idempotency: { create: {} } } },
};

test.each(Object.keys(answers))("%s: the outcome is unknown, and nobody waits", async (name) => {
  const { call } = opened();
  const first = await call("a");
  first.resolve(answers[name]);
  await asks(call("b"));
  expect((await call("a")).key).toBe(first.key);
});

describe("a server that answers with garbage holds no call up", () => {
  let server: Server;
  let url: string;
  let answer: string;
  beforeAll(async () => {
    server = createServer((request, response) => {
      request.resume();
      response.setHeader("Content-Type", "application/json").end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  const retries = { attempts: 2, initialDelayMs: 1 };
  const clients: Record<string, () => (name: string) => Promise<unknown>> = {
    "Apollo Client": () => {
      const link = ApolloLink.from([apollo.idempotencyLink(), apollo.retryKeyed(retries), new HttpLink({ uri: url })]);
      const client = new ApolloClient({ link, cache: new InMemoryCache() });
      return (name) =>
        client.mutate({ mutation: gql(mutation), variables: { input: { name } }, context: { intent: "i" }, fetchPolicy: "no-cache" });
    },
    urql: () => {
      const exchanges = [urql.idempotencyExchange(), urql.retryKeyed(retries), fetchExchange];
      const client = new UrqlClient({ url, exchanges, preferGetMethod: false });
      return (name) => client.mutation(mutation, { input: { name } }, { intent: "i" }).toPromise();
    },
    Relay: () => relayOf(mutation),
    "Relay, persisted": () => relayOf(null),
  };
  function relayOf(text: string | null) {
    const send = async ({ text }: any, variables: object) =>
      (await fetch(url, { method: "POST", body: JSON.stringify({ query: text, variables }) })).json();
    const keyed: any = idempotentFetch(send, { retry: retries });
    const request = { name: "M", operationKind: "mutation", text };
    return async (name: string) => keyed(request, { input: { name }, idempotencyKey: "" }, { metadata: { intent: "i" } });
  }
  test.each(Object.keys(clients).flatMap((client) => Object.keys(answers).map((name) => [client, name] as const)))(
    "%s: %s",
    { timeout: 10_000 },
    async (client, name) => {
      answer = JSON.stringify(answers[name]);
      const mutate = clients[client]!();
      await mutate("a").catch(() => {});
      await mutate("b").catch(() => {});
    },
  );
});

test("a link that throws holds no call up", async () => {
  const link = ApolloLink.from([
    apollo.idempotencyLink(),
    new ApolloLink(() => {
      throw Error("broken");
    }),
  ]);
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  const mutate = (name: string) =>
    client.mutate({ mutation: gql(mutation), variables: { input: { name } }, context: { intent: "i", onPayloadChange: "newKey" } });
  await expect(mutate("a")).rejects.toThrow("broken");
  await expect(mutate("b")).rejects.toThrow("broken");
});

describe("what a store has", () => {
  const values = [
    { until: 9e15 },
    { until: "x", sentAt: "x", keys: ["k"] },
    { until: 9e15, sentAt: 1, keys: null },
    { until: 9e15, sentAt: 1, keys: "k" },
    { until: 9e15, sentAt: 1, keys: [null] },
    { until: 9e15, keys: ["k"] },
  ];
  test.each(values)("that is no submission is none: %j", async (value) => {
    const map = new Map<string, string>();
    const page = () => opened({ store: reopened(map), user });
    await page().call("a");
    for (const name of map.keys()) map.set(name, JSON.stringify(value));
    await page().call("b");
  });

  test("of others does not stop a queue's call from settling", async () => {
    const map = new Map([["session", `{"until":9e15}`]]);
    const first = await opened({ store: reopened(map), user }).call("a");
    const { open } = opened({ store: reopened(map), user });
    const again = await open(document, { input: { name: "a" }, idempotencyKey: first.key }, {});
    again.resolve(executed);
    await vi.waitFor(() => expect([...map.keys()]).toEqual(["session"]));
  });

  test("is found again where maxAge is Infinity", async () => {
    const map = new Map<string, string>();
    const page = () => opened({ store: reopened(map), user, maxAge: Infinity });
    const first = await page().call("a");
    expect((await page().call("a")).key).toBe(first.key);
  });
});

describe("a clock that is set back", () => {
  afterEach(() => void vi.useRealTimers());
  const day = 86_400_000;

  test("makes no settled call last", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { call } = opened();
    const first = await call("a");
    first.resolve(executed);
    vi.setSystemTime(Date.now() - day);
    expect((await call("a")).key).not.toBe(first.key);
  });

  test("by less than settleFor makes no double click two calls", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { call } = opened();
    const first = await call("a");
    first.resolve(executed);
    vi.setSystemTime(Date.now() - 100);
    expect((await call("a")).key).toBe(first.key);
  });

  test("by days asks, since nobody knows how old the key is", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { call } = opened();
    (await call("a")).resolve(lost);
    vi.setSystemTime(Date.now() - 10 * day);
    await asks(call("a"));
  });
});
