/**
 * Turns GraphiQL's tabs, which are interactive elements with others inside, into a
 * list of buttons: assistive technology can't reach into a tab. Returns what ends it.
 */
export function listTabs(): () => void {
  const relabel = () => {
    document.querySelector(".graphiql-tabs")?.setAttribute("role", "list");
    for (const tab of document.querySelectorAll(".graphiql-tab")) {
      tab.setAttribute("role", "listitem");
      tab.removeAttribute("aria-selected");
      tab.querySelector(".graphiql-tab-button")?.setAttribute("aria-current", String(tab.classList.contains("graphiql-tab-active")));
    }
  };
  const observer = new MutationObserver(relabel);
  observer.observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
  relabel();
  return () => observer.disconnect();
}
