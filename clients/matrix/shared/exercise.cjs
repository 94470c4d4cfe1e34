// What each project does with the package, however it was resolved, loaded or bundled:
// `entries` and `peers` are its modules, `url` is where the server takes GraphQL. Returns
// what became of the three calls, whose projects have the name.
module.exports = async function exercise({ entries, peers }, options) {
  const { ".": client, "./apollo": apollo, "./urql": urql, "./relay": relay, "./stores": stores, "./codegen": codegen } = entries;
  const { "./apollo/react": apolloReact, "./urql/react": urqlReact } = entries;
  const { ApolloClient, urqlCore, graphql } = peers;
  const { url, name } = options;
  const assert = (holds, what) => {
    if (!holds) throw new Error("not so: " + what);
  };

  // The first answer is lost, so that a second try must have the same key.
  const losing = (lost) => async (input, init) => {
    const response = await (options.fetch || fetch)(input, init);
    if (lost) return response;
    lost = true;
    throw new TypeError("the answer is lost");
  };
  const createProject = graphql.parse(
    'mutation ($input: CreateProjectInput!, $idempotencyKey: String! = "") { createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id } } }',
  );
  const outcomes = [];
  const onOutcome = ({ outcome, intent }) => outcomes.push(`${intent} ${outcome}`);

  const store = stores.sessionStore();
  await store.set("name", "value");
  assert((await store.get("name")) === "value", "a store keeps what is set");
  await store.delete("name");

  const { ApolloLink, HttpLink, InMemoryCache } = ApolloClient;
  const links = [
    apollo.idempotencyLink({ onOutcome, store, user: () => "ann" }),
    apollo.retryKeyed({ initialDelayMs: 10 }),
    new HttpLink({ uri: url, fetch: losing(false) }),
  ];
  const apolloClient = new ApolloClient.ApolloClient({ cache: new InMemoryCache(), link: ApolloLink.from(links) });
  const variables = { input: { name: `${name}, Apollo` } };
  await apolloClient.mutate({ mutation: createProject, variables, context: { intent: "apollo" } });

  const urqlClient = new urqlCore.Client({
    url,
    preferGetMethod: false,
    exchanges: [
      urql.idempotencyExchange({ onOutcome }),
      urql.retryKeyed({ initialDelayMs: 10 }),
      urqlCore.fetchExchange,
    ],
    fetch: losing(false),
  });
  const { error } = await urqlClient.mutation(createProject, { input: { name: `${name}, urql` } }, { intent: "urql" }).toPromise();
  if (error) throw error;

  const fetchOnce = losing(false);
  const fetchRelay = relay.idempotentFetch(
    async ({ text }, variables) => {
      const body = JSON.stringify({ query: text, variables });
      const response = await fetchOnce(url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      return JSON.parse(await response.text());
    },
    { onOutcome, retry: { initialDelayMs: 10 } },
  );
  const text =
    'mutation ($input: CreateProjectInput!, $idempotencyKey: String = "") { createProject(input: $input, idempotencyKey: $idempotencyKey) { project { id } } }';
  const request = { operationKind: "mutation", name: "", text };
  await fetchRelay(request, { input: { name: `${name}, Relay` }, idempotencyKey: "" }, { metadata: { intent: "relay" } });
  // Its own test renders it.
  for (const { useIdempotentMutation } of [apolloReact, urqlReact]) assert(useIdempotentMutation.length === 2, "there are hooks");

  const { UnsettledError } = client;
  assert(UnsettledError === apollo.UnsettledError && UnsettledError === urql.UnsettledError && UnsettledError === relay.UnsettledError, "the entries share one module");
  const schema = graphql.parse("type Mutation { a(idempotencyKey: String!): ID @idempotent } directive @idempotent on FIELD_DEFINITION");
  const [{ document }] = codegen.idempotencyKeys.transform({ schema, documents: [{ document: graphql.parse("mutation { a }") }] });
  assert(client.keyedFields(document).length === 1, "the transform adds a key");
  return outcomes;
};
