package gqlidem_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

const noteSDL = `
	directive @idempotent on FIELD_DEFINITION
	type Note { text: String! }
	type Query { ok: Boolean }
	type Mutation {
		write(text: String, even: Int, idempotencyKey: String!): Note @idempotent
	}`

type note struct {
	Text string `json:"text"`
}

// writing resolves `write` with the effect.
func writing(once *gqlidem.Once, effect func(context.Context, pgx.Tx) (*note, error)) resolvers {
	return resolvers{"write": func(ctx context.Context) (any, error) { return gqlidem.Do(ctx, once, effect) }}
}

func failing(err error) func(context.Context, pgx.Tx) (*note, error) {
	return func(context.Context, pgx.Tx) (*note, error) { return nil, err }
}

func TestDo_ErrorsCarryTheirCode(t *testing.T) {
	t.Parallel()
	type extensions = map[string]any
	no := func(code string) extensions { return extensions{"code": code, "retryable": false} }
	yes := func(code string) extensions {
		return extensions{"code": code, "retryable": true, "retryAfterMs": float64(gqlidem.RetryAfter.Milliseconds())}
	}
	once := newOnce(t, pgtest.Pool(t))
	for _, test := range []struct {
		err  error
		want extensions
		// message is what the client reads, or part of it.
		message string
	}{
		{idempotency.ErrKeyRequired, no("IDEMPOTENCY_KEY_REQUIRED"), "idempotencyKey is empty"},
		{idempotency.ErrKeyInvalid, no("IDEMPOTENCY_KEY_INVALID"), "printable ASCII"},
		{idempotency.ErrKeyReused, no("IDEMPOTENCY_KEY_REUSED"), "nothing was done"},
		{idempotency.ErrKeyExpired, no("IDEMPOTENCY_KEY_EXPIRED"), "nothing was done"},
		{idempotency.ErrInProgress, yes("IDEMPOTENCY_IN_PROGRESS"), "send the same key again"},
		{idempotency.ErrUnavailable, yes("UNAVAILABLE"), "send the same key again"},
		{idempotency.ErrOverloaded, yes("UNAVAILABLE"), "send the same key again"},
		{idempotency.ErrClosed, yes("UNAVAILABLE"), "send the same key again"},
		{fmt.Errorf("%w: secret", idempotency.ErrPayload), no("INTERNAL"), "internal error"},
		{fmt.Errorf("%w: secret", idempotency.ErrTransaction), no("INTERNAL"), "internal error"},
		{fmt.Errorf("%w: secret", idempotency.ErrCall), no("INTERNAL"), "internal error"},
		{&idempotency.PanicError{Value: "secret", Stack: []byte("secret")}, no("INTERNAL"), "internal error"},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), yes("UNAVAILABLE"), "send the same key again"},
		{context.Canceled, yes("UNAVAILABLE"), "send the same key again"},
		// An effect's own errors are its own.
		{&gqlerror.Error{Message: "no", Extensions: extensions{"code": "DECLINED"}}, extensions{"code": "DECLINED"}, "no"},
		{errors.New("plain"), nil, "plain"},
		// Where it was made, perhaps for another caller that waits, is not where it goes.
		{&gqlerror.Error{Message: "no", Path: ast.Path{ast.PathName("theirs")}, Locations: []gqlerror.Location{{}, {}}}, nil, "no"},
	} {
		server := serve(noteSDL, once, writing(once, failing(test.err)))
		r := send(t, server, `mutation { mine: write(text: "a", idempotencyKey: "k") { text } }`)
		if len(r.Errors) != 1 || r.statuses() != nil || r.replayed() != "" || string(r.Data["mine"]) != "null" {
			t.Fatalf("%v: %s", test.err, r.body)
		}
		if diff := cmp.Diff(test.want, r.Errors[0].Extensions); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.err, diff)
		}
		if got := r.Errors[0]; !strings.Contains(got.Message, test.message) || !cmp.Equal(got.Path, []any{"mine"}) || len(got.Locations) != 1 {
			t.Errorf("%v: %s", test.err, r.body)
		}
		if strings.Contains(r.body, "secret") {
			t.Errorf("%v: the client reads %s", test.err, r.body)
		}
	}
}

// How an engine's error came about is for the log, which asks errors.Is and
// errors.As.
func TestDo_ErrorsKeepTheirCause(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	own := &gqlerror.Error{Message: "no", Extensions: map[string]any{"code": "DECLINED"}}
	cause := fmt.Errorf("%w: %w", idempotency.ErrTransaction, errors.ErrUnsupported)
	wrapped := fmt.Errorf("charging: %w: %w", errors.ErrUnsupported, own)
	for name, effect := range map[string]error{"the engine's": cause, "wrapped": wrapped} {
		var got error
		server := serve(noteSDL, once, resolvers{"write": func(ctx context.Context) (any, error) {
			var payload *note
			payload, got = gqlidem.Do(ctx, once, failing(effect))
			return payload, got
		}})
		send(t, server, `mutation { write(text: "a", idempotencyKey: "k") { text } }`)
		if !errors.Is(got, errors.ErrUnsupported) {
			t.Errorf("%s: %v has lost its cause", name, got)
		}
		var coded *gqlerror.Error
		if !errors.As(got, &coded) {
			t.Fatalf("%s: %v has no extensions", name, got)
		}
		coded.Extensions["requestId"] = "mine" // As an error presenter may do.
	}
	if own.Path != nil || own.Locations != nil || len(own.Extensions) != 1 {
		t.Errorf("something wrote into the effect's own error: %+v", own)
	}
}

func TestDo_PanickingEffectIsInternal(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	server := serve(noteSDL, once, writing(once, func(context.Context, pgx.Tx) (*note, error) { panic("secret") }))
	r := send(t, server, `mutation { write(text: "a", idempotencyKey: "k") { text } }`)
	if len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeInternal || strings.Contains(r.body, "secret") {
		t.Errorf("the client reads %s", r.body)
	}
	server = serve(noteSDL, once, writing(once, func(context.Context, pgx.Tx) (*note, error) { return &note{"a"}, nil }))
	r = send(t, server, `mutation { write(text: "a", idempotencyKey: "k") { text } }`)
	if diff := cmp.Diff(map[string]string{"write": "EXECUTED"}, r.statuses()); diff != "" {
		t.Errorf("the panic consumed the key (-want +got):\n%s\n%s", diff, r.body)
	}
}

// gqlgen writes path and location into the error that it is given. Callers that
// wait for one execution get its error, and effects may return one variable.
func TestDo_CallersThatShareAnErrorHaveTheirOwnPath(t *testing.T) {
	t.Parallel()
	const callers = 8
	var arrived atomic.Int32
	all := make(chan struct{})
	once := newOnceOf(t, pgtest.Pool(t), func(context.Context) (string, error) {
		if arrived.Add(1) == callers {
			close(all)
		}
		return "tenant", nil
	})
	shared := &gqlerror.Error{Message: "declined", Extensions: map[string]any{"code": "DECLINED"}}
	server := serve(noteSDL, once, writing(once, func(ctx context.Context, _ pgx.Tx) (*note, error) {
		select {
		case <-all:
			return nil, shared
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}))
	responses := make([]response, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			document := strings.Repeat("\n", i) + fmt.Sprintf(`mutation { a%d: write(text: "a", idempotencyKey: "k") { text } }`, i)
			responses[i] = send(t, server, document)
		})
	}
	group.Wait()
	for i, r := range responses {
		if len(r.Errors) != 1 || !cmp.Equal(r.Errors[0].Path, []any{fmt.Sprintf("a%d", i)}) ||
			len(r.Errors[0].Locations) != 1 || r.Errors[0].Locations[0].Line != i+1 || r.Errors[0].Extensions["code"] != "DECLINED" {
			t.Errorf("caller %d reads %s", i, r.body)
		}
	}
	if shared.Path != nil || shared.Locations != nil {
		t.Errorf("gqlgen wrote into the shared error: %+v", shared)
	}
}

func TestDo_TenantsErrorIsTheFields(t *testing.T) {
	t.Parallel()
	shared := &gqlerror.Error{Message: "who are you?", Extensions: map[string]any{"code": "UNAUTHENTICATED"}}
	for _, err := range []error{shared, fmt.Errorf("reading the token: %w", shared), errors.New("no tenant")} {
		once := newOnceOf(t, pgtest.Pool(t), func(context.Context) (string, error) { return "", err })
		server := serve(noteSDL, once, writing(once, func(context.Context, pgx.Tx) (*note, error) { panic("the effect ran") }))
		// The key is not looked at.
		r := send(t, server, `mutation { mine: write(text: "a", idempotencyKey: "") { text } }`)
		if len(r.Errors) != 1 || !cmp.Equal(r.Errors[0].Path, []any{"mine"}) || !strings.HasSuffix(err.Error(), r.Errors[0].Message) {
			t.Errorf("%v: the client reads %s", err, r.body)
		}
		if errors.As(err, new(*gqlerror.Error)) && r.Errors[0].Extensions["code"] != "UNAUTHENTICATED" {
			t.Errorf("%v: the client reads %s", err, r.body)
		}
	}
	if shared.Path != nil || shared.Locations != nil {
		t.Errorf("gqlgen wrote into the shared error: %+v", shared)
	}
}

func TestDo_OutsideOfAResolverIsInternal(t *testing.T) {
	t.Parallel()
	once := newOnce(t, pgtest.Pool(t))
	_, err := gqlidem.Do(t.Context(), once, func(context.Context, pgx.Tx) (*note, error) { panic("the effect ran") })
	var coded *gqlerror.Error
	if !errors.Is(err, idempotency.ErrCall) || !errors.As(err, &coded) || coded.Extensions["code"] != gqlidem.CodeInternal {
		t.Errorf("error %v, want ErrCall", err)
	}
}
