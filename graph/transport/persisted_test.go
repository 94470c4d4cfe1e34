package transport_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/onceql/onceql/graph/transport"
)

// The hash of a document, as Apollo's clients and urql send it before the document.
const persisted = `{"persistedQuery":{"version":1,"sha256Hash":"ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38"}}`

func TestDo_TellsThatPersistedQueriesAreNotServed(t *testing.T) {
	t.Parallel()
	escaped := url.QueryEscape(persisted)
	for name, r := range map[string]*http.Request{
		"POST":                    post(`{"operationName":"a","variables":{},"extensions":` + persisted + `}`),
		"POST, extensions first":  post(`{"extensions":` + persisted + `,"query":null}`),
		"POST, an empty document": post(`{"query":"","extensions":`+persisted+`}`, "Accept", graphqlResponse),
		"GET":                     get(http.MethodGet, "operationName=a&variables=%7B%7D&extensions="+escaped),
		"GET, an empty document":  get(http.MethodGet, "query=&extensions="+escaped, "Accept", graphqlResponse),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, answer := refused(t, newServer(transport.Transport{}), r, http.StatusOK, "PERSISTED_QUERY_NOT_SUPPORTED")
			if failure := answer.Errors[0]; failure.Message != "PersistedQueryNotSupported" || failure.Extensions["retryable"] != false {
				t.Errorf("%+v", failure)
			}
		})
	}
}

// A document that is sent is served, whatever hash comes with it.
func TestDo_PassesOverTheHashOfADocumentThatIsSent(t *testing.T) {
	t.Parallel()
	for _, r := range []*http.Request{
		post(`{` + typename + `,"extensions":` + persisted + `}`),
		get(http.MethodGet, "query={__typename}&extensions="+url.QueryEscape(persisted)),
	} {
		if w, answer := newServer(transport.Transport{}).do(t, r); w.Code != http.StatusOK || string(answer.Data) != `{"__typename":"Query"}` {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	for _, body := range []string{`{"extensions":{"persistedQuery":null}}`, `{"extensions":{"other":{}}}`, `{"query":"","extensions":{}}`} {
		if _, answer := newServer(transport.Transport{}).do(t, post(body)); answer.code() == "PERSISTED_QUERY_NOT_SUPPORTED" {
			t.Errorf("%s asks for no persisted query", body)
		}
	}
}
