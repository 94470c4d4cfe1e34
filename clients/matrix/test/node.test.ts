import { randomUUID } from "node:crypto";

import { test } from "vitest";

import { endpoint, expectDone, install } from "./project.js";

const installed = install("node");

test.each(["index.mjs", "index.cjs"])("Node.js runs %s", async (file) => {
  const project = await installed;
  const name = `${file} ${randomUUID()}`;
  await expectDone(await project.node([file, endpoint, name]), name);
});
