// Creates a project with urql: node dist/main.js http://127.0.0.1:8080/graphql NAME
import { idempotencyExchange, retryKeyed } from "@onceql/client/urql";
import { Client, fetchExchange } from "@urql/core";

import { CreateProject } from "./createProject.js";

const [, , url = "http://127.0.0.1:8080/graphql", name = "Apollo"] = process.argv;

const client = new Client({
  url,
  preferGetMethod: false,
  exchanges: [
    idempotencyExchange({ onOutcome: ({ field, outcome, key }) => console.log(field, outcome, key) }),
    retryKeyed(),
    fetchExchange,
  ],
});

const { data, error } = await client.mutation(CreateProject, { input: { name } }, { intent: "create-project" });
if (error) throw error;
console.log(data?.createProject?.project.id);
