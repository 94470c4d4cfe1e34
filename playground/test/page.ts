// The playground in Chromium, behind a proxy that loses what a bad network loses.
import axe from "axe-core";
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";

import { Proxy } from "../../clients/typescript/test/proxy";
import { server } from "../../clients/typescript/test/server";

export const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

interface Opening {
  url?: string;
  path?: string;
  prepare?: (page: Page) => Promise<unknown>;
  until?: (page: Page) => Promise<unknown>;
}

export interface Playground {
  proxy: Proxy;
  context: BrowserContext;
  /** Errors of the page and requests to other hosts: none at a test's end. */
  faults: string[];
  /**
   * Opens the playground, or another page at `path` of which `until` says when it is ready, in a context of its own,
   * in which nothing is stored but what `prepare` does.
   */
  open(options?: Parameters<Browser["newContext"]>[0] & Opening): Promise<Page>;
  /** Whether the API's mutations do not get to the server. */
  offline(lost: boolean): void;
  /** Takes the errors that Chromium reports for lost answers out of the faults. */
  expectLosses(): void;
}

/** A browser and a proxy for the tests of a file. */
export function playground(): Playground {
  let browser: Browser;
  const at = { faults: [] as string[] } as Playground;
  beforeAll(async () => {
    at.proxy = await new Proxy(server).start();
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await at.proxy?.stop();
  });
  beforeEach(() => {
    at.faults.length = 0;
    at.proxy.faults = [];
    at.proxy.arrived.length = 0;
  });
  afterEach(async () => {
    await at.context?.close();
    expect(at.faults).toEqual([]);
  });
  at.open = async ({ url = at.proxy.url, path = "/", prepare, until = ready, ...options } = {}) => {
    at.context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    at.context.on("page", (page) => watch(page, url, at.faults));
    const page = await at.context.newPage();
    await prepare?.(page);
    await page.goto(url + path);
    await until(page);
    return page;
  };
  at.offline = (lost) => (at.proxy.faults = lost ? Array(1000).fill("cutBefore") : []);
  at.expectLosses = () => {
    const others = at.faults.filter((fault) => !fault.startsWith("Failed to load resource"));
    expect(others.length).toBeLessThan(at.faults.length);
    at.faults.splice(0, Infinity, ...others);
  };
  return at;
}

function watch(page: Page, url: string, faults: string[]): void {
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(url) || faults.push(request.url()));
}

export const ready = (page: Page) => page.getByRole("region", { name: "Variables" }).getByText("idempotencyKey").waitFor();
export const execute = (page: Page) => page.getByRole("button", { name: /^Execute/ }).click();
export const press = (page: Page, name: string | RegExp) => page.locator(".idempotency").getByRole("button", { name }).click();
export const lastAnswer = (page: Page) => page.getByRole("status", { name: "Last answer" });
export const happened = (page: Page) => page.getByRole("status", { name: "What happened", exact: true });
export const keys = (page: Page) => page.getByRole("list", { name: "Keys of this session" }).getByRole("listitem");

/** The key that would be sent, once there is one. */
export async function currentKey(page: Page): Promise<string> {
  const input = page.getByLabel("What happened to this key?");
  await expect.poll(() => input.inputValue()).not.toBe("");
  return input.inputValue();
}

export async function says(of: Locator, text: RegExp): Promise<void> {
  await of.filter({ hasText: text }).waitFor({ timeout: 20_000 });
}

/** Writes into an editor, in the place of what it held. */
export async function write(page: Page, region: "Variables" | "Operation Editor" | "Headers", text: string): Promise<void> {
  await page.getByRole("region", { name: region }).locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(text);
}

/** Writes the project's name into the variables, and leaves the key. */
export async function nameIt(page: Page, name: string): Promise<string> {
  const key = await currentKey(page);
  await write(page, "Variables", JSON.stringify({ input: { name }, idempotencyKey: key }));
  await expect.poll(() => currentKey(page)).toBe(key);
  return key;
}

/** What an editor shows, without white space: it wraps lines. */
export function textOf(page: Page, region: "Variables" | "Headers" | "Result Window"): Promise<string> {
  return page
    .getByRole("region", { name: region })
    .locator(".monaco-editor:visible .view-lines")
    .first()
    .evaluate((lines) =>
      [...lines.children]
        .sort((a, b) => parseFloat((a as HTMLElement).style.top) - parseFloat((b as HTMLElement).style.top))
        .map(({ textContent }) => textContent!.replace(/\s/g, ""))
        .join(""),
    );
}

/** The faults that axe finds on the page, but for those of the impacts "minor" and null. */
export async function axeFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (window as any).axe.run() as Promise<axe.AxeResults>);
  const grave = violations.filter(({ impact }) => impact && impact !== "minor");
  return grave.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join("\n")}`);
}
