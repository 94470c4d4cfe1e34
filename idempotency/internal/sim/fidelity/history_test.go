package fidelity_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/idempotency/internal/store"
)

// A server is what a history runs on.
type server interface {
	// config is how the session with the name connects.
	config(t testing.TB, session string) *pgxpool.Config
	// settle waits until each session has something to send, has ended its call, or waits
	// for another.
	settle(t testing.TB, sessions []*session)
}

var keys = []store.Key{{Scope: "a", Key: "1"}, {Scope: "a", Key: "2"}, {Scope: "b", Key: "1"}, {Scope: "b", Key: "3"}}

// A history is calls of the store by a few sessions, in an order that a seed draws.
type history struct {
	t        testing.TB
	server   server
	random   *rand.Rand
	sessions []*session
	times    times
	// single histories claim one key at a time, so that no two rows have a time in common.
	single bool
	lines  []string
}

// record runs the history of a seed on a server, and returns what happened.
func record(t testing.TB, seed uint64, server server) []string {
	t.Helper()
	h := &history{t: t, server: server, random: rand.New(rand.NewPCG(seed, 1))}
	h.single = h.random.IntN(3) == 0
	for n := range 2 + (h.random.IntN(5)+1)/2 { // Mostly three or four.
		mode := pgx.QueryExecModeCacheStatement
		if h.random.IntN(3) == 0 {
			mode = pgx.QueryExecModeExec
		}
		s := newSession(t, n, server.config(t, fmt.Sprint("session", n)), mode)
		h.sessions = append(h.sessions, s)
		defer s.close()
	}
	for range steps {
		if s := h.sessions[h.random.IntN(len(h.sessions))]; s.waits() && h.random.IntN(3) == 0 || h.random.IntN(48) == 0 {
			h.disturb(s)
		}
		h.step(func(s *session) { h.draw(s) })
	}
	h.finish()
	return h.lines
}

// step lets one session, that does not wait for another, go on by a round trip.
func (h *history) step(next func(*session)) {
	var ready []*session
	for _, s := range h.sessions {
		if !s.waits() {
			ready = append(ready, s)
		}
	}
	if len(ready) == 0 {
		h.t.Fatalf("every session waits:\n%s", strings.Join(h.lines[max(0, len(h.lines)-40):], "\n"))
	}
	s := ready[h.random.IntN(len(ready))]
	if s.idle() {
		next(s)
		// A connection is opened, if there is none.
		h.server.settle(h.t, h.sessions)
	}
	if !s.idle() {
		s.release()
		h.server.settle(h.t, h.sessions)
	}
	h.note(fmt.Sprintf("session %d: %s, round trip %d", s.number, s.name, s.trips))
}

// disturb cancels what the session waits for, or cuts its connection.
func (h *history) disturb(s *session) {
	cancel := h.random.IntN(2) == 0
	switch {
	case s.waits() && cancel:
		s.cancels(true)
		if err := s.conn.CancelRequest(context.Background()); err != nil {
			h.t.Fatal(err)
		}
		h.server.settle(h.t, h.sessions)
		s.cancels(false)
		h.note(fmt.Sprintf("session %d: canceled", s.number))
	case (s.tx != nil || !s.idle()) && s.cut():
		h.server.settle(h.t, h.sessions)
		h.note(fmt.Sprintf("session %d: cut", s.number))
	}
}

// note notes what became of a step.
func (h *history) note(step string) {
	h.lines = append(h.lines, step)
	for _, s := range h.sessions {
		var rows []string
		for _, l := range s.take() {
			text := fmt.Sprintf("  %d %s", s.number, h.times.render(l))
			if l.values != nil { // In any order.
				rows = append(rows, text)
				continue
			}
			slices.Sort(rows)
			h.lines = append(append(h.lines, rows...), text)
			rows = nil
		}
		if s.waits() {
			h.lines = append(h.lines, fmt.Sprintf("  %d waits", s.number))
		}
	}
}

// finish ends what is under way, and looks at what there is then.
func (h *history) finish() {
	busy := func() bool {
		return slices.ContainsFunc(h.sessions, func(s *session) bool { return s.tx != nil || !s.idle() })
	}
	for busy() {
		h.step(func(s *session) {
			if s.tx != nil {
				h.end(s)
			} else {
				h.find(s, keys[0])
			}
		})
	}
	s := h.sessions[0]
	h.sessions = h.sessions[:1]
	then := func(call func()) {
		call()
		h.server.settle(h.t, h.sessions)
		for !s.idle() {
			h.step(nil)
		}
	}
	then(func() { h.claim(s, keys) })
	for _, key := range keys {
		then(func() { h.effect(s, effect{"effects of a key", []any{key.Scope, key.Key}}) })
	}
	for id := range int64(3) {
		then(func() { h.effect(s, effect{"counter", []any{1 + id}}) })
	}
}
