// The status belongs to the answer that stands in the pane.
import { expect, test } from "vitest";

import { currentKey, execute, happened, lastAnswer, nameIt, playground, press, ready, says, textOf, write } from "./page";

const at = playground();

test("each tab shows its own answer and status, and an empty one none", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  const answer = await textOf(page, "Result Window");
  await page.getByRole("button", { name: "New tab" }).click();
  await says(lastAnswer(page), /^Nothing sent yet from here/);
  await expect.poll(() => textOf(page, "Result Window")).toBe("");
  expect(await happened(page).innerText()).toBe("");
  await write(page, "Operation Editor", "{ __typename }");
  await execute(page);
  await says(lastAnswer(page), /^Answered in/);
  const tabs = page.getByRole("list", { name: "Select active operation" }).getByRole("listitem");
  await tabs.first().getByRole("button").first().click();
  await says(lastAnswer(page), /^EXECUTED/);
  await expect.poll(() => textOf(page, "Result Window")).toBe(answer);
  expect(await currentKey(page)).toBe(key);
  // The first is closed: the other has its own.
  await tabs.first().getByRole("button", { name: "Close Tab" }).click();
  await says(lastAnswer(page), /^Answered in/);
  expect(await textOf(page, "Result Window")).toContain("__typename");
});

test("an answer that comes when another tab is open is shown in the tab that sent it", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  at.proxy.faults = ["paused", "paused"];
  for (const send of [() => execute(page), () => press(page, "Send again")]) {
    const answered = page.waitForResponse("**/graphql");
    await send();
    await says(lastAnswer(page), /^Sending/);
    await page.getByRole("button", { name: "New tab" }).click();
    await says(lastAnswer(page), /^Nothing sent yet from here/);
    at.proxy.release();
    await (await answered).finished();
    expect(await textOf(page, "Result Window")).toBe("");
    await page.getByRole("list", { name: "Select active operation" }).getByRole("listitem").first().getByRole("button").first().click();
    await says(lastAnswer(page), /^(EXECUTED|REPLAYED)/);
    await expect.poll(() => textOf(page, "Result Window")).toContain(name);
  }
});

test("a send that is stopped has no answer, and keeps its key", async () => {
  const page = await at.open();
  const key = await currentKey(page);
  at.proxy.faults = ["hang"];
  await execute(page);
  await expect.poll(() => at.proxy.hanging).toBe(1);
  await page.getByRole("button", { name: /^Stop/ }).click();
  await says(lastAnswer(page), /^NO ANSWER/);
  expect(await currentKey(page)).toBe(key);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED|^EXECUTED/);
});

test("a tab keeps the key of its unsettled call over a reload, and others get fresh ones", async () => {
  const page = await at.open();
  const first = await currentKey(page);
  const document = await page.evaluate(() => JSON.parse(sessionStorage.getItem("onceql:playground:tabs")!).tabs[0].query);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.getByRole("button", { name: "New tab" }).click();
  await write(page, "Operation Editor", document);
  await write(page, "Variables", JSON.stringify({ input: { name: "second" }, idempotencyKey: crypto.randomUUID() }));
  const second = await currentKey(page);
  at.proxy.faults = ["cutWithin"];
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER/);
  await page.reload();
  await ready(page);
  expect(await currentKey(page)).toBe(second);
  await says(lastAnswer(page), /Its outcome is not known/);
  await page.getByRole("list", { name: "Select active operation" }).getByRole("listitem").first().getByRole("button").first().click();
  await expect.poll(() => currentKey(page)).not.toBe(second);
  expect(await currentKey(page)).not.toBe(first);
  at.expectLosses();
});
