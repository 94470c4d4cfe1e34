package gqlidem_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

func TestDoOutcome_TellsWhichCallExecuted(t *testing.T) {
	t.Parallel()
	write := `mutation { write(text: "a", idempotencyKey: "k") { text } }`
	for form, outcomeOf := range map[string]func(*gqlidem.Once) func(context.Context) (idempotency.Outcome[*note], error){
		"alone": func(once *gqlidem.Once) func(context.Context) (idempotency.Outcome[*note], error) {
			return func(ctx context.Context) (idempotency.Outcome[*note], error) {
				return gqlidem.DoOutcome(ctx, once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil })
			}
		},
		"in a batch": func(once *gqlidem.Once) func(context.Context) (idempotency.Outcome[*note], error) {
			batch := gqlidem.NewBatch(once, "write", idempotency.AcrossScopes(), func(_ context.Context, _ pgx.Tx, group []*idempotency.Item[string, *note]) error {
				for _, p := range group {
					p.Succeed(&note{p.Input})
				}
				return nil
			})
			return func(ctx context.Context) (idempotency.Outcome[*note], error) { return batch.DoOutcome(ctx, "a") }
		},
	} {
		var afterCommit int
		var first, got idempotency.Outcome[*note]
		once := newOnce(t, pgtest.Pool(t))
		outcome := outcomeOf(once)
		server := serve(noteSDL, once, resolvers{"write": func(ctx context.Context) (_ any, err error) {
			if got, err = outcome(ctx); err == nil && !got.Replayed {
				afterCommit++
				first = got
			}
			return got.Value, err
		}})
		for _, status := range []string{"EXECUTED", "REPLAYED", "REPLAYED"} {
			if r := send(t, server, write); r.statuses()["write"] != status {
				t.Fatalf("%s: %s", form, r.body)
			}
		}
		if afterCommit != 1 || !got.Replayed || got.Value.Text != "a" ||
			!got.ExecutedAt.Equal(first.ExecutedAt) || got.ExpiresAt.Sub(got.ExecutedAt) != 24*time.Hour {
			t.Errorf("%s: %d times after the commit; %+v, then %+v", form, afterCommit, first, got)
		}
	}
}

// A resolver that can't be kept to its promise is a defect, which the client learns
// nothing of and the log everything.
func TestDo_OutsideOfAMarkedMutationIsADefect(t *testing.T) {
	t.Parallel()
	const sdl = `directive @idempotent on FIELD_DEFINITION
		type Note { text: String! }
		type Query { ok: Boolean }
		type Mutation { login(idempotencyKey: String!): Note, logout: Note, write(idempotencyKey: String!): Note @idempotent }`
	var got error
	runs := 0
	once := newOnce(t, pgtest.Pool(t))
	write := func(ctx context.Context) (any, error) {
		_, got = gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*note, error) { runs++; return &note{}, nil })
		return nil, got
	}
	server := serve(sdl, once, resolvers{"login": write, "logout": write, "write": func(ctx context.Context) (any, error) {
		_, got = gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*lossy, error) { runs++; return &lossy{}, nil })
		return nil, got
	}})
	for document, cause := range map[string]struct {
		is   error
		text string
	}{
		`mutation { login(idempotencyKey: "k") { text } }`: {idempotency.ErrCall, "the field Mutation.login is not marked @idempotent"},
		`mutation { logout { text } }`:                     {idempotency.ErrCall, "the field Mutation.logout is not marked @idempotent"},
		// It stores another type than the one that was checked at the start.
		`mutation { write(idempotencyKey: "k") { text } }`: {idempotency.ErrPayload, "secret is not exported"},
	} {
		r := send(t, server, document)
		if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeInternal || r.Errors[0].Message != "internal error" || r.statuses() != nil {
			t.Errorf("%s: %s", document, r.body)
		}
		if !errors.Is(got, cause.is) || !strings.Contains(errors.Unwrap(got).Error(), cause.text) {
			t.Errorf("%s: cause %v, want %s", document, errors.Unwrap(got), cause.text)
		}
	}
	if _, err := gqlidem.Do(t.Context(), once, func(context.Context, pgx.Tx) (*note, error) { runs++; return nil, nil }); !errors.Is(err, idempotency.ErrCall) || runs > 0 {
		t.Errorf("outside of a resolver: %v after %d runs", err, runs)
	}
}
