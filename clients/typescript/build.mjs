// Compiles src to dist, as ECMAScript modules, and to dist/cjs, as CommonJS: module by
// module, so that the entries of a format share one copy of what they have in common.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path/posix";

process.chdir(import.meta.dirname);
const write = (file, text) => {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
};

const typescript = createRequire(import.meta.url).resolve("typescript/package.json");
const tsc = join(dirname(typescript), JSON.parse(readFileSync(typescript, "utf8")).bin.tsc);
rmSync("dist", { recursive: true, force: true });
for (const config of ["tsconfig.json", "tsconfig.cjs.json"]) {
  execFileSync(process.execPath, [tsc, "-p", config], { stdio: "inherit" });
}
write("dist/cjs/package.json", JSON.stringify({ type: "commonjs", sideEffects: false }) + "\n");

// What reads no `exports`, such as TypeScript's node10, looks for a file of the entry's
// name. Were it a directory with a package.json, Metro would not read the `exports` either.
const { exports } = JSON.parse(readFileSync("package.json", "utf8"));
for (const [entry, { default: cjs }] of Object.entries(exports)) {
  if (entry === "." || !cjs) continue;
  const target = `./${relative(dirname(entry), cjs)}`;
  write(`${entry}.js`, `module.exports = require("${target}");\n`);
  write(`${entry}.d.ts`, `export * from "${target}";\n`);
}
