const exercise = require("./exercise.cjs");

const entries = {
  client: require("@onceql/client"),
  apollo: require("@onceql/client/apollo"),
  urql: require("@onceql/client/urql"),
  stores: require("@onceql/client/stores"),
  codegen: require("@onceql/client/codegen"),
};
const peers = {
  ApolloClient: require("@apollo/client"),
  urqlCore: require("@urql/core"),
  urqlRetry: require("@urql/exchange-retry"),
  graphql: require("graphql"),
};
const [url, name] = process.argv.slice(2);
exercise(entries, peers, { url, name }).then((outcomes) => console.log(JSON.stringify(outcomes)));
