import type { KeyedField } from "./document.js";

/** An error as a GraphQL answer has it. */
export interface AnswerError {
  message: string;
  path?: readonly (string | number)[] | undefined;
  extensions?: Record<string, any> | undefined;
}

/** What the helpers read of an answer; `{}` is no answer. */
export interface Answer {
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
const passing = /^(UNAUTH|FORBID|INTERNAL|GRAPHQL|LIMIT)/;

/** Whether the refusal answers for every earlier try with the key, too. */
export const isFinal = ({ outcome, error }: Outcome): boolean => outcome === "refused" && !passing.test(error?.extensions?.code);

/** Whether the field took effect. */
export const isDone = ({ executedAt }: Outcome): boolean => executedAt !== undefined;

export function outcomeOf({ responseKey }: KeyedField, answer: Answer): Omit<Outcome, "key"> {
  const status = answer.extensions?.idempotency?.[responseKey];
  const error = answer.errors?.find(({ path }) => !path || path[0] === responseKey);
  return {
    outcome: status ? status.status.toLowerCase() : error?.extensions?.retryable === false ? "refused" : "unknown",
    field: responseKey,
    executedAt: status?.executedAt,
    error,
  };
}
