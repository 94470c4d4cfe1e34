// Which page sessionStorage belongs to: a duplicated tab, and one that was opened by
// another, begin with a copy of it.
import { newKey } from "../../clients/typescript/src/key";

const nameItem = "onceql:playground:tab";
// Set while that is being found out: a reload meanwhile does not decide it.
const doubtItem = "onceql:playground:tab?";

// How long a page waits for the one before it in the same tab to let go of the name, in
// milliseconds. One that still holds it then is another tab.
const handOver = 500;

/**
 * Whether what sessionStorage holds was written by this tab. A reload always is the same
 * tab. Otherwise each tab holds a Web Lock of its name; where the browser has none
 * (neither https nor localhost) what was there before is taken for a copy.
 */
export async function ownsStorage(): Promise<boolean> {
  try {
    const name = sessionStorage.getItem(nameItem);
    const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
    if (name && navigation?.type === "reload" && !sessionStorage.getItem(doubtItem)) {
      void hold(name);
      return true;
    }
    sessionStorage.setItem(doubtItem, "?");
    const owned = name !== null && (await hold(name, AbortSignal.timeout(handOver)));
    sessionStorage.removeItem(doubtItem);
    if (owned) return true;
    const own = newKey();
    sessionStorage.setItem(nameItem, own);
    void hold(own);
  } catch {
    // There is no storage to own.
  }
  return false;
}

/** Holds the name for as long as the page lives; resolves to whether it does. */
function hold(name: string, signal?: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(false);
    const forever = () => (resolve(true), new Promise<never>(() => {}));
    navigator.locks.request(`${nameItem}:${name}`, signal ? { signal } : {}, forever).catch(() => resolve(false));
  });
}
