/**
 * A documentTransforms entry for GraphQL Code Generator, so that documents say
 * `createProject(input: $input)` and are sent with a key:
 *
 *     generates: { "src/gql/": { preset: "client", documentTransforms: [idempotencyKeys] } }
 *
 * The schema may be SDL or introspection: every `@idempotent` field has the argument
 * `idempotencyKey: String!`, and by that it is known.
 */
import type { Types } from "@graphql-codegen/plugin-helpers";
import {
  type DocumentNode,
  type FieldNode,
  type InputValueDefinitionNode,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
} from "graphql";

/**
 * Gives every field that takes a key and was not given one a variable of its own,
 * with the default `""`: it is optional in the generated types, and the helpers
 * replace it by a key. The first is `$idempotencyKey`, the next `$idempotencyKey2`. A
 * named fragment on Mutation has to name its variable itself.
 */
export const idempotencyKeys: Types.DocumentTransformObject = {
  transform: ({ documents, schema }) => {
    const keyed = keyedMutations(schema);
    return documents.map((file) => (file.document ? { ...file, document: withKeys(file.document, keyed) } : file));
  },
};

/** The mutations that take an `idempotencyKey: String!`, by name. */
function keyedMutations(schema: DocumentNode): Set<string> {
  let mutation = "Mutation";
  for (const definition of schema.definitions) {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) continue;
    mutation = definition.operationTypes?.find(({ operation }) => operation === "mutation")?.type.name.value ?? mutation;
  }
  const types = schema.definitions.filter(
    (definition) => definition.kind === Kind.OBJECT_TYPE_DEFINITION || definition.kind === Kind.OBJECT_TYPE_EXTENSION,
  );
  const fields = types.filter(({ name }) => name.value === mutation).flatMap(({ fields = [] }) => fields);
  const isKey = ({ name, type }: InputValueDefinitionNode) => name.value === "idempotencyKey" && type.kind === Kind.NON_NULL_TYPE;
  return new Set(fields.filter((field) => field.arguments?.some(isKey)).map(({ name }) => name.value));
}

function withKeys(document: DocumentNode, keyed: Set<string>): DocumentNode {
  const definitions = document.definitions.map((definition) =>
    definition.kind === Kind.OPERATION_DEFINITION && definition.operation === "mutation"
      ? operationWithKeys(definition, keyed)
      : definition,
  );
  return { ...document, definitions };
}

function operationWithKeys(operation: OperationDefinitionNode, keyed: Set<string>): OperationDefinitionNode {
  const names = new Set(operation.variableDefinitions?.map(({ variable }) => variable.name.value));
  const variableDefinitions = [...(operation.variableDefinitions ?? [])];

  const fieldWithKey = (field: FieldNode): FieldNode => {
    if (!keyed.has(field.name.value) || field.arguments?.some(({ name }) => name.value === "idempotencyKey")) return field;
    let name = "idempotencyKey";
    for (let n = 2; names.has(name); n++) name = `idempotencyKey${n}`;
    names.add(name);
    const added = parse(`mutation ($${name}: String! = "") { f(idempotencyKey: $${name}) }`, { noLocation: true });
    const {
      variableDefinitions: [variable],
      selectionSet,
    } = added.definitions[0] as Required<OperationDefinitionNode>;
    variableDefinitions.push(variable!);
    return { ...field, arguments: [...(field.arguments ?? []), ...(selectionSet.selections[0] as Required<FieldNode>).arguments] };
  };
  const withKeysIn = (set: SelectionSetNode): SelectionSetNode => ({
    ...set,
    selections: set.selections.map((node) => {
      if (node.kind === Kind.FIELD) return fieldWithKey(node);
      return node.kind === Kind.INLINE_FRAGMENT ? { ...node, selectionSet: withKeysIn(node.selectionSet) } : node;
    }),
  });
  return { ...operation, selectionSet: withKeysIn(operation.selectionSet), variableDefinitions };
}
