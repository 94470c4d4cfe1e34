//go:build floor

package idempotency

import (
	"context"
	"time"
)

// Floor says that this build, made with the tag floor, promises nothing: its
// engine answers every call as executed, with the payload that would be stored,
// and asks no database. Benchmarks compare the real one with it.
const Floor = true

func (e *Engine) await(ctx context.Context, r *request) (found, error) {
	x := &execution{flight: &flight{identity: identity{r.call.Scope, r.call.Key}}, owner: r}
	if err := r.effect.run(ctx, nil, []*execution{x}); err != nil {
		return found{}, err
	}
	if x.err != nil {
		return found{}, x.err
	}
	return found{record: e.record(&transaction{now: time.Now()}, x), value: x.value}, nil
}
