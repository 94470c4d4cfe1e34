import type { GraphiQLPlugin } from "@graphiql/react";
import { useId } from "react";

import { CallList } from "./CallList";
import { abandonKey, show, useEditors, useTab, writeVariables } from "./editors";
import { changePayload, loseAnswer, sendAgain, sendMany, times } from "./lesson";
import { Lookup } from "./Lookup";
import { tell } from "./send";
import { leaving } from "./sentence";
import { change, forgetCalls, stateOf, useSession } from "./session";

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
  const { key, keys, headers } = useEditors();
  const tab = useTab();
  const heading = useId();

  const newKey = () => {
    const sentence = stateOf(key) === "unsettled" ? leaving(key) : "";
    abandonKey();
    tell(tab, sentence);
  };

  return (
    <section className="idempotency" aria-labelledby={heading}>
      <h2 id={heading}>Idempotency</h2>
      <p>
        A mutation is executed once for each key.
        <br />
        Send it, then try what a bad network does:
      </p>
      <div className="actions lesson">
        <button type="button" onClick={sendAgain} title="The same key, the same payload">
          Send again
        </button>
        <button type="button" onClick={changePayload} title="The same key, another payload">
          Change the payload
        </button>
        <button type="button" onClick={loseAnswer} title="Sends, drops the answer, and sends again with the same key">
          Lose the answer
        </button>
      </div>
      <Happened />
      <p>
        Key <code className="key">{key || "none yet"}</code>
      </p>
      <div className="actions">
        <button type="button" disabled={!keys.length} onClick={newKey}>
          New key
        </button>
        <button type="button" onClick={sendMany} title="With one key: a new one, if this one has been used">
          Send ×{times} at once
        </button>
        <label>
          <input type="checkbox" role="switch" checked={keyPerSend} onChange={({ target }) => change({ keyPerSend: target.checked })} />
          New key for every send
        </label>
      </div>
      <Lookup current={key} headers={headers ?? {}} />
      <p>
        <a href="/playground/keys">All keys of this tenant</a>
      </p>
      <h3>Keys of this session</h3>
      <CallList calls={calls} headers={headers} onUse={show} />
      {calls.length > 0 && (
        <button type="button" onClick={forgetCalls} title="But for those whose outcome is unknown">
          Clear the list
        </button>
      )}
    </section>
  );
}

/** What happened in this tab, and the way back from a change of the payload. */
function Happened() {
  const { shown } = useSession();
  const { variablesText } = useEditors();
  const own = shown[useTab()];
  const { sentence = "", before } = own && own !== "pending" ? own : {};
  return (
    <div className="happened">
      <p role="status" aria-label="What happened">
        {own === "pending" ? "…" : sentence}
      </p>
      {before !== undefined && before !== variablesText && (
        <button type="button" onClick={() => writeVariables(before)}>
          Undo the change
        </button>
      )}
    </div>
  );
}
