import { mkdirSync } from "node:fs";

import type { Locator } from "playwright-core";
import { expect, test } from "vitest";

import { axeFaults, currentKey, execute, happened, keys, lastAnswer, playground, press, says, textOf } from "./page";

const screenshots = "../bin/screenshots";
const at = playground();

test.each([
  { name: "light", options: { colorScheme: "light" as const } },
  { name: "dark", options: { colorScheme: "dark" as const } },
  { name: "narrow", options: { colorScheme: "light" as const, viewport: { width: 390, height: 844 } } },
  { name: "narrow-dark", options: { colorScheme: "dark" as const, viewport: { width: 360, height: 740 } } },
])("is accessible, $name", async ({ name, options }) => {
  mkdirSync(screenshots, { recursive: true });
  const page = await at.open(options);
  if (options.viewport) expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(options.viewport.width);
  expect(await axeFaults(page)).toEqual([]);
  await press(page, /^Send ×20/);
  await says(happened(page), /^1 EXECUTED, 19 REPLAYED/);
  await press(page, "Change the payload");
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  await keys(page).first().locator("summary").click();
  await press(page, "Look up");
  await says(page.getByRole("status", { name: "What happened to the key" }), /executed/);
  await page.mouse.move(0, 0);
  await page.screenshot({ path: `${screenshots}/playground-${name}.png` });
  expect(await axeFaults(page)).toEqual([]);
  at.offline(true);
  await press(page, "New key");
  await execute(page);
  await says(lastAnswer(page), /^NO ANSWER/);
  at.expectLosses();
  expect(await axeFaults(page)).toEqual([]);
});

test("the keyboard alone sends, tries, undoes, and gets a new key", async () => {
  const page = await at.open();
  const first = await currentKey(page);
  await page.getByRole("region", { name: "Operation Editor" }).locator(".monaco-editor:visible").first().click();
  await page.keyboard.press("Control+Enter");
  await says(lastAnswer(page), /^EXECUTED/);
  const focused = () => page.evaluate(() => document.activeElement?.textContent);
  const reach = async (name: string) => {
    for (let i = 0; (await focused()) !== name; i++) {
      expect(i).toBeLessThan(15);
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Enter");
  };
  await page.getByRole("button", { name: /Idempotency$/ }).focus();
  await reach("Send again");
  await says(happened(page), /^The same key and the same payload/);
  await reach("Change the payload");
  await says(lastAnswer(page), /^IDEMPOTENCY_KEY_REUSED/);
  await reach("Undo the change");
  await expect.poll(() => textOf(page, "Variables")).not.toContain("changed");
  await page.getByRole("button", { name: /Idempotency$/ }).focus();
  await reach("Lose the answer");
  await says(happened(page), /^The mutation was executed/);
  const second = await currentKey(page);
  expect(second).not.toBe(first);
  await reach("New key");
  await expect.poll(() => currentKey(page)).not.toBe(second);
});

test.each([
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
])("opens with nothing clipped, the panel, and then the status in sight, $width px", async (viewport) => {
  const page = await at.open({ viewport });
  await page.evaluate(() => document.fonts.ready);
  const editors = page.locator(".graphiql-editors .monaco-editor:visible");
  for (const editor of await editors.all()) {
    // Monaco cuts off what is wider than it.
    const clipped = () =>
      editor.evaluate((editor) => {
        const right = editor.querySelector(".monaco-scrollable-element")!.getBoundingClientRect().right;
        return [...editor.querySelectorAll(".view-line > span")].filter((line) => line.getBoundingClientRect().right > right).length;
      });
    await expect.poll(clipped).toBe(0);
  }
  const inSight = async (of: Locator) => {
    const box = (await of.boundingBox())!;
    expect([box.x, box.y, box.x + box.width <= viewport.width, box.y + box.height <= viewport.height]).toEqual([
      ...[expect.any(Number), expect.any(Number)],
      ...[true, true],
    ]);
    expect(Math.min(box.x, box.y)).toBeGreaterThanOrEqual(0);
  };
  const explained = page.locator(".idempotency > p").first();
  await inSight(explained);
  const lines = () => explained.evaluate((p) => p.getBoundingClientRect().height / parseFloat(getComputedStyle(p).lineHeight));
  expect(Math.round(await lines())).toBe(2);
  for (const name of ["Send again", "Change the payload", "Lose the answer"]) await inSight(page.getByRole("button", { name }));
  await inSight(page.getByRole("button", { name: /^Execute/ }));
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await inSight(page.locator(".head .badge"));
  await inSight(happened(page));
  const answer = page.getByRole("button", { name: "Show the answer" });
  if (await answer.isVisible()) await answer.click();
  await inSight(page.getByRole("region", { name: "Result Window" }).getByText("createProject").first());
});
