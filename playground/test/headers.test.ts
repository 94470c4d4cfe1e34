import { expect, test } from "vitest";

import { currentKey, execute, happened, lastAnswer, playground, press, says, textOf } from "./page";

/** A server with authentication, and a token that it accepts. */
const url = process.env.ONCEQL_GUARDED_URL!;
const token = process.env.ONCEQL_TOKEN!;
const at = playground();

test("without a token it leads to the headers, and with one it sends the same key", async () => {
  const page = await at.open({ url });
  const key = await currentKey(page);
  // The schema is asked for first.
  await says(lastAnswer(page), /^UNAUTHENTICATED The schema could not be loaded\.[^]*Put {"Authorization": "Bearer …"} into Headers\.$/);
  await page.getByRole("switch", { name: "New key for every send" }).check();
  await execute(page);
  await says(lastAnswer(page), /^UNAUTHENTICATED createProject/);
  await says(
    happened(page),
    /^The server does not know who you are, and did nothing: put {"Authorization": "Bearer …"} into Headers, and send it again\.$/,
  );
  expect(await textOf(page, "Result Window")).toContain('"code":"UNAUTHENTICATED"');
  await page.getByRole("button", { name: "Open Headers" }).click();
  // The headers' editor has the focus.
  await page.getByRole("region", { name: "Headers" }).locator(".monaco-editor.focused").waitFor();
  await page.keyboard.insertText(JSON.stringify({ Authorization: `Bearer ${token}` }));
  await press(page, "Send again");
  await says(lastAnswer(page), /^EXECUTED/);
  expect(await currentKey(page)).toBe(key);
  expect(await page.getByRole("button", { name: "Open Headers" }).count()).toBe(0);
  at.expectLosses();
});
