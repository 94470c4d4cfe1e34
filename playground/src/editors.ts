// What the editors hold, and how the panel changes it.
import { tryParseJSONC, useGraphiQL, useHeadersEditorState, useOperationsEditorState, useVariablesEditorState } from "@graphiql/react";
import { applyEdits, modify } from "jsonc-parser";

import { keyedFields } from "../../clients/typescript/src/document";
import { newKey } from "../../clients/typescript/src/key";
import { executed, keyedFieldsOf, type Request } from "./calls";

export interface Editors {
  /** What would be sent, or undefined while the document, or the JSON, is not whole. */
  request: Request | undefined;
  headers: Record<string, string> | undefined;
  /** The key that would be sent; empty when the document has none. */
  key: string;
  /** Whether the document has a key in a variable, and the variables can be read. */
  mintsKey: boolean;
  /** Puts a new key into each variable that is one. Returns the request with it. */
  mintKey(): Request | undefined;
  show(request: Request): void;
}

export function useEditors(): Editors {
  const [query, setQuery] = useOperationsEditorState();
  const [variablesText, setVariables] = useVariablesEditorState();
  const [headersText] = useHeadersEditorState();
  const operationName = useGraphiQL((state) => state.operationName);
  const document = executed({ query, operationName });
  const variables = object(variablesText);
  const keys = document ? keyedFields(document).map(({ variable }) => variable) : [];
  const request = document && variables && { query, variables, operationName };
  return {
    request,
    headers: object(headersText) as Record<string, string> | undefined,
    key: (request && keyedFieldsOf(request)[0]?.key) ?? "",
    mintsKey: request !== undefined && keys.length > 0,
    mintKey() {
      if (!request || !keys.length) return request;
      const minted = Object.fromEntries(keys.map((variable) => [variable, newKey()]));
      // Only the keys are rewritten: comments, and numbers beyond JavaScript's, stay as they are.
      const text = Object.entries(minted).reduce(
        (text, [variable, key]) =>
          applyEdits(text, modify(text, [variable], key, { formattingOptions: { insertSpaces: true, tabSize: 2 } })),
        variablesText.trim() || "{}",
      );
      setVariables(text);
      return { ...request, variables: { ...variables, ...minted } };
    },
    show({ query, variables }) {
      setQuery(query);
      setVariables(JSON.stringify(variables, null, 2));
    },
  };
}

/** The text as GraphiQL reads it: JSON, in which comments are allowed. */
function object(text: string): Record<string, unknown> | undefined {
  try {
    return tryParseJSONC(text) ?? {};
  } catch {
    return undefined;
  }
}
