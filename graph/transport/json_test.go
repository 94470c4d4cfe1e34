package transport_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/graph/transport"
)

const typename = `"query":"{ __typename }"`

// notJSON are values that a strict reader refuses. Each has the word secret where
// there is room for it.
var notJSON = map[string]string{
	"a member twice":              `{"secret":1,"secret":1}`,
	"a member twice, nested":      `{"a":[{"b":{"secret":1,"x":2,"secret":3}}]}`,
	"a member twice, by escape":   `{"secret":1,"\u0073ecret":2}`,
	"a lone high surrogate":       `{"secret":"\ud800"}`,
	"a lone low surrogate":        `{"secret":"\udc00 "}`,
	"surrogates in reverse":       `{"secret":"\udc00\ud800"}`,
	"a lone surrogate in a name":  `{"secret\ud800":1}`,
	"invalid UTF-8":               "{\"secret\":\"\xff\"}",
	"a surrogate in UTF-8":        "{\"secret\":\"\xed\xa0\x80\"}",
	"overlong UTF-8":              "{\"secret\":\"\xc0\xaf\"}",
	"UTF-8 cut short":             "{\"secret\":\"\xe2\x82\"}",
	"NaN":                         `{"secret":NaN}`,
	"Infinity":                    `{"secret":-Infinity}`,
	"a number with a plus":        `{"secret":+1}`,
	"a number with a zero":        `{"secret":01}`,
	"a number without an end":     `{"secret":1.}`,
	"a hexadecimal number":        `{"secret":0x10}`,
	"single quotes":               `{'secret':1}`,
	"a name without quotes":       `{secret:1}`,
	"a comment":                   `{"a":1/* secret */}`,
	"a comma at the end":          `{"secret":1,}`,
	"a comma too many":            `{"a":[1,,2]}`,
	"no comma":                    `{"secret":1 "b":2}`,
	"no colon":                    `{"secret" 1}`,
	"a control character":         "{\"secret\":\"a\nb\"}",
	"NUL":                         "{\"secret\":\"\x00\"}",
	"an escape that is none":      `{"secret":"\x41"}`,
	"True":                        `{"secret":True}`,
	"brackets that do not match":  `{"secret":[1}`,
	"101 arrays":                  `{"secret":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`,
	"101 objects":                 strings.Repeat(`{"a":`, 101) + "1" + strings.Repeat("}", 101),
	"100,000 arrays and no end":   `{"secret":` + strings.Repeat("[", 100_000),
	"an object without an end":    `{"secret":1`,
	"a string without an end":     `{"secret":"`,
	"an object that barely began": `{`,
}

func TestDo_RefusesJSONThatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	check := func(name, request string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, newServer(transport.Transport{}), post(request), http.StatusBadRequest, "BAD_USER_INPUT")
		})
	}
	for name, value := range notJSON {
		for _, member := range []string{"variables", "extensions", "unknown"} {
			check(name+" in "+member, `{`+typename+`,"`+member+`":`+value+`}`)
		}
		t.Run(name+" in the query string", func(t *testing.T) {
			t.Parallel()
			query := url.Values{"query": {"{ __typename }"}, "variables": {value}}
			refused(t, newServer(transport.Transport{}), get(http.MethodGet, query.Encode()), http.StatusBadRequest, "BAD_USER_INPUT")
		})
	}
	for name, request := range map[string]string{
		"nothing":                    ``,
		"blanks":                     " \n ",
		"a string":                   `"secret"`,
		"null":                       `null`,
		"a number":                   `1`,
		"a batch":                    `[{` + typename + `}]`,
		"an empty batch":             `[]`,
		"two objects":                `{` + typename + `}{}`,
		"an object and a number":     `{` + typename + "}\n1",
		"an object and a bracket":    `{` + typename + `}}`,
		"an object and a word":       `{` + typename + `} secret`,
		"an object and NUL":          `{` + typename + "}\x00",
		"a byte order mark":          "\ufeff{" + typename + `}`,
		"UTF-16":                     "{\x00\"\x00q\x00",
		"cut short":                  `{"query":"{ secret`,
		"cut short at the end":       `{` + typename,
		"the query twice":            `{` + typename + `,` + typename + `}`,
		"the query twice, by escape": `{` + typename + `,"\u0071uery":"{ secret }"}`,
		"variables twice":            `{` + typename + `,"variables":{},"variables":null}`,
		"an unknown member twice":    `{"secret":1,` + typename + `,"secret":2}`,
		"a surrogate in the query":   `{"query":"{ secret \ud83d }"}`,
		"bad UTF-8 in the query":     "{\"query\":\"{ secret # \xff\n }\"}",
	} {
		check(name, request)
	}
}

func TestDo_RefusesMembersOfAnotherType(t *testing.T) {
	t.Parallel()
	for request, message := range map[string]string{
		`{}`:                                   "`query` is required, a string",
		`{"query":null}`:                       "`query` is required, a string",
		`{"Query":"{ __typename }"}`:           "`query` is required, a string",
		`{"query":1}`:                          "`query` must be a string",
		`{"query":{}}`:                         "`query` must be a string",
		`{"query":["{ __typename }"]}`:         "`query` must be a string",
		`{` + typename + `,"operationName":1}`: "`operationName` must be a string",
		`{` + typename + `,"operationName":["a"]}`:   "`operationName` must be a string",
		`{` + typename + `,"variables":"{}"}`:        "`variables` must be an object or null",
		`{` + typename + `,"variables":[]}`:          "`variables` must be an object or null",
		`{` + typename + `,"variables":0}`:           "`variables` must be an object or null",
		`{` + typename + `,"extensions":"secret"}`:   "`extensions` must be an object or null",
		`{` + typename + `,"extensions":[1]}`:        "`extensions` must be an object or null",
		`{` + typename + `,"extensions":false}`:      "`extensions` must be an object or null",
		`{"id":"secret","variables":{"secret":"x"}}`: "`query` is required, a string",
	} {
		t.Run(request, func(t *testing.T) {
			t.Parallel()
			_, answer := refused(t, newServer(transport.Transport{}), post(request), http.StatusBadRequest, "BAD_USER_INPUT")
			if answer.Errors[0].Message != message {
				t.Errorf("%q, want %q", answer.Errors[0].Message, message)
			}
		})
	}
}

func TestDo_HandsOnWhatWasSent(t *testing.T) {
	t.Parallel()
	deep := `{"a":` + strings.Repeat("[", 98) + strings.Repeat("]", 98) + `}`
	const values = `{"big":9007199254740993,"whole":1.0,"huge":1e400,"none":-0,"yes":true,"no":false,"null":null,` +
		`"list":[1,"2",[],{}],"text":"\u0000\ud83d\ude00 é \"\\\/","":"no name"}`
	want := map[string]any{
		"big": json.Number("9007199254740993"), "whole": json.Number("1.0"), "huge": json.Number("1e400"), "none": json.Number("-0"),
		"yes": true, "no": false, "null": nil,
		"list": []any{json.Number("1"), "2", []any{}, map[string]any{}},
		"text": "\x00😀 é \"\\/", "": "no name",
	}
	s := newServer(transport.Transport{})
	check := func(r *http.Request) {
		t.Helper()
		if w, _ := s.do(t, r); w.Code != http.StatusOK {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		params := s.params.Load()
		if params.Query != "query a { __typename }" || params.OperationName != "a" || params.Headers.Get("X-Of-The-Client") != "1" {
			t.Errorf("not what was sent: %+v", params)
		}
		if diff := cmp.Diff([]map[string]any{want, want}, []map[string]any{params.Variables, params.Extensions}); diff != "" {
			t.Errorf("variables and extensions, (-want +got):\n%s", diff)
		}
	}
	check(post(fmt.Sprintf(" {\"id\":%s,\"query\":\"query a { __typename }\",\"operationName\":\"a\",\"variables\":%s,\"extensions\":%[2]s}\r\n\t", deep, values),
		"X-Of-The-Client", "1"))
	query := url.Values{"query": {"query a { __typename }"}, "operationName": {"a"}, "variables": {values}, "extensions": {values}, "id": {"1", "2"}}
	check(get(http.MethodGet, query.Encode(), "X-Of-The-Client", "1"))
}

func TestDo_TakesNullForAbsent(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	for _, r := range []*http.Request{
		post(`{` + typename + `,"operationName":null,"variables":null,"extensions":null}`),
		post(`{` + typename + `}`),
		get(http.MethodGet, "query={__typename}&variables=null&extensions=null&operationName="),
		get(http.MethodGet, "query={__typename}&variables=&extensions=&operationName"),
		get(http.MethodGet, "query={__typename}"),
	} {
		w, answer := s.do(t, r)
		if got := s.params.Load(); w.Code != http.StatusOK || got.OperationName != "" || got.Variables != nil || got.Extensions != nil {
			t.Errorf("%d %s, %+v", w.Code, w.Body, got)
		}
		if string(answer.Data) != `{"__typename":"Query"}` {
			t.Errorf("data is %s", answer.Data)
		}
	}
}
