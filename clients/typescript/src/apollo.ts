/**
 * Idempotency keys for Apollo Client 4:
 *
 *     link: ApolloLink.from([idempotencyLink(), retryKeyed(), new HttpLink({ uri })])
 */
import { ApolloLink } from "@apollo/client/link";
import { catchError, defer, finalize, Observable, of, retry, type Subscription, takeUntil, tap, throwError, timeout } from "rxjs";

import { whenAborted } from "./abort.js";
import { type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields } from "./document.js";
import { signedIn, signedOut, watchedBy } from "./intents.js";
import { isRetryable, pauses, type RetryOptions, timeoutError, timeoutOf } from "./retry.js";

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

declare module "@apollo/client" {
  interface DefaultContext extends CallContext {}
}

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and keeps it until the outcome is known. It stands above what retries: all
 * tries of a call have one key. A call that is aborted or unsubscribed from before it
 * was sent is never sent; after that its outcome is unknown.
 */
export function idempotencyLink(options?: Options): ApolloLink & Intents {
  const open = keyedCalls(options);
  const link = new ApolloLink((operation, forward) => {
    // A hook asks for the core, and is the end of it.
    const taken = (operation.getContext() as any)[watchedBy]?.(open);
    if (taken || !isKeyed(operation)) return taken ?? forward(operation);
    return new Observable((observer) => {
      const { query, variables } = operation;
      const context = operation.getContext();
      const gone = new AbortController();
      const { signal } = gone;
      const stop = whenAborted(context.fetchOptions?.signal, (reason) => gone.abort(reason));
      let subscription: Subscription | undefined;
      open(query, variables, context, signal)
        .then((call) => {
          // CombinedGraphQLErrors reads as an answer; other errors are none.
          const resolve = (answer: any) => call.resolve(answer);
          operation.variables = call.variables;
          operation.setContext({ [signedIn]: call.isSignedIn } as object);
          const answers = signal.aborted ? throwError(() => signal.reason) : defer(() => forward(operation));
          subscription = answers
            .pipe(
              tap({ next: resolve, error: resolve }),
              finalize(() => resolve({})),
            )
            .subscribe(observer);
        })
        .catch((error) => observer.error(error));
      return () => {
        stop();
        gone.abort();
        subscription?.unsubscribe();
      };
    });
  });
  const { unsettled, discard, clear } = open;
  return Object.assign(link, { unsettled, discard, clear });
}

/**
 * Tries queries and keyed mutations again where that can help: after no answer, also
 * none in time, an HTTP status that says so, or an error with `retryable: true`, as
 * long after as the server asks for. Mutations without a key are sent once. A call
 * that failed to the end fails as it would without this link, and one whose
 * `fetchOptions.signal` is aborted with the reason, at once.
 */
export function retryKeyed(options: RetryOptions = {}): ApolloLink {
  return new ApolloLink((operation, forward) => {
    const { operationType, variables } = operation;
    if (operationType !== "query" && !isKeyed(operation)) return forward(operation);
    return defer(() => {
      const { fetchOptions, uri, [signedIn as never]: isSignedIn } = operation.getContext() as any;
      const signal: AbortSignal | undefined = fetchOptions?.signal;
      const pause = pauses(options, variables, keysOf(operation), uri);
      let answered: ApolloLink.Result | undefined;
      return defer(() => forward(operation)).pipe(
        timeout({ first: timeoutOf(options), with: () => throwError(timeoutError) }),
        tap((result) => {
          if ("errors" in result && result.errors?.some(isRetryable)) throw (answered = result);
        }),
        retry({
          delay: (failure) =>
            new Observable<void>((observer) => {
              const cancel = pause(failure ?? {}, failure === answered ? undefined : failure, () =>
                isSignedIn?.() === false ? observer.error(signedOut()) : observer.next(),
              );
              if (!cancel) observer.error(failure);
              return cancel;
            }),
        }),
        catchError((failure) => (failure === answered ? of(answered!) : throwError(() => failure))),
        // HttpLink does not look at a signal that is aborted already.
        takeUntil(new Observable((observer) => whenAborted(signal, (reason) => observer.error(reason)))),
      );
    });
  });
}

const keysOf = ({ query, variables }: ApolloLink.Operation): string[] => keyedFields(query).map(({ variable }) => variables[variable]);
const isKeyed = (operation: ApolloLink.Operation) => operation.operationType === "mutation" && keysOf(operation).length > 0;
