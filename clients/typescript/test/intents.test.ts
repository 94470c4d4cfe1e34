import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { KeyStore, Options, Outcome } from "../src/index.js";
import { createProject, helped } from "./clients.js";
import { type Fault, Proxy } from "./proxy.js";
import { effects, server } from "./server.js";

const twoProjects = `mutation Two($a: CreateProjectInput!, $b: CreateProjectInput!, $keyA: String! = "", $keyB: String! = "") {
  first: createProject(input: $a, idempotencyKey: $keyA) { project { id } }
  second: createProject(input: $b, idempotencyKey: $keyB) { project { id } }
}`;

const updateProject = `mutation Update($input: UpdateProjectInput!, $idempotencyKey: String! = "") {
  updateProject(input: $input, idempotencyKey: $idempotencyKey) { project { id version } }
}`;

let proxy: Proxy;
let name: string;
let outcomes: Outcome[];
const options: Options = { onOutcome: (outcome) => outcomes.push(outcome) };
beforeAll(async () => void (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  outcomes = [];
  proxy.faults = [];
});

/** Leaves the next call's outcome unknown: the work is done, no try gets its answer. */
const loseAnswers = () => void (proxy.faults = Array<Fault>(6).fill("cutAfter"));
const keys = () => outcomes.map(({ key }) => key);
/** The store as a page has it that was opened later. */
const reopened = (map: Map<string, string>): KeyStore => ({
  get: (name) => map.get(name),
  set: (name, value) => map.set(name, value),
  delete: (name) => map.delete(name),
  keys: () => map.keys(),
});

describe.each(Object.keys(helped))("%s", (client) => {
  test("a double click makes one project", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    proxy.faults = ["slow", "slow"];
    const click = () => mutate(createProject, { input: { name } }, { intent: "create" });
    const [first, second] = await Promise.all([click(), click()]);
    expect(second!.ids).toEqual(first!.ids);
    expect([first!.statuses[0], second!.statuses[0]].sort()).toEqual(["EXECUTED", "REPLAYED"]);
    expect(await effects(name)).toBe(1);
  });

  test("calls without an intent, and an intent that has settled, are new each time", async () => {
    const { mutate } = helped[client]!(proxy.url, { ...options, settleFor: 0 });
    const twice = async (intent?: string) => {
      await mutate(createProject, { input: { name } }, { intent });
      await mutate(createProject, { input: { name } }, { intent });
    };
    await twice();
    await twice("create");
    expect(await effects(name)).toBe(4);
    expect(new Set(keys()).size).toBe(4);
  });

  test("an edit after an unknown outcome asks, and sends nothing", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    loseAnswers();
    await mutate(createProject, { input: { name } }, { intent: "create" });
    const arrived = proxy.arrived.length;
    const edited = { input: { name, description: "edited" } };
    expect(await mutate(createProject, edited, { intent: "create" })).toEqual({ ids: [], statuses: [], error: "UnsettledError" });
    expect(proxy.arrived.length).toBe(arrived);
    expect(await effects(name)).toBe(1);

    // The user says that it is another project.
    expect(await mutate(createProject, edited, { intent: "create", onPayloadChange: "newKey" })).toMatchObject({ statuses: ["EXECUTED"] });
    expect(await effects(name)).toBe(2);
    expect(new Set(keys()).size).toBe(2);
    // That was resolved: a third one is new.
    expect(await mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["EXECUTED"] });
  });

  test("an edit of a literal in the document asks too", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    const document = (description: string) => `mutation M($name: String!, $idempotencyKey: String! = "") {
      createProject(input: { name: $name, description: "${description}" }, idempotencyKey: $idempotencyKey) { project { id } } }`;
    loseAnswers();
    await mutate(document("one"), { name }, { intent: "create" });
    expect(await mutate(document("two"), { name }, { intent: "create" })).toMatchObject({ error: "UnsettledError" });
    expect(await mutate("# moved\n" + document("one"), { name }, { intent: "create" })).toMatchObject({ statuses: ["REPLAYED"] });
  });

  test("`newKey` sends an edit at once", async () => {
    const { mutate } = helped[client]!(proxy.url, { ...options, onPayloadChange: "newKey" });
    loseAnswers();
    await mutate(createProject, { input: { name } }, { intent: "create" });
    expect(await mutate(createProject, { input: { name, description: "edited" } }, { intent: "create" })).toMatchObject({
      statuses: ["EXECUTED"],
    });
    expect(await effects(name)).toBe(2);
  });

  test("an intent older than maxAge asks", async () => {
    const store = new Map<string, string>();
    loseAnswers();
    await helped[client]!(proxy.url, { store, user: () => "ann" }).mutate(createProject, { input: { name } }, { intent: "create" });
    const late = helped[client]!(proxy.url, { store, user: () => "ann", maxAge: 0 });
    expect(await late.mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ error: "UnsettledError" });
  });

  test("a refused payload may be corrected", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    expect(await mutate(createProject, { input: { name: "" } }, { intent: "create" })).toMatchObject({ error: "BAD_USER_INPUT" });
    expect(await mutate(createProject, { input: { name: 1 } }, { intent: "create" })).toMatchObject({
      error: expect.stringMatching(/BAD_USER_INPUT|GRAPHQL_VALIDATION_FAILED/),
    });
    expect(await mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["EXECUTED"] });
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["refused", "refused", "executed"]);
  });

  test("an edit of a version that is no more is refused, and may be made on today's", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    const [id] = (await mutate(createProject, { input: { name } })).ids;
    const edit = (ifVersion: number, to: string) =>
      mutate(updateProject, { input: { id, ifVersion, name: `${name} ${to}` } }, { intent: `rename/${id}` });
    // A retry is no conflict with what the lost answer told of.
    proxy.faults = ["cutAfter"];
    expect(await edit(1, "first")).toMatchObject({ statuses: ["REPLAYED"] });
    expect(await edit(1, "second")).toMatchObject({ statuses: [], error: "CONFLICT" });
    expect(outcomes.at(-1)).toMatchObject({ outcome: "refused", error: { extensions: { currentVersion: 2 } } });
    expect(await edit(2, "second")).toMatchObject({ statuses: ["EXECUTED"] });
  });

  test("a refusal of the request keeps the key of an earlier try", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    loseAnswers();
    await mutate(createProject, { input: { name } }, { intent: "create" });
    // As after a deployment: the front end asks for a field that is no more.
    const stale = createProject.replace("id name", "id gone");
    expect(await mutate(stale, { input: { name } }, { intent: "create" })).toMatchObject({ error: "GRAPHQL_VALIDATION_FAILED" });
    expect(await mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["REPLAYED"] });
    expect(await effects(name)).toBe(1);
  });

  test("the caller's own key wins, and is refused for another payload", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    const own = "own-" + name;
    expect(await mutate(createProject, { input: { name }, idempotencyKey: own })).toMatchObject({ statuses: ["EXECUTED"] });
    expect(await mutate(createProject, { input: { name }, idempotencyKey: own }, { intent: "create" })).toMatchObject({
      statuses: ["REPLAYED"],
    });
    expect(await mutate(createProject, { input: { name: name + "!" }, idempotencyKey: own })).toMatchObject({
      error: "IDEMPOTENCY_KEY_REUSED",
    });
    expect(keys()).toEqual([own, own, own]);
    expect(await effects(name)).toBe(1);
  });

  test("each keyed field of a document has a key of its own", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    proxy.faults = ["cutAfter"];
    const variables = { a: { name }, b: { name } };
    expect(await mutate(twoProjects, variables)).toMatchObject({ statuses: ["REPLAYED", "REPLAYED"], error: undefined });
    expect(outcomes.map(({ field }) => field)).toEqual(["first", "second"]);
    expect(new Set(keys()).size).toBe(2);
    expect(await effects(name)).toBe(2);
  });

  test("what took effect is not repeated when the rest is refused", async () => {
    const { mutate } = helped[client]!(proxy.url, options);
    const variables = { a: { name }, b: { name: "" } };
    expect(await mutate(twoProjects, variables, { intent: "two" })).toMatchObject({ statuses: ["EXECUTED"], error: "BAD_USER_INPUT" });
    expect(await mutate(twoProjects, variables, { intent: "two" })).toMatchObject({ statuses: ["REPLAYED"], error: "BAD_USER_INPUT" });
    expect(await mutate(twoProjects, { ...variables, b: { name: "corrected" } }, { intent: "two" })).toMatchObject({
      error: "UnsettledError",
    });
    expect(await effects(name)).toBe(1);
  });

  test("a store keeps the key for the next page, under the user who sent it", async () => {
    const store = new Map<string, string>();
    const page = (user: string) => helped[client]!(proxy.url, { ...options, store: reopened(store), user: () => user });
    loseAnswers();
    await page("ann").mutate(createProject, { input: { name } }, { intent: "create" });
    expect(await page("bob").mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["EXECUTED"] });
    expect(await page("ann").mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["REPLAYED"] });
    expect(await effects(name)).toBe(2);
    await expect.poll(() => store).toEqual(new Map());
  });

  test.each([
    ["another has signed in", () => "bob"],
    ["it can't be told who is signed in", () => (undefined as unknown as { id: string }).id],
  ])("a call is not tried again once %s, and is still its user's", async (_, next) => {
    // Ann goes when the first request has arrived.
    let before = proxy.arrived.length;
    const user = () => (proxy.arrived.length > before ? next() : "ann");
    const { mutate } = helped[client]!(proxy.url, { ...options, store: new Map<string, string>(), user });
    for (const intent of ["create", undefined]) {
      before = proxy.arrived.length;
      proxy.faults = ["cutAfter"];
      expect(await mutate(createProject, { input: { name } }, { intent })).toEqual({ ids: [], statuses: [], error: "Error" });
      expect(proxy.arrived.length).toBe(before + 1);
    }
    before = Infinity;
    expect(await mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ statuses: ["REPLAYED"] });
    expect(await effects(name)).toBe(2);
  });

  test("a queue that sends a stored key again resolves its intent", async () => {
    const store = new Map<string, string>();
    const page = () => helped[client]!(proxy.url, { ...options, store: reopened(store), user: () => "ann" });
    loseAnswers();
    await page().mutate(createProject, { input: { name } }, { intent: "create" });
    expect(store.size).toBe(1);
    expect(await page().mutate(createProject, { input: { name }, idempotencyKey: keys()[0] })).toMatchObject({ statuses: ["REPLAYED"] });
    await expect.poll(() => store).toEqual(new Map());
  });

  test("nothing of a payload is stored", async () => {
    const store = new Map<string, string>();
    loseAnswers();
    await helped[client]!(proxy.url, { store, user: () => "ann" }).mutate(
      createProject,
      { input: { name, description: "secret" } },
      { intent: "create" },
    );
    expect(store.size).toBe(1);
    expect(JSON.stringify([...store])).not.toMatch(new RegExp(`secret|ann|${name}`));
  });

  test("a store that fails fails the call before it is sent", async () => {
    const full = () => {
      throw new RangeError("full");
    };
    const { mutate } = helped[client]!(proxy.url, { store: { get: () => null, set: full, delete: full }, user: () => "ann" });
    expect(await mutate(createProject, { input: { name } }, { intent: "create" })).toMatchObject({ error: "RangeError" });
    expect(await effects(name)).toBe(0);
  });
});
