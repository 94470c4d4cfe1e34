import type { TestProject } from "vitest/node";

/** The tests run against the server that ONCEQL_URL names; see clients_test.go. */
export default function setup({ provide }: TestProject): void {
  const server = process.env.ONCEQL_URL;
  if (!server) throw new Error("ONCEQL_URL must name a running server, such as http://127.0.0.1:8080; `go test -run TestClients .` starts one");
  provide("server", server);
}
