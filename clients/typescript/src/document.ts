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
 * one, the server refuses the second with IDEMPOTENCY_KEY_REUSED. It takes time in
 * proportion to the payload, and throws a TypeError for what JSON can't hold.
 */
export function fingerprint(fields: KeyedField[], variables: Record<string, unknown>): number {
  const payload = { ...variables };
  for (const { variable } of fields) delete payload[variable];
  return hash(canonical(JSON.parse(JSON.stringify([fields.map(({ name, literals }) => [name, literals]), payload], described))));
}

/** What JSON makes the same, maps, sets and files, by what tells it apart. */
function described(_: string, part: any): unknown {
  if (part instanceof Object && part[Symbol.iterator]) return [...part];
  return part instanceof Blob ? [(part as File).name, part.size, part.type, (part as File).lastModified] : part;
}

/** The JSON of a value, the properties of each object in the order of their UTF-16 code units. */
function canonical(value: any): string {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (!(value instanceof Object)) return JSON.stringify(value);
  const properties = Object.keys(value).sort();
  return `{${properties.map((name) => JSON.stringify(name) + ":" + canonical(value[name]))}}`;
}

/** FNV-1a, 32 bits, over code points. */
export function hash(text: string): number {
  let hash = 0x811c9dc5;
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193);
  return hash;
}
