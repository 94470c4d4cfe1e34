import { Fragment, type ReactNode, useId } from "react";

import { Time } from "../Time";
import type { Call } from "./ask";

interface Props {
  calls: Call[];
  caption: string;
  /** The key whose row is open. */
  opened: string | undefined;
  onOpen: (key: string | undefined) => void;
  onRequest: (requestId: string) => void;
}

/** Calls in rows, of which one at a time is open. */
export function Table({ calls, caption, opened, onOpen, onRequest }: Props) {
  const id = useId();
  return (
    <table>
      <caption>{caption}</caption>
      <thead>
        <tr>
          <th scope="col">Operation</th>
          <th scope="col">Executed</th>
          <th scope="col" className="wide">
            Key
          </th>
          <th scope="col" className="wide">
            Request
          </th>
          <th scope="col">State</th>
        </tr>
      </thead>
      <tbody>
        {calls.map((call, at) => {
          const open = call.key === opened;
          return (
            <Fragment key={call.key}>
              <tr className={open ? "opened" : undefined}>
                <th scope="row">
                  <button
                    type="button"
                    aria-expanded={open}
                    aria-controls={open ? `${id}${at}` : undefined}
                    aria-label={`${call.operation}, key ${call.key}`}
                    onClick={() => onOpen(open ? undefined : call.key)}
                  >
                    <span>{String(call.operation)}</span>
                  </button>
                </th>
                <td>
                  <Time at={call.executedAt} />
                </td>
                <td className="wide cut">
                  <code>{String(call.key)}</code>
                </td>
                <td className="wide cut">
                  <code>{call.requestId ?? "none"}</code>
                </td>
                <td>
                  <State call={call} />
                </td>
              </tr>
              {open && (
                <tr id={`${id}${at}`} className="details">
                  <td colSpan={5}>
                    <Details call={call} onRequest={onRequest} />
                  </td>
                </tr>
              )}
            </Fragment>
          );
        })}
      </tbody>
    </table>
  );
}

/** What a retry with the key would get now. */
function State({ call: { expired, expiresAt, retainedUntil } }: { call: Call }) {
  const until = expired ? retainedUntil : expiresAt;
  return (
    <>
      <strong className={`badge ${expired ? "refused" : "replays"}`}>{expired ? "refused" : "replays"}</strong>{" "}
      {expired && Date.parse(until) < Date.now() ? (
        "until it is forgotten"
      ) : (
        <>
          until <time dateTime={until}>{short(until)}</time>
        </>
      )}
    </>
  );
}

function Details({ call, onRequest }: { call: Call; onRequest: Props["onRequest"] }) {
  const { fingerprint, fingerprintVersion, requestId, traceId } = call;
  return (
    <dl>
      <Item name="Key">
        <code>{String(call.key)}</code>
      </Item>
      <Item name="Key in the log">
        <code>{String(call.keyHash)}</code>
      </Item>
      <Item name="Operation">
        <code>{String(call.operation)}</code>
      </Item>
      <Item name="Executed at">
        <Instant at={call.executedAt} />
      </Item>
      <Item name="By the request">
        {requestId ? (
          <>
            <code>{String(requestId)}</code>{" "}
            <button type="button" onClick={() => onRequest(requestId)}>
              All keys of this request
            </button>
          </>
        ) : (
          "not known"
        )}
      </Item>
      <Item name="In the trace">{traceId ? <code>{String(traceId)}</code> : "none that is known"}</Item>
      <Item name="Fingerprint">
        {fingerprint ? (
          <>
            <code>{String(fingerprint)}</code> version {String(fingerprintVersion)}
          </>
        ) : (
          "shown to tokens with the scope keys:read"
        )}
      </Item>
      <Item name={call.expired ? "Replayed until" : "Replays until"}>
        <Instant at={call.expiresAt} />
      </Item>
      <Item name="Then refused until">
        <Instant at={call.retainedUntil} />
      </Item>
    </dl>
  );
}

function Item({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A time as the server has it, in UTC, as logs have it too, and how far away it is. */
function Instant({ at }: { at: string }) {
  return (
    <>
      <code>{String(at)}</code> (<Time at={at} />)
    </>
  );
}

function short(at: string): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return date.toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}
