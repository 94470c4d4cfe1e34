// What the package has in it: `npm run build` comes first. What it is like to use is
// tested in clients/matrix.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { expect, test } from "vitest";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const entries = Object.entries<{ import: string }>(manifest.exports).filter(([entry]) => entry !== "./package.json");

const modules = [
  ...["abort", "apollo", "apollo-react", "calls", "codegen", "document", "index", "intents"],
  ...["key", "outcome", "react", "relay", "retry", "stores", "urql", "urql-react"],
];
// For what reads no exports.
const stubs = ["apollo", "apollo/react", "codegen", "relay", "stores", "urql", "urql/react"].flatMap((entry) => [
  `${entry}.js`,
  `${entry}.d.ts`,
]);

test("npm packs these files", () => {
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--ignore-scripts", "--json"], { encoding: "utf8" }));
  const compiled = ["dist", "dist/cjs"].flatMap((dir) =>
    modules.flatMap((module) => [".js", ".js.map", ".d.ts"].map((extension) => `${dir}/${module}${extension}`)),
  );
  expect(files.map(({ path }: { path: string }) => path).sort()).toEqual(
    ["CHANGELOG.md", "LICENSE", "README.md", "package.json", "dist/cjs/package.json", ...stubs, ...compiled].sort(),
  );
});

test.each(["dist", "dist/cjs"])("the source maps in %s have their sources in them", (dir) => {
  for (const module of modules) {
    const { sourcesContent } = JSON.parse(readFileSync(`${dir}/${module}.js.map`, "utf8"));
    expect(sourcesContent).toEqual([readFileSync(`src/${module}.ts`, "utf8")]);
  }
});

test("the licence is that of the project", () => {
  expect(readFileSync("LICENSE", "utf8")).toBe(readFileSync("../../LICENSE", "utf8"));
  expect(readFileSync("LICENSE", "utf8")).toMatch(/Apache License\s+Version 2.0/);
  expect(manifest.license).toBe("Apache-2.0");
});

test("the changelog has the version", () => {
  expect(readFileSync("CHANGELOG.md", "utf8")).toContain(`\n## ${manifest.version}\n`);
});

// In kB, compressed. Three have the core in them; an app with Relay alone has it besides.
const limits: Record<string, number> = { ".": 3.25, "./apollo": 4.25, "./urql": 4.5 };

test.each(entries)("the entry %s is small", async (entry, { import: module }) => {
  const { outputFiles } = await build({
    entryPoints: [module],
    bundle: true,
    minify: true,
    format: "esm",
    packages: "external",
    external: entry === "./relay" ? ["./abort.js", "./calls.js", "./document.js", "./retry.js"] : [],
    write: false,
  });
  expect(gzipSync(outputFiles[0]!.contents, { level: 9 }).length).toBeLessThanOrEqual((limits[entry] ?? 2) * 1024);
});

test("what is not imported is not bundled", async () => {
  const { outputFiles } = await build({
    stdin: { contents: `export { retryDelay } from "./dist/index.js"`, resolveDir: "." },
    bundle: true,
    format: "esm",
    write: false,
  });
  expect(outputFiles[0]!.text).not.toMatch(/UnsettledError|getRandomValues/);
});
