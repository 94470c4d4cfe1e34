import { randomUUID } from "node:crypto";

import { expect, test } from "vitest";

import { effects } from "../../typescript/test/server.js";
import { all, endpoint, fileOf, install } from "./project.js";

const installed = install("jest");

test.each(all ? ["29", "30"] : ["30"])("Jest %s loads CommonJS, in Node.js and in jsdom", async (version) => {
  const project = await installed;
  // jsdom chooses what packages have for browsers.
  for (const [environment, module] of [["node", "node"] as const, ["jsdom", fileOf(`jest-environment-jsdom-${version}`, ".")] as const]) {
    const name = `jest ${version} ${environment} ${randomUUID()}`;
    const jest = [fileOf(`jest-${version}`, "bin/jest.js"), "--ci", "--env", module, `${environment}.test`];
    await project.node(jest, { ENDPOINT: endpoint, NAME: name });
    for (const client of ["Apollo", "urql"]) expect(await effects(`${name}, ${client}`)).toBe(1);
  }
});
