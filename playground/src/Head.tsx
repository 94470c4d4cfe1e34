import { useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { type ReactNode, useEffect, useState } from "react";

import { type Answer } from "./answers";
import { abandonKey, openHeaders, useEditors, useLiveEditors, useTab } from "./editors";
import { sendAgain } from "./lesson";
import { tell } from "./send";
import { example, leaving } from "./sentence";
import { everTookEffect, type Shown, stateOf, useSession } from "./session";
import { Time } from "./Time";

/**
 * The head of the response pane. It speaks of the answer that stands in the pane: where
 * the pane's text is another, it says nothing of it.
 */
export function Head() {
  useLiveEditors();
  const { shown } = useSession();
  const tab = useTab();
  const { key } = useEditors();
  const fetchError = useGraphiQL((state) => state.fetchError);
  const text = usePane(shown[tab]);
  const own = shown[tab];
  const pending = own === "pending";
  const answer = own && own !== "pending" && own.text === text ? own : undefined;
  const schemaError = !answer && fetchError && text === fetchError ? codeOf(fetchError) : "";
  const statuses = schemaError ? [schemaError] : (answer?.answers.map(({ status }) => status) ?? []);
  const unsettled = !pending && stateOf(key) === "unsettled";

  return (
    <div className="head">
      <div role="status" aria-label="Last answer">
        <Said pending={pending} answer={answer} schemaError={schemaError} text={text} />
        {unsettled && (
          <p>
            {everTookEffect(key) ? "It was executed before." : "Its outcome is not known."} Sending it again is safe: the key is the same.
          </p>
        )}
        {statuses.includes("UNAUTHENTICATED") && (
          <p>
            The server wants to know who you are. Put <code>{example}</code> into Headers.
          </p>
        )}
      </div>
      <div className="actions">
        {unsettled && (
          <>
            <button type="button" onClick={sendAgain}>
              Send again
            </button>
            <button type="button" title={leaving(key)} onClick={() => (abandonKey(), tell(tab, leaving(key)))}>
              New key
            </button>
          </>
        )}
        {statuses.includes("UNAUTHENTICATED") && (
          <button type="button" onClick={openHeaders}>
            Open Headers
          </button>
        )}
        {text && (
          <button type="button" className="narrow" onClick={showAnswer}>
            Show the answer
          </button>
        )}
      </div>
    </div>
  );
}

const showAnswer = () => document.querySelector(".result-window")?.scrollIntoView({ block: "center" });

function Said({
  pending,
  answer,
  schemaError,
  text,
}: {
  pending: boolean;
  answer?: Shown | undefined;
  schemaError: string;
  text: string;
}): ReactNode {
  if (pending) return <p>Sending…</p>;
  if (schemaError) {
    return (
      <p>
        <Badge status={schemaError} /> The schema could not be loaded.
      </p>
    );
  }
  if (answer?.answers.length) return answer.answers.map((answer) => <Line key={answer.field} answer={answer} />);
  if (answer?.text) return <p>Answered in {answer.took.toFixed(0)} ms. Nothing in it has an idempotency key.</p>;
  return <p>{text ? "Nothing was sent." : "Nothing sent yet from here. Send a mutation to see whether it is executed or replayed."}</p>;
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
          , kept for <Time at={expiresAt} length />
        </>
      )}
    </p>
  );
}

export function Badge({ status }: { status: string }) {
  return <strong className={`badge ${{ EXECUTED: "executed", REPLAYED: "replayed", SENT: "sent" }[status] ?? "failed"}`}>{status}</strong>;
}

function codeOf(error: string): string {
  try {
    return String(JSON.parse(error).errors[0].extensions.code);
  } catch {
    return "NO SCHEMA";
  }
}

/** Puts a tab's own answer into the response pane. Returns what stands in it. */
function usePane(shown: Shown | "pending" | undefined): string {
  const tab = useTab();
  const editor = useGraphiQL((state) => state.responseEditor);
  const { updateActiveTabValues } = useGraphiQLActions();
  const [text, setText] = useState("");
  useEffect(() => {
    const model = editor?.getModel();
    if (!model) return;
    const read = () => setText(model.getValue());
    read();
    const listening = model.onDidChangeContent(read);
    return () => listening.dispose();
  }, [editor]);
  useEffect(() => {
    if (!shown || !editor) return;
    const text = shown === "pending" ? "" : shown.text;
    if (editor.getValue() !== text) editor.setValue(text);
    // GraphiQL puts it back when tabs are moved.
    updateActiveTabValues({ response: text });
  }, [tab, shown, editor]);
  return text;
}
