import { randomUUID } from "node:crypto";

import { test } from "vitest";

import { all, type Base, endpoint, expectDone, expectEffects, fileOf, install, nodeOf } from "./project.js";

test("Vite bundles the entries for browsers", async () => {
  const project = await install("vite", { type: "module" });
  await project.node([fileOf("vite", "bin/vite.js"), "build"]);
  const name = `vite ${randomUUID()}`;
  await expectDone(await project.node(["dist/main.js", endpoint, name]), name);
});

const versions: [string, Base, string][] = [["4", ".", process.execPath]];
if (all) versions.push(["5", "newer", nodeOf("v22")]);

test.each(versions)("Vitest %s runs them", async (version, base, node) => {
  const project = await install("vitest", { type: "module" }, base);
  const name = `vitest ${version} ${randomUUID()}`;
  await project.node([fileOf("vitest", "vitest.mjs", base), "run"], { ENDPOINT: endpoint, NAME: name }, node);
  await expectEffects(name);
});
