import type { BrowserContext, Page } from "playwright-core";
import { beforeEach, describe, expect, test } from "vitest";

import { call, type Front, tabs } from "./chromium.js";
import { helped } from "./clients.js";
import { effects } from "./server.js";

const chromium = tabs();
const { proxy, visit, mutations } = chromium;
let context: BrowserContext;
let name: string;
beforeEach(() => void ({ context, name } = chromium));

/** Sends it and does not wait: the page goes away. */
const send = (page: Page, ...parameters: Parameters<Front["create"]>) => void call(page, "create", ...parameters).catch(() => {});

describe.each(Object.keys(helped))("%s in Chromium", (client) => {
  // The fault is one that shows: a page's memory ends with the page.
  test.each(["memory", undefined] as const)("a reload before the answer, with the store %s, makes two projects", async (store) => {
    const page = await visit();
    proxy.faults = ["hang"];
    send(page, client, name, store);
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    await page.reload();
    const seen = await call(page, "create", client, name, store);
    expect(seen.statuses).toEqual(["EXECUTED"]);
    expect(await effects(name)).toBe(2);
  });

  test("offline, an error; back online, the same click again: one project", async () => {
    const page = await visit();
    await context.setOffline(true);
    expect(await call(page, "create", client, name, "session")).toMatchObject({ ids: [], error: expect.any(String) });
    await context.setOffline(false);
    expect(await call(page, "create", client, name, "session")).toMatchObject({ statuses: ["EXECUTED"] });
    expect(await effects(name)).toBe(1);
  });

  test.each(["session", "local"] as const)("a duplicated tab has keys of its own, with the store %s", async (store) => {
    const page = await visit();
    proxy.faults = ["hang"];
    send(page, client, name, store);
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    // A tab opened by a page gets a copy of its sessionStorage, as a duplicate does.
    const [duplicate] = await Promise.all([context.waitForEvent("page"), page.evaluate(() => void window.open("/"))]);
    await duplicate.waitForFunction(() => "front" in window);
    expect((await call(duplicate, "create", client, name, store)).statuses).toEqual(["EXECUTED"]);
    expect(await effects(name)).toBe(2);
  });

  test("a tab that closed leaves its key to the next one, in localStorage", async () => {
    const page = await visit();
    proxy.faults = ["hang"];
    send(page, client, name, "local");
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    const other = await visit();
    await page.close();
    // The browser lets go of a closed tab's lock a little later.
    await expect.poll(() => other.evaluate(async () => (await navigator.locks.query()).held), { timeout: 30_000 }).toEqual([]);
    expect((await call(other, "create", client, name, "local")).statuses).toEqual(["REPLAYED"]);
    expect(await effects(name)).toBe(1);
    await expect.poll(() => other.evaluate(() => Object.keys(localStorage))).toEqual([]);
  });

  test.each([
    { naive: false, total: 1 },
    { naive: true, total: 2 },
  ])("Chromium sends a POST again by itself; naive: $naive, effects: $total", async ({ naive, total }) => {
    const page = await visit();
    // A connection that has been used, so that a cut may be one of an idle connection.
    await call(page, "create", client, "before " + name, "memory", "before");
    proxy.arrived.length = 0;
    proxy.naive = naive;
    proxy.faults = ["cutAfter"];
    const answers: number[] = [];
    page.on("response", (response) => answers.push(response.status()));
    const seen = await call(page, "create", client, name, "memory");
    expect(seen).toMatchObject({ error: undefined, statuses: [naive ? "EXECUTED" : "REPLAYED"] });
    expect(answers).toEqual([200]);
    expect(mutations()).toBe(2);
    expect(await effects(name)).toBe(total);
  });
});

describe("urql's offlineExchange", () => {
  test("sends what was written offline once, after a reload", async () => {
    const page = await visit();
    await call(page, "startOffline", true);
    await context.setOffline(true);
    await call(page, "createOffline", name);
    await queued(page, 1);
    await context.setOffline(false);
    await page.reload();
    await call(page, "startOffline", true);
    await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
    await queued(page, 0);
  });

  test.each([
    { helper: true, total: 1 },
    { helper: false, total: 2 },
  ])("sends again what lost its answer; helper: $helper, effects: $total", async ({ helper, total }) => {
    const page = await visit();
    // Chromium and the helper try again by themselves first.
    proxy.faults = Array(20).fill("cutAfter");
    await call(page, "startOffline", helper);
    await call(page, "createOffline", name);
    await queued(page, 1);
    const lost = await effects(name);
    expect(lost).toBeGreaterThanOrEqual(1);
    proxy.faults = [];
    await page.reload();
    await call(page, "startOffline", helper);
    await queued(page, 0);
    await expect.poll(() => effects(name)).toBe(lost + total - 1);
    if (helper) expect(lost).toBe(1);
  });
});

/** Waits until so many mutations are in the offline queue's database. */
async function queued(page: Page, count: number): Promise<void> {
  const read = () =>
    page.evaluate(
      () =>
        new Promise<number>((resolve, reject) => {
          const opening = indexedDB.open("graphcache-v4");
          opening.onerror = () => reject(opening.error);
          opening.onsuccess = () => {
            const database = opening.result;
            const reading = database.transaction("metadata").objectStore("metadata").get("metadata");
            reading.onsuccess = () => (database.close(), resolve((reading.result ?? []).length));
          };
        }),
    );
  await expect.poll(read, { timeout: 30_000 }).toBe(count);
}
