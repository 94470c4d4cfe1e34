// Package gqlidem makes mutations of a gqlgen server take effect at most once per
// idempotency key.
//
// A mutation is marked in the schema and carries its key as an argument; others
// are left alone, unless the Once is Strict:
//
//	directive @idempotent on FIELD_DEFINITION
//
//	type Mutation {
//	  createOrder(input: OrderInput!, idempotencyKey: String!): OrderPayload @idempotent
//	}
//
// The mark does nothing at run time, which gqlgen has to know from gqlgen.yml:
//
//	directives: { idempotent: { skip_runtime: true } }
//
// The server uses one Once, and the resolver hands its effect to Do:
//
//	once := gqlidem.New(idempotency.New(pool, idempotency.Config{}), tenantOf)
//	defer once.Close(ctx)
//	srv := handler.New(graph.NewExecutableSchema(graph.Config{Resolvers: &graph.Resolver{Once: once}}))
//	srv.Use(once)
//
//	func (r *mutationResolver) CreateOrder(ctx context.Context, in OrderInput, _ string) (*OrderPayload, error) {
//		return gqlidem.Do(ctx, r.Once, func(ctx context.Context, tx pgx.Tx) (*OrderPayload, error) {
//			return insertOrder(ctx, tx, in)
//		})
//	}
//
// What the client sent decides whether two calls are the same: the mutation and
// its arguments, compared by the schema's types (see Fingerprint), whatever the
// document looks like. Each mutation field of a document is a call of its own.
// The effect sees the decoded input; it must do all it does through tx. What is to
// happen after the commit, and once, follows a DoOutcome that is not Replayed.
//
// Every response says in `extensions.idempotency` whether a field was EXECUTED
// or REPLAYED. Wrap the HTTP handler in WithHeader for the header
// Idempotency-Replayed.
//
// The engine's own errors, which Do and Batch.Do return for keyed calls, carry
// `extensions.code` and `extensions.retryable`. An effect's own error is returned as it
// is: the application gives it both with NewError, or in its error presenter.
//
// # Payloads
//
// A payload is stored as JSON of at most idempotency.MaxPayload bytes: the Go value
// that the effect returns, and no more. Fields with resolvers of their own are
// resolved anew for each answer, on the data of its time. So the Go type must come
// back whole from its JSON, or the server does not start: see Once.Validate for
// what is refused, Union for unions and interfaces, and WithCodec for the rest.
// Numbers among plain JSON values, as gqlgen's scalars Any and Map have them, are
// read back as json.Number. An empty list or map in a field with omitempty, which
// gqlgen gives to nullable fields, is read back as null.
//
// # Limits
//
// One Once serves one schema. Arguments that hold uploaded files have no
// fingerprint. Make the payloads nullable: of a document with several mutations,
// those that succeeded are lost to the client when one of type T! fails, and stand
// all the same.
package gqlidem
