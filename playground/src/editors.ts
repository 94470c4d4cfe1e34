// What the editors hold, and how the panel changes it.
import { useHeadersEditorState, useOperationsEditorState, useVariablesEditorState } from "@graphiql/react";

import { keyedFields } from "../../clients/typescript/src/document";
import { newKey } from "../../clients/typescript/src/key";
import { parsed, type Request } from "./calls";

export interface Editors {
  /** What would be sent, or undefined while the document, or the JSON, is not whole. */
  request: Request | undefined;
  headers: Record<string, string> | undefined;
  /** The key that would be sent; empty when the document has none. */
  key: string;
  /** Puts a new key into each variable that is one. Returns the request with it. */
  mintKey(): Request | undefined;
  show(request: Request): void;
}

export function useEditors(): Editors {
  const [query, setQuery] = useOperationsEditorState();
  const [variablesText, setVariables] = useVariablesEditorState();
  const [headersText] = useHeadersEditorState();
  const document = parsed(query);
  const variables = object(variablesText);
  const keys = document ? keyedFields(document).map(({ variable }) => variable) : [];
  const request = document && variables && { query, variables };
  return {
    request,
    headers: object(headersText) as Record<string, string> | undefined,
    key: String((keys[0] && variables?.[keys[0]]) ?? ""),
    mintKey() {
      if (!request || !keys.length) return request;
      const minted = { ...variables, ...Object.fromEntries(keys.map((variable) => [variable, newKey()])) };
      setVariables(JSON.stringify(minted, null, 2));
      return { query, variables: minted };
    },
    show({ query, variables }) {
      setQuery(query);
      setVariables(JSON.stringify(variables, null, 2));
    },
  };
}

function object(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text.trim() || "{}");
    return value && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
