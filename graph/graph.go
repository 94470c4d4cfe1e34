// Package graph is the GraphQL layer: resolvers, error codes and limits.
package graph

//go:generate go tool -modfile=../tools/go.mod gqlgen generate
