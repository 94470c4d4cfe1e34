package graph

// Exported to the tests.
type Surrogates = surrogates

var NewDocumentCache = newDocumentCache
