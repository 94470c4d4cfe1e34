import { readFile } from "node:fs/promises";
import { join } from "node:path";

import {
  commitMutation,
  type ConcreteRequest,
  Environment,
  fetchQuery,
  type FetchFunction,
  Network,
  Observable,
  RecordSource,
  Store,
} from "relay-runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { idempotentFetch, type Options, type Outcome, type Retry, UnsettledError } from "../typescript/src/relay.js";
import { Proxy } from "../typescript/test/proxy.js";
import { effects, server } from "../typescript/test/server.js";
import { App, schema } from "./app.js";

let app: App;
let proxy: Proxy;
let name: string;
let outcomes: Outcome[];

const fixture = (file: string) => readFile(join(import.meta.dirname, "fixtures/relay", file), "utf8");

beforeAll(async () => {
  app = await App.bare("relay-compiler", "relay-runtime", "typescript");
  await app.write("schema.graphql", await readFile(schema, "utf8"));
  const config = { schema: "schema.graphql", language: "typescript", eagerEsModules: true, useImportTypeSyntax: true };
  for (const dir of ["text", "persisted"]) {
    const persistConfig = dir === "persisted" ? { persistConfig: { file: "persisted.json" } } : {};
    await app.write(`${dir}.config.json`, JSON.stringify({ ...config, src: dir, ...persistConfig }));
    for (const file of ["mutations.ts", "types.ts"]) await app.write(`${dir}/${file}`, await fixture(file));
    await app.write("persisted.json", "{}");
    await app.run("relay-compiler", `${dir}.config.json`);
  }
});
afterAll(() => app?.remove());
beforeEach(async () => {
  proxy = await new Proxy(server).start();
  name = crypto.randomUUID();
  outcomes = [];
});
afterEach(() => proxy.stop());

/** What relay-compiler made of a document. */
const compiled = async (document: string, dir = "text"): Promise<ConcreteRequest> =>
  (await import(join(app.dir, dir, `__generated__/${document}.graphql.ts`))).default;

/** What a front end with Relay sends a request with. Of a persisted one a gateway has the text. */
const fetchGraphQL: FetchFunction = async ({ text, id }, variables) => {
  const query = text ?? JSON.parse(await app.read("persisted.json"))[id!];
  const response = await fetch(proxy.url + "/graphql", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  return response.json();
};

function environment(options: Options = {}, fetchFn = fetchGraphQL): Environment {
  const retry = { attempts: 3, initialDelayMs: 10, maxDelayMs: 50 };
  const onOutcome = (outcome: Outcome) => void outcomes.push(outcome);
  const network = Network.create(idempotentFetch(fetchFn, { ...options, onOutcome, retry }));
  return new Environment({ network, store: new Store(new RecordSource()) });
}

/** Commits a mutation, and resolves with what onCompleted is told. */
function commit(
  environment: Environment,
  mutation: ConcreteRequest,
  variables: Record<string, unknown>,
  metadata: Record<string, unknown> = {},
) {
  return new Promise<any>((resolve, reject) => {
    commitMutation(environment, {
      mutation,
      variables,
      cacheConfig: { metadata },
      onCompleted: (data, errors) => resolve({ data, errors }),
      onError: reject,
    });
  });
}

const keys = () => proxy.arrived.map(({ variables }) => variables.idempotencyKey);

test("the types take a call without a key, and none without an input", async () => {
  await app.write(
    "tsconfig.json",
    JSON.stringify({
      compilerOptions: { strict: true, noEmit: true, module: "esnext", skipLibCheck: true, moduleResolution: "bundler" },
      include: ["text"],
    }),
  );
  await app.run("tsc");
});

describe.each(["text", "persisted"])("a document that is sent as %s", (dir) => {
  let create: ConcreteRequest;
  beforeAll(async () => {
    create = await compiled("mutationsCreateMutation", dir);
    expect(create.params.text === null).toBe(dir === "persisted");
  });

  test("takes effect once when the answer is lost", async () => {
    proxy.faults = ["cutAfter", "cutBefore", "unavailable"];
    await expect(commit(environment(), create, { input: { name } })).rejects.toThrow();
    proxy.faults = ["cutAfter", "unavailable"];
    const { data, errors } = await commit(environment(), create, { input: { name } });
    expect(errors).toBeNull();
    expect(data.createProject.project.name).toBe(name);
    // Two calls without a name are two.
    expect(await effects(name)).toBe(2);
    expect(new Set(keys()).size).toBe(2);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["unknown", "replayed"]);
  });

  test("is one call when a named intent is committed twice", async () => {
    const front = environment();
    const twice = [1, 2].map(() => commit(front, create, { input: { name } }, { intent: "create" }));
    const [first, second] = await Promise.all(twice);
    expect(first.data).toEqual(second.data);
    expect(await effects(name)).toBe(1);
  });

  test("keeps the key of a named intent until the outcome is known", async () => {
    const front = environment();
    const intent = { intent: "create" };
    proxy.faults = ["cutAfter", "cutAfter", "cutAfter"];
    await expect(commit(front, create, { input: { name } }, intent)).rejects.toThrow();
    const edited = { input: { name: name + " edited" } };
    const unsettled = await commit(front, create, edited, intent).catch((error) => error);
    expect(unsettled).toBeInstanceOf(UnsettledError);
    expect(unsettled.keys).toEqual([keys()[0]]);
    expect(await effects(edited.input.name)).toBe(0);

    await commit(front, create, { input: { name } }, intent);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["unknown", "replayed"]);
    await commit(front, create, edited, intent);
    expect(await effects(name)).toBe(1);
    expect(await effects(edited.input.name)).toBe(1);
  });

  test("is sent as a new one when the user says so", async () => {
    const front = environment();
    proxy.faults = ["cutAfter", "cutAfter", "cutAfter"];
    await expect(commit(front, create, { input: { name } }, { intent: "create" })).rejects.toThrow();
    const edited = { input: { name: name + " edited" } };
    await commit(front, create, edited, { intent: "create", onPayloadChange: "newKey" });
    expect([await effects(name), await effects(edited.input.name)]).toEqual([1, 1]);
  });

  test("gives the key up when the call is refused", async () => {
    const front = environment();
    const { errors } = await commit(front, create, { input: { name: "" } }, { intent: "create" });
    expect(errors[0].extensions.code).toBe("BAD_USER_INPUT");
    await commit(front, create, { input: { name } }, { intent: "create" });
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(["refused", "executed"]);
    expect(await effects(name)).toBe(1);
  });

  test("keeps a key of the caller's", async () => {
    await commit(environment(), create, { input: { name }, idempotencyKey: name });
    expect(keys()).toEqual([name]);
  });
});

test.each([
  { second: true, fields: ["one", "createProject"] },
  { second: false, fields: ["one"] },
])("each field has a key of its own, and what is left out has none; second: $second", async ({ second, fields }) => {
  const front = environment({ settleFor: 0 });
  const two = await compiled("mutationsTwoMutation");
  for (let call = 0; call < 2; call++) await commit(front, two, { name, second }, { intent: "two" });
  expect(outcomes.map(({ field, outcome }) => [field, outcome])).toEqual([...fields, ...fields].map((field) => [field, "executed"]));
  expect(new Set(outcomes.map(({ key }) => key)).size).toBe(2 * fields.length);
  expect(await effects(name)).toBe(2 * fields.length);
});

test("an intent can be asked about, and discarded", async () => {
  const create = await compiled("mutationsCreateMutation");
  const network = idempotentFetch(fetchGraphQL, { retry: { attempts: 1 } });
  const front = new Environment({ network: Network.create(network), store: new Store(new RecordSource()) });
  proxy.faults = ["cutAfter"];
  await expect(commit(front, create, { input: { name } }, { intent: "create" })).rejects.toThrow();
  expect((await network.unsettled("create"))?.keys).toEqual(keys());
  await network.discard("create");
  expect(await network.unsettled("create")).toBeUndefined();
  await commit(front, create, { input: { name } }, { intent: "create" });
  expect(await effects(name)).toBe(2);
});

test("a fetch function may answer with an observable, and throw a response", async () => {
  const create = await compiled("mutationsCreateMutation");
  const observable: FetchFunction = (...parameters) => Observable.from(fetchGraphQL(...parameters) as Promise<any>);
  proxy.faults = ["cutAfter"];
  await commit(environment(undefined, observable), create, { input: { name } });
  expect(await effects(name)).toBe(1);

  let calls = 0;
  const forbidden: FetchFunction = () => {
    calls++;
    throw Object.assign(new Error("HTTP 403"), { response: new Response(null, { status: 403 }) });
  };
  await expect(commit(environment(undefined, forbidden), create, { input: { name } })).rejects.toThrow("HTTP 403");
  expect(calls).toBe(1);
});

test("a try that has no answer in time is aborted, and the next one has its key", async () => {
  const create = await compiled("mutationsCreateMutation");
  const signals: AbortSignal[] = [];
  const told: Retry[] = [];
  const withSignal: FetchFunction = (request, variables, cacheConfig) => {
    signals.push(cacheConfig.metadata!.signal as AbortSignal);
    return fetchGraphQL(request, variables, cacheConfig);
  };
  // The time is long enough for the try that follows.
  const retry = { timeoutMs: 5000, initialDelayMs: 10, onRetry: (retry: Retry) => void told.push(retry) };
  const network = Network.create(idempotentFetch(withSignal, { retry }));
  proxy.faults = ["hang"];
  await commit(new Environment({ network, store: new Store(new RecordSource()) }), create, { input: { name } });
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false]);
  expect(told).toMatchObject([{ attempt: 1, error: { name: "TimeoutError" }, keys: [keys()[0]] }]);
  expect(new Set(keys()).size).toBe(1);
  expect(await effects(name)).toBe(1);
});

test("queries are sent as they are", async () => {
  const answer: any = await fetchQuery(environment(), await compiled("mutationsNamesQuery"), {}).toPromise();
  expect(answer.projects.nodes).toBeInstanceOf(Array);
  expect(proxy.arrived[0]!.variables).toEqual({});
});
