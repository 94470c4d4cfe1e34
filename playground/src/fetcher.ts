// How GraphiQL sends.
import type { ComponentProps } from "react";
import type { GraphiQL } from "graphiql";

import { named } from "./document";
import { openTab, sendable, withUnusedKey } from "./editors";
import { post, send, showing, tell } from "./send";
import { meaning, unreadable } from "./sentence";
import { current } from "./session";

/**
 * What GraphiQL sends becomes part of the session, and its answer is shown in the tab
 * that sent it. GraphiQL ends what it subscribed to when another tab is opened: the
 * request then goes on. When the user stops it, it is given up, and has no answer.
 */
export const fetcher: ComponentProps<typeof GraphiQL>["fetcher"] = ({ query, variables, operationName }, options) => {
  const headers: Record<string, string> = options?.headers ?? {};
  const given = { ...named(query, operationName), variables: variables ?? {} };
  if (operationName === "IntrospectionQuery") return post(given, headers).then((response) => response.json());
  const tab = openTab();
  if (!sendable(headers)) {
    tell(tab, unreadable);
    // GraphiQL shows what it is rejected with.
    return Promise.reject({ message: unreadable });
  }
  const aborter = new AbortController();
  return {
    subscribe({ next, complete }: { next(value: any): void; complete(): void }) {
      void showing(tab, async () => {
        const request = current().keyPerSend ? withUnusedKey(given) : given;
        const [reply] = await send(tab, request, headers, { signal: aborter.signal });
        // GraphiQL would write it into the tab that is open.
        if (reply!.body && tab === openTab()) next(reply!.body);
        complete();
        return { reply: reply!, sentence: meaning(reply!.answers[0]) };
      });
      return { unsubscribe: () => setTimeout(() => tab === openTab() && aborter.abort()) };
    },
  } as any;
};
