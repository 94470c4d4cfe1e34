// What may be in storage when the playground opens.
import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { currentKey, execute, keys, lastAnswer, playground, press, ready, says, textOf, uuid } from "./page";

const at = playground();
const query =
  "mutation Old($input: CreateProjectInput!, $idempotencyKey: String!) { createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id } } }";

/** Opens with storage as it is given. */
const openWith = ({ local = {}, session = {} }: { local?: Record<string, string>; session?: Record<string, string> }) =>
  at.open({
    prepare: (page) =>
      page.addInitScript(
        ({ local, session }) => {
          if (localStorage.length + sessionStorage.length) return;
          Object.assign(localStorage, local);
          Object.assign(sessionStorage, session);
        },
        { local, session },
      ),
  });

const tab = (id: string, variables: string) => ({
  id,
  title: "Old",
  query,
  variables,
  headers: null,
  operationName: "Old",
  response: null,
  hash: null,
});

test("the tabs of an earlier build open with fresh keys", async () => {
  const variables = `{"input": {"name": "old"}, "idempotencyKey": "old-key"}`;
  const page = await openWith({
    local: {
      "graphiql:tabState": JSON.stringify({ activeTabIndex: 1, tabs: [tab("a", variables), tab("b", variables)] }),
      "graphiql:query": query,
      "graphiql:variables": variables,
    },
    session: {
      // Its list was an array, without what was sent when.
      "onceql:playground": JSON.stringify([
        {
          ...{ key: "old-key", operation: "createProject", payload: `{"input":{"name":"old"}}`, query },
          variables: { input: { name: "old" }, idempotencyKey: "old-key" },
          answers: [{ field: "createProject", key: "old-key", status: "NO ANSWER", took: 5 }],
        },
      ]),
    },
  });
  const second = await currentKey(page);
  expect(second).toMatch(uuid);
  expect(await textOf(page, "Variables")).toContain('"name":"old"');
  await page.getByRole("button", { name: "Old" }).first().click();
  await expect.poll(() => currentKey(page)).not.toBe(second);
  expect(await currentKey(page)).toMatch(uuid);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});

test("a tab whose id is no id opens all the same, and so does the page after it", async () => {
  const tabs = JSON.stringify({ activeTabIndex: 0, tabs: [tab("__proto__", `{"input": {"name": "old"}, "idempotencyKey": "old-key"}`)] });
  const page = await openWith({ local: { "graphiql:tabState": tabs } });
  expect(await currentKey(page)).toMatch(uuid);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.reload();
  await ready(page);
});

test("the list of an earlier build is taken up", async () => {
  const page = await at.open();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await page.evaluate(() => {
    const { calls } = JSON.parse(sessionStorage.getItem("onceql:playground")!);
    for (const answer of calls[0].answers) for (const name of ["send", "at", "changed", "retryable"]) delete answer[name];
    sessionStorage.setItem("onceql:playground", JSON.stringify(calls));
  });
  await page.reload();
  await ready(page);
  expect(await keys(page).count()).toBe(1);
  await keys(page).first().locator("summary").click();
  await press(page, /^Use /);
  await press(page, "Send again");
  await says(lastAnswer(page), /^REPLAYED/);
});

const call = { key: "k", operation: "o", payload: "{}", query: "{", variables: {}, answers: [{ status: "NO ANSWER" }] };

test.each([
  { name: "no JSON", tabs: "{", session: "{" },
  { name: "null", tabs: "null", session: "null" },
  { name: "a number", tabs: "1", session: "1" },
  { name: "no tabs", tabs: `{"activeTabIndex":0,"tabs":[]}`, session: `{"calls":{"length":3},"sent":[]}` },
  { name: "an index beyond", tabs: `{"activeTabIndex":7,"tabs":[{"query":"{"}]}`, session: `[null,1,"a",{}]` },
  {
    name: "parts of other types",
    tabs: JSON.stringify({ activeTabIndex: "__proto__", tabs: [{ id: {}, query: [], variables: 1 }] }),
    session: JSON.stringify({
      calls: [call, { ...call, answers: [] }, { ...call, variables: null }, { ...call, key: {} }],
      sent: { a: {}, __proto__: "k" },
    }),
  },
  {
    name: "times and states that are none",
    tabs: "{}",
    session: JSON.stringify({
      calls: [{ ...call, answers: [{ status: "<img src=x onerror=alert(1)>", at: "x", executedAt: { a: 1 }, send: {} }] }],
    }),
  },
])("opens with $name in storage", async ({ tabs, session }) => {
  const page = await openWith({
    local: { "graphiql:tabState": tabs },
    session: { "onceql:playground": session, "onceql:playground:tabs": tabs, "onceql:playground:tab": "a tab" },
  });
  // A reload is the same tab: it takes up what is there.
  await page.evaluate((session) => sessionStorage.setItem("onceql:playground", session), session);
  await page.reload();
  await ready(page);
  for (const row of await keys(page).all()) await row.locator("summary").click();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});

test("opens where storage is forbidden", async () => {
  const prepare = (page: Page) =>
    page.addInitScript(() => {
      for (const name of ["localStorage", "sessionStorage"]) {
        Object.defineProperty(window, name, {
          get() {
            throw new DOMException("forbidden", "SecurityError");
          },
        });
      }
    });
  const page = await at.open({ prepare });
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
});
