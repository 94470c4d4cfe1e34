package transport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/fair"
)

// A request that waits for as long as its context lets it is told to come again. What is
// refused before it is decoded needs no slot.
func TestTransport_WaitsToWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fair.NewCap(fair.CapConfig{AtOnce: 1, Waiting: 1, OfOne: 1})
		for _, tenant := range []string{"a", "b"} {
			if _, err := c.Enter(t.Context(), tenant); err != nil {
				t.Fatal(err)
			}
		}
		s := newServer(transport.Transport{Working: c, Tenant: tenantOf})
		soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		wantBusy(t, "POST", s, as("a", post(padded(100)).WithContext(soon)))
		wantBusy(t, "GET", s, as("a", get(http.MethodGet, "query=%7B__typename%7D").WithContext(soon)))
		if w, _ := s.do(t, as("a", post("{}", "Content-Type", "text/plain").WithContext(soon))); w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("another media type: %d %s", w.Code, w.Body)
		}
		if w, _ := s.do(t, as("a", post(padded(100)))); w.Code != http.StatusOK {
			t.Errorf("with more time: %d %s", w.Code, w.Body)
		}
	})
}

// slotsAt notes how many are at work when the answer is written.
type slotsAt struct {
	*httptest.ResponseRecorder
	cap  *fair.Cap
	most int64
}

func (s *slotsAt) Write(p []byte) (int, error) {
	s.most = max(s.most, s.cap.Stats().Taken)
	return s.ResponseRecorder.Write(p)
}

// A client that sends slowly, or takes its answer slowly, does not work.
func TestTransport_WorksFromTheBodyToTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := fair.NewCap(fair.CapConfig{AtOnce: 1, Waiting: 1, OfOne: 1})
		s := newServer(transport.Transport{Working: c, Tenant: tenantOf})
		executed := int64(-1)
		s.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
			executed = c.Stats().Taken
			return next(ctx)
		})
		body, send := io.Pipe()
		w := &slotsAt{ResponseRecorder: httptest.NewRecorder(), cap: c}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := as("a", post(""))
			r.Body, r.ContentLength = body, int64(len(padded(100)))
			s.ServeHTTP(w, r)
		}()
		_, _ = io.WriteString(send, padded(100)[:50])
		sending := c.Stats().Taken
		_, _ = io.WriteString(send, padded(100)[50:])
		_ = send.Close()
		<-done
		if w.Code != http.StatusOK || sending != 0 || executed != 1 || w.most != 0 {
			t.Errorf("%d %s; %d slots while it is sent, %d while it is executed, %d while it is answered; want 0, 1, 0", w.Code, w.Body, sending, executed, w.most)
		}
	})
}

func TestTransport_GivesBackItsSlot(t *testing.T) {
	t.Parallel()
	c := fair.NewCap(fair.CapConfig{AtOnce: 1, Waiting: 1, OfOne: 1})
	s := newServer(transport.Transport{Working: c, Decoding: full(t, 1), Tenant: tenantOf})
	wantBusy(t, "decoded by others", s, as("a", post(padded(100))))
	if stats := c.Stats(); stats != (fair.Stats{}) {
		t.Errorf("decoded by others: %+v", stats)
	}
	s = newServer(transport.Transport{Working: c, Tenant: tenantOf})
	panics := false
	s.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		if panics {
			panic("an interceptor")
		}
		return next(ctx)
	})
	for _, panics = range []bool{false, true} {
		for what, r := range map[string]*http.Request{
			"valid":      post(padded(100)),
			"not JSON":   post("{"),
			"not valid":  post(`{"query":"{ nothing }"}`),
			"panics":     post(`{"query":"mutation { updateProject(input: {id: \"1\"}, idempotencyKey: \"k\") { project { id } } }"}`),
			"executed":   post(`{"query":"` + createProject + `","variables":{"n":"x"}}`),
			"unservable": get(http.MethodGet, "query=mutation%7B__typename%7D"),
			"HEAD":       get(http.MethodHead, "query=%7B__typename%7D"),
		} {
			s.ServeHTTP(httptest.NewRecorder(), as("a", r))
			if stats := c.Stats(); stats != (fair.Stats{}) {
				t.Errorf("%s: %+v", what, stats)
			}
		}
	}
}
