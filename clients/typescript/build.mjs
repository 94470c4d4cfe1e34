// Compiles src to dist, as ECMAScript modules, and to dist/cjs, as CommonJS: module by
// module, so that the entries of a format share one copy of what they have in common.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";

process.chdir(import.meta.dirname);
const write = (file, fields) => {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify(fields, null, 2) + "\n");
};

const typescript = createRequire(import.meta.url).resolve("typescript/package.json");
const tsc = join(dirname(typescript), JSON.parse(readFileSync(typescript, "utf8")).bin.tsc);
rmSync("dist", { recursive: true, force: true });
for (const config of ["tsconfig.json", "tsconfig.cjs.json"]) {
  execFileSync(process.execPath, [tsc, "-p", config], { stdio: "inherit" });
}
write("dist/cjs/package.json", { type: "commonjs", sideEffects: false });

// What reads no `exports`, such as TypeScript's node10, looks for a directory of the
// entry's name.
const { exports } = JSON.parse(readFileSync("package.json", "utf8"));
for (const [entry, { import: esm, default: cjs }] of Object.entries(exports)) {
  if (entry === "." || !cjs) continue;
  const from = (file) => relative(entry, file).replaceAll("\\", "/");
  write(join(entry, "package.json"), { main: from(cjs), module: from(esm), types: from(cjs.replace(/js$/, "d.ts")), sideEffects: false });
}
