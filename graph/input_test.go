package graph_test

import (
	"testing"
)

func TestHandler_RefusesVariablesOfAnotherType(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const (
		mutation = `mutation($i: CreateProjectInput!, $k: String! = \"k\") { createProject(input: $i, idempotencyKey: $k) { project { name } } }`
		projects = `query($f: Int) { projects(first: $f) { nodes { id } } }`
		project  = `query($id: ID!) { project(id: $id) { id } }`
		call     = `query($k: String!) { idempotentCall(key: $k) { key } }`
	)
	for name, test := range map[string]struct{ document, variables, message string }{
		"none":                       {mutation, `{}`, "$i: must be defined"},
		"null":                       {mutation, `{"i":null}`, "$i: cannot be null"},
		"text for an object":         {mutation, `{"i":"secret"}`, "$i: must be a CreateProjectInput, not a string"},
		"a list for an object":       {mutation, `{"i":[{"name":"secret"}]}`, "$i: must be a CreateProjectInput, not a slice"},
		"no name":                    {mutation, `{"i":{}}`, "$i.name: must be defined"},
		"a name of null":             {mutation, `{"i":{"name":null}}`, "$i.name: cannot be null"},
		"an unknown field":           {mutation, `{"i":{"name":"secret","id":1}}`, "$i.id: unknown field"},
		"a number for a name":        {mutation, `{"i":{"name":1}}`, "$i.name: this value is not of type String"},
		"a huge number for a name":   {mutation, `{"i":{"name":99999999999999999999}}`, "$i.name: this value is not of type String"},
		"a huge float for a text":    {mutation, `{"i":{"name":"x","description":1e400}}`, "$i.description: this value is not of type String"},
		"an object for a name":       {mutation, `{"i":{"name":{"secret":1}}}`, "$i.name: cannot use map as String"},
		"a list for a name":          {mutation, `{"i":{"name":["secret"]}}`, "$i.name: cannot use slice as String"},
		"a boolean for a name":       {mutation, `{"i":{"name":true}}`, "$i.name: cannot use bool as String"},
		"a number for the key":       {mutation, `{"i":{"name":"x"},"k":1}`, "$k: this value is not of type String"},
		"a key of null":              {mutation, `{"i":{"name":"x"},"k":null}`, "$k: cannot be null"},
		"a number for a key":         {call, `{"k":1}`, "$k: this value is not of type String"},
		"a number beyond 64 bits":    {projects, `{"f":99999999999999999999}`, "$f: cannot use this number as Int"},
		"a fraction":                 {projects, `{"f":1.5}`, "$f: cannot use this number as Int"},
		"an exponent beyond all":     {projects, `{"f":1e999999999}`, "$f: cannot use this number as Int"},
		"text for a number":          {projects, `{"f":"7"}`, "$f: this value is not of type Int"},
		"a boolean for a number":     {projects, `{"f":true}`, "$f: cannot use bool as Int"},
		"a list for a number":        {projects, `{"f":[1]}`, "$f: cannot use slice as Int"},
		"a fraction for an id":       {project, `{"id":1.5}`, "$id: this value is not of type ID"},
		"an exponent for an id":      {project, `{"id":1e2}`, "$id: this value is not of type ID"},
		"a boolean for an id":        {project, `{"id":false}`, "$id: cannot use bool as ID"},
		"an id of null":              {project, `{"id":null}`, "$id: cannot be null"},
		"null for a list of objects": {project, `{"id":{}}`, "$id: cannot use map as ID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := a.send(t.Context(), t, `{"query":"`+test.document+`","variables":`+test.variables+`}`)
			refused(t, got, "BAD_USER_INPUT")
			if got.Errors[0].Message != test.message {
				t.Errorf("%q, want %q", got.Errors[0].Message, test.message)
			}
		})
	}
	t.Cleanup(func() { a.stores(t, 0) })
}

// A default is for what is absent. Null is refused before anything runs, also where gqlparser
// takes it, and nothing panics over it.
func TestHandler_RefusesNullWhereADefaultStands(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	const (
		create  = `createProject(input: {name: \"a\"}, idempotencyKey: \"k\")`
		boolean = "$v: it is null, and if of @skip takes Boolean!"
		include = "$v: it is null, and if of @include takes Boolean!"
	)
	for document, message := range map[string]string{
		`query($v: Int) { projects(first: $v) { nodes { id } } }`:                                                                                                                     "$v: it is null, and first of projects takes Int!",
		`query($v: Int = 5) { projects(first: $v) { nodes { id } } }`:                                                                                                                 "$v: it is null, and first of projects takes Int!",
		`query($v: Boolean) { projects(includeArchived: $v) { nodes { id } } }`:                                                                                                       "$v: it is null, and includeArchived of projects takes Boolean!",
		`query($v: ID = 1) { project(id: $v) { id } }`:                                                                                                                                "$v: it is null, and id of project takes ID!",
		`query($v: String = \"k\") { idempotentCall(key: $v) { key } }`:                                                                                                               "$v: it is null, and key of idempotentCall takes String!",
		`query($v: Boolean = true) { __typename @skip(if: $v) }`:                                                                                                                      boolean,
		`query($v: Boolean = true) { ... @include(if: $v) { __typename } }`:                                                                                                           include,
		`query($v: Boolean = true) { a: __typename ... @skip(if: true) { b: __typename @include(if: $v) } }`:                                                                          include,
		`query($v: Boolean = true) { __type(name: \"Query\") { name @skip(if: $v) } }`:                                                                                                boolean,
		`mutation($v: String = \"a\") { createProject(input: {name: $v}, idempotencyKey: \"k\") { project { id } } }`:                                                                 "$v: it is null, and input.name of createProject takes String!",
		`mutation($v: String = \"k\") { createProject(input: {name: \"a\"}, idempotencyKey: $v) { project { id } } }`:                                                                 "$v: it is null, and idempotencyKey of createProject takes String!",
		`mutation($v: CreateProjectInput = {name: \"a\"}) { createProject(input: $v, idempotencyKey: \"k\") { project { id } } }`:                                                     "$v: it is null, and input of createProject takes CreateProjectInput!",
		`mutation($v: Boolean = true) { ` + create + ` { project { id @skip(if: $v) } } }`:                                                                                            boolean,
		`mutation($v: Boolean = true) { ` + create + ` { ...F } } fragment F on CreateProjectPayload { project { ...G } } fragment G on Project { id ... @include(if: $v) { name } }`: include,
		`mutation($v: Boolean = true) { __typename @skip(if: $v) }`:                                                                                                                   boolean,
	} {
		got := a.send(t.Context(), t, `{"query":"`+document+`","variables":{"v":null}}`)
		refused(t, got, "BAD_USER_INPUT")
		if got.Errors[0].Message != message || len(got.Errors[0].Locations) != 1 {
			t.Errorf("%s: %s, want %q", document, got.text, message)
		}
	}
	a.stores(t, 0)
	if logged := a.log.all(); len(logged) > 0 {
		t.Errorf("logged: %q", logged)
	}
}
