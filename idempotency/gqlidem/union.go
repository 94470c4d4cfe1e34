package gqlidem

import (
	"bytes"
	"cmp"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/onceql/onceql/idempotency"
)

// Union names the Go types that may stand where a payload, or a field anywhere in
// one, is of an interface type: the members of GraphQL's unions and interfaces.
//
//	gqlidem.New(engine, tenantOf, gqlidem.Union(model.OrderPlaced{}, model.CardDeclined{}))
//
// A member is named by any value of its type or by a pointer to one. Both may
// stand there, and the one that stood there is read back.
//
// Such a value is stored as an object with one member, whose name is the type's
// without its package, and begins with "*" for a pointer:
//
//	{"*CardDeclined": {"reason": "expired"}}
//
// A type that is renamed keeps the name it is stored under with As. A stored name
// that this build does not know is UNAVAILABLE.
func Union(members ...any) Option {
	return func(o *Once) {
		for _, member := range members {
			if err := o.unions.add(member); err != nil {
				o.unions.faults = append(o.unions.faults, fmt.Errorf("gqlidem.Union: %w", err))
			}
		}
	}
}

// As is a member of a Union that is stored under another name than its type's: for
// a type that was renamed, and for two of the same name.
func As(name string, member any) any { return memberAs{name, member} }

type memberAs struct {
	name   string
	member any
}

// unions are the types that Union named.
type unions struct {
	// members are as they were listed, values or pointers.
	members []reflect.Type
	// names has the name of each type, types the type of each name; none of them is
	// a pointer.
	names  map[reflect.Type]string
	types  map[string]reflect.Type
	faults []error
	// abstract has the schema's unions and interfaces.
	abstract []*ast.Definition
}

func (u *unions) add(member any) error {
	as, named := member.(memberAs)
	if named {
		member = as.member
	}
	listed := reflect.TypeOf(member)
	typ := listed
	if typ != nil && typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ == nil || typ.Name() == "" || typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Interface:
		return fmt.Errorf("%T is neither a value of a type with a name nor a pointer to one", member)
	case !named:
		as.name = typ.Name()
	case as.name == "" || as.name[0] == '*':
		return fmt.Errorf("%q can't be the name of %s", as.name, typ)
	}
	if other, taken := u.types[as.name]; taken && other != typ {
		return fmt.Errorf("%s and %s would both be stored as %q; give one another name with gqlidem.As", other, typ, as.name)
	}
	if other, taken := u.names[typ]; taken && other != as.name {
		return fmt.Errorf("%s would be stored as %q and as %q", typ, other, as.name)
	}
	if u.names == nil {
		u.names, u.types = map[reflect.Type]string{}, map[string]reflect.Type{}
	}
	if _, known := u.names[typ]; !known {
		u.members = append(u.members, listed)
	}
	u.names[typ], u.types[as.name] = as.name, typ
	return nil
}

// name notes which types of the schema are abstract.
func (u *unions) name(schema *ast.Schema) {
	u.abstract = nil
	for _, definition := range schema.Types {
		if definition.IsAbstractType() {
			u.abstract = append(u.abstract, definition)
		}
	}
}

func (u *unions) definition(t reflect.Type) *ast.Definition {
	if t.Name() == "" {
		return nil
	}
	for _, definition := range u.abstract {
		if sameName(t.Name(), definition.Name) {
			return definition
		}
	}
	return nil
}

// has says whether the type is an interface that members stand for. gqlgen may
// leave out the methods of those that it generates, so those without are known by
// their name; any other without methods holds plain JSON values.
func (u *unions) has(t reflect.Type) bool {
	return t.Kind() == reflect.Interface && (t.NumMethod() > 0 || u.definition(t) != nil)
}

// standFor returns the members that may stand for an interface type, for
// idempotency.CheckPayload.
func (u *unions) standFor(t reflect.Type) ([]reflect.Type, error) {
	if !u.has(t) {
		return nil, nil
	}
	var members []reflect.Type
	for _, member := range u.members {
		switch {
		case member.Implements(t):
			members = append(members, member)
		case reflect.PointerTo(member).Implements(t):
			members = append(members, reflect.PointerTo(member))
		}
	}
	if len(members) == 0 {
		return nil, errors.New("no type that gqlidem.Union names is one")
	}
	return members, u.covers(t, members)
}

// covers reports the members of a GraphQL union for which no Go type is there. Which
// is whose is known by their names, unless there are enough of them.
func (u *unions) covers(t reflect.Type, members []reflect.Type) error {
	union := u.definition(t)
	if union == nil || union.Kind != ast.Union || len(members) >= len(union.Types) {
		return nil
	}
	var missing []string
	for _, name := range union.Types {
		found := false
		for _, member := range members {
			if member.Kind() == reflect.Pointer {
				member = member.Elem()
			}
			found = found || sameName(member.Name(), name)
		}
		if !found {
			missing = append(missing, name)
		}
	}
	return fmt.Errorf("gqlidem.Union names no Go type for %s of the union %s", strings.Join(missing, ", "), union.Name)
}

// A unionCodec stores payloads of one type as encoding/json does, and values of
// interface types with their names.
type unionCodec struct {
	payload reflect.Type
	options json.Options
}

func newUnionCodec(u *unions, payload reflect.Type) *unionCodec {
	return &unionCodec{payload, json.JoinOptions(
		jsonv1.DefaultOptionsV1(),
		json.WithMarshalers(json.MarshalToFunc(u.write)),
		json.WithUnmarshalers(json.UnmarshalFromFunc(u.read)),
	)}
}

// Encode implements idempotency.Codec.
func (c *unionCodec) Encode(value any) ([]byte, error) {
	// The payload itself may be of an interface type, which only a pointer keeps.
	payload := reflect.New(c.payload)
	if value != nil {
		payload.Elem().Set(reflect.ValueOf(value))
	}
	return json.Marshal(payload.Interface(), c.options)
}

// Decode implements idempotency.Codec.
func (c *unionCodec) Decode(data []byte, into any) error {
	if err := json.Unmarshal(data, into, c.options); err != nil {
		return err
	}
	again, err := json.Marshal(into, c.options)
	if err != nil || bytes.Equal(data, again) {
		return err
	}
	return idempotency.CheckComplete(data, again)
}

var jsonNumber = reflect.TypeFor[stdjson.Number]()

// write is called for each value of a payload, with a pointer to it, and leaves
// all to the default but values of interface types and encoding/json's numbers.
func (u *unions) write(out *jsontext.Encoder, at any) error {
	v := reflect.ValueOf(at).Elem()
	if v.Type() == jsonNumber {
		return out.WriteValue(jsontext.Value(cmp.Or(v.String(), "0")))
	}
	if !u.has(v.Type()) || v.IsNil() {
		return errors.ErrUnsupported
	}
	typ, pointer := v.Elem().Type(), ""
	if typ.Kind() == reflect.Pointer {
		typ, pointer = typ.Elem(), "*"
	}
	name, known := u.names[typ]
	if !known {
		return fmt.Errorf("gqlidem.Union does not name %s, which stands for %s", typ, v.Type())
	}
	if err := out.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	if err := out.WriteToken(jsontext.String(pointer + name)); err != nil {
		return err
	}
	if err := json.MarshalEncode(out, v.Elem().Interface()); err != nil {
		return err
	}
	return out.WriteToken(jsontext.EndObject)
}

// read is called for each value that is read, with a pointer to where it belongs.
func (u *unions) read(in *jsontext.Decoder, into any) error {
	v := reflect.ValueOf(into).Elem()
	switch kind := in.PeekKind(); {
	case kind == '0' && (v.Type() == jsonNumber || v.Kind() == reflect.Interface && !u.has(v.Type())):
		// A float64 would change numbers beyond 2^53.
		text, err := in.ReadValue()
		if err == nil {
			v.Set(reflect.ValueOf(stdjson.Number(text)))
		}
		return err
	case kind == 'n' || !u.has(v.Type()):
		return errors.ErrUnsupported
	case kind != '{':
		return fmt.Errorf("what is stored for %s has no name of a type", v.Type())
	}
	if _, err := in.ReadToken(); err != nil {
		return err
	}
	name, err := in.ReadToken()
	if err != nil {
		return err
	}
	if name.Kind() != '"' {
		return fmt.Errorf("what is stored for %s has no name of a type", v.Type())
	}
	stored, pointer := strings.CutPrefix(name.String(), "*")
	typ := u.types[stored]
	if typ != nil && pointer {
		typ = reflect.PointerTo(typ)
	}
	if typ == nil || !typ.Implements(v.Type()) {
		return fmt.Errorf("a %s is stored, which this build does not know as %s", stored, v.Type())
	}
	held := reflect.New(typ)
	if err := json.UnmarshalDecode(in, held.Interface()); err != nil {
		return err
	}
	if end, err := in.ReadToken(); err != nil || end.Kind() != '}' {
		return errors.Join(err, fmt.Errorf("what is stored for %s has more than one name", v.Type()))
	}
	v.Set(held.Elem())
	return nil
}
