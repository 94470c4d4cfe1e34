// The calls of this session: what was sent under which idempotency key, and what was
// answered. They outlive a reload, in sessionStorage.
import { type DocumentNode, parse, separateOperations, valueFromASTUntyped, visit } from "graphql";
import { useSyncExternalStore } from "react";

export const endpoint = "/graphql";

/** One answer about one keyed field. */
export interface Answer {
  field: string;
  key: string;
  /** EXECUTED, REPLAYED, the code of an error, or NO ANSWER. */
  status: string;
  executedAt?: string;
  expiresAt?: string;
  /** How long it took, in milliseconds. */
  took: number;
}

/** What was sent first under a key, and all that was answered. */
export interface Call {
  key: string;
  operation: string;
  /** The arguments without the key, as JSON. */
  payload: string;
  query: string;
  variables: Record<string, unknown>;
  answers: Answer[];
}

interface Session {
  calls: Call[];
  /** The answers to the last request, one for each keyed field. */
  last: Answer[];
  /** How many sends have been answered; many at once are one. */
  sends: number;
  /** Whether each send gets a new key. */
  keyPerSend: boolean;
}

export interface Request {
  query: string;
  variables: Record<string, unknown>;
  operationName?: string;
}

const storageKey = "onceql:playground";
const mostCalls = 100;

let session: Session = { calls: storedCalls(), last: [], sends: 0, keyPerSend: false };
const listeners = new Set<() => void>();

function change(next: Partial<Session>): void {
  session = { ...session, ...next };
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(session.calls));
  } catch {
    // The storage is full or forbidden: the list ends with the page, but an answer still arrives.
  }
  for (const listener of listeners) listener();
}

function storedCalls(): Call[] {
  try {
    return JSON.parse(sessionStorage.getItem(storageKey) ?? "[]");
  } catch {
    return [];
  }
}

/** The session, as it changes. */
export function useSession(): Session {
  return useSyncExternalStore(
    (listener) => (listeners.add(listener), () => listeners.delete(listener)),
    () => session,
  );
}

export const setKeyPerSend = (keyPerSend: boolean): void => change({ keyPerSend });

export const forgetCalls = (): void => change({ calls: [], last: [] });

/** The fetch of GraphiQL: what it sends becomes part of the session. */
export const recordedFetch: typeof fetch = async (input, init) => {
  const request = JSON.parse(String(init!.body)) as Request;
  const [response, answers] = await recorded(request, () => fetch(input, init));
  if (answers.length) change({ last: answers, sends: session.sends + 1 });
  return response;
};

/** Sends a request many times at once. Resolves to all answers, and the results in them. */
export async function sendMany(
  request: Request,
  headers: Record<string, string>,
  times: number,
): Promise<{ answers: Answer[]; results: Set<string> }> {
  const results = new Set<string>();
  const all = await Promise.all(
    Array.from({ length: times }, async () => {
      const [response, answers] = await recorded(request, () => post(request, headers));
      const { data } = await response.json();
      if (Object.values(data ?? {}).some((field) => field !== null)) results.add(JSON.stringify(data));
      return answers;
    }),
  );
  change({ last: all.at(-1)!, sends: session.sends + 1 });
  return { answers: all.flat(), results };
}

/** Sends a request that is no part of the session. */
export function post(request: Request, headers: Record<string, string>): Promise<Response> {
  return fetch(endpoint, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify(request),
  });
}

async function recorded(request: Request, send: () => Promise<Response>): Promise<[Response, Answer[]]> {
  const started = performance.now();
  let body: any;
  try {
    const response = await send();
    body = await response
      .clone()
      .json()
      .catch(() => ({ errors: [{ extensions: { code: `HTTP ${response.status}` } }] }));
    return [response, record(request, body, performance.now() - started)];
  } catch (error) {
    const last = record(request, { errors: [{ extensions: { code: "NO ANSWER" } }] }, performance.now() - started);
    if (last.length) change({ last });
    throw error;
  }
}

function record(request: Request, body: any, took: number): Answer[] {
  const { query, variables = {} } = request;
  const calls = [...session.calls];
  const answers = keyedFieldsOf(request).map(({ field, key, operation, payload }): Answer => {
    const status = body.extensions?.idempotency?.[field];
    const error = body.errors?.find(({ path }: { path?: unknown[] }) => !path || path[0] === field);
    const answer: Answer = {
      field,
      key,
      status: status?.status ?? error?.extensions?.code ?? "UNKNOWN",
      executedAt: status?.executedAt,
      expiresAt: status?.expiresAt,
      took,
    };
    if (!key) return answer;
    const at = calls.findIndex((call) => call.key === key);
    const [call] = at < 0 ? [{ key, operation, payload, query, variables, answers: [] }] : calls.splice(at, 1);
    calls.unshift({ ...call!, answers: [...call!.answers, answer] });
    return answer;
  });
  if (answers.length) change({ calls: calls.slice(0, mostCalls) });
  return answers;
}

/** What a request executes of its document: one operation with its fragments. Undefined while the document isn't whole. */
export function executed({ query, operationName }: Pick<Request, "query" | "operationName">): DocumentNode | undefined {
  try {
    const operations = separateOperations(parse(query));
    return operationName ? operations[operationName] : Object.values(operations)[0];
  } catch {
    return undefined;
  }
}

interface KeyedField {
  /** The field's alias or name. */
  field: string;
  operation: string;
  key: string;
  payload: string;
}

/** The fields that a request gives an idempotency key, in a variable or literally. */
export function keyedFieldsOf(request: Request): KeyedField[] {
  const document = executed(request);
  const fields: KeyedField[] = [];
  if (!document) return fields;
  visit(document, {
    Field({ alias, name, arguments: given = [] }) {
      const values = given.map(({ name, value }) => [name.value, valueFromASTUntyped(value, request.variables)] as const);
      const { idempotencyKey, ...payload } = Object.fromEntries(values);
      if (idempotencyKey === undefined) return;
      fields.push({ field: (alias ?? name).value, operation: name.value, key: String(idempotencyKey), payload: JSON.stringify(payload) });
    },
  });
  return fields;
}
