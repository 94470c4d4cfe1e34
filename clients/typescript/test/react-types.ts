// Checked by tsc alone: what the hooks make of a typed document.
import type { TypedDocumentNode } from "@apollo/client";
import { parse } from "graphql";

import { useIdempotentMutation as useApollo } from "../src/apollo-react.js";
import { useIdempotentMutation as useUrql } from "../src/urql-react.js";

interface Data {
  createProject: { project: { id: string } } | null;
}
// As generated from `$idempotencyKey: String! = ""`.
interface Variables {
  input: { name: string };
  idempotencyKey?: string | null;
}
const document = parse("mutation { a }") as TypedDocumentNode<Data, Variables>;
const optional = parse("mutation { a }") as TypedDocumentNode<Data, { idempotencyKey?: string }>;
const intent = "create";
const input = { name: "" };

export async function WithApollo(signal: AbortSignal) {
  const [create, { pending, outcome, unsettled, resolve }] = useApollo(document, {
    intent,
    errorPolicy: "all",
    refetchQueries: ["Projects"],
    update: (_, { data }) => data?.createProject?.project.id.length,
  });
  const { data, error } = await create({ input }, { onPayloadChange: "newKey", signal, context: { queue: "a" } });
  const id: string | undefined = data?.createProject?.project.id;
  await create({ input, idempotencyKey: "mine" });
  // @ts-expect-error The input is missing.
  await create({});
  // @ts-expect-error The variables are.
  await create();
  // @ts-expect-error A name is a string.
  await create({ input: { name: 1 } });
  // @ts-expect-error It asks, or it does not.
  await create({ input }, { onPayloadChange: "reuse" });
  // @ts-expect-error The data has no such field.
  data?.updateProject;
  // @ts-expect-error A hook's intent has a name.
  useApollo(document, {});
  // @ts-expect-error The client has no such option.
  useApollo(document, { intent, requestPolicy: "network-only" });
  const [archive] = useApollo(optional, { intent });
  await archive();
  const [call] = await resolve();
  // @ts-expect-error Null is not known.
  call.operation;
  const state: [boolean, string | undefined, Date | undefined] = [pending, outcome?.executedAt, unsettled?.sentAt];
  return [id, error?.message, state];
}

export async function WithUrql(signal: AbortSignal) {
  const [create, { pending, outcome, unsettled, resolve }] = useUrql(document, { intent, additionalTypenames: ["Project"] });
  const { data, error } = await create({ input }, { onPayloadChange: "newKey", signal, url: "/graphql" });
  const id: string | undefined = data?.createProject?.project.id;
  await create({ input, idempotencyKey: "mine" });
  // @ts-expect-error The input is missing.
  await create({});
  // @ts-expect-error The variables are.
  await create();
  // @ts-expect-error A name is a string.
  await create({ input: { name: 1 } });
  // @ts-expect-error It asks, or it does not.
  await create({ input }, { onPayloadChange: "reuse" });
  // @ts-expect-error The data has no such field.
  data?.updateProject;
  // @ts-expect-error A hook's intent has a name.
  useUrql(document, {});
  const [archive] = useUrql(optional, { intent });
  await archive();
  const [call] = await resolve();
  // @ts-expect-error Null is not known.
  call.operation;
  const state: [boolean, string | undefined, Date | undefined] = [pending, outcome?.executedAt, unsettled?.sentAt];
  return [id, error?.graphQLErrors, state];
}
