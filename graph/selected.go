package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/model"
	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/idempotency"
)

// selected counts how often the answer to a field has the strings of each project or call:
// once for each response key, wherever in the field's selections.
type selected struct {
	names, descriptions int
	// texts are those of a call: its key above all.
	texts int
}

// ofRoot is what a root field of a query selects of each project or call that it reads.
func ofRoot(operation *graphql.OperationContext, root graphql.CollectedField) (s selected) {
	switch root.Name {
	case "project":
		s.project(operation, root.Selections)
	case "projects":
		s.page(operation, root, "Project", s.project)
	case "idempotentCalls":
		s.page(operation, root, "IdempotentCall", s.call)
	}
	return s
}

// page has count count what is selected of each node of the connection.
func (s *selected) page(operation *graphql.OperationContext, root graphql.CollectedField, node string, count func(*graphql.OperationContext, ast.SelectionSet)) {
	for _, field := range graphql.CollectFields(operation, root.Selections, []string{node + "Connection"}) {
		switch field.Name {
		case "nodes":
			count(operation, field.Selections)
		case "edges":
			for _, below := range graphql.CollectFields(operation, field.Selections, []string{node + "Edge"}) {
				switch below.Name {
				case "node":
					count(operation, below.Selections)
				case "cursor":
					if node == "IdempotentCall" { // It has the key.
						s.texts++
					}
				}
			}
		}
	}
}

func (s *selected) call(operation *graphql.OperationContext, selections ast.SelectionSet) {
	for _, field := range graphql.CollectFields(operation, selections, []string{"IdempotentCall"}) {
		switch field.Name {
		case "key", "operation", "requestId", "traceId", "keyHash", "fingerprint":
			s.texts++
		}
	}
}

func (s *selected) project(operation *graphql.OperationContext, selections ast.SelectionSet) {
	for _, field := range graphql.CollectFields(operation, selections, []string{"Project"}) {
		switch field.Name {
		case "name":
			s.names++
		case "description":
			s.descriptions++
		}
	}
}

// reserve waits until there is memory for what the query of ctx may read at most, and
// returns what its field, which is a root field, selects.
func reserve(ctx context.Context) (selected, error) {
	operation := graphql.GetOperationContext(ctx)
	err := transport.Reserve(ctx, func() (most int64) {
		w := costWalker{variables: operation.Variables}
		for _, root := range graphql.CollectFields(operation, operation.Operation.SelectionSet, []string{"Query"}) {
			s := ofRoot(operation, root)
			most += int64(w.times(root.Field)) * int64(s.names*largestName+s.descriptions*largestDescription+s.texts*largestText)
		}
		return most
	})
	return ofRoot(operation, graphql.GetFieldContext(ctx).Field), err
}

// reading is what has to be read for it.
func (s selected) reading() db.Reading { return db.Reading{Descriptions: s.descriptions > 0} }

// read counts what was read of the projects that are answered.
func (s selected) read(ctx context.Context, answered ...db.Project) error {
	var bytes int64
	for _, p := range answered {
		bytes += int64(s.names) * jsonBytes(p.Name)
		if p.Description != nil {
			bytes += int64(s.descriptions) * jsonBytes(*p.Description)
		}
	}
	return transport.Read(ctx, bytes)
}

// readCalls counts what was read of the calls that are answered: each of their texts as if it
// were the longest of its call.
func (s selected) readCalls(ctx context.Context, answered []*model.IdempotentCall) error {
	var bytes int64
	for _, call := range answered {
		longest := max(jsonBytes(call.Key), jsonBytes(call.Operation), largestHash)
		if call.RequestID != nil {
			longest = max(longest, jsonBytes(*call.RequestID))
		}
		bytes += int64(s.texts) * longest
	}
	return transport.Read(ctx, bytes)
}

// The largest strings as JSON has them, in bytes: a name has no control characters and four
// bytes a character at most, and JSON makes six of a control character.
const (
	largestName        = 4*maxName + len(`""`)
	largestDescription = len(`\u0001`)*maxDescription + len(`""`)
	// That of a call is its key: printable ASCII, of which JSON escapes two characters.
	largestText = len(`\\`)*idempotency.MaxKeyLength + len(`""`)
	// That of a fingerprint.
	largestHash = 2*32 + int64(len(`""`))
)

// MinAnswer is the least Config.MaxAnswer that every project fits into: the longest
// description in control characters, of which JSON makes six bytes each.
const MinAnswer = 64 << 10

// jsonBytes is how many bytes the string has as gqlgen writes it.
func jsonBytes(text string) int64 {
	n := len(text) + len(`""`)
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"', c == '\\', c == '\t', c == '\r', c == '\n':
			n++
		case c < ' ':
			n += len(`\u0001`) - 1
		}
	}
	return int64(n)
}
