// Creates a project with Apollo Client: node dist/main.js http://127.0.0.1:8080/graphql NAME
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { idempotencyLink, retryKeyed } from "@onceql/client/apollo";

import { CreateProject } from "./createProject.js";

const [, , uri = "http://127.0.0.1:8080/graphql", name = "Apollo"] = process.argv;

const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.from([
    idempotencyLink({ onOutcome: ({ field, outcome, key }) => console.log(field, outcome, key) }),
    retryKeyed(),
    new HttpLink({ uri }),
  ]),
});

const { data } = await client.mutate({ mutation: CreateProject, variables: { input: { name } }, context: { intent: "create-project" } });
console.log(data?.createProject?.project.id);
