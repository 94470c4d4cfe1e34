import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

import { all, endpoint, entries, expectDone, install, nodeOf } from "./project.js";

const installed = install("node");

describe.each(all ? ["20", "22", "24", process.version] : [process.version])("Node.js %s", (version) => {
  const node = version === process.version ? process.execPath : nodeOf(version);

  test.each(["index.mjs", "index.cjs"])("runs %s", async (file) => {
    const project = await installed;
    expect(await project.node(["--version"], {}, node)).toMatch(version);
    const name = `node ${version} ${file} ${randomUUID()}`;
    await expectDone(await project.node([file, endpoint, name], {}, node), name);
  });
});

test("the projects use every entry", async () => {
  for (const file of ["entries.mjs", "entries.cjs"]) {
    const program = `import("./${file}").then(({ entries }) => console.log(JSON.stringify(Object.keys(entries))))`;
    expect(JSON.parse(await (await installed).node(["--eval", program]))).toEqual(entries);
  }
});

test.each([
  ["module", 'import { newKey } from "@onceql/client";'],
  ["commonjs", 'const { newKey } = require("@onceql/client");'],
])("the source maps of %s lead to the sources", async (type, loaded) => {
  const source = readFileSync("../typescript/src/key.ts", "utf8").split("\n");
  const line = source.findIndex((text) => text.includes("throw Error")) + 1;
  const program = `${loaded} Object.defineProperty(globalThis, "crypto", { value: undefined }); try { newKey() } catch (error) { console.log(error.stack) }`;
  const printed = await (await installed).node(["--enable-source-maps", `--input-type=${type}`, "--eval", program]);
  expect(printed).toContain(`/src/key.ts:${line}:`);
});
