import "./dom.js";

import { act, createElement, type ReactNode, StrictMode, Suspense, use, useState } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";

import { keyedCalls } from "../src/index.js";
import type { IntentState } from "../src/react.js";
import { Proxy } from "./proxy.js";
import { type ReactClient, reactClients, type Saying, type Sent } from "./react-clients.js";
import { effects, server } from "./server.js";

let proxy: Proxy;
let root: Root;
let name: string;
let complaints: ReturnType<typeof vi.spyOn>;

beforeAll(async () => (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  proxy.faults = [];
  proxy.arrived.length = 0;
  root = createRoot(document.createElement("div"));
  complaints = vi.spyOn(console, "error");
});
afterEach(async () => {
  await act(() => root.unmount());
  // React complains of what components do wrong.
  expect(complaints.mock.calls).toEqual([]);
  complaints.mockRestore();
});

const lost = (): void => void (proxy.faults = Array(3).fill("cutAfter"));
const render = (node: ReactNode) => act(async () => root.render(node));

/** Waits, and lets React do its work meanwhile. */
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(() => act(async () => read()), { timeout: 30_000, interval: 20 });

describe.each(Object.entries(reactClients))("%s", (_, { make, useCreate }) => {
  /** What the component last rendered, by its id, and all that it rendered. */
  type View = IntentState & { mutate(name: string, saying?: Saying): Promise<Sent> };
  let views: Record<string, View>;
  let seen: View[];
  let client: ReactClient;
  beforeEach(() => {
    views = {};
    seen = [];
    client = make(proxy.url);
  });

  function Create({ id = "a", intent = "create" }: { id?: string; intent?: string }) {
    const [mutate, state] = useCreate(intent);
    seen.push((views[id] = { mutate, ...state }));
    return null;
  }
  const create = createElement(Create);
  const view = () => views.a!;
  const send = (...parameters: Parameters<View["mutate"]>) => act(() => view().mutate(...parameters));
  const outcome = () => view().outcome?.outcome;

  test.each([false, true])("says what becomes of a call; in StrictMode: %s", async (strict) => {
    await render(client.provide(strict ? createElement(StrictMode, null, create) : create));
    expect(view()).toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    await eventually(view).toMatchObject({ pending: true, outcome: undefined, unsettled: undefined });
    proxy.release();
    expect(await act(() => call)).toEqual({});
    await eventually(view).toMatchObject({
      pending: false,
      outcome: { outcome: "executed", intent: "create", executedAt: expect.any(String) },
      unsettled: undefined,
    });
    expect(await effects(name)).toBe(1);
  });

  test("a double click is one call", async () => {
    await render(client.provide(create));
    await act(() => Promise.all([view().mutate(name), view().mutate(name)]));
    await eventually(view).toMatchObject({ pending: false, outcome: { outcome: expect.stringMatching(/executed|replayed/) } });
    expect(await effects(name)).toBe(1);
  });

  test("of two calls in flight the outcome is that of the second", async () => {
    await render(client.provide(create));
    proxy.faults = ["paused"];
    let first: Promise<Sent>;
    await act(async () => void (first = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    await send(name);
    await eventually(outcome).toBe("executed");
    expect(view().pending).toBe(true);
    proxy.release();
    expect(await act(() => first)).toEqual({});
    await eventually(view).toMatchObject({ pending: false, outcome: { outcome: "executed" } });
    expect(await effects(name)).toBe(1);
  });

  test("a call with a key of the caller's own is pending, too, in all components", async () => {
    await render(client.provide([createElement(Create, { key: "a" }), createElement(Create, { id: "b", key: "b" })]));
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name, { idempotencyKey: name })));
    await eventually(() => proxy.arrived.length).toBe(1);
    expect([view().pending, views.b!.pending]).toEqual([true, true]);
    proxy.release();
    await act(() => call);
    await eventually(() => [view().pending, views.b!.pending]).toEqual([false, false]);
    expect(view().outcome).toMatchObject({ outcome: "executed", key: name });
  });

  test("a refused call says why", async () => {
    await render(client.provide(create));
    expect(await send(" ")).toEqual({ error: "BAD_USER_INPUT" });
    await eventually(view).toMatchObject({
      pending: false,
      outcome: { outcome: "refused", error: { message: expect.any(String) } },
      unsettled: undefined,
    });
  });

  test.each([false, true])("a lost answer, looked up, and settled by sending it again; in StrictMode: %s", async (strict) => {
    await render(client.provide(strict ? createElement(StrictMode, null, create) : create));
    lost();
    expect(await send(name)).toEqual({ error: "TypeError" });
    const keys = [expect.any(String)];
    await eventually(view).toMatchObject({
      pending: false,
      outcome: { outcome: "unknown" },
      unsettled: { keys, sentAt: expect.any(Date) },
    });
    const { key } = view().outcome!;
    expect(view().unsettled!.keys).toEqual([key]);
    const [call] = await act(() => view().resolve());
    expect(call).toMatchObject({ key, operation: "createProject", expired: false, requestId: expect.any(String) });
    // To look is not to settle.
    expect(view().unsettled).toBeDefined();

    expect(await send(name)).toEqual({});
    await eventually(view).toMatchObject({
      pending: false,
      outcome: { outcome: "replayed", key, executedAt: call!.executedAt },
      unsettled: undefined,
    });
    expect(await act(() => view().resolve())).toEqual([]);
    expect(await effects(name)).toBe(1);
  });

  test("an edit asks, and its answer sends it", async () => {
    await render(client.provide(create));
    lost();
    await send(name);
    const { unsettled } = view();
    proxy.arrived.length = 0;
    expect(await send(name + " edited")).toEqual({ error: "UnsettledError" });
    expect(proxy.arrived).toEqual([]);
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled });
    expect(await send(name + " edited", { onPayloadChange: "newKey" })).toEqual({});
    await eventually(view).toMatchObject({ outcome: { outcome: "executed" }, unsettled: undefined });
    expect([await effects(name), await effects(name + " edited")]).toEqual([1, 1]);
  });

  test.each([undefined, new Map<string, string>()])("what is discarded is not sent again, with the store %s", async (store) => {
    if (store) client = make(proxy.url, { store, user: () => "ann" });
    await render(client.provide(create));
    lost();
    await send(name);
    await eventually(view).toMatchObject({ unsettled: expect.anything() });
    await act(() => view().discard());
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
    await send(name);
    await eventually(outcome).toBe("executed");
    expect(await effects(name)).toBe(2);
  });

  test("a page finds what the one before it left, and null is not nothing", async () => {
    const before = new Map<string, string>();
    const user = () => "ann";
    const gone = make(proxy.url, { store: before, user });
    proxy.faults = ["paused"];
    const call = gone.mutate(name, "create");
    await vi.waitFor(() => expect(proxy.arrived).toHaveLength(1), 30_000);

    await render(make(proxy.url, { store: new Map(before), user }).provide(create));
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: { keys: [expect.any(String)] } });
    expect(await act(() => view().resolve())).toEqual([null]);
    proxy.release();
    await call;
    expect(await act(() => view().resolve())).toMatchObject([{ operation: "createProject" }]);
    expect(await send(name)).toEqual({});
    await eventually(view).toMatchObject({ outcome: { outcome: "replayed" }, unsettled: undefined });
    expect(await effects(name)).toBe(1);
  });

  test("components of one intent see the same, and those of another do not", async () => {
    const other = createElement(Create, { id: "b", key: "b" });
    const apart = createElement(Create, { id: "c", key: "c", intent: "other" });
    await render(client.provide([createElement(Create, { key: "a" }), other, apart]));
    proxy.faults = ["paused", "cutAfter", "cutAfter"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    expect([view().pending, views.b!.pending, views.c!.pending]).toEqual([true, true, false]);
    proxy.release("cutAfter");
    await act(() => call);
    await eventually(() => [view(), views.b!, views.c!].map(({ pending, unsettled }) => [pending, !!unsettled])).toEqual([
      [false, true],
      [false, true],
      [false, false],
    ]);
    expect(views.b!.outcome).toBeUndefined();
    await act(() => views.b!.mutate(name));
    await eventually(() => [view().unsettled, views.b!.unsettled]).toEqual([undefined, undefined]);
    expect(views.b!.outcome).toMatchObject({ outcome: "replayed" });
    expect(await effects(name)).toBe(1);
  });

  test("what calls beside the hook do is seen", async () => {
    await render(client.provide(create));
    proxy.faults = ["paused", "cutAfter", "cutAfter"];
    const call = client.mutate(name, "create").catch(() => {});
    await eventually(() => view().pending).toBe(true);
    await eventually(() => proxy.arrived.length).toBe(1);
    proxy.release("cutAfter");
    await act(() => call);
    await eventually(view).toMatchObject({ pending: false, unsettled: expect.anything() });
    await act(() => client.mutate(name, "create"));
    await eventually(view).toMatchObject({ pending: false, unsettled: undefined });
  });

  test("a component that goes leaves its call, and one that comes finds it", async () => {
    await render(client.provide(create));
    proxy.faults = ["paused", "cutAfter", "cutAfter"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    await render(client.provide(null));
    await render(client.provide(create));
    await eventually(() => view().pending).toBe(true);
    await render(client.provide(null));
    proxy.release("cutAfter");
    await act(() => call);
    await render(client.provide(create));
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: expect.anything() });
    await send(name);
    expect(await effects(name)).toBe(1);
  });

  test.each([false, true])("what settled while no component had it is not shown; another intent's is there: %s", async (another) => {
    const other = another && createElement(Create, { id: "b", key: "b", intent: "other" });
    const mine = createElement(Create, { key: "a" });
    await render(client.provide([mine, other]));
    lost();
    await send(name);
    await eventually(view).toMatchObject({ unsettled: expect.anything() });
    await render(client.provide([other]));
    await act(() => client.mutate(name, "create"));
    const before = seen.length;
    await render(client.provide([mine, other]));
    await eventually(view).toMatchObject({ pending: false, unsettled: undefined });
    expect(seen.slice(before).filter(({ unsettled }) => unsettled)).toEqual([]);
  });

  test("what is discarded in flight has no outcome here", async () => {
    await render(client.provide(create));
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    await act(() => view().discard());
    proxy.release();
    expect(await act(() => call)).toEqual({});
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
  });

  test("who comes back after a call of theirs has ended finds nothing pending", async () => {
    let user = "ann";
    client = make(proxy.url, { store: new Map<string, string>(), user: () => user });
    await render(client.provide(create));
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    user = "bob";
    await render(client.provide(createElement(Create)));
    await eventually(view).toMatchObject({ pending: false, outcome: undefined });
    proxy.release();
    await act(() => call);
    user = "ann";
    const before = seen.length;
    await render(client.provide(createElement(Create)));
    await eventually(view).toMatchObject({ pending: false, outcome: { outcome: "executed" } });
    expect(seen.slice(before).filter(({ pending }) => pending)).toEqual([]);
  });

  test("a component that is gone listens no more", async () => {
    const { listeners } = keyedCalls();
    const before = listeners.size;
    await render(client.provide(createElement(StrictMode, null, create)));
    await eventually(() => listeners.size).toBe(before + 1);
    await render(client.provide(null));
    expect(listeners.size).toBe(before);
  });

  test("a component that suspends during a call comes back to its outcome", async () => {
    let suspend: (until: Promise<void> | undefined) => void;
    function Suspending() {
      const [until, set] = useState<Promise<void>>();
      suspend = set;
      const element = createElement(Create);
      if (until) use(until);
      return element;
    }
    await render(client.provide(createElement(Suspense, { fallback: null }, createElement(Suspending))));
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = view().mutate(name)));
    await eventually(() => proxy.arrived.length).toBe(1);
    let resume = () => {};
    await act(async () => suspend(new Promise((resolve) => (resume = resolve))));
    proxy.release();
    await act(() => call);
    await act(async () => resume());
    await eventually(view).toMatchObject({ pending: false, outcome: { outcome: "executed" }, unsettled: undefined });
  });

  test("another intent has another state", async () => {
    const of = (id: number) => client.provide(createElement(Create, { intent: `rename/${id}` }));
    await render(of(1));
    lost();
    await send(name);
    await eventually(view).toMatchObject({ outcome: { outcome: "unknown" }, unsettled: expect.anything() });
    await render(of(2));
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
    await send(name);
    await eventually(outcome).toBe("executed");
    await render(of(1));
    await eventually(view).toMatchObject({ outcome: undefined, unsettled: expect.anything() });
    expect(await effects(name)).toBe(2);
  });

  test("another user sees nothing of it", async () => {
    let user = "bob";
    const store = new Map<string, string>();
    lost();
    await make(proxy.url, { store, user: () => user })
      .mutate(name + " of Bob", "create")
      .catch(() => {});
    const [ofBob] = proxy.arrived.map(({ variables }) => variables.idempotencyKey);

    user = "ann";
    client = make(proxy.url, { store: new Map(store), user: () => user });
    await render(client.provide(create));
    expect(view().unsettled).toBeUndefined();
    lost();
    await send(name);
    await eventually(view).toMatchObject({ outcome: { outcome: "unknown" }, unsettled: expect.anything() });
    user = "bob";
    const before = seen.length;
    await render(client.provide(createElement(Create)));
    await eventually(view).toMatchObject({ outcome: undefined, unsettled: { keys: [ofBob] } });
    expect(seen.slice(before).every(({ outcome, unsettled }) => !outcome && (!unsettled || unsettled.keys[0] === ofBob))).toBe(true);
    await send(name + " of Bob");
    await eventually(outcome).toBe("replayed");
    user = "ann";
    await render(client.provide(createElement(Create)));
    await eventually(view).toMatchObject({ outcome: undefined, unsettled: expect.anything() });
    expect([await effects(name), await effects(name + " of Bob")]).toEqual([1, 1]);
  });

  test("another client of the provider has what is its own", async () => {
    await render(client.provide(create));
    lost();
    await send(name);
    await eventually(view).toMatchObject({ unsettled: expect.anything() });
    const other = make(proxy.url);
    await render(other.provide(create));
    await render(other.provide(createElement(Create)));
    await eventually(view).toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
    await send(name);
    await eventually(outcome).toBe("executed");
    await render(client.provide(create));
    await eventually(view).toMatchObject({ unsettled: expect.anything() });
  });

  test("its functions are the same until the intent is another", async () => {
    await render(client.provide(create));
    const [{ resolve, discard }] = [view()];
    await send(name);
    await render(client.provide(createElement(Create)));
    expect([view().resolve === resolve, view().discard === discard]).toEqual([true, true]);
  });
});
