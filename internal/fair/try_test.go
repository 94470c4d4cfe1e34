package fair_test

import (
	"context"
	"errors"
	"testing"

	"github.com/onceql/onceql/internal/fair"
)

func TestTryEnter_NeverWaits(t *testing.T) {
	t.Parallel()
	gate := fair.New(fair.Config{Slots: 8, Share: 1, Waiting: 1, OfOne: 1})
	try := func(tenant string, n int64, want bool) {
		t.Helper()
		if got := gate.TryEnter(tenant, n); got != want {
			t.Errorf("%s may have %d: %t, want %t", tenant, n, got, want)
		}
	}
	try("a", 3, true)
	try("a", 2, false) // What it has may be as much as stays free.
	try("a", 1, true)
	try("b", 5, false)
	try("b", 4, true)
	gate.Leave("a", 3) // A part of it.
	if stats := gate.Stats(); stats != (fair.Stats{Taken: 5}) {
		t.Errorf("%+v, want 5 taken", stats)
	}
	gate.Leave("b", 4)
	// Nobody is passed over.
	ctx, cancel := context.WithCancel(t.Context())
	waits := make(chan error)
	go func() {
		_, err := gate.Enter(ctx, "c", 8)
		waits <- err
	}()
	for gate.Stats().Waiting == 0 {
		continue
	}
	try("a", 1, false)
	try("d", 1, false)
	cancel()
	if err := <-waits; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	try("d", 1, true)
	gate.Leave("d", 1)
	gate.Leave("a", 1)
	if stats := gate.Stats(); stats != (fair.Stats{}) {
		t.Errorf("after all: %+v", stats)
	}
}
