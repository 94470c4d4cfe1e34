import { whenAborted } from "./abort.js";

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
  /** Forgets what was sent under the intent: the next call is a new one. */
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
  readonly keys: string[];
  readonly sentAt: Date;
  constructor(
    readonly intent: string,
    { keys, sentAt }: Unsettled,
  ) {
    super("an earlier call may have taken effect");
    this.keys = keys;
    this.sentAt = sentAt;
  }
}

/** What was sent under an intent, as it is stored. */
interface Submission {
  /** The keys of the document's keyed fields, in their order. */
  keys: string[];
  /** The payload's fingerprint. */
  payload: number;
  sentAt: number;
  /** When it is forgotten. */
  until: number;
  /** Whether the server said that a key had expired. */
  expired?: boolean | undefined;
}

/** What a call wants to be sent with. */
export interface Reservation {
  intent: string;
  keys: string[];
  payload: number;
  onPayloadChange: OnPayloadChange | undefined;
  maxAge: number;
  settleFor: number;
  signal: AbortSignal | undefined | null;
}

/** What it is sent with. `finish` says how it ended. */
export interface Reserved {
  keys: string[];
  finish(ending: "settled" | "expired" | "unknown"): void;
}

/** Told the name of each intent of the page that may have changed. */
export const listeners = new Set<(name: string) => void>();

const storeTimeoutMs = 5000;

/**
 * One named intent. The page's memory decides, and the store has a copy for the pages
 * that follow: what is cleared from it while the page lives is not lost.
 */
export function namedIntent(name: string, store?: KeyStore) {
  let submission: Submission | undefined;
  let settled = false;
  // How many calls are in flight with the submission's keys, and whether none was sent yet.
  let live = 0;
  let unsent = false;
  // How many calls are being reserved, and how often the store is being used.
  let busy = 0;
  let wake = () => {};
  const calls = inTurn();
  const accesses = inTurn();

  function stored<T>(access: (store: KeyStore) => T | Promise<T>): Promise<T | undefined> {
    busy++;
    return accesses(async () => store && unlessAborted((async () => access(store))(), AbortSignal.timeout?.(storeTimeoutMs))).finally(
      () => busy--,
    );
  }

  async function read(): Promise<Submission | undefined> {
    const found: Submission | undefined = submission ?? parsed(await stored((store) => store.get(name)));
    return (submission ??= found?.keys && found.until > Date.now() ? found : undefined);
  }

  /** Brings the store up to date: it has what has not settled. Then tells who watches, who may read it. */
  function write() {
    const written = stored((store) => (submission && !settled ? store.set(name, JSON.stringify(submission)) : store.delete(name)));
    listeners.forEach((listener) => listener(name));
    return written;
  }

  function forget(): Promise<unknown> {
    submission = undefined;
    settled = false;
    live = 0;
    wake();
    return write().catch(() => {});
  }

  function end(mine: Submission, hasSettled = false): void {
    // It may have been discarded.
    if (mine !== submission) return;
    live--;
    settled ||= hasSettled;
    if (unsent && !live) submission = undefined;
    write().catch(() => {});
    if (!live || settled) wake();
  }

  async function add({ intent, keys, payload, onPayloadChange, maxAge, signal }: Reservation): Promise<Submission> {
    for (;;) {
      const earlier = await unlessAborted(read(), signal);
      const now = Date.now();
      if (
        earlier &&
        !(earlier.payload === payload && (live || (settled ? now < earlier.until : !earlier.expired && now - earlier.sentAt < maxAge)))
      ) {
        if (live && !settled) {
          await unlessAborted(new Promise<void>((resolve) => (wake = resolve)), signal);
          continue;
        }
        if (!settled && onPayloadChange !== "newKey") throw new UnsettledError(intent, told(earlier));
        void forget();
      }
      unsent ||= !submission;
      submission ??= { keys, payload, sentAt: now, until: 0 };
      submission.until = submission.sentAt + 2 * maxAge;
      settled = false;
      live++;
      return submission;
    }
  }

  return {
    /**
     * Reserves the keys that a call is sent with, and stores them before it is sent. A
     * call with another payload waits for those in flight.
     */
    async reserve(call: Reservation): Promise<Reserved> {
      busy++;
      const adding = calls(() => add(call));
      try {
        const mine = await unlessAborted(
          adding.then((mine) => write().then(() => mine)),
          call.signal,
        );
        unsent = false;
        return {
          keys: mine.keys,
          finish(ending) {
            if (ending === "settled") mine.until = Date.now() + call.settleFor;
            mine.expired ||= ending === "expired";
            end(mine, ending === "settled");
          },
        };
      } catch (error) {
        adding.then(
          (mine) => end(mine),
          () => {},
        );
        throw error;
      } finally {
        busy--;
      }
    },

    async unsettled(): Promise<Unsettled | undefined> {
      const earlier = await read();
      return earlier && !live && !settled ? told(earlier) : undefined;
    },

    /** Whether a call of it is in flight. */
    isLive: (): boolean => live > 0,

    async discard(): Promise<void> {
      if (await read()) await forget();
    },

    /** Says that a call with these keys settled that had not reserved them. */
    async settle(keys: string[]): Promise<void> {
      const earlier = await read();
      if (earlier && earlier.keys.some((key) => keys.includes(key))) await forget();
    },

    /** Whether the page need not remember it. */
    isOver: (evenIfRecent?: boolean): boolean =>
      !busy && !live && (!submission || (settled && !!evenIfRecent) || submission.until < Date.now()),
  };
}

export type NamedIntent = ReturnType<typeof namedIntent>;

const told = ({ keys, sentAt }: Submission): Unsettled => ({ keys, sentAt: new Date(sentAt) });

/** Runs steps in order. */
function inTurn() {
  let last: Promise<unknown> = Promise.resolve();
  return <T>(step: () => Promise<T>): Promise<T> => {
    const turn = last.then(step);
    last = turn.catch(() => {});
    return turn;
  };
}

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
    return JSON.parse(text!) ?? undefined;
  } catch {
    return undefined;
  }
}
