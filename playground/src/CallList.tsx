import { useState } from "react";

import type { Answer } from "./answers";
import { curl } from "./curl";
import type { Request } from "./document";
import { Badge } from "./Head";
import type { Call } from "./session";
import { Time } from "./Time";

interface Props {
  calls: Call[];
  headers: Record<string, string> | undefined;
  onUse: (request: Request) => void;
}

/** The calls of the session, the newest first, each in a line that expands. */
export function CallList({ calls, headers = {}, onUse }: Props) {
  if (!calls.length) return <p>None yet.</p>;
  return (
    <ol className="calls" aria-label="Keys of this session">
      {calls.map((call) => (
        <li key={call.key}>
          <Row call={call} headerNames={Object.keys(headers)} onUse={onUse} />
        </li>
      ))}
    </ol>
  );
}

function Row({ call, headerNames, onUse }: { call: Call; headerNames: string[]; onUse: Props["onUse"] }) {
  const [opened, setOpened] = useState(false);
  const last = call.answers.at(-1)!;
  return (
    <details onToggle={({ currentTarget }) => setOpened(currentTarget.open)}>
      <summary>
        <Badge status={last.status.replace(/^IDEMPOTENCY_/, "")} />
        <code className="payload">{inShort(call.payload)}</code>
        {call.answers.length > 1 && <span title={`Sent ${call.answers.length} times`}>×{call.answers.length}</span>}
        <Time at={last.at ?? last.executedAt ?? ""} />
      </summary>
      {opened && <Details call={call} headerNames={headerNames} onUse={onUse} />}
    </details>
  );
}

/** What of a payload can be in a line, which cuts it off where it ends. */
const inShort = (payload: string): string => payload.replace(/^{"input":{(.*)}}$/s, "$1").slice(0, 200);

function Details({ call, headerNames, onUse }: { call: Call; headerNames: string[]; onUse: Props["onUse"] }) {
  const executedAt = call.answers.find((answer) => answer.executedAt)?.executedAt;
  return (
    <div className="details">
      <p>
        <code className="key">{call.key}</code>
      </p>
      <p>
        <Counts answers={call.answers} />
        {executedAt && (
          <>
            executed <Time at={executedAt} />
          </>
        )}
      </p>
      <pre tabIndex={0} aria-label={`Payload of ${call.operation}`}>
        {call.operation} {call.payload}
      </pre>
      <div className="actions">
        <button type="button" aria-label={`Use ${call.key}`} onClick={() => onUse(call)}>
          Use
        </button>
        <Copy text={curl(call, headerNames)} />
      </div>
    </div>
  );
}

function Counts({ answers }: { answers: Answer[] }) {
  return [...Map.groupBy(answers, ({ status }) => status)].sort().map(([status, { length }]) => (
    <span key={status}>
      <Badge status={status} /> {length > 1 && `×${length}`}{" "}
    </span>
  ));
}

/** Copies a command; where the browser does not let it, shows it to be copied by hand. */
function Copy({ text }: { text: string }) {
  const [copied, setCopied] = useState<boolean>();
  const copy = () =>
    Promise.resolve()
      .then(() => navigator.clipboard.writeText(text))
      .then(
        () => setCopied(true),
        () => setCopied(false),
      );
  return (
    <>
      <button type="button" onClick={copy}>
        Copy as curl
      </button>
      <span role="status" aria-label="Copying">
        {copied && "Copied, without the values of headers."}
      </span>
      {copied === false && <textarea readOnly aria-label="The curl command" rows={6} value={text} />}
    </>
  );
}
