package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/fair"
)

type tenantKey struct{}

func tenantOf(ctx context.Context) (string, error) {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	if tenant == "nobody" {
		return "", errors.New("nobody sent it")
	}
	return tenant, nil
}

// as makes the request one of the tenant.
func as(tenant string, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), tenantKey{}, tenant))
}

// padded is a body of so many bytes.
func padded(size int) string {
	const query = `{"query":"{ __typename }"`
	return query + strings.Repeat(" ", size-len(query)-1) + "}"
}

// unsized makes the request one that does not say how long it is.
func unsized(r *http.Request) *http.Request {
	r.ContentLength = -1
	return r
}

func full(t *testing.T, slots int64) *fair.Gate {
	t.Helper()
	gate := fair.New(fair.Config{Slots: slots, Share: 1, Waiting: 1, OfOne: 1})
	if _, err := gate.Enter(t.Context(), "another", slots); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = gate.Enter(t.Context(), "another", 1) }()
	for gate.Stats().Waiting == 0 {
		continue
	}
	return gate
}

func wantBusy(t *testing.T, what string, s *server, r *http.Request) {
	t.Helper()
	w := &recorder{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, r)
	header := w.Header()
	if w.Code != http.StatusServiceUnavailable || header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("Retry-After") == "" {
		t.Errorf("%s: %d %v %s, want 503, text/plain, Retry-After", what, w.Code, header, w.Body)
	}
	if rest, err := io.ReadAll(r.Body); err != nil || len(rest) > 0 {
		t.Errorf("%s: %d bytes are not read, %v", what, len(rest), err)
	}
}

func TestTransport_TakesMemoryForLargeBodiesAlone(t *testing.T) {
	t.Parallel()
	const small = 4 << 10
	refused := 0
	busy := func(context.Context) { refused++ }
	s := newServer(transport.Transport{Bodies: full(t, 1<<20), Tenant: tenantOf, Busy: busy})
	for what, r := range map[string]*http.Request{
		"small":                 post(padded(small)),
		"small, without a size": unsized(post(padded(small - 1))),
		"no body":               get(http.MethodGet, "query=%7B__typename%7D"),
	} {
		if w, _ := s.do(t, as("a", r)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	wantBusy(t, "large", s, as("a", post(padded(small+1))))
	wantBusy(t, "large, without a size", s, as("a", unsized(post(padded(small+1)))))
	if refused != 2 {
		t.Errorf("%d refusals are told, want 2", refused)
	}

	gate := fair.New(fair.Config{Slots: 1 << 20, Share: 1, Waiting: 1, OfOne: 1})
	s = newServer(transport.Transport{Bodies: gate, Tenant: tenantOf})
	for what, r := range map[string]*http.Request{
		"large":                 post(padded(small + 1)),
		"the largest":           post(padded(1 << 20)),
		"large, without a size": unsized(post(padded(small + 1))),
	} {
		if w, _ := s.do(t, as("a", r)); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	for what, test := range map[string]struct {
		r      *http.Request
		status int
	}{
		"too large, without a size": {unsized(post(padded(1<<20 + 1))), http.StatusRequestEntityTooLarge},
		"not JSON":                  {post(strings.Repeat("x", small+1)), http.StatusBadRequest},
		"from nobody":               {as("nobody", post(padded(small+1))), http.StatusInternalServerError},
	} {
		if w, _ := s.do(t, test.r); w.Code != test.status {
			t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, test.status)
		}
	}
	if stats := gate.Stats(); stats != (fair.Stats{}) {
		t.Errorf("after all of them: %+v", stats)
	}
}

// What was decoded of a large body is there until the request is answered.
func TestTransport_HoldsTheMemoryWhileItExecutes(t *testing.T) {
	t.Parallel()
	const size = 100_000
	gate := fair.New(fair.Config{Slots: 1 << 20, Share: 1, Waiting: 1, OfOne: 1})
	s := newServer(transport.Transport{Bodies: gate, Tenant: tenantOf})
	var taken []int64
	s.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		taken = append(taken, gate.Stats().Taken)
		return next(ctx)
	})
	for what, test := range map[string]struct {
		r    *http.Request
		want int64
	}{
		"large":                 {post(padded(size)), size},
		"large, without a size": {unsized(post(padded(size))), 1 << 20},
	} {
		taken = nil
		s.do(t, as("a", test.r))
		if !slices.Equal(taken, []int64{test.want}) {
			t.Errorf("%s: while it executes %d bytes are taken, want %d", what, taken, test.want)
		}
	}
}

func TestTransport_DecodesInTurn(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{Decoding: full(t, 1), Tenant: tenantOf})
	wantBusy(t, "POST", s, as("a", post(padded(100))))
	wantBusy(t, "GET", s, as("a", get(http.MethodGet, "query=%7B__typename%7D")))

	gate := fair.New(fair.Config{Slots: 1, Share: 1, Waiting: 1, OfOne: 1})
	s = newServer(transport.Transport{Decoding: gate, Tenant: tenantOf})
	for what, r := range map[string]*http.Request{
		"valid":     post(padded(100)),
		"not JSON":  post("{"),
		"not valid": post(`{"query":"{ nothing }"}`),
		"panics":    post(`{"query":"mutation { updateProject(input: {id: \"1\"}, idempotencyKey: \"k\") { project { id } } }"}`),
		"executed":  post(`{"query":"` + createProject + `","variables":{"n":"x"}}`),
	} {
		s.do(t, as("a", r))
		if stats := gate.Stats(); stats != (fair.Stats{}) {
			t.Errorf("%s: %+v", what, stats)
		}
	}
}
