import type { GraphiQLPlugin } from "@graphiql/react";
import { useId, useState } from "react";

import { forgetCalls, sendMany, setKeyPerSend, useSession } from "./calls";
import { CallList } from "./CallList";
import { useEditors } from "./editors";
import { Lookup } from "./Lookup";

const times = 20;

/** GraphiQL's idempotency panel. */
export const idempotencyPlugin: GraphiQLPlugin = { title: "Idempotency", icon: Icon, content: Panel };

function Icon() {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" aria-hidden="true">
      <circle cx="12" cy="12" r="10" />
      <path d="M9 9l3-2v10M9 17h6" />
    </svg>
  );
}

function Panel() {
  const { calls, keyPerSend } = useSession();
  const editors = useEditors();
  const [summary, setSummary] = useState("");
  const heading = useId();

  const send = async () => {
    // A key that has been sent would be replayed twenty times.
    const request = calls.some(({ key }) => key === editors.key) ? editors.mintKey() : editors.request;
    if (!request || !editors.headers) return setSummary("The document, the variables or the headers can't be read.");
    setSummary("…");
    try {
      const started = performance.now();
      const { answers, results } = await sendMany(request, editors.headers, times);
      const counts = Map.groupBy(answers, ({ status }) => status);
      const statuses = [...counts].sort().map(([status, { length }]) => `${length} ${status}`);
      if (!statuses.length) return setSummary("All were answered; none of them has an idempotency key in a variable.");
      setSummary(
        `${statuses.join(", ")}; ${results.size} distinct ${results.size === 1 ? "result" : "results"}, in ${(performance.now() - started).toFixed(0)} ms.`,
      );
    } catch {
      setSummary("Not all were answered. Send them again: the key is the same.");
    }
  };

  return (
    <section className="idempotency" aria-labelledby={heading}>
      <h2 id={heading}>Idempotency</h2>
      <p>
        Key <code className="key">{editors.key || "none yet"}</code>
      </p>
      <div className="actions">
        <button type="button" disabled={!editors.mintsKey} onClick={() => editors.mintKey()}>
          New key
        </button>
        <button type="button" onClick={send} title="With one key: a new one, if this one has been sent">
          Send ×{times} at once
        </button>
        <label>
          <input type="checkbox" role="switch" checked={keyPerSend} onChange={({ target }) => setKeyPerSend(target.checked)} />
          New key for every send
        </label>
      </div>
      <p role="status" aria-label={`Result of sending ${times} times`}>
        {summary}
      </p>
      <Lookup current={editors.key} headers={editors.headers ?? {}} />
      <h3>Keys of this session</h3>
      <CallList calls={calls} onUse={editors.show} />
      {calls.length > 0 && (
        <button type="button" onClick={forgetCalls}>
          Clear the list
        </button>
      )}
    </section>
  );
}
