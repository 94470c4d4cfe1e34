import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { getIntrospectionQuery } from "graphql";
import { afterEach, expect, test } from "vitest";

import { server } from "../typescript/test/server.js";
import { App, schema } from "./app.js";

let app: App;
afterEach(() => app?.remove());

const fixture = (file: string) => readFile(join(import.meta.dirname, "fixtures", file), "utf8");

/** An app with a document and what its types are to do. */
async function typed(dir: string, compilerOptions: object, ...packages: string[]): Promise<void> {
  app = await App.bare("graphql", "@graphql-typed-document-node/core", ...packages);
  await app.write("src/documents.ts", await fixture(`${dir}/documents.ts`));
  await app.write("src/types.ts", await fixture("types.ts"));
  const common = { strict: true, noEmit: true, skipLibCheck: true, module: "esnext", moduleResolution: "bundler", types: [] };
  await app.write("tsconfig.json", JSON.stringify({ compilerOptions: { ...common, ...compilerOptions }, include: ["src"] }));
}

test("gql.tada takes a document that declares its key, and refuses one without", async () => {
  const plugin = { name: "gql.tada/ts-plugin", schema: "./schema.graphql", tadaOutputLocation: "./src/graphql-env.d.ts" };
  await typed("tada", { plugins: [plugin] }, "gql.tada", "typescript@6");
  await app.write("schema.graphql", await readFile(schema, "utf8"));
  await app.run("gql.tada", "generate-output");
  // tsc lets a document pass that has no key; the checker does not.
  const keyed = await app.read("src/documents.ts");
  await app.write("src/unkeyed.ts", keyed.replace(", idempotencyKey: $idempotencyKey", "").replace(/, \$idempotencyKey.*""/, ""));
  await app.run("tsc");
  const refused = await app.run("gql.tada", "check").catch((error) => error.message);
  expect(refused).toContain('argument "idempotencyKey" of type "String!" is required');
  expect(refused).toContain("unkeyed.ts");
  expect(refused).toContain("1 problems");
});

test("codegen finds what takes a key in the introspection of a server", async () => {
  const response = await fetch(server + "/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query: getIntrospectionQuery() }),
  });
  await typed("introspection", {}, "@graphql-codegen/cli", "@graphql-codegen/client-preset", "@onceql/client", "typescript");
  await app.write("introspection.json", JSON.stringify(await response.json()));
  await app.write("codegen.ts", await fixture("introspection/codegen.ts"));
  await app.run("graphql-codegen", "--config", "codegen.ts");
  await app.run("tsc");
  const generated = await app.read("src/gql/graphql.ts");
  expect(generated).toContain('"value":"idempotencyKey"');
});
