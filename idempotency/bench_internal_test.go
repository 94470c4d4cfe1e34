package idempotency

import (
	"context"
	"crypto/sha256"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// BenchmarkOperation_InMemory is one call's share of a group of MaxGroup, without
// the database: its way through the queue, the effect, the payload's encoding and
// the answer.
func BenchmarkOperation_InMemory(b *testing.B) {
	type payload struct {
		ID   int    `json:"id"`
		Text string `json:"text"`
	}
	e := &Engine{config: Config{}.withDefaults(10), flights: map[identity]*flight{}}
	e.grouped.init(&e.mu, e.config.Queue, patience)
	operation := NewOperation(e, "write", func(_ context.Context, _ pgx.Tx, group []*Pending[string, payload]) error {
		for i, p := range group {
			p.Value = payload{i, p.Input}
		}
		return nil
	})
	hash := sha256.Sum256(nil)
	keys := make([]string, MaxGroup)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	requests := make([]*request, MaxGroup)
	b.ReportAllocs()
	for b.Loop() {
		for i, key := range keys {
			requests[i] = &request{
				call: Call{Scope: "tenant", Key: key, Operation: "write"},
				hash: hash, effect: operation, input: "text", executionID: uuid.New(), answer: make(chan answer, 1),
			}
			if err := e.join(requests[i]); err != nil {
				b.Fatal(err)
			}
		}
		group := e.next(&e.grouped)
		if err := operation.run(b.Context(), nil, group); err != nil {
			b.Fatal(err)
		}
		tx := &transaction{rows: make(map[identity]record, len(group))}
		for _, x := range group {
			tx.rows[x.flight.identity] = e.record(tx, x)
		}
		e.answer(tx, group)
		e.grouped.running = 0
		for _, r := range requests {
			if a := <-r.answer; a.err != nil || a.found.value.(payload).Text != "text" {
				b.Fatal(a)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxGroup, "ns/call")
}
