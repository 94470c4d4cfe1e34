package idempotency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// An execution that loses out, or can't reach the database, is tried so often
// before its owner hears of it.
const maxAttempts = 5

var (
	// errBusy: another process holds the key's lock and has not committed.
	errBusy = errors.New("another process executes the key")
	// errLostRace: the row could not be inserted, because another got there
	// first. The look-up of the next attempt tells.
	errLostRace = errors.New("another execution of the key committed first")
	// errUnknown: a COMMIT was sent and not answered as it should be. The row
	// tells whether it took effect.
	errUnknown = errors.New("the commit's outcome is unknown")
	// errAbandoned: an effect that does not heed its context was left behind.
	errAbandoned = errors.New("the effect did not return when its budget was over")
)

// run executes the flight for its owner and answers whom that concerns.
func (e *Engine) run(ctx context.Context, f *flight, owner *request) {
	row, err := e.settle(ctx, owner)
	switch {
	case err == nil:
		e.committed(f, owner, row)
	case errors.Is(err, errBusy):
		e.park(f)
	case errors.Is(err, ErrUnavailable):
		e.observe(Event{Kind: Failed, Err: err}, owner)
		e.failed(f, owner, err)
	default:
		e.observe(Event{Kind: Failed, Err: err}, owner)
		e.refused(f, owner, err)
	}
}

func (e *Engine) observe(event Event, r *request) {
	event.Operation, event.RequestID = r.call.Operation, r.call.RequestID
	e.config.Observer(event)
}

// settle attempts the execution until its outcome is known: the key's row, the
// effect's definite error, errBusy, or ErrUnavailable.
func (e *Engine) settle(ctx context.Context, owner *request) (record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.config.Budget)
	defer cancel()
	for attempt := 0; ; attempt++ {
		row, err := e.attempt(ctx, owner)
		if err == nil || errors.Is(err, errBusy) {
			return row, err
		}
		lost := errors.Is(err, errLostRace) || errors.Is(err, errUnknown) || errors.As(err, new(connectionError))
		meaning := classify(ctx, err)
		if !lost && meaning == definite {
			return record{}, err
		}
		if ctx.Err() != nil || !lost && meaning == unreachable || attempt+1 == maxAttempts {
			return record{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		kind := Retried
		if errors.Is(err, errUnknown) {
			kind = CommitUnknown
		}
		e.observe(Event{Kind: kind, Err: err}, owner)
		pause(ctx, backoff(attempt, 5*time.Millisecond, 200*time.Millisecond))
	}
}

// attempt is one transaction: it finds the key's row, or runs the effect and
// inserts the row. It returns errBusy when neither can be.
func (e *Engine) attempt(ctx context.Context, owner *request) (record, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return record{}, connectionError{fmt.Errorf("taking a connection: %w", err)}
	}
	defer conn.Release()

	id := identity{owner.call.Scope, owner.call.Key}
	tx, err := e.begin(ctx, conn.Conn(), []identity{id})
	if err != nil {
		return record{}, err
	}
	if rows := tx.rows; len(rows) > 0 {
		return rows[0], tx.acknowledge(ctx)
	}
	if !tx.locked[0] {
		tx.rollback(ctx)
		return record{}, errBusy
	}

	response, err := runEffect(ctx, conn, tx, owner)
	if errors.Is(err, errAbandoned) {
		// The connection is no longer the pool's, and closed under the effect.
		_ = conn.Hijack().PgConn().Conn().Close()
		return record{}, err
	}
	if err != nil {
		tx.rollback(ctx)
		return record{}, err
	}
	row := record{
		identity:    id,
		operation:   owner.call.Operation,
		hash:        owner.hash[:],
		hashVersion: e.config.FingerprintVersion,
		response:    response,
		requestID:   owner.call.RequestID,
		executionID: owner.executionID,
		createdAt:   tx.now,
		expiresAt:   tx.now.Add(e.config.TTL),
	}
	return row, tx.commit(ctx, []record{row}, e.config.Budget)
}

// runEffect runs the owner's effect in a goroutine of its own, where a panic and
// runtime.Goexit end nothing else.
func runEffect(ctx context.Context, conn *pgxpool.Conn, tx *transaction, owner *request) ([]byte, error) {
	type result struct {
		response []byte
		err      error
	}
	handle := &effectTx{Tx: tx.tx}
	done := make(chan result, 1)
	go func() {
		r := result{err: &PanicError{}}
		defer func() {
			if value := recover(); value != nil {
				r = result{err: &PanicError{Value: value, Stack: debug.Stack()}}
			}
			done <- r
		}()
		r.response, r.err = owner.effect(ctx, handle)
	}()
	select {
	case r := <-done:
		return r.response, effectError(ctx, conn.Conn(), handle, r.err)
	case <-ctx.Done():
	}
	// A moment for an effect that heeds its context.
	select {
	case r := <-done:
		return r.response, effectError(ctx, conn.Conn(), handle, r.err)
	case <-time.After(time.Second):
		return nil, errAbandoned
	}
}

// effectError is err, or what the transaction's state says of the effect.
func effectError(ctx context.Context, conn *pgx.Conn, handle *effectTx, err error) error {
	handle.Tx = endedTx
	switch {
	case conn.IsClosed():
		return connectionError{fmt.Errorf("the connection broke during the effect: %w", cmp.Or(err, pgx.ErrTxClosed))}
	case ctx.Err() != nil:
		return fmt.Errorf("running the effect: %w", ctx.Err())
	case err != nil:
		return err
	case conn.PgConn().TxStatus() != 'T':
		return ErrTransaction
	}
	return nil
}
