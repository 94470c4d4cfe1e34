import { parse } from "graphql";
import { expect } from "vitest";

import { type Answer, type CallContext, keyedCalls, type KeyStore, type Options, UnsettledError } from "../src/index.js";

export const document = parse(`mutation ($input: I!, $idempotencyKey: String! = "") {
  create(input: $input, idempotencyKey: $idempotencyKey) { id } }`);

export const status = (status: "EXECUTED" | "REPLAYED") => ({ status, executedAt: "2026-01-02T03:04:05Z" });
export const executed: Answer = { data: { create: {} }, extensions: { idempotency: { create: status("EXECUTED") } } };
export const refused = (code: string, retryable = false): Answer => ({
  data: { create: null },
  errors: [{ message: "", path: ["create"], extensions: { code, retryable } }],
});
export const lost: Answer = {};

/** The store as a page has it that was opened later. */
export const reopened = (map: Map<string, string>): KeyStore => ({
  get: (name) => map.get(name),
  set: (name, value) => map.set(name, value),
  delete: (name) => map.delete(name),
  keys: () => map.keys(),
});

export function opened(options?: Options) {
  const open = keyedCalls(options);
  const call = async (name: string, context: CallContext = { intent: "create" }, signal?: AbortSignal) => {
    const call = await open(document, { input: { name } }, context, signal);
    return { ...call, key: call.variables.idempotencyKey as string };
  };
  return { ...open, open, call };
}

export const asks = (call: Promise<unknown>) => expect(call).rejects.toThrow(UnsettledError);
/** Whether it is still waiting once all that could run has run. */
export async function waits(call: Promise<unknown>): Promise<boolean> {
  let ended = false;
  const end = () => (ended = true);
  call.then(end, end);
  await new Promise((resolve) => setTimeout(resolve));
  return !ended;
}
