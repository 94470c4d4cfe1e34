/**
 * Idempotency keys for urql:
 *
 *     exchanges: [cacheExchange, idempotencyExchange(), retryExchange(retryKeyed()), fetchExchange]
 */
import { type Exchange, makeErrorResult, mapExchange, type Operation, type OperationResult } from "@urql/core";
import type { RetryExchangeOptions } from "@urql/exchange-retry";
import { makeSubject, merge } from "wonka";

import { type Call, type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields } from "./document.js";
import { retryDelay, type RetryOptions } from "./retry.js";

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

declare module "@urql/core" {
  interface OperationContext extends CallContext {
    keyedCall?: Call | undefined;
  }
}

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and keeps it until the outcome is known. It stands above what retries and
 * below caches and offline queues: all tries of a call have one key, and a queue
 * stores it with the variables.
 */
export function idempotencyExchange(options?: Options): Exchange & Intents {
  const open = keyedCalls(options);
  const exchange: Exchange = (input) => (operations) => {
    const refused = makeSubject<OperationResult>();
    const keyed = mapExchange({
      onOperation: (operation) =>
        isKeyed(operation)
          ? open(operation.query, operation.variables as object, operation.context).then(
              (keyedCall) => withContext({ ...operation, variables: keyedCall.variables }, { keyedCall }),
              (error) => {
                refused.next(makeErrorResult(operation, error));
                return new Promise<never>(() => {});
              },
            )
          : operation,
      onResult({ operation, data, error, extensions }) {
        operation.context.keyedCall?.resolve({ data, errors: error?.graphQLErrors, extensions });
      },
    });
    return merge([keyed(input)(operations), refused.source]);
  };
  const { unsettled, discard, clear } = open;
  return Object.assign(exchange, { unsettled, discard, clear });
}

/**
 * Options for urql's retryExchange: tries queries and keyed mutations again where
 * that can help, after no answer, an HTTP status that says so, or an error with
 * `retryable: true`, as long after as the server asks for. Mutations without a key
 * are sent once.
 */
export function retryKeyed(options?: RetryOptions): RetryExchangeOptions {
  return {
    // retryDelay bounds both.
    maxNumberAttempts: Infinity,
    maxDelayMs: Infinity,
    retryWith({ graphQLErrors: errors, networkError, response }, operation) {
      if (operation.kind !== "query" && !isKeyed(operation)) return null;
      const count: number = operation.context.retry?.count ?? 0;
      const delay = retryDelay(count + 1, { errors, response, name: networkError?.name }, options);
      // The exchange waits 1.5 to 2.5 times as long as it is told, if it is told at all.
      return delay === undefined ? null : withContext(operation, { retry: { count, delay: (delay + 1) / 1.5 } });
    },
  };
}

const withContext = (operation: Operation, context: object): Operation => ({ ...operation, context: { ...operation.context, ...context } });
const isKeyed = ({ kind, query }: Operation): boolean => kind === "mutation" && keyedFields(query).length > 0;
