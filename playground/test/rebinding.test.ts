import { chromium } from "playwright-core";
import { expect, test } from "vitest";

import { effects, server } from "../../clients/typescript/test/server";

// DNS rebinding: a page of a stranger's name, which points at this server once the page
// has been loaded. To the browser all that it asks for is of its own origin.
test("a page whose name was pointed at the server reads nothing and changes nothing", async () => {
  const { port } = new URL(server);
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Not every browser keeps pages of the internet away from the loopback address.
    args: ["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1", "--disable-features=LocalNetworkAccessChecks"],
  });
  try {
    const page = await browser.newPage();
    await page.route("**/attack", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>attack</title>" }));
    const name = crypto.randomUUID();
    const attack = async (host: string) => {
      await page.goto(`http://${host}:${port}/attack`);
      return page.evaluate(async (name) => {
        const query = `mutation ($input: CreateProjectInput!, $key: String!) { createProject(input: $input, idempotencyKey: $key) { project { id } } }`;
        const body = JSON.stringify({ query, variables: { input: { name }, key: name } });
        const answers = [await fetch("/graphql", { method: "POST", headers: { "Content-Type": "application/json" }, body })];
        for (const path of ["/graphql?query={projects{nodes{name}}}", "/", "/schema.graphql", "/healthz", "/readyz"])
          answers.push(await fetch(path));
        return Promise.all(answers.map(async (answer) => ({ status: answer.status, text: await answer.text() })));
      }, name);
    };
    const answers = await attack("evil.example");
    expect(answers.map(({ status }) => status)).toEqual([421, 421, 421, 421, 421, 421]);
    expect(await effects(name)).toBe(0);
    // What the page can read is the refusal.
    for (const { text } of answers) expect(JSON.parse(text)).toMatchObject({ errors: [{ extensions: { code: "FORBIDDEN" } }] });

    // The same page of a name that the server has: the attack would work.
    expect((await attack("localhost")).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200]);
    expect(await effects(name)).toBe(1);
  } finally {
    await browser.close();
  }
});
