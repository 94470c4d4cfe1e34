// As Jest loads a test unless it is told otherwise: CommonJS.
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

/** Runs the exercise for the projects of that name, and expects what became of its calls. */
module.exports = async (name, fetch) => {
  const outcomes = await exercise(entries, peers, { url: process.env.ENDPOINT, name, fetch });
  expect(outcomes).toEqual(["apollo replayed", "urql replayed"]);
};
