import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["*.test.ts"],
    // A busy machine fails no test.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
