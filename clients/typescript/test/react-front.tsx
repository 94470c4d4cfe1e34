// The page of the hooks' tests in a browser: a form of docs/clients/react.md, over each client.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { ApolloProvider } from "@apollo/client/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Client, fetchExchange, Provider } from "urql";

import * as apollo from "../src/apollo.js";
import { sessionStore } from "../src/stores.js";
import * as urql from "../src/urql.js";
import * as apolloForm from "./apollo-form.js";
import * as urqlForm from "./urql-form.js";

const options = { store: sessionStore(), user: () => "ann" };
const retries = { attempts: 2, initialDelayMs: 10 };

function App() {
  if (location.hash === "#urql") {
    const exchanges = [urql.idempotencyExchange(options), urql.retryKeyed(retries), fetchExchange];
    const client = new Client({ url: "/graphql", exchanges, preferGetMethod: false });
    return <Provider value={client} children={<urqlForm.NewProject />} />;
  }
  const links = [apollo.idempotencyLink(options), apollo.retryKeyed(retries), new HttpLink({ uri: "/graphql" })];
  const client = new ApolloClient({ link: ApolloLink.from(links), cache: new InMemoryCache() });
  return <ApolloProvider client={client} children={<apolloForm.NewProject />} />;
}

createRoot(document.getElementById("app")!).render(<StrictMode children={<App />} />);
