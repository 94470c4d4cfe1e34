import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

import { build } from "esbuild";
import type { Frame, Page } from "playwright-core";

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
export async function serveStores(): Promise<{ server: Server; port: number }> {
  const { outputFiles } = await build({ entryPoints: ["src/stores.ts"], bundle: true, format: "iife", globalName: "stores", write: false });
  const page = Object.entries(scripts).map(([copy, source]) => `<script src=${source}></script><script>var ${copy} = stores</script>`);
  const server = createServer(({ url }, to) => {
    const script = Object.values(scripts).includes(url!);
    to.writeHead(200, { "Content-Type": script ? "text/javascript" : "text/html", "Cache-Control": "no-store" });
    to.end(script ? outputFiles[0]!.text : "<!doctype html>" + page.join(""));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, port: (server.address() as AddressInfo).port };
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
export async function addFrame(page: Page, sandbox = "allow-scripts allow-same-origin"): Promise<Frame> {
  const element = await page.evaluateHandle(
    (sandbox) =>
      new Promise<HTMLIFrameElement>((resolve) => {
        const frame = document.createElement("iframe");
        frame.onload = () => resolve(frame);
        frame.sandbox.value = sandbox;
        frame.src = "/frame";
        document.body.append(frame);
      }),
    sandbox,
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
  await witness.waitForFunction(
    async (owners) => !(await navigator.locks.query()).held!.some(({ name }) => owners.some((owner) => name!.endsWith(owner))),
    owners,
  );
}
