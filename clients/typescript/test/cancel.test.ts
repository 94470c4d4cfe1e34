import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";

import * as apollo from "../src/apollo.js";
import type { Options, Outcome, Retry, RetryOptions } from "../src/index.js";
import { cancellable, type Cancellable } from "./cancellable.js";
import { createProject } from "./clients.js";
import { isMutation, Proxy } from "./proxy.js";
import { effects, server } from "./server.js";

let proxy: Proxy;
let name: string;
beforeAll(async () => void (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  proxy.reset();
});

const clients = Object.keys(cancellable);
const clientOf = (client: string, options?: Options & RetryOptions, url = proxy.url + "/graphql") => cancellable[client]!(url, options);

const mutations = () => proxy.arrived.filter(({ query }) => isMutation(query)).length;

/** A user's other call that waits as long as the first one would have, and longer: what was to be sent has been. */
async function passPause(create: Cancellable["create"]): Promise<void> {
  proxy.faults = ["retryable"];
  const before = mutations();
  expect(await create({ name: "later " + name }).ended).toEqual({ status: "REPLAYED" });
  expect(mutations() - before).toBe(2);
}

const reasons: { how: string; abort: (controller: AbortController) => void; error: object }[] = [
  { how: "abort()", abort: (controller) => controller.abort(), error: { name: "AbortError" } },
  { how: "abort(error)", abort: (controller) => controller.abort(new TypeError("the user left")), error: { message: "the user left" } },
  { how: "abort(string)", abort: (controller) => controller.abort("left"), error: "left" as any },
  {
    how: "a signal's time-out",
    abort: (controller) => controller.abort(new DOMException("", "TimeoutError")),
    error: { name: "TimeoutError" },
  },
];

const told = (error: any) => (typeof error === "string" ? error : expect.objectContaining(error));

describe.each(clients)("%s: after an abort nothing is sent", (client) => {
  const retried: Retry[] = [];
  let whenRetrying = () => {};
  const options = { onRetry: (retry: Retry) => (retried.push(retry), whenRetrying()), store: new Map<string, string>(), user: () => "ann" };
  beforeEach(() => {
    retried.length = 0;
    whenRetrying = () => {};
  });

  /** Whether the intent asks before it sends another payload. */
  const asks = async (create: Cancellable["create"]) =>
    (await create({ name, description: "edited" }, { intent: name }).ended).error?.name === "UnsettledError";

  describe.each(reasons)("$how", ({ abort, error }) => {
    test("before the call", async () => {
      const { create } = clientOf(client, options);
      const controller = new AbortController();
      abort(controller);
      expect(await create({ name }, { intent: name, signal: controller.signal }).ended).toEqual({ error: told(error) });
      expect(mutations()).toBe(0);
      expect(await asks(create)).toBe(false);
      expect(await effects(name)).toBe(1);
    });

    test("while a slow store has its key", async () => {
      const store = { get: () => {}, set: () => {}, delete: () => {} } as any;
      let stored = () => {};
      const asked = new Promise<void>((resolve) => {
        store.get = () => new Promise<void>((answer) => ((stored = answer), resolve()));
      });
      const { create } = clientOf(client, { ...options, store });
      const controller = new AbortController();
      const { ended } = create({ name }, { intent: name, signal: controller.signal });
      await asked;
      abort(controller);
      expect(await ended).toEqual({ error: told(error) });
      store.get = () => undefined;
      stored();
      expect(await asks(create)).toBe(false);
      expect(mutations()).toBe(1);
    });

    test("while another call of the intent is in flight", async () => {
      const { create } = clientOf(client, options);
      const controller = new AbortController();
      proxy.faults = ["hang"];
      const first = create({ name }, { intent: name });
      await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
      const { ended } = create({ name, description: "edited" }, { intent: name, signal: controller.signal });
      setTimeout(() => abort(controller));
      expect(await ended).toEqual({ error: told(error) });
      first.leave();
      expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
      expect(mutations()).toBe(2);
    });

    test("in flight", async () => {
      const { create } = clientOf(client, options);
      const controller = new AbortController();
      proxy.faults = ["hang"];
      const { ended } = create({ name }, { intent: name, signal: controller.signal });
      await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
      abort(controller);
      expect(await ended).toEqual({ error: told(error) });
      await expect.poll(() => proxy.hanging, { timeout: 30_000 }).toBe(0);
      await passPause(create);
      expect(mutations()).toBe(3);
      expect(await asks(create)).toBe(true);
      expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
      expect(await effects(name)).toBe(1);
    });

    test("in the pause", async () => {
      const { create } = clientOf(client, options);
      const controller = new AbortController();
      proxy.faults = ["retryable"];
      whenRetrying = () => setTimeout(() => abort(controller));
      expect(await create({ name }, { intent: name, signal: controller.signal }).ended).toEqual({ error: told(error) });
      whenRetrying = () => {};
      await passPause(create);
      expect(mutations()).toBe(3);
      expect(await asks(create)).toBe(true);
      expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
    });

    test("during the second try", async () => {
      const { create } = clientOf(client, options);
      const controller = new AbortController();
      proxy.faults = ["cutBefore", "hang"];
      const { ended } = create({ name }, { intent: name, signal: controller.signal });
      await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
      abort(controller);
      expect(await ended).toEqual({ error: told(error) });
      await passPause(create);
      expect(mutations()).toBe(4);
      expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
      expect(await effects(name)).toBe(1);
    });
  });

  test("AbortSignal.timeout in a long pause", async () => {
    const { create } = clientOf(client, options);
    proxy.faults = ["unavailable"];
    proxy.retryAfter = "60";
    const { ended } = create({ name }, { intent: name, signal: AbortSignal.timeout(1000) });
    expect(await ended).toEqual({ error: expect.objectContaining({ name: "TimeoutError" }) });
    expect(retried).toMatchObject([{ attempt: 1, delayMs: 60_000, keys: [expect.any(String)] }]);
    expect(mutations()).toBe(1);
  });

  test("leaving in flight ends the request, and the key is kept", async () => {
    const { create } = clientOf(client, options);
    proxy.faults = ["hang"];
    const { leave } = create({ name }, { intent: name });
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    leave();
    await expect.poll(() => proxy.hanging, { timeout: 30_000 }).toBe(0);
    expect(await asks(create)).toBe(true);
    expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
    expect(mutations()).toBe(2);
  });

  test("leaving in the pause", async () => {
    const { create } = clientOf(client, options);
    proxy.faults = ["retryable"];
    const { leave } = create({ name }, { intent: name });
    await new Promise<void>((resolve) => (whenRetrying = resolve));
    leave();
    whenRetrying = () => {};
    await passPause(create);
    expect(mutations()).toBe(3);
    expect(await create({ name }, { intent: name }).ended).toEqual({ status: "REPLAYED" });
    expect(await effects(name)).toBe(1);
  });

  test("leaving before it is sent", async () => {
    const { create } = clientOf(client, options);
    create({ name }, { intent: name }).leave();
    await passPause(create);
    expect(mutations()).toBe(2);
    expect(await asks(create)).toBe(false);
  });

  test("one of two calls with the same variables leaves the other alone", async () => {
    const { create } = clientOf(client, options);
    const controller = new AbortController();
    proxy.faults = ["hang", "slow"];
    const { ended } = create({ name }, { intent: name, signal: controller.signal });
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    const other = create({ name }, { intent: name });
    await expect.poll(mutations, { timeout: 30_000 }).toBe(2);
    controller.abort();
    expect(await ended).toEqual({ error: expect.objectContaining({ name: "AbortError" }) });
    expect(await other.ended).toEqual({ status: "REPLAYED" });
    expect(await effects(name)).toBe(1);
  });
});

describe.each(clients)("%s: time", (client) => {
  test("a try without an answer is ended, and the next has the same key", async () => {
    const retried: Retry[] = [];
    const outcomes: Outcome[] = [];
    const onOutcome = (outcome: Outcome) => outcomes.push(outcome);
    const { create } = clientOf(client, { timeoutMs: 1000, onRetry: (retry) => retried.push(retry), onOutcome });
    proxy.faults = ["hang"];
    expect(await create({ name }).ended).toEqual({ status: "REPLAYED" });
    await expect.poll(() => proxy.hanging, { timeout: 30_000 }).toBe(0);
    expect(retried).toMatchObject([{ attempt: 1, error: { name: "TimeoutError" }, keys: [outcomes[0]!.key] }]);
    expect(proxy.arrived.map(({ variables }) => variables.idempotencyKey)).toEqual([outcomes[0]!.key, outcomes[0]!.key]);
    expect(await effects(name)).toBe(1);
  });

  test("a server that never answers is told as a time-out after the last try", async () => {
    const { create } = clientOf(client, { timeoutMs: 500, attempts: 2 });
    proxy.faults = ["hang", "hang"];
    const signal = new AbortController().signal;
    expect(await create({ name }, { signal }).ended).toEqual({ error: expect.objectContaining({ name: "TimeoutError" }) });
    expect(mutations()).toBe(2);
  });

  test("no time-out is none", async () => {
    const { create } = clientOf(client, { timeoutMs: Infinity });
    proxy.faults = ["slow"];
    expect(await create({ name }).ended).toEqual({ status: "EXECUTED" });
    expect(mutations()).toBe(1);
  });

  test("what onRetry throws is told, and the call goes on", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    const thrown = new Error("mine");
    const onRetry = () => {
      throw thrown;
    };
    const { create } = clientOf(client, { onRetry });
    proxy.faults = ["retryable"];
    expect(await create({ name }).ended).toEqual({ status: "REPLAYED" });
    expect(error.mock.calls).toEqual([[thrown]]);
    error.mockRestore();
  });

  test("a URL that is none is not tried again", async () => {
    const retried: Retry[] = [];
    const { create } = clientOf(client, { onRetry: (retry) => retried.push(retry) }, "http://[");
    expect(await create({ name }).ended).toEqual({ error: expect.any(TypeError) });
    expect(retried).toEqual([]);
  });

  // urql sends null for what makes a cycle.
  test.each(client === "urql" ? ["a BigInt"] : ["a BigInt", "a cycle"])("variables with %s fail at once", async (kind) => {
    const retried: Retry[] = [];
    const { create } = clientOf(client, { onRetry: (retry) => retried.push(retry) });
    const input: Record<string, unknown> = { name };
    input.description = kind === "a cycle" ? input : 1n;
    const { error } = await (async () => create(input).ended)().catch((error) => ({ error }));
    expect(error).toBeInstanceOf(Error);
    expect(retried).toEqual([]);
    expect(await effects(name)).toBe(0);
  });

  test("a server that is not there is tried as often as set", async () => {
    const retried: Retry[] = [];
    const { create } = clientOf(client, { attempts: 3, onRetry: (retry) => retried.push(retry) }, "http://127.0.0.1:1/graphql");
    expect(await create({ name }).ended).toEqual({ error: expect.any(TypeError) });
    expect(retried.map(({ attempt }) => attempt)).toEqual([1, 2]);
  });
});

test.each(reasons)("Apollo's mutate() rejects with the reason of $how, as it does over HttpLink alone", async ({ abort, error }) => {
  const http = new HttpLink({ uri: proxy.url + "/graphql" });
  const seen: any[] = [];
  for (const links of [[http], [apollo.idempotencyLink(), apollo.retryKeyed(), http]]) {
    const client = new ApolloClient({ link: ApolloLink.from(links), cache: new InMemoryCache() });
    const controller = new AbortController();
    const variables = { input: { name }, idempotencyKey: name };
    proxy.faults = ["hang"];
    const context = { fetchOptions: { signal: controller.signal } };
    const ended = client.mutate({ mutation: gql(createProject), variables, context }).catch((thrown) => thrown);
    await expect.poll(() => proxy.hanging, { timeout: 30_000 }).toBe(1);
    abort(controller);
    seen.push(await ended);
    await expect.poll(() => proxy.hanging, { timeout: 30_000 }).toBe(0);
  }
  const causes = seen.map((error) => error.cause ?? error);
  expect(causes).toEqual([told(error), told(error)]);
  expect(seen[1].constructor).toBe(seen[0].constructor);
  expect(await effects(name)).toBe(1);
});
