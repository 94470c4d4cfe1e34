import { type Unsettled, UnsettledError } from "../src/index.js";
import type { Ending } from "../src/outcome.js";
import type { Clock, Storage } from "./simulation.js";

export const settleFor = 2000;
export const maxAge = 60_000;

/** A call of the simulated page: it waits for its key, or is sent, or over. */
export interface SimulatedCall {
  user: string;
  intent: string | undefined;
  payload: string;
  newKey: boolean;
  joinsNewKey?: boolean;
  openedAt: number;
  /** Counts what happens in the world. */
  order: number;
  state: "opening" | "sent" | "over";
  controller: AbortController;
  key?: string;
}

/** What went out with one key of an intent, and what its callers were told. */
interface Submission {
  key: string;
  user: string;
  intent: string;
  payload: string;
  /** When the key was made, at the earliest and at the latest. */
  madeFrom: number;
  madeTo: number;
  inFlight: Set<SimulatedCall>;
  lastInFlight: number;
  /** When, in the order of the world, one was last in flight, or waited for its key. */
  lastBusy: number;
  executed: boolean;
  /** A caller was told that it was refused, whatever others were told. */
  refused: boolean;
  /** When a caller was told how it ended, unless something is in flight whose end may be another. */
  settledAt: number | undefined;
  expired: boolean;
  /** Given up by `discard`, `clear` or a memory that is gone; `maybe` while that is under way, or not certain. */
  gone: "no" | "maybe" | "yes";
  goneOrder: number;
  /** The storage was cleared since it was written last. */
  cleared: boolean;
  /** Two memories have it: one may not know what the other was told. */
  divided: boolean;
  /** This page has sent it. */
  known: boolean;
}

/**
 * Knows what the callers know, and nothing of how the core works. It is told what
 * happens, and collects what should not have. A key that goes out is an effect sooner
 * or later: so it looks at keys when they go out, which is stricter than to count.
 */
export class Oracle {
  readonly violations: string[] = [];
  readonly submissions: Submission[] = [];
  /** Counts what happens. */
  order = 0;
  /** Intents with a key that was stored and may not have been sent. */
  readonly unsentOf = new Set<string>();
  readonly #discards: { user: string; intent: string | undefined; until: number }[] = [];
  constructor(
    readonly clock: Clock,
    readonly storage: Storage,
    readonly reachesAll: boolean,
  ) {}

  check(property: string, holds: boolean): void {
    if (!holds) this.violations.push(property);
  }

  #last({ user, intent }: { user: string; intent?: string | undefined }): Submission | undefined {
    return this.submissions.findLast((one) => one.user === user && one.intent === intent);
  }
  byKey = (key: string | undefined): Submission | undefined => this.submissions.find((one) => one.key === key);

  /** The call goes out with the key. */
  sent(call: SimulatedCall, key: string, signedIn: string): void {
    const { now } = this.clock;
    this.check("what one user wanted is not sent once another has signed in", call.user === signedIn);
    this.unsentOf.delete(`${call.user} ${call.intent}`);
    const last = this.#last(call);
    const goneOf = (one: Submission) => (one.gone === "yes" && call.order <= one.goneOrder ? "maybe" : one.gone);
    const same = this.byKey(key);
    if (same) {
      this.check("no result of another payload", same.payload === call.payload);
      this.check("no result of another user or intent", same.user === call.user && same.intent === call.intent);
      this.check("what was given up is not sent again", (same === last && goneOf(same) !== "yes") || same.divided);
      const joined = same.inFlight.size > 0 || same.lastBusy >= call.order;
      if (!joined && !same.divided && goneOf(same) === "no" && !this.storage.hasFailed) {
        if (same.settledAt !== undefined)
          this.check("after settleFor a call is a new one", call.openedAt < Math.max(same.settledAt, same.lastInFlight) + settleFor);
        else {
          this.check("what has expired is not sent again", !same.expired);
          this.check("what is older than maxAge is not sent without asking", call.openedAt - same.madeTo < maxAge);
        }
      }
      same.inFlight.add(call);
      same.lastBusy = this.order;
      if (!same.executed) same.settledAt = undefined;
      same.cleared = false;
      same.known = true;
      return;
    }
    if (last && goneOf(last) === "no") {
      const { settledAt, inFlight, divided } = last;
      const newKey = call.newKey || !!call.joinsNewKey;
      const quiet = divided || !inFlight.size;
      const forgotten = quiet && now - last.madeFrom >= 2 * maxAge;
      if (last.payload === call.payload)
        this.check(
          "one effect for an intent, user and payload, until settleFor after its outcome was told",
          forgotten ||
            (settledAt !== undefined && (divided || now >= settledAt + settleFor)) ||
            (newKey && quiet && (last.expired || now - last.madeFrom >= maxAge)),
        );
      else
        this.check(
          "an edit does not go out while an earlier payload is in flight or unknown",
          forgotten || settledAt !== undefined || (newKey && quiet) || (divided && last.refused),
        );
    }
    const discarded = this.#discards.some(
      ({ user, intent, until }) => user === call.user && (!intent || intent === call.intent) && call.order <= until,
    );
    this.submissions.push({
      ...{
        key,
        user: call.user,
        intent: call.intent!,
        payload: call.payload,
        inFlight: new Set([call]),
        lastInFlight: 0,
        lastBusy: this.order,
      },
      ...{ madeFrom: call.openedAt, madeTo: now, executed: false, refused: false, settledAt: undefined, expired: false },
      ...{ gone: discarded ? "maybe" : "no", goneOrder: 0, cleared: false, divided: false, known: true },
    });
  }

  /** The call ended before it was sent. */
  rejected(call: SimulatedCall, error: unknown, signedIn: string): void {
    const last = this.#last(call);
    if (last && last.payload === call.payload) last.lastBusy = this.order;
    if (this.storage.pending || this.storage.health !== "fast") this.unsentOf.add(`${call.user} ${call.intent}`);
    if (error instanceof UnsettledError) this.#asked(call, error, last);
    else if (error instanceof Error && error.message === "another user has signed in")
      this.check("a call ends for a sign-in only after one", call.user !== signedIn);
    // The store may have failed a moment before.
    else if (call.controller.signal.aborted)
      this.check("an aborted call has the signal's reason", error === call.controller.signal.reason || this.storage.hasFailed);
    else this.check(`a call fails only for a reason, not for ${error}`, this.storage.hasFailed);
  }

  #asked(call: SimulatedCall, { keys }: Unsettled, last: Submission | undefined): void {
    const { now } = this.clock;
    const asked = this.byKey(keys[0]);
    this.check("asks about the same user and intent", !asked || (asked.user === call.user && asked.intent === call.intent));
    this.check("with newKey it does not ask", !call.newKey);
    if (this.storage.hasFailed || (!asked && this.unsentOf.has(`${call.user} ${call.intent}`))) return;
    if (asked?.divided) return;
    this.check("asks about what was sent last", !!asked && asked === last);
    if (!asked) return;
    this.check("does not ask about what was given up", asked.gone !== "yes" || call.order <= asked.goneOrder);
    if (asked.gone !== "no") return;
    this.check("asks only about what is unknown", asked.settledAt === undefined);
    this.check("waits for what is in flight, and does not ask", !asked.inFlight.size);
    this.check("asks only for a reason", asked.payload !== call.payload || asked.expired || now - asked.madeFrom >= maxAge);
  }

  /** The caller was told how the call, or a queue's with the same key, ended. */
  ended(call: SimulatedCall, ending: Ending, byQueue = false): void {
    const one = this.byKey(call.key);
    if (!one) return;
    if (one.inFlight.delete(call)) Object.assign(one, { lastInFlight: this.clock.now, lastBusy: this.order });
    one.executed ||= ending === "executed";
    one.refused ||= ending === "refused";
    one.expired ||= ending === "expired";
    if (ending === "executed" || (ending === "refused" && !one.inFlight.size)) one.settledAt = this.clock.now;
    else if (byQueue && one.settledAt !== undefined) one.gone = one.gone === "yes" ? "yes" : "maybe";
    else if (!one.executed) one.settledAt = undefined;
    // The memory learns it after what the store takes, if at all.
    if (byQueue) one.divided = true;
    if (byQueue && one.inFlight.size && this.storage.health !== "fast" && one.gone === "no") one.gone = "maybe";
  }

  /** `discard` or `clear` begins; what it returns says that it is over. */
  discarding(user: string, intent: string | undefined): (order: number | undefined) => void {
    const given = this.submissions.filter((one) => one.user === user && (!intent || one.intent === intent) && one.gone !== "yes");
    for (const one of given) one.gone = "maybe";
    // Without `keys`, `clear` reaches what this page had to do with.
    const reached = given.filter((one) => (intent || this.reachesAll || one.known) && !one.divided);
    const discard = { user, intent, until: Infinity };
    this.#discards.push(discard);
    return (order) => {
      // The store failed, and the page may have forgotten nevertheless.
      if (order === undefined) for (const one of given) one.known = false;
      else for (const one of reached) Object.assign(one, { gone: "yes", goneOrder: order });
      discard.until = order ?? Infinity;
    };
  }

  /** The user has changed: what has settled may be forgotten. */
  signedIn(): void {
    for (const one of this.submissions) if (one.settledAt !== undefined && one.gone === "no") one.gone = "maybe";
  }

  /** A call is opened: what other users' had settled is forgotten. */
  opened(user: string, order: number): void {
    if (this.storage.hasFailed || this.storage.pending) return;
    for (const one of this.submissions)
      if (one.user !== user && one.settledAt !== undefined && !one.inFlight.size && !one.divided && !this.storage.has(one.key))
        Object.assign(one, { gone: "yes", goneOrder: order - 1 });
  }

  /** All has run that can: who still waits for a key waits for what is in flight. */
  waiting(opening: SimulatedCall[]): void {
    opening.forEach((call, i) => {
      const last = this.#last(call);
      const behind = opening.slice(0, i).some(({ user, intent }) => user === call.user && intent === call.intent);
      this.check(
        "a call waits only for what is in flight",
        behind || (!!last?.inFlight.size && (!last.executed || last.divided || last.gone === "maybe") && last.gone !== "yes"),
      );
      this.check("a call joins what is in flight with the same payload", behind || last?.payload !== call.payload);
    });
  }

  cleared(): void {
    for (const one of this.submissions) {
      one.cleared = true;
      // This page has not read it yet.
      if (!one.known && one.gone === "no") one.gone = "maybe";
    }
  }

  /** The memory is gone; what the storage has is all that is known. */
  reloaded(hasStore: boolean, order: number): void {
    const certain = !this.storage.hasFailed && !this.storage.pending;
    for (const one of this.submissions) {
      if (one.inFlight.size) one.lastInFlight = this.clock.now;
      one.inFlight.clear();
      one.known = false;
      if (one.gone === "yes") continue;
      const stored = hasStore && this.storage.has(one.key);
      if (one.settledAt !== undefined) {
        if (certain && !one.divided && one.gone === "no") this.check("what has settled is not stored", !stored);
        one.gone = stored || !certain ? "maybe" : "yes";
      } else if (one.gone === "no" && one === this.#last(one) && !stored) {
        const elsewhere = (one.divided && one.refused) || this.unsentOf.has(`${one.user} ${one.intent}`);
        this.check(
          "what is unknown outlives a reload",
          !hasStore || one.cleared || elsewhere || this.clock.now - one.madeFrom >= 2 * maxAge,
        );
        one.gone = "yes";
      }
      one.goneOrder = order;
    }
  }

  /** New calls go through another memory over the same storage; the old one has what is in flight. */
  divided(): void {
    for (const one of this.submissions) {
      one.divided = true;
      one.known = false;
      if (one.gone === "no" && (one.settledAt !== undefined || !this.storage.has(one.key))) one.gone = "maybe";
    }
  }
}
