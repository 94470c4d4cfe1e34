import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { beforeAll, describe, expect, test } from "vitest";

import { all, endpoint, entries, expectDone, install, nodeOf, type Project } from "./project.js";

let project: Project;
beforeAll(async () => void (project = await install("node")));

describe.each(all ? ["v20", "v22", "v24", process.version] : [process.version])("Node.js %s", (version) => {
  const node = version === process.version ? process.execPath : nodeOf(version);

  test.each(["index.mjs", "index.cjs"])("runs %s", async (file) => {
    expect((await project.node(["--version"], {}, node)).startsWith(version)).toBe(true);
    const name = `node ${version} ${file} ${randomUUID()}`;
    await expectDone(await project.node([file, endpoint, name], {}, node), name);
  });
});

test("the projects use every entry", async () => {
  for (const file of ["entries.mjs", "entries.cjs"]) {
    const program = `import("./${file}").then(({ entries }) => console.log(JSON.stringify(Object.keys(entries))))`;
    expect(JSON.parse(await project.node(["--eval", program]))).toEqual(entries);
  }
});

test.each([
  ["module", 'import { newKey } from "@onceql/client";'],
  ["commonjs", 'const { newKey } = require("@onceql/client");'],
])("the source maps of %s lead to the sources", async (type, loaded) => {
  const source = readFileSync("../typescript/src/key.ts", "utf8").split("\n");
  const line = source.findIndex((text) => text.includes("throw Error")) + 1;
  const program = `${loaded} Object.defineProperty(globalThis, "crypto", { value: undefined }); try { newKey() } catch (error) { console.log(error.stack) }`;
  const printed = await project.node(["--enable-source-maps", `--input-type=${type}`, "--eval", program]);
  expect(printed).toContain(`/src/key.ts:${line}:`);
});
