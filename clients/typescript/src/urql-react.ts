/**
 * React hooks for urql with {@link idempotencyExchange}:
 *
 *     const [create, { pending, outcome, unsettled, resolve, discard }] =
 *       useIdempotentMutation(CreateProject, { intent: "create-project" });
 */
import type { AnyVariables, Client, DocumentInput, OperationContext, OperationResult } from "@urql/core";
import { useCallback, useEffect, useRef } from "react";
import { useClient } from "urql";

import type { OnPayloadChange } from "./calls.js";
import { watchedBy, type WatchedIntents } from "./intents.js";
import { type IdempotentCall, type IntentState, lookUp, type Parameters, useIntent } from "./react.js";

export type { IdempotentCall, IntentState, Outcome, Unsettled } from "./react.js";

/** What a mutation's context may have, and the intent. */
export type UseIdempotentMutationOptions = Partial<OperationContext> & {
  /** Names what the user wants, such as `create-project` or `rename/${id}`. */
  intent: string;
};

/** What one call may say. It overrules the hook's options. */
export type MutateOptions = Partial<OperationContext> & {
  /** The user's answer, who was asked: `newKey` sends it as a new submission. */
  onPayloadChange?: OnPayloadChange | undefined;
  /** Aborts it. Once it was sent, its outcome is unknown then. */
  signal?: AbortSignal | undefined;
};

/** Resolves as `client.mutation` does: a failed call has an `error`. */
export type Mutate<Data, Variables extends AnyVariables> = (
  ...parameters: Parameters<Variables, MutateOptions>
) => Promise<OperationResult<Data, Variables>>;

/**
 * A mutation of a named intent, and what is known of the intent. As with urql's own
 * hook, `mutate` does not reject: `error` is in its result. Where the client has no
 * idempotencyExchange, it throws.
 */
export function useIdempotentMutation<Data = any, Variables extends AnyVariables = AnyVariables>(
  document: DocumentInput<Data, Variables>,
  { intent, ...options }: UseIdempotentMutationOptions,
): [mutate: Mutate<Data, Variables>, state: IntentState] {
  const client = useClient();
  const { run, keys, ...state } = useIntent(client, (missing) => coreOf(client, missing), intent);
  const latest = useRef(options);
  useEffect(() => void (latest.current = options));

  const mutate = useCallback(
    (variables?: Variables, { onPayloadChange, signal, ...own }: MutateOptions = {}) =>
      run((named) => {
        const context: Partial<OperationContext> = { ...latest.current, ...own, ...named };
        if (onPayloadChange) context.onPayloadChange = onPayloadChange;
        const { fetchOptions } = context;
        if (signal) context.fetchOptions = { ...(typeof fetchOptions === "function" ? fetchOptions() : fetchOptions), signal };
        return client.mutation(document, (variables ?? {}) as Variables, context).toPromise();
      }),
    [client, document, run],
  );
  const resolve = useCallback(async () => {
    const look = async (key: string) => {
      const { data, error } = await client
        .query<{ idempotentCall: IdempotentCall | null }>(lookUp, { key }, { requestPolicy: "network-only" })
        .toPromise();
      if (error) throw error;
      return data!.idempotentCall;
    };
    return Promise.all((await keys()).map(look));
  }, [client, keys]);
  return [mutate as Mutate<Data, Variables>, { ...state, resolve }];
}

async function coreOf(client: Client, missing: Error): Promise<WatchedIntents> {
  const core: WatchedIntents | undefined = (client as any)[watchedBy];
  if (!core) throw missing;
  return core;
}
