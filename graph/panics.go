package graph

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/onceql/onceql/internal/requestid"
)

// panics counts those of one request. A document can name the field that panics many
// times, and each has a stack.
type panics struct{ n atomic.Int64 }

type panicsKey struct{}

// countPanics has the first panic of a request logged with its stack, and of the others
// how many they are.
func countPanics(handler http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &panics{}
		ctx := context.WithValue(r.Context(), panicsKey{}, counted)
		handler.ServeHTTP(w, r.WithContext(ctx))
		if more := counted.n.Load() - 1; more > 0 {
			log.ErrorContext(ctx, "more fields of a request panicked", "fields", more, "requestId", requestid.From(ctx))
		}
	})
}

// firstPanic counts a panic, and says whether it is to be logged.
func firstPanic(ctx context.Context) bool {
	counted, ok := ctx.Value(panicsKey{}).(*panics)
	return !ok || counted.n.Add(1) == 1
}
