import { parse } from "graphql";
import { afterEach, describe, expect, test, vi } from "vitest";

import { keyedCalls, type Outcome } from "../src/index.js";
import { asks, executed, lost, opened, refused, reopened, status, waits } from "./opened.js";

afterEach(() => void vi.useRealTimers());

describe("a call of a named intent with the same payload", () => {
  test("has the key of the one in flight, and for settleFor of the one that has settled", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { call } = opened();
    const first = await call("a");
    const second = await call("a");
    expect(second.key).toBe(first.key);
    first.resolve(executed);
    second.resolve(executed);
    vi.advanceTimersByTime(1999);
    const third = await call("a");
    expect(third.key).toBe(first.key);
    third.resolve(executed);
    vi.advanceTimersByTime(2001);
    expect((await call("a")).key).not.toBe(first.key);
  });

  test("is refused again within settleFor, and its key is kept when that answer is lost", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const { call } = opened();
    const first = await call("a");
    first.resolve(refused("NOT_FOUND"));
    const second = await call("a");
    expect(second.key).toBe(first.key);
    second.resolve(lost);
    vi.advanceTimersByTime(60_000);
    expect((await call("a")).key).toBe(first.key);
  });

  test.each(["UNAUTHENTICATED", "FORBIDDEN", "INTERNAL", "PERSISTED_QUERY_NOT_SUPPORTED"])("has the key after %s", async (code) => {
    const { call } = opened({ settleFor: 0 });
    const first = await call("a");
    first.resolve(refused(code));
    expect((await call("a")).key).toBe(first.key);
  });

  test("asks once its key has expired, and on the next page too", async () => {
    const map = new Map<string, string>();
    const page = () => opened({ store: reopened(map), user: () => "ann" });
    const { call } = page();
    const first = await call("a");
    first.resolve(lost);
    const second = await call("a");
    second.resolve(refused("IDEMPOTENCY_KEY_EXPIRED"));
    await asks(call("a"));
    await asks(call("b"));
    await asks(page().call("a"));
    expect((await call("a", { intent: "create", onPayloadChange: "newKey" })).key).not.toBe(first.key);
  });

  test("asks after maxAge, and is new after twice that", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const map = new Map<string, string>();
    const page = () => opened({ store: reopened(map), user: () => "ann", maxAge: 1000 });
    const { call } = page();
    (await call("a")).resolve(lost);
    vi.advanceTimersByTime(1001);
    await asks(call("a"));
    await asks(page().call("a"));
    vi.advanceTimersByTime(1001);
    (await call("a")).resolve(executed);
    await page().call("b");
  });
});

describe("a call of a named intent with another payload", () => {
  test("waits for the one in flight, and goes on with a key of its own", async () => {
    const { call } = opened();
    const first = await call("a");
    const second = call("b");
    const third = call("c");
    const back = call("a");
    expect(await waits(second)).toBe(true);
    first.resolve(executed);
    expect((await second).key).not.toBe(first.key);
    expect(await waits(third)).toBe(true);
    (await second).resolve(refused("BAD_USER_INPUT"));
    (await third).resolve(executed);
    // What was typed last is sent last.
    expect((await back).key).not.toBe(first.key);
  });

  test("asks when the one in flight fails without an answer", async () => {
    const { call } = opened();
    const first = await call("a");
    const second = call("b");
    await waits(second);
    first.resolve(lost);
    await expect(second).rejects.toMatchObject({ name: "UnsettledError", intent: "create", keys: [first.key], sentAt: expect.any(Date) });
  });

  test("does not wait for a double click whose first answer has come", async () => {
    const { call } = opened();
    const first = await call("a");
    await call("a");
    const edited = call("b");
    first.resolve(executed);
    expect((await edited).key).not.toBe(first.key);
  });

  test("goes on at once when the one in flight is discarded", async () => {
    const open = opened();
    const first = await open.call("a");
    const second = open.call("b");
    expect(await waits(second)).toBe(true);
    await open.discard("create");
    const { key, resolve } = await second;
    expect(key).not.toBe(first.key);
    // What becomes of the discarded one changes nothing.
    first.resolve(executed);
    resolve(lost);
    await asks(open.call("a"));
  });
});

describe("a signal", () => {
  test("ends a call that waits, with its reason; the others go on", async () => {
    const { call } = opened();
    const first = await call("a");
    const leaving = new AbortController();
    const second = call("b", undefined, leaving.signal);
    const third = call("c");
    expect(await waits(second)).toBe(true);
    leaving.abort("gone");
    await expect(second).rejects.toBe("gone");
    first.resolve(executed);
    await third;
  });

  test("that ends a call before it is sent leaves nothing", async () => {
    const map = new Map<string, string>();
    const slow = {
      ...reopened(map),
      set: async (name: string, value: string) => (await new Promise((end) => setTimeout(end, 10)), map.set(name, value)),
    };
    const { call, unsettled } = opened({ store: slow, user: () => "ann" });
    const leaving = new AbortController();
    const first = call("a", undefined, leaving.signal);
    leaving.abort(new Error("gone"));
    await expect(first).rejects.toThrow("gone");
    await call("b");
    expect(await unsettled("create")).toBeUndefined();
    await expect.poll(() => map.size).toBe(1);
    await expect(call("a", undefined, AbortSignal.abort("before"))).rejects.toBe("before");
  });
});

describe("of a document", () => {
  const two = parse(`mutation ($a: I!, $b: I!, $keyA: String! = "", $keyB: String! = "", $withB: Boolean!) {
    a: create(input: $a, idempotencyKey: $keyA) { id }
    b: create(input: $b, idempotencyKey: $keyB) @include(if: $withB) { id }
  }
  mutation Other($c: I!, $keyC: String! = "") { c: create(input: $c, idempotencyKey: $keyC) { id } }`);

  test("what `@include` leaves out, and other operations, do not count", async () => {
    const outcomes: Outcome[] = [];
    const open = keyedCalls({ settleFor: 0, onOutcome: (outcome) => outcomes.push(outcome) });
    const call = () => open(two, { a: 1, b: 2, withB: false }, { intent: "two" });
    const first = await call();
    first.resolve({ data: { a: {} }, extensions: { idempotency: { a: status("EXECUTED") } } });
    expect((await call()).variables.keyA).not.toBe(first.variables.keyA);
    expect(outcomes.map(({ field, outcome }) => [field, outcome])).toEqual([["a", "executed"]]);
  });
});

test("of several keys those that the caller gave are sent, and are told of what is unsettled", async () => {
  const two = parse(`mutation ($a: I!, $b: I!, $keyA: String! = "", $keyB: String! = "") {
    a: create(input: $a, idempotencyKey: $keyA) { id }
    b: create(input: $b, idempotencyKey: $keyB) { id }
  }`);
  const open = keyedCalls();
  const call = () => open(two, { a: 1, b: 2, keyA: "mine" }, { intent: "two" });
  const first = await call();
  expect(first.variables.keyA).toBe("mine");
  first.resolve(lost);
  // What follows the first time is ignored.
  first.resolve({ data: { a: {}, b: {} }, extensions: { idempotency: { a: status("EXECUTED"), b: status("EXECUTED") } } });
  expect((await open.unsettled("two"))?.keys).toEqual(["mine", first.variables.keyB]);
  expect((await call()).variables).toEqual(first.variables);
});

describe("the user", () => {
  test("who signs in meets no key and no answer of another; who comes back meets their own", async () => {
    let user = "ann";
    const { call } = opened({ user: () => user, settleFor: 1e9 });
    const settled = await call("a", { intent: "settled" });
    settled.resolve(executed);
    const unsettled = await call("a");
    unsettled.resolve(lost);
    user = "bob";
    expect((await call("a")).key).not.toBe(unsettled.key);
    expect((await call("a", { intent: "settled" })).key).not.toBe(settled.key);
    user = "ann";
    expect((await call("a")).key).toBe(unsettled.key);
    expect((await call("a", { intent: "settled" })).key).not.toBe(settled.key);
  });

  test("keeps their keys in a client that is made anew, and others do not have them", async () => {
    const name = crypto.randomUUID();
    const first = await opened({ user: () => name }).call("a");
    first.resolve(lost);
    expect((await opened({ user: () => name }).call("a")).key).toBe(first.key);
    expect((await opened({ user: () => "not " + name }).call("a")).key).not.toBe(first.key);
    // Without a user nobody knows whose a key is.
    const nobody = await opened().call("a");
    nobody.resolve(lost);
    expect((await opened().call("a")).key).not.toBe(nobody.key);
  });
});

describe("a store", () => {
  test("that is cleared while the page lives loses nothing", async () => {
    const map = new Map<string, string>();
    const { call } = opened({ store: reopened(map), user: () => "ann" });
    const first = await call("a");
    map.clear();
    const second = await call("a");
    expect(second.key).toBe(first.key);
    expect(map.size).toBe(1);
  });

  test("that does not answer ends the call after 5 seconds, and holds no other intent up", async () => {
    vi.useFakeTimers();
    const hanging = vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms);
      return controller.signal;
    });
    const map = new Map<string, string>();
    const get = (name: string) => (name.endsWith("hangs") ? new Promise<string>(() => {}) : map.get(name));
    const { call } = opened({ store: { ...reopened(map), get }, user: () => "ann" });
    const first = expect(call("a", { intent: "hangs" })).rejects.toMatchObject({ name: "TimeoutError" });
    await call("a");
    await vi.advanceTimersByTimeAsync(5000);
    await first;
    hanging.mockRestore();
  });

  test("whose value can't be read has none", async () => {
    const map = new Map<string, string>();
    const { call, unsettled } = opened({ store: reopened(map), user: () => "ann" });
    const { key } = await call("a");
    for (const name of map.keys())
      for (const value of ["{", "null", "1", '"x"', "[]", "{}"]) {
        map.set(name, value);
        const next = opened({ store: reopened(map), user: () => "ann" });
        expect(await next.unsettled("create")).toBeUndefined();
        const later = await next.call("a");
        expect(later.key).not.toBe(key);
      }
    expect(await unsettled("create")).toBeUndefined();
  });
});

test("what is discarded is not found again while the store is slow to delete it", async () => {
  const kept = new Map<string, string>();
  let deleted = () => {};
  const store = {
    ...reopened(kept),
    delete: (name: string) => new Promise<void>((resolve) => (deleted = () => (kept.delete(name), resolve()))),
  };
  const open = opened({ store, user: () => "ann" });
  const first = await open.call("a");
  first.resolve(lost);
  const discarding = open.discard("create");
  expect(await waits(discarding)).toBe(true);
  const others = [open.unsettled("create"), open.call("a")] as const;
  expect(await waits(others[1])).toBe(true);
  deleted();
  await discarding;
  expect(await others[0]).toBeUndefined();
  expect((await others[1]).key).not.toBe(first.key);
});

test("`discard` and `clear` make the next call a new one; `clear` leaves other users theirs", async () => {
  const map = new Map<string, string>();
  let user = "bob";
  const page = () => opened({ store: reopened(map), user: () => user });
  const ofBob = await page().call("a");
  ofBob.resolve(lost);
  user = "ann";
  const open = page();
  const first = await open.call("a");
  first.resolve(lost);
  expect(await open.unsettled("create")).toEqual({ keys: [first.key], sentAt: expect.any(Date) });
  await open.discard("create");
  const second = await open.call("a");
  expect(second.key).not.toBe(first.key);
  second.resolve(lost);
  // Another page's are cleared, too.
  await page().clear();
  expect((await page().call("a")).key).not.toBe(second.key);
  user = "bob";
  expect((await page().call("a")).key).toBe(ofBob.key);
});

test("an intent that is null or empty is none", async () => {
  const { call } = opened();
  for (const intent of [null, undefined, ""]) expect((await call("a", { intent })).key).not.toBe((await call("a", { intent })).key);
});

test("what `onOutcome` throws is told, and harms nobody", async () => {
  const told = vi.spyOn(console, "error").mockImplementation(() => {});
  const { call } = opened({
    onOutcome() {
      throw new Error("of the app");
    },
  });
  (await call("a")).resolve(executed);
  await expect.poll(() => told.mock.calls).toEqual([[new Error("of the app")]]);
  told.mockRestore();
});
