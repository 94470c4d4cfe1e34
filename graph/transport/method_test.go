package transport_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

const allMethods = "GET, HEAD, POST, OPTIONS"

func TestDo_RefusesOtherMethods(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "SECRET"} {
		r := post(`{"query":"{ __typename }"}`)
		r.Method = method
		w, _ := refused(t, newServer(transport.Transport{}), r, http.StatusMethodNotAllowed, "BAD_USER_INPUT")
		if allow := w.Header().Get("Allow"); allow != allMethods {
			t.Errorf("%s: Allow is %q", method, allow)
		}
	}
}

func TestDo_TellsItsMethods(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	w, _ := s.do(t, get(http.MethodOptions, "query={__typename}"))
	if w.Code != http.StatusNoContent || w.Header().Get("Allow") != allMethods || s.params.Load() != nil {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
}

func TestDo_NeverRunsAMutationForGET(t *testing.T) {
	t.Parallel()
	const mutation = `mutation m { archiveProject(input: {id: "1"}, idempotencyKey: "k") { project { id } } }`
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for name, query := range map[string]url.Values{
			"alone":         {"query": {mutation}},
			"among queries": {"query": {"query q { __typename } " + mutation}, "operationName": {"m"}},
			"with JSON":     {"query": {mutation}, "variables": {"{}"}},
		} {
			for _, accept := range []string{applicationJSON, graphqlResponse} {
				s := newServer(transport.Transport{})
				w, answer := s.do(t, get(method, query.Encode(), "Accept", accept, "Content-Type", applicationJSON))
				if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != http.MethodPost {
					t.Errorf("%s %s: %d, Allow %q", method, name, w.Code, w.Header().Get("Allow"))
				}
				if method == http.MethodGet && answer.code() != "BAD_USER_INPUT" || answer.Data != nil {
					t.Errorf("%s %s: %s", method, name, w.Body)
				}
				if s.runs.Load() != 0 {
					t.Errorf("%s %s ran", method, name)
				}
			}
		}
	}
}

func TestDo_AnswersHEADAsGETWithoutTheBody(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	const query = "query={project(id:1){id}}"
	want, _ := s.do(t, get(http.MethodGet, query))
	got, _ := s.do(t, get(http.MethodHead, query))
	if want.Code != http.StatusOK || got.Code != want.Code {
		t.Errorf("HEAD is %d, GET is %d", got.Code, want.Code)
	}
	for name := range want.Header() {
		if got.Header().Get(name) != want.Header().Get(name) {
			t.Errorf("%s is %q for HEAD, %q for GET", name, got.Header().Get(name), want.Header().Get(name))
		}
	}
	if got.Header().Get("Content-Length") == "0" {
		t.Error("HEAD has no length")
	}
}

func TestDo_RefusesQueryStringsThatCanBeReadInTwoWays(t *testing.T) {
	t.Parallel()
	const typename = "query={__typename}"
	for name, query := range map[string]string{
		"nothing":               "",
		"no query":              "variables={}",
		"another case":          "Query={__typename}",
		"the query twice":       typename + "&" + typename,
		"operationName twice":   typename + "&operationName=a&operationName=b",
		"variables twice":       typename + "&variables={}&variables=",
		"extensions twice":      typename + "&extensions={}&extensions={}",
		"twice, by escape":      typename + "&%71uery={secret}",
		"a semicolon":           typename + ";variables={}",
		"an escape cut short":   typename + "&a=%",
		"an escape of no byte":  typename + "&secret=%zz",
		"bad UTF-8":             "query={secret}%23%ff",
		"a surrogate in UTF-8":  typename + "&operationName=%ed%a0%80",
		"extensions are blank":  typename + "&extensions=+",
		"variables are a list":  typename + "&variables=[]",
		"variables are text":    typename + "&variables=secret",
		"extensions are string": typename + `&extensions="{}"`,
		"data after variables":  typename + "&variables={}{}",
		"a word after null":     typename + "&variables=null+secret",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, newServer(transport.Transport{}), get(http.MethodGet, query), http.StatusBadRequest, "BAD_USER_INPUT")
		})
	}
}

func TestDo_RefusesWebSockets(t *testing.T) {
	t.Parallel()
	for _, upgrade := range []string{"websocket", "WebSocket", "h2c, websocket"} {
		r := get(http.MethodGet, "query={__typename}", "Connection", "Upgrade", "Upgrade", upgrade, "Sec-Websocket-Protocol", "graphql-transport-ws")
		refused(t, newServer(transport.Transport{}), r, http.StatusBadRequest, "BAD_USER_INPUT")
	}
}

// curl --http2 offers h2c with every request and goes on when it is ignored.
func TestDo_IgnoresAnOfferOfHTTP2(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	w, _ := s.do(t, post(`{"query":"{ __typename }"}`, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c"))
	if w.Code != http.StatusOK {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestSupports_EveryRequest(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT", "SECRET"} {
		if !(transport.Transport{}).Supports(get(method, strings.Repeat("a", 10))) {
			t.Errorf("%s is not supported", method)
		}
	}
}
