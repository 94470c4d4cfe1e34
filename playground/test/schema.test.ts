import { chromium } from "playwright-core";
import { expect, test } from "vitest";

import { server } from "../../clients/typescript/test/server";

/** A server with INTROSPECTION=false. */
const closed = process.env.ONCEQL_CLOSED_URL!;

test.each([
  { name: "a server that shows its schema", url: server, status: 200, links: 1 },
  { name: "a server that does not", url: closed, status: 404, links: 0 },
])("links to the schema of $name", async ({ url, status, links }) => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    const [answer] = await Promise.all([page.waitForResponse((answer) => answer.url().endsWith("/schema.graphql")), page.goto(url)]);
    expect(answer.status()).toBe(status);
    await page
      .getByText("OnceQL", { exact: links === 0 })
      .first()
      .waitFor();
    await expect.poll(() => page.getByRole("link", { name: "OnceQL schema" }).count()).toBe(links);
  } finally {
    await browser.close();
  }
});
