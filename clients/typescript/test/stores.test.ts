import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { localStore, sessionStore } from "../src/stores.js";
import { addFrame, close, duplicate, get, keys, type Place, remove, removeFrames, serveStores, set, type Window } from "./origin.js";

const launch = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--host-resolver-rules=MAP plain.test 127.0.0.1"],
  ignoreDefaultArgs: ["--disable-back-forward-cache"],
};

let server: Server;
let url: string;
let plain: string;
let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  const served = await serveStores();
  server = served.server;
  url = `http://127.0.0.1:${served.port}/`;
  plain = `http://plain.test:${served.port}/`;
  browser = await chromium.launch(launch);
});
afterAll(async () => {
  await browser?.close();
  server?.closeAllConnections();
  server?.close();
});
beforeEach(async () => {
  context = await browser.newContext();
});
afterEach(() => context.close());

const visit = async (at = url): Promise<Page> => {
  const page = await context.newPage();
  await page.goto(at);
  return page;
};

const local = { kind: "localStore" } as const;

describe.each(["sessionStore", "localStore"] as const)("%s", (kind) => {
  const here = { kind };
  const other = { kind, copy: "second" } as const;

  test("keeps an item over ten reloads in a row", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    for (let i = 0; i < 10; i++) await page.reload();
    for (let i = 0; i < 10; i++) {
      expect(await get(page, "n", here)).toBe("1");
      await page.reload();
    }
  });

  test("keeps an item over pages of its tab, back and forward", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    await page.goto(url + "next");
    expect(await get(page, "n", here)).toBe("1");
    await set(page, "n", "2", here);
    await page.goBack();
    expect(await get(page, "n", here)).toBe("2");
    await set(page, "n", "3", here);
    await page.goForward();
    expect(await get(page, "n", here)).toBe("3");
    await page.goto("about:blank");
    await page.goBack();
    expect(await get(page, "n", here)).toBe("3");
  });

  test("a frame that comes and goes, as one that renews a token, takes nothing", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    for (let i = 0; i < 2; i++) {
      const frame = await addFrame(page);
      expect(await get(frame, "n", here)).toBeNull();
      await removeFrames(page);
    }
    await page.reload();
    expect(await get(page, "n", here)).toBe("1");
  });

  test("a frame that is removed leaves its items to the page", async () => {
    const page = await visit();
    await set(await addFrame(page), "n", "1", here);
    await removeFrames(page);
    expect(await get(page, "n", here)).toBe("1");
    expect(await get(await addFrame(page), "n", here)).toBeNull();
  });

  test.each(["page", "frame"] as const)("page and frame have items of their own, and the %s is the first after a reload", async (first) => {
    const page = await visit();
    const frame = await addFrame(page);
    await set(page, "of the page", "1", here);
    await set(frame, "of the frame", "2", here);
    await set(page, "of both", "3", here);
    await set(frame, "of both", "4", here);
    expect(await get(page, "of the frame", here)).toBeNull();
    expect(await get(frame, "of the page", here)).toBeNull();
    await page.reload();
    const inPage = () => page;
    const inFrame = () => addFrame(page);
    const [one, two] = first === "page" ? [inPage, inFrame] : [inFrame, inPage];
    const [early, late] = [await one(), await two()];
    expect(await get(early, first === "page" ? "of the page" : "of the frame", here)).toBe(first === "page" ? "1" : "2");
    expect(await get(late, first === "page" ? "of the frame" : "of the page", here)).toBe(first === "page" ? "2" : "1");
    // The first to ask resolves what it got before the second asks.
    const got = await get(early, "of both", here);
    await remove(early, "of both", here);
    expect([got, await get(late, "of both", here)].sort()).toEqual(["3", "4"]);
  });

  test("two copies of the package in one page have items of their own, also after a reload", async () => {
    const page = await visit();
    await Promise.all([set(page, "n", "1", here), set(page, "n", "2", other)]);
    await set(page, "of the second", "3", other);
    expect(await get(page, "n", here)).toBe("1");
    expect(await get(page, "of the second", here)).toBeNull();
    for (let i = 0; i < 2; i++) {
      await page.reload();
      expect((await Promise.all([get(page, "n", here), get(page, "n", other)])).sort()).toEqual(["1", "2"]);
      expect(await get(page, "of the second", other)).toBe("3");
    }
  });

  test("a duplicated tab and the original keep their own, also after a reload of each", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    await set(page, "left by an earlier page", "2", here);
    await page.reload();
    expect(await get(page, "n", here)).toBe("1");
    const copy = await duplicate(page);
    expect(await get(copy, "n", here)).toBeNull();
    await set(copy, "n", "3", here);
    for (const tab of [page, copy, page]) {
      await tab.reload();
      expect([await get(page, "n", here), await get(copy, "n", here)]).toEqual(["1", "3"]);
    }
    expect(await get(copy, "left by an earlier page", here)).toBeNull();
    expect(await get(page, "left by an earlier page", here)).toBe("2");
  });

  test("two tabs keep their own, also when both are reloaded at once", async () => {
    const [page, tab] = [await visit(), await visit()];
    await set(page, "n", "1", here);
    await set(page, "of the page", "2", here);
    expect(await get(tab, "n", here)).toBeNull();
    await set(tab, "n", "3", here);
    await Promise.all([page.reload(), tab.reload()]);
    // An application opens its store when it starts.
    await Promise.all([keys(page, here), keys(tab, here)]);
    expect(await get(tab, "of the page", here)).toBeNull();
    expect(await Promise.all([get(page, "n", here), get(tab, "n", here)])).toEqual(["1", "3"]);
    expect(await get(page, "of the page", here)).toBe("2");
  });

  test("Storage.clear() takes nothing", async () => {
    const page = await visit();
    const clear = () => page.evaluate(() => (sessionStorage.clear(), localStorage.clear()));
    const entries = () => page.evaluate(() => Object.values(sessionStorage).concat(Object.values(localStorage)));
    await set(page, "n", "1", here);
    await clear();
    expect(await get(page, "n", here)).toBe("1");
    expect(await entries()).toContain("1");
    await clear();
    // A frame that comes now finds no name of the tab in storage.
    await set(await addFrame(page), "of the frame", "2", here);
    await clear();
    await page.reload();
    expect(await get(page, "n", here)).toBe("1");
    expect(await get(page, "of the frame", here)).toBe("2");
  });

  test("the Storage.clear() of another page takes nothing, whatever becomes of this one", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    const other = kind === "localStore" ? await visit() : await addFrame(page);
    await other.evaluate(() => (sessionStorage.clear(), localStorage.clear()));
    const entries = () => other.evaluate(() => Object.values(sessionStorage).concat(Object.values(localStorage)));
    await expect.poll(entries, { timeout: 30_000 }).toContain("1");
  });

  test("a full storage takes nothing", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    await page.evaluate(() => {
      for (const storage of [localStorage, sessionStorage]) {
        for (let size = 1 << 22; size; size >>= 1) {
          try {
            storage.setItem("filler " + size, "x".repeat(size));
          } catch {}
        }
      }
    });
    await set(page, "n", "2", here);
    await set(page, "later", "3", here);
    expect(await get(page, "later", here)).toBe("3");
    await page.evaluate(() =>
      [localStorage, sessionStorage].forEach((storage) =>
        Object.keys(storage)
          .filter((item) => item.startsWith("filler"))
          .forEach((item) => storage.removeItem(item)),
      ),
    );
    await page.reload();
    expect(await get(page, "later", here)).toBe("3");
  });

  test("a tab that crashed has its items when it is loaded again", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    const devTools = await context.newCDPSession(page);
    const crashed = page.waitForEvent("crash");
    void devTools.send("Page.crash").catch(() => {});
    await crashed;
    await devTools.send("Page.reload");
    const read = async () => {
      const expression = `"first" in self ? first.${kind}().get("n") : undefined`;
      return (await devTools.send("Runtime.evaluate", { expression, awaitPromise: true })).result.value;
    };
    await expect.poll(read, { timeout: 30_000 }).toBe("1");
  });

  test("an item that nobody asks for ends with its time", async () => {
    const page = await visit();
    const value = (until: number) => JSON.stringify({ until });
    const later = value(Date.now() + 3_600_000);
    await set(page, "over", value(Date.now() - 1), here);
    await set(page, "not yet", later, here);
    await page.reload();
    expect(await get(page, "over", here)).toBeNull();
    expect(await keys(page, here)).toEqual(["not yet"]);
    const entries = () => page.evaluate(() => Object.keys(sessionStorage).concat(Object.keys(localStorage)).join());
    expect(await entries()).not.toContain("over");
    expect(await get(page, "not yet", here)).toBe(later);
  });

  test("delete removes what the page has, and leaves what it has not asked for", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    await page.reload();
    await remove(page, "n", here);
    expect(await get(page, "n", here)).toBe("1");
    await remove(page, "n", here);
    expect(await get(page, "n", here)).toBeNull();
    await page.reload();
    expect(await get(page, "n", here)).toBeNull();
  });

  test("the names of stores and items do not meet", async () => {
    const page = await visit();
    await set(page, "a", "1", here);
    await set(page, "a", "2", { kind, server: "billing" });
    await set(page, "billing:a", "3", here);
    await set(page, "a", "4", { kind, server: "billing:" });
    const [item] = await page.evaluate(() =>
      Object.keys(sessionStorage)
        .concat(Object.keys(localStorage))
        .filter((item) => item.includes("::a@")),
    );
    const tail = item!.slice(item!.indexOf("@"));
    await set(page, "a" + tail, "5", here);
    await set(page, "a", "6", { kind: kind === "localStore" ? "sessionStore" : "localStore" });
    for (let i = 0; i < 2; i++) {
      expect(await get(page, "a", here)).toBe("1");
      expect(await get(page, "a", { kind, server: "billing" })).toBe("2");
      expect(await get(page, "billing:a", here)).toBe("3");
      expect(await get(page, "a", { kind, server: "billing:" })).toBe("4");
      expect(await get(page, "a" + tail, here)).toBe("5");
      expect(await get(page, "a", { kind: kind === "localStore" ? "sessionStore" : "localStore" })).toBe("6");
      await page.reload();
    }
  });

  test("keys names what is the page's and what it would inherit", async () => {
    const page = await visit();
    await set(page, "own", "1", here);
    await set(page, "left", "2", here);
    await set(await addFrame(page), "left", "3", here);
    await page.reload();
    const copy = await visit();
    await set(copy, "another tab's", "4", here);
    expect(await get(page, "own", here)).toBe("1");
    expect((await keys(page, here)).sort()).toEqual(["left", "left", "own"]);
    expect(await keys(page, here, "3")).toEqual(["left"]);
    expect(await keys(page, here, "1")).toEqual(["own"]);
    // Asked for its names, the page has taken none.
    const left = [await get(page, "left", here), await get(await addFrame(page), "left", here)];
    expect(left.sort()).toEqual(["2", "3"]);
    expect(await keys(copy, here)).toEqual(["another tab's"]);
  });

  test.each([
    { where: "a context that is not secure", open: () => visit(plain) },
    { where: "a sandboxed frame", open: async () => addFrame(await visit(), "allow-scripts") },
  ])("in $where items last as long as the page", async ({ open }) => {
    await expectMemory(await open(), here);
  });
});

/** A store that has nothing but the page's memory works. */
async function expectMemory(window: Window, place: Place): Promise<void> {
  await set(window, "n", "1", place);
  expect(await get(window, "n", place)).toBe("1");
  expect(await keys(window, place)).toEqual(["n"]);
  await remove(window, "n", place);
  expect(await get(window, "n", place)).toBeNull();
}

test("where the user has blocked storage items last as long as the page", async () => {
  const profile = await mkdtemp(join(tmpdir(), "profile-"));
  await mkdir(join(profile, "Default"));
  const preferences = { profile: { default_content_setting_values: { cookies: 2 } } };
  await writeFile(join(profile, "Default", "Preferences"), JSON.stringify(preferences));
  const blocked = await chromium.launchPersistentContext(profile, launch);
  try {
    const page = await blocked.newPage();
    await page.goto(url);
    await expect(page.evaluate(() => sessionStorage.length)).rejects.toThrow("Access is denied");
    for (const kind of ["sessionStore", "localStore"] as const) await expectMemory(page, { kind });
  } finally {
    await blocked.close();
    await rm(profile, { recursive: true });
  }
});

test("without a browser items last as long as the process", async () => {
  for (const store of [sessionStore(), localStore()]) {
    await store.set("n", "1");
    expect(await store.get("n")).toBe("1");
    await store.delete("n");
    expect(await store.get("n")).toBeNull();
  }
});

test("there is one store for each kind and server", () => {
  expect(sessionStore()).toBe(sessionStore());
  expect(localStore("billing")).toBe(localStore("billing"));
  expect(new Set([sessionStore(), localStore(), sessionStore("billing"), localStore("billing")]).size).toBe(4);
});

test("what is asked for twice at once is found twice", async () => {
  const page = await visit();
  await set(page, "n", "1");
  await page.reload();
  expect(await Promise.all([get(page, "n"), get(page, "n")])).toEqual(["1", "1"]);
});

describe("a duplicate", () => {
  test("gets nothing when the original is closed or reloaded at once", async () => {
    for (const end of ["close", "reload"] as const) {
      const page = await visit();
      await set(page, "n", "1");
      const copy = await duplicate(page);
      const opening = get(copy, "n");
      await copy.evaluate(() => navigator.locks.query());
      await page[end]();
      expect(await opening).toBeNull();
      await copy.reload();
      expect(await get(copy, "n")).toBeNull();
      if (end === "reload") expect(await get(page, "n")).toBe("1");
    }
  });

  test("shares nothing with the original that is reloaded before it begins", async () => {
    const page = await visit();
    await set(page, "n", "1");
    // The duplicate loads no script until the original has been reloaded.
    let go = () => {};
    const reloaded = new Promise<void>((resolve) => (go = resolve));
    await context.route("**/first.js", async (route) => {
      if (route.request().frame().page() !== page) await reloaded;
      await route.continue();
    });
    const copying = duplicate(page);
    await context.waitForEvent("page");
    await page.reload();
    go();
    const got = await Promise.all([get(page, "n"), get(await copying, "n")]);
    expect(got.sort()).toEqual(["1", null]);
  });

  test("its closing takes nothing from the original", async () => {
    const page = await visit();
    await set(page, "n", "1");
    const copy = await duplicate(page);
    expect(await get(copy, "n")).toBeNull();
    await set(copy, "n", "2");
    await close(copy, page);
    await page.reload();
    expect(await get(page, "n")).toBe("1");
  });
});

describe("localStore", () => {
  test("a tab that closed leaves its items to the next that asks, and to one alone", async () => {
    const page = await visit();
    await set(page, "n", "1", local);
    const [tab, other] = [await visit(), await visit()];
    expect(await get(tab, "n", local)).toBeNull();
    await close(page, tab);
    expect((await Promise.all([get(tab, "n", local), get(other, "n", local)])).sort()).toEqual(["1", null]);
  });

  test("a tab that crashed leaves its items to another", async () => {
    const page = await visit();
    await set(page, "n", "1", local);
    const tab = await visit();
    const crashed = page.waitForEvent("crash");
    void page.goto("chrome://crash").catch(() => {});
    await crashed;
    await expect.poll(() => get(tab, "n", local), { timeout: 30_000 }).toBe("1");
  });

  test("a tab takes nothing of another that is being used, asked for or not", async () => {
    const page = await visit();
    await set(page, "n", "1", local);
    await set(page, "m", "2", local);
    await page.reload();
    const tab = await visit();
    // The page's store is opened, and has not been asked for this.
    expect(await get(page, "m", local)).toBe("2");
    expect(await get(tab, "n", local)).toBeNull();
    expect(await get(page, "n", local)).toBe("1");
  });
});
