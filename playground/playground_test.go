package playground

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func TestHandler_ServesWhatWasBuilt(t *testing.T) {
	t.Parallel()
	built := handler(fstest.MapFS{
		"index.html.gz":        {Data: compress(t, "<title>built</title>")},
		"keys.html.gz":         {Data: compress(t, "<title>keys</title>")},
		"assets/index-1.js.gz": {Data: compress(t, "run()")},
		"assets/font-1.ttf.gz": {Data: compress(t, "font")},
	}, true)
	for path, want := range map[string]struct{ body, contentType, cache string }{
		"/":                             {"<title>built</title>", "text/html; charset=utf-8", "no-cache"},
		"/playground/keys":              {"<title>keys</title>", "text/html; charset=utf-8", "no-cache"},
		"/playground/assets/index-1.js": {"run()", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"},
		"/playground/assets/font-1.ttf": {"font", "font/ttf", "public, max-age=31536000, immutable"},
	} {
		for _, encoding := range []string{"gzip", ""} {
			request := httptest.NewRequest(http.MethodGet, path, nil)
			request.Header.Set("Accept-Encoding", encoding)
			recorder := httptest.NewRecorder()
			built.ServeHTTP(recorder, request)
			header := recorder.Header()
			if header.Get("Content-Encoding") != encoding || header.Get("Content-Type") != want.contentType ||
				header.Get("Cache-Control") != want.cache || header.Get("Content-Security-Policy") != Policy {
				t.Errorf("%s, encoding %q: %d %v", path, encoding, recorder.Code, header)
			}
			body := recorder.Body.String()
			if encoding == "gzip" {
				body = decompress(t, recorder.Body)
			}
			if body != want.body {
				t.Errorf("%s, encoding %q: %q, want %q", path, encoding, body, want.body)
			}
		}
	}
	for _, path := range []string{"/playground/assets/none.js", "/playground/index.html", "/playground/keys.html", "/playground/keys/", "/playground/assets/..%2findex.html"} {
		recorder := httptest.NewRecorder()
		built.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		if recorder.Code != http.StatusNotFound || recorder.Header().Get("Cache-Control") != "" {
			t.Errorf("%s: %d %v, want 404", path, recorder.Code, recorder.Header())
		}
	}
}

func TestHandler_SaysHowToBuildWhatWasNot(t *testing.T) {
	t.Parallel()
	for _, showsSchema := range []bool{true, false} {
		recorder := httptest.NewRecorder()
		handler(fstest.MapFS{}, showsSchema).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
		page := recorder.Body.String()
		for _, want := range []string{"make playground", "curl", "at <code>/graphql</code>"} {
			if !strings.Contains(page, want) {
				t.Errorf("the plain page has no %q", want)
			}
		}
		if got := strings.Contains(page, "/schema.graphql"); got != showsSchema {
			t.Errorf("the server shows its schema: %v; the page links to it: %v", showsSchema, got)
		}
	}
}

func compress(t testing.TB, text string) []byte {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compressed.Bytes()
}

func decompress(t testing.TB, r io.Reader) string {
	t.Helper()
	whole, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
