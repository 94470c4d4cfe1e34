package gqlidem

import (
	"context"
	"fmt"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// MutateOperationContext implements graphql.OperationContextMutator. It changes
// nothing: this is where gqlgen lets an operation be refused before any of it runs.
func (o *Once) MutateOperationContext(_ context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	if operation.Operation.Operation != ast.Mutation || !selectsMarked(operation.Operation.SelectionSet) {
		return nil
	}
	return NullFault(o.schema, operation)
}

// selectsMarked says whether a field of the operation's own is marked.
func selectsMarked(set ast.SelectionSet) bool {
	for _, selection := range set {
		var marked bool
		switch selection := selection.(type) {
		case *ast.Field:
			marked = selection.Definition.Directives.ForName(Directive) != nil
		case *ast.InlineFragment:
			marked = selectsMarked(selection.SelectionSet)
		case *ast.FragmentSpread:
			marked = selectsMarked(selection.Definition.SelectionSet)
		}
		if marked {
			return true
		}
	}
	return false
}

// NullFault returns the error BAD_USER_INPUT when a value of the operation is null where
// the schema does not allow it, and else nil. gqlparser lets that pass when a variable
// that may be null stands where a default, its own or the schema's, is for what is absent
// alone: gqlgen would take null for 0, "" or false, or panic over the condition of @skip
// and @include, below a mutation after its commit. The operation's document is valid and
// its variables are coerced.
//
// A Once refuses such operations where they have a marked field. Servers that want all
// refused call this from an extension of theirs.
// https://spec.graphql.org/September2025/#sec-Coercing-Field-Arguments
func NullFault(schema *ast.Schema, operation *graphql.OperationContext) *gqlerror.Error {
	w := nullWalker{schema: schema, variables: operation.Variables}
	definition := operation.Operation
	if fault := w.directives(definition.Directives); fault != nil {
		return fault
	}
	for _, variable := range definition.VariableDefinitions {
		if fault := w.directives(variable.Directives); fault != nil {
			return fault
		}
	}
	return w.selectionSet(definition.SelectionSet)
}

// A nullWalker visits each value of an operation once, in what is skipped too.
type nullWalker struct {
	schema    *ast.Schema
	variables map[string]any
	visited   map[*ast.FragmentDefinition]bool
}

func (w *nullWalker) selectionSet(set ast.SelectionSet) (fault *gqlerror.Error) {
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.Field:
			fault = w.field(selection)
		case *ast.InlineFragment:
			if fault = w.directives(selection.Directives); fault == nil {
				fault = w.selectionSet(selection.SelectionSet)
			}
		case *ast.FragmentSpread:
			if fault = w.directives(selection.Directives); fault == nil {
				fault = w.fragment(selection.Definition)
			}
		}
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (w *nullWalker) field(field *ast.Field) *gqlerror.Error {
	for _, argument := range field.Arguments {
		definition := field.Definition.Arguments.ForName(argument.Name)
		if definition == nil {
			continue
		}
		if fault := w.value(definition.Type, argument.Value); fault != nil {
			return fault.of(argument.Name, field.Name)
		}
	}
	if fault := w.directives(field.Directives); fault != nil {
		return fault
	}
	return w.selectionSet(field.SelectionSet)
}

func (w *nullWalker) fragment(fragment *ast.FragmentDefinition) *gqlerror.Error {
	if w.visited[fragment] {
		return nil
	}
	if w.visited == nil {
		w.visited = map[*ast.FragmentDefinition]bool{}
	}
	w.visited[fragment] = true
	if fault := w.directives(fragment.Directives); fault != nil {
		return fault
	}
	return w.selectionSet(fragment.SelectionSet)
}

func (w *nullWalker) directives(directives ast.DirectiveList) *gqlerror.Error {
	for _, directive := range directives {
		if directive.Definition == nil {
			continue
		}
		for _, argument := range directive.Arguments {
			definition := directive.Definition.Arguments.ForName(argument.Name)
			if definition == nil {
				continue
			}
			if fault := w.value(definition.Type, argument.Value); fault != nil {
				return fault.of(argument.Name, "@"+directive.Name)
			}
		}
	}
	return nil
}

// A nullFault is a null, where it stands inside an argument, and the type it should have.
type nullFault struct {
	at    *ast.Value
	place string
	typ   *ast.Type
}

// of makes the error of the argument in which the null is.
func (f *nullFault) of(argument, owner string) *gqlerror.Error {
	what := "a value is null"
	if f.at.Kind == ast.Variable {
		what = "$" + f.at.Raw + ": it is null"
	}
	refused := NewError(CodeBadUserInput, fmt.Sprintf("%s, and %s%s of %s takes %s", what, argument, f.place, owner, f.typ))
	if at := f.at.Position; at != nil {
		refused.Locations = []gqlerror.Location{{Line: at.Line, Column: at.Column}}
	}
	return refused
}

// value looks for a null in a literal. What is inside the value of a variable was judged
// by the variable's type, which is as strict as that of the place where it is used.
func (w *nullWalker) value(typ *ast.Type, v *ast.Value) *nullFault {
	if v.Kind == ast.NullValue || v.Kind == ast.Variable && w.isNull(v) {
		if typ.NonNull {
			return &nullFault{at: v, typ: typ}
		}
		return nil
	}
	switch {
	case v.Kind == ast.ListValue:
		if typ.Elem == nil { // A scalar of the schema's own.
			return nil
		}
		for i, child := range v.Children {
			if fault := w.value(typ.Elem, child.Value); fault != nil {
				fault.place = "[" + strconv.Itoa(i) + "]" + fault.place
				return fault
			}
		}
	case v.Kind == ast.ObjectValue:
		definition := w.schema.Types[typ.Name()]
		for _, child := range v.Children {
			field := definition.Fields.ForName(child.Name)
			if field == nil {
				continue
			}
			if fault := w.value(field.Type, child.Value); fault != nil {
				fault.place = "." + child.Name + fault.place
				return fault
			}
		}
	}
	return nil
}

// isNull says whether the variable was supplied, or has the default, null.
func (w *nullWalker) isNull(v *ast.Value) bool {
	value, supplied := w.variables[v.Raw]
	return supplied && value == nil
}
