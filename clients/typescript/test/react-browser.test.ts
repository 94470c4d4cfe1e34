import { readFile } from "node:fs/promises";

import type { Page } from "playwright-core";
import { beforeEach, describe, expect, test } from "vitest";

import { tabs } from "./chromium.js";
import { effects } from "./server.js";

const chromium = tabs("test/react-front.tsx");
const { proxy } = chromium;
let name: string;
beforeEach(() => void ({ name } = chromium));

test.each(["apollo", "urql"])("docs/clients/react.md has the form for %s", async (client) => {
  const docs = await readFile("../../docs/clients/react.md", "utf8");
  expect(docs).toContain("```tsx\n" + (await readFile(`test/${client}-form.tsx`, "utf8")) + "```\n");
});

describe.each(["apollo", "urql"])("the form of docs/clients/react.md for %s", (client) => {
  let page: Page;
  beforeEach(async () => {
    page = await chromium.visit(`/#${client}`);
  });
  const press = (button: string) => page.getByRole("button", { name: button }).click();
  const type = (text: string) => page.getByLabel("Name").fill(text);
  const sees = (text: string) => page.getByText(text).waitFor();
  /** Chromium, too, sends it again. */
  const lost = () => (proxy.faults = Array(20).fill("cutAfter"));

  test.each([0, 150])("makes one project of a double click, with %i ms between", async (delay) => {
    await type(name);
    const button = page.getByRole("button");
    await button.evaluate(async (element: HTMLElement, delay) => {
      element.click();
      if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
      element.click();
    }, delay);
    await sees("The project was created.");
    await page.getByRole("button", { name: "Create" }).waitFor();
    expect(await effects(name)).toBe(1);
  });

  test("asks after a lost answer, over a reload, and settles by sending the same again", async () => {
    lost();
    await type(name);
    await press("Create");
    await sees("may have been done");
    await page.reload();
    await sees("may have been done");
    await press("Was it done?");
    await sees("It was done at");
    await type(name);
    proxy.faults = [];
    await press("Send again");
    await sees("The project was created.");
    expect(await page.getByRole("alert").count()).toBe(0);
    expect(await effects(name)).toBe(1);
  });

  test("asks before it sends what was edited after a lost answer", async () => {
    lost();
    await type(name);
    await press("Create");
    await sees("may have been done");
    proxy.faults = [];
    await type(name + " edited");
    await press("Send again");
    await sees("Nothing was sent now: it is another one, or that is too long ago.");
    expect(await effects(name + " edited")).toBe(0);
    await press("Create this one too");
    await sees("The project was created.");
    expect([await effects(name), await effects(name + " edited")]).toEqual([1, 1]);
  });

  test("forgets what it is told to, and shows what was refused", async () => {
    lost();
    await type(name);
    await press("Create");
    await press("Forget it");
    await page.getByRole("alert").waitFor({ state: "detached" });
    proxy.faults = [];
    await type(" ");
    await press("Create");
    await sees("name");
    expect(await page.getByRole("alert").textContent()).toContain("name");
    await page.reload();
    await page.getByRole("button", { name: "Create" }).waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
  });
});
