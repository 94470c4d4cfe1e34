import type { KeyedField } from "./document.js";

/** An error as a GraphQL answer has it. */
export interface AnswerError {
  message: string;
  path?: readonly (string | number)[] | undefined;
  extensions?: Record<string, any> | undefined;
}

/** What the helpers read of an answer; `{}` is no answer. */
export interface Answer {
  data?: any;
  errors?: readonly AnswerError[] | undefined;
  extensions?: Record<string, any> | undefined;
}

/** What became of one keyed field. */
export interface Outcome {
  /**
   * `executed`: by this call. `replayed`: by an earlier one with the same key, whose
   * result this is. `refused`: not, and the same key and payload would be refused
   * again, or need another token. `unknown`: it may have executed; send it again.
   */
  outcome: "executed" | "replayed" | "refused" | "unknown";
  /** The field's alias or name. */
  field: string;
  key: string;
  intent?: string | undefined;
  /** When it executed, by the server's clock: an RFC 3339 date-time. */
  executedAt?: string | undefined;
  /** The field's error, or the request's. */
  error?: AnswerError | undefined;
}

// Refusals that depend on the token or on the server's version, too: they say nothing
// of what an earlier try with the same key did.
const passing = /^(UNAUTH|FORBID|INTERNAL|GRAPHQL|LIMIT|PERSISTED)/;

/**
 * What became of the field: undefined where the answer has the other fields' results
 * and not its own, since `@skip` or `@include` left it out, or another operation of
 * the document was sent.
 */
export function outcomeOf({ responseKey }: KeyedField, { data, errors, extensions }: Answer): Omit<Outcome, "key"> | undefined {
  const status = extensions?.idempotency?.[responseKey];
  const error = errors?.find(({ path }) => !path || path[0] === responseKey);
  if (data && !(responseKey in data) && !error) return undefined;
  return {
    outcome: status ? status.status.toLowerCase() : error?.extensions?.retryable === false ? "refused" : "unknown",
    field: responseKey,
    executedAt: status?.executedAt,
    error,
  };
}

/** How a call ended: `executed` and `refused` settle it. */
export type Ending = "executed" | "refused" | "expired" | "unknown";

/**
 * How a call ended, from what became of its fields: all took effect, or all were
 * refused for what they are. Where one took effect and another was refused, that is
 * `unknown`: sent again, the first is replayed. `expired`: it took effect, too long ago.
 */
export function endingOf(outcomes: Outcome[]): Ending {
  const codes = outcomes.map(({ outcome, error }) => (outcome === "refused" ? `${error?.extensions?.code}` : ""));
  if (codes.includes("IDEMPOTENCY_KEY_EXPIRED")) return "expired";
  if (outcomes.every(({ executedAt }) => executedAt)) return "executed";
  return codes.every((code) => code && !passing.test(code)) ? "refused" : "unknown";
}
