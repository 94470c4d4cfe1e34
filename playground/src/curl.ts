// A call as a command line.
import { type Request } from "./document";
import { address } from "./send";

/** Quotes for a POSIX shell: within '…' nothing has a meaning but '. */
const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The curl command that sends the request. Of headers it has the names: what they hold may be a secret. */
export function curl({ query, variables, operationName }: Request, headerNames: string[]): string {
  const headers = headerNames.map((name) =>
    name.toLowerCase() === "authorization" ? `"Authorization: Bearer $TOKEN"` : quoted(`${name}: <${name}>`),
  );
  return [
    `curl ${quoted(address())}`,
    ...["'Content-Type: application/json'", ...headers].map((header) => `-H ${header}`),
    `--data-raw ${quoted(JSON.stringify({ query, variables, operationName }))}`,
  ].join(" \\\n  ");
}
