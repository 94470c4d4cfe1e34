package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/db"
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

// reading is what has to be read for it.
func (s selected) reading() db.Reading {
	return db.Reading{Descriptions: s.descriptions > 0}
}
