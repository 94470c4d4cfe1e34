// Checked by tsc alone: what the options do not let one do.
import { idempotencyLink } from "../src/apollo.js";
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
