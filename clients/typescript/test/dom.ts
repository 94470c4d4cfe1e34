// A document for React DOM. Node's own fetch stays: happy-dom's would ask for CORS.
import { Window } from "happy-dom";

const window = new Window();
const { document, navigator } = window;
Object.assign(globalThis, { window, document, navigator, IS_REACT_ACT_ENVIRONMENT: true });
