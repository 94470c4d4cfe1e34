package transport_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/onceql/onceql/graph/transport"
	"github.com/onceql/onceql/internal/fair"
)

// reads is a query of fields that read so many bytes each.
func reads(sizes ...int) string {
	var fields strings.Builder
	total := 0
	for _, size := range sizes {
		total += size
	}
	for i, size := range sizes {
		fmt.Fprintf(&fields, ` a%d: project(id: \"read %d of %d\") { name }`, i, size, total)
	}
	return `{"query":"{` + fields.String() + ` }"}`
}

// creates is a mutation whose answer has so many bytes more than a small one.
func creates(size int) string {
	return `{"query":"` + createProject + `","variables":{"n":"` + strings.Repeat("x", size) + `"}}`
}

// A watcher notes what is taken of the gate while the answer is written, and deadlines.
type watcher struct {
	*httptest.ResponseRecorder
	gate      *fair.Gate
	taken     []int64
	deadlines int
}

func (w *watcher) Write(p []byte) (int, error) {
	if w.gate != nil {
		w.taken = append(w.taken, w.gate.Stats().Taken)
	}
	return w.ResponseRecorder.Write(p)
}

func (w *watcher) SetWriteDeadline(deadline time.Time) error {
	if len(w.taken) == 0 && time.Until(deadline) > 0 {
		w.deadlines++
	}
	return nil
}

func TestTransport_TakesMemoryForLargeAnswersAlone(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{Answers: full(t, 1<<20), Tenant: tenantOf})
	for what, body := range map[string]string{
		"no text": `{"query":"{ __typename }"}`, "small": reads(32_000), "small, in parts": reads(16_000, 16_000), "small mutation": creates(30_000),
	} {
		if w, _ := s.do(t, as("a", post(body))); w.Code != http.StatusOK {
			t.Errorf("%s: %d %.300s", what, w.Code, w.Body)
		}
	}
	s.runs.Store(0)
	for what, body := range map[string]string{
		"large": reads(32<<10 + 1), "large, in parts": reads(16<<10, 16<<10+1), "mutation": creates(40_000),
	} {
		wantBusy(t, what, s, as("a", post(body)))
	}
	if n := s.runs.Load(); n != 4 {
		t.Errorf("%d fields ran, want all: an answer is not known before", n)
	}
}

func TestTransport_HoldsAnAnswersMemoryUntilItIsWritten(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	for what, test := range map[string]struct {
		slots int64
		body  string
	}{
		"one field":            {4 << 20, reads(100_000)},
		"several fields":       {4 << 20, reads(100_000, 1, 200_000, 30_000)},
		"all that there is":    {1 << 20, reads(500_000, 500_000)},
		"more than there is":   {100_000, reads(200_000, 200_000)},
		"a mutation":           {4 << 20, creates(300_000)},
		"beyond the limit":     {4 << 20, reads(limit + 1)},
		"beyond it, in fields": {4 << 20, reads(400_000, 400_000, 400_000)},
	} {
		gate := fair.New(fair.Config{Slots: test.slots, Share: 1, Waiting: 100, OfOne: 100})
		s := newServer(transport.Transport{Answers: gate, MaxAnswer: limit, Tenant: tenantOf, AnswerTimeout: time.Minute})
		w := &watcher{ResponseRecorder: httptest.NewRecorder(), gate: gate}
		s.ServeHTTP(w, as("a", post(test.body)))
		var answer struct{ Data json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v %.300s", what, w.Code, err, w.Body)
		}
		// The rest of the answer may be as large as a small one.
		want := min(test.slots, int64(len(answer.Data)))
		for _, taken := range w.taken {
			if taken > want || taken < want-32<<10 {
				t.Errorf("%s: %d bytes are taken while it is written, want %d", what, taken, want)
			}
		}
		if len(w.taken) == 0 || w.deadlines != 1 || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%s: %d writes, %d deadlines before them, %v", what, len(w.taken), w.deadlines, w.Header())
		}
		if stats := gate.Stats(); stats != (fair.Stats{}) {
			t.Errorf("%s: after it %+v", what, stats)
		}
	}
}

// Requests of several fields need more together than their tenant may have. None waits for
// another that waits for it.
func TestTransport_AnswersOfSeveralFieldsComeInTurn(t *testing.T) {
	t.Parallel()
	const limit, requests = 1 << 20, 20
	gate := fair.New(fair.Config{Slots: 4 * limit, Share: 1, Waiting: 100, OfOne: 100})
	s := newServer(transport.Transport{Answers: gate, MaxAnswer: limit, Tenant: tenantOf})
	codes := make(chan int)
	for range requests {
		go func() {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, as("a", post(reads(200_000, 200_000, 200_000, 200_000))))
			codes <- w.Code
		}()
	}
	for range requests {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("%d, want 200", code)
		}
	}
	if stats := gate.Stats(); stats != (fair.Stats{}) {
		t.Errorf("after all of them: %+v", stats)
	}
}

func TestTransport_SetsNoDeadlineOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newServer(transport.Transport{})
	w := &watcher{ResponseRecorder: httptest.NewRecorder()}
	s.ServeHTTP(w, post(`{"query":"{ __typename }"}`))
	if w.Code != http.StatusOK || w.deadlines != 0 {
		t.Errorf("%d, %d deadlines", w.Code, w.deadlines)
	}
}
