import { describe, expect, test } from "vitest";

import { localStore, sessionStore } from "../src/stores.js";
import {
  addFrame,
  clearStorage,
  entries,
  get,
  keys,
  Origin,
  type Place,
  remove,
  removeFrames,
  set,
  type Window,
  withBlockedStorage,
} from "./origin.js";

const origin = new Origin();
const visit = (url?: string) => origin.visit(url);

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
    await page.goto(origin.url + "next");
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

  test("frames in a page of another origin have items of their own, also after a reload", async () => {
    const page = await visit(origin.elsewhere);
    const frame = () => addFrame(page, { src: origin.url });
    const frames = [await frame(), await frame()] as const;
    await set(frames[0], "n", "of the first", here);
    await set(frames[1], "n", "of the second", here);
    expect(await get(await frame(), "n", here)).toBeNull();
    expect(await entries(frames[0])).toEqual(expect.arrayContaining(["of the first", "of the second"]));
    await page.reload();
    const got = [await get(await frame(), "n", here), await get(await frame(), "n", here)];
    expect(got.sort()).toEqual(["of the first", "of the second"]);
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

  test("Storage.clear() takes nothing", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    await clearStorage(page);
    expect(await get(page, "n", here)).toBe("1");
    expect(await entries(page)).toContain("1");
    await clearStorage(page);
    // A frame that comes now finds no name of the tab in storage.
    await set(await addFrame(page), "of the frame", "2", here);
    await clearStorage(page);
    await page.reload();
    expect(await get(page, "n", here)).toBe("1");
    expect(await get(page, "of the frame", here)).toBe("2");
  });

  test("the Storage.clear() of another page takes nothing, whatever becomes of this one", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    const other = kind === "localStore" ? await visit() : await addFrame(page);
    await clearStorage(other);
    await expect.poll(() => entries(other), { timeout: 30_000 }).toContain("1");
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

  test("an item that nobody asks for ends with its time", async () => {
    const page = await visit();
    const value = (until: number) => JSON.stringify({ until });
    const later = value(Date.now() + 3_600_000);
    await set(page, "over", value(Date.now() - 1), here);
    await set(page, "not yet", later, here);
    await page.reload();
    expect(await get(page, "over", here)).toBeNull();
    expect(await keys(page, here)).toEqual(["not yet"]);
    expect((await entries(page)).join()).not.toContain("over");
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
    { where: "a context that is not secure", open: () => visit(origin.insecure) },
    { where: "a sandboxed frame", open: async () => addFrame(await visit(), { sandbox: "allow-scripts" }) },
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

test("where the user has blocked storage items last as long as the page", () =>
  withBlockedStorage(async (context) => {
    const page = await origin.visit(origin.url, context);
    await expect(entries(page)).rejects.toThrow("Access is denied");
    for (const kind of ["sessionStore", "localStore"] as const) await expectMemory(page, { kind });
  }));

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

test.each(["", "c", "x".repeat(36)])("a tab's name that is %j is none, and takes nothing of the application's", async (name) => {
  await set(await origin.visit(), "n", "1");
  const page = await origin.visit(origin.url + "plain");
  await page.evaluate((name) => {
    sessionStorage.setItem("onceql:tab", name);
    sessionStorage.setItem("cart", "full");
  }, name);
  await page.reload();
  await set(page, "n", "2");
  expect(await page.evaluate(() => sessionStorage.getItem("cart"))).toBe("full");
  await page.reload();
  expect(await get(page, "n")).toBe("2");
});

test("what is asked for twice at once is found twice", async () => {
  const page = await visit();
  await set(page, "n", "1");
  await page.reload();
  expect(await Promise.all([get(page, "n"), get(page, "n")])).toEqual(["1", "1"]);
});
