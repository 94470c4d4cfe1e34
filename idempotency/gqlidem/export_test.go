package gqlidem

// MutationResolver shows what is found in the code that gqlgen generates.
var MutationResolver = mutationResolver
