import type { KeyStore } from "./calls.js";
import { newKey } from "./key.js";

/**
 * Keeps keys over a reload, in sessionStorage. A duplicated tab gets a copy of that,
 * and does not use it. Where the browser has no Web Locks (outside of secure
 * contexts) or no storage, keys last as long as the page.
 */
export function sessionStore(): KeyStore {
  return tabStore(() => sessionStorage, false);
}

/**
 * Keeps keys until their outcome is known, in localStorage: a tab that has closed
 * leaves them to the next one in which the same user sends the same intent. Tabs
 * that are open never share one. Without Web Locks or storage as {@link sessionStore}.
 */
export function localStore(): KeyStore {
  return tabStore(() => localStorage, true);
}

const lockOf = (tab: string) => "onceql:tab:" + tab;
const itemOf = (name: string, tab: string) => `onceql:${name}@${tab}`;
const tabItem = "onceql:tab";

// How long a reload waits for the page before it to let go of the tab's lock, in
// milliseconds. One that still holds it then is another tab.
const handOver = 1000;

/** Holds a lock as long as the page lives; false when another page does. */
function hold(lock: string): Promise<boolean> {
  return new Promise((resolve) => {
    const forever = () => (resolve(true), new Promise<never>(() => {}));
    navigator.locks.request(lock, { signal: AbortSignal.timeout(handOver) }, forever).catch(() => resolve(false));
  });
}

let claimed: Promise<string> | undefined;

/** This tab's name, the same after a reload and another in a duplicate. */
async function claim(): Promise<string> {
  const last = sessionStorage.getItem(tabItem);
  if (last && (await hold(lockOf(last)))) return last;
  const tab = newKey();
  sessionStorage.setItem(tabItem, tab);
  await hold(lockOf(tab));
  return tab;
}

function tabStore(open: () => Storage, inherit: boolean): KeyStore {
  const items = new Map<string, string>();
  const opened = (async () => {
    const storage = open();
    return { storage, tab: await (claimed ??= claim()) };
  })().catch(() => undefined);

  /** Takes the newest of what closed tabs left under the name. */
  async function inherited(storage: Storage, name: string, tab: string): Promise<string | null> {
    return navigator.locks.request("onceql:inherit", async () => {
      const held = new Set((await navigator.locks.query()).held?.map((lock) => lock.name));
      const left = Object.keys(storage).filter((item) => {
        const owner = item.startsWith(itemOf(name, "")) && item.slice(itemOf(name, "").length);
        return owner && !held.has(lockOf(owner));
      });
      // Owners' names begin with the time.
      const newest = left.sort().at(-1);
      if (!newest) return null;
      const value = storage.getItem(newest)!;
      storage.setItem(itemOf(name, tab), value);
      for (const item of left) storage.removeItem(item);
      return value;
    });
  }

  const get = async (name: string) => {
    const at = await opened;
    const item = items.get(name) ?? at?.storage.getItem(itemOf(name, at.tab)) ?? null;
    return item === null && at && inherit ? inherited(at.storage, name, at.tab) : item;
  };
  return {
    get,
    async set(name, value) {
      const at = await opened;
      try {
        at!.storage.setItem(itemOf(name, at!.tab), value);
      } catch {
        items.set(name, value);
      }
    },
    async delete(name) {
      const at = await opened;
      // What a closed tab left would be found next.
      await get(name);
      items.delete(name);
      at?.storage.removeItem(itemOf(name, at.tab));
    },
  };
}
