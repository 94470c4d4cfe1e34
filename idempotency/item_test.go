package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// What an effect says of an item concerns that item alone, and nothing of a refused one
// stands.
func TestItem_RefusedOnesLeaveNothingAndTheOthersStand(t *testing.T) {
	t.Parallel()
	refuse := func(item *noteItem, word string) {
		switch word {
		case "fail":
			item.Fail(errRefused)
		case "decline":
			item.Decline(errRefused)
		case "succeed then fail":
			item.Succeed(note{})
			item.Fail(errRefused)
		case "fail twice":
			item.Fail(errRefused)
			item.Fail(errors.New("another"))
		case "fail then succeed":
			item.Fail(errRefused)
			item.Succeed(note{})
		}
	}
	for _, word := range []string{"fail", "decline", "succeed then fail", "fail twice", "fail then succeed", "forget"} {
		for when, early := range map[string]bool{"early": true, "late": false} {
			t.Run(word+", "+when, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
				var runs atomic.Int32
				batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
					runs.Add(1)
					items = slices.Clone(items)
					for _, item := range items {
						if item.Input == "bad" && early {
							refuse(item, word)
						}
					}
					for _, item := range items {
						bad := item.Input == "bad"
						if bad && (early || word == "decline") {
							continue // It has done nothing for it, as it says.
						}
						n, err := write(item.Input)(ctx, tx)
						if err != nil {
							return err
						}
						if bad {
							refuse(item, word)
						} else {
							item.Succeed(n)
						}
					}
					for _, item := range items {
						if item.Input == "bad" && word == "decline" && !early {
							refuse(item, word)
						}
					}
					return nil
				})
				want := errRefused
				if word == "forget" {
					want = idempotency.ErrNoResult
				}
				inputs := texts(12)
				inputs[5], inputs[9] = "bad", "bad"
				for i, r := range together(t, engine, batch, inputs...) {
					if inputs[i] == "bad" {
						wantError(t, r.err, want)
					} else {
						executed(t, r)
					}
				}
				f.effects(10)
				if n := runs.Load(); n != 1 && (word == "decline" || early && word != "forget") {
					t.Errorf("the effect ran %d times, want once", n)
				}
				_, err := batch.Do(t.Context(), call("of one", "bad"), "bad")
				wantError(t, err, want)
				f.effects(10)
			})
		}
	}
}

// What is told of a late refusal is what the item's own run says.
func TestItem_RefusedLateIsHeardAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		if err := writes(ctx, tx, items); err != nil {
			return err
		}
		if len(items) > 1 {
			items[len(items)-1].Fail(errRefused) // As if over another item.
		}
		return nil
	})
	executed(t, together(t, engine, batch, texts(6)...)...)
	f.effects(6)
}

type sized = idempotency.Item[int, any]

// What can't be stored of one item is that item's failure; what is too large together
// is stored apart.
func TestItem_PayloadsFailByThemselves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1, Wait: time.Minute, Budget: time.Minute})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*sized) error {
		for _, item := range items {
			if _, err := write(item.Key)(ctx, tx); err != nil {
				return err
			}
			switch item.Input {
			case -1:
				item.Succeed(math.NaN())
			case -2:
				item.Succeed(func() {})
			default:
				item.Succeed(strings.Repeat("a", item.Input))
			}
		}
		return nil
	})
	release := hold(t, engine, 1)
	defer release()
	sizes := []int{10, -1, idempotency.MaxPayload - 2, idempotency.MaxPayload, -2}
	for range 12 {
		sizes = append(sizes, idempotency.MaxPayload-100)
	}
	answers := make([]chan error, len(sizes))
	for i, size := range sizes {
		answers[i] = make(chan error, 1)
		go func() {
			o, err := batch.Do(t.Context(), inScope(fmt.Sprintf("tenant %03d", i), fmt.Sprint(i), "a"), size)
			if text, _ := o.Value.(string); err == nil && (len(text) != size || o.Replayed) {
				err = fmt.Errorf("a payload of %d bytes, replayed: %t", len(text), o.Replayed)
			}
			answers[i] <- err
		}()
	}
	queued(t, engine, len(sizes))
	release()
	for i, size := range sizes {
		err := <-answers[i]
		if size < 0 || size == idempotency.MaxPayload {
			wantError(t, err, idempotency.ErrPayload)
		} else if err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	f.effects(len(sizes) - 3)
}

// A call made by an effect would wait for a connection while it holds one.
func TestNested_CallsAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine, other := f.engine(idempotency.Config{Batches: 1, Workers: 1, Wait: testTimeout}), f.engine(idempotency.Config{})
	inner := idempotency.NewBatch(engine, "inner", idempotency.AcrossScopes(), writes)
	nested := map[string]func(context.Context) error{
		"Do": func(ctx context.Context) error {
			_, err := idempotency.Do(ctx, engine, call("inner", "a"), write("a"))
			return err
		},
		"Do of another engine": func(ctx context.Context) error {
			_, err := idempotency.Do(ctx, other, call("inner", "a"), write("a"))
			return err
		},
		"Batch.Do": func(ctx context.Context) error {
			_, err := inner.Do(ctx, call("inner", "a"), "a")
			return err
		},
		"Do with a context made of the effect's": func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer cancel()
			_, err := idempotency.Do(ctx, engine, call("inner", "a"), write("a"))
			return err
		},
	}
	kept := make(chan context.Context, 100)
	for name, do := range nested {
		m := misdeed{do: func(ctx context.Context, _ *fixture, _ pgx.Tx) error {
			kept <- ctx
			return do(ctx)
		}}
		_, err := idempotency.Do(t.Context(), engine, call(name, "bad"), func(ctx context.Context, tx pgx.Tx) (note, error) {
			return note{}, m.do(ctx, f, tx)
		})
		wantError(t, err, idempotency.ErrNested)
		_, err = m.batch(f, engine).Do(t.Context(), call(name, "bad"), "bad")
		wantError(t, err, idempotency.ErrNested)
	}
	// A context that outlives its effect is no longer an effect's.
	n := 0
	close(kept)
	for ctx := range kept {
		n++
		o, err := idempotency.Do(context.WithoutCancel(ctx), engine, call(fmt.Sprint("kept ", n), "a"), write("a"))
		executed(t, reply{o, err})
	}
	f.effects(n)
	misdeeds(t, map[string]misdeed{"a nested call": {
		do: func(ctx context.Context, _ *fixture, _ pgx.Tx) error { return nested["Do"](ctx) },
		is: is(idempotency.ErrNested),
	}})
}
