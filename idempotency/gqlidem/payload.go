package gqlidem

import (
	"reflect"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/idempotency"
)

// codec returns how payloads of a GraphQL type, which have that Go type, are
// stored; nil stands for encoding/json.
func (o *Once) codec(payload string, typ reflect.Type) (idempotency.Codec, error) {
	if codec := o.codecs[payload]; codec != nil {
		return codec, nil
	}
	type checked struct {
		codec idempotency.Codec
		err   error
	}
	if known, ok := o.payloads.Load(typ); ok {
		found := known.(checked) //nolint:errcheck // Nothing else is in there.
		return found.codec, found.err
	}
	var found checked
	abstract := false
	found.err = idempotency.CheckPayload(typ, func(t reflect.Type) ([]reflect.Type, error) {
		abstract = abstract || o.unions.has(t)
		return o.unions.standFor(t)
	})
	if abstract {
		found.codec = newUnionCodec(&o.unions, typ)
	}
	o.payloads.Store(typ, found)
	return found.codec, found.err
}

// A keyedField is a mutation and the Go type of its payload.
type keyedField struct {
	field string
	typ   reflect.Type
}

// payloadTypes returns the Go types of the marked mutations' payloads, as far as
// they can be found.
func (o *Once) payloadTypes(schema graphql.ExecutableSchema) []keyedField {
	if schema.Schema().Mutation == nil {
		return nil
	}
	var payloads []keyedField
	resolvers := mutationResolver(schema)
	for _, field := range schema.Schema().Mutation.Fields {
		for i := 0; resolvers != nil && i < resolvers.NumMethod(); i++ {
			if method := resolvers.Method(i); sameName(method.Name, field.Name) && method.Type.NumOut() > 0 {
				payloads = append(payloads, keyedField{field.Name, method.Type.Out(0)})
			}
		}
	}
	for _, batch := range o.batches {
		if !slices.Contains(payloads, batch) {
			payloads = append(payloads, batch)
		}
	}
	return slices.DeleteFunc(payloads, func(payload keyedField) bool { return !marked(schema.Schema(), payload.field) })
}

// mutationResolver returns the interface that gqlgen generated for the resolvers
// of the mutations, which has a method for each: it is what the method for the
// type Mutation of the field Resolvers of the executable schema returns. Of
// another executable schema it returns nil.
func mutationResolver(schema graphql.ExecutableSchema) reflect.Type {
	resolvers := generatedField(schema, "Resolvers")
	if !resolvers.IsValid() || resolvers.Type().Kind() != reflect.Interface {
		return nil
	}
	root := resolvers.Type()
	for i := range root.NumMethod() {
		method := root.Method(i)
		if sameName(method.Name, schema.Schema().Mutation.Name) && method.Type.NumOut() == 1 && method.Type.Out(0).Kind() == reflect.Interface {
			return method.Type.Out(0)
		}
	}
	return nil
}

// generatedField returns a field of the executable schema that gqlgen generated;
// older versions do not export it.
func generatedField(schema graphql.ExecutableSchema, name string) reflect.Value {
	v := reflect.ValueOf(schema)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, name) })
}

// sameName says whether a Go name is the one that gqlgen makes of a GraphQL name:
// it changes case, and leaves underscores out.
func sameName(inGo, inGraphQL string) bool {
	return strings.EqualFold(strings.ReplaceAll(inGo, "_", ""), strings.ReplaceAll(inGraphQL, "_", ""))
}
