package fidelity_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// draw begins a call that the engine may make now.
func (h *history) draw(s *session) {
	n := h.random.IntN(100)
	switch {
	case s.tx == nil:
		switch {
		case n < 66:
			h.claim(s, h.some())
		case n < 76:
			h.lookUp(s)
		case n < 84:
			h.find(s, keys[h.random.IntN(len(keys))])
		case n < 92:
			h.forget(s)
		default:
			h.purge(s)
		}
	case s.failed:
		switch {
		case n < 60 && len(s.keys) > 1:
			h.back(s)
		case n < 70:
			h.effect(s, h.drawEffect(s))
		default:
			h.end(s)
		}
	case len(s.keys) == 0: // A look-up's.
		if n < 50 {
			h.acknowledge(s)
		} else {
			h.end(s)
		}
	default:
		switch {
		case n < 55:
			h.effect(s, h.drawEffect(s))
		case n < 62 && len(s.keys) > 1:
			h.back(s)
		case n < 69 && len(s.keys) > 1:
			h.keep(s)
		case n < 86:
			h.commit(s)
		case n < 93:
			h.acknowledge(s)
		default:
			h.end(s)
		}
	}
}

// some draws keys, sorted as the engine has them.
func (h *history) some() []store.Key {
	n := 1
	if !h.single {
		n += h.random.IntN(3)
	}
	var drawn []store.Key
	for _, i := range h.random.Perm(len(keys))[:n] {
		drawn = append(drawn, keys[i])
	}
	slices.SortFunc(drawn, store.Key.Compare)
	return drawn
}

// limits draws how long a statement waits for a lock: next to nothing, or for ever.
func (h *history) limits(s *session) store.Limits {
	limits := store.Limits{Lock: hour, Statement: hour, Idle: hour}
	if h.random.IntN(3) == 0 {
		limits.Lock = short
	}
	s.short = limits.Lock == short
	return limits
}

const (
	// short is how long a wait for a lock lasts that times out.
	short = 10 * time.Millisecond
	// hour is longer than any history lasts.
	hour = time.Hour
)

func (h *history) claim(s *session, keys []store.Key) {
	limits := h.limits(s)
	s.keys = keys
	s.call("claim", func(ctx context.Context) string {
		tx, failure := s.store.Claim(ctx, keys, limits)
		s.tx, s.failed = tx, false
		if failure != nil {
			return of(failure)
		}
		return of(failure, tx.Held, len(tx.Rows))
	})
}

func (h *history) lookUp(s *session) {
	limits, wanted, probed := h.limits(s), h.some(), h.some()
	s.keys = nil
	s.call("look up", func(ctx context.Context) string {
		tx, failure := s.store.LookUp(ctx, wanted, probed, limits)
		s.tx, s.failed = tx, false
		if failure != nil {
			return of(failure)
		}
		return of(failure, tx.Held, len(tx.Rows))
	})
}

func (h *history) find(s *session, key store.Key) {
	s.short = false
	s.call("find", func(ctx context.Context) string {
		row, there, failure := s.store.Find(ctx, key)
		return of(failure, there, row.Expired)
	})
}

func (h *history) forget(s *session) {
	key := keys[h.random.IntN(len(keys))]
	s.short = false
	s.call("forget", func(ctx context.Context) string {
		there, failure := s.store.Forget(ctx, key, hour)
		return of(failure, there)
	})
}

func (h *history) purge(s *session) {
	limit, oldest := 1000, s.oldest
	if h.single {
		limit = 1 + h.random.IntN(2)
	}
	if h.random.IntN(2) == 0 {
		oldest = nil
	}
	s.short = false
	s.call("purge", func(ctx context.Context) string {
		removed, newest, failure := s.store.Purge(ctx, limit, oldest, hour)
		s.oldest = cmp.Or(newest, s.oldest)
		return of(failure, removed)
	})
}

func (h *history) effect(s *session, e effect) {
	s.call(e.name, func(ctx context.Context) string {
		if s.tx == nil {
			return "no transaction"
		}
		failure := s.tx.Run(ctx, func(tx *store.EffectTx) error {
			rows, err := tx.Query(ctx, statements[e.name], e.arguments...)
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			return err
		})
		return s.ended(failure)
	})
}

// ended notes what a failure means for the transaction.
func (s *session) ended(failure *store.Failure) string {
	if s.tx.Over() {
		s.tx = nil
	}
	s.failed = failure != nil
	return of(failure)
}

func (h *history) back(s *session) {
	lock := h.limits(s).Lock
	s.call("back", func(ctx context.Context) string { return s.ended(s.tx.Back(ctx, lock)) })
}

func (h *history) keep(s *session) {
	s.call("keep", func(ctx context.Context) string { return s.ended(s.tx.Keep(ctx)) })
}

func (h *history) acknowledge(s *session) {
	s.call("acknowledge", func(ctx context.Context) string { return s.ended(s.tx.Acknowledge(ctx)) })
}

func (h *history) end(s *session) {
	s.call("end", func(ctx context.Context) string {
		s.tx.End(ctx)
		return s.ended(nil)
	})
}

// commit stores the keys that are the session's, and now and then one that is not, as
// with a lock that lies.
func (h *history) commit(s *session) {
	expires, retained := h.hours(-2, -1, 1), h.hours(-1, 1)
	var rows []store.Row
	for i, key := range s.keys {
		_, there := s.tx.Rows[key]
		if there && h.random.IntN(8) > 0 || !s.tx.Held[i] && h.random.IntN(2) > 0 {
			continue
		}
		row := h.row(key)
		row.CreatedAt, row.ExpiresAt, row.RetainedUntil = s.tx.Now, s.tx.Now.Add(expires), s.tx.Now.Add(retained)
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		h.end(s)
		return
	}
	s.short = false // Commit sets lock_timeout, before it inserts.
	s.call("commit", func(ctx context.Context) string { return s.ended(s.tx.Commit(ctx, rows, hour)) })
}

// hours draws one of some numbers of hours.
func (h *history) hours(choices ...int) time.Duration {
	return time.Duration(choices[h.random.IntN(len(choices))]) * hour
}

// row draws a row.
func (h *history) row(key store.Key) store.Row {
	hash := sha256.Sum256(fmt.Append(nil, h.random.Uint64()))
	row := store.Row{
		Key: key, Operation: "operation", Hash: hash[:], HashVersion: 1, Response: fmt.Appendf(nil, `{"n": %d}`, h.random.IntN(10)),
	}
	copy(row.ExecutionID[:], hash[:])
	if h.random.IntN(2) == 0 {
		row.RequestID = "request"
	}
	if h.random.IntN(2) == 0 {
		row.Trace = strings.Repeat("a", 32) + "-" + strings.Repeat("b", 16)
	}
	return row
}

// An effect is a statement of an effect, by its name.
type effect struct {
	name      string
	arguments []any
}

// statements are those that the effects of histories consist of: some of the store's own
// too, so that keys are in flight for longer than a round trip.
var statements = func() map[string]string {
	statements := maps.Clone(sim.Statements)
	maps.Copy(statements, store.Texts(sim.Table))
	return statements
}()

func (h *history) drawEffect(s *session) effect {
	key, n := keys[h.random.IntN(len(keys))], h.random.Int64N(10)-1
	id := 1 + h.random.Int64N(2)*h.random.Int64N(2) // Mostly 1.
	drawn := []effect{
		{"effect", []any{key.Scope, key.Key, n}},
		{"effects", []any{[]string{key.Scope, "c"}, []string{key.Key, "1"}, []int64{max(n, 0), n}}},
		{"effects of a key", []any{key.Scope, key.Key}},
		{"sleep", []any{0.0}},
		{"mark", []any{id}},
	}
	for range 3 { // What others may wait for, more often.
		drawn = append(drawn, effect{"owner", []any{id}}, effect{"counter", []any{id}}, effect{"count", []any{id}})
	}
	if len(s.keys) > 0 {
		key := s.keys[h.random.IntN(len(s.keys))]
		row := h.row(key)
		insert := effect{"insert one", []any{
			key.Scope, key.Key, row.Operation, row.Hash, row.HashVersion, string(row.Response), row.RequestID,
			uuid.UUID(row.ExecutionID).String(), row.Trace, s.tx.Now, s.tx.Now.Add(h.hours(-1, 1)), s.tx.Now.Add(h.hours(-1, 1)),
		}}
		drawn = append(drawn, effect{"forget", []any{key.Scope, key.Key}}, insert, insert)
	}
	return drawn[h.random.IntN(len(drawn))]
}
