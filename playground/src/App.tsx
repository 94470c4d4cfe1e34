import { GraphiQL } from "graphiql";
import { useEffect, useMemo, useState } from "react";

import { fetcher } from "./fetcher";
import { Head } from "./Head";
import { keepTabs, opensPanel, storageFor, type Tabs } from "./opening";
import { idempotencyPlugin } from "./Panel";
import { listTabs } from "./tabs";

// GraphiQL's history would keep the headers, and a token with them.
const plugins = [idempotencyPlugin];
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

export function App({ opened }: { opened: Tabs }) {
  useEffect(listTabs, []);
  const showsSchema = useShowsSchema();
  const storage = useMemo(() => storageFor(opened), [opened]);
  const [panel] = useState(() => (opensPanel() ? idempotencyPlugin : undefined));
  const { query, variables } = opened.tabs[opened.activeTabIndex]!;
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={plugins}
      visiblePlugin={panel}
      storage={storage}
      onTabChange={keepTabs}
      initialQuery={query ?? ""}
      initialVariables={variables ?? ""}
      defaultEditorToolsVisibility="variables"
      shouldPersistHeaders={false}
    >
      <GraphiQL.Logo>{showsSchema ? <a href={schemaPath}>OnceQL schema</a> : "OnceQL"}</GraphiQL.Logo>
      <GraphiQL.Footer>
        <Head />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}
