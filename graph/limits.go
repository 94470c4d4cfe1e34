package graph

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// Limits bound what one document may ask for. Zero means that of DefaultLimits.
type Limits struct {
	// Tokens are those of the document, comments aside. They bound the time that
	// validation takes, which grows with their square.
	Tokens int
	// Depth is how deeply fields may be nested.
	Depth int
	// Aliases, Directives and RootFields are counted as they are executed, those
	// of a fragment each time that it is spread. What @skip and @include leave out
	// is not counted, here and below; the two themselves are directives.
	Aliases, Directives, RootFields int
	// KeyedMutations are the root fields with an idempotency key, each a
	// transaction of its own.
	KeyedMutations int
	// Complexity is how many fields may be answered: each counts as one, and
	// what is in a page as often as the page asks for. Fields of one response key
	// count each.
	Complexity int
}

// DefaultLimits leaves room for every client that is known, and bounds what one
// document costs the server.
func DefaultLimits() Limits {
	return Limits{
		Tokens:         1000, // GraphiQL's introspection has 184.
		Depth:          12,
		Aliases:        30,
		Directives:     50,
		RootFields:     20,
		KeyedMutations: 10,
		Complexity:     5000,
	}
}

func (l Limits) withDefaults() Limits {
	defaults := DefaultLimits()
	return Limits{
		Tokens:         cmp.Or(l.Tokens, defaults.Tokens),
		Depth:          cmp.Or(l.Depth, defaults.Depth),
		Aliases:        cmp.Or(l.Aliases, defaults.Aliases),
		Directives:     cmp.Or(l.Directives, defaults.Directives),
		RootFields:     cmp.Or(l.RootFields, defaults.RootFields),
		KeyedMutations: cmp.Or(l.KeyedMutations, defaults.KeyedMutations),
		Complexity:     cmp.Or(l.Complexity, defaults.Complexity),
	}
}

// limiter refuses operations that go over the limits. It computes the cost of
// each fragment once, however often it is spread: its time grows with the document
// and not with its cost.
type limiter struct {
	Limits
	introspection bool
}

// ExtensionName implements graphql.HandlerExtension.
func (limiter) ExtensionName() string { return "Limits" }

// Validate implements graphql.HandlerExtension.
func (limiter) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationContext implements graphql.OperationContextMutator. It changes
// nothing: it is called once the document is valid and before any of it runs.
func (l limiter) MutateOperationContext(_ context.Context, operation *graphql.OperationContext) *gqlerror.Error {
	w := costWalker{operation.Variables, map[string]cost{}}
	c := w.selectionSet(operation.Operation.SelectionSet)
	c.directives = sum(c.directives, len(operation.Operation.Directives))
	if c.introspects && !l.introspection {
		return limitExceeded("introspection", "introspection is switched off here")
	}
	for _, limited := range []struct {
		name, what string
		n, most    int
	}{
		{"depth", "nests fields", c.depth, l.Depth},
		{"aliases", "has aliases", c.aliases, l.Aliases},
		{"directives", "has directives", c.directives, l.Directives},
		{"rootFields", "has root fields", c.fields, l.RootFields},
		{"keyedMutations", "has mutations with an idempotency key", c.keyed, l.KeyedMutations},
		{"complexity", "asks for fields", c.complexity, l.Complexity},
	} {
		if limited.n > limited.most {
			return limitExceeded(limited.name, fmt.Sprintf("the document %s beyond the limit of %d", limited.what, limited.most))
		}
	}
	return nil
}

// A cost is what a selection set asks for. Its numbers are at most the largest int32.
type cost struct {
	depth, aliases, directives, complexity int
	// fields and keyed are the fields of the set itself.
	fields, keyed int
	introspects   bool
}

type costWalker struct {
	variables map[string]any
	fragments map[string]cost
}

func (w costWalker) selectionSet(set ast.SelectionSet) (c cost) {
	for _, selection := range set {
		switch selection := selection.(type) {
		case *ast.Field:
			c.directives = sum(c.directives, len(selection.Directives))
			if w.includes(selection.Directives) {
				c.add(w.field(selection))
			}
		case *ast.InlineFragment:
			c.directives = sum(c.directives, len(selection.Directives))
			if w.includes(selection.Directives) {
				c.add(w.selectionSet(selection.SelectionSet))
			}
		case *ast.FragmentSpread:
			c.directives = sum(c.directives, len(selection.Directives))
			if w.includes(selection.Directives) {
				c.add(w.fragment(selection))
			}
		}
	}
	return c
}

func (w costWalker) fragment(spread *ast.FragmentSpread) cost {
	c, known := w.fragments[spread.Name]
	if !known {
		c = w.selectionSet(spread.Definition.SelectionSet)
		w.fragments[spread.Name] = c
	}
	return c
}

// includes says whether @skip and @include leave the selection in, as gqlgen decides.
func (w costWalker) includes(directives ast.DirectiveList) bool {
	condition := func(name string, otherwise bool) bool {
		directive := directives.ForName(name)
		if directive == nil {
			return otherwise
		}
		argument := directive.Arguments.ForName("if")
		if argument == nil {
			return otherwise
		}
		value, _ := argument.Value.Value(w.variables)
		is, ok := value.(bool)
		if !ok { // Null, which is refused.
			return otherwise
		}
		return is
	}
	return !condition("skip", false) && condition("include", true)
}

func (w costWalker) field(field *ast.Field) cost {
	below := w.selectionSet(field.SelectionSet)
	c := cost{fields: 1, aliases: below.aliases, directives: below.directives, complexity: 1}
	if field.Alias != field.Name {
		c.aliases = sum(c.aliases, 1)
	}
	// Introspection is bounded by its tokens and by how deeply it nests lists,
	// which gqlparser checks.
	if strings.HasPrefix(field.Name, "__") {
		c.introspects = field.Name != "__typename"
		return c
	}
	c.depth = below.depth + 1
	c.complexity = sum(1, w.times(field)*below.complexity)
	if field.Definition.Directives.ForName(gqlidem.Directive) != nil {
		c.keyed = 1
	}
	return c
}

// times is how many items the field's page has at most, one for other fields.
func (w costWalker) times(field *ast.Field) int {
	definition := field.Definition.Arguments.ForName("first")
	if definition == nil {
		return 1
	}
	value := definition.DefaultValue
	if argument := field.Arguments.ForName("first"); argument != nil && w.supplied(argument.Value) {
		value = argument.Value
	}
	if value == nil {
		return 1
	}
	// What is no number of items is refused by the field itself.
	first, _ := value.Value(w.variables)
	var n int64
	switch first := first.(type) {
	case int64:
		n = first
	case json.Number:
		n, _ = first.Int64()
	}
	return int(min(max(n, 1), maxPage))
}

// supplied says no for a variable without a value: it is as if it had not been written.
func (w costWalker) supplied(value *ast.Value) bool {
	if value.Kind != ast.Variable {
		return true
	}
	_, supplied := w.variables[value.Raw]
	return supplied
}

func (c *cost) add(other cost) {
	c.depth = max(c.depth, other.depth)
	c.aliases = sum(c.aliases, other.aliases)
	c.directives = sum(c.directives, other.directives)
	c.complexity = sum(c.complexity, other.complexity)
	c.fields = sum(c.fields, other.fields)
	c.keyed = sum(c.keyed, other.keyed)
	c.introspects = c.introspects || other.introspects
}

func sum(a, b int) int { return min(a+b, math.MaxInt32) }
