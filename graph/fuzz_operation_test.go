package graph_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// A maker makes an operation. Each choice takes a byte of the input; without one it is the
// first alternative, which ends what is being made.
type maker struct {
	*fuzzed
	input     []byte
	declared  []string
	supplied  []string
	fragments []string
	// depth is that of the selection set, aliases counts those that were made.
	depth, aliases int
}

// operation makes a document and its variables of the input.
func (a *fuzzed) operation(input []byte) (document, variables string) {
	m := &maker{fuzzed: a, input: input}
	root := m.schema.Query
	kind := "query"
	if m.one(2) == 1 {
		kind, root = "mutation", m.schema.Mutation
	}
	selections := m.selections(root)
	head := kind + m.pick("", " Named", " query")
	if len(m.declared) > 0 {
		head += "(" + strings.Join(m.declared, m.space()) + ")"
	}
	document = head + selections + strings.Join(m.fragments, m.space())
	if m.one(24) == 23 && len(document) > 0 { // A mistake.
		at := m.one(250) * len(document) / 250
		document = document[:at] + m.pick("", "{", "}", `"`, `"""`, "\n", "#", "$", "null", "...", "\\", "@", "!", "0", " é") + document[at+m.one(2)*min(1, len(document)-at):]
	}
	return document, "{" + strings.Join(m.supplied, ",") + "}"
}

// one returns a number below n.
func (m *maker) one(n int) int {
	if len(m.input) == 0 {
		return 0
	}
	b := int(m.input[0])
	m.input = m.input[1:]
	return b % n
}

func (m *maker) pick(from ...string) string { return from[m.one(len(from))] }

func (m *maker) space() string { return m.pick(" ", ",", "\n", " # a \"\"\" comment é\n", "\t\r\n") }

func (m *maker) selections(of *ast.Definition) string {
	m.depth++
	defer func() { m.depth-- }()
	parts := []string{}
	for range 1 + m.one(3) {
		parts = append(parts, m.selection(of))
	}
	return "{" + strings.Join(parts, m.space()) + "}"
}

func (m *maker) selection(of *ast.Definition) string {
	if m.depth > 7 {
		return "__typename"
	}
	switch m.one(8) {
	case 7:
		on := m.pick("", " on "+of.Name)
		if m.one(32) == 31 {
			on = " on Query"
		}
		return "..." + on + m.directives() + m.selections(of)
	case 6:
		name := fmt.Sprintf("F%d", len(m.fragments))
		m.fragments = append(m.fragments, "") // It has its name.
		at := len(m.fragments) - 1
		m.fragments[at] = "fragment " + name + " on " + of.Name + m.selections(of)
		spread := "..." + name + m.directives()
		return spread + m.pick("", " "+spread)
	case 5:
		return "__typename" + m.directives()
	}
	field := of.Fields[m.one(len(of.Fields))]
	text := field.Name
	if len(field.Arguments) > 0 || m.one(4) == 3 { // Two fields of one key mostly differ.
		text = fmt.Sprintf("a%d%s", m.aliases, m.pick(":", " : ", ":\n")) + text
		m.aliases++
	}
	if m.one(100) == 99 {
		text = "a0: " + field.Name
	}
	var arguments []string
	for _, argument := range field.Arguments {
		if required := argument.Type.NonNull && argument.DefaultValue == nil; required && m.one(30) < 29 || !required && m.one(2) == 1 {
			arguments = append(arguments, argument.Name+":"+m.space()+m.value(argument.Type, argument.Name))
		}
	}
	if len(arguments) > 0 {
		text += "(" + strings.Join(arguments, m.space()) + ")"
	}
	text += m.directives()
	if below := m.schema.Types[field.Type.Name()]; below.IsCompositeType() {
		text += m.selections(below)
	}
	return text
}

func (m *maker) directives() string {
	if m.one(6) < 5 {
		return ""
	}
	condition := &ast.Type{NamedType: "Boolean", NonNull: true}
	return m.pick(" @skip", " @include") + "(if: " + m.value(condition, "if") + ")"
}

// value writes a value of the type, or something that is none.
func (m *maker) value(typ *ast.Type, name string) string {
	switch m.one(100) {
	case 99, 98:
		return "null"
	case 97, 96:
		return m.pick(`"x"`, "1", "1.5", "true", "RED", "[]", "{}", `""`, "[null]", "-0", "1e400", "99999999999999999999")
	}
	if m.one(3) == 2 {
		return m.variable(typ, name)
	}
	return m.literal(typ, name, true)
}

// literal writes a constant, in which there may be variables.
func (m *maker) literal(typ *ast.Type, name string, variables bool) string {
	value := func(typ *ast.Type, name string) string {
		if variables {
			return m.value(typ, name)
		}
		return m.literal(typ, name, false)
	}
	if typ.Elem != nil {
		return "[" + value(typ.Elem, name) + "]"
	}
	if definition := m.schema.Types[typ.NamedType]; definition.Kind == ast.InputObject {
		var parts []string
		for _, field := range definition.Fields {
			if field.Type.NonNull || m.one(3) > 0 {
				parts = append(parts, field.Name+":"+value(field.Type, field.Name))
			}
		}
		return "{" + strings.Join(parts, m.space()) + "}"
	}
	switch typ.NamedType {
	case "Boolean":
		return m.pick("true", "false")
	case "Int":
		return m.number()
	}
	text := m.text(name)
	if m.one(4) == 3 && !strings.ContainsAny(text, "\x00\x07\\") && !strings.HasSuffix(text, `"`) {
		return `"""` + m.pick("", "  ", "\n    ", "\t") + strings.ReplaceAll(text, `"""`, `\"""`) + m.pick("", "\n    b", "\r\n  c ", "\n") + `"""`
	}
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

func (m *maker) number() string {
	return m.pick("2", "1", "100", "20", "0", "-1", "101", "2147483648", "9223372036854775807", "-0")
}

func (m *maker) text(name string) string {
	switch name {
	case "id":
		return m.pick(m.ids[0], m.ids[1], m.ids[2], "0190b6d2-7c1e-7000-8000-000000000000", "1", "")
	case "after":
		return m.pick(m.cursors[0], m.cursors[1], m.cursors[2], "abc", "")
	case "idempotencyKey", "key":
		if m.one(4) > 0 {
			return fmt.Sprintf("%d-%d-%d", m.one(256), m.one(256), m.one(256))
		}
		return m.pick("k1", "k2", "k3", "seed-1", "", " k", "é", strings.Repeat("k", 256))
	}
	return m.pick("Apollo", "a", "b c", " a ", "", "é\u2028😀", "\x00", "\x07", `say """ and \`, "a\n  b", strings.Repeat("a", 201), "#")
}

// variable declares a variable, of the type or a little other, supplies it or not, and
// returns its use.
func (m *maker) variable(typ *ast.Type, name string) string {
	use := fmt.Sprintf("$v%d", len(m.declared))
	declared := typ.String()
	nullable := strings.TrimSuffix(declared, "!")
	switch m.one(32) {
	case 31:
		declared = m.pick("Int", "String!", "[String!]", "Boolean", "ID", "Float", "CreateProjectInput", "Project")
	case 30:
		declared = nullable + m.pick("", " = null")
	case 29, 28, 27, 26, 25, 24, 23, 22:
		declared = nullable + " = " + m.literal(typ, name, false)
	case 21, 20, 19, 18:
		declared += " = " + m.literal(typ, name, false)
	}
	m.declared = append(m.declared, use+":"+declared)
	hasDefault := strings.Contains(declared, "=")
	switch n := m.one(24); {
	case n == 23, n > 16 && hasDefault:
		return use // Not supplied.
	case n == 16, n > 12 && hasDefault:
		m.supplied = append(m.supplied, `"`+use[1:]+`":null`)
	case n == 12:
		m.supplied = append(m.supplied, `"`+use[1:]+`":`+m.pick("1", `"x"`, "true", "[]", "{}", "[null]", "1.0", "1e999999999", `{"__typename":"x"}`, "-0", "99999999999999999999"))
	default:
		m.supplied = append(m.supplied, `"`+use[1:]+`":`+m.json(typ, name))
	}
	return use
}

func (m *maker) json(typ *ast.Type, name string) string {
	if typ.Elem != nil {
		return "[" + m.json(typ.Elem, name) + "]"
	}
	if definition := m.schema.Types[typ.NamedType]; definition.Kind == ast.InputObject {
		var parts []string
		for _, field := range definition.Fields {
			if field.Type.NonNull && m.one(20) < 19 || !field.Type.NonNull && m.one(2) == 1 {
				value := m.json(field.Type, field.Name)
				if m.one(12) == 11 {
					value = "null"
				}
				parts = append(parts, `"`+field.Name+`":`+value)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	switch typ.NamedType {
	case "Boolean":
		return m.pick("true", "false")
	case "Int":
		return m.number()
	}
	quoted, _ := json.Marshal(m.text(name))
	return string(quoted)
}
