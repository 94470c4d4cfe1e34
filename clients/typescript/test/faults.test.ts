import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

import type { Outcome } from "../src/index.js";
import { bare, createProject, helped, type Seen } from "./clients.js";
import { type Fault, Proxy } from "./proxy.js";
import { effects, server } from "./server.js";

let proxy: Proxy;
let name: string;
beforeAll(async () => void (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  proxy.reset();
});

/** A user who sends again what failed, until it does not, four times at most. */
async function insist(send: () => Promise<Seen>): Promise<Seen> {
  let seen = await send();
  for (let again = 0; seen.error && again < 3; again++) seen = await send();
  return seen;
}

// What the network does to the tries of one submission; how many projects a client
// without the helpers makes of it, and how many requests it takes one with them.
const table: { faults: Fault[]; unhelped: number; requests: number; status: string }[] = [
  { faults: [], unhelped: 1, requests: 1, status: "EXECUTED" },
  { faults: ["slow"], unhelped: 1, requests: 1, status: "EXECUTED" },
  { faults: ["cutBefore"], unhelped: 1, requests: 2, status: "EXECUTED" },
  { faults: ["cutAfter"], unhelped: 2, requests: 2, status: "REPLAYED" },
  { faults: ["cutWithin"], unhelped: 2, requests: 2, status: "REPLAYED" },
  { faults: ["cutAfter", "cutBefore", "cutAfter"], unhelped: 3, requests: 4, status: "REPLAYED" },
  { faults: ["unavailable"], unhelped: 1, requests: 2, status: "EXECUTED" },
  { faults: ["gateway"], unhelped: 1, requests: 2, status: "EXECUTED" },
  { faults: ["unavailable", "cutAfter"], unhelped: 2, requests: 3, status: "REPLAYED" },
  { faults: ["retryable"], unhelped: 2, requests: 2, status: "REPLAYED" },
];

describe.each(Object.keys(helped))("%s", (client) => {
  test.each(table)("$faults take effect once", async ({ faults, requests, status }) => {
    const outcomes: Outcome[] = [];
    const { mutate } = helped[client]!(proxy.url, { onOutcome: (outcome) => outcomes.push(outcome) });
    const before = proxy.arrived.length;
    proxy.faults = [...faults];
    const seen = await mutate(createProject, { input: { name } });

    expect(await effects(name)).toBe(1);
    expect(seen).toEqual({ ids: [expect.any(String)], statuses: [status], error: undefined });
    expect(outcomes).toMatchObject([
      { outcome: status.toLowerCase(), field: "createProject", key: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    ]);
    const keys = proxy.arrived.slice(before).map(({ variables }) => variables.idempotencyKey);
    expect(keys).toEqual(Array(requests).fill(outcomes[0]!.key));
  });

  test.each(table)("$faults without the helpers make $unhelped", async ({ faults, unhelped }) => {
    const { mutate } = bare[client]!(proxy.url);
    proxy.faults = [...faults];
    await insist(() => mutate(createProject, { input: { name } }));
    expect(await effects(name)).toBe(unhelped);
  });

  test("a user who insists after the last retry gets the first result", async () => {
    const outcomes: Outcome[] = [];
    const { mutate } = helped[client]!(proxy.url, { onOutcome: (outcome) => outcomes.push(outcome) });
    proxy.faults = Array<Fault>(6).fill("cutAfter");
    const send = () => mutate(createProject, { input: { name } }, { intent: name });
    expect(await send()).toEqual({ ids: [], statuses: [], error: expect.any(String) });
    expect(await send()).toMatchObject({ statuses: ["REPLAYED"], error: undefined });
    expect(await effects(name)).toBe(1);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["unknown", "replayed"]);
    expect(outcomes[0]!.key).toBe(outcomes[1]!.key);
  });

  test("a server that answers with `retryable` to the end is told as it answered", async () => {
    const outcomes: Outcome[] = [];
    const { mutate } = helped[client]!(proxy.url, { onOutcome: (outcome) => outcomes.push(outcome) });
    proxy.faults = Array<Fault>(6).fill("retryable");
    expect(await mutate(createProject, { input: { name } })).toEqual({ ids: [], statuses: [], error: "UNAVAILABLE" });
    expect(proxy.faults).toEqual([]);
    expect(outcomes).toMatchObject([{ outcome: "unknown", error: { extensions: { code: "UNAVAILABLE" } } }]);
  });

  test("a refusal is final and sent once", async () => {
    const outcomes: Outcome[] = [];
    const { mutate } = helped[client]!(proxy.url, { onOutcome: (outcome) => outcomes.push(outcome) });
    const before = proxy.arrived.length;
    expect(await mutate(createProject, { input: { name: "" } })).toMatchObject({ error: "BAD_USER_INPUT" });
    expect(proxy.arrived.length - before).toBe(1);
    expect(outcomes).toMatchObject([{ outcome: "refused", error: { extensions: { code: "BAD_USER_INPUT" } } }]);
  });

  test("a mutation without a key is sent once", async () => {
    const { mutate } = helped[client]!(proxy.url);
    const before = proxy.arrived.length;
    proxy.faults = ["cutBefore"];
    const unkeyed = `mutation Create($input: CreateProjectInput!) { createProject(input: $input, idempotencyKey: "literal") { project { id } } }`;
    expect(await mutate(unkeyed, { input: { name } })).toMatchObject({ ids: [], error: expect.any(String) });
    expect(proxy.arrived.length - before).toBe(1);
  });
});
