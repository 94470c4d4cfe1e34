import type { Page } from "playwright-core";
import { beforeEach, describe, expect, test } from "vitest";

import type { front } from "./cancelFront.js";
import { callsOf, tabs } from "./chromium.js";
import { effects } from "./server.js";

const chromium = tabs("test/cancelFront.ts");
const { proxy, mutations } = chromium;
const call = callsOf<typeof front>();
let page: Page;
let name: string;
beforeEach(async () => {
  ({ name } = chromium);
  page = await chromium.visit();
});

const until = (condition: () => unknown, value: unknown) => expect.poll(condition, { timeout: 30_000 }).toBe(value);

describe.each(["Apollo Client", "urql"])("%s in Chromium", (client) => {
  /** The user's next click, after whatever the first left behind. */
  async function clickAgain(status: string, sent: number): Promise<void> {
    const before = mutations();
    await call(page, "start", client, name);
    expect(await call(page, "ended")).toEqual({ status });
    expect(mutations()).toBe(before + sent);
    expect(await effects(name)).toBe(1);
  }

  test("an abort in flight ends the request; the next click is a replay", async () => {
    proxy.faults = ["hang"];
    await call(page, "start", client, name);
    await until(() => effects(name), 1);
    await call(page, "abort", "left");
    expect(await call(page, "ended")).toEqual({ error: client === "urql" ? "left" : expect.any(String) });
    await until(() => proxy.hanging, 0);
    expect(mutations()).toBe(1);
    await clickAgain("REPLAYED", 1);
  });

  test("an abort in the pause ends it", async () => {
    proxy.faults = ["unavailable"];
    proxy.retryAfter = "99999999999";
    await call(page, "start", client, name);
    await until(() => call(page, "retried"), 1);
    await call(page, "abort");
    expect(await call(page, "ended")).toEqual({ error: "AbortError" });
    expect(mutations()).toBe(1);
    await clickAgain("EXECUTED", 1);
  });

  test("an abort while it is offline: nothing is sent when it is back", async () => {
    await chromium.context.setOffline(true);
    await call(page, "start", client, name);
    await until(() => call(page, "retried"), 1);
    await call(page, "abort");
    expect(await call(page, "ended")).toEqual({ error: "AbortError" });
    await chromium.context.setOffline(false);
    expect(await effects(name)).toBe(0);
    await clickAgain("EXECUTED", 1);
  });

  test("a try that hangs is ended and tried again: one project", async () => {
    proxy.faults = ["hang"];
    await call(page, "start", client, name, { timeoutMs: 1000 });
    expect(await call(page, "ended")).toEqual({ status: "REPLAYED" });
    await until(() => proxy.hanging, 0);
    expect(mutations()).toBe(2);
    expect(await effects(name)).toBe(1);
  });

  test("offline and back: the call waits and is sent once", async () => {
    await chromium.context.setOffline(true);
    await call(page, "start", client, name, { attempts: 2 });
    await until(() => call(page, "retried"), 1);
    await chromium.context.setOffline(false);
    expect(await call(page, "ended")).toEqual({ status: "EXECUTED" });
    expect(await call(page, "retried")).toBe(1);
    expect(mutations()).toBe(1);
    expect(await effects(name)).toBe(1);
  });

  test("offline for longer than it waits: an error, and nothing is lost", async () => {
    await chromium.context.setOffline(true);
    await call(page, "start", client, name, { attempts: 3, offlineMs: 200 });
    expect(await call(page, "ended")).toEqual({ error: "TypeError" });
    expect(await call(page, "retried")).toBe(2);
    await chromium.context.setOffline(false);
    await clickAgain("EXECUTED", 1);
  });
});
