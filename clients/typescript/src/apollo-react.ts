/**
 * React hooks for Apollo Client 4 with {@link idempotencyLink}:
 *
 *     const [create, { pending, outcome, unsettled, resolve, discard }] =
 *       useIdempotentMutation(CreateProject, { intent: "create-project" });
 */
import {
  type ApolloClient,
  type DefaultContext,
  type DocumentNode,
  gql,
  type MaybeMasked,
  type OperationVariables,
  type TypedDocumentNode,
} from "@apollo/client";
import { ApolloLink } from "@apollo/client/link";
import { useApolloClient } from "@apollo/client/react";
import { useCallback, useEffect, useRef } from "react";
import { EMPTY } from "rxjs";

import type { OnPayloadChange } from "./calls.js";
import { watchedBy, type WatchedIntents } from "./intents.js";
import { type IdempotentCall, type IntentState, lookUp, type Parameters, useIntent } from "./react.js";

export type { IdempotentCall, IntentState, Outcome, Unsettled } from "./react.js";

type Own<TData, TVariables extends OperationVariables> = Partial<
  Omit<ApolloClient.MutateOptions<TData, TVariables>, "mutation" | "variables">
>;

/** What `client.mutate` takes, and the intent. */
export type UseIdempotentMutationOptions<TData, TVariables extends OperationVariables> = Own<TData, TVariables> & {
  /** Names what the user wants, such as `create-project` or `rename/${id}`. */
  intent: string;
  /** In place of the provider's. */
  client?: ApolloClient | undefined;
};

/** What one call may say. It overrules the hook's options. */
export type MutateOptions<TData, TVariables extends OperationVariables> = Own<TData, TVariables> & {
  /** The user's answer, who was asked: `newKey` sends it as a new submission. */
  onPayloadChange?: OnPayloadChange | undefined;
  /** Aborts it. Once it was sent, its outcome is unknown then. */
  signal?: AbortSignal | undefined;
};

/** Resolves and rejects as `client.mutate` does. */
export type Mutate<TData, TVariables extends OperationVariables> = (
  ...parameters: Parameters<TVariables, MutateOptions<TData, TVariables>>
) => Promise<ApolloClient.MutateResult<MaybeMasked<TData>>>;

/**
 * A mutation of a named intent, and what is known of the intent. As with Apollo's own
 * hook, `mutate` rejects unless the error policy is `all` or `ignore`, and a rejection
 * that nobody handles is not reported. Where the client has no idempotencyLink, it throws.
 */
export function useIdempotentMutation<TData = unknown, TVariables extends OperationVariables = OperationVariables>(
  document: DocumentNode | TypedDocumentNode<TData, TVariables>,
  { intent, client: override, ...options }: UseIdempotentMutationOptions<NoInfer<TData>, NoInfer<TVariables>>,
): [mutate: Mutate<TData, TVariables>, state: IntentState] {
  const client = useApolloClient(override);
  const { run, keys, ...state } = useIntent(client.link, (missing) => coreOf(client, missing), intent);
  const latest = useRef(options);
  useEffect(() => void (latest.current = options));

  const mutate = useCallback(
    (variables?: TVariables, { onPayloadChange, signal, ...own }: MutateOptions<TData, TVariables> = {}) => {
      const result = run((named) => {
        const context: DefaultContext = { ...latest.current.context, ...own.context, ...named };
        if (onPayloadChange) context.onPayloadChange = onPayloadChange;
        if (signal) context.fetchOptions = { ...context.fetchOptions, signal };
        return client.mutate<TData, OperationVariables>({
          ...(latest.current as object),
          ...(own as object),
          mutation: document,
          variables: variables!,
          context,
        });
      });
      result.catch(() => {});
      return result;
    },
    [client, document, run],
  );
  const resolve = useCallback(async () => {
    const look = async (key: string) => {
      // The cache is to know nothing of keys.
      const options = { variables: { key }, fetchPolicy: "no-cache", errorPolicy: "none" } as const;
      const { data } = await client.query<{ idempotentCall: IdempotentCall | null }>({ query, ...options });
      return data!.idempotentCall;
    };
    return Promise.all((await keys()).map(look));
  }, [client, keys]);
  return [mutate as Mutate<TData, TVariables>, { ...state, resolve }];
}

const query = gql(lookUp);
const harmless = gql`
  mutation {
    __typename
  }
`;

/** Asks the links for their core: they do not know their client, nor it them. */
function coreOf(client: ApolloClient, missing: Error): Promise<WatchedIntents> {
  return new Promise((resolve, reject) => {
    const toString = () => {
      throw missing;
    };
    const context = {
      [watchedBy]: (core: WatchedIntents) => (resolve(core), EMPTY),
      // Where no idempotencyLink takes it, nothing is sent: fetch fails with this.
      uri: { toString },
    };
    ApolloLink.execute(client.link, { query: harmless, context }, { client }).subscribe({
      complete: () => reject(missing),
      error: reject,
    });
  });
}
