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

// ofProject is what the field of ctx, a project, selects of it.
func ofProject(ctx context.Context) selected {
	var s selected
	s.project(graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field.Selections)
	return s
}

// ofConnection is what the field of ctx, a connection, selects of each of its projects.
func ofConnection(ctx context.Context) selected {
	var s selected
	operation := graphql.GetOperationContext(ctx)
	for _, field := range graphql.CollectFieldsCtx(ctx, []string{"ProjectConnection"}) {
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

// reading reads what is selected of at most so many projects, within what the answer may
// hold.
func (s selected) reading(ctx context.Context, most int) db.Reading {
	return db.Reading{Descriptions: s.descriptions > 0, Found: func(found []db.Project) error {
		var bytes int64
		for _, p := range found[:min(most, len(found))] {
			bytes += int64(s.names) * jsonBytes(p.Name)
			if p.Description != nil {
				bytes += int64(s.descriptions) * jsonBytes(*p.Description)
			}
		}
		return transport.Read(ctx, bytes)
	}}
}

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
