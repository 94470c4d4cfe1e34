import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createContext, runInContext } from "node:vm";

import { AbortController, AbortSignal } from "abort-controller";
import { expect, test } from "vitest";

import { all, type Base, endpoint, expectDone, fileOf, install, nodeOf } from "./project.js";

const versions: [string, boolean, Base, string][] = [["0.83", true, ".", process.execPath]];
if (all)
  versions.push(["0.83", false, ".", process.execPath], ["0.87", true, "newer", nodeOf("v22")], ["0.87", false, "newer", nodeOf("v22")]);

test.each(versions)("Metro %s bundles the entries for React Native, package exports: %s", async (version, exports, base, node) => {
  const project = await install("metro", {}, base);
  await project.node(["bundle.cjs", String(exports), fileOf(".", "."), fileOf(".", ".", base)], {}, node);
  const bundle = readFileSync(join(project.dir, "bundle.js"), "utf8");

  // What React Native has, as far as is used: no crypto, an AbortController of its own,
  // and nothing of Node.js.
  const native: any = { console, queueMicrotask, setTimeout, clearTimeout, setInterval, clearInterval };
  Object.assign(native, { Headers, Response, Blob, URL, AbortController, AbortSignal });
  native.fetch = (url: string, { signal, ...init }: RequestInit) => fetch(url, init);
  native.global = native.self = native;
  createContext(native);
  runInContext(bundle, native);

  const name = `metro ${version} ${randomUUID()}`;
  await expect(native.run({ url: endpoint, name })).rejects.toThrow(
    "crypto.getRandomValues is missing: import react-native-get-random-values",
  );
  native.crypto = crypto;
  await expectDone(JSON.stringify(await native.run({ url: endpoint, name })), name);
});
