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
	if operation.Operation.Operation != ast.Mutation || !selectsMarked(operation.Operation.SelectionSet, map[*ast.FragmentDefinition]bool{}) {
		return nil
	}
	return ValueFault(o.schema, operation)
}

// selectsMarked says whether a field of the operation's own is marked. It looks into each
// fragment once, however often it is spread.
func selectsMarked(set ast.SelectionSet, visited map[*ast.FragmentDefinition]bool) bool {
	for _, selection := range set {
		var marked bool
		switch selection := selection.(type) {
		case *ast.Field:
			marked = selection.Definition.Directives.ForName(Directive) != nil
		case *ast.InlineFragment:
			marked = selectsMarked(selection.SelectionSet, visited)
		case *ast.FragmentSpread:
			if !visited[selection.Definition] {
				visited[selection.Definition] = true
				marked = selectsMarked(selection.Definition.SelectionSet, visited)
			}
		}
		if marked {
			return true
		}
	}
	return false
}

// ValueFault returns the error BAD_USER_INPUT when a value of the operation is not of its
// type and gqlparser lets it pass, and else nil. It lets pass
//
//   - null from a variable that may be null, where a default, the variable's or the
//     schema's, stands for what is absent (https://spec.graphql.org/September2025/#sec-Coercing-Field-Arguments)
//   - an empty object for a scalar
//   - a variable without a value, in a fragment that the operation shares with another
//     one which gives the variable a default: it would have that default, but not in its
//     fingerprint
//
// gqlgen would take the null for 0, "" or false, and panic over either as the condition of
// @skip or @include, below a mutation after its commit. The operation's document is valid
// and its variables are coerced.
//
// A Once refuses such operations where they have a marked field. Servers that want all
// refused call this from an extension of theirs.
func ValueFault(schema *ast.Schema, operation *graphql.OperationContext) *gqlerror.Error {
	w := valueWalker{schema: schema, variables: operation.Variables}
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

// A valueWalker visits each value of an operation once, in what is skipped too.
type valueWalker struct {
	schema    *ast.Schema
	variables map[string]any
	visited   map[*ast.FragmentDefinition]bool
}

func (w *valueWalker) selectionSet(set ast.SelectionSet) (fault *gqlerror.Error) {
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

func (w *valueWalker) field(field *ast.Field) *gqlerror.Error {
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

func (w *valueWalker) fragment(fragment *ast.FragmentDefinition) *gqlerror.Error {
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

func (w *valueWalker) directives(directives ast.DirectiveList) *gqlerror.Error {
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

// A valueFault is a value, where it stands inside an argument, and the type it is not of.
type valueFault struct {
	at    *ast.Value
	place string
	typ   *ast.Type
	// foreign is whether it is the default of another operation.
	foreign bool
}

// of makes the error of the argument in which the value is.
func (f *valueFault) of(argument, owner string) *gqlerror.Error {
	what := "a value is null"
	switch f.at.Kind {
	case ast.Variable:
		what = "$" + f.at.Raw + ": it is null"
	case ast.ObjectValue:
		what = "a value is an object"
	}
	message := fmt.Sprintf("%s, and %s%s of %s takes %s", what, argument, f.place, owner, f.typ)
	if f.foreign {
		message = fmt.Sprintf("$%s: it has no value, and another operation of the document gives it a default: give it one here too", f.at.Raw)
	}
	refused := NewError(CodeBadUserInput, message)
	if at := f.at.Position; at != nil {
		refused.Locations = []gqlerror.Location{{Line: at.Line, Column: at.Column}}
	}
	return refused
}

// value looks for a fault in a literal; typ is nil inside a scalar of the schema's own. What
// is inside the value of a variable was judged by the variable's type, which is as strict as
// that of the place where it is used.
func (w *valueWalker) value(typ *ast.Type, v *ast.Value) *valueFault {
	switch v.Kind {
	case ast.NullValue:
		if typ != nil && typ.NonNull {
			return &valueFault{at: v, typ: typ}
		}
	case ast.Variable:
		value, supplied := w.variables[v.Raw]
		if supplied && value == nil && typ != nil && typ.NonNull {
			return &valueFault{at: v, typ: typ}
		}
		// gqlparser gave the variable the definition of the operation that it saw last.
		if !supplied && v.VariableDefinition != nil && v.VariableDefinition.DefaultValue != nil {
			return &valueFault{at: v, typ: typ, foreign: true}
		}
	case ast.ListValue:
		for i, child := range v.Children {
			if fault := w.value(elementOf(typ), child.Value); fault != nil {
				fault.place = "[" + strconv.Itoa(i) + "]" + fault.place
				return fault
			}
		}
	case ast.ObjectValue:
		return w.object(typ, v)
	}
	return nil
}

func (w *valueWalker) object(typ *ast.Type, v *ast.Value) *valueFault {
	var fields ast.FieldList
	if typ != nil {
		definition := w.schema.Types[typ.Name()]
		if definition.Kind != ast.InputObject && (definition.Kind != ast.Scalar || builtIn(definition.Name)) {
			return &valueFault{at: v, typ: typ}
		}
		fields = definition.Fields
	}
	for _, child := range v.Children {
		var fieldType *ast.Type
		if field := fields.ForName(child.Name); field != nil {
			fieldType = field.Type
		}
		if fault := w.value(fieldType, child.Value); fault != nil {
			fault.place = "." + child.Name + fault.place
			return fault
		}
	}
	return nil
}
