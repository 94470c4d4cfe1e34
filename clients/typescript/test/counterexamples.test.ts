import { describe, expect, test } from "vitest";

import type { KeyStore } from "../src/index.js";
import { asks, document, executed, lost, opened, refused, reopened, waits } from "./opened.js";

// What test/property.test.ts has found, each as short as it gets.

/** A store that takes a while. */
function slow(map: Map<string, string>): KeyStore {
  const later = () => new Promise<void>((resolve) => setTimeout(resolve, 10));
  return {
    get: async (name) => (await later(), map.get(name)),
    set: async (name, value) => (await later(), map.set(name, value)),
    delete: async (name) => (await later(), map.delete(name)),
    keys: async () => (await later(), map.keys()),
  };
}
const newKey = { intent: "create", onPayloadChange: "newKey" } as const;
const user = () => "ann";

describe("a double click", () => {
  test("whose first click is refused is not over while the second is in flight", async () => {
    const { call } = opened({ settleFor: 0 });
    const first = await call("a");
    const second = await call("a");
    first.resolve(refused("NOT_FOUND"));
    const edit = call("b");
    expect(await waits(edit)).toBe(true);
    second.resolve(lost);
    await asks(edit);
    expect((await call("a")).key).toBe(first.key);
  });

  test("that took effect has, also when the second answer is lost", async () => {
    const { call } = opened();
    const first = await call("a");
    first.resolve(executed);
    (await call("a")).resolve(lost);
    expect((await call("b")).key).not.toBe(first.key);
  });

  test("whose key has expired asks, also when the second answer is lost", async () => {
    const { call } = opened();
    const first = await call("a");
    const second = await call("a");
    first.resolve(refused("IDEMPOTENCY_KEY_EXPIRED"));
    second.resolve(lost);
    await asks(call("a"));
  });

  test("that is refused and then aborted before it is sent again is over", async () => {
    const { call } = opened({ store: slow(new Map()), user });
    (await call("a")).resolve(refused("NOT_FOUND"));
    const leaving = new AbortController();
    const second = call("a", undefined, leaving.signal);
    await waits(second);
    leaving.abort(new Error("gone"));
    await expect(second).rejects.toThrow("gone");
    await call("b");
  });
});

test("what was refused is over, at whatever moment it is aborted before it is sent again", async () => {
  for (let moment = 0; moment < 50; moment++) {
    const { call } = opened({ store: reopened(new Map()), user });
    (await call("a")).resolve(refused("NOT_FOUND"));
    const leaving = new AbortController();
    const again = call("a", undefined, leaving.signal).catch(() => undefined);
    for (let i = 0; i < moment; i++) await undefined;
    leaving.abort();
    (await again)?.resolve(refused("NOT_FOUND"));
    await call("b");
  }
});

test("a call that is aborted at any moment holds nobody up", async () => {
  for (let moment = 0; moment < 50; moment++) {
    const { call } = opened();
    const leaving = new AbortController();
    const aborted = call("a", undefined, leaving.signal).catch(() => undefined);
    for (let i = 0; i < moment; i++) await undefined;
    leaving.abort();
    (await aborted)?.resolve(executed);
    expect(await waits(call("b"))).toBe(false);
  }
});

test("what was refused and is sent again is unknown to the page that follows", async () => {
  const map = new Map<string, string>();
  const page = () => opened({ store: reopened(map), user });
  const { call } = page();
  const first = await call("a");
  first.resolve(refused("NOT_FOUND"));
  await call("a");
  const next = page();
  await asks(next.call("b"));
  expect((await next.call("a")).key).toBe(first.key);
});

describe("a new key that is not sent", () => {
  test("leaves the earlier one", async () => {
    const map = new Map<string, string>();
    const store = reopened(map);
    const { call } = opened({ store, user });
    const first = await call("a");
    first.resolve(lost);
    const { set } = store;
    store.set = () => Promise.reject(new Error("full"));
    await expect(call("b", newKey)).rejects.toThrow("full");
    store.set = set;
    expect((await call("a")).key).toBe(first.key);
  });
});

describe("a sign-in", () => {
  test("ends a call of another user that waits", async () => {
    const page = crypto.randomUUID();
    let user = "ann";
    const { call, unsettled } = opened({ user: () => page + user });
    const first = await call("a");
    const second = call("b");
    await waits(second);
    user = "bob";
    first.resolve(executed);
    await expect(second).rejects.toThrow("another user has signed in");
    user = "ann";
    expect(await unsettled("create")).toBeUndefined();
  });

  test("while the store tells its names does not turn `clear` on who signs in", async () => {
    const map = new Map<string, string>();
    let user = "ann";
    const open = opened({ store: slow(map), user: () => user });
    (await open.call("a")).resolve(lost);
    user = "bob";
    const cleared = open.clear();
    user = "ann";
    await cleared;
    expect(await open.unsettled("create")).toBeDefined();
  });
});

describe("a client with a store object of its own over the same storage", () => {
  test("keeps its key when the client before it is answered", async () => {
    const map = new Map<string, string>();
    const page = () => opened({ store: reopened(map), user });
    const first = await page().call("a");
    const second = await page().call("b", newKey);
    second.resolve(lost);
    first.resolve(executed);
    await waits(Promise.resolve());
    expect((await page().unsettled("create"))?.keys).toEqual([second.key]);
  });
});

describe("`discard`", () => {
  test("fails when the store does", async () => {
    const store = { ...reopened(new Map()), delete: () => Promise.reject(new Error("locked")) };
    const { call, discard } = opened({ store, user });
    (await call("a")).resolve(lost);
    await expect(discard("create")).rejects.toThrow("locked");
  });

  test("holds for a call that follows before the store has answered", async () => {
    const map = new Map<string, string>();
    const first = await opened({ store: slow(map), user }).call("a");
    const later = opened({ store: slow(map), user });
    const discarded = later.discard("create");
    const second = await later.call("a");
    await discarded;
    expect(second.key).not.toBe(first.key);
  });
});

describe("a slow store", () => {
  test("does not lose a key to what is still being deleted", async () => {
    const map = new Map<string, string>();
    let resolve = () => {};
    const promise = new Promise<void>((done) => (resolve = done));
    const store: KeyStore = { ...reopened(map), delete: async (name) => (await promise, map.delete(name)) };
    const { call, discard } = opened({ store, user });
    const first = await call("a");
    first.resolve(lost);
    const discarded = discard("create");
    expect(await waits(discarded)).toBe(true);
    const following = call("a");
    await waits(following);
    resolve();
    const second = await following;
    expect(second.key).not.toBe(first.key);
    expect([...map.values()].join()).toContain(second.key);
  });
});

describe("a queue that sends a key again", () => {
  const queue = (open: ReturnType<typeof opened>, key: string) => open.open(document, { input: { name: "a" }, idempotencyKey: key }, {});

  test("and is refused settles nothing while the page's own call is in flight", async () => {
    const open = opened();
    const first = await open.call("a");
    (await queue(open, first.key)).resolve(refused("NOT_FOUND"));
    const edit = open.call("b");
    expect(await waits(edit)).toBe(true);
    first.resolve(executed);
    await edit;
  });

  test("and takes effect is remembered for settleFor", async () => {
    const open = opened();
    const first = await open.call("a");
    first.resolve(lost);
    (await queue(open, first.key)).resolve(executed);
    await waits(Promise.resolve());
    expect((await open.call("a")).key).toBe(first.key);
    expect((await open.call("b")).key).not.toBe(first.key);
  });
});
