import { describe, expect, test } from "vitest";

import { close, duplicate, get, keys, Origin, set } from "./origin.js";

const origin = new Origin();
const visit = () => origin.visit();

const local = { kind: "localStore" } as const;

describe.each(["sessionStore", "localStore"] as const)("%s", (kind) => {
  const here = { kind };

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

  test("a tab that crashed has its items when it is loaded again", async () => {
    const page = await visit();
    await set(page, "n", "1", here);
    const devTools = await origin.context.newCDPSession(page);
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
    await origin.context.route("**/first.js", async (route) => {
      if (route.request().frame().page() !== page) await reloaded;
      await route.continue();
    });
    const copying = duplicate(page);
    await origin.context.waitForEvent("page");
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
