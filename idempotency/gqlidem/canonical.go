package gqlidem

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
)

// FingerprintVersion is the newest version of the fingerprint that this build
// computes, and the one to write.
const FingerprintVersion int16 = 1

// MaxDepth is how deep lists and objects nest at most in a canonical form.
const MaxDepth = 500

var (
	// ErrFingerprintVersion reports a version that this build does not know.
	ErrFingerprintVersion = errors.New("unknown version of the fingerprint")
	// ErrNotCanonical reports arguments that have no canonical form, because no
	// server would have accepted them: values that are not of their type, text
	// that is not UTF-8, nesting deeper than MaxDepth.
	ErrNotCanonical = errors.New("the arguments have no canonical form")
)

// Fingerprint returns the SHA-256 of the canonical form of a root field: of its
// name and its arguments except keyArgument. See Canonical.
func Fingerprint(schema *ast.Schema, field *ast.Field, variables map[string]any, keyArgument string, version int16) ([32]byte, error) {
	form, err := Canonical(schema, field, variables, keyArgument, version)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(form), nil
}

// Canonical returns the canonical form, as docs/fingerprint.md defines it, of a
// root field: the version, the field's name, and its arguments except
// keyArgument as the client supplied them. Two calls have the same form exactly
// when they ask for the same thing, whatever their documents look like.
//
// The field is one of a validated document; variables are the operation's,
// coerced by gqlparser, its variables' defaults included. Defaults of the schema
// are no part of the form: what a client sent keeps its form when the schema
// gains a field with a default.
func Canonical(schema *ast.Schema, field *ast.Field, variables map[string]any, keyArgument string, version int16) ([]byte, error) {
	if version != FingerprintVersion {
		return nil, fmt.Errorf("%w: %d", ErrFingerprintVersion, version)
	}
	if field.Definition == nil {
		return nil, fmt.Errorf("%w: the field is not of a validated document", ErrNotCanonical)
	}
	c := canonicalizer{schema: schema, variables: variables, out: make([]byte, 0, 256)}
	c.out = fmt.Appendf(c.out, "v%d %s ", version, field.Name)

	members := make([]member, 0, len(field.Arguments))
	for _, argument := range field.Arguments {
		definition := field.Definition.Arguments.ForName(argument.Name)
		if definition == nil {
			return nil, fmt.Errorf("%w: an argument that the field does not have", ErrNotCanonical)
		}
		if argument.Name == keyArgument || c.absent(argument.Value) {
			continue
		}
		members = append(members, member{name: argument.Name, typ: definition.Type, literal: argument.Value})
	}
	if err := c.object(members); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	return c.out, nil
}

// A canonicalizer appends the canonical form of values to out. A value comes in
// one of two shapes: as a literal of the document, or as the Go value of a
// variable. Its type, nil for what is inside a scalar of the schema's own,
// decides its form.
type canonicalizer struct {
	schema    *ast.Schema
	variables map[string]any
	out       []byte
	depth     int
}

// A member is an argument, or a field of an input object, in either shape.
type member struct {
	name    string
	typ     *ast.Type
	literal *ast.Value
	value   any
}

var (
	errType      = errors.New("a value is not of its type")
	errNull      = errors.New("a value is null that must not be")
	errDepth     = fmt.Errorf("values nest deeper than %d", MaxDepth)
	errDuplicate = errors.New("an object has a field twice")
)

// absent says whether the literal is a variable that was not supplied and has no
// default: then it is as if it had not been written.
func (c *canonicalizer) absent(literal *ast.Value) bool {
	if literal.Kind != ast.Variable {
		return false
	}
	_, supplied := c.variables[literal.Raw]
	return !supplied
}

func (c *canonicalizer) member(m member) error {
	if m.literal != nil {
		return c.literal(m.typ, m.literal)
	}
	return c.value(m.typ, m.value)
}

// object appends the members sorted by their names' UTF-16 code units, as RFC
// 8785, section 3.2.3, sorts them.
func (c *canonicalizer) object(members []member) error {
	slices.SortFunc(members, func(a, b member) int { return compareUTF16(a.name, b.name) })
	c.out = append(c.out, '{')
	for i, m := range members {
		if i > 0 {
			if m.name == members[i-1].name {
				return errDuplicate
			}
			c.out = append(c.out, ',')
		}
		if err := c.string(m.name); err != nil {
			return err
		}
		c.out = append(c.out, ':')
		if err := c.member(m); err != nil {
			return err
		}
	}
	c.out = append(c.out, '}')
	return nil
}

// list appends n elements.
func (c *canonicalizer) list(n int, element func(i int) error) error {
	c.out = append(c.out, '[')
	for i := range n {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		if err := element(i); err != nil {
			return err
		}
	}
	c.out = append(c.out, ']')
	return nil
}

// nest counts one level of lists and objects.
func (c *canonicalizer) nest(inner func() error) error {
	if c.depth == MaxDepth {
		return errDepth
	}
	c.depth++
	defer func() { c.depth-- }()
	return inner()
}

// literal appends a value of the document.
func (c *canonicalizer) literal(typ *ast.Type, v *ast.Value) error {
	switch {
	case v.Kind == ast.Variable:
		// An unsupplied variable in a list is null.
		return c.value(typ, c.variables[v.Raw])
	case v.Kind == ast.NullValue:
		return c.null(typ)
	case v.Kind == ast.ListValue:
		element := elementOf(typ)
		if typ != nil && element == nil && !c.opaque(typ) {
			return errType
		}
		return c.nest(func() error {
			return c.list(len(v.Children), func(i int) error { return c.literal(element, v.Children[i].Value) })
		})
	case typ != nil && typ.Elem != nil:
		return c.nest(func() error {
			return c.list(1, func(int) error { return c.literal(typ.Elem, v) })
		})
	case v.Kind == ast.ObjectValue:
		members := make([]member, 0, len(v.Children))
		for _, child := range v.Children {
			if !c.absent(child.Value) {
				members = append(members, member{name: child.Name, literal: child.Value})
			}
		}
		return c.inputObject(typ, members)
	}
	switch v.Kind {
	case ast.IntValue, ast.FloatValue:
		return c.leaf(typ, leaf{number, v.Raw})
	case ast.StringValue, ast.BlockValue, ast.EnumValue:
		return c.leaf(typ, leaf{text, v.Raw})
	case ast.BooleanValue:
		return c.leaf(typ, leaf{boolean, v.Raw})
	default:
		return errType
	}
}

// null appends null, where the type allows it: gqlparser takes a variable that is null
// where a default would be for an absent one.
func (c *canonicalizer) null(typ *ast.Type) error {
	if typ != nil && typ.NonNull {
		return errNull
	}
	c.out = append(c.out, "null"...)
	return nil
}

// value appends a value of a variable.
func (c *canonicalizer) value(typ *ast.Type, v any) error {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer || rv.Kind() == reflect.Interface {
		rv = rv.Elem()
	}
	if !rv.IsValid() {
		return c.null(typ)
	}
	switch {
	case rv.Kind() == reflect.Slice:
		element := elementOf(typ)
		if typ != nil && element == nil && !c.opaque(typ) {
			return errType
		}
		return c.nest(func() error {
			return c.list(rv.Len(), func(i int) error { return c.value(element, rv.Index(i).Interface()) })
		})
	case typ != nil && typ.Elem != nil:
		return c.nest(func() error {
			return c.list(1, func(int) error { return c.value(typ.Elem, v) })
		})
	case rv.Kind() == reflect.Map && rv.Type().Key().Kind() == reflect.String:
		members := make([]member, 0, rv.Len())
		for entries := rv.MapRange(); entries.Next(); {
			members = append(members, member{name: entries.Key().String(), value: entries.Value().Interface()})
		}
		return c.inputObject(typ, members)
	}
	form, err := leafOf(rv)
	if err != nil {
		return err
	}
	return c.leaf(typ, form)
}

// inputObject appends an object, whose members get the types that the schema
// gives them.
func (c *canonicalizer) inputObject(typ *ast.Type, members []member) error {
	if typ != nil && !c.opaque(typ) {
		definition := c.schema.Types[typ.NamedType]
		if definition == nil || definition.Kind != ast.InputObject {
			return errType
		}
		// gqlparser lets it pass in variables, and no effect sees it.
		members = slices.DeleteFunc(members, func(m member) bool { return m.name == "__typename" })
		for i, m := range members {
			field := definition.Fields.ForName(m.name)
			if field == nil {
				return errType
			}
			members[i].typ = field.Type
		}
	}
	return c.nest(func() error { return c.object(members) })
}

// opaque says whether the schema does not tell what is inside values of the type.
func (c *canonicalizer) opaque(typ *ast.Type) bool {
	definition := c.schema.Types[typ.NamedType]
	return definition != nil && definition.Kind == ast.Scalar && !builtIn(typ.NamedType)
}

func elementOf(typ *ast.Type) *ast.Type {
	if typ == nil {
		return nil
	}
	return typ.Elem
}

// string appends the text in RFC 8785's form, section 3.2.2.2.
func (c *canonicalizer) string(text string) (err error) {
	c.out, err = jsontext.AppendQuote(c.out, text)
	return err
}

// leafOf reads the Go value of a variable that is neither list nor object.
func leafOf(rv reflect.Value) (leaf, error) {
	if n, ok := rv.Interface().(json.Number); ok {
		return leaf{number, string(n)}, nil
	}
	switch rv.Kind() {
	case reflect.String:
		return leaf{text, rv.String()}, nil
	case reflect.Bool:
		return leaf{boolean, strconv.FormatBool(rv.Bool())}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return leaf{number, strconv.FormatInt(rv.Int(), 10)}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return leaf{number, strconv.FormatUint(rv.Uint(), 10)}, nil
	case reflect.Float32, reflect.Float64:
		return leaf{number, strconv.FormatFloat(rv.Float(), 'f', -1, 64)}, nil
	default:
		return leaf{}, errType
	}
}

// compareUTF16 orders text by UTF-16 code units. That is the order of bytes, but
// for code points from U+E000 on, whose UTF-8 begins with 0xEE or more: those
// beyond U+FFFF are written with surrogates, which come before U+E000.
func compareUTF16(a, b string) int {
	if !beyondD7FF(a) || !beyondD7FF(b) {
		return strings.Compare(a, b)
	}
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func beyondD7FF(text string) bool {
	for i := range len(text) {
		if text[i] >= 0xEE {
			return true
		}
	}
	return false
}
