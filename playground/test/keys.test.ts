// A key never changes by itself while its outcome is unknown, and is never shared.
import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import type { Fault } from "../../clients/typescript/test/proxy";
import { effects } from "../../clients/typescript/test/server";
import { currentKey, execute, happened, keys, lastAnswer, nameIt, playground, press, ready, says, textOf } from "./page";

const at = playground();
const keyPerSend = (page: Page) => page.getByRole("switch", { name: "New key for every send" });
const lostTwenty = () => (at.proxy.faults = Array<Fault>(20).fill("cutWithin"));

test("twenty lost answers: the next press sends the same key, also after a reload", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  lostTwenty();
  await press(page, /^Send ×20/);
  await says(happened(page), /^20 NO ANSWER; 0 distinct results, .* Send them again: the key stays the same\.$/);
  expect(await effects(name)).toBe(1);
  lostTwenty();
  await press(page, /^Send ×20/);
  await expect.poll(() => at.proxy.faults.length).toBe(0);
  await says(happened(page), /^20 NO ANSWER/);
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).toBe(key);
  await press(page, /^Send ×20/);
  await says(happened(page), /^20 REPLAYED; 1 distinct result/);
  expect(await keys(page).count()).toBe(1);
  expect(await effects(name)).toBe(1);
  at.expectLosses();
});

test.each<{ fault: Fault; status: RegExp }>([
  { fault: "cutWithin", status: /^NO ANSWER/ },
  { fault: "unavailable", status: /^HTTP 503/ },
  { fault: "retryable", status: /^UNAVAILABLE/ },
])("a new key for every send keeps the key after $status, $fault", async ({ fault, status }) => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  await keyPerSend(page).check();
  at.proxy.faults = [fault];
  await execute(page);
  await says(lastAnswer(page), status);
  await says(lastAnswer(page), /Its outcome is not known\. Sending it again is safe: the key is the same\.$/);
  expect(await currentKey(page)).toBe(key);
  at.proxy.faults = [fault];
  await execute(page);
  await expect.poll(() => at.proxy.faults.length).toBe(0);
  await says(lastAnswer(page), status);
  await execute(page);
  await says(lastAnswer(page), fault === "unavailable" ? /^EXECUTED/ : /^REPLAYED/);
  expect(await effects(name)).toBe(1);
  // Now that it is known, the next send is another call.
  await execute(page);
  await expect.poll(() => keys(page).count()).toBe(2);
  await expect.poll(() => effects(name)).toBe(2);
  if (fault !== "retryable") at.expectLosses();
});

test("a reload before the answer keeps the key, and offers to send it again", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  // The key is made and sent at once, before GraphiQL stores what the editors hold.
  await keyPerSend(page).check();
  await nameIt(page, name);
  at.proxy.arrived.length = 0;
  at.proxy.faults = ["hang"];
  await execute(page);
  await expect.poll(() => effects(name), { timeout: 30_000 }).toBe(1);
  const key = at.proxy.arrived[0]!.variables.idempotencyKey;
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).toBe(key);
  expect(await textOf(page, "Variables")).toContain(name);
  await says(lastAnswer(page), /Its outcome is not known\. Sending it again is safe/);
  await page.getByRole("button", { name: "Send again" }).last().click();
  await says(lastAnswer(page), /^REPLAYED/);
  expect(await effects(name)).toBe(1);
});

test("a new key for an unknown outcome is the user's, and is said to give it up", async () => {
  const page = await at.open();
  const key = await nameIt(page, crypto.randomUUID());
  at.proxy.faults = ["cutWithin"];
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER/);
  // Clearing the list does not lose it.
  await press(page, "Clear the list");
  expect(await keys(page).count()).toBe(1);
  await press(page, "New key");
  await says(happened(page), /^A new key makes another call: what became of the last one stays unknown/);
  const next = await currentKey(page);
  expect(next).not.toBe(key);
  // It stays given up over a reload, and is in the list.
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).not.toBe(key);
  await keys(page).last().locator("summary").click();
  await press(page, `Use ${key}`);
  await press(page, "Send again");
  await says(lastAnswer(page), /^REPLAYED/);
  at.expectLosses();
});

test("what was executed is never said to be unknown, nor another payload to be replayed", async () => {
  const page = await at.open();
  await nameIt(page, crypto.randomUUID());
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  at.proxy.faults = ["cutWithin"];
  await press(page, "Change the payload");
  await says(happened(page), /^NO ANSWER: this key stands for another payload, so sending this one does nothing/);
  await press(page, "New key");
  await says(happened(page), /^A new key makes another call: the last one was executed/);
  at.expectLosses();
});

test("opens with a fresh key, and keeps the list and the document over a reload", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).not.toBe(key);
  expect(await keys(page).count()).toBe(1);
  expect(await textOf(page, "Variables")).toContain(name);
  // Nothing is shown yet, and nothing is said of it.
  await says(lastAnswer(page), /^Nothing sent yet from here/);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});

test("another browser tab, an opened or a duplicated one, has keys of its own", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  at.proxy.faults = ["cutWithin"];
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER/);
  const seen = [key];
  const [opened] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void window.open("/"))]);
  // A duplicate begins with a copy of sessionStorage.
  const duplicate = await at.context.newPage();
  const copy = await page.evaluate(() => ({ ...sessionStorage }));
  expect(JSON.stringify(copy)).toContain(key);
  await duplicate.addInitScript((copy) => sessionStorage.length || Object.assign(sessionStorage, copy), copy);
  await duplicate.goto(at.proxy.url);
  const plain = await at.context.newPage();
  await plain.goto(at.proxy.url);
  for (const other of [opened, duplicate, plain]) {
    await ready(other);
    const own = await currentKey(other);
    expect(seen).not.toContain(own);
    seen.push(own);
    expect(await keys(other).count()).toBe(0);
    expect(await textOf(other, "Variables")).toContain(name);
    // Also after a reload of its own.
    await other.reload();
    await ready(other);
    expect(seen.slice(0, -1)).not.toContain(await currentKey(other));
  }
  // The first tab still has its own.
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).toBe(key);
  await press(page, "Send again");
  await says(lastAnswer(page), /^REPLAYED/);
  expect(await effects(name)).toBe(1);
  at.expectLosses();
});

test("opened again later it has a fresh key, and executes", async () => {
  const page = await at.open();
  const key = await currentKey(page);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.close();
  const later = await at.context.newPage();
  await later.goto(at.proxy.url);
  await ready(later);
  expect(await currentKey(later)).not.toBe(key);
  await execute(later);
  await says(lastAnswer(later), /^EXECUTED/);
});
