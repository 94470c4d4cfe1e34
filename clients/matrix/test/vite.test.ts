import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { effects } from "../../typescript/test/server.js";
import { endpoint, expectDone, fileOf, install } from "./project.js";

test("Vite bundles the entries for browsers", async () => {
  const project = await install("vite", { type: "module" });
  await project.node([fileOf("vite", "bin/vite.js"), "build"]);
  const name = `vite ${randomUUID()}`;
  await expectDone(await project.node(["dist/main.js", endpoint, name]), name);
});

test("Vitest runs them", async () => {
  const project = await install("vitest", { type: "module" });
  const name = `vitest ${randomUUID()}`;
  await project.node([fileOf("vitest", "vitest.mjs"), "run"], { ENDPOINT: endpoint, NAME: name });
  for (const client of ["Apollo", "urql"]) expect(await effects(`${name}, ${client}`)).toBe(1);
});
