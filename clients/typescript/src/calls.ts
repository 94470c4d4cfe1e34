import { fingerprint, hash, keyedFields, type ParsedDocument } from "./document.js";
import {
  type KeyStore,
  listeners,
  namedIntent,
  type NamedIntent,
  type OnPayloadChange,
  type Reserved,
  type WatchedIntents,
} from "./intents.js";
import { newKey } from "./key.js";
import { type Answer, type Ending, endingOf, type Outcome, outcomeOf } from "./outcome.js";

export { type Intents, type KeyStore, type OnPayloadChange, type Unsettled, UnsettledError } from "./intents.js";

/** What a call may say in its context. */
export interface CallContext {
  /**
   * Names what the user wants, such as `create-project` or `rename/${id}`: calls of
   * one name share a key until the outcome is known, over retries, a double click
   * and, with a store, a reload. Without a name each call has its own key.
   */
  intent?: string | null | undefined;
  /** The answer of a user who was asked: overrules the option. */
  onPayloadChange?: OnPayloadChange | undefined;
  /** Told what became of each keyed field of this call, as the option is. */
  onOutcome?: ((outcome: Outcome) => void) | undefined;
}

interface CommonOptions {
  /** `ask`, unless set, fails the call with an UnsettledError; `newKey` sends it as a new one. */
  onPayloadChange?: OnPayloadChange;
  /**
   * How old, in milliseconds, a key may be to be sent again without asking. 24 hours
   * unless set, as long as the server replays; see its IDEMPOTENCY_TTL. What is twice
   * as old is forgotten.
   */
  maxAge?: number;
  /**
   * How long, in milliseconds, after its outcome an intent with the same payload is
   * still the same call: a double click, also where the server is fast. 2,000 unless set.
   */
  settleFor?: number;
  /** Told what became of each keyed field of each call, after its last retry. */
  onOutcome?: (outcome: Outcome) => void;
}

/** How idempotency keys are made and kept. What outlives the page must know whose it is. */
export type Options = CommonOptions &
  (
    | {
        store?: undefined;
        /** Who is signed in. With it the page's memory outlives the client that it was made with. */
        user?: () => string;
      }
    | {
        /** Where keys of named intents are kept. In the page's memory unless set. */
        store: KeyStore;
        /** Who is signed in: an intent of one user never meets another's key. */
        user: () => string;
      }
  );

/** One call: send it with these variables, as often as need be, then resolve it. */
export interface Call {
  variables: Record<string, any>;
  /**
   * Whether the user is still the one who made the call. Ask before each further try:
   * another user's token must not go with it.
   */
  isSignedIn(): boolean;
  /** Takes the last answer, or `{}` when there was none. What follows the first time is ignored. */
  resolve(answer: Answer): void;
}

/**
 * Gives a call its keys. It rejects with an UnsettledError, with what the store failed
 * with, when another user has signed in meanwhile or, when the signal is aborted before,
 * with the signal's reason; nothing was sent then.
 */
export interface OpenCall extends WatchedIntents {
  (document: ParsedDocument, variables: Record<string, any>, context: CallContext, signal?: AbortSignal | null): Promise<Call>;
}

// What a page remembers, by the store. Who gives none shares the page's memory with the
// clients that it makes later, provided that the users can be told apart.
const memories = new WeakMap<object, Map<string, NamedIntent>>();
const page = {};

/** The core of the helpers. */
export function keyedCalls(options: Options = {}): OpenCall {
  const { maxAge = 86_400_000, settleFor = 2000, store, user } = options;
  const owner = store ?? (user ? page : {});
  const intents = memories.get(owner) ?? new Map<string, NamedIntent>();
  memories.set(owner, intents);

  /** What the names of the present user's intents begin with. It does not tell who that is. */
  const prefix = () => (user ? hash(`${user()}`).toString(36) : "") + "/";
  function named(name: string): NamedIntent {
    let intent = intents.get(name);
    if (!intent) intents.set(name, (intent = namedIntent(name, store)));
    return intent;
  }
  const nameOf = (intent: string) => prefix() + intent;
  function ofUser(intent: string): NamedIntent {
    for (const [name, other] of intents) if (other.isOver(!name.startsWith(prefix()))) intents.delete(name);
    return named(nameOf(intent));
  }

  /** The names of all users' intents, and of what else the store has. */
  const names = async (text?: string) => new Set([...intents.keys(), ...((await store?.keys?.(text)) ?? [])]);

  /**
   * A queue above, such as an offline one, sends a key again by itself, perhaps after a
   * reload that left it nothing but the variables.
   */
  async function settle(outcomes: Outcome[], ending: Ending): Promise<void> {
    // Asking a store for a value may take it from other pages: for these alone.
    for (const { key } of outcomes) for (const name of await names(key)) await named(name).settle(key, ending, settleFor);
  }

  async function open(
    document: ParsedDocument,
    variables: Record<string, any>,
    { intent, onPayloadChange = options.onPayloadChange, onOutcome }: CallContext,
    signal?: AbortSignal | null,
  ): Promise<Call> {
    const fields = keyedFields(document);
    let keys = fields.map(({ variable }) => variables[variable] || newKey());
    let reserved: Reserved | undefined;
    const start = prefix();
    const isSignedIn = () => {
      try {
        return prefix() === start;
      } catch {
        // The application forgot its session: nobody is.
        return false;
      }
    };
    if (intent && fields.some(({ variable }) => !variables[variable])) {
      const call = { intent, keys, payload: fingerprint(fields, variables), onPayloadChange, maxAge, signal, isSignedIn };
      reserved = await ofUser(intent).reserve(call);
      keys = reserved.keys;
    }
    const keyed = { ...variables };
    fields.forEach(({ variable }, i) => (keyed[variable] ||= keys[i]));
    let resolved = false;
    return {
      variables: keyed,
      isSignedIn,
      resolve(answer) {
        if (resolved) return;
        resolved = true;
        const outcomesOf = (answer: Answer) =>
          fields.flatMap((field): Outcome[] => {
            const outcome = outcomeOf(field, answer);
            return outcome ? [{ ...outcome, key: keyed[field.variable], intent: intent ?? undefined }] : [];
          });
        let outcomes: Outcome[];
        try {
          outcomes = outcomesOf(answer);
        } catch {
          // It is not of the form that GraphQL's answers have: none.
          outcomes = outcomesOf({});
        }
        for (const told of [onOutcome, options.onOutcome])
          for (const outcome of outcomes) Promise.resolve(outcome).then(told).catch(console.error);
        const ending = endingOf(outcomes);
        if (reserved) reserved.finish(ending, settleFor);
        else settle(outcomes, ending).catch(() => {});
      },
    };
  }

  return Object.assign(open, {
    nameOf,
    of: ofUser,
    listeners,
    unsettled: async (intent: string) => ofUser(intent).unsettled(),
    discard: async (intent: string) => ofUser(intent).discard(),
    clear: async () => {
      const start = prefix();
      for (const name of await names()) if (name.startsWith(start)) await named(name).discard();
    },
  });
}
