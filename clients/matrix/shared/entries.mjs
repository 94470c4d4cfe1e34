// Every entry of the package, and its peers, as ECMAScript modules import them.
import * as ApolloClient from "@apollo/client";
import * as client from "@onceql/client";
import * as apollo from "@onceql/client/apollo";
import * as apolloReact from "@onceql/client/apollo/react";
import * as codegen from "@onceql/client/codegen";
import * as relay from "@onceql/client/relay";
import * as stores from "@onceql/client/stores";
import * as urql from "@onceql/client/urql";
import * as urqlReact from "@onceql/client/urql/react";
import * as urqlCore from "@urql/core";
import * as graphql from "graphql";

export const entries = {
  ".": client,
  "./apollo": apollo,
  "./apollo/react": apolloReact,
  "./urql": urql,
  "./urql/react": urqlReact,
  "./relay": relay,
  "./stores": stores,
  "./codegen": codegen,
};
export const peers = { ApolloClient, urqlCore, graphql };
