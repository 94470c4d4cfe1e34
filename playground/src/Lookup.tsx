import { type FormEvent, useEffect, useId, useState } from "react";

import { post } from "./send";
import { Time } from "./Time";

interface IdempotentCall {
  operation: string;
  executedAt: string;
  expiresAt: string;
  expired: boolean;
  requestId: string | null;
}

const query = "query ($key: String!) { idempotentCall(key: $key) { operation executedAt expiresAt expired requestId } }";

/** Asks the server what happened to a key. */
export function Lookup({ current, headers }: { current: string; headers: Record<string, string> }) {
  const [key, setKey] = useState(current);
  const [found, setFound] = useState<IdempotentCall | string>("");
  const id = useId();
  useEffect(() => setKey(current), [current]);
  // What was found is about another key.
  useEffect(() => setFound(""), [key]);

  const ask = async (event: FormEvent) => {
    event.preventDefault();
    try {
      const response = await post({ query, variables: { key } }, headers);
      const { data, errors } = await response.json();
      // A proxy's answer may be of another form: React shows nothing but text.
      setFound(
        (errors && String(errors[0].message)) ??
          data.idempotentCall ??
          "Nothing is stored under this key: no call with it took effect, or one is still at work, or it was forgotten.",
      );
    } catch {
      setFound("The server did not answer.");
    }
  };

  return (
    <form className="lookup" onSubmit={ask}>
      <label htmlFor={id}>What happened to this key?</label>
      <div className="actions">
        <input id={id} value={key} onChange={({ target }) => setKey(target.value)} spellCheck={false} autoComplete="off" />
        <button type="submit">Look up</button>
      </div>
      <div role="status" aria-label="What happened to the key">
        {typeof found === "string" ? (
          found
        ) : (
          <p>
            <code>{String(found.operation)}</code> executed <Time at={found.executedAt} /> and{" "}
            {found.expired ? "is no longer replayed" : "is replayed for"} {!found.expired && <Time at={found.expiresAt} length />}
            {found.requestId && (
              <>
                , by the request <code className="key">{String(found.requestId)}</code>
              </>
            )}
            .
          </p>
        )}
      </div>
    </form>
  );
}
