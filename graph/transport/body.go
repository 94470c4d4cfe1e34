package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/onceql/onceql/internal/fair"
)

const (
	// smallBody is how large a body may be, in bytes, that takes no share of the memory for
	// bodies.
	smallBody = 4 << 10
	// bodyTurn is how long a larger one waits for its share. The client sends it meanwhile,
	// as far as the network takes it, and has BODY_TIMEOUT for that.
	bodyTurn = 5 * time.Second
)

// A turn is what a request holds of what tenants share. Its zero value holds nothing.
type turn struct{ leave func() }

// end gives back what the turn holds.
func (t *turn) end() {
	if t.leave != nil {
		t.leave()
		t.leave = nil
	}
}

// take waits for n slots of the gate, in the turn of the request's tenant.
func (t Transport) take(ctx context.Context, gate *fair.Gate, n int64) (turn, *refusal) {
	if gate == nil {
		return turn{}, nil
	}
	return t.enter(ctx, func(ctx context.Context, tenant string) (func(), error) { return gate.Enter(ctx, tenant, n) })
}

// work waits until the request may be at work.
func (t Transport) work(ctx context.Context) (turn, *refusal) {
	if t.Working == nil {
		return turn{}, nil
	}
	return t.enter(ctx, t.Working.Enter)
}

// enter waits for the turn of the request's tenant.
func (t Transport) enter(ctx context.Context, enter func(context.Context, string) (func(), error)) (turn, *refusal) {
	tenant, err := t.tenant(ctx)
	if err != nil {
		return turn{}, &refusal{status: http.StatusInternalServerError, err: internal(err)}
	}
	leave, err := enter(ctx, tenant)
	if err != nil {
		t.busy(ctx)
		return turn{}, busy
	}
	return turn{leave}, nil
}

// tenant says whose request it is.
func (t Transport) tenant(ctx context.Context) (string, error) {
	if t.Tenant == nil {
		return "", nil
	}
	return t.Tenant(ctx)
}

// busy tells of a request that waited in vain.
func (t Transport) busy(ctx context.Context) {
	if t.Busy != nil {
		t.Busy(ctx)
	}
}

// readBody reads the body. One that is not small takes a share of the memory for bodies
// before, which it holds until held ends; where there is none, it is refused unread.
func (t Transport) readBody(w http.ResponseWriter, r *http.Request, held *turn) (*bytes.Buffer, *refusal) {
	if refusal := checkContent(r.Header); refusal != nil {
		return nil, refusal
	}
	limit := t.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	if r.ContentLength > limit {
		drain(r)
		return nil, tooLarge(limit)
	}
	from := http.MaxBytesReader(w, r.Body, limit)
	var body bytes.Buffer
	size := r.ContentLength
	if size < 0 { // It does not say.
		if _, err := io.CopyN(&body, from, smallBody); errors.Is(err, io.EOF) {
			return &body, nil
		} else if err != nil {
			return nil, t.unread(r, err, limit)
		}
		size = limit
	}
	if size > smallBody {
		ctx, cancel := context.WithTimeout(r.Context(), bodyTurn)
		defer cancel()
		share, refusal := t.take(ctx, t.Bodies, size)
		if refusal != nil {
			drain(r)
			return nil, refusal
		}
		*held = share
	}
	body.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	if _, err := body.ReadFrom(from); err != nil {
		return nil, t.unread(r, err, limit)
	}
	return &body, nil
}

// unread says why the body was not read to its end.
func (Transport) unread(r *http.Request, err error, limit int64) *refusal {
	if errors.As(err, new(*http.MaxBytesError)) {
		drain(r)
		return tooLarge(limit)
	}
	return badInput(http.StatusBadRequest, "the body ended early")
}

// drained is how much of a body that is refused is read to its end, and not kept. A client
// that is still sending when the connection closes mostly never sees the answer.
const drained = 32 << 20

func drain(r *http.Request) {
	if r.ContentLength <= drained && r.Header.Get("Expect") == "" { // With Expect, none of it was sent yet.
		_, _ = io.CopyN(io.Discard, r.Body, drained)
	}
}
