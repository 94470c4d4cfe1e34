package graph

// Exported to the tests.
var ReadSource = sourceText{DefaultLimits().Tokens}.MutateOperationParameters

var NewDocumentCache = newDocumentCache

const (
	MessageTokenLimit = messageTokenLimit
	MessageNesting    = messageNesting
	MessageNumber     = messageNumber
)
