package transport_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/onceql/onceql/graph/transport"
)

// refused sends a request that must be refused before anything runs, and that
// must not be quoted in the answer.
func refused(t *testing.T, s *server, r *http.Request, status int, code string) (*httptest.ResponseRecorder, body) {
	t.Helper()
	w, answer := s.do(t, r)
	if w.Code != status || answer.code() != code {
		t.Errorf("%d %q, want %d %q: %s", w.Code, answer.code(), status, code, w.Body)
	}
	if len(answer.Errors) != 1 || answer.Data != nil {
		t.Errorf("a refusal is one error and no data: %s", w.Body)
	}
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the request is quoted: %s", w.Body)
	}
	if s.runs.Load() != 0 || s.params.Load() != nil {
		t.Errorf("the request was handed on: %v", s.params.Load())
	}
	return w, answer
}

func TestDo_RefusesBodiesThatAreNotPlainJSON(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		contentType, contentEncoding string
		want                         int
	}{
		"JSON":                      {applicationJSON, "", 200},
		"JSON in UTF-8":             {"application/json; charset=utf-8", "", 200},
		"JSON in UTF-8, loudly":     {`APPLICATION/JSON;CHARSET="UTF-8"`, "", 200},
		"another parameter":         {"application/json; profile=x", "", 200},
		"encoded as it is":          {applicationJSON, "identity", 200},
		"no type":                   {"", "", 415},
		"UTF-16":                    {"application/json; charset=utf-16", "", 415},
		"Latin 1":                   {"application/json; charset=iso-8859-1", "", 415},
		"text":                      {"text/plain", "", 415},
		"text with a parameter":     {"text/plain; application/json", "", 415},
		"JSON of another kind":      {graphqlResponse, "", 415},
		"bare GraphQL":              {"application/graphql", "", 415},
		"a form":                    {"application/x-www-form-urlencoded", "", 415},
		"an upload":                 {"multipart/form-data; boundary=x", "", 415},
		"a broken type":             {"application/json; charset", "", 415},
		"a charset twice":           {"application/json; charset=utf-8; charset=utf-16", "", 415},
		"two types in one":          {"application/json, text/plain", "", 415},
		"compressed by gzip":        {applicationJSON, "gzip", 415},
		"compressed by brotli":      {applicationJSON, "br", 415},
		"compressed by who knows":   {applicationJSON, "identity, gzip", 415},
		"compressed by an old gzip": {applicationJSON, "x-gzip", 415},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(transport.Transport{})
			r := post(`{"query":"{ project(id: \"secret\") { name } }"}`)
			r.Header.Del("Content-Type")
			with(r, []string{"Content-Type", test.contentType, "Content-Encoding", test.contentEncoding})
			if test.want != http.StatusOK {
				refused(t, s, r, test.want, "BAD_USER_INPUT")
				return
			}
			if w, _ := s.do(t, r); w.Code != http.StatusOK || s.runs.Load() != 1 {
				t.Errorf("%d after %d runs: %s", w.Code, s.runs.Load(), w.Body)
			}
		})
	}
	t.Run("two headers", func(t *testing.T) {
		t.Parallel()
		refused(t, newServer(transport.Transport{}), post(`{}`, "Content-Type", "text/plain"), 415, "BAD_USER_INPUT")
	})
}

func TestDo_RefusesLargeBodies(t *testing.T) {
	t.Parallel()
	const frame = len(`{"query":"{ project(id: \"secret\") { name } }"}`)
	padded := func(size int) string {
		return `{"query":"{ project(id: \"secret\") { name } }"` + strings.Repeat(" ", size-frame) + `}`
	}
	for name, test := range map[string]struct {
		limit int64
		size  int
		fits  bool
	}{
		"at the default":   {0, 1 << 20, true},
		"over the default": {0, 1<<20 + 1, false},
		"ten million":      {0, 10_000_000, false},
		"at the limit":     {1000, 1000, true},
		"over the limit":   {1000, 1001, false},
	} {
		for _, announced := range []bool{true, false} {
			t.Run(name+map[bool]string{true: ", announced", false: ", chunked"}[announced], func(t *testing.T) {
				t.Parallel()
				s := newServer(transport.Transport{MaxBody: test.limit})
				r := post(padded(test.size))
				if !announced {
					r.ContentLength = -1
				}
				if test.fits {
					if w, _ := s.do(t, r); w.Code != http.StatusOK || s.runs.Load() != 1 {
						t.Errorf("%d: %s", w.Code, w.Body)
					}
					return
				}
				_, answer := refused(t, s, r, http.StatusRequestEntityTooLarge, "LIMIT_EXCEEDED")
				if answer.Errors[0].Extensions["limit"] != "body" {
					t.Errorf("the limit is not named: %v", answer.Errors[0].Extensions)
				}
			})
		}
	}
}

func TestDo_RefusesABodyThatEndsEarly(t *testing.T) {
	t.Parallel()
	r := post("")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"query":"{ __typename }"`), iotest.ErrReader(io.ErrUnexpectedEOF)))
	r.ContentLength = 100
	refused(t, newServer(transport.Transport{}), r, http.StatusBadRequest, "BAD_USER_INPUT")
}

func TestDo_TellsALargeBodyOverTheWireBeforeItIsSent(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	server := httptest.NewServer(s)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(strings.Repeat(" ", 10_000_000)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", applicationJSON)
	r.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 1 << 40}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge || !response.Close {
		t.Errorf("%s, close %t", response.Status, response.Close)
	}
}
