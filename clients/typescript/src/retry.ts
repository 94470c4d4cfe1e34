import type { AnswerError } from "./outcome.js";

/** How a keyed call, or a query, is tried again. */
export interface RetryOptions {
  /** How often a call is sent at most, the first time included. 6 unless set. */
  attempts?: number;
  /** The longest wait before the second try in milliseconds, doubled for each that follows. 300 unless set. */
  initialDelayMs?: number;
  /** The longest wait in milliseconds, after the one that the server asks for. 10,000 unless set. */
  maxDelayMs?: number;
  /**
   * How long a try waits for its answer, in milliseconds. 15,000 unless set. Then its
   * request is aborted, and the next try has the same key. Infinity never ends a try.
   */
  timeoutMs?: number;
  /**
   * How long a call that failed without an answer waits in all, in milliseconds, for
   * a browser that says it is offline. 60,000 unless set. Then it is tried all the same.
   */
  offlineMs?: number;
  /** Told before each wait. */
  onRetry?: (retry: Retry) => void;
}

/** How a try failed: with GraphQL errors, with an HTTP status, or without a whole answer. */
export interface Failure {
  errors?: readonly AnswerError[] | undefined;
  response?: Pick<Response, "status" | "headers"> | undefined;
  /** The name of the error, where there was no answer. */
  name?: string | undefined;
  /** The caller's. What was aborted is not tried again, whatever the reason. */
  signal?: AbortSignal | null | undefined;
}

/** A try that failed and is followed by another. */
export interface Retry {
  /** Which try failed, from 1. */
  attempt: number;
  /** How long the next one waits, in milliseconds; longer where the browser is offline. */
  delayMs: number;
  /** What the server answered. */
  errors?: readonly AnswerError[] | undefined;
  /** What the client failed with, where that was no GraphQL error; a `TimeoutError` after timeoutMs. */
  error?: unknown;
  /** The call's idempotency keys; a query has none. */
  keys: string[];
}

/** Whether the same call may succeed later. */
export const isRetryable = (error: AnswerError): boolean => error?.extensions?.retryable === true;

// setTimeout takes what is longer for 0.
const longest = 2 ** 31 - 1;
// The server is heeded so far, in milliseconds: a date far off is no reason to keep a user waiting.
const asLongAsAsked = (delay: any) => (delay > 0 ? Math.min(delay, 60_000) : 0);

/** In milliseconds: RFC 9110, section 10.2.3 has seconds or a date. */
function retryAfter({ headers }: Pick<Response, "headers">): number {
  const value = headers.get("Retry-After") ?? "";
  return /^\s*\d/.test(value) ? parseFloat(value) * 1000 : Date.parse(value) - Date.now();
}

/**
 * How long to wait, in milliseconds, before the try that follows the attempt-th;
 * undefined when another try can't help. GraphQL errors are heeded by their
 * `retryable` and `retryAfterMs`, else HTTP by its status and Retry-After; no answer,
 * or half of one, is worth another try. What the server asks for is heeded up to 60
 * seconds. A random time is added, up to maxDelayMs, so that clients cut off together
 * do not come back together.
 */
export function retryDelay(attempt: number, { errors, response, name, signal }: Failure, options: RetryOptions = {}): number | undefined {
  const { attempts = 6, initialDelayMs = 300, maxDelayMs = 10_000 } = options;
  let asked = 0;
  // Not every server that answers speaks GraphQL.
  if (Array.isArray(errors) && errors.length) {
    if (!errors.some(isRetryable)) return undefined;
    asked = Math.max(...errors.map((error) => asLongAsAsked(error?.extensions?.retryAfterMs)));
  } else if (response) {
    if (!/408|429|[25]../.test(`${response.status}`)) return undefined;
    asked = asLongAsAsked(retryAfter(response));
  }
  if (attempt >= attempts || name === "AbortError" || signal?.aborted) return undefined;
  const random = Math.random() * Math.min(initialDelayMs * 2 ** (attempt - 1), maxDelayMs);
  return Math.min(asked + Math.max(random, 0), longest);
}

/** How long a try waits for its answer, as setTimeout takes it. */
export const timeoutOf = ({ timeoutMs = 15_000 }: RetryOptions): number => Math.min(timeoutMs, longest);

/** What a try fails with that had no answer in time. */
export const timeoutError = (): Error => Object.assign(new Error("no answer in time"), { name: "TimeoutError" });

/**
 * Waits between the tries of one call. What it returns is told how a try failed, and
 * calls `again` when it is time for the next. It returns how to cancel that, or
 * undefined when another try can't help.
 */
export function pauses(options: RetryOptions, variables: unknown, keys: string[], url: unknown) {
  let attempt = 0;
  let { offlineMs = 60_000 } = options;
  return ({ errors, response }: Failure, error: any, again: () => void): (() => void) | undefined => {
    const delayMs = retryDelay(++attempt, { errors, response, name: error?.name }, options);
    const answered = response || errors?.length;
    if (delayMs === undefined || !(answered || canBeSent(variables, url, error))) return undefined;
    try {
      options.onRetry?.({ attempt, delayMs, errors, error, keys });
    } catch (thrown) {
      console.error(thrown);
    }
    let offlineSince = 0;
    const cancel = () => {
      clearTimeout(timer);
      globalThis.removeEventListener?.("online", go);
    };
    const go = () => {
      cancel();
      if (offlineSince) offlineMs -= Date.now() - offlineSince;
      again();
    };
    let timer = setTimeout(() => {
      // Node has no onLine, nor has React Native.
      if (answered || offlineMs <= 0 || globalThis.navigator?.onLine !== false) return go();
      offlineSince = Date.now();
      globalThis.addEventListener("online", go);
      timer = setTimeout(go, Math.min(offlineMs, longest));
    }, delayMs);
    return cancel;
  };
}

/** fetch fails with a TypeError where there is no network, and the code before it for what can't be sent at all. */
function canBeSent(variables: unknown, url: unknown, error: any): boolean {
  try {
    JSON.stringify(variables);
    if (typeof url === "string") new Request(url);
    // Node says which URL it could not parse.
    return error?.cause?.code !== "ERR_INVALID_URL";
  } catch {
    return false;
  }
}
