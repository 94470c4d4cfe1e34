// The page /playground/keys, on a server with a real issuer and on one without.
import { mkdirSync } from "node:fs";

import type { Locator, Page } from "playwright-core";
import { expect, test } from "vitest";

import { Proxy } from "../../clients/typescript/test/proxy";
import { effects } from "../../clients/typescript/test/server";
import { axeFaults, currentKey, happened, nameIt, playground, press, says } from "./page";

/** A server with authentication, and tokens: without the scope keys:read, and with that alone. */
const url = process.env.ONCEQL_GUARDED_URL!;
const token = process.env.ONCEQL_TOKEN!;
const keysToken = process.env.ONCEQL_KEYS_TOKEN!;
/** Those of a tenant with 45 keys, and of one without any, whose name is markup. */
const fullToken = process.env.ONCEQL_FULL_TOKEN!;
const emptyToken = process.env.ONCEQL_EMPTY_TOKEN!;
const screenshots = "../bin/screenshots";
const at = playground();

const path = "/playground/keys";
const status = (page: Page) => page.getByRole("status", { name: "What is shown" });
const settled = (page: Page) => says(status(page), /^(?!Loading)/);
const rows = (page: Page) => page.locator("button[aria-expanded]");
const tokenField = (page: Page) => page.getByLabel("Token, where the server asks for one");
const details = (page: Page) => page.locator(".details");

/** Opens the page on the server with authentication, which refuses it, and then with the token. */
async function openWith(token: string, options: Parameters<typeof at.open>[0] = {}): Promise<Page> {
  const page = await at.open({ ...options, url, path, until: settled });
  await says(status(page), /^The server wants to know who you are\. Give it a token with the scope keys:read\.$/);
  at.expectLosses();
  await tokenField(page).fill(token);
  await page.keyboard.press("Enter");
  await says(status(page), /^(?!The server wants)/);
  return page;
}

async function look(page: Page, key: string): Promise<void> {
  await page.getByLabel("What happened to this key?").fill(key);
  await page.getByRole("button", { name: "Look up" }).click();
}

const told = async (page: Page, name: string) =>
  details(page)
    .locator("dl div", { has: page.locator(`dt:text-is("${name}")`) })
    .locator("dd")
    .innerText();

test("was this created twice? An answer is lost, the same key is sent again, and the page says which request executed", async () => {
  const network = await new Proxy(url).start();
  const [key, other] = [crypto.randomUUID(), crypto.randomUUID()];
  const create = (requestId: string, under = key) =>
    fetch(network.url + "/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Request-Id": requestId, Authorization: `Bearer ${token}` },
      body: JSON.stringify({
        query: 'mutation ($key: String!) { createProject(input: { name: "once" }, idempotencyKey: $key) { project { id } } }',
        variables: { key: under },
      }),
    });
  const [lost, second] = [crypto.randomUUID(), crypto.randomUUID()];
  network.faults = ["cutAfter"];
  await expect(create(lost)).rejects.toThrow();
  const again = await (await create(second)).json();
  // Who makes a new key for a retry has it executed twice.
  const third = await (await create(crypto.randomUUID(), other)).json();
  await network.stop();
  expect(third.extensions.idempotency.createProject.status).toBe("EXECUTED");
  expect(again.extensions.idempotency.createProject).toMatchObject({ status: "REPLAYED", requestId: lost });

  const page = await openWith(keysToken);
  await look(page, ` ${key} `);
  await says(status(page), /^This is what happened to the key\.$/);
  expect(await rows(page).count()).toBe(1);
  expect(await told(page, "By the request")).toContain(lost);
  expect(await told(page, "Operation")).toBe("createProject");
  expect(await told(page, "Executed at")).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z \((just now|\d+ s ago)\)$/);
  expect(await told(page, "Fingerprint")).toMatch(/^[0-9a-f]{64} version 1$/);
  expect(await told(page, "Key in the log")).toMatch(/^[0-9a-f]{16}$/);
  expect(await told(page, "Replays until")).toMatch(/Z \(in 24 h\)$/);
  expect(await told(page, "Then refused until")).toMatch(/Z \(in 3 d\)$/);
  // The request that was answered executed nothing.
  await page.getByLabel("Request", { exact: true }).fill(second);
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^No key passes the filter\.$/);
  await page.getByLabel("Request", { exact: true }).fill(lost);
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^1 key, and no more\.$/);
  await page.getByLabel("Request", { exact: true }).fill("");
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^[2-9] keys, and no more\.$/);
  await page.getByRole("button", { name: `createProject, key ${other}`, exact: true }).click();
  const fingerprint = await told(page, "Fingerprint");
  await page.getByLabel("What happened to this key?").fill("");
  await page.getByRole("button", { name: `createProject, key ${key}`, exact: true }).click();
  expect(await told(page, "By the request")).toContain(lost);
  expect(await told(page, "Fingerprint")).toBe(fingerprint);
  mkdirSync(screenshots, { recursive: true });
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${screenshots}/keys-page.png` });
});

test("works without a token where the server asks for none, and leads there and back", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  await press(page, "Lose the answer");
  await says(happened(page), /^The mutation was executed/);
  const key = await currentKey(page);
  expect(await effects(name)).toBe(1);
  await page.getByRole("link", { name: "All keys of this tenant" }).click();
  await says(status(page), /^\d+ keys?, and /);
  await rows(page).first().click();
  expect(await told(page, "Key")).toBe(key);
  await page.getByRole("link", { name: "Playground" }).click();
  await page.getByRole("region", { name: "Variables" }).getByText("idempotencyKey").waitFor();
});

test("lists the newest first, filters, and loads more", async () => {
  const page = await openWith(fullToken);
  await says(status(page), /^20 keys, and there are more\.$/);
  expect(await page.content()).not.toContain("secret");
  for (const [shown, text] of [
    [40, /^40 keys, and there are more\.$/],
    [45, /^45 keys, and no more\.$/],
  ] as const) {
    await page.getByRole("button", { name: "Load more" }).focus();
    await page.keyboard.press("Enter");
    await says(status(page), text);
    expect(await rows(page).count()).toBe(shown);
    // The keyboard goes on with the first of the new ones.
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
    await expect.poll(focused).toBe(
      await rows(page)
        .nth(shown === 40 ? 20 : 40)
        .getAttribute("aria-label"),
    );
  }
  expect(await page.getByRole("button", { name: "Load more" }).count()).toBe(0);
  const states = await page.locator(".badge").allInnerTexts();
  expect(states).toEqual([...Array(40).fill("replays"), ...Array(5).fill("refused")]);

  await rows(page).nth(6).click();
  expect(await told(page, "In the trace")).toMatch(/^[0-9a-f]{32}$/);
  await page.getByRole("button", { name: "All keys of this request" }).click();
  await says(status(page), /^3 keys, and no more\.$/);
  const keys = () => page.locator("td code").allInnerTexts();
  expect(await keys()).toEqual(["key 6", "request-2", "key 7", "request-2", "key 8", "request-2"]);
  await page.getByLabel("Operation", { exact: true }).fill("archiveProject");
  await page.keyboard.press("Enter");
  await says(status(page), /^1 key, and no more\.$/);
  expect(await keys()).toEqual(["key 8", "request-2"]);

  await page.getByLabel("Request", { exact: true }).fill("");
  const minutesAgo = (minutes: number) =>
    page.evaluate((minutes) => {
      const then = new Date(Date.now() - minutes * 60_000);
      return new Date(then.getTime() - then.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
    }, minutes);
  await page.getByLabel("From, your time").fill(await minutesAgo(22.5));
  await page.getByLabel("To, your time").fill(await minutesAgo(10.5));
  await page.keyboard.press("Enter");
  await says(status(page), /^3 keys, and no more\.$/);
  expect(await keys()).toEqual(["key 12", "request-4", "key 16", "request-5", "key 20", "request-6"]);
});

test("a token without the scope is told which it takes, and still looks one key up", async () => {
  const page = await openWith(token);
  await says(status(page), /^The server refused it: this token may not run this query: it has not the scope keys:read\.$/);
  await expect(tokenField(page).evaluate((field) => field === document.activeElement)).resolves.toBe(true);
  expect(await rows(page).count()).toBe(0);
  await look(page, "nobody used this");
  await says(status(page), /^Nothing is stored under this key/);
});

test("another tenant's token sees nothing, whatever it asks for, and nothing stays of who was there before", async () => {
  const page = await openWith(fullToken);
  await says(status(page), /^20 keys/);
  await look(page, "key 6");
  await says(status(page), /^This is what happened/);
  await tokenField(page).fill(`Bearer ${emptyToken}`);
  await page.getByRole("button", { name: "Use the token" }).click();
  await says(status(page), /^Nothing is stored under this key/);
  expect(await page.locator("table").count()).toBe(0);
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^No key is stored: no mutation took effect, or its key was forgotten since\.$/);
  await tokenField(page).fill(fullToken);
  await page.getByRole("button", { name: "Use the token" }).click();
  await says(status(page), /^20 keys/);
  // A token that is not accepted takes away what was shown.
  await tokenField(page).fill("not.a.token");
  await page.getByRole("button", { name: "Use the token" }).click();
  await says(status(page), /^The server does not accept this token: /);
  expect(await page.locator("table").count()).toBe(0);
  await tokenField(page).fill("ключ\nx");
  await page.getByRole("button", { name: "Use the token" }).click();
  await says(status(page), /^Nothing was sent: this is no token/);
  at.expectLosses();
});

test("what callers wrote is text", async () => {
  const page = await openWith(fullToken);
  await says(status(page), /^20 keys/);
  await rows(page).first().click();
  expect(await told(page, "Key")).toMatch(/^<img src=x onerror=alert\(1\)> "key" k+$/);
  expect(await told(page, "Operation")).toBe("<script>alert(1)</script>");
  expect(await told(page, "By the request")).toContain("<b>request</b>");
  expect(await page.locator("main :is(img, script, b)").count()).toBe(0);
  await page.getByRole("button", { name: "All keys of this request" }).click();
  await says(status(page), /^1 key, and no more/);
});

test("the token is in memory alone, and in no address", async () => {
  const addresses: string[] = [];
  const page = await openWith(fullToken, { prepare: async (page) => page.on("request", (request) => addresses.push(request.url())) });
  await look(page, "key 6");
  await says(status(page), /^This is what happened/);
  addresses.push(page.url());
  const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state]));
  const part = fullToken.slice(-20);
  for (const text of [...addresses, stored]) expect(text).not.toMatch(new RegExp(`${part}|key( |%20|\\+)6`));
  await page.reload();
  await says(status(page), /^The server wants to know who you are/);
  expect(await tokenField(page).inputValue()).toBe("");
  at.expectLosses();
});

test("what is no answer is said, and the next try shows", async () => {
  const page = await at.open({ path, until: settled });
  await page.route("**/graphql", (route) => route.abort());
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^The server did not answer\. Nothing was changed by asking: try again\.$/);
  at.expectLosses();
  await page.unroute("**/graphql");
  await page.route("**/graphql", (route) => route.fulfill({ status: 503, contentType: "text/plain", body: "the queue is full" }));
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^The server answered with HTTP 503: the queue is full\. Try again in a moment\.$/);
  at.expectLosses();
  for (const json of [{}, [], null, { data: { idempotentCalls: { nodes: {} } } }, { data: {} }]) {
    await page.unroute("**/graphql");
    await page.route("**/graphql", (route) => route.fulfill({ json }));
    await page.getByRole("button", { name: "Show keys" }).click();
    await says(status(page), /^(The server's answer is of a form|The server answered with HTTP 200)/);
  }
  const strange = {
    key: {},
    operation: { a: 1 },
    executedAt: {},
    expiresAt: [],
    expired: "yes",
    retainedUntil: null,
    requestId: [],
    fingerprint: {},
  };
  await page.unroute("**/graphql");
  await page.route("**/graphql", (route) => route.fulfill({ json: { data: { idempotentCalls: { nodes: [strange], pageInfo: null } } } }));
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^1 key/);
  await rows(page).first().click();
  await says(details(page), /\[object Object\]/);
  await page.unroute("**/graphql");
  await page.getByRole("button", { name: "Show keys" }).click();
  await says(status(page), /^(\d+ keys?, and|No key is stored)/);
});

test("an answer that comes late does not replace a later one", async () => {
  const page = await openWith(fullToken);
  await says(status(page), /^20 keys/);
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/graphql", async (route) => {
    if (route.request().postData()!.includes("key 6")) await held;
    await route.continue();
  });
  await look(page, "key 6");
  await look(page, "key 7");
  await says(details(page), /key 7/);
  const late = page.waitForResponse((response) => response.request().postData()!.includes("key 6"));
  release();
  await (await late).finished();
  expect(await told(page, "Key")).toBe("key 7");
});

test.each([
  { name: "light", options: { colorScheme: "light" as const } },
  { name: "dark", options: { colorScheme: "dark" as const } },
  { name: "narrow", options: { colorScheme: "light" as const, viewport: { width: 390, height: 844 } } },
  { name: "narrow-dark", options: { colorScheme: "dark" as const, viewport: { width: 390, height: 844 } } },
])("is accessible, $name", async ({ name, options }) => {
  mkdirSync(screenshots, { recursive: true });
  const page = await openWith(token, options);
  expect(await axeFaults(page)).toEqual([]);
  await tokenField(page).fill(fullToken);
  await page.keyboard.press("Enter");
  await says(status(page), /^20 keys/);
  await rows(page).first().click();
  await fits(page);
  expect(await axeFaults(page)).toEqual([]);
  await rows(page).nth(2).click();
  await fits(page);
  // The table is as wide as its page, at each width.
  const widths = await page.locator("main, table, tr.opened").evaluateAll((found) => found.map((element) => element.clientWidth));
  expect(widths[1]).toBeGreaterThanOrEqual(widths[0]! - 40);
  expect(widths[2]).toBe(widths[1]);
  const [first, last] = await page
    .locator("tr.opened > :is(th, td:last-child)")
    .evaluateAll((cells) => cells.map((cell) => cell.getBoundingClientRect()));
  expect(last!.right - first!.left).toBeGreaterThanOrEqual(widths[1]! - 1);
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${screenshots}/keys-${name}.png` });
});

const fits = async (page: Page) =>
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(page.viewportSize()!.width);

test("the keyboard alone gives the token, looks a key up, and opens a row", async () => {
  const page = await openWith(fullToken);
  await says(status(page), /^20 keys/);
  const reach = async (of: Locator) => {
    for (let i = 0; !(await of.evaluate((element) => element === document.activeElement)); i++) {
      expect(i).toBeLessThan(30);
      await page.keyboard.press("Tab");
    }
  };
  await reach(rows(page).nth(1));
  await page.keyboard.press("Enter");
  expect(await rows(page).nth(1).getAttribute("aria-expanded")).toBe("true");
  expect(await told(page, "Key")).toBe("key 1");
  await page.keyboard.press("Space");
  expect(await details(page).count()).toBe(0);
  await tokenField(page).focus();
  await reach(page.getByLabel("What happened to this key?"));
  await page.keyboard.type("key 44");
  await page.keyboard.press("Enter");
  await says(details(page), /Replayed until/);
});
