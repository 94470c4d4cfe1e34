/**
 * Idempotency keys for Relay:
 *
 *     network: Network.create(idempotentFetch(fetchGraphQL))
 *
 * Documents declare the key `$idempotencyKey: String = ""`: relay-compiler makes it
 * optional, and the helper replaces it.
 */
import type { FetchFunction, GraphQLResponse, RequestParameters, Variables } from "relay-runtime";

import { type CallContext, type Intents, keyedCalls, type Options } from "./calls.js";
import { keyedFields, type ParsedDocument } from "./document.js";
import { signedOut } from "./intents.js";
import type { Answer } from "./outcome.js";
import { pauses, type RetryOptions, timeoutError, timeoutOf } from "./retry.js";

export {
  type CallContext,
  type Intents,
  type KeyStore,
  type OnPayloadChange,
  type Options,
  type Unsettled,
  UnsettledError,
} from "./calls.js";
export type { Outcome } from "./outcome.js";
export type { Retry, RetryOptions } from "./retry.js";

/**
 * Gives every keyed field of a mutation its idempotency key, where the caller gave
 * none, and sends the mutation again with it where that can help. `cacheConfig.metadata`
 * is the call's {@link CallContext}. Queries and mutations without a key are sent once.
 * A call that was disposed of is still sent until its outcome is known.
 *
 * fetchFn finds a signal in `cacheConfig.metadata`, which is aborted when the answer does
 * not come in time. An error that it throws with a `response` is heeded by its HTTP
 * status; any other, such as that of a body that is no JSON, is no answer.
 */
export function idempotentFetch(
  fetchFn: FetchFunction,
  { retry = {}, ...options }: Options & { retry?: RetryOptions } = {},
): FetchFunction & Intents {
  const open = keyedCalls(options as Options);
  const keyed: FetchFunction = (...parameters) => {
    const [request, variables, cacheConfig, ...rest] = parameters;
    const document = documentOf(request, variables);
    const fields = keyedFields(document);
    if (request.operationKind !== "mutation" || !fields.length) return fetchFn(...parameters);

    const tryOnce = (variables: Variables) =>
      new Promise<GraphQLResponse>((resolve, reject) => {
        const late = new AbortController();
        const metadata = { ...cacheConfig.metadata, signal: late.signal };
        // Relay takes an observable, too.
        const sent: any = fetchFn(request, variables, { ...cacheConfig, metadata }, ...rest);
        const timer = setTimeout(() => {
          reject(timeoutError());
          late.abort();
        }, timeoutOf(retry));
        Promise.resolve(sent.toPromise?.() ?? sent)
          .finally(() => clearTimeout(timer))
          .then(resolve, reject);
      });

    return (async () => {
      const call = await open(document, variables, (cacheConfig.metadata ?? {}) as CallContext);
      const keys = fields.map(({ variable }) => call.variables[variable]);
      const pause = pauses(retry, variables, keys, undefined);
      for (;;) {
        if (!call.isSignedIn()) {
          call.resolve({});
          throw signedOut();
        }
        let response: GraphQLResponse | undefined;
        let failure: any;
        try {
          response = await tryOnce(call.variables);
        } catch (error) {
          failure = error ?? {};
        }
        const answer = (response ?? {}) as Answer;
        const again =
          (failure || answer.errors) &&
          (await new Promise((resolve) => pause(failure ?? answer, failure, () => resolve(true)) ?? resolve(false)));
        if (again) continue;
        call.resolve(request.text ? answer : answerOfOne(request.name, answer));
        if (failure) throw failure;
        return response!;
      }
    })();
  };
  const { unsettled, discard, clear } = open;
  return Object.assign(keyed, { unsettled, discard, clear });
}

// relay-compiler prints a field as `alias: name(argument: value)`.
const fieldText = /(?:(\w+): )?(\w+)\(((?:"(?:\\.|[^"\\])*"|[^"()])*)\)/g;
// What a string says is no argument.
const keyText = /"(?:\\.|[^"\\])*"|\bidempotencyKey: \$(\w+)/g;

/**
 * The fields of a request that have arguments, as a document has them: apps with Relay
 * have no parser. A persisted request has no text: its one keyed field is named after
 * the operation, and its key is the variable idempotencyKey.
 */
function documentOf({ text, name }: RequestParameters, variables: Variables): ParsedDocument {
  const persisted = "idempotencyKey" in variables ? `${name}(idempotencyKey: $idempotencyKey)` : "";
  const selections = [...(text ?? persisted).matchAll(fieldText)].map(([, alias, field, argumentsText]) => ({
    ...node("Field", field!),
    alias: alias ? { value: alias } : undefined,
    arguments: [
      ...[...argumentsText!.matchAll(keyText)].flatMap(([, key]) => (key ? argument("idempotencyKey", node("Variable", key)) : [])),
      // What the payload's fingerprint has of literals.
      argument("", argumentsText),
    ],
  }));
  return { definitions: [{ ...node("OperationDefinition", name), operation: "mutation", selectionSet: { selections } }] };
}

const node = (kind: string, name: string) => ({ kind, name: { value: name } });
const argument = (name: string, value: unknown) => ({ ...node("Argument", name), value });

/** The answer to a persisted request, with its field named after the operation. */
function answerOfOne(name: string, { data, errors, extensions }: Answer): Answer {
  const [status] = Object.values(extensions?.idempotency ?? {});
  return {
    // Data alone says that the field was left out.
    data: status ? undefined : data,
    errors: Array.isArray(errors) ? errors.map((error) => ({ ...error, path: undefined })) : undefined,
    extensions: { idempotency: { [name]: status } },
  };
}
