import { execFile } from "node:child_process";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { beforeAll, expect, test } from "vitest";

import manifest from "../../typescript/package.json" with { type: "json" };
import { all, entries, fileOf, install, type Project, tarball } from "./project.js";

const exec = promisify(execFile);
let project: Project;
beforeAll(async () => void (project = await install("typescript")));

test("@arethetypeswrong/cli finds nothing, for any entry and any way to resolve it", async () => {
  const attw = [fileOf("@arethetypeswrong/cli", "dist/index.js"), "--format", "json", tarball];
  const { stdout } = await exec(process.execPath, attw, { maxBuffer: 1 << 26 });
  const { analysis, problems } = JSON.parse(stdout);
  expect(problems ?? {}).toEqual({});
  expect(analysis.problems).toEqual([]);
  for (const entry of entries) {
    expect(Object.keys(analysis.entrypoints[entry].resolutions)).toEqual(["node10", "node16-cjs", "node16-esm", "bundler"]);
  }
});

test("publint finds nothing", async () => {
  const { stdout } = await exec(process.execPath, [fileOf("publint", "src/cli.js"), "run", "--strict", tarball]);
  expect(stdout).toContain("All good!");
});

const declarations = Object.values(manifest.exports).flatMap((entry) =>
  typeof entry === "string" ? [] : entry.import.slice("./dist/".length).replace(/js$/, "d.ts"),
);
const programs = [
  ["node16", "node16", "program.cts"],
  ["node16", "node16", "program.mts"],
  ["nodenext", "nodenext", "program.cts"],
  ["nodenext", "nodenext", "program.mts"],
  ["bundler", "esnext", "program.ts"],
];
test.each([
  // The last that has node10.
  ["typescript-5", "node10", "commonjs", "program.ts"],
  ...(all ? ["typescript-5", "typescript"] : ["typescript"]).flatMap((typescript) => programs.map((program) => [typescript, ...program])),
] as [string, string, string, string][])(
  "%s resolves by %s, as %s, the types of %s",
  async (typescript, moduleResolution, module, file) => {
    const name = [typescript, moduleResolution, file].join("-");
    if (file !== "program.ts") copyFileSync(join(project.dir, "program.ts"), join(project.dir, file));
    const compilerOptions = { target: "es2022", module, moduleResolution, lib: ["es2023", "dom"], types: [], strict: true, noEmit: true };
    writeFileSync(join(project.dir, `${name}.json`), JSON.stringify({ compilerOptions, files: [file] }));
    const tsc = fileOf(typescript, typescript === "typescript" ? "bin/tsc" : "lib/tsc.js");
    const lines = (await project.node([tsc, "-p", `${name}.json`, "--listFiles"]).catch(({ message }) => message as string)).split("\n");

    // The declarations of some peers have faults of their own.
    expect(lines.filter((line) => line.includes("error TS") && !line.startsWith("../"))).toEqual([]);
    const ours = lines.flatMap((line) => line.split("/node_modules/@onceql/client/dist/")[1] ?? []);
    const dir = /node10|cts/.test(name) ? "cjs/" : "";
    expect(ours).toEqual(expect.arrayContaining(declarations.map((file) => dir + file)));
    expect(ours.filter((file) => file.startsWith("cjs/") !== !!dir)).toEqual([]);
  },
);
