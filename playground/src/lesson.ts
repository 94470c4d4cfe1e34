// What the panel's buttons do.
import { tookEffect } from "./answers";
import { keyedFieldsOf, type Request } from "./document";
import { openTab, read, show, variablesText, withUnusedKey, writeVariables } from "./editors";
import { object } from "./keys";
import { otherPayload } from "./payload";
import { type Reply, send, showing, tell } from "./send";
import * as sentence from "./sentence";
import { callOf, current } from "./session";

export const times = 20;

type Lesson = (tab: string, request: Request, headers: Record<string, string>) => Promise<void> | void;

/** Runs a lesson on what the editors hold. One that is under way in this tab is waited for. */
const onEditors =
  (lesson: Lesson, keyless = false) =>
  async (): Promise<void> => {
    const tab = openTab();
    if (current().shown[tab] === "pending") return;
    const { request, headers, key } = read();
    if (!request || !headers) return tell(tab, sentence.unreadable);
    if (!key && !keyless) return tell(tab, sentence.keyless);
    await lesson(tab, request, headers);
  };

/** Sends the key again with the payload that it stands for. */
export const sendAgain = onEditors((tab, request, headers) => {
  const call = callOf(keyOf(request));
  // The payload may have been edited since.
  const edited = call && call.payload !== payloadOf(request);
  if (edited) show(call);
  return showing(tab, async () => {
    const [reply] = await send(tab, edited ? requestOf(call) : request, headers);
    return { reply: reply!, sentence: sentence.again(reply!.answers) };
  });
});

/** Sends another payload with the same key. A key that has done nothing yet is sent as it is first. */
export const changePayload = onEditors((tab, request, headers) => {
  const call = callOf(keyOf(request));
  const isOther = call !== undefined && call.payload !== payloadOf(request);
  const before = isOther ? undefined : variablesText();
  const other = isOther ? variablesText() : otherPayload(variablesText(), read().keys);
  if (other === undefined) return tell(tab, sentence.unchangeable);
  return showing(tab, async () => {
    if (!call?.answers.some(tookEffect)) {
      const [first] = await send(tab, isOther ? requestOf(call) : request, headers);
      if (!first!.answers.some(tookEffect)) return { reply: first!, sentence: sentence.meaning(first!.answers[0]) };
    }
    if (tab === openTab()) writeVariables(other);
    const [reply] = await send(tab, { ...request, variables: object(other)! }, headers);
    return { reply: reply!, sentence: sentence.changed(reply!.answers), ...(before !== undefined && { before }) };
  });
});

/** Sends, drops the answer, and sends again. */
export const loseAnswer = onEditors((tab, request, headers) =>
  showing(tab, async () => {
    const sent = withUnusedKey(request);
    const [first] = await send(tab, sent, headers, { drop: true });
    const [second] = await send(tab, sent, headers);
    return { reply: second!, sentence: sentence.lost(first!.answers, second!.answers) };
  }),
);

/** Sends many times at once, with a new key if this one has been used. */
export const sendMany = onEditors(
  (tab, request, headers) =>
    showing(tab, async () => {
      const replies = await send(tab, withUnusedKey(request), headers, { times });
      return { reply: shownOf(replies), sentence: sentence.many(replies) };
    }),
  true,
);

/** Of many replies the one that says most is shown. */
const shownOf = (replies: Reply[]): Reply =>
  replies.find(({ answers }) => answers.some(({ status }) => status === "EXECUTED")) ??
  replies.find(({ answers }) => answers.some(tookEffect)) ??
  replies.find(({ text }) => text !== undefined) ??
  replies[0]!;

const requestOf = ({ query, variables, operationName }: Request): Request => ({
  query,
  variables,
  ...(operationName && { operationName }),
});
const keyOf = (request: Request): string => keyedFieldsOf(request)[0]?.key ?? "";
const payloadOf = (request: Request): string => keyedFieldsOf(request)[0]?.payload ?? "";
