package graph_test

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// A description is all that the playground, editors and generated code know of
// what a name means.
func TestSchema_DescribesEverything(t *testing.T) {
	t.Parallel()
	sdl, err := os.ReadFile("../schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	places := descriptions(t, string(sdl))
	if _, found := places["Mutation.createProject(idempotencyKey:)"]; !found {
		t.Error("this is not the schema that the server has")
	}
	for place, description := range places {
		if description == "" {
			t.Errorf("%s has no description", place)
		}
	}
}

// The test above is worth what descriptions looks at.
func TestSchema_DescriptionsAreLookedForEverywhere(t *testing.T) {
	t.Parallel()
	places := descriptions(t, `
		directive @d(a: Int) on FIELD
		schema { query: Q }
		type Q { f(a: Int): S }
		extend type Q { "Described." g: Int }
		interface I { f(a: Int): Int }
		union U = Q
		scalar S
		enum E { V }
		input N { f: Int }`)
	want := map[string]string{
		"@d": "", "@d(a:)": "", "Q": "", "Q.f": "", "Q.f(a:)": "", "Q.g": "Described.", "I": "", "I.f": "", "I.f(a:)": "",
		"U": "", "S": "", "E": "", "E.V": "", "N": "", "N.f": "",
	}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Error(diff)
	}
}

// descriptions are those of each definition, argument, field, input field and
// enum value of a schema, by where it stands. A place without one has "".
func descriptions(t testing.TB, sdl string) map[string]string {
	t.Helper()
	schema, err := parser.ParseSchema(&ast.Source{Input: sdl})
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{}
	arguments := func(place string, list ast.ArgumentDefinitionList) {
		for _, argument := range list {
			places[place+"("+argument.Name+":)"] = argument.Description
		}
	}
	members := func(definition *ast.Definition) {
		for _, field := range definition.Fields {
			place := definition.Name + "." + field.Name
			places[place] = field.Description
			arguments(place, field.Arguments)
		}
		for _, value := range definition.EnumValues {
			places[definition.Name+"."+value.Name] = value.Description
		}
	}
	for _, directive := range schema.Directives {
		places["@"+directive.Name] = directive.Description
		arguments("@"+directive.Name, directive.Arguments)
	}
	for _, definition := range schema.Definitions {
		places[definition.Name] = definition.Description
		members(definition)
	}
	for _, extension := range schema.Extensions { // No description is allowed on one.
		members(extension)
	}
	return places
}
