// What the page asks the server, and what comes of it.

/** What a key did, as the server tells it. Fields may be null for a token without the scope. */
export interface Call {
  key: string;
  operation: string;
  executedAt: string;
  expiresAt: string;
  expired: boolean;
  retainedUntil: string;
  keyHash: string;
  requestId: string | null;
  traceId: string | null;
  fingerprint: string | null;
  fingerprintVersion: number | null;
}

export interface Filter {
  operation?: string;
  requestId?: string;
  from?: string;
  to?: string;
}

/** What is shown: the calls that pass a filter, or that of one key. */
export type View = { filter: Filter } | { key: string };

export interface Answer {
  calls: Call[];
  /** Where the next page begins, if there is one. */
  next?: string;
}

/** An answer that is none, with what can be done about it. */
export class Problem extends Error {
  constructor(
    message: string,
    /** Whether a token, or another one, is what is missing. */
    readonly token = false,
  ) {
    super(message);
  }
}

const fields = "key operation executedAt expiresAt expired retainedUntil keyHash requestId traceId fingerprint fingerprintVersion";
const listed = `query Keys($first: Int!, $after: String, $operation: String, $from: DateTime, $to: DateTime, $requestId: String) {
  idempotentCalls(first: $first, after: $after, operation: $operation, from: $from, to: $to, requestId: $requestId) {
    nodes { ${fields} }
    pageInfo { hasNextPage endCursor }
  }
}`;
const one = `query Key($key: String!) { idempotentCall(key: $key) { ${fields} } }`;

export const pageSize = 20;

/** Asks for a view, or for what is after the cursor of one. It throws a Problem, and nothing else. */
export async function ask(view: View, token: string, after?: string): Promise<Answer> {
  if ("key" in view) {
    const { idempotentCall } = await post(one, { key: view.key }, token);
    return { calls: idempotentCall ? [idempotentCall] : [] };
  }
  const { idempotentCalls } = await post(listed, { first: pageSize, after, ...view.filter }, token);
  if (!Array.isArray(idempotentCalls?.nodes)) throw new Problem("The server's answer is of a form that this page does not know.");
  const { nodes, pageInfo } = idempotentCalls;
  return { calls: nodes, ...(pageInfo?.hasNextPage && { next: String(pageInfo.endCursor) }) };
}

async function post(query: string, variables: object, token: string): Promise<any> {
  const headers = new Headers({ "Content-Type": "application/json" });
  try {
    if (token) headers.set("Authorization", `Bearer ${token}`);
  } catch {
    throw new Problem("Nothing was sent: this is no token, because a header can't hold it.", true);
  }
  let response: Response, text: string;
  try {
    response = await fetch("/graphql", { method: "POST", headers, body: JSON.stringify({ query, variables }) });
    text = await response.text();
  } catch {
    throw new Problem("The server did not answer. Nothing was changed by asking: try again.");
  }
  const body = json(text);
  const error = body?.errors?.[0];
  if (!error && body?.data) return body.data;
  if (error?.extensions?.code === "UNAUTHENTICATED")
    throw new Problem(
      token
        ? `The server does not accept this token: ${error.message}.`
        : "The server wants to know who you are. Give it a token with the scope keys:read.",
      true,
    );
  if (error?.extensions?.code === "FORBIDDEN") throw new Problem(`The server refused it: ${error.message}.`, true);
  if (error) throw new Problem(`The server refused it: ${error.message}`);
  throw new Problem(`The server answered with HTTP ${response.status}: ${text.slice(0, 200).trim() || "nothing"}. Try again in a moment.`);
}

function json(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
