// Sending: what is sent is noted before it leaves, so that a reload does not lose it.
import { type Answer, awaited, noAnswer, tookEffect } from "./answers";
import { keyedFieldsOf, type Request } from "./document";
import { type Call, callOf, change, current, put, type Shown } from "./session";

const endpoint = "/graphql";
/** The address of the API, for other programs. */
export const address = () => new URL(endpoint, location.href).href;

/** What came back: no text when no answer came, or when it was dropped. */
export interface Reply {
  text?: string;
  /** The answer, where it is JSON. */
  body?: any;
  answers: Answer[];
  took: number;
}

// Greater than those before a reload.
let sends = Date.now();

/** Sends a request that is no part of the session. */
export function post(request: Request, headers: Record<string, string>, signal?: AbortSignal): Promise<Response> {
  return fetch(endpoint, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal: signal ?? null,
  });
}

/**
 * Sends a request from a tab of GraphiQL, as often as `times` says, at once. With
 * `drop` the answer is thrown away unread once the server has begun it, when the
 * mutation has been executed. It resolves also when no answer comes.
 */
export async function send(
  tab: string,
  request: Request,
  headers: Record<string, string>,
  { times = 1, drop = false, signal }: { times?: number; drop?: boolean; signal?: AbortSignal } = {},
): Promise<Reply[]> {
  const send = ++sends;
  const at = Date.now();
  const fields = keyedFieldsOf(request);
  const replies = Array.from({ length: times }, (): Reply => {
    const answers = fields.map(({ field, key, payload }): Answer => ({
      send,
      field,
      key,
      status: awaited,
      changed: payload !== (callOf(key)?.payload ?? payload),
      at,
      took: 0,
    }));
    return { answers, took: 0 };
  });
  begin(tab, request, fields, replies);
  await Promise.all(
    replies.map(async (reply) => {
      const started = performance.now();
      try {
        const response = await post(request, headers, signal);
        if (drop) await response.body?.cancel();
        else {
          reply.text = await response.text();
          reply.body = json(reply.text);
        }
        finish(request, reply, performance.now() - started, reply.body ?? failed(drop ? noAnswer : `HTTP ${response.status}`));
      } catch {
        finish(request, reply, performance.now() - started, failed(noAnswer));
      }
    }),
  );
  return replies;
}

const failed = (code: string) => ({ errors: [{ extensions: { code } }] });

function json(text: string): any {
  try {
    const body = JSON.parse(text);
    return typeof body === "object" && body !== null ? body : undefined;
  } catch {
    return undefined;
  }
}

/** Notes what is about to be sent. */
function begin(tab: string, request: Request, fields: ReturnType<typeof keyedFieldsOf>, replies: Reply[]): void {
  const calls = fields
    .filter(({ key }) => key)
    .map(({ field, key, operation, payload }): Call => {
      const before = callOf(key) ?? { ...request, key, operation, payload, answers: [] };
      const answers = replies.flatMap(({ answers }) => answers.filter((answer) => answer.key === key && answer.field === field));
      return { ...before, answers: [...before.answers, ...answers] };
    });
  if (!calls.length) return;
  put(calls);
  change({ sent: { ...current().sent, [tab]: calls[0]!.key } });
}

/** Notes what was answered, in the place of what was awaited. */
function finish(request: Request, reply: Reply, took: number, body: any): void {
  const errors: any[] = Array.isArray(body.errors) ? body.errors : [];
  const answers = reply.answers.map((answer): Answer => {
    const status = body.extensions?.idempotency?.[answer.field];
    const extensions = errors.find((error) => !error?.path || error.path[0] === answer.field)?.extensions;
    return {
      ...answer,
      status: String(status?.status ?? extensions?.code ?? "UNKNOWN"),
      retryable: extensions?.retryable === true,
      executedAt: status?.executedAt,
      expiresAt: status?.expiresAt,
      took,
    };
  });
  const arrived = new Map(reply.answers.map((answer, at) => [answer, answers[at]!]));
  const fields = keyedFieldsOf(request);
  change({
    calls: current().calls.map((call) => {
      if (!call.answers.some((answer) => arrived.has(answer))) return call;
      // The payload that took effect is the key's, whichever was sent first.
      const taken = answers.findIndex((answer) => answer.key === call.key && answer.changed && tookEffect(answer));
      return {
        ...call,
        ...(taken >= 0 && { ...request, payload: fields[taken]!.payload }),
        answers: call.answers.map((answer) => arrived.get(answer) ?? answer),
      };
    }),
  });
  Object.assign(reply, { answers, took });
}

const latest = new Map<string, object>();

/** Shows in a tab of GraphiQL what comes of sending, unless it has sent something else meanwhile. */
export async function showing(tab: string, sending: () => Promise<{ reply: Reply; sentence: string; before?: string }>): Promise<void> {
  const mine = {};
  latest.set(tab, mine);
  const show = (shown: Shown | "pending") => latest.get(tab) === mine && change({ shown: { ...current().shown, [tab]: shown } });
  show("pending");
  const { reply, sentence, before } = await sending();
  const text = reply.body ? JSON.stringify(reply.body, null, 2) : (reply.text ?? "");
  show({ text, answers: reply.answers, took: reply.took, sentence, ...(before !== undefined && { before }) });
}

/** Says something in a tab of GraphiQL about what is not sent. */
export function tell(tab: string, sentence: string): void {
  const shown = current().shown[tab];
  if (shown === "pending") return;
  change({ shown: { ...current().shown, [tab]: { text: "", answers: [], took: 0, ...shown, sentence } } });
}
