// Every entry of the package, and its peers, as CommonJS requires them.
exports.entries = {
  ".": require("@onceql/client"),
  "./apollo": require("@onceql/client/apollo"),
  "./apollo/react": require("@onceql/client/apollo/react"),
  "./urql": require("@onceql/client/urql"),
  "./urql/react": require("@onceql/client/urql/react"),
  "./relay": require("@onceql/client/relay"),
  "./stores": require("@onceql/client/stores"),
  "./codegen": require("@onceql/client/codegen"),
};
exports.peers = {
  ApolloClient: require("@apollo/client"),
  urqlCore: require("@urql/core"),
  graphql: require("graphql"),
};
