import { fingerprint, keyedFields, type ParsedDocument } from "./document.js";
import { newKey } from "./key.js";
import { type Answer, isDone, isFinal, type Outcome, outcomeOf } from "./outcome.js";

/**
 * Keeps what was sent under a named intent until its outcome is known. A Map is a
 * KeyStore; the methods may return promises.
 */
export interface KeyStore {
  get(name: string): string | null | undefined | Promise<string | null | undefined>;
  set(name: string, value: string): unknown;
  delete(name: string): unknown;
  /** The names that `get` may find something under, also what earlier pages left. */
  keys?(): Iterable<string> | Promise<Iterable<string>>;
}

/** What to do when an intent is sent with another payload before the outcome of the last is known. */
export type OnPayloadChange = "ask" | "newKey";

/** What a call may say in its context. */
export interface CallContext {
  /**
   * Names what the user wants, such as `create-project` or `rename/${id}`: calls of
   * one name share a key until the outcome is known, over retries, a double click
   * and, with a store, a reload. Without a name each call has its own key.
   */
  intent?: string | undefined;
  /** The answer of a user who was asked: overrules the option. */
  onPayloadChange?: OnPayloadChange | undefined;
}

interface CommonOptions {
  /** `ask`, unless set, fails the call with an {@link UnsettledError}; `newKey` sends it as a new one. */
  onPayloadChange?: OnPayloadChange;
  /**
   * How old, in milliseconds, a key may be to be sent again without asking. 24 hours
   * unless set, as long as the server replays; see its IDEMPOTENCY_TTL.
   */
  maxAge?: number;
  /** Told what became of each keyed field of each call, after its last retry. */
  onOutcome?: (outcome: Outcome) => void;
}

/** How idempotency keys are made and kept. What outlives the page must know whose it is. */
export type Options = CommonOptions &
  (
    | { store?: undefined; user?: () => string }
    | {
        /** Where keys of named intents are kept. In the page's memory unless set. */
        store: KeyStore;
        /** Who is signed in: an intent of one user never meets another's key. */
        user: () => string;
      }
  );

/**
 * Reports an intent sent with another payload, or again after maxAge, while an
 * earlier submission may still have taken effect. Nothing was sent. Ask the user;
 * `context: { intent, onPayloadChange: "newKey" }` sends it as a new submission.
 */
export class UnsettledError extends Error {
  override name = "UnsettledError";
  constructor(
    readonly intent: string,
    /** The keys of the earlier submission: the query `idempotentCall` tells what they did. */
    readonly keys: string[],
    /** When it was first sent, by this machine's clock. */
    readonly sentAt: Date,
  ) {
    super("an earlier call may have taken effect");
  }
}

/** One call: send it with these variables, as often as need be, then resolve it. */
export interface Call {
  variables: Record<string, any>;
  /** Takes the last answer, or `{}` when there was none. What follows the first time is ignored. */
  resolve(answer: Answer): void;
}

/** What the store has under an intent; under each of its keys it has the intent. */
interface Submission {
  /** The keys by the names of their variables. */
  keys: Record<string, string>;
  payload: number;
  sentAt: number;
}

/**
 * The core of the helpers: gives each call its keys. The function it returns
 * rejects with an {@link UnsettledError}, or with what the store failed with.
 */
export function keyedCalls(options: Options = {}) {
  const { onOutcome, maxAge = 86_400_000, store = new Map<string, string>(), user } = options;
  const read = async (item: string) => JSON.parse((await store.get(item)) ?? "null");
  const write = (item: string, value: unknown) => store.set(item, JSON.stringify(value));

  // What reads and then writes the store goes one after another, so that the two
  // calls of a double click find one key.
  let last: Promise<unknown> = Promise.resolve();
  const serialize = <T>(step: () => Promise<T>): Promise<T> => {
    const result = last.then(step);
    last = result.catch(() => {});
    return result;
  };

  /** The keys that the call is sent with, stored before it is sent. */
  async function reserveKeys(name: string, call: Submission, { intent, onPayloadChange = options.onPayloadChange }: CallContext) {
    const earlier: Submission | null = await read(name);
    if (earlier) {
      if (earlier.payload === call.payload && call.sentAt - earlier.sentAt < maxAge) return earlier.keys;
      const keys = Object.values(earlier.keys);
      if (onPayloadChange !== "newKey") throw new UnsettledError(intent!, keys, new Date(earlier.sentAt));
      await forget(keys);
    }
    await write(name, call);
    for (const key of Object.values(call.keys)) await write(key, name);
    return call.keys;
  }

  // A queue above, such as an offline one, sends a key again by itself, perhaps after
  // a reload that left it nothing but the variables: the key tells the intent.
  async function forget(keys: string[]) {
    for (const key of keys) {
      const name = await read(key);
      if (name) for (const item of [name, key]) await store.delete(item);
    }
  }

  return async (document: ParsedDocument, variables: Record<string, any>, context: CallContext): Promise<Call> => {
    const { intent } = context;
    const fields = keyedFields(document);
    let keys: Record<string, string> = {};
    for (const { variable } of fields) keys[variable] ??= newKey();
    if (intent !== undefined && fields.some(({ variable }) => !variables[variable])) {
      const call = { keys, payload: fingerprint(fields, variables), sentAt: Date.now() };
      keys = await serialize(() => reserveKeys(JSON.stringify([user?.(), intent]), call, context));
    }
    for (const { variable } of fields) keys[variable] = variables[variable] || keys[variable];
    let resolved = false;
    return {
      variables: { ...variables, ...keys },
      resolve(answer) {
        if (resolved) return;
        resolved = true;
        const outcomes = fields.map((field): Outcome => ({ ...outcomeOf(field, answer), key: keys[field.variable]!, intent }));
        for (const outcome of outcomes) queueMicrotask(() => onOutcome?.(outcome));
        // Where one field took effect and another was refused, the keys stay: sent
        // again, the first is replayed.
        if (outcomes.every(isDone) || outcomes.every(isFinal)) void serialize(() => forget(Object.values(keys)));
      },
    };
  };
}
