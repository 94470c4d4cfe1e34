// Checked by tsc alone: what the options do not let one do.
import type { DefaultContext } from "@apollo/client";
import type { OperationContext } from "@urql/core";

import { idempotencyLink } from "../src/apollo.js";
import { type Failure } from "../src/index.js";
import { localStore, sessionStore } from "../src/stores.js";
import { idempotencyExchange } from "../src/urql.js";

const user = () => "ann";

idempotencyLink();
idempotencyExchange({ store: sessionStore(), user });
idempotencyLink({ store: localStore(), user, onPayloadChange: "newKey" });
idempotencyLink({ store: new Map<string, string>(), user });
// @ts-expect-error What outlives the page has to know whose it is.
idempotencyLink({ store: sessionStore() });
// @ts-expect-error All tabs share a Storage.
idempotencyLink({ store: localStorage, user });
// @ts-expect-error It asks, or it does not.
idempotencyExchange({ onPayloadChange: "reuse" });

/** Of a response, as other clients have it. */
export const failure: Failure = { response: { status: 503, headers: new Headers() } };
export const apolloContext: DefaultContext = { intent: "create", onPayloadChange: "newKey" };
// @ts-expect-error An intent is a name.
export const apolloIntent: DefaultContext = { intent: 1 };
export const urqlContext: Partial<OperationContext> = { intent: "create", onPayloadChange: "newKey" };
// @ts-expect-error An intent is a name.
export const urqlIntent: Partial<OperationContext> = { intent: 1 };
