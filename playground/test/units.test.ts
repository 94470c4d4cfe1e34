import { describe, expect, test } from "vitest";

import { type Answer, keyState } from "../src/answers";
import { otherPayload } from "../src/payload";

const answer = (send: number, status: string, more: Partial<Answer> = {}): Answer => ({
  send,
  status,
  field: "f",
  key: "k",
  at: 0,
  took: 0,
  ...more,
});

describe("what is known of a key", () => {
  test.each<[string, "new" | "unsettled" | "settled", Answer[]]>([
    ["nothing was sent", "new", []],
    ["it executed", "settled", [answer(1, "EXECUTED")]],
    ["the answer is awaited", "unsettled", [answer(1, "SENT")]],
    ["a replay after a lost answer", "settled", [answer(1, "NO ANSWER"), answer(2, "REPLAYED")]],
    ["one of many was answered, in any order", "settled", [answer(1, "EXECUTED"), answer(1, "NO ANSWER"), answer(1, "HTTP 502")]],
    ["a lost answer after a replay", "unsettled", [answer(1, "REPLAYED"), answer(2, "NO ANSWER")]],
    ["what no list has, but may be sent again", "unsettled", [answer(1, "LIMIT_EXCEEDED", { retryable: true })]],
    ["still at work", "unsettled", [answer(1, "IDEMPOTENCY_IN_PROGRESS")]],
    ["refused for its payload", "settled", [answer(1, "NO ANSWER"), answer(2, "BAD_USER_INPUT")]],
    ["another payload was refused", "unsettled", [answer(1, "NO ANSWER"), answer(2, "BAD_USER_INPUT", { changed: true })]],
    [
      "the key was used with another payload",
      "unsettled",
      [answer(1, "NO ANSWER"), answer(2, "IDEMPOTENCY_KEY_REUSED", { changed: true })],
    ],
    ["another token is needed", "unsettled", [answer(1, "HTTP 503"), answer(2, "UNAUTHENTICATED")]],
    ["another token was needed from the first", "new", [answer(1, "UNAUTHENTICATED")]],
    ...["HTTP 408", "HTTP 429", "HTTP 500"].map((status) => [status, "unsettled", [answer(1, status)]] as [string, "unsettled", Answer[]]),
    // Of a key of another page, too.
    ...[
      "IDEMPOTENCY_KEY_REUSED",
      "FORBIDDEN",
      "INTERNAL",
      "GRAPHQL_VALIDATION_FAILED",
      "LIMIT_EXCEEDED",
      "PERSISTED_QUERY_NOT_SUPPORTED",
      "UNKNOWN",
      "HTTP 404",
    ].flatMap((status) => [
      [status, "new", [answer(1, status)]] as [string, "new", Answer[]],
      [`${status} after a lost answer`, "unsettled", [answer(1, "NO ANSWER"), answer(2, status)]] as [string, "unsettled", Answer[]],
    ]),
    ["it took effect long ago", "settled", [answer(1, "NO ANSWER"), answer(2, "IDEMPOTENCY_KEY_EXPIRED")]],
  ])("%s: %s", (_, state, answers) => expect(keyState(answers)).toBe(state));
});

describe("another payload", () => {
  test.each([
    [`{"input": {"name": "a"}, "k": "x"}`, `{"input": {"name": "a changed"}, "k": "x"}`],
    // Comments and large numbers stay, and ids where there is something else.
    [
      `{"k": "x", /* why */ "input": {"id": "a", "big": 12345678901234567890, "name": "b"}}`,
      `{"k": "x", /* why */ "input": {"id": "a", "big": 12345678901234567890, "name": "b changed"}}`,
    ],
    [`{"input": {"projectId": "a", "count": 3}}`, `{"input": {"projectId": "a", "count": 4}}`],
    [`{"list": [{"done": true}, null]}`, `{"list": [{"done": false}, null]}`],
    [`{"id": "a", "done": true}`, `{"id": "a", "done": false}`],
    [`{"id": "a"}`, `{"id": "a changed"}`],
    [`{"k": "x", "input": {"none": null, "list": []}}`, undefined],
    [``, undefined],
    [`{"input": `, undefined],
  ])("%s", (text, other) => expect(otherPayload(text, ["k"])).toBe(other));
});
