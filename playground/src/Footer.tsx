import { useEffect } from "react";

import { type Answer, useSession } from "./calls";
import { useEditors } from "./editors";

/** Says below the answer, for each keyed field, whether it executed or was replayed. */
export function Footer() {
  const { last, sends, keyPerSend } = useSession();
  const { mintKey } = useEditors();
  // What was sent has been answered: the next send is another call.
  useEffect(() => {
    if (keyPerSend) mintKey();
  }, [sends, keyPerSend]);

  return (
    <div className="last-answer" role="status" aria-label="Last answer">
      {last.length === 0
        ? "Send a mutation to see whether it executed or was replayed."
        : last.map((answer) => <Line key={answer.field} answer={answer} />)}
    </div>
  );
}

function Line({ answer: { field, status, executedAt, expiresAt, took } }: { answer: Answer }) {
  return (
    <p>
      <Badge status={status} /> <code>{field}</code> in {took.toFixed(0)} ms
      {executedAt && (
        <>
          , executed <Time at={executedAt} />
        </>
      )}
      {expiresAt && (
        <>
          , replayed until <Time at={expiresAt} />
        </>
      )}
    </p>
  );
}

export function Badge({ status }: { status: string }) {
  return <strong className={`badge ${{ EXECUTED: "executed", REPLAYED: "replayed" }[status] ?? "failed"}`}>{status}</strong>;
}

export function Time({ at }: { at: string }) {
  return <time dateTime={at}>{new Date(at).toLocaleString()}</time>;
}
