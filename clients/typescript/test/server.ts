/** The server under test, such as http://127.0.0.1:8080; TestClients and TestPlayground start one. */
export const server = process.env.ONCEQL_URL ?? missing();

function missing(): never {
  throw new Error("ONCEQL_URL must name a running server; `go test -run 'TestClients|TestPlayground' ./e2e` starts one");
}

/** The number of projects of that name that the server has. */
export async function effects(name: string): Promise<number> {
  let count = 0;
  let after: string | null = null;
  do {
    const { projects } = await ask(
      `query ($after: String) { projects(first: 100, after: $after) { nodes { name } pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    count += projects.nodes.filter((project: { name: string }) => project.name === name).length;
    after = projects.pageInfo.hasNextPage ? projects.pageInfo.endCursor : null;
  } while (after);
  return count;
}

/** Asks the server itself, with no proxy between. */
async function ask(query: string, variables: object): Promise<any> {
  const response = await fetch(server + "/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}
