import { mkdirSync } from "node:fs";

import axe from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";

import { Proxy } from "../../clients/typescript/test/proxy";
import { effects, server } from "../../clients/typescript/test/server";

const screenshots = "../bin/screenshots";
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let browser: Browser;
let context: BrowserContext;
let proxy: Proxy;
let faults: string[];

beforeAll(async () => {
  mkdirSync(screenshots, { recursive: true });
  proxy = await new Proxy(server).start();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});
afterAll(async () => {
  await browser?.close();
  await proxy?.stop();
});
beforeEach(() => {
  faults = [];
  proxy.faults = [];
  proxy.arrived.length = 0;
});
afterEach(async () => {
  await context.close();
  expect(faults).toEqual([]);
});

/** Opens the playground, and takes note of errors and of requests to another host. */
async function open(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
  context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()));
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(proxy.url) || faults.push(request.url()));
  await page.goto(proxy.url);
  await ready(page);
  return page;
}

const ready = (page: Page) => page.getByRole("region", { name: "Variables" }).getByText("idempotencyKey").waitFor();
const execute = (page: Page) => page.getByRole("button", { name: /^Execute/ }).click();
const lastAnswer = (page: Page) => page.getByRole("status", { name: "Last answer" });
const keys = (page: Page) => page.getByRole("list", { name: "Keys of this session" }).getByRole("listitem");

/** The key that would be sent, once there is one. */
async function currentKey(page: Page): Promise<string> {
  const input = page.getByLabel("What happened to this key?");
  await expect.poll(() => input.inputValue()).not.toBe("");
  return input.inputValue();
}

async function says(of: ReturnType<typeof lastAnswer>, text: RegExp): Promise<void> {
  await of.filter({ hasText: text }).waitFor({ timeout: 20_000 });
}

/** Writes the project's name into the variables, and leaves the key. */
async function nameIt(page: Page, name: string): Promise<void> {
  const key = await currentKey(page);
  await page.getByRole("region", { name: "Variables" }).locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(JSON.stringify({ input: { name }, idempotencyKey: key }));
  await expect.poll(() => currentKey(page)).toBe(key);
}

test("opens ready: the first send executes, the second is a replay, another payload is refused", async () => {
  const page = await open();
  const key = await currentKey(page);
  expect(key).toMatch(uuid);
  await execute(page);
  await says(lastAnswer(page), /EXECUTED createProject in \d+ ms, executed .*, replayed until/);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  await nameIt(page, "another");
  await execute(page);
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);

  expect(await keys(page).count()).toBe(1);
  expect(await keys(page).first().innerText()).toMatch(
    new RegExp(`${key}[^]*{"input":{"name":"Apollo"}}[^]*EXECUTED[^]*IDEMPOTENCY_KEY_REUSED[^]*REPLAYED`),
  );
});

test("a new key makes another call, and the list brings the first back", async () => {
  const page = await open();
  const first = await currentKey(page);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.getByRole("button", { name: "New key" }).click();
  await expect.poll(() => currentKey(page)).not.toBe(first);
  await nameIt(page, "second");
  await execute(page);
  await expect.poll(() => keys(page).count()).toBe(2);
  expect(await keys(page).first().innerText()).toContain('"second"');

  await page.getByRole("button", { name: `Use ${first}` }).click();
  await expect.poll(() => currentKey(page)).toBe(first);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  await page.getByRole("button", { name: "Clear the list" }).click();
  expect(await keys(page).count()).toBe(0);
});

test("a new key for every send", async () => {
  const page = await open();
  await page.getByRole("switch", { name: "New key for every send" }).check();
  for (const count of [1, 2, 3]) {
    await execute(page);
    await expect.poll(() => keys(page).count()).toBe(count);
  }
  await expect.poll(async () => (await keys(page).allInnerTexts()).join().match(/EXECUTED/g)?.length).toBe(3);
});

test("twenty at once are one execution", async () => {
  const page = await open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  const result = page.getByRole("status", { name: "Result of sending 20 times" });
  await page.getByRole("button", { name: "Send ×20 at once" }).click();
  await says(result, /^1 EXECUTED, 19 REPLAYED; 1 distinct result, in \d+ ms\.$/);
  expect(await effects(name)).toBe(1);
  // Again: its key has been sent, and it takes a new one.
  await page.getByRole("button", { name: "Send ×20 at once" }).click();
  await expect.poll(() => keys(page).count()).toBe(2);
  await says(result, /^1 EXECUTED, 19 REPLAYED/);
  expect(await effects(name)).toBe(2);
});

test("tells what happened to a key", async () => {
  const page = await open();
  const found = page.getByRole("status", { name: "What happened to the key" });
  await page.getByRole("button", { name: "Look up" }).click();
  await says(found, /^No call is stored under this key\.$/);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.getByRole("button", { name: "Look up" }).click();
  await says(found, /createProject executed .* and is replayed until .*, by the request [0-9a-f-]{36}/);
});

test("a reload keeps the key and the list", async () => {
  const page = await open();
  const key = await currentKey(page);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.reload();
  await ready(page);
  await expect.poll(() => currentKey(page)).toBe(key);
  expect(await keys(page).count()).toBe(1);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
});

test("what Chromium sends again by itself takes effect once", async () => {
  const page = await open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  proxy.arrived.length = 0;
  proxy.faults = ["cutAfter"];
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  expect(proxy.arrived.length).toBe(2);
  expect(await effects(name)).toBe(1);
});

test("an answer that does not come is said, and the next send executes", async () => {
  const page = await open();
  await page.route("**/graphql", (route) => route.abort());
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER/);
  await page.unroute("**/graphql");
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  expect(faults.splice(0)).toEqual(["Failed to load resource: net::ERR_FAILED"]);
});

test("opens with a session that can't be read, and keeps comments in the variables", async () => {
  const page = await open();
  await page.evaluate(() => sessionStorage.setItem("onceql:playground", "no JSON"));
  await page.reload();
  await ready(page);
  const first = await currentKey(page);
  const variables = page.getByRole("region", { name: "Variables" });
  await variables.locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("ControlOrMeta+Home");
  await page.keyboard.insertText("// a comment\n");
  await page.getByRole("button", { name: "New key" }).click();
  await expect.poll(() => currentKey(page)).not.toBe(first);
  await variables.getByText("// a comment").waitFor();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});

test("a key in the document is a key", async () => {
  const page = await open();
  const key = crypto.randomUUID();
  await page.getByRole("region", { name: "Operation Editor" }).locator(".monaco-editor").first().click();
  await page.keyboard.press("ControlOrMeta+A");
  await page.keyboard.press("Delete");
  await page.keyboard.insertText(`mutation { createProject(input: { name: "literal" }, idempotencyKey: "${key}") { project { id } } }`);
  await expect.poll(() => currentKey(page)).toBe(key);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED createProject/);
  expect(await keys(page).innerText()).toMatch(new RegExp(`${key}[^]*{"input":{"name":"literal"}}`));
  expect(await page.getByRole("button", { name: "New key" }).isDisabled()).toBe(true);
});

test("of several operations the one that is sent counts", async () => {
  const page = await open();
  await page.getByRole("region", { name: "Operation Editor" }).locator(".monaco-editor").first().click();
  await page.keyboard.press("ControlOrMeta+End");
  await page.keyboard.insertText(
    "mutation Other($input: CreateProjectInput!, $idempotencyKey: String!) { other: createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id } } }\n",
  );
  await page.keyboard.press("ControlOrMeta+Home");
  for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Control+Enter");
  await says(lastAnswer(page), /^EXECUTED createProject/);
  expect(await lastAnswer(page).innerText()).not.toContain("other");
});

test("sends the headers of the headers editor, and does not keep them", async () => {
  const page = await open();
  await page.getByRole("button", { name: "Headers" }).click();
  await page.getByRole("region", { name: "Headers" }).locator(".monaco-editor:visible").first().click();
  await page.keyboard.insertText(`{"Authorization": "Bearer token-of-a-test"}`);
  const [request] = await Promise.all([page.waitForRequest((request) => request.method() === "POST"), execute(page)]);
  expect(request.headers().authorization).toBe("Bearer token-of-a-test");
  const [schema] = await Promise.all([
    page.waitForRequest((request) => request.method() === "POST"),
    page.getByRole("button", { name: /^Re-fetch GraphQL schema/ }).click(),
  ]);
  expect(schema.headers().authorization).toBe("Bearer token-of-a-test");
  expect(schema.postData()).toContain("IntrospectionQuery");
  const [many] = await Promise.all([
    page.waitForRequest((request) => request.method() === "POST"),
    page.getByRole("button", { name: /^Send ×20/ }).click(),
  ]);
  expect(many.headers().authorization).toBe("Bearer token-of-a-test");
  await says(page.getByRole("status", { name: "Result of sending 20 times" }), /EXECUTED/);
  const stored = () => page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  // GraphiQL stores what it does a while after the last change.
  await page.getByRole("button", { name: "Variables" }).click();
  await nameIt(page, "after the token");
  await expect.poll(stored).toContain("after the token");
  expect(await stored()).not.toContain("token-of-a-test");
});

test("the keyboard alone sends, and gets a new key", async () => {
  const page = await open();
  const first = await currentKey(page);
  await page.getByRole("region", { name: "Operation Editor" }).locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("Control+Enter");
  await says(lastAnswer(page), /^EXECUTED/);
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  await page.getByRole("button", { name: /Idempotency$/ }).focus();
  for (let i = 0; (await focused()) !== "New key"; i++) {
    expect(i).toBeLessThan(10);
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await expect.poll(() => currentKey(page)).not.toBe(first);
});

test.each([
  { name: "light", options: { colorScheme: "light" as const } },
  { name: "dark", options: { colorScheme: "dark" as const } },
  { name: "narrow", options: { colorScheme: "light" as const, viewport: { width: 360, height: 740 } } },
])("is accessible, $name", async ({ name, options }) => {
  const page = await open(options);
  if (name === "narrow") {
    await page.getByRole("button", { name: "Show Idempotency" }).click();
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
  }
  await page.getByRole("button", { name: /^Send ×20/ }).click();
  await says(page.getByRole("status", { name: "Result of sending 20 times" }), /^1 EXECUTED, 19 REPLAYED/);
  await execute(page);
  await says(keys(page), /EXECUTED[^]*REPLAYED ×20/);
  await page.getByRole("button", { name: "Look up" }).click();
  await says(page.getByRole("status", { name: "What happened to the key" }), /executed/);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${screenshots}/playground-${name}.png` });
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => (window as any).axe.run() as Promise<axe.AxeResults>);
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  expect(grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join("\n")}`)).toEqual([]);
});
