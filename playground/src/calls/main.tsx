import "./style.css";

import { createRoot } from "react-dom/client";

import { Page } from "./Page";

// The playground's choice of a theme; without one, or without storage, the system's.
try {
  const theme = localStorage.getItem("graphiql:theme");
  if (theme === "light" || theme === "dark") document.documentElement.style.colorScheme = theme;
} catch {
  // The browser forbids storage.
}

createRoot(document.getElementById("root")!).render(<Page />);
