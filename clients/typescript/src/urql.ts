/**
 * Idempotency keys for urql:
 *
 *     exchanges: [cacheExchange, idempotencyExchange(), retryKeyed(), fetchExchange]
 */
import { type Exchange, makeErrorResult, mapExchange, type Operation, type OperationResult } from "@urql/core";
import { filter, makeSubject, merge } from "wonka";

import { type Call, type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields } from "./document.js";
import { pauses, type RetryOptions, timeoutError, timeoutOf, whenAborted } from "./retry.js";

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
export type { Retry, RetryOptions } from "./retry.js";

declare module "@urql/core" {
  interface OperationContext extends CallContext {
    keyedCall?: Call | undefined;
  }
}

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and keeps it until the outcome is known. It stands above what retries and
 * below caches and offline queues: all tries of a call have one key, and a queue
 * stores it with the variables. A call that is aborted or torn down before it was
 * sent is never sent; after that its outcome is unknown.
 */
export function idempotencyExchange(options?: Options): Exchange & Intents {
  const open = keyedCalls(options);
  const exchange: Exchange = (input) => (operations) => {
    const refused = makeSubject<OperationResult>();
    const live = new Set<{ key: number; end: () => void }>();

    async function keyed(operation: Operation): Promise<Operation> {
      const gone = new AbortController();
      const { signal } = gone;
      const stop = whenAborted(signalOf(operation), (reason) => gone.abort(reason));
      let resolve: Call["resolve"] = () => {};
      const entry = { key: operation.key, end: () => (gone.abort(), resolve({})) };
      live.add(entry);
      try {
        const call = await open(operation.query, operation.variables as object, operation.context, signal);
        resolve = (answer) => {
          live.delete(entry);
          call.resolve(answer);
        };
        if (!signal.aborted) return withContext({ ...operation, variables: call.variables }, { keyedCall: { ...call, resolve } });
        resolve({});
        throw signal.reason;
      } catch (error) {
        live.delete(entry);
        refused.next(makeErrorResult(operation, error as Error));
        return new Promise<never>(() => {});
      } finally {
        stop();
      }
    }

    const mapped = mapExchange({
      onOperation(operation) {
        if (operation.kind === "teardown") for (const { key, end } of live) if (key === operation.key) end();
        return isKeyed(operation) ? keyed(operation) : operation;
      },
      onResult({ operation, data, error, extensions }) {
        operation.context.keyedCall?.resolve({ data, errors: error?.graphQLErrors, extensions });
      },
    });
    return merge([mapped(input)(operations), refused.source]);
  };
  const { unsettled, discard, clear } = open;
  return Object.assign(exchange, { unsettled, discard, clear });
}

/**
 * Tries queries and keyed mutations again where that can help: after no answer, also
 * none in time, an HTTP status that says so, or an error with `retryable: true`, as
 * long after as the server asks for. Mutations without a key are sent once. A call
 * whose `fetchOptions.signal` is aborted fails with the reason, at once; fetchExchange
 * by itself takes no notice of it.
 */
export function retryKeyed(options: RetryOptions = {}): Exchange {
  return ({ forward }) => {
    const below = makeSubject<Operation>();
    const above = makeSubject<OperationResult>();
    /** The calls that are being tried, by the keys that they have below. */
    const live = new Map<number, { key: number; take: (result: OperationResult) => void; end: () => void }>();

    /** Sends it until a result is worth passing on. */
    function start(operation: Operation): void {
      const { kind, variables, context } = operation;
      // Mutations with the same variables have one key: what ends one must not end the other.
      const key = kind === "mutation" ? Math.random() : operation.key;
      const sent = { ...operation, key };
      const signal = signalOf(operation);
      const pause = pauses(options, { variables, keys: keysOf(operation), url: context.fetch ? undefined : context.url, signal });
      let cancel: (() => void) | undefined;
      let stop: (() => void) | undefined;

      function end(): void {
        cancel?.();
        stop?.();
        live.delete(key);
      }
      /** Ends the request: there will be no result of it. */
      const tearDown = () => below.next({ ...sent, kind: "teardown" });

      function take(result: OperationResult): void {
        cancel?.();
        const { error, hasNext } = result;
        cancel = error && pause({ errors: error.graphQLErrors, response: error.response, error: error.networkError }, send);
        if (cancel) return;
        if (!hasNext) end();
        above.next({ ...result, operation });
      }
      function send(): void {
        const timer = setTimeout(() => {
          tearDown();
          take(makeErrorResult(operation, timeoutError(options)));
        }, timeoutOf(options));
        cancel = () => clearTimeout(timer);
        below.next(sent);
      }

      live.get(key)?.end();
      live.set(key, {
        key: operation.key,
        take,
        end() {
          end();
          // The client itself tears queries down.
          if (kind === "mutation") tearDown();
        },
      });
      stop = whenAborted(signal, (reason) => {
        end();
        tearDown();
        above.next(makeErrorResult(operation, reason as Error));
      });
      if (!signal?.aborted) send();
    }

    return (operations) => {
      const passed = filter((operation: Operation) => {
        if (operation.kind === "teardown") for (const { key, end } of live.values()) if (key === operation.key) end();
        const isTried = operation.kind === "query" || isKeyed(operation);
        if (isTried) start(operation);
        return !isTried;
      })(operations);
      const others = filter((result: OperationResult) => {
        const call = live.get(result.operation.key);
        call?.take(result);
        return !call;
      })(forward(merge([passed, below.source])));
      return merge([others, above.source]);
    };
  };
}

function signalOf({ context: { fetchOptions } }: Operation): AbortSignal | null | undefined {
  return (typeof fetchOptions === "function" ? fetchOptions() : fetchOptions)?.signal;
}

const withContext = (operation: Operation, context: object): Operation => ({ ...operation, context: { ...operation.context, ...context } });
const keysOf = ({ query, variables }: Operation): string[] => keyedFields(query).map(({ variable }) => (variables as any)[variable]);
const isKeyed = (operation: Operation): boolean => operation.kind === "mutation" && keysOf(operation).length > 0;
