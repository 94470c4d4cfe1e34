import { useSyncExternalStore } from "react";

const units = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
] as const;

let now = Date.now();

function subscribe(listener: () => void): () => void {
  const timer = setInterval(() => ((now = Date.now()), listener()), 1000);
  return () => clearInterval(timer);
}

/**
 * How far away a time is, such as "3 s ago" or "in 24 h"; with `length` it is "24 h"
 * alone. The time itself is in its title.
 */
export function Time({ at, length = false }: { at: string | number; length?: boolean }) {
  useSyncExternalStore(subscribe, () => now);
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return <>{String(at)}</>;
  const seconds = (date.getTime() - Date.now()) / 1000;
  // It changes all the time, which is not to be read out.
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString()} aria-live="off">
      {length ? duration(seconds) : relative(seconds)}
    </time>
  );
}

function relative(seconds: number): string {
  if (Math.abs(seconds) < 0.5) return "just now";
  return seconds < 0 ? `${duration(seconds)} ago` : `in ${duration(seconds)}`;
}

function duration(seconds: number): string {
  const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= 1.5 * length) ?? ["s", 1];
  return `${Math.round(Math.abs(seconds) / length)} ${unit}`;
}
