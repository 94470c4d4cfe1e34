package idempotency

import (
	"context"
	"time"
)

// await gives the request to its key's flight and waits for the answer.
func (e *Engine) await(ctx context.Context, r *request) (found, error) {
	if err := ctx.Err(); err != nil {
		return found{}, err
	}
	if err := e.join(r); err != nil {
		return found{}, err
	}
	wait := time.NewTimer(e.config.Wait)
	defer wait.Stop()
	select {
	case a := <-r.answer:
		return a.found, a.err
	case <-ctx.Done():
		return e.leave(r, context.Cause(ctx))
	case <-wait.C:
		return e.leave(r, nil)
	}
}
