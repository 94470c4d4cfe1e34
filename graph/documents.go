package graph

import (
	"container/list"
	"context"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// DefaultDocumentCacheBytes bounds the parsed documents that are kept: about 500 of an
// application's, or 2,500 of playgrounds and generated clients.
const DefaultDocumentCacheBytes = 16 << 20

// partOfCache is how many documents the cache has room for at least: one that would take
// more than its part is not kept.
const partOfCache = 64

// A documentCache keeps parsed documents, so many bytes of them. It has only documents that
// passed the limits with the variables of a request: what is refused leaves nothing.
//
// Each document is on the account of the tenant who sent it first. When there is no room,
// the tenant that has the most loses the one of its own that was used the longest ago. A
// flood of different documents pushes out its sender's, and nobody else's who has less.
type documentCache struct {
	bytes  int
	tenant func(context.Context) (string, error)

	mu        sync.Mutex
	kept      int
	documents map[string]*list.Element
	accounts  map[string]*account
}

// An account has what is kept for a tenant. Its documents are in the order of their use,
// the last one first.
type account struct {
	tenant    string
	bytes     int
	documents list.List
}

type cachedDocument struct {
	query    string
	document *ast.QueryDocument
	bytes    int
	account  *account
}

// newDocumentCache returns the cache of a server that knows whose request a context belongs
// to; nil means that all are of one tenant.
func newDocumentCache(bytes int, tenant func(context.Context) (string, error)) *documentCache {
	if tenant == nil {
		tenant = func(context.Context) (string, error) { return "", nil }
	}
	return &documentCache{bytes: bytes, tenant: tenant, documents: map[string]*list.Element{}, accounts: map[string]*account{}}
}

// Get implements graphql.Cache.
func (c *documentCache) Get(_ context.Context, query string) (*ast.QueryDocument, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.documents[query]
	if !ok {
		return nil, false
	}
	kept, _ := element.Value.(*cachedDocument)
	kept.account.documents.MoveToFront(element)
	return kept.document, true
}

// Add implements graphql.Cache. gqlgen calls it before the limits are checked, so it does
// nothing.
func (*documentCache) Add(context.Context, string, *ast.QueryDocument) {}

// ExtensionName implements graphql.HandlerExtension.
func (*documentCache) ExtensionName() string { return "DocumentCache" }

// Validate implements graphql.HandlerExtension.
func (*documentCache) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext implements graphql.OperationContextMutator. It changes nothing:
// it is called after the limits, and keeps what passed them.
func (c *documentCache) MutateOperationContext(ctx context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	c.mu.Lock()
	_, kept := c.documents[operation.RawQuery]
	c.mu.Unlock()
	if kept {
		return nil
	}
	bytes := documentBytes(operation.RawQuery, operation.Doc)
	tenant, err := c.tenant(ctx)
	if err != nil || bytes > c.bytes/partOfCache {
		return nil //nolint:nilerr // Whose it is, is needed where it runs: that says so.
	}
	c.keep(tenant, &cachedDocument{query: operation.RawQuery, document: operation.Doc, bytes: bytes})
	return nil
}

func (c *documentCache) keep(tenant string, document *cachedDocument) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, kept := c.documents[document.query]; kept {
		return
	}
	a := c.accounts[tenant]
	if a == nil {
		a = &account{tenant: tenant}
		c.accounts[tenant] = a
	}
	document.account = a
	c.documents[document.query] = a.documents.PushFront(document)
	a.bytes += document.bytes
	c.kept += document.bytes
	for c.kept > c.bytes {
		c.dropFrom(c.largest())
	}
}

func (c *documentCache) largest() (largest *account) {
	for _, a := range c.accounts {
		if largest == nil || a.bytes > largest.bytes {
			largest = a
		}
	}
	return largest
}

// dropFrom forgets the document of the account that was used the longest ago.
func (c *documentCache) dropFrom(a *account) {
	dropped, _ := a.documents.Remove(a.documents.Back()).(*cachedDocument)
	delete(c.documents, dropped.query)
	a.bytes -= dropped.bytes
	c.kept -= dropped.bytes
	if a.documents.Len() == 0 {
		delete(c.accounts, a.tenant)
	}
}

// What a parsed and validated document takes, measured: its text, so much for itself, for
// each part of it, and more for meta fields, each of which has a definition of its own.
const (
	bytesOfDocument  = 1024
	bytesOfPart      = 256
	bytesOfMetaField = 448
)

// documentBytes is about how much memory the document takes.
func documentBytes(query string, document *ast.QueryDocument) int {
	bytes := bytesOfDocument + len(query)
	for _, operation := range document.Operations {
		bytes += bytesOfPart + directivesBytes(operation.Directives) + selectionBytes(operation.SelectionSet)
		for _, variable := range operation.VariableDefinitions {
			bytes += bytesOfPart + valueBytes(variable.DefaultValue) + directivesBytes(variable.Directives)
		}
	}
	for _, fragment := range document.Fragments {
		bytes += bytesOfPart + directivesBytes(fragment.Directives) + selectionBytes(fragment.SelectionSet)
	}
	return bytes
}

func selectionBytes(set ast.SelectionSet) (bytes int) {
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.Field:
			bytes += bytesOfPart
			if strings.HasPrefix(selection.Name, "__") {
				bytes += bytesOfMetaField - bytesOfPart
			}
			bytes += argumentsBytes(selection.Arguments) + directivesBytes(selection.Directives) + selectionBytes(selection.SelectionSet)
		case *ast.InlineFragment:
			bytes += bytesOfPart + directivesBytes(selection.Directives) + selectionBytes(selection.SelectionSet)
		case *ast.FragmentSpread:
			bytes += bytesOfPart + directivesBytes(selection.Directives)
		}
	}
	return bytes
}

func directivesBytes(directives ast.DirectiveList) (bytes int) {
	for _, directive := range directives {
		bytes += bytesOfPart + argumentsBytes(directive.Arguments)
	}
	return bytes
}

func argumentsBytes(arguments ast.ArgumentList) (bytes int) {
	for _, argument := range arguments {
		bytes += bytesOfPart + valueBytes(argument.Value)
	}
	return bytes
}

func valueBytes(value *ast.Value) int {
	if value == nil {
		return 0
	}
	bytes := bytesOfPart
	for _, child := range value.Children {
		bytes += valueBytes(child.Value)
	}
	return bytes
}
