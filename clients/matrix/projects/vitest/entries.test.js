import { expect, test } from "vitest";

import * as modules from "./entries.mjs";
import exercise from "./exercise.cjs";

test("the clients", async () => {
  const outcomes = await exercise(modules, { url: process.env.ENDPOINT, name: process.env.NAME });
  expect(outcomes).toEqual(["apollo replayed", "urql replayed", "relay replayed"]);
});
