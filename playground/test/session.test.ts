// The list of calls, and what answers make of it, without a page.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Request } from "../src/document";
import { send, showing } from "../src/send";
import { beginAnew, callOf, current, forgetCalls, put, type Call } from "../src/session";

const request = (name: string, key = "k"): Request => ({
  query: `mutation ($input: I!, $key: String!) { createProject(input: $input, idempotencyKey: $key) { id } }`,
  variables: { input: { name }, key },
});
const answered = (status: string) =>
  new Response(
    JSON.stringify({
      data: { createProject: {} },
      extensions: { idempotency: { createProject: { status, executedAt: "2026-01-02T03:04:05Z" } } },
    }),
  );

const sent = vi.fn<() => Promise<Response>>();
beforeEach(() => {
  beginAnew();
  vi.stubGlobal("fetch", sent);
});
afterEach(() => void vi.unstubAllGlobals());

const call = (key: string, status: string): Call => ({
  ...request("a", key),
  ...{ key, operation: "createProject", payload: "{}" },
  answers: [{ send: 1, field: "createProject", key, status, at: 0, took: 0 }],
});

describe("of more calls than the list has", () => {
  const calls = Array.from({ length: 150 }, (_, i) => call(`k${i}`, i % 50 === 49 ? "NO ANSWER" : "EXECUTED"));

  test("the oldest go, but for those whose outcome is unknown", () => {
    put(calls);
    expect(current().calls.map(({ key }) => key)).toEqual([...calls.slice(0, 100).map(({ key }) => key), "k149"]);
  });

  test("those whose outcome is unknown stay when the list is emptied", () => {
    put(calls);
    forgetCalls();
    expect(current().calls.map(({ key }) => key)).toEqual(["k49", "k99", "k149"]);
  });
});

test("the payload that took effect is the key's, whichever was sent first", async () => {
  sent.mockRejectedValueOnce(new TypeError("no network"));
  await send("tab", request("first"), {});
  expect(callOf("k")).toMatchObject({ variables: { input: { name: "first" } }, answers: [{ status: "NO ANSWER" }] });
  sent.mockResolvedValueOnce(answered("EXECUTED"));
  await send("tab", request("second"), {});
  expect(callOf("k")).toMatchObject({ variables: { input: { name: "second" } }, payload: '{"input":{"name":"second"}}' });
});

test("what was sent last is shown, whatever is answered last", async () => {
  const show = (status: string) => {
    let answer = () => {};
    sent.mockReturnValueOnce(new Promise((resolve) => (answer = () => resolve(answered(status)))));
    const shown = showing("tab", async () => ({ reply: (await send("tab", request("a"), {}))[0]!, sentence: status }));
    return { answer, shown };
  };
  const [first, second] = [show("EXECUTED"), show("REPLAYED")];
  second.answer();
  await second.shown;
  first.answer();
  await first.shown;
  expect(current().shown.tab).toMatchObject({ sentence: "REPLAYED", answers: [{ status: "REPLAYED" }] });
});
