// What a hook knows of a call that was aborted.
import "./dom.js";

import { act, createElement } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { IntentState } from "../src/react.js";
import { Proxy } from "./proxy.js";
import { reactClients, type Saying, type Sent } from "./react-clients.js";
import { effects, server } from "./server.js";

let proxy: Proxy;
let root: Root;
let name: string;

beforeAll(async () => (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  proxy.faults = [];
  proxy.arrived.length = 0;
  root = createRoot(document.createElement("div"));
});
afterEach(() => act(() => root.unmount()));

describe.each(Object.entries(reactClients))("%s", (_, { make, useCreate }) => {
  let mutate: (name: string, saying?: Saying) => Promise<Sent>;
  let state: IntentState;
  function Create() {
    [mutate, state] = useCreate("create");
    return null;
  }
  beforeEach(() => act(async () => root.render(make(proxy.url).provide(createElement(Create)))));
  const eventually = () => expect.poll(() => act(async () => state), { timeout: 30_000, interval: 20 });

  test("in flight: its outcome is not known until it is sent again", async () => {
    const abort = new AbortController();
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = mutate(name, { signal: abort.signal })));
    await eventually().toMatchObject({ pending: true });
    await expect.poll(() => proxy.arrived.length).toBe(1);
    abort.abort();
    expect(await act(() => call)).toEqual({ error: "AbortError" });
    await eventually().toMatchObject({ pending: false, outcome: { outcome: "unknown" }, unsettled: expect.anything() });
    // The server has not seen it yet, and will.
    expect(await act(() => state.resolve())).toEqual([null]);
    proxy.release();
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    expect(await act(() => mutate(name))).toEqual({});
    await eventually().toMatchObject({ outcome: { outcome: "replayed" }, unsettled: undefined });
    expect(await effects(name)).toBe(1);
  });

  test("before it was sent: nothing is unsettled", async () => {
    expect(await act(() => mutate(name, { signal: AbortSignal.abort() }))).toEqual({ error: "AbortError" });
    await eventually().toMatchObject({ pending: false, outcome: undefined, unsettled: undefined });
    expect(proxy.arrived).toEqual([]);
  });
});
