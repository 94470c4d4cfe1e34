/**
 * Idempotency keys for Apollo Client 4:
 *
 *     link: ApolloLink.from([idempotencyLink(), retryKeyed(), new HttpLink({ uri })])
 */
import { ApolloLink } from "@apollo/client/link";
import { catchError, defer, finalize, mergeMap, of, retry, tap, throwError, timer } from "rxjs";

import { type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields } from "./document.js";
import { type Failure, isRetryable, retryDelay, type RetryOptions } from "./retry.js";

export {
  type CallContext,
  type Intents,
  type KeyStore,
  type OnPayloadChange,
  type Options,
  type Unsettled,
  UnsettledError,
} from "./calls.js";
export type { Outcome } from "./outcome.js";
export type { RetryOptions } from "./retry.js";

declare module "@apollo/client" {
  interface DefaultContext extends CallContext {}
}

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and keeps it until the outcome is known. It stands above what retries: all
 * tries of a call have one key.
 */
export function idempotencyLink(options?: Options): ApolloLink & Intents {
  const open = keyedCalls(options);
  const link = new ApolloLink((operation, forward) => {
    if (!isKeyed(operation)) return forward(operation);
    return defer(() => open(operation.query, operation.variables, operation.getContext())).pipe(
      mergeMap((call) => {
        operation.variables = call.variables;
        // CombinedGraphQLErrors reads as an answer; other errors are none.
        const resolve = (answer: any) => call.resolve(answer);
        // Who leaves before the answer does not know the outcome.
        return forward(operation).pipe(
          tap({ next: resolve, error: resolve }),
          finalize(() => call.resolve({})),
        );
      }),
    );
  });
  const { unsettled, discard, clear } = open;
  return Object.assign(link, { unsettled, discard, clear });
}

/**
 * Tries queries and keyed mutations again where that can help: after no answer, an
 * HTTP status that says so, or an error with `retryable: true`, as long after as the
 * server asks for. Mutations without a key are sent once. A call that failed to the
 * end fails as it would without this link.
 */
export function retryKeyed(options?: RetryOptions): ApolloLink {
  return new ApolloLink((operation, forward) => {
    if (operation.operationType !== "query" && !isKeyed(operation)) return forward(operation);
    return defer(() => forward(operation)).pipe(
      tap((result) => {
        if ("errors" in result && result.errors?.some(isRetryable)) throw result;
      }),
      retry({
        delay(failure: Failure, attempt) {
          const delay = retryDelay(attempt, failure, options);
          return delay === undefined ? throwError(() => failure) : timer(delay);
        },
      }),
      catchError((failure) => (failure instanceof Error ? throwError(() => failure) : of(failure as ApolloLink.Result))),
    );
  });
}

const isKeyed = ({ query, operationType }: ApolloLink.Operation) => operationType === "mutation" && keyedFields(query).length > 0;
