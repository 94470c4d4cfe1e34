package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/graph/transport"
)

// selected counts how often the answer to a field has the strings of each project: once for
// each response key, wherever in the field's selections.
type selected struct{ names, descriptions int }

// ofRoot is what a root field of a query selects of each project that it reads.
func ofRoot(operation *graphql.OperationContext, root graphql.CollectedField) (s selected) {
	if root.Name == "project" {
		s.project(operation, root.Selections)
		return s
	}
	for _, field := range graphql.CollectFields(operation, root.Selections, []string{"ProjectConnection"}) {
		switch field.Name {
		case "nodes":
			s.project(operation, field.Selections)
		case "edges":
			for _, below := range graphql.CollectFields(operation, field.Selections, []string{"ProjectEdge"}) {
				if below.Name == "node" {
					s.project(operation, below.Selections)
				}
			}
		}
	}
	return s
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
			if root.Name == "project" || root.Name == "projects" {
				s := ofRoot(operation, root)
				most += int64(w.times(root.Field)) * int64(s.names*largestName+s.descriptions*largestDescription)
			}
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

// The largest strings as JSON has them, in bytes: a name has no control characters and four
// bytes a character at most, and JSON makes six of a control character.
const (
	largestName        = 4*maxName + len(`""`)
	largestDescription = len(`\u0001`)*maxDescription + len(`""`)
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
