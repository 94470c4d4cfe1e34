// What the React hooks of the clients have in common.
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

import type { CallContext } from "./calls.js";
import type { Unsettled, WatchedIntents } from "./intents.js";
import type { Outcome } from "./outcome.js";

export type { Outcome, Unsettled };

/** What the server knows of a key: a row of the query `idempotentCall`. */
export interface IdempotentCall {
  key: string;
  /** The mutation that ran under the key. */
  operation: string;
  /** When it ran, by the server's clock: an RFC 3339 date-time, as is `expiresAt`. */
  executedAt: string;
  /** Until when its result is replayed. */
  expiresAt: string;
  /** Whether the result is no longer replayed. */
  expired: boolean;
  /** The id of the request that executed it, as it is in the server's log. */
  requestId: string | null;
}

/** What is known of a hook's intent. */
export interface IntentState {
  /** Whether a call of the intent is in flight, of this component or another. */
  pending: boolean;
  /**
   * What became of this component's last call: undefined before its answer, and where
   * nothing was sent. Of several keyed fields, what became of the least certain.
   */
  outcome: Outcome | undefined;
  /**
   * An earlier submission that may have taken effect, perhaps of a page before this
   * one. The same variables send it again, which settles it; others ask, by failing
   * with an UnsettledError.
   */
  unsettled: Unsettled | undefined;
  /**
   * Asks the server what the keys of `unsettled` did, in their order. Null is "not
   * known": the call may be in flight. It never means that nothing happened; only
   * sending the same variables again settles.
   */
  resolve(): Promise<(IdempotentCall | null)[]>;
  /** Forgets the earlier submission: the next call is a new one. */
  discard(): Promise<void>;
}

/** The query that `resolve` sends for each key. */
export const lookUp = `query ($key: String!) {
  idempotentCall(key: $key) { key operation executedAt expiresAt expired requestId }
}`;

/** What the clients' own variables have optional may be left out altogether. */
export type Parameters<Variables, Options> = {} extends Variables
  ? [variables?: Variables, options?: Options]
  : [variables: Variables, options?: Options];

type State = Pick<IntentState, "pending" | "unsettled">;

const idle: State = { pending: false, unsettled: undefined };

/**
 * What the components of a client share. `find` gives the client's core; it rejects
 * with `missing` where there is none, and with another error where that is not known.
 */
function sharedOf(find: (missing: Error) => Promise<WatchedIntents>) {
  const missing = new Error("useIdempotentMutation: the client has no idempotencyLink or idempotencyExchange");
  let core: WatchedIntents | undefined;
  let finding: Promise<WatchedIntents | undefined> | undefined;
  let failure: Error | undefined;
  // By the intent's name with its user in it, what is not idle.
  const states = new Map<string | undefined, State>();
  // How many calls the components have in flight.
  const counts = new Map<string, number>();
  const components = new Set<{ intent: string; update: () => void }>();

  function nameOf(intent: string): string | undefined {
    try {
      return core?.nameOf(intent);
    } catch {
      // The application forgot its session: nobody has signed in, and nothing is known.
      return undefined;
    }
  }

  /** The core, or undefined where a link above it failed: it is looked for again. */
  const found = () =>
    (finding ??= find(missing).then(
      (intents) => {
        core = intents;
        if (components.size) core.listeners.add(changed);
        return core;
      },
      (error) => {
        if (error === missing) failure = error;
        finding = undefined;
        update();
        if (failure) throw failure;
        return undefined;
      },
    ));

  function update(): void {
    for (const { update } of components) update();
  }

  function set(name: string, state: State): void {
    // What is equal is the same, so that nothing is rendered for it.
    if (!components.size || JSON.stringify(state) === JSON.stringify(states.get(name) ?? idle)) return;
    if (state.pending || state.unsettled) states.set(name, state);
    else states.delete(name);
    update();
  }

  /** Reads what is known of the present user's intent. */
  async function load(intent: string): Promise<void> {
    try {
      await found();
      const name = nameOf(intent);
      // A store that fails lets no call through, and the call says so.
      const unsettled = await core?.unsettled(intent).catch(() => undefined);
      if (name !== undefined && name === nameOf(intent)) set(name, { pending: core!.of(intent).isLive() || counts.has(name), unsettled });
    } catch {
      // The components throw it when they render.
    }
  }

  function changed(name: string): void {
    const component = [...components].find(({ intent }) => nameOf(intent) === name);
    if (component) void load(component.intent);
    else states.delete(name);
  }

  return {
    found,
    load,
    nameOf,
    stateOf: (intent: string): State | Error => failure ?? states.get(nameOf(intent)) ?? idle,

    subscribe(intent: string, update: () => void): () => void {
      const component = { intent, update };
      components.add(component);
      core?.listeners.add(changed);
      return () => {
        components.delete(component);
        if (components.size) return;
        core?.listeners.delete(changed);
        // Nobody keeps it up to date.
        states.clear();
      };
    },

    /** Says that a call of a component begins, and returns what says that it has ended. */
    begin(intent: string): () => void {
      const name = nameOf(intent) ?? "";
      counts.set(name, (counts.get(name) ?? 0) + 1);
      set(name, { ...(states.get(name) ?? idle), pending: true });
      return () => {
        const count = counts.get(name)! - 1;
        if (count) counts.set(name, count);
        else counts.delete(name);
        changed(name);
      };
    },
  };
}

const shareds = new WeakMap<object, ReturnType<typeof sharedOf>>();
const certainty = ["unknown", "refused", "executed", "replayed"];

/**
 * The state of an intent; `run`, which sends a call of it; and `keys`, which are
 * unsettled. `owner` stands for the client: what its components share is found once.
 */
export function useIntent(owner: object, find: (missing: Error) => Promise<WatchedIntents>, intent: string) {
  let shared = shareds.get(owner)!;
  if (!shared) shareds.set(owner, (shared = sharedOf(find)));
  // Another user has another.
  const name = shared.nameOf(intent);
  const subscribe = useCallback((update: () => void) => shared.subscribe(intent, update), [shared, intent]);
  const state = useSyncExternalStore(
    subscribe,
    () => shared.stateOf(intent),
    () => idle,
  );
  useEffect(() => void shared.load(intent), [shared, intent, name]);
  const [last, setLast] = useState<{ shared: object; name: string | undefined; outcome: Outcome }>();
  const calls = useRef(0);

  const run = useCallback(
    async <T>(send: (context: CallContext) => Promise<T>): Promise<T> => {
      await shared.found();
      const name = shared.nameOf(intent);
      const call = ++calls.current;
      const outcomes: Outcome[] = [];
      const end = shared.begin(intent);
      setLast(undefined);
      try {
        return await send({
          intent,
          onOutcome(outcome) {
            outcomes.push(outcome);
            outcomes.sort((a, b) => certainty.indexOf(a.outcome) - certainty.indexOf(b.outcome));
            if (call === calls.current) setLast({ shared, name, outcome: outcomes[0]! });
          },
        });
      } finally {
        end();
      }
    },
    [shared, intent],
  );
  const discard = useCallback(async () => {
    await (await shared.found())?.discard(intent);
    calls.current++;
    setLast(undefined);
  }, [shared, intent]);
  const keys = useCallback(async () => (await (await shared.found())?.unsettled(intent))?.keys ?? [], [shared, intent]);

  if (state instanceof Error) throw state;
  const outcome = last && last.shared === shared && last.name === name ? last.outcome : undefined;
  return { ...state, outcome, run, discard, keys };
}
