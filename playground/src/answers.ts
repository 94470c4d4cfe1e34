// What an answer says about a key, and whether the key's outcome is known.

/** One answer about one keyed field. */
export interface Answer {
  /** The send it belongs to; many at once are one. */
  send: number;
  field: string;
  key: string;
  /** EXECUTED, REPLAYED, the code of an error, HTTP and a status, NO ANSWER, or SENT while it is awaited. */
  status: string;
  /** Whether the error says that the same call may be sent again. */
  retryable?: boolean;
  /** Whether the payload was another than the first under the key. */
  changed?: boolean;
  executedAt?: string;
  expiresAt?: string;
  /** When it was sent, in milliseconds since 1970. */
  at: number;
  /** How long it took, in milliseconds. */
  took: number;
}

export const awaited = "SENT";
export const noAnswer = "NO ANSWER";

export const tookEffect = ({ status }: Answer): boolean => status === "EXECUTED" || status === "REPLAYED";

/** Whether the call may have taken effect, for all that the answer says. */
export const isUnknown = ({ status, retryable }: Answer): boolean =>
  retryable || /^(SENT|NO ANSWER|HTTP (408|429|5..)|UNAVAILABLE|IDEMPOTENCY_IN_PROGRESS)$/.test(status);

// These depend on the token, the document or the server's version, or speak of another
// payload: they say nothing of what an earlier send under the key did.
const passing = /^(UNAUTH|FORBID|INTERNAL|GRAPHQL|LIMIT|PERSISTED|UNKNOWN|HTTP|IDEMPOTENCY_KEY_REUSED)/;

const isFinal = (answer: Answer): boolean => tookEffect(answer) || !(isUnknown(answer) || answer.changed || passing.test(answer.status));

/**
 * What is known of a key, from the answers about it. "settled": it took effect, or was
 * refused for what it is. "unsettled": an answer is awaited or was lost since then, so
 * that only the same key may be sent. "new": no send has done anything, as far as is known.
 */
export function keyState(answers: readonly Answer[]): "new" | "unsettled" | "settled" {
  let state: ReturnType<typeof keyState> = "new";
  const sends = new Map<number, Answer[]>();
  for (const answer of answers) sends.set(answer.send, [...(sends.get(answer.send) ?? []), answer]);
  for (const send of sends.values()) {
    if (send.some(isFinal)) state = "settled";
    else if (send.some(isUnknown)) state = "unsettled";
  }
  return state;
}
