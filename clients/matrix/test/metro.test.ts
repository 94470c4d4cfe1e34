import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";

import { expect, test } from "vitest";

import { all, endpoint, expectDone, install } from "./project.js";

test.each(all ? [true, false] : [true])("Metro bundles the entries for React Native, package exports: %s", async (exports) => {
  const project = await install("metro");
  await project.node(["bundle.cjs", String(exports)]);
  const bundle = readFileSync(join(project.dir, `bundle-${exports}.js`), "utf8");

  // What React Native has, as far as is used: no crypto, and nothing of Node.js.
  const native: any = { console, queueMicrotask, setTimeout, clearTimeout, setInterval, clearInterval };
  Object.assign(native, { fetch, AbortController, Headers, Response, URL });
  native.global = native.self = native;
  createContext(native);
  runInContext(bundle, native);

  const name = `metro ${randomUUID()}`;
  await expect(native.run({ url: endpoint, name })).rejects.toThrow("import react-native-get-random-values first");
  native.crypto = { getRandomValues: (array: Uint8Array) => crypto.getRandomValues(array) };
  await expectDone(JSON.stringify(await native.run({ url: endpoint, name })), name);
});
