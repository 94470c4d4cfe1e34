import { expect, test } from "vitest";

import { effects } from "../../clients/typescript/test/server";
import { currentKey, execute, happened, keys, lastAnswer, nameIt, playground, press, ready, says, textOf, uuid, write } from "./page";

const at = playground();

test("opens ready: the first send executes, the second is a replay, another payload is refused", async () => {
  const page = await at.open();
  const key = await currentKey(page);
  expect(key).toMatch(uuid);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED createProject in \d+ ms, executed (just now|\d+ s ago), kept for 24 h$/);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  await nameIt(page, "another");
  await execute(page);
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  await says(happened(page), /^Nothing was done: this key stands for the payload that was sent with it first\.$/);
  expect(await keys(page).count()).toBe(1);
});

test("a new key makes another call, and the list brings the first back", async () => {
  const page = await at.open();
  const first = await currentKey(page);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await press(page, "New key");
  await expect.poll(() => currentKey(page)).not.toBe(first);
  await nameIt(page, "second");
  await execute(page);
  await expect.poll(() => keys(page).count()).toBe(2);
  expect(await keys(page).first().innerText()).toContain('"second"');

  await keys(page).last().locator("summary").click();
  await press(page, `Use ${first}`);
  await expect.poll(() => currentKey(page)).toBe(first);
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  await press(page, "Clear the list");
  expect(await keys(page).count()).toBe(0);
});

test("a new key for every send", async () => {
  const page = await at.open();
  await page.getByRole("switch", { name: "New key for every send" }).check();
  for (const count of [1, 2, 3]) {
    await execute(page);
    await expect.poll(() => keys(page).count()).toBe(count);
    await says(lastAnswer(page), /^EXECUTED/);
  }
  expect((await keys(page).allInnerTexts()).join().match(/EXECUTED/g)).toHaveLength(3);
  // The key in the editor is still that of the answer.
  await press(page, "Send again");
  await says(lastAnswer(page), /^REPLAYED/);
});

test("twenty at once are one execution, and what is shown is one of their answers", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await nameIt(page, name);
  // The key has been used: twenty at once take a new one.
  await press(page, "Send ×20 at once");
  await expect.poll(() => keys(page).count()).toBe(2);
  await says(happened(page), /^1 EXECUTED, 19 REPLAYED; 1 distinct result, in \d+ ms\.$/);
  await says(lastAnswer(page), /^EXECUTED/);
  expect(await effects(name)).toBe(1);
  const shown = await textOf(page, "Result Window");
  expect(shown).toContain('"status":"EXECUTED"');
  expect(shown).toContain(name);
});

test("tells what happened to a key", async () => {
  const page = await at.open();
  const found = page.getByRole("status", { name: "What happened to the key" });
  await press(page, "Look up");
  await says(found, /^Nothing is stored under this key: no call with it took effect, or one is still at work, or it was forgotten\.$/);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await press(page, "Look up");
  await says(found, /createProject executed .* and is replayed for 24 h, by the request [0-9a-f-]{36}/);
});

test("shows a look-up's answer that is of another form as text", async () => {
  const page = await at.open();
  const strange = { operation: { a: 1 }, executedAt: {}, expiresAt: [], expired: false, requestId: { b: 2 } };
  await page.route("**/graphql", (route) => route.fulfill({ json: { data: { idempotentCall: strange } } }));
  await press(page, "Look up");
  await says(page.getByRole("status", { name: "What happened to the key" }), /^\[object Object\] executed/);
});

test("what Chromium sends again by itself takes effect once", async () => {
  const page = await at.open();
  const name = crypto.randomUUID();
  await nameIt(page, name);
  at.proxy.arrived.length = 0;
  at.proxy.faults = ["cutAfter"];
  await execute(page);
  await says(lastAnswer(page), /^REPLAYED/);
  expect(at.proxy.arrived.length).toBe(2);
  expect(await effects(name)).toBe(1);
});

test("an answer that does not come is said without a stack trace, and the next send executes", async () => {
  const page = await at.open();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await press(page, "New key");
  at.offline(true);
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER[^]*Sending it again is safe/);
  await says(happened(page), /^No answer came, so .* sending it again is safe, because the key is the same\.$/);
  // Nothing of another answer is left, and no error of JavaScript's.
  expect(await textOf(page, "Result Window")).toBe("");
  at.offline(false);
  await page.getByRole("button", { name: "Send again" }).last().click();
  await says(lastAnswer(page), /^EXECUTED/);
  at.expectLosses();
});

test("what is no answer of the API is shown as it came", async () => {
  const page = await at.open();
  at.proxy.faults = ["unavailable"];
  await execute(page);
  await says(lastAnswer(page), /^HTTP 503/);
  expect(await textOf(page, "Result Window")).toBe("unavailable");
  at.expectLosses();
});

test("variables that can't be read are not sent, and nothing is said of the last answer", async () => {
  const page = await at.open();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await write(page, "Variables", '{"input": ');
  const sent = at.proxy.arrived.length;
  await execute(page);
  await says(lastAnswer(page), /^Nothing was sent\.$/);
  await press(page, "Send again");
  await says(happened(page), /^Nothing was sent: .* can't be sent\.$/);
  expect(at.proxy.arrived.length).toBe(sent);
});

test("headers that can't be sent are no lost answer", async () => {
  const page = await at.open();
  await page.getByRole("button", { name: "Headers" }).click();
  await write(page, "Headers", `{"Authorization": "Bearer …"}`);
  await execute(page);
  await says(lastAnswer(page), /^Nothing was sent\.$/);
  expect(await textOf(page, "Result Window")).toMatch(/^{"errors":\[{"message":"Nothingwassent:[^"]*"}\]}$/);
  await press(page, "Lose the answer");
  await says(happened(page), /^Nothing was sent: .* can't be sent\.$/);
  expect(at.proxy.arrived.filter(({ query }) => query.includes("mutation CreateProject"))).toEqual([]);
  expect(await keys(page).count()).toBe(0);
});

test("opens with a session that can't be read, and keeps comments in the variables", async () => {
  const page = await at.open();
  await page.evaluate(() => sessionStorage.setItem("onceql:playground", "no JSON"));
  await page.reload();
  await ready(page);
  const first = await currentKey(page);
  const variables = page.getByRole("region", { name: "Variables" });
  await variables.locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("ControlOrMeta+Home");
  await page.keyboard.insertText("// a comment\n");
  await press(page, "New key");
  await expect.poll(() => currentKey(page)).not.toBe(first);
  await variables.getByText("// a comment").waitFor();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});

test("a key in the document is a key", async () => {
  const page = await at.open();
  const key = crypto.randomUUID();
  await write(
    page,
    "Operation Editor",
    `mutation { createProject(input: { name: "literal" }, idempotencyKey: "${key}") { project { id } } }`,
  );
  await expect.poll(() => currentKey(page)).toBe(key);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED createProject/);
  expect(await keys(page).innerText()).toContain('"literal"');
  expect(await page.getByRole("button", { name: "New key" }).isDisabled()).toBe(true);
});

test("of several operations the one that is sent counts", async () => {
  const page = await at.open();
  await page.getByRole("region", { name: "Operation Editor" }).locator(".monaco-editor").first().click();
  await page.keyboard.press("ControlOrMeta+End");
  await page.keyboard.insertText(
    "mutation Other($input: CreateProjectInput!, $idempotencyKey: String!) { other: createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id } } }\n",
  );
  await page.keyboard.press("ControlOrMeta+Home");
  for (let i = 0; i < 4; i++) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Control+Enter");
  await says(lastAnswer(page), /^EXECUTED createProject/);
  expect(await lastAnswer(page).innerText()).not.toContain("other");
});

test("an operation without a key is sent, and not sent again", async () => {
  const page = await at.open();
  await write(page, "Operation Editor", "{ __typename }");
  await execute(page);
  await says(lastAnswer(page), /^Answered in \d+ ms\. Nothing in it has an idempotency key\.$/);
  const sent = at.proxy.arrived.length;
  for (const button of ["Send again", "Change the payload", "Lose the answer"]) {
    await press(page, button);
    await says(happened(page), /^Nothing was sent: this operation has no idempotency key/);
  }
  expect(at.proxy.arrived.length).toBe(sent);
});
