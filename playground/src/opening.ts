// What the playground opens with: the documents of last time, and fresh keys. Documents
// are kept per browser tab, and for the next one that is opened; keys are never shared.
import type { ComponentProps } from "react";
import type { GraphiQL } from "graphiql";

import { newKey } from "../../clients/typescript/src/key";
import { named } from "./document";
import { keyVariables, object, withNewKeys } from "./keys";
import { beginAnew, callOf, current, resume, stateOf } from "./session";
import { ownsStorage } from "./tab";

const createProject = `# Send it twice: one project.
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

/** A tab as GraphiQL stores it; headers and responses are not kept. */
interface Tab {
  id: string;
  title: string;
  query: string | null;
  variables: string | null;
  operationName: string | null;
  headers: null;
  response: null;
}

export interface Tabs {
  tabs: Tab[];
  activeTabIndex: number;
}

// GraphiQL's own name, for the next browser tab; and that of this one.
const sharedItem = "graphiql:tabState";
const ownItem = "onceql:playground:tabs";
const mostTabs = 50;

/** Takes up what was stored, and gives each tab a fresh key unless its last call is unsettled. */
export async function open(): Promise<Tabs> {
  const storage = optionalStorage();
  if (await ownsStorage()) resume();
  else beginAnew();
  const stored = tabsIn(storage.session?.getItem(ownItem)) ?? tabsIn(storage.local?.getItem(sharedItem));
  const opened = stored ?? { tabs: [firstTab()], activeTabIndex: 0 };
  const ids = new Set<string>();
  for (const tab of opened.tabs) {
    if (ids.has(tab.id)) tab.id = newKey();
    ids.add(tab.id);
    refresh(tab);
  }
  keepTabs(opened);
  return opened;
}

const firstTab = (): Tab => ({
  ...{ id: newKey(), title: "CreateProject", operationName: "CreateProject", headers: null, response: null },
  query: createProject,
  variables: JSON.stringify({ input: { name: "Apollo" }, idempotencyKey: "" }, null, 2),
});

function refresh(tab: Tab): void {
  const last = current().sent[tab.id];
  if (last && stateOf(last) === "unsettled") {
    const { query, variables } = callOf(last)!;
    // GraphiQL tells of edits with a delay, and a reload can come before.
    if (!tab.query || !tab.variables?.includes(last)) Object.assign(tab, { query, variables: JSON.stringify(variables, null, 2) });
    return;
  }
  const variables = object(tab.variables ?? "");
  const keys = keyVariables(named(tab.query ?? "", tab.operationName));
  if (variables && keys.length) tab.variables = withNewKeys(tab.variables ?? "", keys);
}

/** The tabs that were stored, as far as they can be used. */
function tabsIn(text: string | null | undefined): Tabs | undefined {
  try {
    const stored = JSON.parse(text!);
    const active = stored.tabs[stored.activeTabIndex];
    const tabs = (stored.tabs as any[]).filter((tab) => typeof tab?.query === "string" || tab === active).slice(-mostTabs);
    const at = tabs.indexOf(active);
    if (at < 0) return undefined;
    return { tabs: tabs.map(tabIn), activeTabIndex: at };
  } catch {
    return undefined;
  }
}

function tabIn(stored: any): Tab {
  const string = (value: unknown) => (typeof value === "string" ? value : null);
  // GraphiQL makes object properties and model names of it.
  const id = /^[\da-f-]{36}$/i.test(stored.id) ? String(stored.id) : newKey();
  return {
    ...{ id, title: string(stored.title) ?? "<untitled>", operationName: string(stored.operationName) },
    ...{ query: string(stored.query), variables: string(stored.variables), headers: null, response: null },
  };
}

/** Stores the documents and the variables of all tabs. */
export function keepTabs({ tabs, activeTabIndex }: { tabs: object[]; activeTabIndex: number }): void {
  const text = JSON.stringify({ tabs: tabs.map(tabIn), activeTabIndex });
  for (const [storage, item] of [[optionalStorage().session, ownItem] as const, [optionalStorage().local, sharedItem] as const]) {
    try {
      storage?.setItem(item, text);
    } catch {
      // The storage is full: what is shown is not lost until the page is left.
    }
  }
}

/** A browser may forbid storage: then reading it throws. */
function optionalStorage(): { session?: Storage; local?: Storage } {
  try {
    return { session: sessionStorage, local: localStorage };
  } catch {
    return {};
  }
}

const panelItem = "graphiql:visiblePlugin";
const closed = "none";

/** Whether the panel opens with the page: unless it was closed last time. */
export const opensPanel = (): boolean => optionalStorage().local?.getItem(panelItem) !== closed;

/** GraphiQL's storage: preferences last, and tabs come from `opened`. */
export function storageFor(opened: Tabs): NonNullable<ComponentProps<typeof GraphiQL>["storage"]> {
  const { local } = optionalStorage();
  // The variables' editor is high enough for those of the first tab.
  const defaults: Record<string, string> = { "graphiql:secondaryEditorFlex": "1.7" };
  // What GraphiQL stores of the editors is in the tabs.
  const editors = /^graphiql:(tabState|query|variables|headers|operationName|shouldPersistHeaders)$/;
  return {
    getItem: (item) =>
      item === sharedItem ? JSON.stringify(opened) : editors.test(item) ? null : (local?.getItem(item) ?? defaults[item] ?? null),
    setItem: (item, value) => editors.test(item) || local?.setItem(item, value),
    removeItem: (item) => (item === panelItem ? local?.setItem(item, closed) : local?.removeItem(item)),
    clear() {
      optionalStorage().session?.removeItem(ownItem);
      for (const item of Object.keys(local ?? {})) if (item.startsWith("graphiql:")) local!.removeItem(item);
    },
    get length() {
      return local?.length ?? 0;
    },
  };
}
