package gqlidem_test

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency/gqlidem"
)

// The samples of RFC 8785, appendix B; a double without a form is left empty.
var rfc8785Numbers = map[uint64]string{
	0x0000000000000000: "0",
	0x8000000000000000: "0",
	0x0000000000000001: "5e-324",
	0x8000000000000001: "-5e-324",
	0x7fefffffffffffff: "1.7976931348623157e+308",
	0xffefffffffffffff: "-1.7976931348623157e+308",
	0x4340000000000000: "9007199254740992",
	0xc340000000000000: "-9007199254740992",
	0x4430000000000000: "295147905179352830000",
	0x7fffffffffffffff: "",
	0x7ff0000000000000: "",
	0x44b52d02c7e14af5: "9.999999999999997e+22",
	0x44b52d02c7e14af6: "1e+23",
	0x44b52d02c7e14af7: "1.0000000000000001e+23",
	0x444b1ae4d6e2ef4e: "999999999999999700000",
	0x444b1ae4d6e2ef4f: "999999999999999900000",
	0x444b1ae4d6e2ef50: "1e+21",
	0x3eb0c6f7a0b5ed8c: "9.999999999999997e-7",
	0x3eb0c6f7a0b5ed8d: "0.000001",
	0x41b3de4355555553: "333333333.3333332",
	0x41b3de4355555554: "333333333.33333325",
	0x41b3de4355555555: "333333333.3333333",
	0x41b3de4355555556: "333333333.3333334",
	0x41b3de4355555557: "333333333.33333343",
	0xbecbf647612f3696: "-0.0000033333333333333333",
	0x43143ff3c1cb0959: "1424953923781206.2",
}

func TestCanonical_FloatHasTheFormOfRFC8785(t *testing.T) {
	t.Parallel()
	c := parsed(t, "types", `mutation($v: Float) { float(v: $v, idempotencyKey: "k") }`, `{}`)
	for bits, want := range rfc8785Numbers {
		c.variables = map[string]any{"v": math.Float64frombits(bits)}
		form, err := c.form()
		if want == "" {
			if !errors.Is(err, gqlidem.ErrNotCanonical) {
				t.Errorf("%016x: %s, %v, want ErrNotCanonical", bits, form, err)
			}
			continue
		}
		if form != `v1 float {"v":`+want+`}` {
			t.Errorf("%016x: %s, %v, want %s", bits, form, err, want)
		}
		// As it comes in a request: as text, here with all its decimals.
		text := strconv.FormatFloat(math.Float64frombits(bits), 'f', -1, 64)
		written := parsed(t, "types", `mutation($v: Float) { float(v: $v, idempotencyKey: "k") }`, `{"v": `+text+`}`)
		if form, err := written.form(); form != `v1 float {"v":`+want+`}` {
			t.Errorf("%s: %s, %v, want %s", text, form, err, want)
		}
	}
}

func TestCanonical_RefusesWhatNestsTooDeep(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, form := range map[string]func(n int) (string, error){
		"literal": func(n int) (string, error) {
			return parsed(t, "types", `mutation { json(v: `+nested(n)+`, idempotencyKey: "k") }`, `{}`).form()
		},
		"variable": func(n int) (string, error) {
			return parsed(t, "types", `mutation($v: JSON) { json(v: $v, idempotencyKey: "k") }`, `{"v": `+nested(n)+`}`).form()
		},
		"variable in a literal": func(n int) (string, error) {
			return parsed(t, "types", `mutation($v: JSON) { json(v: [$v], idempotencyKey: "k") }`, `{"v": `+nested(n-1)+`}`).form()
		},
		"single value for a list": func(n int) (string, error) {
			return parsed(t, "types", `mutation($v: [JSON]) { jsons(v: $v, idempotencyKey: "k") }`, `{"v": {"a": `+nested(n-2)+`}}`).form()
		},
		"input objects": func(n int) (string, error) {
			// Each object but the outermost is in the list that it is coerced to.
			object := strings.Repeat(`{"nodes":`, n/2) + "null" + strings.Repeat("}", n/2)
			return parsed(t, "types", `mutation($v: Node) { node(v: $v, idempotencyKey: "k") }`, `{"v": `+object+`}`).form()
		},
	} {
		if form, err := form(gqlidem.MaxDepth - 1); err != nil {
			t.Errorf("%s, one level less than the most: %.40s, %v", name, form, err)
		}
		if form, err := form(gqlidem.MaxDepth + 2); !errors.Is(err, gqlidem.ErrNotCanonical) {
			t.Errorf("%s, two levels more than the most: %.40s, %v", name, form, err)
		}
	}
	c := parsed(t, "types", `mutation($v: JSON) { json(v: $v, idempotencyKey: "k") }`, `{"v": `+nested(gqlidem.MaxDepth)+`}`)
	if form, err := c.form(); err != nil || form != `v1 json {"v":`+nested(gqlidem.MaxDepth)+`}` {
		t.Errorf("the deepest: %.40s, %v", form, err)
	}
	c = parsed(t, "types", `mutation($v: JSON) { json(v: $v, idempotencyKey: "k") }`, `{"v": `+nested(gqlidem.MaxDepth+1)+`}`)
	if form, err := c.form(); !errors.Is(err, gqlidem.ErrNotCanonical) {
		t.Errorf("too deep: %.40s, %v", form, err)
	}
}

func TestCanonical_OfAnUnknownVersion(t *testing.T) {
	t.Parallel()
	c := parsed(t, "types", `mutation { none(idempotencyKey: "k") }`, `{}`)
	for _, version := range []int16{0, 2, -1} {
		if _, err := gqlidem.Canonical(c.schema, c.field, c.variables, gqlidem.KeyArgument, version); !errors.Is(err, gqlidem.ErrFingerprintVersion) {
			t.Errorf("version %d: %v, want ErrFingerprintVersion", version, err)
		}
		if _, err := gqlidem.Fingerprint(c.schema, c.field, c.variables, gqlidem.KeyArgument, version); !errors.Is(err, gqlidem.ErrFingerprintVersion) {
			t.Errorf("version %d: %v, want ErrFingerprintVersion", version, err)
		}
	}
}

// gqlgen's own clients and tests hand over Go values as variables.
func TestCanonical_TakesTheGoValuesOfVariables(t *testing.T) {
	t.Parallel()
	type text string
	one, missing := 1, (*int)(nil)
	for field, variables := range map[string]map[any]string{
		"json": {
			nil: "null", missing: "null", &one: "1", int8(-1): "-1", uint64(math.MaxUint64): "18446744073709551615", 1e300: "1e300",
			float32(0.5): "5e-1", json.Number("10"): "1e1", text("a"): `"a"`, true: "true", "\u2028": "\"\u2028\"",
		},
		"int":     {int32(5): "5", 5.0: "5", "5": "5"},
		"boolean": {false: "false"},
	} {
		c := parsed(t, "types", `mutation { `+field+`(idempotencyKey: "k") }`, `{}`)
		definition := c.field.Definition.Arguments.ForName("v")
		c.field.Arguments = append(c.field.Arguments, &ast.Argument{Name: definition.Name, Value: &ast.Value{Kind: ast.Variable, Raw: "v"}})
		for value, want := range variables {
			c.variables = map[string]any{"v": value}
			if form, err := c.form(); form != "v1 "+field+` {"v":`+want+`}` {
				t.Errorf("%s, %T %v: %s, %v, want %s", field, value, value, form, err, want)
			}
		}
	}
}

func TestCanonical_RefusesWhatNoServerAccepts(t *testing.T) {
	t.Parallel()
	const document = `mutation($v: JSON) { json(v: $v, idempotencyKey: "k") }`
	for name, value := range map[string]any{
		"a struct":                     struct{}{},
		"a channel":                    make(chan int),
		"a map by numbers":             map[int]string{1: "a"},
		"not UTF-8":                    "\xff",
		"a name that is not UTF-8":     map[string]any{"\xff": 1},
		"a number that is none":        json.Number("1e"),
		"a number without digits":      json.Number("-"),
		"a number in hexadecimal":      json.Number("0x1"),
		"a number with a space":        json.Number("1 "),
		"a number with a huge power":   json.Number("1e99999999999999999999"),
		"infinity":                     math.Inf(1),
		"not a number in a list":       []any{math.NaN()},
		"not UTF-8 in a list of texts": []string{"a", "\xc0"},
	} {
		c := parsed(t, "types", document, `{}`)
		c.variables = map[string]any{"v": value}
		if form, err := c.form(); !errors.Is(err, gqlidem.ErrNotCanonical) {
			t.Errorf("%s: %s, %v, want ErrNotCanonical", name, form, err)
		}
	}
	for name, change := range map[string]func(*ast.Field){
		"not validated":               func(f *ast.Field) { f.Definition = nil },
		"an unknown argument":         func(f *ast.Field) { f.Arguments[0].Name = "w" },
		"an argument twice":           func(f *ast.Field) { f.Arguments = append(f.Arguments, f.Arguments[0]) },
		"a value of an unknown kind":  func(f *ast.Field) { f.Arguments[0].Value.Kind = 99 },
		"a member twice":              func(f *ast.Field) { v := f.Arguments[0].Value; v.Children = append(v.Children, v.Children[0]) },
		"a member that is not UTF-8":  func(f *ast.Field) { f.Arguments[0].Value.Children[0].Name = "\xff" },
		"a literal that is not UTF-8": func(f *ast.Field) { f.Arguments[0].Value.Children[0].Value.Raw = "\xff" },
	} {
		c := parsed(t, "types", `mutation { json(v: {a: "b"}, idempotencyKey: "k") }`, `{}`)
		change(c.field)
		if form, err := c.form(); !errors.Is(err, gqlidem.ErrNotCanonical) {
			t.Errorf("%s: %s, %v, want ErrNotCanonical", name, form, err)
		}
	}
}
