// Package requestid gives every request an id, which its response, its errors,
// its log lines and what it executed all carry.
package requestid

import (
	"context"
	"net/http"

	"github.com/google/uuid"
)

// Header carries the id, in requests and in responses.
const Header = "X-Request-Id"

// maxLength is the length of the longest id that is taken from a request.
const maxLength = 128

type contextKey struct{}

// From returns the id of the request that ctx belongs to, or "".
func From(ctx context.Context) string {
	id, _ := ctx.Value(contextKey{}).(string)
	return id
}

// Handler takes the id from the request when it is sane, and makes a UUIDv7
// otherwise. A sane id has 1 to 128 characters of A-Z a-z 0-9 . _ : / + = - and
// so can't forge a log line.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(Header)
		if !sane(id) {
			id = uuid.Must(uuid.NewV7()).String()
		}
		w.Header().Set(Header, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, id)))
	})
}

func sane(id string) bool {
	if id == "" || len(id) > maxLength {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.', c == '_', c == ':', c == '/', c == '+', c == '=', c == '-':
		default:
			return false
		}
	}
	return true
}
