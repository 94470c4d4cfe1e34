import { type FormEvent, useEffect, useId, useRef, useState } from "react";

import { type Answer, ask, type Filter, Problem, type View } from "./ask";
import { Table } from "./Table";

interface Shown extends Answer {
  view: View;
}

/** What the keys of the token's tenant did. */
export function Page() {
  const [shown, setShown] = useState<Shown>();
  const [problem, setProblem] = useState<Problem>();
  const [busy, setBusy] = useState(true);
  const [opened, setOpened] = useState<string>();
  // The token is here and nowhere else: a reload forgets it.
  const token = useRef<HTMLInputElement>(null);
  const filter = useRef<HTMLFormElement>(null);
  const latest = useRef(0);
  const goOn = useRef<number>(undefined);

  /** Shows a view; with `more`, what comes after the calls that are shown. */
  const show = async (view: View, more?: Shown) => {
    const mine = ++latest.current;
    setBusy(true);
    try {
      const answer = await ask(view, bare(token.current?.value), more?.next);
      if (mine !== latest.current) return;
      setProblem(undefined);
      setShown({ ...answer, view, calls: more ? [...more.calls, ...answer.calls] : answer.calls });
      setOpened("key" in view ? answer.calls[0]?.key : undefined);
      if (more) goOn.current = more.calls.length;
    } catch (error) {
      if (mine !== latest.current) return;
      const problem = error instanceof Problem ? error : new Problem(`This page failed: ${String(error)}`);
      setProblem(problem);
      // What is shown may be another tenant's.
      if (!more) setShown({ calls: [], view });
      if (problem.token) token.current?.focus();
    }
    setBusy(false);
  };
  useEffect(() => void show({ filter: {} }), []);
  // The button that was pressed may be gone: the keyboard goes on with the first of the new rows.
  useEffect(() => {
    if (goOn.current !== undefined) expander(goOn.current)?.focus();
    goOn.current = undefined;
  }, [shown]);

  const submit = (viewOf: (values: Record<string, string>) => View | undefined) => (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const values: Record<string, string> = {};
    for (const [name, value] of new FormData(event.currentTarget)) values[name] = String(value).trim();
    const view = viewOf(values);
    if (view) void show(view);
  };
  const ofRequest = (requestId: string) => {
    filter.current!.reset();
    filter.current!.querySelector<HTMLInputElement>("[name=requestId]")!.value = requestId;
    void show({ filter: { requestId } });
  };

  return (
    <>
      <header>
        <h1>Idempotency keys</h1>
        <nav>
          <a href="/">Playground</a>
        </nav>
      </header>
      <main>
        <form className="fields" aria-label="Token" onSubmit={submit(() => shown?.view ?? { filter: {} })}>
          <Field name="token" label="Token, where the server asks for one" type="password" of={token} />
          <button type="submit">Use the token</button>
        </form>
        <form className="fields" aria-label="One key" onSubmit={submit(({ key }) => (key ? { key } : undefined))}>
          <Field name="key" label="What happened to this key?" />
          <button type="submit">Look up</button>
        </form>
        <form className="fields" aria-label="Filter" ref={filter} onSubmit={submit((values) => ({ filter: filterOf(values) }))}>
          <Field name="operation" label="Operation" />
          <Field name="requestId" label="Request" />
          <Field name="from" label="From, your time" type="datetime-local" />
          <Field name="to" label="To, your time" type="datetime-local" />
          <button type="submit">Show keys</button>
        </form>
        <div role="status" aria-label="What is shown" className={problem && "problem"}>
          {problem?.message ?? (shown ? sentence(shown) : "Loading…")}
        </div>
        {shown && shown.calls.length > 0 && (
          <Table
            calls={shown.calls}
            caption={"key" in shown.view ? "One key" : "Keys, newest first"}
            opened={opened}
            onOpen={setOpened}
            onRequest={ofRequest}
          />
        )}
        {shown?.next && (
          <button type="button" disabled={busy} onClick={() => void show(shown.view, shown)}>
            Load more
          </button>
        )}
      </main>
    </>
  );
}

function Field({ name, label, type = "text", of }: { name: string; label: string; type?: string; of?: React.Ref<HTMLInputElement> }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        // A token has no name: no form could send it.
        {...(type !== "password" && { name })}
        {...(type === "datetime-local" && { step: 1 })}
        {...(of && { ref: of })}
        type={type}
        autoComplete="off"
        spellCheck={false}
      />
    </div>
  );
}

/** The token alone, also where the whole header was pasted. */
const bare = (text = ""): string => text.trim().replace(/^(authorization:\s*)?bearer\s+/i, "");

function filterOf({ from, to, ...texts }: Record<string, string>): Filter {
  const given = ([, value]: [string, string | undefined]) => value;
  const times = { from: from && new Date(from).toISOString(), to: to && new Date(to).toISOString() };
  return Object.fromEntries(Object.entries({ ...texts, ...times }).filter(given));
}

function sentence({ view, calls, next }: Shown): string {
  if ("key" in view) return calls.length ? "This is what happened to the key." : nothing;
  if (!calls.length)
    return Object.keys(view.filter).length
      ? "No key passes the filter."
      : "No key is stored: no mutation took effect, or its key was forgotten since.";
  const count = calls.length === 1 ? "1 key" : `${calls.length} keys`;
  return next ? `${count}, and there are more.` : `${count}, and no more.`;
}

const nothing = "Nothing is stored under this key: no call with it took effect, or one is still at work, or it was forgotten.";

const expander = (at: number): HTMLElement | undefined => document.querySelectorAll<HTMLElement>("button[aria-expanded]")[at];
