import { parse, print } from "graphql";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";

import { idempotencyKeys } from "../src/codegen.js";
import { fingerprint, keyedFields } from "../src/document.js";
import { keyedCalls, newKey, retryDelay } from "../src/index.js";
import { pauses, timeoutOf } from "../src/retry.js";

test("keys are UUIDs of version 7 in the order of their making", () => {
  const before = Date.now();
  const key = newKey();
  expect(key).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(parseInt(key.replace("-", "").slice(0, 12), 16)).toBeGreaterThanOrEqual(before);
  expect(new Set(Array.from({ length: 1000 }, newKey)).size).toBe(1000);
});

test("without crypto.getRandomValues, as on React Native, newKey names the polyfill", () => {
  onTestFinished(() => void vi.unstubAllGlobals());
  for (const crypto of [undefined, {}]) {
    vi.stubGlobal("crypto", crypto);
    expect(newKey).toThrow("crypto.getRandomValues is missing: import react-native-get-random-values");
  }
});

describe("a fingerprint", () => {
  const document = parse(`mutation M($input: I!, $k: String!) { a(input: $input, idempotencyKey: $k) { id } }`);
  const of = (variables: object, in_ = document) => fingerprint(keyedFields(in_), variables as Record<string, unknown>);

  test("is the same whatever the key, the order of properties and the selection", () => {
    const same = of({ k: "1", input: { x: 1, y: [{ a: null, b: "" }] } });
    expect(of({ input: { y: [{ b: "", a: null }], x: 1 }, k: "2" })).toBe(same);
    expect(
      of(
        { input: { x: 1, y: [{ a: null, b: "" }] } },
        parse(`mutation ($input: I!, $k: String!) { z: a(input: $input, idempotencyKey: $k) { __typename } }`),
      ),
    ).toBe(same);
  });

  test("differs with the payload", () => {
    const inputs = [
      {},
      { x: null },
      { x: 0 },
      { x: "0" },
      { x: [0] },
      { x: [0, 1] },
      { x: [1, 0] },
      { loc: 1 },
      { loc: { end: 1 } },
      { y: { x: 0 } },
    ];
    expect(new Set(inputs.map((input) => of({ input }))).size).toBe(inputs.length);
  });
});

test("a fingerprint tells apart what JSON does not, and refuses what it can't hold", () => {
  const fields = keyedFields(parse(`mutation ($file: F!, $k: String!) { a(file: $file, idempotencyKey: $k) { id } }`));
  const of = (file: unknown) => fingerprint(fields, { file });
  const files = [new File(["x"], "a"), new File(["x"], "b"), new File(["xy"], "a"), new Blob(["x"])];
  const values = [...files, new Map([[1, 2]]), new Map([[1, 3]]), new Set([1]), new Set([2]), {}];
  expect(new Set(values.map(of)).size).toBe(values.length);
  const circular: { self?: object } = {};
  circular.self = circular;
  for (const value of [1n, circular]) expect(() => of(value)).toThrow(TypeError);
});

test("a fingerprint stays what it was, since a store may hold one of an earlier build", () => {
  const fields = [{ responseKey: "a", name: "a", literals: "[]", variable: "k" }];
  const input = { b: [1, 2.5, -0, 1e300, null, true], a: { "10": 1, "9": 2, é: "😀\ud800" } };
  const values = [{}, { k: "key", input }, { input: [[], [{}], { z: undefined }] }, { date: new Date(0), u: undefined, n: NaN }];
  expect(values.map((value) => fingerprint(fields, value))).toEqual([-1337033302, 1118360523, 1848305976, -1812868844]);
});

test("keyed fields are found in fragments, and others are not", () => {
  const document = parse(`
    mutation M($k: String!, $l: String!) {
      ... on Mutation { x: a(idempotencyKey: $k) { id } }
      ...F
      b(idempotencyKey: "literal") { id }
      c(key: $k) { id }
    }
    fragment F on Mutation { d(idempotencyKey: $l) { id } }`);
  expect(keyedFields(document).map(({ responseKey, variable }) => [responseKey, variable])).toEqual([
    ["x", "k"],
    ["d", "l"],
  ]);
  expect(keyedFields({})).toEqual([]);
});

describe("the delay before another try", () => {
  const http = (status: number, retryAfter?: string) => ({
    response: new Response(null, { status, headers: retryAfter ? { "Retry-After": retryAfter } : {} }),
  });
  const graphql = (...extensions: object[]) => ({ errors: extensions.map((extensions) => ({ message: "", extensions })) });

  test.each([
    ["nothing was answered", {}, 0, 300],
    ["503", http(503), 0, 300],
    ["503 with Retry-After", http(503, "2"), 2000, 2300],
    ["Retry-After is a fraction", http(503, "0.5"), 500, 800],
    ["Retry-After is negative", http(503, "-5"), 0, 300],
    ["Retry-After is huge", http(503, "99999999999"), 60_000, 60_300],
    ["Retry-After is no number", http(503, "soon"), 0, 300],
    ["Retry-After is empty", http(503, " "), 0, 300],
    ["Retry-After is a date", http(503, new Date(Date.now() + 40_000).toUTCString()), 30_000, 40_300],
    ["Retry-After is a date in the past", http(503, "Sun, 06 Nov 1994 08:49:37 GMT"), 0, 300],
    ["Retry-After is a date far off", http(503, "Fri, 31 Dec 9999 23:59:59 GMT"), 60_000, 60_300],
    ["429", http(429), 0, 300],
    ["408", http(408), 0, 300],
    ["the answer broke off", http(200), 0, 300],
    ["a retryable error", graphql({ retryable: true, retryAfterMs: 700 }), 700, 1000],
    ["retryAfterMs is negative", graphql({ retryable: true, retryAfterMs: -700 }), 0, 300],
    ["retryAfterMs is huge", graphql({ retryable: true, retryAfterMs: 1e300 }), 60_000, 60_300],
    ["retryAfterMs is infinite", graphql({ retryable: true, retryAfterMs: Infinity }), 60_000, 60_300],
    ["retryAfterMs is null", graphql({ retryable: true, retryAfterMs: null }), 0, 300],
    ["retryAfterMs is no number", graphql({ retryable: true, retryAfterMs: {} }), 0, 300],
    ["no answer came in time", { name: "TimeoutError", signal: new AbortController().signal }, 0, 300],
    ["one of two errors is retryable", graphql({ retryable: false }, { retryable: true, retryAfterMs: 50 }), 50, 350],
  ])("is bounded when %s", (_, failure, least, most) => {
    for (let i = 0; i < 100; i++) {
      const delay = retryDelay(1, failure);
      expect(delay).toBeGreaterThanOrEqual(least);
      expect(delay).toBeLessThanOrEqual(most);
    }
  });

  test.each([
    ["400", http(400)],
    ["401", http(401)],
    ["a final error", graphql({ retryable: false })],
    ["an error that does not say", graphql({})],
    ["the caller gave up", { name: "AbortError" }],
    ["the caller gave up, with a reason", { name: "TypeError", signal: AbortSignal.abort("left") }],
  ])("is none when %s", (_, failure) => expect(retryDelay(1, failure)).toBeUndefined());

  test("doubles up to its bound, for as many attempts as there are", () => {
    const longest = (attempt: number) => Math.max(...Array.from({ length: 500 }, () => retryDelay(attempt, {}, { maxDelayMs: 2000 })!));
    expect(longest(3)).toBeGreaterThan(900);
    expect(longest(5)).toBeLessThanOrEqual(2000);
    expect(retryDelay(6, {})).toBeUndefined();
  });

  test.each([
    [{ maxDelayMs: Infinity, initialDelayMs: Infinity, attempts: Infinity }, 2 ** 31 - 1],
    [{ maxDelayMs: 1e300, attempts: 2000 }, 2 ** 31 - 1],
    [{ initialDelayMs: -300 }, 0],
    [{ initialDelayMs: 0, maxDelayMs: 0 }, 0],
  ])("is what setTimeout can wait for with %o", (options, most) => {
    for (let attempt = 1; attempt < 6; attempt++) {
      const delay = retryDelay(attempt, {}, options);
      expect(delay).toBeGreaterThanOrEqual(0);
      expect(delay).toBeLessThanOrEqual(most);
    }
  });
});

test("a try waits as long for its answer as the docs say", () => {
  expect(timeoutOf({})).toBe(15_000);
  expect(timeoutOf({ timeoutMs: 1 })).toBe(1);
  // setTimeout takes what is longer for 0.
  expect(timeoutOf({ timeoutMs: Infinity })).toBe(2 ** 31 - 1);
});

describe("a pause while the browser is offline", () => {
  const options = { initialDelayMs: 0, attempts: 10, offlineMs: 1000 };
  let online: Set<() => void>;
  beforeEach(() => {
    vi.useFakeTimers();
    online = new Set();
    vi.stubGlobal("navigator", { onLine: false });
    vi.stubGlobal("addEventListener", (_: string, listener: () => void) => online.add(listener));
    vi.stubGlobal("removeEventListener", (_: string, listener: () => void) => online.delete(listener));
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test("waits for it no longer than offlineMs in all, and once for each time that it is online", async () => {
    const again = vi.fn();
    const pause = pauses(options, {}, [], undefined);
    pause({}, new TypeError("no network"), again);
    await vi.advanceTimersByTimeAsync(700);
    expect(again).not.toHaveBeenCalled();
    for (const listener of online) listener();
    expect(again).toHaveBeenCalledTimes(1);
    expect(online.size).toBe(0);
    // 300 of 1,000 ms are left, and then none.
    pause({}, new TypeError("no network"), again);
    await vi.advanceTimersByTimeAsync(299);
    expect(again).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(again).toHaveBeenCalledTimes(2);
    pause({}, new TypeError("no network"), again);
    await vi.advanceTimersByTimeAsync(0);
    expect(again).toHaveBeenCalledTimes(3);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(again).toHaveBeenCalledTimes(3);
  });

  test("does not wait for it after an answer, and ends when it is cancelled", async () => {
    const again = vi.fn();
    const pause = pauses(options, {}, [], undefined);
    pause({ response: new Response(null, { status: 503 }) }, new Error("503"), again);
    await vi.advanceTimersByTimeAsync(0);
    expect(again).toHaveBeenCalledTimes(1);
    const cancel = pause({}, new TypeError("no network"), again)!;
    await vi.advanceTimersByTimeAsync(10);
    cancel();
    expect(online.size).toBe(0);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(again).toHaveBeenCalledTimes(1);
  });
});

test("a call that has its key, or has waited for it, leaves nothing on a signal that lives on", async () => {
  const { signal } = new AbortController();
  const listeners = new Set();
  signal.addEventListener = (_: string, listener: unknown) => void listeners.add(listener);
  signal.removeEventListener = (_: string, listener: unknown) => void listeners.delete(listener);
  const document = parse(`mutation ($x: Int, $k: String! = "") { a(x: $x, idempotencyKey: $k) { id } }`);
  const open = keyedCalls();
  const first = await open(document, { x: 1 }, { intent: "a" }, signal);
  const second = open(document, { x: 2 }, { intent: "a" }, signal);
  await expect.poll(() => listeners.size).toBeGreaterThan(0);
  first.resolve({ data: { a: {} }, extensions: { idempotency: { a: { status: "EXECUTED", executedAt: "now" } } } });
  await second;
  await expect.poll(() => listeners.size).toBe(0);
});

describe("the documentTransforms entry", () => {
  const schema = parse(`
    schema { query: Q mutation: Changes }
    type Q { a(idempotencyKey: String!): Int }
    type Changes { a(x: Int, idempotencyKey: String!): P  unkeyed(x: Int): P  nullable(idempotencyKey: String): P }
    extend type Changes { b(idempotencyKey: String!): P }
    type P { a: Int }`);
  const transform = async (document: string) => {
    const [file] = await idempotencyKeys.transform({ documents: [{ document: parse(document) }], schema, config: {} });
    return print(file!.document!);
  };

  test("gives each field that takes a key a variable of its own", async () => {
    expect(await transform(`mutation M($x: Int) { a(x: $x) { a } two: a { a } ... on Changes { b { a } } unkeyed { a } }`)).toBe(
      print(
        parse(`mutation M($x: Int, $idempotencyKey: String! = "", $idempotencyKey2: String! = "", $idempotencyKey3: String! = "") {
        a(x: $x, idempotencyKey: $idempotencyKey) { a }
        two: a(idempotencyKey: $idempotencyKey2) { a }
        ... on Changes { b(idempotencyKey: $idempotencyKey3) { a } }
        unkeyed { a }
      }`),
      ),
    );
  });

  test.each([
    `mutation ($idempotencyKey: String!) { a(idempotencyKey: $idempotencyKey) { a } }`,
    `mutation { a(idempotencyKey: "mine") { a } }`,
    `mutation { unkeyed { a } }`,
    `mutation { nullable { a } }`,
    `query { a }`,
    `fragment F on P { a }`,
  ])("leaves %s as it is", async (document) => expect(await transform(document)).toBe(print(parse(document))));

  test("takes no name that is taken", async () => {
    expect(await transform(`mutation ($idempotencyKey: Int) { a(x: $idempotencyKey) { a } }`)).toContain(
      "idempotencyKey: $idempotencyKey2)",
    );
  });
});
