package graph

// Surrogates is exported to the tests.
type Surrogates = surrogates
