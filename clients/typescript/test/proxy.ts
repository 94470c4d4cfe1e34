import { createServer, type IncomingMessage, type OutgoingHttpHeaders, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * What happens to one request for /graphql. `cutBefore`: the connection is cut before
 * the server has the request. `cutAfter`: when the server has done the work and before
 * the client has a byte of the answer. `cutWithin`: when it has half of it.
 * `unavailable`: a 503 in its place. `gateway`: the same, in JSON. `retryable`:
 * the server does the work, and the client gets a GraphQL error with `retryable: true`.
 * `slow`: the answer takes a second. `held`: the server never has the request, and the
 * client no answer. `stuck`: the server has done the work, and the client half of the
 * answer, and no end of it. `hang`: it has done the work, and the client gets nothing.
 * `paused`: the server has the request once it is released, and with the fault that `release` names.
 */
export type Fault =
  "cutBefore" | "cutAfter" | "cutWithin" | "unavailable" | "gateway" | "retryable" | "slow" | "held" | "stuck" | "hang" | "paused";

export const isMutation = (query: string): boolean => /^(\s*#.*\n)*\s*mutation/.test(query);

/** A proxy before the server that does what a bad network does. */
export class Proxy {
  url = "";
  /** The bodies of the requests for /graphql that arrived, in order. */
  readonly arrived: { query: string; variables: Record<string, unknown> }[] = [];
  /** What happens to the next mutations; those after pass. */
  faults: Fault[] = [];
  /** How many of them hang. */
  hanging = 0;
  /** The header Retry-After of `unavailable`. */
  retryAfter = "1";
  /** While set, no connection can be made: every request is cut. */
  offline = false;
  /** Whether each request gets a key of its own: a server that knows nothing of idempotency. */
  naive = false;
  /** Pages that the proxy serves itself. */
  readonly pages = new Map<string, { type: string; body: string }>();
  /** Lets the request that is paused go on. */
  release: (fault?: Fault) => void = () => {};
  readonly #server = createServer((from, to) => void this.#handle(from, to));

  constructor(readonly upstream: string) {}

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  /** As it was when it started, for the next test. */
  reset(): void {
    this.faults = [];
    this.retryAfter = "1";
    this.offline = false;
    this.naive = false;
    this.arrived.length = 0;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(from: IncomingMessage, to: ServerResponse): Promise<void> {
    const page = this.pages.get(from.url!);
    if (page) return void to.writeHead(200, { "Content-Type": page.type }).end(page.body);
    const chunks: Buffer[] = [];
    for await (const chunk of from) chunks.push(chunk);
    if (this.offline) return void from.socket.destroy();
    if (from.url !== "/graphql") {
      const answer = await this.#forward(from, "");
      return void to.writeHead(answer.status, answer.headers).end(answer.body);
    }
    const body = JSON.parse(Buffer.concat(chunks).toString());
    this.arrived.push(structuredClone(body));
    if (this.naive && body.variables?.idempotencyKey) body.variables.idempotencyKey = crypto.randomUUID();
    let fault = isMutation(body.query) ? this.faults.shift() : undefined;
    if (fault === "paused") fault = await new Promise<Fault | undefined>((resolve) => (this.release = resolve));
    if (fault === "held") return;
    if (fault === "cutBefore") return void from.socket.destroy();
    if (fault === "unavailable") {
      return void to.writeHead(503, { "Content-Type": "text/plain", "Retry-After": this.retryAfter }).end("unavailable");
    }
    if (fault === "gateway") {
      return void to.writeHead(503, { "Content-Type": "application/json" }).end(JSON.stringify({ message: "Service Unavailable" }));
    }
    if (fault === "hang") {
      this.hanging++;
      to.on("close", () => this.hanging--);
    }
    const answer = await this.#forward(from, JSON.stringify(body));
    if (fault === "hang") return;
    if (fault === "cutAfter") return void from.socket.destroy();
    if (fault === "cutWithin") {
      to.writeHead(answer.status, answer.headers);
      return void to.write(answer.body.subarray(0, answer.body.length / 2), () => from.socket.destroy());
    }
    if (fault === "stuck") {
      to.writeHead(answer.status, answer.headers);
      return void to.write(answer.body.subarray(0, answer.body.length / 2));
    }
    if (fault === "slow") await new Promise((resolve) => setTimeout(resolve, 1000));
    if (fault === "retryable") {
      const error = {
        message: "the outcome is not known",
        path: ["createProject"],
        extensions: { code: "UNAVAILABLE", retryable: true, retryAfterMs: 50 },
      };
      return void to
        .writeHead(200, { "Content-Type": "application/json" })
        .end(JSON.stringify({ data: { createProject: null }, errors: [error] }));
    }
    to.writeHead(answer.status, answer.headers).end(answer.body);
  }

  #forward(
    { method, url, headers }: IncomingMessage,
    body: string,
  ): Promise<{ status: number; headers: OutgoingHttpHeaders; body: Buffer }> {
    return new Promise((resolve, reject) => {
      const to = request(
        this.upstream + url,
        { method, headers: { ...headers, "content-length": Buffer.byteLength(body) } },
        async (answer) => {
          const chunks: Buffer[] = [];
          for await (const chunk of answer) chunks.push(chunk);
          resolve({ status: answer.statusCode!, headers: answer.headers, body: Buffer.concat(chunks) });
        },
      );
      to.on("error", reject).end(body);
    });
  }
}
