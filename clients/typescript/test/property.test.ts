import fc from "fast-check";
import { parse } from "graphql";
import { afterAll, beforeAll, expect, test } from "vitest";

import { type Answer, type Call, keyedCalls, type KeyStore, type OpenCall } from "../src/index.js";
import { maxAge, Oracle, settleFor, type SimulatedCall } from "./oracle.js";
import type { Ending } from "../src/outcome.js";
import { Clock, type Health, idle, retryable, Server, Storage } from "./simulation.js";

const document = parse(`mutation ($input: I!, $idempotencyKey: String! = "") {
  create(input: $input, idempotencyKey: $idempotencyKey) { id } }`);

const users = ["ann@here", "bob@here"];
const intents = ["one", "two"];
const payloads = ["payload-a", "payload-b"];
const codes = ["NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "UNAUTHENTICATED", "FORBIDDEN", "INTERNAL", "LIMIT_EXCEEDED", ...retryable];

// A server may forget earlier than its clients think.
const ttl = 2 * settleFor;

/** What a page keeps its keys in: nothing, its memory for each user, or a store. */
type Kind = "page" | "user" | "store" | "storeWithKeys";

type Command =
  | { do: "call"; intent: number; payload: number; newKey: boolean; go: boolean }
  | { do: "answer"; at: number; code: string | undefined; go: boolean }
  | { do: "lose"; at: number; after: boolean; late: boolean; again: boolean }
  | { do: "late"; at: number }
  | { do: "abort"; at: number }
  | { do: "queue"; at: number }
  | { do: "discard"; intent: number; go: boolean }
  | { do: "rebuild"; storeObject: boolean }
  | { do: "health"; health: Health }
  | { do: "pass"; ms: number }
  | { do: "clear" | "reload" | "signIn" | "clearStorage" };

const at = fc.nat(5);
const go = fc.boolean();
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant("call"), intent: fc.nat(4), payload: fc.nat(1), newKey: fc.nat(4).map((n) => n === 4), go }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("answer"), at, code: fc.option(fc.constantFrom(...codes), { nil: undefined, freq: 2 }), go }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("lose"), at, after: go, late: go, again: go }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("late"), at }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("abort"), at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("queue"), at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("discard"), intent: fc.nat(1), go }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("rebuild"), storeObject: go }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("health"),
      health: fc.constantFrom<Health>("fast", 10, 1500, 2400, "hangs", "fails", "failsAfter"),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("pass"), ms: fc.constantFrom(1, 100, 1999, 2000, 5000, ttl, maxAge - 1, maxAge, 2 * maxAge) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom("clear", "reload", "reload", "signIn", "signIn", "clearStorage") }) },
) as fc.Arbitrary<Command>;

interface Request {
  user: string;
  key: string;
  payload: string;
}

class World {
  readonly clock = new Clock();
  readonly server = new Server(this.clock, ttl, 3.5 * maxAge);
  readonly storage = new Storage(this.clock, (text) => {
    for (const secret of [...users, ...payloads]) this.oracle.check("the store tells nothing", !text.includes(secret));
  });
  readonly oracle: Oracle;
  readonly calls: (SimulatedCall & { call?: Call; variables?: Call["variables"]; ofQueue?: boolean })[] = [];
  /** Requests whose call was given up, or tried again: they may still arrive. */
  readonly onTheWay: Request[] = [];
  readonly keys = new Set<string>();
  user = users[0]!;
  /** Whether all has run that could run. */
  isIdle = true;
  page = 0;
  order = 0;
  store: KeyStore | undefined;
  open!: OpenCall;

  constructor(readonly kind: Kind) {
    this.oracle = new Oracle(this.clock, this.storage, kind !== "store");
    this.build(true);
  }

  build(storeObject: boolean): void {
    const { page } = this;
    if (this.kind.startsWith("store") && storeObject)
      this.store = this.storage.open(() => this.page === page, this.kind === "storeWithKeys");
    // Each page has a memory of its own.
    const memory = this.kind === "user" ? `${runs} ${page} ` : "";
    const user = () => memory + this.user;
    this.open = keyedCalls(
      this.store ? { store: this.store, user, maxAge, settleFor } : { ...(this.kind === "user" && { user }), maxAge, settleFor },
    );
  }

  in = (state: SimulatedCall["state"]) => this.calls.filter((call) => call.state === state);

  /** Opens a call of the page; with variables, a queue's. */
  call(intent: string | undefined, payload: string, newKey: boolean, variables: Record<string, unknown> = {}): void {
    const { page, clock, oracle, order, user } = this;
    const controller = new AbortController();
    const one: (typeof this.calls)[number] = { user, intent, payload, newKey, openedAt: clock.now, order, state: "opening", controller };
    one.ofQueue = "idempotencyKey" in variables;
    // A double click whose first click said newKey says it, too.
    one.joinsNewKey = this.in("opening").some(
      (other) => (other.newKey || other.joinsNewKey) && other.user === user && other.intent === intent && other.payload === payload,
    );
    this.calls.push(one);
    if (intent && this.kind !== "page" && this.isIdle) oracle.opened(user, order);
    const context = newKey ? { intent, onPayloadChange: "newKey" as const } : { intent };
    this.open(document, { input: { name: payload }, ...variables }, context, controller.signal).then(
      (call) => {
        if (this.page !== page) return;
        const key = call.variables.idempotencyKey as string;
        Object.assign(one, { state: "sent", key, call, variables: call.variables });
        if (intent) oracle.sent(one, key, this.user);
        else oracle.check("without an intent each call has a key of its own", one.ofQueue || !this.keys.has(key));
        this.keys.add(key);
      },
      (error) => {
        if (this.page !== page) return;
        one.state = "over";
        oracle.rejected(one, error, this.user);
      },
    );
  }

  /** What the server answers to the call. */
  handle({ user, key, payload }: Request, code?: string): Answer {
    const answer = this.server.handle(user, key, payload, code);
    this.oracle.check("the server sees no key with two payloads", answer.errors?.[0]?.extensions?.code !== "IDEMPOTENCY_KEY_REUSED");
    return answer;
  }

  resolve(one: (typeof this.calls)[number], answer: Answer): void {
    one.state = "over";
    this.oracle.ended(one, endingOf(answer), one.ofQueue);
    one.call!.resolve(answer);
  }

  async do(command: Command): Promise<void> {
    await this.happen(command);
    // What a queue was told is known a moment later.
    this.isIdle = !("go" in command) || command.go || this.calls.some(({ ofQueue }) => ofQueue);
    if (!this.isIdle) return;
    await idle();
    if (!this.storage.hasFailed && !this.storage.pending) this.oracle.waiting(this.in("opening"));
  }

  async happen(command: Command): Promise<void> {
    this.oracle.order = ++this.order;
    const { oracle, onTheWay } = this;
    switch (command.do) {
      case "call":
        this.call(intents[command.intent % 3], payloads[command.payload]!, command.newKey);
        break;
      case "answer": {
        const one = pick(this.in("sent"), command.at);
        if (one) this.resolve(one, this.handle(request(one), command.code));
        break;
      }
      case "lose": {
        const one = pick(this.in("sent"), command.at);
        if (!one) break;
        if (command.after) this.handle(request(one));
        else if (command.late) onTheWay.push(request(one));
        if (!command.again) this.resolve(one, {});
        break;
      }
      case "late": {
        const one = pick(onTheWay, command.at);
        if (one) (onTheWay.splice(onTheWay.indexOf(one), 1), this.handle(one));
        break;
      }
      case "abort": {
        const one = pick([...this.in("opening"), ...this.in("sent")], command.at);
        one?.controller.abort(new Error("left"));
        if (one?.state === "sent") (onTheWay.push(request(one)), this.resolve(one, {}));
        else if (one) {
          await idle();
          oracle.check("an aborted call ends at once", one.state !== "opening");
        }
        break;
      }
      case "queue": {
        const one = pick(
          this.calls.filter(({ key, user }) => key && user === this.user),
          command.at,
        );
        if (one) this.call(undefined, one.payload, false, one.variables);
        break;
      }
      case "discard":
      case "clear": {
        const intent = command.do === "discard" ? intents[command.intent]! : undefined;
        const { page } = this;
        const gone = oracle.discarding(this.user, intent);
        (intent ? this.open.discard(intent) : this.open.clear()).then(
          () => this.page === page && gone(this.order),
          () => {
            if (this.page !== page) return;
            gone(undefined);
            oracle.check("discard fails only with the store", this.storage.hasFailed);
          },
        );
        break;
      }
      case "reload":
        await idle();
        for (const one of this.in("opening")) oracle.unsentOf.add(`${one.user} ${one.intent}`);
        for (const one of this.in("sent")) onTheWay.push(request(one));
        for (const one of this.calls) one.state = "over";
        this.page++;
        oracle.reloaded(!!this.store, this.order);
        this.storage.pending = 0;
        this.build(true);
        break;
      case "rebuild":
        await idle();
        // What waits in the memory that is given up, and what comes after, do not know of each other.
        if ((this.kind === "page" || command.storeObject) && (this.in("opening").length || this.storage.pending)) break;
        if (this.kind === "page") oracle.reloaded(false, this.order);
        else if (this.store && command.storeObject) oracle.divided();
        this.build(command.storeObject);
        break;
      case "signIn":
        // Without a user the helper can't tell.
        if (this.kind === "page") break;
        // A key that was given a moment ago is on its way.
        await idle();
        this.user = users[1 - users.indexOf(this.user)]!;
        oracle.signedIn();
        break;
      case "clearStorage":
        await idle();
        this.storage.items.clear();
        oracle.cleared();
        break;
      case "health":
        this.storage.health = command.health;
        break;
      case "pass":
        await this.clock.advance(command.ms);
        break;
    }
  }

  /** All answers come, time passes: nothing waits, and nothing is left. */
  async end(): Promise<void> {
    this.oracle.order = ++this.order;
    const { oracle, clock, storage } = this;
    storage.health = "fast";
    const answerAll = async () => {
      for (let round = 0; round < 100 && this.calls.some(({ state }) => state !== "over"); round++) {
        await clock.advance(10_000);
        for (const one of this.in("sent")) this.resolve(one, this.handle(request(one)));
      }
      oracle.check(
        "nothing hangs",
        this.calls.every(({ state }) => state === "over"),
      );
    };
    await answerAll();
    for (const user of this.kind === "page" ? users.slice(0, 1) : users) {
      this.user = user;
      oracle.signedIn();
      for (const intent of intents) {
        this.call(intent, payloads[0]!, false);
        this.call(intent, payloads[1]!, false);
        await answerAll();
        this.call(intent, payloads[0]!, true);
        await idle();
        oracle.check("the next call goes out", this.calls.at(-1)!.state === "sent");
        await answerAll();
        oracle.check("nothing is unsettled", (await this.open.unsettled(intent)) === undefined);
      }
    }
    await idle();
    oracle.check("nothing is left in the store", storage.items.size === 0);
  }
}

const pick = <T>(from: T[], at: number): T | undefined => from[at % from.length];
const request = ({ user, key, payload }: SimulatedCall): Request => ({ user, key: key!, payload });

function endingOf({ errors, extensions }: Answer): Ending {
  if (extensions) return "executed";
  const code = errors?.[0]!.extensions!.code;
  if (code === "IDEMPOTENCY_KEY_EXPIRED") return "expired";
  return code === "NOT_FOUND" ? "refused" : "unknown";
}

let runs = 0;
let clock: Clock;
// Not spies: those remember each of some million calls.
const real = { now: Date.now, timeout: AbortSignal.timeout, getRandomValues: crypto.getRandomValues };
beforeAll(() => {
  Date.now = () => clock.now;
  AbortSignal.timeout = (ms) => clock.timeout(ms);
  // Of many keys most of the time goes here.
  let random = 1;
  crypto.getRandomValues = (bytes) => {
    (bytes as unknown as Uint8Array)[0] = (random = (random * 16807) % 2147483647) >> 8;
    return bytes;
  };
});
afterAll(() => {
  Date.now = real.now;
  AbortSignal.timeout = real.timeout;
  crypto.getRandomValues = real.getRandomValues;
});

test("whatever happens, an intent keeps its promises", async () => {
  const property = fc.asyncProperty(
    fc.constantFrom<Kind>("page", "user", "store", "storeWithKeys"),
    fc.array(command, { maxLength: 40, size: "max" }),
    async (kind, commands) => {
      runs++;
      const world = new World(kind);
      ({ clock } = world);
      for (const command of commands) {
        await world.do(command);
        if (world.oracle.violations.length) break;
      }
      if (!world.oracle.violations.length) await world.end();
      expect(world.oracle.violations).toEqual([]);
    },
  );
  // CI runs the same ones each time; who looks for more gives another seed.
  const { RUNS = 2000, SEED = 1 } = process.env;
  await fc.assert(property, { numRuns: Number(RUNS), seed: Number(SEED) });
}, 600_000);
