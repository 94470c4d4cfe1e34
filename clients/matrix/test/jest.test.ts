import { randomUUID } from "node:crypto";

import { beforeAll, test } from "vitest";

import { all, endpoint, expectEffects, fileOf, install, type Project } from "./project.js";

let project: Project;
beforeAll(async () => void (project = await install("jest")));

test.each(all ? ["29", "30"] : ["30"])("Jest %s loads CommonJS, in Node.js and in jsdom", async (version) => {
  // jsdom chooses what packages have for browsers.
  const environments = { node: "node", jsdom: fileOf(`jest-environment-jsdom-${version}`, ".") };
  for (const [environment, module] of Object.entries(environments)) {
    const name = `jest ${version} ${environment} ${randomUUID()}`;
    const jest = [fileOf(`jest-${version}`, "bin/jest.js"), "--ci", "--env", module, `${environment}.test`];
    await project.node(jest, { ENDPOINT: endpoint, NAME: name });
    await expectEffects(name);
  }
});
