// One sentence on what happened and why, from what came back.
import { type Answer, isUnknown, noAnswer, tookEffect } from "./answers";
import type { Reply } from "./send";
import { everTookEffect } from "./session";

export const unreadable = "Nothing was sent: the document, the variables or the headers can't be sent.";
export const keyless = "Nothing was sent: this operation has no idempotency key, so sending it again could do it again.";
export const unchangeable = "Nothing was sent: the payload is not in the variables, so change it in the document yourself.";
export const example = `{"Authorization": "Bearer …"}`;
const gaveUp =
  "A new key makes another call: what became of the last one stays unknown, and if it took effect, both will have. It is still in the list.";
const madeAnother = "A new key makes another call: the last one was executed, and both will have been. It is still in the list.";

/** After leaving a key whose last answer did not settle it. */
export const leaving = (key: string): string => (everTookEffect(key) ? madeAnother : gaveUp);

/** What one answer means. */
export function meaning(answer: Answer | undefined): string {
  if (!answer) return "This operation has no idempotency key: nothing keeps it from being done again.";
  const { status, executedAt } = answer;
  if (status === "EXECUTED") return "Nothing was stored under this key, so the mutation was executed, and its result is now stored.";
  if (status === "REPLAYED") return `Nothing was done again: this is the stored result of what was executed at ${time(executedAt)}.`;
  if (isUnknown(answer) && answer.changed && everTookEffect(answer.key))
    return `${status}: this key stands for another payload, so sending this one does nothing; Send again sends the other.`;
  if (isUnknown(answer) && everTookEffect(answer.key))
    return `${status}: sending it again is safe, because the key is the same, and was executed before: it would be replayed.`;
  if (status === noAnswer)
    return "No answer came, so the mutation may have been executed, or not; sending it again is safe, because the key is the same.";
  if (isUnknown(answer))
    return `${status}: it is not known whether the mutation was executed; sending it again is safe, because the key is the same.`;
  if (status === "UNAUTHENTICATED")
    return `The server does not know who you are, and did nothing: put ${example} into Headers, and send it again.`;
  if (status === "IDEMPOTENCY_KEY_REUSED") return "Nothing was done: this key stands for the payload that was sent with it first.";
  if (status === "IDEMPOTENCY_KEY_EXPIRED")
    return "Nothing was done: the mutation was executed longer ago than its result is kept, and a new key would execute it once more.";
  if (status === "IDEMPOTENCY_KEY_REQUIRED") return "Nothing was done: the mutation needs a key, and New key makes one.";
  if (status === "UNKNOWN") return "The answer does not say what became of this key.";
  return `Nothing was done: the server refused it with ${status}.`;
}

/** After sending the same key and payload. */
export function again([answer]: Answer[]): string {
  if (answer?.status !== "REPLAYED") return meaning(answer);
  return `The same key and the same payload: the server did nothing, and replayed the result of what it executed at ${time(answer.executedAt)}.`;
}

/** After sending another payload with the key of the first. */
export function changed([answer]: Answer[]): string {
  if (answer?.status !== "IDEMPOTENCY_KEY_REUSED") return meaning(answer);
  return "The same key with another payload: the server refused it and did nothing, because a key stands for one payload for good.";
}

/** After an answer was dropped, or was lost anyway, and the request was sent again. */
export function lost([first]: Answer[], [second]: Answer[]): string {
  if (!first || !second || !tookEffect(second)) return meaning(second);
  if (second.status === "EXECUTED") return "The first request did not get to the server, so the second was executed: once in all.";
  const executed = Date.parse(second.executedAt!) >= first.at ? "" : " before";
  return `The mutation was executed${executed} at ${time(second.executedAt)}, this page dropped the answer, and sending it again with the same key replayed the result: it was executed once.`;
}

/** After sending the same many times at once. */
export function many(replies: Reply[]): string {
  const answers = replies.flatMap(({ answers }) => answers);
  if (!answers.length) return "All were sent; none has an idempotency key.";
  const counts = Map.groupBy(answers, ({ status }) => status);
  const statuses = [...counts].sort().map(([status, { length }]) => `${length} ${status}`);
  const results = new Set(
    replies
      .filter(({ body }) => Object.values(body?.data ?? {}).some((field) => field !== null))
      .map(({ body }) => JSON.stringify(body.data)),
  );
  const took = Math.max(...replies.map(({ took }) => took)).toFixed(0);
  const safe = answers.some(isUnknown) && !answers.some(tookEffect) ? " Send them again: the key stays the same." : "";
  return `${statuses.join(", ")}; ${results.size} distinct ${results.size === 1 ? "result" : "results"}, in ${took} ms.${safe}`;
}

const time = (at: string | undefined) => new Date(at!).toLocaleTimeString();
