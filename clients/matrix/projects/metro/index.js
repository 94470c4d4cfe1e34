import * as ApolloClient from "@apollo/client";
import * as client from "@onceql/client";
import * as apollo from "@onceql/client/apollo";
import * as codegen from "@onceql/client/codegen";
import * as stores from "@onceql/client/stores";
import * as urql from "@onceql/client/urql";
import * as urqlCore from "@urql/core";
import * as urqlRetry from "@urql/exchange-retry";
import * as graphql from "graphql";

import exercise from "./exercise.cjs";

const entries = { client, apollo, urql, stores, codegen };
const peers = { ApolloClient, urqlCore, urqlRetry, graphql };
global.run = (options) => exercise(entries, peers, options);
