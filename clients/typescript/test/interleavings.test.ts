import type { Page } from "playwright-core";
import { expect, test } from "vitest";

import { addFrame, clearStorage, close, duplicate, get, keys, Origin, type Place, remove, set, type Window } from "./origin.js";

const steps = Number(process.env.STEPS ?? 60);
const seeds = (process.env.SEEDS ?? "1 2 3").split(" ").map(Number);

const origin = new Origin();

/** Values under `kind/name`, that no live page has. */
class Orphans {
  readonly #values = new Map<string, Set<string>>();
  of(key: string): Set<string> {
    if (!this.#values.has(key)) this.#values.set(key, new Set());
    return this.#values.get(key)!;
  }
  addAll(other: Iterable<[string, Iterable<string>]>) {
    for (const [key, values] of other) for (const value of values) this.of(key).add(value);
  }
  clear(kind: string) {
    for (const [key, values] of this.#values) if (key.startsWith(kind)) values.clear();
  }
  [Symbol.iterator]() {
    return this.#values[Symbol.iterator]();
  }
}

/** What one load of a window must find again: values under `kind/name`, by the copy of the package. */
interface Loaded {
  window: Window;
  copies: Record<"first" | "second", Map<string, string>>;
}

class Tab {
  readonly orphans = new Orphans();
  loaded: Loaded[] = [];
  constructor(readonly page: Page) {
    this.load(page);
  }
  load(window: Window) {
    this.loaded.push({ window, copies: { first: new Map(), second: new Map() } });
  }
  /** The windows die and leave what they had. */
  unload(dead: Loaded[]) {
    this.loaded = this.loaded.filter((loaded) => !dead.includes(loaded));
    for (const { copies } of dead) {
      for (const values of Object.values(copies)) this.orphans.addAll([...values].map(([key, value]) => [key, [value]]));
    }
  }
}

/** Tabs, and what the stores in them must hold. */
class Model {
  tabs: Tab[] = [];
  /** What closed tabs left in localStorage. */
  readonly #closed = new Orphans();
  #values = 0;
  readonly log: string[] = [];

  constructor(readonly random: (below: number) => number) {}

  pick<T>(from: readonly T[]): T {
    return from[this.random(from.length)]!;
  }

  async open(): Promise<void> {
    this.tabs.push(new Tab(await origin.visit()));
  }

  async step(): Promise<void> {
    const tab = this.pick(this.tabs);
    const { page } = tab;
    const frames = tab.loaded.filter(({ window }) => window !== page);
    const frame = frames.length ? this.pick(frames) : undefined;
    const action = this.random(20);
    const say = (what: string) => this.log.push(`tab ${this.tabs.indexOf(tab)} of ${this.tabs.length}: ${what}`);
    if (action === 0 && this.tabs.length < 4) {
      say("another is opened");
      await this.open();
    } else if (action === 1 && this.tabs.length < 4) {
      say("duplicated");
      const copy = await duplicate(page);
      await keys(copy);
      this.tabs.push(new Tab(copy));
    } else if (action <= 4) {
      say("reloaded");
      tab.unload(tab.loaded);
      await page.reload();
      tab.load(page);
      // An application opens its store when it starts.
      await keys(page);
    } else if (action === 5 && this.tabs.length > 1) {
      say("closed");
      this.tabs = this.tabs.filter((other) => other !== tab);
      await close(page, this.tabs[0]!.page);
      tab.unload(tab.loaded);
      tab.orphans.clear("sessionStore");
      this.#closed.addAll(tab.orphans);
    } else if (action <= 7 && frames.length < 3) {
      say("gets a frame");
      tab.load(await addFrame(page));
    } else if (action === 8 && frame) {
      say("loses a frame");
      await (await (frame.window as any).frameElement()).evaluate((element: Element) => element.remove());
      tab.unload([frame]);
    } else if (action === 9 && frame) {
      say("reloads a frame");
      await frame.window.goto(origin.url + "again");
      tab.unload([frame]);
      tab.load(frame.window);
    } else if (action === 10) {
      say("clears its storage");
      await clearStorage(page);
      // What no live page has is nowhere else.
      tab.orphans.clear("sessionStore");
      for (const orphans of [this.#closed, ...this.tabs.map(({ orphans }) => orphans)]) orphans.clear("localStore");
    } else {
      await this.use(tab, action, say);
    }
  }

  /** Sets, deletes or gets an item. */
  async use(tab: Tab, action: number, say: (what: string) => void): Promise<void> {
    const kind = this.pick(["sessionStore", "localStore"] as const);
    const copy = this.pick(["first", "first", "second"] as const);
    const name = this.pick(["n", "m"]);
    const loaded = this.pick(tab.loaded);
    const place: Place = { kind, copy };
    const own = loaded.copies[copy];
    const key = kind + name;
    const where = `${loaded.window === tab.page ? "page" : "frame"} ${tab.loaded.indexOf(loaded)} ${copy} ${key}`;
    const left = [tab.orphans.of(key), ...(kind === "localStore" ? [this.#closed.of(key)] : [])];
    if (action <= 13) {
      const value = String(++this.#values);
      say(`${where} = ${value}`);
      await set(loaded.window, name, value, place);
      own.set(key, value);
    } else if (action === 14) {
      say(`${where} deleted`);
      await remove(loaded.window, name, place);
      own.delete(key);
    } else {
      let value = await get(loaded.window, name, place);
      // What a tab wrote as it closed comes to another process a little later.
      if (kind === "localStore" && this.#closed.of(key).size) {
        await expect.poll(async () => (value = await get(loaded.window, name, place)), { timeout: 30_000 }).not.toBeNull();
      }
      say(`${where} is ${value}`);
      if (own.has(key)) return expect(value).toBe(own.get(key));
      const expected = left.flatMap((values) => [...values]);
      expect(expected.length ? expected : [null]).toContain(value);
      if (value === null) return;
      for (const values of left) values.delete(value);
      own.set(key, value);
    }
  }
}

test.each(seeds)("tabs, frames and copies never share an item and never lose one: seed %s", { timeout: 600_000 }, async (seed) => {
  let state = seed;
  // Mulberry32.
  const random = (below: number) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
  const model = new Model(random);
  try {
    await model.open();
    for (let i = 0; i < steps; i++) await model.step();
  } catch (error) {
    throw new Error(model.log.join("\n"), { cause: error });
  }
});
