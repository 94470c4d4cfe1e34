package graph

// Exported to the tests.
var ReadSource = sourceText{DefaultLimits().Tokens}.MutateOperationParameters

type DocumentCache = documentCache

var (
	NewDocumentCache = newDocumentCache
	DocumentBytes    = documentBytes
)

// Kept is how much the cache says that it keeps, and how much that is.
func (c *documentCache) Kept() (kept, counted int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.accounts {
		for e := a.documents.Front(); e != nil; e = e.Next() {
			document, _ := e.Value.(*cachedDocument)
			counted += document.bytes
		}
	}
	return c.kept, counted
}

const (
	MessageTokenLimit = messageTokenLimit
	MessageNesting    = messageNesting
	MessageNumber     = messageNumber
)
