import type { CodegenConfig } from "@graphql-codegen/cli";
import { idempotencyKeys } from "@onceql/client/codegen";

const config: CodegenConfig = {
  schema: "../../../schema.graphql",
  documents: "src/**/*.ts",
  importExtension: ".js",
  generates: {
    "src/gql/": {
      preset: "client",
      config: { scalars: { DateTime: "string" }, useTypeImports: true },
      documentTransforms: [idempotencyKeys],
    },
  },
};

export default config;
