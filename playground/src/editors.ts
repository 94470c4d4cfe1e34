// What the editors hold, and how the page changes it.
import {
  type MonacoEditor,
  pick,
  useGraphiQL,
  useHeadersEditorState,
  useOperationsEditorState,
  useVariablesEditorState,
} from "@graphiql/react";
import { useEffect } from "react";

import { executed, keyedFieldsOf, named, type Request } from "./document";
import { keyVariables, object, withNewKeys } from "./keys";
import { change, current, stateOf } from "./session";

export interface Editors {
  /** What would be sent, or undefined while the document, or the JSON, is not whole. */
  request: Request | undefined;
  /** The headers, or undefined while they can't be sent. */
  headers: Record<string, string> | undefined;
  /** The key that would be sent; empty when the document has none. */
  key: string;
  /** The variables that are keys. */
  keys: string[];
}

function editors(query: string, variablesText: string, headersText: string, operationName: string | undefined): Editors {
  const variables = object(variablesText);
  const document = named(query, operationName);
  const request = executed(document) && variables && { ...document, variables };
  return {
    request,
    headers: sendable(object(headersText)),
    key: (request && keyedFieldsOf(request)[0]?.key) ?? "",
    keys: keyVariables(document),
  };
}

/** The headers, if a browser can send them: not every name and character can be in one. */
export function sendable(headers: Record<string, unknown> | undefined): Record<string, string> | undefined {
  try {
    return headers && (new Headers(headers as Record<string, string>), headers as Record<string, string>);
  } catch {
    return undefined;
  }
}

/** What the editors hold, as it changes. */
export function useEditors(): Editors & { variablesText: string } {
  const [query] = useOperationsEditorState();
  const [variablesText] = useVariablesEditorState();
  const [headersText] = useHeadersEditorState();
  const operationName = useGraphiQL((state) => state.operationName);
  return { ...editors(query, variablesText, headersText, operationName), variablesText };
}

/** The tab of GraphiQL that is open. */
export const useTab = (): string => useGraphiQL(({ tabs, activeTabIndex }) => tabs[activeTabIndex]?.id ?? "");

interface Live {
  tab: string;
  operationName?: string | undefined;
  queryEditor?: MonacoEditor | undefined;
  variableEditor?: MonacoEditor | undefined;
  headerEditor?: MonacoEditor | undefined;
}

let live: Live = { tab: "" };

/** Makes the editors known to the functions below; one component calls it. */
export function useLiveEditors(): void {
  const tab = useTab();
  const monaco = useGraphiQL(pick("operationName", "queryEditor", "variableEditor", "headerEditor"));
  live = { ...monaco, tab };
  useEffect(() => {
    for (const editor of [monaco.queryEditor, monaco.variableEditor, monaco.headerEditor]) {
      editor?.updateOptions({ wordWrap: "on", wrappingIndent: "indent" });
    }
  }, [monaco.queryEditor, monaco.variableEditor, monaco.headerEditor]);
}

export const openTab = (): string => live.tab;

export const variablesText = (): string => live.variableEditor?.getValue() ?? "";

/** What the editors hold now. */
export const read = (): Editors =>
  editors(live.queryEditor?.getValue() ?? "", variablesText(), live.headerEditor?.getValue() ?? "", live.operationName);

/** Writes into an editor in a way that the editor's undo takes back. */
function write(editor: MonacoEditor | undefined, text: string): void {
  const model = editor?.getModel();
  if (!model || model.getValue() === text) return;
  model.pushStackElement();
  model.pushEditOperations([], [{ range: model.getFullModelRange(), text }], () => null);
  model.pushStackElement();
}

export const writeVariables = (text: string): void => write(live.variableEditor, text);

export function show({ query, variables }: Request): void {
  write(live.queryEditor, query);
  writeVariables(JSON.stringify(variables, null, 2));
}

/** Puts a new key into each variable that is one. Returns the request with it. */
export function mintKey(): Request | undefined {
  const { request, keys } = read();
  if (!request || !keys.length) return request;
  writeVariables(withNewKeys(variablesText(), keys));
  return read().request;
}

/** The request, with a new key where its own has been used up: never while the outcome of one is unknown. */
export function withUnusedKey(request: Request): Request {
  const states = keyedFieldsOf(request).map(({ key }) => stateOf(key));
  return states.includes("settled") && !states.includes("unsettled") ? (mintKey() ?? request) : request;
}

/** A new key because the user wants one, whatever became of the last. */
export function abandonKey(): void {
  const { [live.tab]: _, ...sent } = current().sent;
  change({ sent });
  mintKey();
}

/** Opens the headers editor, for which GraphiQL has no function. */
export function openHeaders(): void {
  document.querySelector<HTMLElement>('.graphiql-editor-tools [data-name="headers"]')?.click();
  // The editor is shown once React has rendered.
  requestAnimationFrame(() => {
    live.headerEditor?.getContainerDomNode().scrollIntoView({ block: "nearest" });
    live.headerEditor?.focus();
  });
}
