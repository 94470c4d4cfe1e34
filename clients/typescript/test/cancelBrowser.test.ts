import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { front } from "./cancelFront.js";
import { isMutation, Proxy } from "./proxy.js";
import { effects, server } from "./server.js";

type Front = typeof front;

let browser: Browser;
let context: BrowserContext;
let page: Page;
let proxy: Proxy;
let name: string;

beforeAll(async () => {
  const { outputFiles } = await build({ entryPoints: ["test/cancelFront.ts"], bundle: true, format: "iife", write: false });
  proxy = await new Proxy(server).start();
  proxy.pages.set("/", { type: "text/html", body: "<!doctype html><script src=/front.js></script>" });
  proxy.pages.set("/front.js", { type: "text/javascript", body: outputFiles[0]!.text });
  proxy.pages.set("/favicon.ico", { type: "image/png", body: "" });
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});
afterAll(async () => {
  await browser?.close();
  await proxy?.stop();
});
beforeEach(async () => {
  name = crypto.randomUUID();
  proxy.faults = [];
  proxy.retryAfter = "1";
  proxy.arrived.length = 0;
  context = await browser.newContext();
  page = await context.newPage();
  await page.goto(proxy.url);
});
afterEach(() => context.close());

/** Runs a function of the page's front. */
function call<K extends keyof Front>(method: K, ...parameters: Parameters<Front[K]>): Promise<Awaited<ReturnType<Front[K]>>> {
  return page.evaluate(([method, parameters]) => (window as any).front[method](...parameters), [method, parameters] as const);
}

const mutations = () => proxy.arrived.filter(({ query }) => isMutation(query)).length;
const until = (condition: () => unknown, value: unknown) => expect.poll(condition, { timeout: 30_000 }).toBe(value);

describe.each(["Apollo Client", "urql"])("%s in Chromium", (client) => {
  /** The user's next click, after whatever the first left behind. */
  async function clickAgain(status: string, sent: number): Promise<void> {
    const before = mutations();
    await call("start", client, name);
    expect(await call("ended")).toEqual({ status });
    expect(mutations()).toBe(before + sent);
    expect(await effects(name)).toBe(1);
  }

  test("an abort in flight ends the request; the next click is a replay", async () => {
    proxy.faults = ["hang"];
    await call("start", client, name);
    await until(() => effects(name), 1);
    await call("abort", "left");
    expect(await call("ended")).toEqual({ error: client === "urql" ? "left" : expect.any(String) });
    await until(() => proxy.hanging, 0);
    expect(mutations()).toBe(1);
    await clickAgain("REPLAYED", 1);
  });

  test("an abort in the pause ends it", async () => {
    proxy.faults = ["unavailable"];
    proxy.retryAfter = "99999999999";
    await call("start", client, name);
    await until(() => call("retried"), 1);
    await call("abort");
    expect(await call("ended")).toEqual({ error: "AbortError" });
    expect(mutations()).toBe(1);
    await clickAgain("EXECUTED", 1);
  });

  test("an abort while it is offline: nothing is sent when it is back", async () => {
    await context.setOffline(true);
    await call("start", client, name);
    await until(() => call("retried"), 1);
    await call("abort");
    expect(await call("ended")).toEqual({ error: "AbortError" });
    await context.setOffline(false);
    expect(await effects(name)).toBe(0);
    await clickAgain("EXECUTED", 1);
  });

  test("a try that hangs is ended and tried again: one project", async () => {
    proxy.faults = ["hang"];
    await call("start", client, name, { timeoutMs: 1000 });
    expect(await call("ended")).toEqual({ status: "REPLAYED" });
    await until(() => proxy.hanging, 0);
    expect(mutations()).toBe(2);
    expect(await effects(name)).toBe(1);
  });

  test("offline and back: the call waits and is sent once", async () => {
    await context.setOffline(true);
    await call("start", client, name, { attempts: 2 });
    await until(() => call("retried"), 1);
    await context.setOffline(false);
    expect(await call("ended")).toEqual({ status: "EXECUTED" });
    expect(await call("retried")).toBe(1);
    expect(mutations()).toBe(1);
    expect(await effects(name)).toBe(1);
  });

  test("offline for longer than it waits: an error, and nothing is lost", async () => {
    await context.setOffline(true);
    await call("start", client, name, { attempts: 3, offlineMs: 200 });
    expect(await call("ended")).toEqual({ error: "TypeError" });
    expect(await call("retried")).toBe(2);
    await context.setOffline(false);
    await clickAgain("EXECUTED", 1);
  });
});
