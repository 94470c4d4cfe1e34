// What a request executes, and which of its fields have an idempotency key.
import { type DocumentNode, parse, separateOperations, valueFromASTUntyped, visit } from "graphql";

export interface Request {
  query: string;
  variables: Record<string, unknown>;
  operationName?: string;
}

/** What a request executes of its document: one operation with its fragments. Undefined while the document isn't whole. */
export function executed({ query, operationName }: Pick<Request, "query" | "operationName">): DocumentNode | undefined {
  try {
    const operations = separateOperations(parse(query));
    return operationName ? operations[operationName] : Object.values(operations)[0];
  } catch {
    return undefined;
  }
}

/** A document and which of its operations is meant. GraphiQL names it late: for a while the name may be that of another document. */
export function named(query: string, operationName: string | null | undefined): Pick<Request, "query" | "operationName"> {
  return operationName && executed({ query, operationName }) ? { query, operationName } : { query };
}

export interface KeyedField {
  /** The field's alias or name. */
  field: string;
  operation: string;
  key: string;
  /** The arguments without the key, as JSON. */
  payload: string;
}

/** The fields that a request gives an idempotency key, in a variable or literally. */
export function keyedFieldsOf(request: Request): KeyedField[] {
  const document = executed(request);
  const fields: KeyedField[] = [];
  if (!document) return fields;
  visit(document, {
    Field({ alias, name, arguments: given = [] }) {
      const values = given.map(({ name, value }) => [name.value, valueFromASTUntyped(value, request.variables)] as const);
      const { idempotencyKey, ...payload } = Object.fromEntries(values);
      if (idempotencyKey === undefined) return;
      fields.push({ field: (alias ?? name).value, operation: name.value, key: String(idempotencyKey), payload: JSON.stringify(payload) });
    },
  });
  return fields;
}
