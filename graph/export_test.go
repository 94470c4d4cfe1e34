package graph

// Exported to the tests.
var ReadSource = sourceText{DefaultLimits().Tokens}.MutateOperationParameters

var JSONBytes = jsonBytes

type DocumentCache = documentCache

var (
	NewDocumentCache = newDocumentCache
	DocumentBytes    = documentBytes
)

// Kept is how much the cache says that it keeps, and how much that is; it is -1 when an
// account has another sum, or nothing, or a document that is not found.
func (c *documentCache) Kept() (kept, counted int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.accounts {
		sum := 0
		for e := a.documents.Front(); e != nil; e = e.Next() {
			document, _ := e.Value.(*cachedDocument)
			sum += document.bytes
			if c.documents[document.query] != e {
				return c.kept, -1
			}
		}
		if sum != a.bytes || sum == 0 {
			return c.kept, -1
		}
		counted += sum
	}
	return c.kept, counted
}

const (
	MessageTokenLimit = messageTokenLimit
	MessageNesting    = messageNesting
	MessageNumber     = messageNumber
)
