import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import { effects } from "../../clients/typescript/test/server";
import { currentKey, execute, keys, lastAnswer, nameIt, playground, press, says, textOf, write } from "./page";

const at = playground();

test("a row is one line, whatever the payload, and expands", async () => {
  const page = await at.open();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  const height = () =>
    keys(page)
      .first()
      .evaluate((row) => row.getBoundingClientRect().height);
  const short = await height();
  await press(page, "New key");
  const name = "x".repeat(9500);
  await nameIt(page, name);
  await execute(page);
  await expect.poll(() => keys(page).count()).toBe(2);
  await says(keys(page).first(), /"name":"xxx/);
  expect(await height()).toBe(short);
  const summary = keys(page).first().locator("summary");
  expect(await summary.evaluate((line) => line.scrollWidth - line.clientWidth)).toBe(0);
  await summary.focus();
  await page.keyboard.press("Enter");
  // The whole payload is there, and scrolls.
  await says(keys(page).first().locator("pre"), new RegExp(`${name}"`));
  expect(await height()).toBeLessThan(600);
});

test("times are relative, and whole in their titles", async () => {
  const page = await at.open();
  await page.clock.install();
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  const time = keys(page).first().locator("summary time");
  for (const [seconds, text] of [
    [10, /^1\d s ago$/],
    [170, /^3 min ago$/],
    [7200, /^2 h ago$/],
    [172_800, /^2 d ago$/],
  ] as const) {
    await page.clock.fastForward(seconds * 1000);
    await says(time, text);
  }
  expect(new Date((await time.getAttribute("dateTime"))!).getTime()).toBeLessThan(Date.now());
  expect(await time.getAttribute("title")).toMatch(/\d{4}/);
});

const hostile = `it's "quoted" $(exit 1) \`id\` !! \\ %s \u2028 é 😀 $TOKEN`;

test("copies a call as curl, which bash runs, and which has no secret", async () => {
  const page = await at.open({ permissions: ["clipboard-read", "clipboard-write"] });
  const name = `${hostile} ${crypto.randomUUID()}`;
  const key = await nameIt(page, name);
  await page.getByRole("button", { name: "Headers" }).click();
  await write(page, "Headers", `{"Authorization": "Bearer secret-of-a-test", "X-It's": "another-secret"}`);
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await keys(page).first().locator("summary").click();
  await press(page, "Copy as curl");
  await says(page.getByRole("status", { name: "Copying" }), /^Copied, without the values of headers\.$/);
  const command = await page.evaluate(() => navigator.clipboard.readText());
  expect(command).toMatch(/-H "Authorization: Bearer \$TOKEN" \\\n {2}-H 'X-It'\\''s: <X-It'\\''s>'/);
  expect(command).not.toMatch(/secret/);
  const { stdout } = await promisify(execFile)("bash", ["-c", command.replace("curl", "curl -sS")]);
  expect(JSON.parse(stdout)).toMatchObject({
    data: { createProject: { project: { name } } },
    extensions: { idempotency: { createProject: { status: "REPLAYED" } } },
  });
  expect(JSON.parse(stdout)).not.toHaveProperty("errors");
  expect(at.proxy.arrived.at(-1)!.variables.idempotencyKey).toBe(key);
  expect(await effects(name)).toBe(1);
});

test("where the browser does not let it copy, the command is shown", async () => {
  const page = await at.open();
  await page.evaluate(() => (navigator.clipboard.writeText = () => Promise.reject(new Error("forbidden"))));
  await execute(page);
  await says(lastAnswer(page), /^EXECUTED/);
  await keys(page).first().locator("summary").click();
  await press(page, "Copy as curl");
  const command = await page.getByLabel("The curl command").inputValue();
  expect(command).toContain(await currentKey(page));
});

test("sends the headers of the headers editor, and does not keep them", async () => {
  const page = await at.open();
  await page.getByRole("button", { name: "Headers" }).click();
  await write(page, "Headers", `{"Authorization": "Bearer token-of-a-test"}`);
  const sentBy = async (send: () => Promise<void>) => {
    const [request] = await Promise.all([page.waitForRequest((request) => request.method() === "POST"), send()]);
    expect(request.headers().authorization).toBe("Bearer token-of-a-test");
    return request;
  };
  await sentBy(() => execute(page));
  await says(lastAnswer(page), /^EXECUTED/);
  const schema = await sentBy(() => page.getByRole("button", { name: /^Re-fetch GraphQL schema/ }).click());
  expect(schema.postData()).toContain("IntrospectionQuery");
  for (const button of ["Send again", "Change the payload", "Send again", "Lose the answer", /^Send ×20/]) {
    const before = at.proxy.arrived.length;
    await sentBy(() => press(page, button));
    await expect.poll(() => at.proxy.arrived.length).toBeGreaterThan(before);
    await expect.poll(() => lastAnswer(page).innerText()).not.toMatch(/^Sending/);
  }
  const stored = () => page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
  // GraphiQL stores what it does a while after the last change.
  await page.getByRole("button", { name: "Variables" }).click();
  await nameIt(page, "after the token");
  await expect.poll(stored).toContain("after the token");
  expect(await stored()).not.toContain("token-of-a-test");
  await page.reload();
  await page.getByRole("button", { name: "Headers" }).click();
  expect(await textOf(page, "Headers")).toBe("");
});
