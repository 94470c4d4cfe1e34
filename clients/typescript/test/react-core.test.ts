// How a hook finds the core of its client.
import "./dom.js";

import { createRequire } from "node:module";

import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { ApolloProvider } from "@apollo/client/react";
import { Client as UrqlClient, fetchExchange } from "@urql/core";
import { build } from "esbuild";
import { act, Component, createElement, type ReactNode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

import { idempotencyLink } from "../src/apollo.js";
import { useIdempotentMutation } from "../src/apollo-react.js";
import type { IntentState } from "../src/react.js";
import { idempotencyExchange } from "../src/urql.js";
import { createProject } from "./clients.js";
import { Proxy } from "./proxy.js";
import { reactClients, type Sent } from "./react-clients.js";
import { effects, server } from "./server.js";

let proxy: Proxy;
let root: Root;
let name: string;

beforeAll(async () => (proxy = await new Proxy(server).start()));
afterAll(() => proxy.stop());
beforeEach(() => {
  name = crypto.randomUUID();
  proxy.faults = [];
  proxy.offline = false;
  proxy.arrived.length = 0;
  root = createRoot(document.createElement("div"), { onCaughtError() {} });
});
afterEach(() => act(() => root.unmount()));

const render = (node: ReactNode) => act(async () => root.render(node));

/** Keeps what its children throw. */
class Boundary extends Component<{ children: ReactNode; caught: (error: Error) => void }> {
  override state = { failed: false };
  static getDerivedStateFromError = () => ({ failed: true });
  override componentDidCatch = (error: Error) => this.props.caught(error);
  override render = () => (this.state.failed ? null : this.props.children);
}

describe.each(Object.entries(reactClients))("%s", (_, { make, useCreate }) => {
  let mutate: (name: string) => Promise<Sent>;
  let state: IntentState;
  function Create() {
    [mutate, state] = useCreate("create");
    return `${state.pending} ${state.unsettled}`;
  }

  test("a client without the helper fails with a sentence, and nothing is sent", async () => {
    let caught: Error | undefined;
    const children = make(proxy.url, null).provide(createElement(Create));
    await render(createElement(Boundary, { children, caught: (error) => (caught = error) }));
    await expect.poll(() => caught?.message).toBe("useIdempotentMutation: the client has no idempotencyLink or idempotencyExchange");
    await expect(mutate(name).then(({ error }) => Promise.reject(new Error(error)))).rejects.toThrow();
    expect(proxy.arrived).toEqual([]);
  });

  test("a server renders it", () => {
    const client = make(proxy.url, { user: () => "ann" });
    expect(renderToString(client.provide(createElement(Create)))).toBe("false undefined");
    expect(proxy.arrived).toEqual([]);
  });

  test("to look an outcome up without an answer fails", async () => {
    await render(make(proxy.url).provide(createElement(Create)));
    proxy.offline = true;
    await act(() => mutate(name));
    await expect.poll(() => act(async () => state)).toMatchObject({ unsettled: expect.anything() });
    await expect(act(() => state.resolve())).rejects.toThrow(/fetch failed/);
    proxy.offline = false;
    expect(await act(() => state.resolve())).toEqual([null]);
  });

  test("a session that is gone while a call is in flight harms neither the page nor the call", async () => {
    let session: { user: string } | undefined = { user: "ann" };
    const client = make(proxy.url, { user: () => session!.user });
    await render(client.provide(createElement(Create)));
    proxy.faults = ["paused"];
    let call: Promise<Sent>;
    await act(async () => void (call = mutate(name)));
    await expect.poll(() => proxy.arrived.length).toBe(1);
    session = undefined;
    await render(client.provide(createElement(Create)));
    expect(state).toMatchObject({ pending: false, unsettled: undefined });
    proxy.release();
    expect(await act(() => call)).toEqual({});
    expect(await effects(name)).toBe(1);
  });

  test("to find it nothing is sent", async () => {
    await render(make(proxy.url).provide(createElement(Create)));
    expect(proxy.arrived).toEqual([]);
    await act(() => mutate(name));
    expect(proxy.arrived).toHaveLength(1);
  });
});

describe("links above Apollo's helper", () => {
  const document = gql(createProject);
  let mutate: () => Promise<{ error?: unknown }>;
  let state: IntentState;
  function Create() {
    const [create, rest] = useIdempotentMutation(document, { intent: "create", errorPolicy: "all" });
    mutate = () => create({ input: { name } });
    state = rest;
    return null;
  }
  const under = (...above: ApolloLink[]) => {
    const link = ApolloLink.from([...above, idempotencyLink(), new HttpLink({ uri: proxy.url + "/graphql" })]);
    return createElement(ApolloProvider, {
      client: new ApolloClient({ link, cache: new InMemoryCache() }),
      children: createElement(Create),
    });
  };

  test("may take their time", async () => {
    const token = async () => (await new Promise((resolve) => setTimeout(resolve, 20)), {});
    await render(under(new SetContextLink(token)));
    proxy.faults = ["cutAfter"];
    await act(mutate);
    await expect.poll(() => act(async () => state)).toMatchObject({ pending: false, unsettled: expect.anything() });
  });

  test("fail the call by themselves, and are asked again", async () => {
    let signedIn = false;
    const token = async () => {
      if (!signedIn) throw new Error("not signed in");
      return {};
    };
    await render(under(new SetContextLink(token)));
    expect((await act(mutate)).error).toMatchObject({ message: "not signed in" });
    expect(state.pending).toBe(false);
    signedIn = true;
    proxy.faults = ["cutAfter"];
    expect((await act(mutate)).error).toMatchObject({ name: "TypeError" });
    await expect.poll(() => act(async () => state)).toMatchObject({ pending: false, unsettled: expect.anything() });
    expect((await act(mutate)).error).toBeUndefined();
    await expect
      .poll(() => act(async () => state))
      .toMatchObject({ pending: false, outcome: { outcome: "replayed" }, unsettled: undefined });
    expect(await effects(name)).toBe(1);
  });
});

describe("another copy of the package, as CommonJS", () => {
  const require = createRequire(import.meta.url);
  const load = async (entry: string) => {
    const { outputFiles } = await build({
      entryPoints: [`src/${entry}.ts`],
      bundle: true,
      format: "cjs",
      platform: "node",
      packages: "external",
      write: false,
    });
    const module = { exports: {} as any };
    new Function("require", "module", "exports", outputFiles[0]!.text)(require, module, module.exports);
    return module.exports.useIdempotentMutation as (
      document: unknown,
      options: object,
    ) => [(variables: object) => Promise<unknown>, IntentState];
  };

  test.each([
    {
      entry: "apollo-react",
      provide(children: ReactNode) {
        const link = ApolloLink.from([idempotencyLink(), new HttpLink({ uri: proxy.url + "/graphql" })]);
        return createElement(ApolloProvider, { client: new ApolloClient({ link, cache: new InMemoryCache() }), children });
      },
    },
    {
      entry: "urql-react",
      provide(children: ReactNode) {
        const client = new UrqlClient({
          url: proxy.url + "/graphql",
          exchanges: [idempotencyExchange(), fetchExchange],
          preferGetMethod: false,
        });
        return createElement(require("urql").Provider, { value: client }, children);
      },
    },
  ])("$entry", async ({ entry, provide }) => {
    const useOther = await load(entry);
    let [mutate, state]: ReturnType<typeof useOther> = [async () => {}, undefined!];
    function Create() {
      [mutate, state] = useOther(gql(createProject), { intent: "create" });
      return null;
    }
    await render(provide(createElement(Create)));
    proxy.faults = ["cutAfter"];
    await act(() => mutate({ input: { name } }).catch(() => {}));
    await expect
      .poll(() => act(async () => state))
      .toMatchObject({ pending: false, outcome: { outcome: "unknown" }, unsettled: expect.anything() });
    expect(await act(() => state.resolve())).toMatchObject([{ operation: "createProject" }]);
    await act(() => mutate({ input: { name } }));
    await expect.poll(() => act(async () => state)).toMatchObject({ outcome: { outcome: "replayed" }, unsettled: undefined });
    expect(await effects(name)).toBe(1);
  });
});
