import { whenAborted } from "./abort.js";
import type { Ending } from "./outcome.js";

/**
 * Keeps what was sent under a named intent until its outcome is known. A Map is a
 * KeyStore; the methods may return promises. A call whose store fails, or does not
 * answer within 5 seconds, is not sent. Values are JSON; after the time `until` that
 * is in it, in milliseconds since 1970, the store may drop a value by itself.
 */
export interface KeyStore {
  get(name: string): string | null | undefined | Promise<string | null | undefined>;
  set(name: string, value: string): unknown;
  delete(name: string): unknown;
  /**
   * All names that it has: with it `clear()` reaches what earlier pages left. Names
   * whose value does not have the text in it may be left out.
   */
  keys?(text?: string): Iterable<string> | Promise<Iterable<string>>;
}

/** What to do when an intent is sent with another payload before the outcome of the last is known. */
export type OnPayloadChange = "ask" | "newKey";

/** An earlier submission of an intent whose outcome is not known. */
export interface Unsettled {
  /** Its keys: the query `idempotentCall` tells what they did. */
  keys: string[];
  /** When it was first sent, by this machine's clock. */
  sentAt: Date;
}

/** What can be asked and said about named intents of the present user. */
export interface Intents {
  /** The submission that a call of the intent would have to ask about, or send again; undefined while one is in flight. */
  unsettled(intent: string): Promise<Unsettled | undefined>;
  /** Forgets what was sent under the intent: the next call is a new one. Rejects when the store fails: a later page may find it then. */
  discard(intent: string): Promise<void>;
  /** Forgets what was sent under every intent. */
  clear(): Promise<void>;
}

/** What the React hooks have of it, under this symbol, whichever copy of the package they are of. */
export const watchedBy: unique symbol = Symbol.for("@onceql/client") as any;

/** What those have. */
export interface WatchedIntents extends Intents {
  /** The name under which the present user's intent is kept. */
  nameOf(intent: string): string;
  /** The present user's intent. */
  of(intent: string): NamedIntent;
  /** Told the name of each intent of the page that may have changed. */
  listeners: Set<(name: string) => void>;
}

/**
 * Reports an intent sent with another payload, or again after maxAge or
 * IDEMPOTENCY_KEY_EXPIRED, while an earlier submission may have taken effect. Nothing
 * was sent. Ask the user; `context: { intent, onPayloadChange: "newKey" }` sends it as
 * a new submission.
 */
export class UnsettledError extends Error implements Unsettled {
  override name = "UnsettledError";
  readonly keys!: string[];
  readonly sentAt!: Date;
  constructor(
    readonly intent: string,
    earlier: Unsettled,
  ) {
    super("an earlier call may have taken effect");
    Object.assign(this, earlier);
  }
}

/** What was sent under an intent. A page that follows does not heed that it was refused: it is stored while it is sent again. */
interface Submission {
  /** The keys of the document's keyed fields, in their order. */
  keys: string[];
  /** The payload's fingerprint. */
  payload: number;
  sentAt: number;
  /** When it is forgotten. */
  until: number;
  /** How the last of its calls ended; `executed` and `expired` stay, whatever follows. */
  ending?: Ending | undefined;
  /** Until when one that has settled is the same call. */
  recentUntil?: number;
  /** How many calls have its keys and have not ended. */
  live: number;
}

/** What a call wants to be sent with. */
export interface Reservation {
  intent: string;
  keys: string[];
  payload: number;
  onPayloadChange: OnPayloadChange | undefined;
  maxAge: number;
  signal: AbortSignal | undefined | null;
  /** Whether the user is still the one who made the call. */
  isSignedIn(): boolean;
}

/** What it is sent with. `finish` says how it ended, and for how many milliseconds that is remembered, or that it was not sent. */
export interface Reserved {
  keys: string[];
  finish(ending?: Ending, settleFor?: number): void;
}

/** Told the name of each intent of the page that may have changed. */
export const listeners = new Set<(name: string) => void>();

const storeTimeoutMs = 5000;

/**
 * One named intent. The page's memory decides, once it has what earlier pages left in
 * the store; the store has a copy for the pages that follow. What is cleared from it
 * while the page lives is not lost.
 */
export function namedIntent(name: string, store?: KeyStore) {
  let last: Submission | undefined;
  let loaded = false;
  // Calls that wait for their keys, and accesses to the store.
  let busy = 0;
  let wake = () => {};
  const calls = inTurn();
  const accesses = inTurn();

  /** Runs steps in order. */
  function inTurn() {
    let last: Promise<unknown> = Promise.resolve();
    const done = () => void busy--;
    return <T>(step: () => Promise<T>): Promise<T> => {
      busy++;
      const turn = last.then(step);
      last = turn.then(done, done);
      return turn;
    };
  }

  const stored = (access: (store: KeyStore) => unknown): Promise<unknown> =>
    accesses(async () => store && unlessAborted((async () => access(store))(), AbortSignal.timeout?.(storeTimeoutMs)));

  const isPast = () => !last || (!last.live && (hasSettled(last) ? last.recentUntil! : last.until) <= Date.now());

  async function read(): Promise<Submission | undefined> {
    if (!loaded)
      await stored(async (store) => {
        const found = parsed(await store.get(name));
        if (!loaded && found?.until) last = { ...found, live: 0, ending: hasSettled(found) ? undefined : found.ending };
        loaded = true;
      });
    if (isPast()) last = undefined;
    return last;
  }

  /**
   * Brings the store up to date: it has what has not settled. With what it is to take
   * the place of, it leaves what another client has stored meanwhile. Then tells who
   * watches, who may read it.
   */
  function write(instead?: Submission): Promise<unknown> {
    const written = stored(async (store) => {
      const found = instead && parsed(await store.get(name));
      if (found && `${found.keys}` !== `${instead.keys}`) return;
      await (last && (last.live ? last.ending !== "executed" : !hasSettled(last))
        ? store.set(name, JSON.stringify(last))
        : store.delete(name));
    });
    listeners.forEach((listener) => listener(name));
    return written;
  }

  /** A call with the submission's keys has ended or, without an ending, was not sent after all. */
  function end(mine: Submission, before?: Submission, ending?: Ending, settleFor = 0): void {
    mine.live--;
    if (ending) {
      if (!/^ex/.test(mine.ending!)) mine.ending = ending;
      mine.recentUntil = Date.now() + settleFor;
    }
    wake();
    // It may have been discarded.
    if (mine !== last) return;
    if (!ending && !mine.live) last = before;
    write(mine).catch(() => {});
  }

  async function add({ intent, keys, payload, onPayloadChange, maxAge, signal, isSignedIn }: Reservation): Promise<Reserved> {
    for (;;) {
      await unlessAborted(read(), signal);
      const now = Date.now();
      const before = last;
      const again =
        before?.payload === payload && (before.live || hasSettled(before) || (before.ending !== "expired" && now - before.sentAt < maxAge));
      if (before && !again) {
        if (before.live && before.ending !== "executed") {
          await unlessAborted(new Promise<void>((resolve) => (wake = resolve)), signal);
          continue;
        }
        if (!hasSettled(before) && onPayloadChange !== "newKey") throw new UnsettledError(intent, told(before));
      }
      const mine = again ? before : { keys, payload, sentAt: now, until: now + 2 * maxAge, live: 0 };
      last = mine;
      mine.live++;
      try {
        await write();
        if (signal?.aborted || !isSignedIn()) throw Error("another user has signed in");
      } catch (error) {
        end(mine, before);
        throw error;
      }
      return { keys: mine.keys, finish: (ending, settleFor) => end(mine, before, ending, settleFor) };
    }
  }

  return {
    /**
     * Reserves the keys that a call is sent with, and stores them before it is sent. A
     * call with another payload waits for those in flight.
     */
    reserve(call: Reservation): Promise<Reserved> {
      const adding = calls(() => add(call));
      return unlessAborted(adding, call.signal).catch((error) => {
        adding.then(
          ({ finish }) => finish(),
          () => {},
        );
        throw error;
      });
    },

    async unsettled(): Promise<Unsettled | undefined> {
      const earlier = await read();
      return earlier && !earlier.live && !hasSettled(earlier) ? told(earlier) : undefined;
    },

    /** Whether a call of it is in flight. */
    isLive: (): boolean => !!last?.live,

    async discard(): Promise<void> {
      await read();
      last = undefined;
      wake();
      await write();
    },

    /** Says how a call with this key ended that had not reserved it. */
    async settle(key: string, ending: Ending, settleFor: number): Promise<void> {
      const earlier = await read();
      if (earlier?.keys.includes(key)) {
        earlier.live++;
        end(earlier, earlier, ending, settleFor);
      }
    },

    /** Whether the page need not remember it. */
    isOver: (evenIfRecent: boolean): unknown => !busy && (isPast() || (evenIfRecent && !last!.live && hasSettled(last!))),
  };
}

export type NamedIntent = ReturnType<typeof namedIntent>;

const hasSettled = ({ ending }: Submission): boolean => ending === "executed" || ending === "refused";
const told = ({ keys, sentAt }: Submission): Unsettled => ({ keys, sentAt: new Date(sentAt) });

/** The promise, unless the signal is aborted before it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined | null): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = whenAborted(signal, reject);
    promise.then(resolve, reject).then(stop);
  });
}

/** What was stored, or undefined where it can't be read. */
function parsed(text: string | null | undefined): any {
  try {
    return JSON.parse(text!);
  } catch {
    return undefined;
  }
}
