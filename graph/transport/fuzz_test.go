package transport_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/graph/transport"
)

// FuzzDecode looks for a body that is taken and that encoding/json refuses or
// reads in another way, and for one that is read in another way when its parts
// come in a query string.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		createProjectBody,
		`{"query":"{a}","operationName":"b","variables":{"c":[1,-0,1.50,1e400,true,false,null,"\u0000\ud83d\ude00",{}]},"extensions":{"":[[]]}}`,
		" {\r\n\t\"query\" : \"\\\"\\\\\\/\\b\\f\\n\\r\\t\" } ",
		`{"query":"","operationName":null,"variables":null,"extensions":null,"id":[{"query":1}]}`,
		`{"query":"a","\u0071uery":"b"}`,
		`{"query":"a"}{}`, `[{"query":"a"}]`, `{"query":`, `"`, ``, "\ufeff{}", "{\"query\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	for _, value := range notJSON {
		f.Add([]byte(`{"query":"a","variables":` + value + `}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		params, err := transport.Decode(body)
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a word")
			}
			return
		}
		var want map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.UseNumber()
		if err := decoder.Decode(&want); err != nil || !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("taken, and encoding/json says %v", err)
		}
		operationName, _ := want["operationName"].(string)
		variables, _ := want["variables"].(map[string]any)
		extensions, _ := want["extensions"].(map[string]any)
		if params.Query != want["query"] || params.OperationName != operationName {
			t.Errorf("read as %q and %q", params.Query, params.OperationName)
		}
		if diff := cmp.Diff([]map[string]any{variables, extensions}, []map[string]any{params.Variables, params.Extensions}); diff != "" {
			t.Errorf("read in another way (-encoding/json +this):\n%s", diff)
		}

		values := url.Values{"query": {params.Query}, "operationName": {params.OperationName}}
		for name, object := range map[string]map[string]any{"variables": params.Variables, "extensions": params.Extensions} {
			text, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			values.Set(name, string(text))
		}
		again, err := transport.DecodeQuery(values.Encode())
		if err != nil {
			t.Fatalf("refused in a query string: %v", err)
		}
		if diff := cmp.Diff(params, again); diff != "" {
			t.Errorf("read in another way from a query string (-body +query string):\n%s", diff)
		}
	})
}
