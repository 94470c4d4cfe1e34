package gqlidem

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/ast"
)

// A leaf is a value that is neither list nor object nor null, as it was written.
type leaf struct {
	kind leafKind
	raw  string
}

type leafKind int

const (
	text leafKind = iota
	number
	boolean
)

func builtIn(name string) bool {
	switch name {
	case "Int", "Float", "String", "Boolean", "ID":
		return true
	}
	return false
}

// leaf appends the value in the form of its type. What gqlgen takes for the same
// value has the same form: "5" for an Int is 5, and 5 for an ID is "5".
func (c *canonicalizer) leaf(typ *ast.Type, l leaf) error {
	if typ == nil || c.opaque(typ) {
		return c.opaqueLeaf(l)
	}
	switch typ.NamedType {
	case "Int":
		return c.integer(l)
	case "Float":
		return c.double(l)
	case "String", "ID":
		if l.kind == boolean {
			return errType
		}
		return c.string(l.raw)
	case "Boolean":
		if l.kind != boolean {
			return errType
		}
		c.out = append(c.out, l.raw...)
		return nil
	}
	definition := c.schema.Types[typ.NamedType]
	if definition == nil || definition.Kind != ast.Enum || l.kind != text || definition.EnumValues.ForName(l.raw) == nil {
		return errType
	}
	return c.string(l.raw)
}

// integer appends an integer of at most 64 bits, which is what gqlgen takes.
func (c *canonicalizer) integer(l leaf) error {
	if l.kind == boolean {
		return errType
	}
	n, err := strconv.ParseInt(l.raw, 10, 64)
	if err != nil {
		return errType
	}
	c.out = strconv.AppendInt(c.out, n, 10)
	return nil
}

// double appends a number in RFC 8785's form, section 3.2.2.3.
func (c *canonicalizer) double(l leaf) error {
	if l.kind == boolean {
		return errType
	}
	f, err := strconv.ParseFloat(l.raw, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return errType
	}
	if f == 0 { // and -0
		c.out = append(c.out, '0')
		return nil
	}
	c.out = append(c.out, jsontext.Float(f).String()...)
	return nil
}

// opaqueLeaf appends what is inside a scalar of the schema's own, where a number
// may mean an integer, a double or a decimal and is compared exactly.
func (c *canonicalizer) opaqueLeaf(l leaf) error {
	switch l.kind {
	case text:
		return c.string(l.raw)
	case boolean:
		c.out = append(c.out, l.raw...)
		return nil
	}
	return c.decimal(l.raw)
}

// maxExponent is the largest exponent that a number may be written with.
const maxExponent = 1_000_000_000_000_000

// decimal appends the normal form of a JSON number by its exact decimal value:
// an optional sign, digits that neither begin nor end with zero, and the power
// of ten they are multiplied by, as "e" and an integer, when it is not zero.
// Zero is 0. So 100, 1e2 and 100.0 are 1e2, and 2^53+1 stays what it is.
func (c *canonicalizer) decimal(raw string) error {
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(raw), "e")
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return errType
	}
	var power int64
	if hasExponent {
		var err error
		if power, err = strconv.ParseInt(exponent, 10, 64); err != nil || max(power, -power) > maxExponent {
			return errType
		}
	}
	power -= int64(len(fraction))
	significant := strings.TrimRight(digits, "0")
	power += int64(len(digits) - len(significant))
	significant = strings.TrimLeft(significant, "0")
	if significant == "" {
		c.out = append(c.out, '0')
		return nil
	}
	if negative {
		c.out = append(c.out, '-')
	}
	c.out = append(c.out, significant...)
	if power != 0 {
		c.out = append(c.out, 'e')
		c.out = strconv.AppendInt(c.out, power, 10)
	}
	return nil
}
