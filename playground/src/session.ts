// The calls of this browser tab: what was sent under which idempotency key, and what
// was answered. They outlive a reload, in sessionStorage. Headers are no part of them.
import { useSyncExternalStore } from "react";

import { type Answer, awaited, keyState, noAnswer, tookEffect } from "./answers";
import type { Request } from "./document";

/** What was sent first under a key, and all that was answered. */
export interface Call extends Request {
  key: string;
  operation: string;
  /** The arguments without the key, as JSON. */
  payload: string;
  answers: Answer[];
}

/** What a tab of GraphiQL shows of its last send. */
export interface Shown {
  /** What stands in the response pane. */
  text: string;
  /** One for each keyed field of the answer in the pane. */
  answers: Answer[];
  /** How long the answer took, in milliseconds. */
  took: number;
  /** What happened, and why. */
  sentence: string;
  /** The variables before the page changed them. */
  before?: string;
}

interface Session {
  /** The newest first. */
  calls: Call[];
  /** The key that each tab of GraphiQL sent last. */
  sent: Record<string, string>;
  /** By the tab of GraphiQL; "pending" while an answer is awaited. */
  shown: Record<string, Shown | "pending">;
  /** Whether each send gets a new key, unless the last one's outcome is unknown. */
  keyPerSend: boolean;
}

const storageKey = "onceql:playground";
const mostCalls = 100;

let session: Session = { calls: [], sent: {}, shown: {}, keyPerSend: false };
const listeners = new Set<() => void>();

export const current = (): Session => session;

export function change(next: Partial<Session>): void {
  session = { ...session, ...next };
  if (next.calls || next.sent) store();
  for (const listener of listeners) listener();
}

function store(): void {
  const { calls, sent } = session;
  try {
    sessionStorage.setItem(storageKey, JSON.stringify({ calls, sent }));
  } catch {
    // The storage is full or forbidden: the list ends with the page, but an answer still arrives.
  }
}

/** The session, as it changes. */
export function useSession(): Session {
  return useSyncExternalStore((listener) => (listeners.add(listener), () => listeners.delete(listener)), current);
}

/** Takes up what this tab stored before a reload. An answer that was awaited then does not come any more. */
export function resume(): void {
  let stored: any;
  try {
    stored = JSON.parse(sessionStorage.getItem(storageKey)!);
  } catch {
    return;
  }
  // Earlier builds stored the list alone.
  const calls = (Array.isArray(stored) ? stored : Array.isArray(stored?.calls) ? stored.calls : []).filter(isCall);
  for (const call of calls) {
    call.answers.forEach((answer: Answer, at: number) => {
      if (answer.status === awaited) answer.status = noAnswer;
      answer.send ??= at - call.answers.length;
    });
  }
  const sent = Object.entries(stored?.sent ?? {}).filter(([, key]) => typeof key === "string");
  session = { ...session, calls, sent: Object.fromEntries(sent) as Record<string, string> };
}

/** Leaves nothing of what another tab stored, for a reload to take up. */
export const beginAnew = (): void => change({ calls: [], sent: {} });

const isCall = (call: any): boolean =>
  [call?.key, call?.operation, call?.payload, call?.query].every((text) => typeof text === "string") &&
  typeof call.variables === "object" &&
  call.variables !== null &&
  ["string", "undefined"].includes(typeof call.operationName) &&
  Array.isArray(call.answers) &&
  call.answers.length > 0 &&
  call.answers.every((answer: any) => typeof answer?.status === "string");

/** What is known of a key in this tab. */
export const stateOf = (key: string): ReturnType<typeof keyState> => keyState(callOf(key)?.answers ?? []);

export const callOf = (key: string): Call | undefined => session.calls.find((call) => call.key === key);

/** Whether this tab has seen that the key was executed. */
export const everTookEffect = (key: string): boolean => callOf(key)?.answers.some(tookEffect) ?? false;

/** Puts calls before the others; of too many those with a known outcome are left out. */
export function put(calls: Call[]): void {
  const keys = new Set(calls.map(({ key }) => key));
  const all = [...calls, ...session.calls.filter(({ key }) => !keys.has(key))];
  change({ calls: all.filter((call, at) => at < mostCalls || keyState(call.answers) === "unsettled") });
}

/** Empties the list, but for the calls whose outcome is unknown. */
export const forgetCalls = (): void => change({ calls: session.calls.filter(({ answers }) => keyState(answers) === "unsettled") });
