// Every entry of the package, and its peers, as ECMAScript modules import them.
import * as ApolloClient from "@apollo/client";
import * as client from "@onceql/client";
import * as apollo from "@onceql/client/apollo";
import * as codegen from "@onceql/client/codegen";
import * as stores from "@onceql/client/stores";
import * as urql from "@onceql/client/urql";
import * as urqlCore from "@urql/core";
import * as urqlRetry from "@urql/exchange-retry";
import * as graphql from "graphql";

export const entries = { ".": client, "./apollo": apollo, "./urql": urql, "./stores": stores, "./codegen": codegen };
export const peers = { ApolloClient, urqlCore, urqlRetry, graphql };
