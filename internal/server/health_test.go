package server_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onceql/onceql/db"
	"github.com/onceql/onceql/internal/server"
	"github.com/onceql/onceql/internal/telemetry"
)

const wait = 5 * time.Second

// A watched is the health of a server whose database is as told.
type watched struct {
	*server.Health
	t     testing.TB
	found atomic.Value // An answer.
	full  bool
	log   bytes.Buffer
}

type answer struct{ err error }

// watch begins to watch, in a bubble of synctest.
func watch(t testing.TB) *watched {
	t.Helper()
	w := &watched{t: t}
	w.tell(nil)
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	w.Health = server.NewHealth(func(context.Context) error { return w.found.Load().(answer).err }, wait, telemetry.New("", slog.New(slog.DiscardHandler)).Refusals, log)
	go w.Watch(t.Context())
	w.pass(0)
	return w
}

// tell has the next checks find err.
func (w *watched) tell(err error) { w.found.Store(answer{err}) }

// pass lets time pass, and a moment more.
func (w *watched) pass(d time.Duration) {
	time.Sleep(d + time.Millisecond)
	synctest.Wait()
}

func (w *watched) wantReady(status int, text string) {
	w.t.Helper()
	want(w.t, "/readyz", http.HandlerFunc(w.Ready), status, text)
}

func (w *watched) wantAdmitted(status int, text string) {
	w.t.Helper()
	want(w.t, "a request", w.Admit(func(string) bool { return w.full }, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "served\n")
	})), status, text)
}

func want(t testing.TB, what string, handler http.Handler, status int, text string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if recorder.Code != status || recorder.Body.String() != text+"\n" {
		t.Errorf("%s is answered with %d %q, want %d %q", what, recorder.Code, recorder.Body, status, text)
	}
	header := recorder.Header()
	if status == http.StatusServiceUnavailable && (header.Get("Retry-After") != "1" || header.Get("Content-Type") != "text/plain; charset=utf-8") {
		t.Errorf("%s is refused with %v", what, header)
	}
}

var errAway = errors.New("connection refused")

func TestHealth_OfADatabaseThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		err   error
		state telemetry.DatabaseState
	}{
		"the database can't be reached": {errAway, telemetry.DatabaseUnreachable},
		"the database is read-only":     {db.ErrReadOnly, telemetry.DatabaseReadOnly},
		"commits wait for a standby":    {db.ErrCommitsWait, telemetry.DatabaseCommitsWait},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := watch(t)
				w.wantReady(200, "ok")
				w.wantAdmitted(200, "served")

				w.tell(c.err)
				w.pass(time.Second)
				w.wantReady(503, what)
				if state := w.State(); state != c.state {
					t.Errorf("the metrics say %s, want %s", state, c.state)
				}
				w.wantAdmitted(200, "served")
				w.pass(wait - 100*time.Millisecond)
				w.wantReady(503, what)
				w.wantAdmitted(200, "served")
				w.pass(200 * time.Millisecond)
				w.wantReady(503, what)
				w.wantAdmitted(503, what+" for now; try again")

				w.tell(nil)
				w.pass(250 * time.Millisecond)
				w.wantReady(200, "ok")
				if state := w.State(); state != telemetry.DatabaseUp {
					t.Errorf("the metrics say %s, want up", state)
				}
				w.wantAdmitted(200, "served")
				went, back, _ := strings.Cut(w.log.String(), "\n")
				if strings.Count(went, what) != 1 || strings.Count(back, "\n") != 1 || !strings.Contains(back, "the database takes writes again") {
					t.Errorf("want two lines, that it went, once, and that it takes writes again:\n%s\n%s", went, back)
				}
				if !strings.Contains(went, c.err.Error()) {
					t.Errorf("the log does not say why: %s", went)
				}
			})
		})
	}
}

// A database that is back within the wait was never away, however often.
func TestHealth_CountsEachOutageByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		for range 5 {
			w.tell(errAway)
			w.pass(wait - time.Second)
			w.wantAdmitted(200, "served")
			w.tell(nil)
			w.pass(time.Second)
		}
		w.tell(errAway)
		w.pass(time.Second)
		w.wantAdmitted(200, "served")
	})
}

// From stopped to standby, as in a failover, is one outage.
func TestHealth_TellsWhatTheLastCheckFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.tell(errAway)
		w.pass(wait)
		w.tell(db.ErrReadOnly)
		w.pass(time.Second)
		w.wantReady(503, "the database is read-only")
		w.wantAdmitted(503, "the database is read-only for now; try again")
		if log := w.log.String(); strings.Count(log, "\n") != 1 {
			t.Errorf("want one line:\n%s", log)
		}
	})
}

func TestHealth_OfAFullQueueIsGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.full = true
		w.wantAdmitted(503, "too many requests are waiting; try again")
		w.wantReady(200, "the queue is full")
		w.full = false
		w.wantAdmitted(200, "served")
		w.pass(5 * time.Second)
		w.wantReady(200, "ok")
	})
}

func TestHealth_OfAServerThatDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.Drain()
		w.wantReady(503, "draining")
		w.wantAdmitted(200, "served")
		want(t, "/healthz", http.HandlerFunc(w.Live), 200, "ok")
		w.tell(errAway)
		w.pass(time.Second)
		w.wantReady(503, "draining")
	})
}

// A check that is cut off because the server ends says nothing of the database.
func TestHealth_IsNotOfTheCheckThatTheEndCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, nil))
		ctx, cancel := context.WithCancel(t.Context())
		health := server.NewHealth(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}, wait, telemetry.New("", log).Refusals, log)
		go health.Watch(ctx)
		synctest.Wait()
		cancel()
		synctest.Wait()
		want(t, "/readyz", http.HandlerFunc(health.Ready), 200, "ok")
		if text.Len() > 0 {
			t.Errorf("logged: %s", text.String())
		}
	})
}
