import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";

import type { front } from "./front.js";
import { isMutation, Proxy } from "./proxy.js";
import { server } from "./server.js";

export type Front = typeof front;

/** A tab of Chromium whose page, at the proxy's origin, has the clients of front.ts. */
export interface Tabs {
  context: BrowserContext;
  proxy: Proxy;
  /** Another for each test. */
  name: string;
  visit(): Promise<Page>;
  /** How many mutations arrived. */
  mutations(): number;
}

/** Starts Chromium for the tests of a file, with a context of its own for each test. */
export function tabs(): Tabs {
  let browser: Browser;
  const proxy = new Proxy(server);
  const tabs: Tabs = {
    context: undefined as unknown as BrowserContext,
    proxy,
    name: "",
    async visit() {
      const page = await tabs.context.newPage();
      await page.goto(proxy.url);
      return page;
    },
    mutations: () => proxy.arrived.filter(({ query }) => isMutation(query)).length,
  };
  beforeAll(async () => {
    const { outputFiles } = await build({ entryPoints: ["test/front.ts"], bundle: true, format: "iife", write: false });
    await proxy.start();
    proxy.pages.set("/", { type: "text/html", body: "<!doctype html><script src=/front.js></script>" });
    proxy.pages.set("/empty", { type: "text/html", body: "<!doctype html>" });
    proxy.pages.set("/front.js", { type: "text/javascript", body: outputFiles[0]!.text });
    proxy.pages.set("/favicon.ico", { type: "image/png", body: "" });
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await proxy.stop();
  });
  beforeEach(async () => {
    tabs.name = crypto.randomUUID();
    proxy.faults = [];
    proxy.naive = false;
    proxy.offline = false;
    proxy.arrived.length = 0;
    tabs.context = await browser.newContext();
  });
  afterEach(() => tabs.context.close());
  return tabs;
}

/** Runs a function of the page's front. */
export function call<K extends keyof Front>(
  page: Page,
  method: K,
  ...parameters: Parameters<Front[K]>
): Promise<Awaited<ReturnType<Front[K]>>> {
  return page.evaluate(([method, parameters]) => (window as any).front[method](...parameters), [method, parameters] as const);
}
