// Every entry of the package, and its peers, as CommonJS requires them.
exports.entries = {
  ".": require("@onceql/client"),
  "./apollo": require("@onceql/client/apollo"),
  "./urql": require("@onceql/client/urql"),
  "./stores": require("@onceql/client/stores"),
  "./codegen": require("@onceql/client/codegen"),
};
exports.peers = {
  ApolloClient: require("@apollo/client"),
  urqlCore: require("@urql/core"),
  urqlRetry: require("@urql/exchange-retry"),
  graphql: require("graphql"),
};
