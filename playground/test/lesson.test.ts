import { expect, test } from "vitest";

import { effects } from "../../clients/typescript/test/server";
import { currentKey, execute, happened, keys, lastAnswer, nameIt, playground, press, says, textOf } from "./page";

const at = playground();
const undo = "Undo the change";

test("Send again replays, and says so", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  await press(page, "Send again");
  await says(happened(page), /^Nothing was stored under this key, so the mutation was executed, and its result is now stored\.$/);
  await press(page, "Send again");
  await says(
    happened(page),
    /^The same key and the same payload: the server did nothing, and replayed the result of what it executed at .*\d\d:\d\d.*\.$/,
  );
  await says(lastAnswer(page), /^REPLAYED/);
  expect(await textOf(page, "Result Window")).toContain('"status":"REPLAYED"');
  expect(await currentKey(page)).toBe(key);
  expect(await effects(name)).toBe(1);
});

test("Change the payload is refused, is seen in the editor, and is undone", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  const before = await textOf(page, "Variables");
  // The key has done nothing: it is sent as it is first.
  await press(page, "Change the payload");
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  await says(happened(page), /^The same key with another payload: the server refused it and did nothing, because .*\.$/);
  expect(await currentKey(page)).toBe(key);
  expect(await textOf(page, "Variables")).toContain(`${name}changed`);
  expect([await effects(name), await effects(`${name} changed`)]).toEqual([1, 0]);

  await press(page, undo);
  await expect.poll(() => textOf(page, "Variables")).toBe(before);
  expect(await page.getByRole("button", { name: undo }).count()).toBe(0);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  expect(await effects(name)).toBe(1);
});

test("Send again after a change sends the payload that the key stands for, and puts it back", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  await press(page, "Change the payload");
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  // A second change does not pile up.
  await press(page, "Change the payload");
  await expect
    .poll(async () => at.proxy.arrived.filter(({ variables }) => JSON.stringify(variables).includes(`${name} changed`)).length)
    .toBe(2);
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  expect(JSON.stringify(at.proxy.arrived)).not.toContain("changed changed");
  await press(page, "Send again");
  await says(happened(page), /^The same key and the same payload/);
  expect(await textOf(page, "Variables")).not.toContain("changed");
  expect([await effects(name), await effects(`${name} changed`)]).toEqual([1, 0]);
});

test("Lose the answer really sends twice, and executes once", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  at.proxy.arrived.length = 0;
  await press(page, "Lose the answer");
  await says(
    happened(page),
    /^The mutation was executed at .*, this page dropped the answer, and sending it again with the same key replayed the result: it was executed once\.$/,
  );
  await says(lastAnswer(page), /^REPLAYED/);
  expect(at.proxy.arrived.map(({ variables }) => variables.idempotencyKey)).toEqual([key, key]);
  expect(await effects(name)).toBe(1);
  // Again: the key has been used, and a new one shows it anew.
  await press(page, "Lose the answer");
  await expect.poll(() => keys(page).count()).toBe(2);
  await says(happened(page), /^The mutation was executed at .* it was executed once\.$/);
  expect(await effects(name)).toBe(2);
});

test("the sentence is about what came back, not about what should have", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  const key = await nameIt(page, name);
  // Both answers are lost, the second by the network.
  at.offline(true);
  await press(page, "Lose the answer");
  await says(happened(page), /^No answer came/);
  await says(lastAnswer(page), /^NO ANSWER/);
  // A change is not sent before the first payload has taken effect.
  await press(page, "Change the payload");
  await says(happened(page), /^No answer came/);
  expect(await textOf(page, "Variables")).not.toContain("changed");
  at.offline(false);
  at.proxy.faults = ["retryable"];
  await press(page, "Send again");
  await says(happened(page), /^UNAVAILABLE: it is not known whether the mutation was executed; sending it again is safe/);
  await press(page, "Send again");
  await says(happened(page), /^The same key and the same payload/);
  expect(await currentKey(page)).toBe(key);
  expect(await effects(name)).toBe(1);
  at.expectLosses();
});

test("a lost answer of a key that was executed is no unknown outcome, and the key stays", async () => {
  const page = await at.open();
  const key = await currentKey(page);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  at.offline(true);
  await press(page, "Send again");
  await says(lastAnswer(page), /^NO ANSWER[^]*It was executed before\. Sending it again is safe/);
  await says(happened(page), /^NO ANSWER: sending it again is safe, because the key is the same, and was executed before/);
  await press(page, /^Send ×20/);
  await says(happened(page), /^20 NO ANSWER/);
  at.offline(false);
  await press(page, /^Send ×20/);
  await says(happened(page), /^20 REPLAYED/);
  expect(await currentKey(page)).toBe(key);
  at.expectLosses();
});

test("a request that is refused for what it is", async () => {
  const page = await at.open();
  await nameIt(page, "");
  await press(page, "Send again");
  await says(happened(page), /^Nothing was done: the server refused it with BAD_USER_INPUT\.$/);
});
