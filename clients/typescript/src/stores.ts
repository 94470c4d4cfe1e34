import type { KeyStore } from "./intents.js";
import { newKey } from "./key.js";

/**
 * Keeps keys over a reload, in sessionStorage. A duplicated tab gets a copy of that,
 * and does not use it. Give each of two servers a name. Where the browser has no Web
 * Locks (outside of secure contexts) or no storage, keys last as long as the page.
 */
export const sessionStore = (server = ""): KeyStore => storeOf("sessionStorage", server);

/**
 * Keeps keys until their outcome is known, in localStorage: a tab that has closed
 * leaves them to the next one in which the same user sends the same intent. Tabs
 * that are open never share one. Without Web Locks or storage as {@link sessionStore}.
 */
export const localStore = (server = ""): KeyStore => storeOf("localStorage", server);

// Each load of a page, each frame and each copy of this package is an owner. Its name
// is that of the tab, which lasts over reloads, and one of its own; it holds a lock on
// that as long as it lives. An item is `onceql:<kind>:<server>:<name>@<owner>`, and its
// owner alone writes it. What a dead owner left belongs to the page of its tab that asks
// for it first; in localStorage, when no page of the tab lives, to that of any tab.
const size = 36; // Of a UUID. None is made as the module loads: React Native may have no crypto yet.
const tabItem = "onceql:tab";
// The owners whose pages this tab has left.
const leftItem = "onceql:left";
const lockOf = (owner: string) => "onceql:" + owner;

// How long a page waits for the one before it to let go of its lock, in milliseconds.
const handOver = 1000;

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

const registry = Symbol.for("onceql");

/** The owners that live in a window of this origin and in its frames. */
function ownersIn(page: any): string[] {
  const owners: string[] = [];
  try {
    owners.push(...(page[registry] ?? []));
  } catch {
    // Of another origin. Its frames may be of this one.
  }
  for (let i = 0; i < page?.length; i++) owners.push(...ownersIn(page[i]));
  return owners;
}

const heldLocks = async () => (await navigator.locks.query()).held!.map((lock) => lock.name!);

/** Holds a lock as long as the page lives; false when another does. */
const hold = (name: string): Promise<boolean> =>
  new Promise((resolve) => {
    const use = (lock: unknown) => (resolve(!!lock), lock && new Promise(() => {}));
    navigator.locks.request(name, { ifAvailable: true }, use).catch(() => resolve(false));
  });

/** What a storage that is full does not take, memory keeps. */
function put(storage: Storage, item: string, value: string) {
  try {
    storage.setItem(item, value);
  } catch {}
}

/** Whether a value's time has come. Its page would have dropped it. */
function isOver(value: string): boolean {
  try {
    return JSON.parse(value).until < Date.now();
  } catch {
    return false;
  }
}

/** What is no name is taken for none: what has it in its own is removed when it is another tab's. */
const tabName = () => sessionStorage.getItem(tabItem)?.match(/^[\da-f-]{36}$/)?.[0];
const left = () => sessionStorage.getItem(leftItem) ?? "";

/**
 * Whether the tab's name is its own. A duplicate has a copy of sessionStorage: the
 * owners in it live in another tab, and are never left in this one.
 */
async function isOurs(tab: string): Promise<boolean> {
  const until = Date.now() + handOver;
  let owners = (await heldLocks()).filter((lock) => lock.startsWith(lockOf(tab))).map((lock) => lock.slice(-2 * size));
  for (;;) {
    const ours = left() + ownersIn(top);
    owners = owners.filter((owner) => !ours.includes(owner));
    if (!owners.length || Date.now() > until) return !owners.length;
    await pause();
  }
}

let claimed: Promise<string> | undefined;

/** Claims the name of a new owner. */
async function claim(): Promise<string> {
  // A page that is prerendered waits here until it is shown, and is in its tab.
  await heldLocks();
  for (;;) {
    const mate = ownersIn(top)[0];
    const tab = mate?.slice(0, size) ?? tabName() ?? newKey();
    put(sessionStorage, tabItem, tab);
    if (mate || (await isOurs(tab))) {
      const owner = tab + newKey();
      ((self as any)[registry] ??= new Set()).add(owner);
      if (!(await hold(lockOf(owner)))) throw owner;
      addEventListener("pagehide", () => {
        put(sessionStorage, tabItem, tab);
        put(sessionStorage, leftItem, (left() + owner).slice(-100 * owner.length));
      });
      return owner;
    }
    // The death of the other tab must not leave us what it takes over itself.
    if (sessionStorage.getItem(tabItem) === tab) sessionStorage.removeItem(tabItem);
    for (const item of Object.keys(sessionStorage)) if (item.includes(tab)) sessionStorage.removeItem(item);
  }
}

type Kind = "sessionStorage" | "localStorage";

const stores = new Map<string, KeyStore>();

function storeOf(kind: Kind, server: string): KeyStore {
  const prefix = `onceql:${kind[0]}:${encodeURIComponent(server)}:`;
  const store = stores.get(prefix) ?? open(kind, prefix);
  stores.set(prefix, store);
  return store;
}

function open(kind: Kind, prefix: string): KeyStore {
  // All that this owner has; what is in storage is for those that follow.
  const items = new Map<string, string>();
  const opened = (async () => {
    const storage = self[kind];
    const owner = await (claimed ??= claim());
    const itemOf = (name: string) => prefix + name + "@" + owner;
    /** Writes again what Storage.clear() took. */
    const keep = () => items.forEach((value, name) => storage.getItem(itemOf(name)) ?? put(storage, itemOf(name), value));
    // Another page's clear() is an event here; this page's own is not.
    for (const event of ["storage", "pagehide"]) addEventListener(event, keep);
    return { storage, tab: owner.slice(0, size), itemOf, keep };
  })().catch(() => undefined);

  /** What dead and dying owners left to this page, that of the newest owner first. */
  async function estate() {
    const at = await opened;
    if (!at) return [];
    // Before the locks: an owner has its lock before it has an item.
    const all = Object.entries<string>(at.storage).filter(([item]) => item.startsWith(prefix));
    const locks = await heldLocks();
    const mates = ownersIn(top);
    return all
      .map(([item, value]) => {
        const owner = item.slice(-2 * size);
        return { item, value, owner, name: item.slice(prefix.length, -2 * size - 1), free: !locks.includes(lockOf(owner)) };
      })
      .filter(({ item, value, owner, free }) => {
        const tab = owner.slice(0, size);
        const ours = tab === at.tab ? !mates.includes(owner) : !locks.some((lock) => lock.startsWith(lockOf(tab)));
        if (!ours || !free || !isOver(value)) return ours;
        at.storage.removeItem(item);
      })
      .sort((a, b) => (a.owner.slice(size) < b.owner.slice(size) ? 1 : -1));
  }

  async function inherit(name: string): Promise<void> {
    const until = Date.now() + handOver;
    const at = await opened;
    while (at && !items.has(name)) {
      const found = (await estate()).filter((one) => one.name === name);
      for (const { item } of found.filter(({ free }) => free)) {
        // The lock is for good: another process may see late that the item is gone.
        if (!(await hold(item))) continue;
        const value = at.storage.getItem(item);
        if (value === null) continue;
        items.set(name, value);
        at.storage.removeItem(item);
        return put(at.storage, at.itemOf(name), value);
      }
      if (found.every(({ free }) => free) || Date.now() > until) return;
      await pause();
    }
  }

  // One after another: the clients of a page share the store.
  let last: Promise<unknown> = opened;
  const get = async (name: string): Promise<string | null> => {
    await (last = last.then(() => inherit(name)).catch(() => {}));
    (await opened)?.keep();
    return items.get(name) ?? null;
  };

  return {
    get,
    async set(name, value) {
      const at = await opened;
      items.set(name, value);
      if (at) put(at.storage, at.itemOf(name), value);
    },
    // What this page has not asked for stays: it may be that of a frame.
    async delete(name) {
      const at = await opened;
      items.delete(name);
      at?.storage.removeItem(at.itemOf(name));
    },
    // A name comes once for each item under it.
    async keys(text = "") {
      const left = (await estate()).map(({ name, value }) => [name, value] as const);
      return [...items, ...left].filter(([, value]) => value.includes(text)).map(([name]) => name);
    },
  };
}
