package graph

type Resolver struct{}
