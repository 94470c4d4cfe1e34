import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Frame, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";

/** A window: a tab's page, or a frame in it. */
export type Window = Page | Frame;

/** One store of one copy of the package in a window. */
export interface Place {
  copy?: "first" | "second";
  kind?: "sessionStore" | "localStore";
  /** The name of the server that the store is for. */
  server?: string;
}

const scripts = { first: "/first.js", second: "/second.js" };

/** Serves, at any path, a page with two copies of the stores in it. */
async function serveStores(): Promise<Server[]> {
  const { outputFiles } = await build({ entryPoints: ["src/stores.ts"], bundle: true, format: "iife", globalName: "stores", write: false });
  const page = Object.entries(scripts).map(([copy, source]) => `<script src=${source}></script><script>var ${copy} = stores</script>`);
  const answer: RequestListener = ({ url }, to) => {
    const script = Object.values(scripts).includes(url!);
    to.writeHead(200, { "Content-Type": script ? "text/javascript" : "text/html", "Cache-Control": "no-store" });
    to.end(script ? outputFiles[0]!.text : "<!doctype html>" + page.join(""));
  };
  const servers = [createServer(answer), createServer(answer)];
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))));
  return servers;
}

const launch = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP plain.test 127.0.0.1"],
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
};

/** A browser for the tests of a file, with a profile of its own for each. */
export class Origin {
  url = "";
  /** The same pages where the context is not secure. */
  insecure = "";
  /** The same pages at another origin of the site: browsers block the storage of another site's frames. */
  elsewhere = "";
  context!: BrowserContext;

  constructor() {
    let servers: Server[] = [];
    let browser: Browser;
    beforeAll(async () => {
      servers = await serveStores();
      const [port, otherPort] = servers.map((server) => (server.address() as AddressInfo).port);
      this.url = `http://127.0.0.1:${port}/`;
      this.insecure = `http://plain.test:${port}/`;
      this.elsewhere = `http://127.0.0.1:${otherPort}/`;
      browser = await chromium.launch(launch);
    });
    afterAll(async () => {
      await browser?.close();
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    });
    beforeEach(async () => {
      this.context = await browser.newContext();
    });
    afterEach(() => this.context.close());
  }

  async visit(url = this.url, context = this.context): Promise<Page> {
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }
}

/** Runs a test in a browser whose user has blocked storage. */
export async function withBlockedStorage(run: (context: BrowserContext) => Promise<void>): Promise<void> {
  const profile = await mkdtemp(join(tmpdir(), "profile-"));
  await mkdir(join(profile, "Default"));
  const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  const context = await chromium.launchPersistentContext(profile, launch);
  try {
    await run(context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, maxRetries: 5 });
  }
}

const call = (window: Window, method: string, place: Place, ...parameters: string[]): Promise<any> =>
  window.evaluate(
    async ([method, { copy = "first", kind = "sessionStore", server }, parameters]) =>
      (globalThis as any)[copy][kind](server)[method](...parameters),
    [method, place, parameters] as const,
  );

export const get = (window: Window, name: string, place: Place = {}): Promise<string | null> => call(window, "get", place, name);
export const set = (window: Window, name: string, value: string, place: Place = {}): Promise<void> =>
  call(window, "set", place, name, value);
export const remove = (window: Window, name: string, place: Place = {}): Promise<void> => call(window, "delete", place, name);
export const keys = (window: Window, place: Place = {}, ...text: string[]): Promise<string[]> => call(window, "keys", place, ...text);

/** Adds a frame to a page. One with a sandbox has neither storage nor locks. */
export async function addFrame(page: Page, { sandbox = "allow-scripts allow-same-origin", src = "/frame" } = {}): Promise<Frame> {
  const element = await page.evaluateHandle(
    ([sandbox, src]) =>
      new Promise<HTMLIFrameElement>((resolve) => {
        const frame = document.createElement("iframe");
        frame.onload = () => resolve(frame);
        frame.sandbox.value = sandbox;
        frame.src = src;
        document.body.append(frame);
      }),
    [sandbox, src] as const,
  );
  return (await element.contentFrame())!;
}

export const removeFrames = (page: Page): Promise<void> =>
  page.evaluate(() => document.querySelectorAll("iframe").forEach((frame) => frame.remove()));

/** Opens a tab with a copy of the page's sessionStorage, as a duplicate has. */
export async function duplicate(page: Page): Promise<Page> {
  const [copy] = await Promise.all([page.context().waitForEvent("page"), page.evaluate(() => void window.open(location.href))]);
  await copy.waitForFunction(() => "second" in window);
  return copy;
}

/** Closes a tab and waits until the browser has let go of its locks, a little later. */
export async function close(page: Page, witness: Page): Promise<void> {
  const ownersOf = (window: Window): Promise<string[]> => window.evaluate(() => [...((globalThis as any)[Symbol.for("onceql")] ?? [])]);
  const owners = (await Promise.all(page.frames().map(ownersOf))).flat();
  await page.close();
  const held = () => witness.evaluate(async () => (await navigator.locks.query()).held!.map(({ name }) => name!));
  const heldByIt = async () => (await held()).filter((name) => owners.some((owner) => name.endsWith(owner)));
  await expect.poll(heldByIt, { timeout: 30_000 }).toEqual([]);
}

/** What is in the storages that a window has. */
export const entries = (window: Window): Promise<string[]> =>
  window.evaluate(() => [sessionStorage, localStorage].flatMap((storage) => Object.entries<string>(storage).flat()));

export const clearStorage = (window: Window): Promise<void> => window.evaluate(() => (sessionStorage.clear(), localStorage.clear()));
