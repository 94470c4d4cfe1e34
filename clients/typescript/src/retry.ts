import type { AnswerError } from "./outcome.js";

/** How a keyed call, or a query, is tried again. */
export interface RetryOptions {
  /** How often a call is sent at most, the first time included. 6 unless set. */
  attempts?: number;
  /** The longest wait before the second try in milliseconds, doubled for each that follows. 300 unless set. */
  initialDelayMs?: number;
  /** The longest wait in milliseconds, after the one that the server asks for. 10,000 unless set. */
  maxDelayMs?: number;
}

/** How a try failed: with GraphQL errors, with an HTTP status, or without a whole answer. */
export interface Failure {
  errors?: readonly AnswerError[] | undefined;
  response?: Response | undefined;
  /** The name of the error, where there was no answer. */
  name?: string | undefined;
}

/** Whether the same call may succeed later. */
export const isRetryable = ({ extensions }: AnswerError): boolean => extensions?.retryable === true;

/**
 * How long to wait, in milliseconds, before the try that follows the attempt-th;
 * undefined when another try can't help. GraphQL errors are heeded by their
 * `retryable` and `retryAfterMs`, else HTTP by its status and the seconds of its
 * Retry-After (RFC 9110, section 10.2.3); no answer, or half of one, is worth another
 * try. The wait is random, so that clients cut off together do not come back together.
 */
export function retryDelay(attempt: number, { errors, response, name }: Failure, options: RetryOptions = {}): number | undefined {
  const { attempts = 6, initialDelayMs = 300, maxDelayMs = 10_000 } = options;
  let asked = 0;
  if (errors?.length) {
    if (!errors.some(isRetryable)) return undefined;
    asked = Math.max(...errors.map(({ extensions }) => extensions?.retryAfterMs ?? 0));
  } else if (response) {
    if (!/408|429|[25]../.test(`${response.status}`)) return undefined;
    asked = Number(response.headers.get("Retry-After")) * 1000 || 0;
  }
  if (attempt >= attempts || name === "AbortError") return undefined;
  return asked + Math.random() * Math.min(initialDelayMs * 2 ** (attempt - 1), maxDelayMs);
}
