package gqlidem

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
)

// FingerprintVersion is the newest version of the fingerprint that this build
// computes, and the one to write.
const FingerprintVersion int16 = 1

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
