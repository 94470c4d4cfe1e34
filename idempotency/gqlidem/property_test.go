package gqlidem_test

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// Equal calls have equal forms, however they are written: as literals or through
// variables, supplied or defaulted, in any order, under any names.
func TestCanonical_IsThatOfTheValueHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema, field, arguments := drawCall(t)
		want := "v1 " + field.Name + " " + arguments.form()
		for range 2 {
			document, operation, variables := write(t, schema, field, arguments)
			c, err := parse(schema, document, operation, variables)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, document, variables)
			}
			form, err := c.form()
			if err != nil || form != want {
				t.Fatalf("%v\n got %s\nwant %s\n%s\n%s", err, form, want, document, variables)
			}
		}
		checkForm(t, want)
	})
}

// Calls that mean something else have another form, however they are written.
func TestCanonical_TellsValuesApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema, field, arguments := drawCall(t)
		other := &value{kind: ast.ObjectValue, members: maps.Clone(arguments.members)}
		definition := rapid.SampledFrom(field.Arguments).Filter(func(a *ast.ArgumentDefinition) bool {
			return a.Name != gqlidem.KeyArgument
		}).Draw(t, "argument")
		v, there := arguments.members[definition.Name]
		switch {
		case !there:
			other.members[definition.Name] = draw(t, schema, definition.Type, 3)
		case rapid.Bool().Draw(t, "change"):
			other.members[definition.Name] = another(t, schema, definition.Type, v, 3)
		default:
			delete(other.members, definition.Name)
		}
		var forms [2]string
		for i, arguments := range []*value{arguments, other} {
			document, operation, variables := write(t, schema, field, arguments)
			c, err := parse(schema, document, operation, variables)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, document, variables)
			}
			if forms[i], err = c.form(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, document, variables)
			}
		}
		if forms[0] == forms[1] {
			t.Fatalf("%s is the form of %s and of %s", forms[0], arguments.form(), other.form())
		}
	})
}

// drawCall draws a mutation that has arguments besides the key, and them.
func drawCall(t *rapid.T) (*ast.Schema, *ast.FieldDefinition, *value) {
	schema := schemas()["types"]
	field := rapid.SampledFrom(schema.Mutation.Fields).Filter(func(f *ast.FieldDefinition) bool {
		return len(f.Arguments) > 1
	}).Draw(t, "field")
	arguments := &value{kind: ast.ObjectValue, members: map[string]*value{}}
	for _, argument := range field.Arguments {
		if argument.Name != gqlidem.KeyArgument && !maybe(t, 6) {
			arguments.members[argument.Name] = draw(t, schema, argument.Type, 3)
		}
	}
	return schema, field, arguments
}

// A writer writes a call in one of the many ways.
type writer struct {
	*rapid.T
	schema *ast.Schema
	// declared and supplied are the operation's variables.
	declared, supplied []string
}

// write returns a document, the name of its operation and the variables.
func write(t *rapid.T, schema *ast.Schema, field *ast.FieldDefinition, arguments *value) (document, operation, variables string) {
	w := &writer{T: t, schema: schema}
	types := map[string]*ast.Type{}
	for _, argument := range field.Arguments {
		types[argument.Name] = argument.Type
	}
	key := text(rapid.String().Draw(t, "key"))
	members := maps.Clone(arguments.members)
	members[gqlidem.KeyArgument] = key
	written := w.members(members, types, false)
	call := field.Name + w.space() + "(" + written + ")"
	if maybe(t, 3) {
		call = "alias:" + w.space() + call
	}
	if maybe(t, 6) {
		call += "@include(if: true)"
	}
	fragments := ""
	switch rapid.IntRange(1, 4).Draw(t, "fragment") {
	case 1:
		call, fragments = "...F", "fragment F on Mutation {"+call+"}"
	case 2:
		call = "... on Mutation {" + call + "}"
	}
	name := rapid.SampledFrom([]string{"", "A", "query"}).Draw(t, "operation")
	if len(w.declared) > 0 {
		name += "(" + strings.Join(w.shuffled(w.declared), w.space()) + ")"
	}
	document = w.space() + "mutation " + name + "{" + call + "}" + fragments
	operation, _, _ = strings.Cut(name, "(")
	return document, operation, "{" + strings.Join(w.shuffled(w.supplied), ",") + "}"
}

// space is what a document may have between any two tokens.
func (w *writer) space() string {
	return rapid.SampledFrom([]string{" ", ",", "\n", "\t ", " # a comment: \"{\n", "\ufeff "}).Draw(w.T, "space")
}

func (w *writer) shuffled(parts []string) []string {
	if len(parts) == 0 {
		return nil
	}
	return rapid.Permutation(parts).Draw(w.T, "order")
}

// members writes arguments or the members of an object. Those that the value lacks
// may be there as variables that are not supplied, which is as good as nothing.
func (w *writer) members(members map[string]*value, types map[string]*ast.Type, constant bool) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		parts = append(parts, name+w.space()+":"+w.space()+w.value(types[name], members[name], constant))
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if _, there := members[name]; !there && !constant && !types[name].NonNull && maybe(w.T, 4) {
			parts = append(parts, name+":"+w.declare(types[name].String(), ""))
		}
	}
	return strings.Join(w.shuffled(parts), w.space())
}

// declare declares a variable and returns its use.
func (w *writer) declare(typ, defaultValue string) string {
	name := "$v" + strconv.Itoa(len(w.declared))
	if defaultValue != "" {
		defaultValue = "=" + w.space() + defaultValue
	}
	w.declared = append(w.declared, name+":"+w.space()+typ+defaultValue)
	return name
}

var graphqlName = regexp.MustCompile(`^[_A-Za-z][_0-9A-Za-z]*$`)

// unwritable says whether no document can hold the value.
func unwritable(v *value) bool {
	for name := range v.members {
		if !graphqlName.MatchString(name) {
			return true
		}
	}
	return v.refused
}

// value writes the value in the document, in place or as a variable's. typ is nil
// inside a scalar of the schema's own; a constant has no variables inside.
func (w *writer) value(typ *ast.Type, v *value, constant bool) string {
	if !constant && (unwritable(v) || maybe(w.T, 3)) {
		return w.variable(typ, v)
	}
	switch v.kind {
	case ast.NullValue:
		return "null"
	case ast.ListValue:
		return w.list(typ, v, func(typ *ast.Type, v *value) string {
			if !constant && v.kind == ast.NullValue && maybe(w.T, 4) {
				return w.declare(nameOf(typ), "") // In a list, what is not supplied is null.
			}
			return w.value(typ, v, constant)
		}, w.space)
	case ast.ObjectValue:
		types := w.types(typ)
		if typ != nil && w.schema.Types[typ.NamedType].Directives.ForName("oneOf") != nil {
			maps.DeleteFunc(types, func(name string, _ *ast.Type) bool { return v.members[name] == nil })
		}
		return "{" + w.members(v.members, types, constant) + "}"
	}
	return rapid.SampledFrom(v.literals).Draw(w.T, "literal")
}

func nameOf(typ *ast.Type) string {
	if typ == nil {
		return "JSON"
	}
	return typ.String()
}

func (w *writer) variable(typ *ast.Type, v *value) string {
	declared := nameOf(typ)
	if v.kind != ast.NullValue && !strings.HasSuffix(declared, "!") {
		declared += "!" // A member of a oneOf object has to be.
	}
	defaultValue := ""
	rounded := func(v *value) bool { return v.rounded || unwritable(v) }
	if maybe(w.T, 2) && !v.any(rounded) {
		defaultValue = w.value(typ, v, true)
	}
	use := w.declare(declared, defaultValue)
	if defaultValue == "" || maybe(w.T, 2) {
		w.supplied = append(w.supplied, `"`+use[1:]+`":`+w.text(typ, v))
	}
	return use
}

// text writes the value as JSON.
func (w *writer) text(typ *ast.Type, v *value) string {
	switch v.kind {
	case ast.NullValue:
		return "null"
	case ast.ListValue:
		return w.list(typ, v, w.text, func() string { return "," })
	case ast.ObjectValue:
		types := w.types(typ)
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v.members)) {
			parts = append(parts, quoted(name)+":"+w.text(types[name], v.members[name]))
		}
		if len(types) > 0 && maybe(w.T, 4) {
			parts = append(parts, `"__typename": "`+typ.NamedType+`"`)
		}
		return "{" + strings.Join(w.shuffled(parts), ",") + "}"
	}
	return rapid.SampledFrom(v.texts).Draw(w.T, "text")
}

// list writes a list, or, where it is unmistakable, the only value in it.
func (w *writer) list(typ *ast.Type, v *value, inside func(*ast.Type, *value) string, comma func() string) string {
	var element *ast.Type
	if typ != nil {
		element = typ.Elem
	}
	var parts []string
	for _, item := range v.items {
		parts = append(parts, inside(element, item))
	}
	if element != nil && len(parts) == 1 && !strings.ContainsAny(parts[0][:1], "[$") && parts[0] != "null" && maybe(w.T, 2) {
		return parts[0]
	}
	return "[" + strings.Join(parts, comma()) + "]"
}

// types are those of an input object's members; a scalar's have none.
func (w *writer) types(typ *ast.Type) map[string]*ast.Type {
	types := map[string]*ast.Type{}
	if typ != nil && w.schema.Types[typ.NamedType].Kind == ast.InputObject {
		for _, field := range w.schema.Types[typ.NamedType].Fields {
			types[field.Name] = field.Type
		}
	}
	return types
}
