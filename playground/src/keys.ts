// The keys in the variables' text.
import { applyEdits, type JSONPath, modify, parse, type ParseError } from "jsonc-parser";

import { keyedFields } from "../../clients/typescript/src/document";
import { newKey } from "../../clients/typescript/src/key";
import { executed, type Request } from "./document";

/** The text as GraphiQL reads it: JSON, in which comments are allowed, or nothing. Undefined when it is no object. */
export function object(text: string): Record<string, unknown> | undefined {
  const errors: ParseError[] = [];
  const value = parse(text, errors, { allowTrailingComma: true, allowEmptyContent: true }) ?? {};
  return errors.length || typeof value !== "object" || Array.isArray(value) ? undefined : value;
}

/** The variables that are idempotency keys. */
export function keyVariables(request: Pick<Request, "query" | "operationName">): string[] {
  const document = executed(request);
  return document ? [...new Set(keyedFields(document).map(({ variable }) => variable))] : [];
}

/** Writes one value. All else stays as it is: comments, and numbers beyond JavaScript's. */
export function edited(text: string, path: JSONPath, value: unknown): string {
  return applyEdits(text, modify(text, path, value, { formattingOptions: { insertSpaces: true, tabSize: 2 } }));
}

/** Writes a new key into each of the variables. */
export const withNewKeys = (text: string, variables: string[]): string =>
  variables.reduce((text, variable) => edited(text, [variable], newKey()), text.trim() || "{}");
