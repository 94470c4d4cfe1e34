/** A parsed document, of graphql or of urql. */
export interface ParsedDocument {
  // Persisted documents have none.
  readonly definitions?: readonly object[];
}

// What is read of their nodes.
interface Node {
  name?: { value: string };
  alias?: { value: string };
  value: Node;
  arguments?: Node[];
  selectionSet: { selections: Node[] };
}

/** A field whose idempotency key is a variable. */
export interface KeyedField {
  /** The field's alias or name: under it the answer speaks of the field. */
  responseKey: string;
  name: string;
  /** The variable that is its key. */
  variable: string;
  /** Its arguments as the document has them, without where they stand. */
  literals: string;
}

/** The fields whose argument `idempotencyKey` is a variable. */
export function keyedFields({ definitions = [] }: ParsedDocument): KeyedField[] {
  return definitions.flatMap((definition) => fieldsIn(definition as Node));
}

function fieldsIn({ selectionSet }: Node): KeyedField[] {
  return selectionSet.selections.flatMap((node) => {
    // Inline fragments have no name.
    if (!node.name) return fieldsIn(node);
    // Of the values only variables have one.
    const keys = node.arguments?.filter(({ name, value }) => name!.value === "idempotencyKey" && value.name) ?? [];
    return keys.map(({ value }) => ({
      responseKey: (node.alias ?? node.name)!.value,
      name: node.name!.value,
      variable: value.name!.value,
      literals: JSON.stringify(node.arguments, (name, part) => (name === "loc" ? undefined : part)),
    }));
  });
}

/**
 * A hash (FNV-1a, 32 bits) of what a call would do: the keyed fields, their
 * arguments, and the variables without the keys. Where it takes two payloads for
 * one, the server refuses the second with IDEMPOTENCY_KEY_REUSED.
 */
export function fingerprint(fields: KeyedField[], variables: Record<string, unknown>): number {
  const payload = { ...variables };
  for (const { variable } of fields) delete payload[variable];
  const call = [fields.map(({ name, literals }) => [name, literals]), payload];
  const names = new Set<string>();
  JSON.stringify(call, (name, value) => (names.add(name), value));
  let hash = 0x811c9dc5;
  for (const char of JSON.stringify(call, [...names].sort())) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  return hash;
}
