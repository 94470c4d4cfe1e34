/**
 * Idempotency keys for any client; `@onceql/client/apollo` and `@onceql/client/urql`
 * are made of this.
 */
export {
  type Call,
  type CallContext,
  type Intents,
  keyedCalls,
  type KeyStore,
  type OnPayloadChange,
  type OpenCall,
  type Options,
  type Unsettled,
  UnsettledError,
} from "./calls.js";
export { type KeyedField, keyedFields, type ParsedDocument } from "./document.js";
export { newKey } from "./key.js";
export type { Answer, AnswerError, Outcome } from "./outcome.js";
export { type Failure, type Retry, retryDelay, type RetryOptions } from "./retry.js";
