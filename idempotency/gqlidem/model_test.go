package gqlidem_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"
)

// A value is what a client means, apart from how it writes it: null, a list, an
// object or a leaf.
type value struct {
	kind    ast.ValueKind // NullValue, ListValue, ObjectValue, or any other for a leaf
	items   []*value
	members map[string]*value
	// canonical is a leaf's form; in documents it may be written as any of
	// literals, and in variables as any of texts.
	canonical       string
	literals, texts []string
	// gqlparser rounds a number in a variable's default to a double, and refuses
	// one in a document that is beyond 64 bits or the doubles.
	rounded, refused bool
}

// form is the value's canonical form, made without the code under test.
func (v *value) form() string {
	var parts []string
	switch v.kind {
	case ast.NullValue:
		return "null"
	case ast.ListValue:
		for _, item := range v.items {
			parts = append(parts, item.form())
		}
		return "[" + strings.Join(parts, ",") + "]"
	case ast.ObjectValue:
		names := make([]string, 0, len(v.members))
		for name := range v.members {
			names = append(names, name)
		}
		slices.SortFunc(names, func(a, b string) int {
			return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		})
		for _, name := range names {
			parts = append(parts, quoted(name)+":"+v.members[name].form())
		}
		return "{" + strings.Join(parts, ",") + "}"
	default:
		return v.canonical
	}
}

// any says whether the value or one inside it is as the function says.
func (v *value) any(is func(*value) bool) bool {
	if is(v) || slices.ContainsFunc(v.items, func(item *value) bool { return item.any(is) }) {
		return true
	}
	for _, member := range v.members {
		if member.any(is) {
			return true
		}
	}
	return false
}

// quoted writes a string as RFC 8785, section 3.2.2.2, says.
func quoted(text string) string {
	var b strings.Builder
	for _, r := range text {
		if i := strings.IndexRune("\b\t\n\f\r\"\\", r); i >= 0 {
			b.WriteString(`\` + `btnfr"\`[i:i+1])
		} else if r < ' ' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// maybe is true once in n times.
func maybe(t *rapid.T, n int) bool { return rapid.IntRange(1, n).Draw(t, "one in") == n }

func null() *value { return &value{kind: ast.NullValue} }

// draw draws a value of the type; deep bounds how many levels follow.
func draw(t *rapid.T, schema *ast.Schema, typ *ast.Type, deep int) *value {
	if !typ.NonNull && maybe(t, 8) {
		return null()
	}
	if typ.Elem != nil {
		return list(t, deep, func() *value { return draw(t, schema, typ.Elem, deep-1) })
	}
	definition := schema.Types[typ.NamedType]
	switch definition.Kind {
	case ast.Enum:
		name := rapid.SampledFrom(definition.EnumValues).Draw(t, "enum").Name
		return leaf(quoted(name), []string{name}, []string{quoted(name)})
	case ast.InputObject:
		return &value{kind: ast.ObjectValue, members: drawMembers(t, schema, definition, deep)}
	}
	switch typ.NamedType {
	case "Int":
		return integer(rapid.Int64().Draw(t, "Int"))
	case "Float":
		return double(rapid.Float64().Draw(t, "Float"))
	case "Boolean":
		b := strconv.FormatBool(rapid.Bool().Draw(t, "Boolean"))
		return leaf(b, []string{b}, []string{b})
	case "String":
		return text(rapid.String().Draw(t, "String"))
	case "ID":
		return id(t)
	default:
		return opaque(t, deep)
	}
}

func drawMembers(t *rapid.T, schema *ast.Schema, definition *ast.Definition, deep int) map[string]*value {
	members := map[string]*value{}
	if definition.Directives.ForName("oneOf") != nil {
		field := rapid.SampledFrom(definition.Fields).Draw(t, "one of")
		required := *field.Type
		required.NonNull = true
		members[field.Name] = draw(t, schema, &required, deep-1)
		return members
	}
	for _, field := range definition.Fields {
		required := field.Type.NonNull && field.DefaultValue == nil
		if required || deep > 0 && rapid.Bool().Draw(t, "is there") {
			members[field.Name] = draw(t, schema, field.Type, deep-1)
		}
	}
	return members
}

func list(t *rapid.T, deep int, item func() *value) *value {
	v := &value{kind: ast.ListValue}
	if deep > 0 {
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			v.items = append(v.items, item())
		}
	}
	return v
}

func leaf(canonical string, literals, texts []string) *value {
	return &value{kind: ast.StringValue, canonical: canonical, literals: literals, texts: texts}
}

func integer(n int64) *value {
	decimal := strconv.FormatInt(n, 10)
	v := leaf(decimal, []string{decimal}, []string{decimal, quoted(decimal)})
	if n == 0 {
		v.literals, v.texts = append(v.literals, "-0"), append(v.texts, "-0")
	}
	return v
}

func double(f float64) *value {
	if f == 0 {
		return leaf("0", []string{"0", "-0", "0.0", "-0.0e5"}, []string{"0", "-0", "0e1", `"0"`})
	}
	canonical, err := json.Marshal(f) // It writes numbers as ECMAScript does.
	if err != nil {
		panic(err)
	}
	shortest, exact := strconv.FormatFloat(f, 'e', -1, 64), new(big.Float).SetFloat64(f).Text('e', 800)
	v := leaf(string(canonical), []string{shortest, exact}, []string{shortest, exact, string(canonical), `"` + shortest + `"`})
	if whole := strconv.FormatFloat(f, 'f', -1, 64); f == float64(int64(f)) && len(whole) < 19 {
		v.literals, v.texts = append(v.literals, whole, whole+".0"), append(v.texts, whole, whole+".00")
	}
	return v
}

func id(t *rapid.T) *value {
	if rapid.Bool().Draw(t, "a number") {
		n := strconv.Itoa(rapid.Int().Draw(t, "ID"))
		return leaf(quoted(n), []string{n, quoted(n)}, []string{n, quoted(n)})
	}
	return text(rapid.String().Draw(t, "ID"))
}

// text is a string, or an ID that is written as one.
func text(s string) *value {
	v := leaf(quoted(s), nil, nil)
	v.literals, v.texts = []string{literalString(s, 0), literalString(s, 1), literalString(s, 2)}, []string{quoted(s), textString(s)}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) && strings.TrimSpace(s) == s {
		v.literals = append(v.literals, `"""`+s+`"""`, `"""`+"\n      "+s+"\n    "+`"""`)
	}
	return v
}

// literalString writes a string of a document: with escapes only where they are
// needed, with surrogates throughout, or with braces throughout.
func literalString(s string, form int) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case form == 2:
			fmt.Fprintf(&b, `\u{%X}`, r)
		case form == 1 || r < ' ' || r == '"' || r == '\\':
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04X`, unit)
			}
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// textString writes a JSON string with escapes throughout.
func textString(s string) string { return literalString(s, 1) }

// opaque draws what may be inside a scalar of the schema's own.
func opaque(t *rapid.T, deep int) *value {
	kinds := 5
	if deep > 0 {
		kinds = 7
	}
	switch rapid.IntRange(1, kinds).Draw(t, "kind") {
	case 1:
		return null()
	case 2:
		b := strconv.FormatBool(rapid.Bool().Draw(t, "boolean"))
		return leaf(b, []string{b}, []string{b})
	case 3:
		return text(rapid.String().Draw(t, "string"))
	case 4, 5:
		return decimal(t)
	case 6:
		return list(t, deep, func() *value { return opaque(t, deep-1) })
	default:
		v := &value{kind: ast.ObjectValue, members: map[string]*value{}}
		names := rapid.OneOf(rapid.StringMatching(`[_A-Za-z][_0-9A-Za-z]{0,2}`), rapid.String(), rapid.SampledFrom([]string{
			"\ue000", "\U00010000", "\ud7ff", "a\ue000", "a\U0001f600", "\uffff",
		}))
		for range rapid.IntRange(0, 4).Draw(t, "members") {
			v.members[names.Draw(t, "name")] = opaque(t, deep-1)
		}
		return v
	}
}

// decimal draws a number from its normal form.
func decimal(t *rapid.T) *value {
	digits := rapid.StringMatching(`[1-9]([0-9]{0,20}[1-9])?`).Draw(t, "digits")
	power := rapid.OneOf(rapid.IntRange(-3, 3), rapid.IntRange(-1000, 1000)).Draw(t, "power")
	sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
	if maybe(t, 10) {
		return leaf("0", []string{"0", "-0", "0.00", "0e7"}, []string{"0", "-0", "-0.0e-7"})
	}
	canonical := sign + digits
	if power != 0 {
		canonical += "e" + strconv.Itoa(power)
	}
	written := []string{
		canonical,
		fmt.Sprintf("%s%s00E%d", sign, digits, power-2),
		fmt.Sprintf("%s%s.0e%+d", sign, digits, power),
		fmt.Sprintf("%s0.%se%d", sign, digits, power+len(digits)),
		fmt.Sprintf("%s%s.%s0e%d", sign, digits[:1], digits[1:], power+len(digits)-1),
	}
	v := leaf(canonical, written, written)
	v.rounded = len(digits) > 15 || max(power, -power) > 200
	v.refused = len(digits) > 18 || power > 200
	return v
}

// another draws a value of the type that is not the given one: it differs in one
// place, if that is possible, or throughout.
func another(t *rapid.T, schema *ast.Schema, typ *ast.Type, v *value, deep int) *value {
	if v.kind == ast.ListValue && len(v.items) > 0 && rapid.Bool().Draw(t, "inside") {
		changed := &value{kind: ast.ListValue, items: slices.Clone(v.items)}
		i := rapid.IntRange(0, len(v.items)-1).Draw(t, "item")
		switch {
		case typ.Elem != nil && rapid.Bool().Draw(t, "change"):
			changed.items[i] = another(t, schema, typ.Elem, v.items[i], deep-1)
		case maybe(t, 2):
			changed.items = slices.Delete(changed.items, i, i+1)
		default:
			changed.items = append(changed.items, changed.items[i])
		}
		return changed
	}
	if v.kind == ast.ObjectValue && typ.Elem == nil && schema.Types[typ.NamedType].Kind == ast.InputObject && rapid.Bool().Draw(t, "inside") {
		definition := schema.Types[typ.NamedType]
		field := rapid.SampledFrom(definition.Fields).Draw(t, "field")
		member, there := v.members[field.Name]
		changed := &value{kind: ast.ObjectValue, members: map[string]*value{}}
		for name, member := range v.members {
			changed.members[name] = member
		}
		oneOf := definition.Directives.ForName("oneOf") != nil
		switch {
		case there && oneOf:
			required := *field.Type
			required.NonNull = true
			changed.members[field.Name] = another(t, schema, &required, member, deep-1)
			return changed
		case there && (field.Type.NonNull && field.DefaultValue == nil || rapid.Bool().Draw(t, "change")):
			changed.members[field.Name] = another(t, schema, field.Type, member, deep-1)
			return changed
		case there:
			delete(changed.members, field.Name)
			return changed
		case !oneOf:
			changed.members[field.Name] = draw(t, schema, field.Type, deep-1)
			return changed
		}
	}
	return rapid.Custom(func(t *rapid.T) *value { return draw(t, schema, typ, deep) }).
		Filter(func(other *value) bool { return other.form() != v.form() }).Draw(t, "another")
}
