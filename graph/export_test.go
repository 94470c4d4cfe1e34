package graph

// Exported to the tests.
type LoneSurrogates = loneSurrogates

var NewDocumentCache = newDocumentCache
