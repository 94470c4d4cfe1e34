import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "./style.css";
import "./narrow.css";

import { createRoot } from "react-dom/client";

import { App } from "./App";
import { open } from "./opening";

void open().then((opened) => createRoot(document.getElementById("root")!).render(<App opened={opened} />));
