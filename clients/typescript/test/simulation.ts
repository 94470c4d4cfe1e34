import { type Answer, type KeyStore } from "../src/index.js";

/** Time that passes only when it is told to, for what the core asks: `Date.now` and `AbortSignal.timeout`. */
export class Clock {
  now = 1_700_000_000_000;
  // In the order of their time.
  #timers: { at: number; run: () => boolean | void }[] = [];

  /** Runs it later; what returns true has done nothing. */
  after(ms: number, run: () => boolean | void): void {
    const at = this.now + ms;
    this.#timers.splice(this.#timers.findLastIndex((timer) => timer.at <= at) + 1, 0, { at, run });
  }
  /** Lets time pass, and all that follows from it happen. */
  async advance(ms: number): Promise<void> {
    const end = this.now + ms;
    await idle();
    while (this.#timers[0] && this.#timers[0].at <= end) {
      const { at, run } = this.#timers.shift()!;
      this.now = at;
      if (!run()) await idle();
    }
    this.now = end;
    await idle();
  }
  /** As AbortSignal.timeout, as far as the core uses it, and much faster. */
  readonly timeout = (ms: number): AbortSignal => {
    const listeners = new Set<() => void>();
    const signal = {
      aborted: false,
      reason: timedOut,
      addEventListener: (_: string, listener: () => void) => listeners.add(listener),
      removeEventListener: (_: string, listener: () => void) => listeners.delete(listener),
    };
    this.after(ms, () => {
      signal.aborted = true;
      for (const listener of listeners) listener();
      return !listeners.size;
    });
    return signal as unknown as AbortSignal;
  };
}

const timedOut = new DOMException("timed out", "TimeoutError");

/** Waits until all has run that could run now. */
export const idle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** How a store behaves: it answers at once or after milliseconds, never, or fails, having done the work or not. */
export type Health = "fast" | number | "hangs" | "fails" | "failsAfter";

/** A storage that outlives pages, and the store objects that pages have over it. */
export class Storage {
  readonly items = new Map<string, string>();
  health: Health = "fast";
  /** Whether a store has ever failed: what should be gone may still be there. */
  hasFailed = false;
  /** How many accesses are under way. */
  pending = 0;
  #accesses = 0;
  constructor(
    readonly clock: Clock,
    readonly onSet: (text: string) => void,
  ) {}

  has = (key: string): boolean => [...this.items.values()].some((value) => value.includes(key));

  /** A store object of a page; once the page is gone its accesses neither happen nor answer. */
  open(isThere: () => boolean, withKeys: boolean): KeyStore {
    const access = <T>(work: () => T): T | Promise<T> => {
      if (!isThere()) return new Promise<T>(() => {});
      const { health } = this;
      if (health === "fast") return work();
      if (typeof health === "string") {
        this.hasFailed = true;
        if (health === "hangs") return new Promise<T>(() => {});
        if (health === "failsAfter") work();
        return Promise.reject(new Error("of the store"));
      }
      this.pending++;
      // One is overtaken by the next, unless that waits for it.
      const ms = this.#accesses++ % 2 ? health : health / 10;
      return new Promise((resolve) =>
        this.clock.after(ms, () => {
          if (!isThere()) return;
          this.pending--;
          resolve(work());
        }),
      );
    };
    const store: KeyStore = {
      get: (name) => access(() => this.items.get(name)),
      set: (name, value) => (this.onSet(name + value), access(() => void this.items.set(name, value))),
      delete: (name) => access(() => void this.items.delete(name)),
    };
    return withKeys ? { ...store, keys: () => access(() => [...this.items.keys()]) } : store;
  }
}

export interface Effect {
  user: string;
  key: string;
  payload: string;
  at: number;
}

/** The server's contract: one effect for a user's key, replayed for `ttl` to the same payload, refused until `retention` is over. */
export class Server {
  readonly effects: Effect[] = [];
  #rows = new Map<string, Effect>();
  constructor(
    readonly clock: Clock,
    readonly ttl: number,
    readonly retention: number,
  ) {}

  /** Looks the key up, then refuses with the code, if any, or executes. */
  handle(user: string, key: string, payload: string, code?: string): Answer {
    const { now } = this.clock;
    // Authentication, and what the server's load forbids, come before the look-up.
    if (code && code !== "NOT_FOUND") return refusal(code);
    const row = this.#rows.get(`${user} ${key}`);
    if (row && now - row.at < this.retention) {
      if (row.payload !== payload) return refusal("IDEMPOTENCY_KEY_REUSED");
      return now - row.at < this.ttl ? success("REPLAYED") : refusal("IDEMPOTENCY_KEY_EXPIRED");
    }
    if (code) return refusal(code);
    const effect = { user, key, payload, at: now };
    this.#rows.set(`${user} ${key}`, effect);
    this.effects.push(effect);
    return success("EXECUTED");
  }
}

export const retryable = ["UNAVAILABLE", "IDEMPOTENCY_IN_PROGRESS"];

function success(status: "EXECUTED" | "REPLAYED"): Answer {
  return { data: { create: {} }, extensions: { idempotency: { create: { status, executedAt: "2026-01-02T03:04:05Z" } } } };
}

function refusal(code: string): Answer {
  const extensions = { code, retryable: retryable.includes(code) };
  return { data: { create: null }, errors: [{ message: "", path: ["create"], extensions }] };
}
