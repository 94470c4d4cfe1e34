import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { useEffect, useState } from "react";

import { newKey } from "../../clients/typescript/src/key";
import { endpoint, recordedFetch } from "./calls";
import { Footer } from "./Footer";
import { idempotencyPlugin } from "./Panel";
import { listTabs } from "./tabs";

const createProject = `# Send this twice: the second
# answer is a replay of the first.
mutation CreateProject(
  $input: CreateProjectInput!
  $idempotencyKey: String!
) {
  createProject(
    input: $input
    idempotencyKey: $idempotencyKey
  ) {
    project {
      id
      name
      createdAt
    }
  }
}
`;

const fetcher = createGraphiQLFetcher({ url: endpoint, fetch: recordedFetch, enableIncrementalDelivery: false });
// GraphiQL's history would keep the headers, and a token with them.
const plugins = [idempotencyPlugin];
const firstTab = { query: createProject, variables: JSON.stringify({ input: { name: "Apollo" }, idempotencyKey: newKey() }, null, 2) };

/** What the editors held before a reload. GraphiQL restores a tab's variables where they have been edited, and else none. */
function lastTab(): Partial<typeof firstTab> {
  try {
    const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem("graphiql:tabState")!);
    return tabs[activeTabIndex] ?? {};
  } catch {
    return {};
  }
}

const { query = firstTab.query, variables = firstTab.variables } = lastTab();
// Afterwards GraphiQL remembers which panel is open, but not that none is.
const opensPanel = !localStorage.getItem("graphiql:tabState") && matchMedia("(min-width: 900px)").matches;

const schemaPath = "/schema.graphql";

/** Whether the server shows its schema: not with INTROSPECTION=false. */
function useShowsSchema(): boolean {
  const [shows, setShows] = useState(false);
  useEffect(() => {
    fetch(schemaPath, { method: "HEAD" }).then(
      ({ ok }) => setShows(ok),
      () => {},
    );
  }, []);
  return shows;
}

export function App() {
  useEffect(listTabs, []);
  const showsSchema = useShowsSchema();
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={plugins}
      visiblePlugin={opensPanel ? idempotencyPlugin : undefined}
      defaultTabs={[firstTab]}
      initialQuery={query}
      initialVariables={variables}
      defaultEditorToolsVisibility="variables"
      shouldPersistHeaders={false}
    >
      <GraphiQL.Logo>{showsSchema ? <a href={schemaPath}>OnceQL schema</a> : "OnceQL"}</GraphiQL.Logo>
      <GraphiQL.Footer>
        <Footer />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}
