// Package playground is the page at the server's root: GraphiQL with an idempotency
// panel, and the page /playground/keys, where `make playground` has built them, and else a
// plain page that says so.
package playground

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

var (
	// dist holds what Vite built, each file compressed.
	//go:embed all:dist
	dist embed.FS
	//go:embed plain.html
	plain []byte
)

// Policy is the Content-Security-Policy of the page: it loads what the server has and
// nothing else, and runs no script of the document's own. The editor makes style
// elements, and its fonts are in the style sheet.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
	"connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page at /, that of keys, and their parts under /playground/. The plain page links to
// the schema where the server shows it; the other finds out by itself.
func Handler(showsSchema bool) http.Handler {
	built, err := fs.Sub(dist, "dist/app")
	if err != nil {
		panic(err) // The path is valid.
	}
	return handler(built, showsSchema)
}

// linkToSchema is what the plain page has of the schema.
const linkToSchema = `, its schema at <a href="/schema.graphql">/schema.graphql</a>`

func handler(built fs.FS, showsSchema bool) http.Handler {
	instead := plain
	if !showsSchema {
		instead = bytes.Replace(plain, []byte(linkToSchema), nil, 1)
	}
	mux := http.NewServeMux()
	page := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", Policy)
			w.Header().Set("Cache-Control", "no-cache")
			serve(w, r, built, name, instead)
		}
	}
	mux.HandleFunc("GET /{$}", page("index.html"))
	mux.HandleFunc("GET /playground/keys", page("keys.html"))
	mux.HandleFunc("GET /playground/assets/{file}", func(w http.ResponseWriter, r *http.Request) {
		// A worker's policy is its own script's.
		w.Header().Set("Content-Security-Policy", Policy)
		// Their names change with what is in them.
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		serve(w, r, built, "assets/"+r.PathValue("file"), nil)
	})
	return mux
}

// serve answers with a file, or where it was not built with the page in its place.
func serve(w http.ResponseWriter, r *http.Request, built fs.FS, name string, instead []byte) {
	compressed, err := fs.ReadFile(built, name+".gz")
	switch {
	case errors.Is(err, fs.ErrNotExist) && instead != nil:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(instead)
		return
	case err != nil:
		w.Header().Del("Cache-Control")
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		whole, err := gzip.NewReader(bytes.NewReader(compressed))
		if err == nil {
			_, _ = io.Copy(w, whole) //nolint:gosec // The files are the program's own.
		}
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(compressed))
}

func contentType(name string) string {
	if path.Ext(name) == ".ttf" {
		return "font/ttf"
	}
	return mime.TypeByExtension(path.Ext(name))
}
