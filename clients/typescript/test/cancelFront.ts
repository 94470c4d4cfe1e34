// The page of cancelBrowser.test.ts: a call of one of the clients at the page's origin.
import type { RetryOptions } from "../src/index.js";
import { cancellable, type Sending } from "./cancellable.js";

let controller: AbortController;
let sending: Sending;
let retried = 0;

export const front = {
  start(client: string, name: string, options: RetryOptions = {}): void {
    controller = new AbortController();
    retried = 0;
    clients[client] ??= cancellable[client]!(location.origin + "/graphql", { ...options, onRetry: () => retried++ });
    sending = clients[client].create({ name }, { intent: name, signal: controller.signal });
  },
  abort: (reason?: string): void => controller.abort(reason),
  /** How often the call is, or was, about to be tried again. */
  retried: (): number => retried,
  async ended(): Promise<{ status?: string | undefined; error?: string | undefined }> {
    const { status, error } = await sending.ended;
    return { status, error: error && (error.name ?? `${error}`) };
  },
};

const clients: Record<string, ReturnType<(typeof cancellable)[string]>> = {};

Object.assign(window, { front });
