import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { type Browser, chromium, type Page } from "playwright-core";
import { build, preview, type PreviewServer } from "vite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import { isMutation, Proxy } from "../typescript/test/proxy.js";
import { effects, server } from "../typescript/test/server.js";
import { App } from "./app.js";

// The pages of docs/clients whose code, one after the other, makes an app.
const apps: Record<string, string[]> = {
  "Apollo Client": ["apollo"],
  urql: ["urql"],
  "GraphQL Code Generator": ["apollo", "codegen"],
  "gql.tada": ["urql", "gql-tada"],
  Relay: ["relay"],
  fetch: ["fetch"],
};

// Where the pages take the server to be.
const documented = "http://127.0.0.1:8080";

let browser: Browser;
beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});
afterAll(() => browser?.close());

const pages = join(import.meta.dirname, "../../docs/clients");

/** Does what a page says: writes the files that it names, and runs what it has run. */
async function follow(app: App, page: string, url: string): Promise<void> {
  const text = await readFile(join(pages, `${page}.md`), "utf8");
  // A file's name stands alone in the line before its code.
  for (const [, path, language, code] of text.matchAll(/(?:^`([^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$/gms)) {
    if (path) await app.write(path, code!.replaceAll(documented, url));
    else if (language === "sh") for (const line of code!.trim().split("\n")) await obey(app, line.replace(/\s+#.*/, ""), url);
  }
}

async function obey(app: App, line: string, url: string): Promise<void> {
  const [program, ...words] = line.split(" ");
  const packages = words.slice(1).filter((word) => !word.startsWith("-"));
  if (program === "npx") await app.run(words[0]!, ...words.slice(1));
  else if (line.startsWith("npm install ")) await app.install(...packages.map((name) => name.replace(/^.*\.tgz$/, "@onceql/client")));
  else if (line.startsWith(`curl -O ${documented}/`)) {
    const path = line.slice(`curl -O ${documented}/`.length);
    await app.write(path, await (await fetch(`${url}/${path}`)).text());
  } else if (!/^(npm create vite@latest|cd) my-app/.test(line)) throw new Error(`no way to run ${line}`);
}

test("every page that has something installed is followed", async () => {
  const files = (await readdir(pages)).sort();
  const texts = await Promise.all(files.map((file) => readFile(join(pages, file), "utf8")));
  const installing = files.filter((_, i) => texts[i]!.includes("npm install")).map((file) => file.replace(".md", ""));
  expect(installing).toEqual([...new Set(Object.values(apps).flat())].sort());
});

describe.concurrent.each(Object.entries(apps))("an empty Vite app with %s, as the pages say", (_, names) => {
  let proxy: Proxy;
  let app: App;
  let served: PreviewServer;
  let page: Page;
  let pending = 0;

  const mutations = () => proxy.arrived.filter(({ query }) => isMutation(query));
  const shows = (role: "status" | "alert", hasText: string) => page.getByRole(role).filter({ hasText }).waitFor({ timeout: 60_000 });

  /** Types a name, and presses Create. */
  async function create(name: string, clickCount = 1): Promise<void> {
    await page.getByLabel("Name").fill(name);
    await page.getByRole("button", { name: "Create", exact: true }).click({ clickCount });
  }

  beforeAll(async () => {
    proxy = await new Proxy(server).start();
    app = await App.empty();
    for (const name of names) await follow(app, name, proxy.url);
    await app.run("tsc", "-b");
    const inline = { root: app.dir, logLevel: "silent" } as const;
    await build(inline);
    served = await preview({ ...inline, preview: { port: 0, host: "127.0.0.1" } });
    page = await browser.newPage();
    page.on("request", () => pending++);
    for (const end of ["requestfinished", "requestfailed"] as const) page.on(end as "requestfinished", () => pending--);
    await page.goto(served.resolvedUrls!.local[0]!);
  });
  afterEach(() => {
    proxy.faults = [];
  });
  afterAll(async () => {
    await page?.close();
    await served?.close();
    await proxy?.stop();
    await app?.remove();
  });

  test("creates a project once, also when an answer is lost or the click a double one, and asks before it sends another", async ({
    expect,
  }) => {
    const [lost, unsettled, edited, twice] = Array.from({ length: 4 }, () => crypto.randomUUID());
    proxy.faults = ["cutAfter"];
    await create(lost!);
    await shows("status", lost!);
    expect(mutations().length).toBeGreaterThan(1);
    expect(new Set(mutations().map(({ variables }) => variables.idempotencyKey)).size).toBe(1);

    // What the server refuses is no unknown outcome.
    await create("");
    await shows("alert", "1 to 200 characters");
    expect(await page.getByRole("alert").innerText()).not.toMatch(/not known/);

    // Every answer is lost, until the helper has given up.
    proxy.faults = Array(100).fill("cutAfter");
    await create(unsettled!);
    await shows("alert", "not known");
    // Also while it can't be looked up.
    proxy.arrived.length = 0;
    await create(edited!);
    await shows("alert", "earlier");
    proxy.faults = [];
    expect(mutations()).toEqual([]);
    await page.getByRole("button", { name: "Create this one too" }).click();
    await shows("status", edited!);

    await create(twice!, 2);
    await shows("status", twice!);
    await expect.poll(() => pending).toBe(0);
    const each = await Promise.all([lost, unsettled, edited, twice].map((name) => effects(name!)));
    expect(each).toEqual([1, 1, 1, 1]);
  });
});
