package transport_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

// Each value counts, however little there is of it, wherever it is.
func TestTransport_BoundsTheValues(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{MaxValues: 10})
	const query = `{"query":"{ __typename }"` // Two values: the object, and the document.
	for text, fits := range map[string]bool{
		query + `,"variables":{"a":[1,"b",null,true,{},[]]}}`:                         true,
		query + `,"variables":{"a":[1,"b",null,true,{},[],0]}}`:                       false,
		query + `,"variables":{"a":1,"b":{"c":[[]],"d":{}}}}`:                         true,
		query + `,"extensions":{"a":[0,0,0,0,0,0]}}`:                                  true,
		query + `,"extensions":{"a":[0,0,0,0,0,0,0]}}`:                                false,
		query + `,"unknown":[1,"b",null,true,{},[],"c"]}`:                             true,
		query + `,"unknown":[1,"b",null,true,{},[],"c","d"]}`:                         false,
		query + `,"unknown":{"a":"a","b":{"c":[[]],"d":{},"e":"e"}}}`:                 true,
		query + `,"unknown":{"a":"a","b":{"c":[[]],"d":{},"e":"e","f":"f","g":"g"}}}`: false,
		query + `,"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}`:                   true,
		query + `,"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}`:             false,
	} {
		w, answer := s.do(t, post(text))
		if !fits && (w.Code != http.StatusRequestEntityTooLarge || answer.code() != "LIMIT_EXCEEDED" || answer.Errors[0].Extensions["limit"] != "values") ||
			fits && w.Code != http.StatusOK {
			t.Errorf("%s: %d %s, want it to fit: %t", text, w.Code, w.Body, fits)
		}
	}
	for variables, fits := range map[string]bool{
		`{"a":[` + strings.Repeat("0,", 7) + `0]}`: true,
		`{"a":[` + strings.Repeat("0,", 8) + `0]}`: false,
	} {
		w, answer := s.do(t, get(http.MethodGet, "query=%7B__typename%7D&variables="+url.QueryEscape(variables)))
		if (answer.code() == "LIMIT_EXCEEDED") == fits {
			t.Errorf("%s: %d %s, want it to fit: %t", variables, w.Code, w.Body, fits)
		}
	}
}
