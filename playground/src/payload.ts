// Another payload for the same key.
import type { JSONPath } from "jsonc-parser";

import { edited, object } from "./keys";

/**
 * Changes one value of the variables that is no key: a text before a number, and no id
 * where there is another. Undefined when there is none to change.
 */
export function otherPayload(text: string, keys: string[]): string | undefined {
  const values = leaves(Object.entries(object(text) ?? {}).filter(([name]) => !keys.includes(name)));
  const isId = (path: JSONPath) => /(^id|Id|ID)s?$/.test(String(path.findLast((part) => typeof part === "string")));
  const [found] = [
    ...values.filter(({ path, value }) => typeof value === "string" && !isId(path)),
    ...values.filter(({ value }) => typeof value === "number"),
    ...values.filter(({ value }) => typeof value === "boolean"),
    ...values,
  ];
  return found && edited(text, found.path, another(found.value));
}

const another = (value: unknown): unknown =>
  typeof value === "string" ? `${value} changed` : typeof value === "number" ? value + 1 : !value;

function leaves(entries: [string | number, unknown][], above: JSONPath = []): { path: JSONPath; value: unknown }[] {
  return entries.flatMap(([name, value]) => {
    const path = [...above, name];
    if (Array.isArray(value)) return leaves([...value.entries()], path);
    if (typeof value === "object" && value !== null) return leaves(Object.entries(value), path);
    return value === null ? [] : [{ path, value }];
  });
}
