package idempotency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A caller's execution that loses out, or can't reach the database, is tried so
// often before the caller hears of it.
const maxAttempts = 5

var (
	// errLostRace: the row could not be inserted, because another got there
	// first. The look-up of the next attempt tells.
	errLostRace = errors.New("another execution of the key committed first")
	// errUnknown: a COMMIT was sent and not answered as it should be. The row
	// tells whether it took effect.
	errUnknown = errors.New("the commit's outcome is unknown")
	// errAbandoned: an effect that does not heed its context was left behind.
	errAbandoned = errors.New("the effect did not return when its budget was over")
)

// An execution is a flight whose turn it is.
type execution struct {
	flight *flight
	// owner is the caller that the flight runs for.
	owner *request
	// response, and what it decodes to, or err is what the effect made of it.
	response []byte
	value    any
	err      error
}

// run executes the flights until each has its outcome, and answers whom that
// concerns.
func (e *Engine) run(ctx context.Context, group []*execution) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.config.Budget)
	defer cancel()
	halve := false
	for retry := 0; ; retry++ {
		// In the order of their keys: what an attempt leaves is not.
		slices.SortFunc(group, func(a, b *execution) int { return a.flight.compare(b.flight.identity) })
		var err error
		group, err = e.attempt(ctx, group, halve)
		if len(group) == 0 {
			return
		}
		if err == nil {
			continue
		}
		lost := errors.Is(err, errLostRace) || errors.Is(err, errUnknown) || errors.As(err, new(connectionError))
		verdict := classify(ctx, err)
		switch {
		case !lost && verdict == definite && len(group) > 1 && !halve:
			halve = true
			continue
		case !lost && verdict == definite:
			e.refuse(group, err)
			return
		case !lost && verdict == unreachable, ctx.Err() != nil:
			e.fail(group, fmt.Errorf("%w: %w", ErrUnavailable, err))
			return
		}
		if group = e.again(group, err); len(group) == 0 {
			return
		}
		pause(ctx, backoff(retry, 5*time.Millisecond, 200*time.Millisecond))
	}
}

// again counts an attempt that came to nothing, and returns the executions that
// may have another. It is counted by caller, because a flight may be parked
// between two attempts.
func (e *Engine) again(group []*execution, err error) []*execution {
	kind := Retried
	if errors.Is(err, errUnknown) {
		kind = CommitUnknown
	}
	return slices.DeleteFunc(group, func(x *execution) bool {
		x.owner.failed++
		if x.owner.failed < maxAttempts {
			e.observe(Event{Kind: kind, Err: err}, x.owner)
			return false
		}
		e.fail([]*execution{x}, fmt.Errorf("%w: %w", ErrUnavailable, err))
		return true
	})
}

func (e *Engine) observe(event Event, r *request) {
	event.Operation, event.RequestID = r.call.Operation, r.call.RequestID
	e.config.Observer(event)
}

// attempt is one transaction: it finds the flights' rows, or runs the effect and
// inserts the rows. It answers the flights whose outcome is certain, parks those
// that another process executes, and returns the others, with the error that kept
// them. With halve it finds those that the effect fails over.
func (e *Engine) attempt(ctx context.Context, group []*execution, halve bool) ([]*execution, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return group, connectionError{fmt.Errorf("taking a connection: %w", err)}
	}
	defer conn.Release()
	tx, err := e.begin(ctx, conn.Conn(), group)
	if err != nil {
		return group, err
	}

	// Those that are found wait for the end of the transaction only where that
	// is what makes sure of them.
	var replays, todo []*execution
	for i, x := range group {
		x.value, x.err = nil, nil // Those of an attempt whose outcome was not known.
		row, there := tx.rows[x.flight.identity]
		switch {
		case there && tx.synchronous:
			replays = append(replays, x)
		case there:
			e.committed(x, found{record: row})
		case tx.locked[i]:
			todo = append(todo, x)
		default:
			e.park(x.flight)
		}
	}
	if len(todo) == 0 {
		if err := tx.acknowledge(ctx); err != nil {
			return replays, err
		}
		e.answer(tx, replays)
		return nil, nil
	}

	if err := runEffects(ctx, conn, tx.tx, todo, halve); err != nil {
		if errors.Is(err, errAbandoned) {
			// The connection is no longer the pool's, and closed under the effect.
			_ = conn.Hijack().PgConn().Conn().Close()
		} else {
			tx.rollback(ctx)
		}
		return append(replays, todo...), err
	}
	rows := make([]record, 0, len(todo))
	for _, x := range todo {
		if x.err == nil {
			row := e.record(tx, x)
			rows = append(rows, row)
			tx.rows[row.identity] = row
		}
	}
	if len(rows) == 0 {
		tx.rollback(ctx)
		e.answer(tx, todo)
		return replays, nil
	}
	if err := tx.commit(ctx, rows, e.config.Budget); err != nil {
		return append(replays, todo...), err
	}
	e.answer(tx, replays)
	e.answer(tx, todo)
	return nil, nil
}

func (e *Engine) record(tx *transaction, x *execution) record {
	return record{
		identity:    x.flight.identity,
		operation:   x.owner.call.Operation,
		hash:        x.owner.hash[:],
		hashVersion: e.config.FingerprintVersion,
		response:    x.response,
		requestID:   x.owner.call.RequestID,
		executionID: x.owner.executionID,
		createdAt:   tx.now,
		expiresAt:   tx.now.Add(e.config.TTL),
	}
}

// answer tells each of the executions what came of it.
func (e *Engine) answer(tx *transaction, group []*execution) {
	for _, x := range group {
		if x.err != nil {
			e.refuse([]*execution{x}, x.err)
		} else {
			e.committed(x, found{record: tx.rows[x.flight.identity], value: x.value})
		}
	}
}

// A search finds the executions of a failing group that are to blame. The others
// stand: each part of the group runs after a savepoint.
type search struct {
	conn *pgxpool.Conn
	tx   pgx.Tx
}

// within runs the effect for parts of the group, which fails as a whole. Each
// execution that fails alone has the effect's error as its err.
func (s search) within(ctx context.Context, group []*execution) error {
	if len(group) == 1 {
		_, err := s.part(ctx, group)
		return err
	}
	first, second := group[:len(group)/2], group[len(group)/2:]
	failed, err := s.part(ctx, first)
	if err != nil {
		return err
	}
	if !failed { // So the second half is to blame, and need not run as a whole.
		return s.within(ctx, second)
	}
	_, err = s.part(ctx, second)
	return err
}

// part runs the effect for a part, and searches within it when it fails.
func (s search) part(ctx context.Context, part []*execution) (failed bool, err error) {
	failure := runEffect(ctx, s.conn, s.tx, part)
	switch {
	case failure == nil:
		return false, s.do(ctx, "release savepoint onceql", "savepoint onceql")
	case classify(ctx, failure) != definite || errors.As(failure, new(connectionError)):
		return true, failure
	}
	if err := s.do(ctx, "rollback to savepoint onceql"); err != nil {
		return true, err
	}
	if len(part) > 1 {
		return true, s.within(ctx, part)
	}
	part[0].err = failure
	return true, nil
}

func (s search) do(ctx context.Context, statements ...string) error {
	var batch pgx.Batch
	for _, sql := range statements {
		batch.Queue(sql)
	}
	if err := s.tx.SendBatch(ctx, &batch).Close(); err != nil {
		return ownError("setting a savepoint", err)
	}
	return nil
}

// runEffects runs the effect for the group, or with halve for its parts.
func runEffects(ctx context.Context, conn *pgxpool.Conn, tx pgx.Tx, group []*execution, halve bool) error {
	if !halve {
		return runEffect(ctx, conn, tx, group)
	}
	s := search{conn, tx}
	if err := s.do(ctx, "savepoint onceql"); err != nil {
		return err
	}
	return s.within(ctx, group)
}

// runEffect runs the group's effect in a goroutine of its own, where a panic and
// runtime.Goexit end nothing else.
func runEffect(ctx context.Context, conn *pgxpool.Conn, tx pgx.Tx, group []*execution) error {
	handle := &effectTx{Tx: tx}
	done := make(chan error, 1)
	go func() {
		var err error = &PanicError{}
		defer func() {
			if value := recover(); value != nil {
				err = &PanicError{Value: value, Stack: debug.Stack()}
			}
			done <- err
		}()
		err = group[0].owner.effect.run(ctx, handle, group)
	}()
	select {
	case err := <-done:
		return effectError(ctx, conn.Conn(), handle, err)
	case <-ctx.Done():
	}
	// A moment for an effect that heeds its context.
	select {
	case err := <-done:
		return effectError(ctx, conn.Conn(), handle, err)
	case <-time.After(time.Second):
		return errAbandoned
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
