import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";

import type { front } from "./front.js";
import { isMutation, Proxy } from "./proxy.js";
import { server } from "./server.js";

export type Front = typeof front;

/** Tabs of Chromium whose page, at the proxy's origin, has a front: that of front.ts, unless set. */
export interface Tabs {
  context: BrowserContext;
  proxy: Proxy;
  /** Another for each test. */
  name: string;
  visit(hash?: string): Promise<Page>;
  /** How many mutations arrived. */
  mutations(): number;
}

/** Starts Chromium for the tests of a file, with a context of its own for each test. */
export function tabs(entry = "test/front.ts"): Tabs {
  let browser: Browser;
  const proxy = new Proxy(server);
  const tabs: Tabs = {
    context: undefined as unknown as BrowserContext,
    proxy,
    name: "",
    async visit(hash = "") {
      const page = await tabs.context.newPage();
      await page.goto(proxy.url + hash);
      return page;
    },
    mutations: () => proxy.arrived.filter(({ query }) => isMutation(query)).length,
  };
  beforeAll(async () => {
    const { outputFiles } = await build({
      entryPoints: [entry],
      bundle: true,
      format: "iife",
      jsx: "automatic",
      define: { "process.env.NODE_ENV": '"development"' },
      write: false,
    });
    await proxy.start();
    proxy.pages.set("/", {
      type: "text/html",
      body: "<!doctype html><meta charset=utf-8><div id=app></div><script src=/front.js></script>",
    });
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
    proxy.reset();
    tabs.context = await browser.newContext();
  });
  afterEach(() => tabs.context.close());
  return tabs;
}

/** Runs a function of a page's front. */
export const callsOf =
  <F extends Record<keyof F, (...parameters: any[]) => any>>() =>
  <K extends keyof F & string>(page: Page, method: K, ...parameters: Parameters<F[K]>): Promise<Awaited<ReturnType<F[K]>>> =>
    page.evaluate(([method, parameters]) => (window as any).front[method](...parameters), [method, parameters] as const);
export const call = callsOf<Front>();
