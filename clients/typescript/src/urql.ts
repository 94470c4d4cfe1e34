/**
 * Idempotency keys for urql:
 *
 *     exchanges: [cacheExchange, idempotencyExchange(), retryKeyed(), fetchExchange]
 */
import { type Exchange, makeErrorResult, type Operation, type OperationResult } from "@urql/core";
import { filter, makeSubject, merge } from "wonka";

import { whenAborted } from "./abort.js";
import { type Call, type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields } from "./document.js";
import { signedIn, signedOut, watchedBy } from "./intents.js";
import { pauses, type RetryOptions, timeoutError, timeoutOf } from "./retry.js";

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
  interface OperationContext extends CallContext {}
}

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and keeps it until the outcome is known. It stands above what retries and
 * below caches and offline queues: all tries of a call have one key, and a queue
 * stores it with the variables. A call whose `fetchOptions.signal` is aborted fails
 * with the reason, at once; fetchExchange by itself takes no notice of it. What is
 * aborted or torn down before it was sent is never sent.
 */
export function idempotencyExchange(options?: Options): Exchange & Intents {
  const open = keyedCalls(options);
  const keyed = detour(isKeyed, (operation, send, answer) => {
    const gone = new AbortController();
    let call: Call | undefined;
    return {
      start() {
        open(operation.query, operation.variables as object, operation.context, gone.signal).then(
          (opened) => {
            call = opened;
            if (gone.signal.aborted) call.resolve({});
            else send({ ...operation, variables: call.variables, context: { ...operation.context, [signedIn as any]: call.isSignedIn } });
          },
          (error) => gone.signal.aborted || answer(makeErrorResult(operation, error)),
        );
      },
      take(result) {
        const { data, error, extensions } = result;
        call?.resolve({ data, errors: error?.graphQLErrors, extensions });
        answer(result);
      },
      end() {
        gone.abort();
        call?.resolve({});
      },
    };
  });
  const exchange: Exchange = (input) => {
    // Where the hooks look for it.
    (input.client as any)[watchedBy] = open;
    return keyed(input);
  };
  const { unsettled, discard, clear } = open;
  return Object.assign(exchange, { unsettled, discard, clear });
}

/**
 * Tries queries and keyed mutations again where that can help: after no answer, also
 * none in time, an HTTP status that says so, or an error with `retryable: true`, as
 * long after as the server asks for. Mutations without a key are sent once. A call
 * whose `fetchOptions.signal` is aborted fails with the reason, at once.
 */
export function retryKeyed(options: RetryOptions = {}): Exchange {
  const isTried = (operation: Operation) => operation.kind === "query" || isKeyed(operation);
  return detour(isTried, (operation, send, answer) => {
    const { variables, context } = operation;
    const pause = pauses(options, variables, keysOf(operation), context.fetch ? undefined : context.url);
    let cancel: (() => void) | undefined;
    function start(): void {
      if ((context as any)[signedIn]?.() === false) return answer(makeErrorResult(operation, signedOut()));
      const timer = setTimeout(() => {
        send({ ...operation, kind: "teardown" });
        take(makeErrorResult(operation, timeoutError()));
      }, timeoutOf(options));
      cancel = () => clearTimeout(timer);
      send(operation);
    }
    function take(result: OperationResult): void {
      cancel?.();
      const { error } = result;
      cancel = error && pause({ errors: error.graphQLErrors, response: error.response }, error.networkError, start);
      if (!cancel) answer(result);
    }
    return { start, take, end: () => cancel?.() };
  });
}

/** A call on its detour: `take` gets what comes back, `end` is called once, after it or without it. */
interface Detour {
  start(): void;
  take(result: OperationResult): void;
  end(): void;
}

/**
 * An exchange in which some calls go their own way: `begin` is told how to send them,
 * and how to answer. It ends them when they are answered, aborted or torn down.
 */
function detour(
  isOurs: (operation: Operation) => boolean,
  begin: (operation: Operation, send: (operation: Operation) => void, answer: (result: OperationResult) => void) => Detour,
): Exchange {
  return ({ forward }) => {
    const below = makeSubject<Operation>();
    const above = makeSubject<OperationResult>();
    const live = new Map<number, { key: number; take: Detour["take"]; end: () => void; leave: () => void }>();

    function enter(operation: Operation): void {
      const { kind, key, context } = operation;
      const { fetchOptions } = context;
      // Mutations with the same variables have one key: what ends one must not end the other.
      const sent = kind === "mutation" ? { ...operation, key: Math.random() } : operation;
      const answer = (result: OperationResult) => {
        if (!result.hasNext) end();
        above.next({ ...result, operation: { ...result.operation, key } });
      };
      const { start, take, end: ended } = begin(sent, below.next, answer);
      const end = () => {
        stop();
        live.delete(sent.key);
        ended();
      };
      const leave = () => {
        end();
        below.next({ ...sent, kind: "teardown" });
      };
      live.get(key)?.end();
      live.set(sent.key, { key, take, end, leave });
      let stop = () => {};
      const signal = (typeof fetchOptions === "function" ? fetchOptions() : fetchOptions)?.signal;
      stop = whenAborted(signal, (reason) => {
        leave();
        above.next(makeErrorResult(operation, reason as Error));
      });
      if (!signal?.aborted) start();
    }

    return (operations) => {
      const passed = filter((operation: Operation) => {
        if (operation.kind === "teardown") for (const { key, leave } of live.values()) if (key === operation.key) leave();
        const ours = isOurs(operation);
        if (ours) enter(operation);
        return !ours;
      })(operations);
      const results = filter((result: OperationResult) => {
        const call = live.get(result.operation.key);
        call?.take(result);
        return !call;
      })(forward(merge([passed, below.source])));
      return merge([results, above.source]);
    };
  };
}

const keysOf = ({ query, variables }: Operation): string[] => keyedFields(query).map(({ variable }) => (variables as any)[variable]);
const isKeyed = (operation: Operation): boolean => operation.kind === "mutation" && keysOf(operation).length > 0;
