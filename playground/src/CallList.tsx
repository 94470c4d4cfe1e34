import type { Call, Request } from "./calls";
import { Badge, Time } from "./Footer";

/** The calls of the session, the newest first. */
export function CallList({ calls, onUse }: { calls: Call[]; onUse: (request: Request) => void }) {
  if (!calls.length) return <p>None yet.</p>;
  return (
    <ol className="calls" aria-label="Keys of this session">
      {calls.map((call) => (
        <li key={call.key}>
          <code className="key">{call.key}</code>
          <div>
            {call.operation} <code>{call.payload}</code>
          </div>
          <div>
            <Outcomes call={call} />
          </div>
          <button type="button" aria-label={`Use ${call.key}`} onClick={() => onUse(call)}>
            Use
          </button>
        </li>
      ))}
    </ol>
  );
}

function Outcomes({ call: { answers } }: { call: Call }) {
  const statuses = [...Map.groupBy(answers, ({ status }) => status)].sort();
  const executedAt = answers.find((answer) => answer.executedAt)?.executedAt;
  return (
    <>
      {statuses.map(([status, { length }]) => (
        <span key={status}>
          <Badge status={status} /> {length > 1 && `×${length}`}{" "}
        </span>
      ))}
      {executedAt && <Time at={executedAt} />}
    </>
  );
}
