// What a user does to a page, with the real clients, server and browser: there are as
// many projects as the user wanted.
import type { Page } from "playwright-core";
import { describe, expect, test } from "vitest";

import { call, tabs } from "./chromium.js";
import type { Fault } from "./proxy.js";
import { effects } from "./server.js";

const chromium = tabs();
const clients = ["Apollo Client", "urql"];
type Store = "memory" | "session" | "local" | undefined;

/** A page with a button that creates a project of the test's name. */
async function withButton(client: string, store: Store): Promise<Page> {
  const page = await chromium.visit();
  await call(page, "showButton", client, chromium.name, store);
  return page;
}
const click = (page: Page) => page.getByRole("button", { name: "Create" }).click();
const statuses = async (page: Page) => (await call(page, "seen")).flatMap((one) => one.statuses).sort();
const ids = async (page: Page) => (await call(page, "seen")).flatMap((one) => one.ids);

describe.each(clients)("%s", (client) => {
  describe.each([
    { server: "fast", faults: [] as Fault[] },
    { server: "slow", faults: ["slow", "slow"] as Fault[] },
  ])("a double click, the server is $server", ({ faults }) => {
    test.each([0, 30, 150, 400])("with %i ms between, is one project", async (pause) => {
      const page = await withButton(client, "memory");
      chromium.proxy.faults = [...faults];
      await click(page);
      await page.waitForTimeout(pause);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["EXECUTED", "REPLAYED"]);
      expect(new Set(await ids(page)).size).toBe(1);
      expect(await effects(chromium.name)).toBe(1);
    });

    test("without the helper, is two", async () => {
      const page = await withButton(client, undefined);
      chromium.proxy.faults = [...faults];
      await page.getByRole("button", { name: "Create" }).dblclick();
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["EXECUTED", "EXECUTED"]);
      expect(await effects(chromium.name)).toBe(2);
    });
  });

  describe.each(["session", "local"] as const)("a reload, with the store %s", (store) => {
    test.each([
      { when: "before the server has the request", fault: "held", lost: 0, then: "EXECUTED" },
      { when: "before the answer", fault: "hang", lost: 1, then: "REPLAYED" },
      { when: "within the answer", fault: "stuck", lost: 1, then: "REPLAYED" },
    ] as const)("$when, and the same click again, is one project", async ({ fault, lost, then }) => {
      const page = await withButton(client, store);
      chromium.proxy.faults = [fault];
      await click(page);
      await expect.poll(() => chromium.mutations(), { timeout: 30_000 }).toBe(1);
      await expect.poll(() => effects(chromium.name), { timeout: 30_000 }).toBe(lost);
      await page.reload();
      await call(page, "showButton", client, chromium.name, store);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual([then]);
      expect(await effects(chromium.name)).toBe(1);
    });

    test("after the answer, and the same click again, is another project", async () => {
      const page = await withButton(client, store);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["EXECUTED"]);
      await page.reload();
      await call(page, "showButton", client, chromium.name, store);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["EXECUTED"]);
      expect(await effects(chromium.name)).toBe(2);
    });

    test("after a frame of the same origin has come and gone: the key is still there", async () => {
      const page = await withButton(client, store);
      chromium.proxy.faults = ["hang"];
      await click(page);
      await expect.poll(() => effects(chromium.name), { timeout: 30_000 }).toBe(1);
      // As a silent renewal of a token does: the frame loads the front end, too.
      await page.evaluate(
        () =>
          new Promise<void>((resolve) => {
            const frame = document.createElement("iframe");
            frame.src = "/";
            frame.onload = () => (frame.remove(), resolve());
            document.body.append(frame);
          }),
      );
      await page.reload();
      await call(page, "showButton", client, chromium.name, store);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["REPLAYED"]);
      expect(await effects(chromium.name)).toBe(1);
    });

    test("after Storage.clear(): the key is still there", async () => {
      const page = await withButton(client, store);
      chromium.proxy.faults = ["hang"];
      await click(page);
      await expect.poll(() => effects(chromium.name), { timeout: 30_000 }).toBe(1);
      await page.evaluate(() => (sessionStorage.clear(), localStorage.clear()));
      await page.reload();
      await call(page, "showButton", client, chromium.name, store);
      await click(page);
      await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["REPLAYED"]);
      expect(await effects(chromium.name)).toBe(1);
    });

    test("of two tabs: each has its own project", async () => {
      const pages = [await withButton(client, store), await withButton(client, store)];
      chromium.proxy.faults = ["hang", "hang"];
      for (const page of pages) await click(page);
      await expect.poll(() => effects(chromium.name), { timeout: 30_000 }).toBe(2);
      for (const page of pages) {
        await page.reload();
        await call(page, "showButton", client, chromium.name, store);
        await click(page);
        await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["REPLAYED"]);
      }
      expect(await effects(chromium.name)).toBe(2);
    });
  });

  test("a store that is cleared between two clicks changes nothing", async () => {
    const page = await withButton(client, "session");
    chromium.proxy.faults = ["slow", "slow"];
    await click(page);
    await page.evaluate(() => sessionStorage.clear());
    await click(page);
    await expect.poll(() => statuses(page), { timeout: 30_000 }).toEqual(["EXECUTED", "REPLAYED"]);
    expect(await effects(chromium.name)).toBe(1);
  });
});
