package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/onceql/onceql/chaos/history"
)

// A Target is a server.
type Target struct {
	Name, URL string
	// Other says whether another build than the one under test may serve at the moment.
	// What that one answers against the contract is not held against this one.
	Other func() bool
	// Host is what requests name in their header; empty for what URL has.
	Host string
	// Edge says that it is a proxy that sends a request to another server when one has not
	// answered. So the first may have executed what the second refuses.
	Edge bool
}

// A Style is how a client sends a request again.
type Style struct {
	name  string
	tries int
	// pause is how long it waits before a further try, where the server does not say.
	pause func(try int) time.Duration
	// next says that each try goes to the next server, and at once.
	next bool
	// leaves says that it does not mean to hear each answer.
	leaves bool
	// patience is how long it waits for an answer; zero means answerPatience.
	patience func() time.Duration
}

// Patient is a client behind an edge that retries: it has the time that the edge needs, and
// sends again what the edge could not have answered.
var Patient = Style{name: "patient", tries: 8, pause: func(try int) time.Duration {
	return time.Duration(rand.Int64N(int64(200*time.Millisecond) << min(try, 4)))
}, patience: func() time.Duration { return time.Minute }}

// Hurried is a person who presses the button and leaves.
var Hurried = Style{
	name: "hurried", tries: 1, leaves: true, patience: func() time.Duration { return time.Duration(rand.Int64N(int64(100 * time.Millisecond))) },
}

// Styles are as clients/typescript makes Apollo and urql retry, as nginx does with
// `proxy_next_upstream error timeout http_503 non_idempotent`, and as people do who
// press the button and leave.
var Styles = []Style{
	{name: "apollo", tries: 6, pause: func(try int) time.Duration {
		return time.Duration(rand.Int64N(int64(300*time.Millisecond) << min(try, 4)))
	}},
	{name: "urql", tries: 6, pause: func(try int) time.Duration { return 200 * time.Millisecond << min(try, 4) }},
	{name: "nginx", tries: 3, next: true},
	Hurried,
}

// A Client sends requests and keeps what it hears.
type Client struct {
	History *history.History
	// Start is the moment that the history counts from.
	Start time.Time
	// Violated is told of an answer that is none of the contract's.
	Violated func(key, what string)
	http     *http.Client
	sent     atomic.Int64
}

// NewClient returns one that opens as many connections as it needs.
func NewClient(h *history.History, start time.Time, violated func(key, what string)) *Client {
	return &Client{History: h, Start: start, Violated: violated, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 200, DisableCompression: true},
	}}
}

// Sent is how many requests were sent so far.
func (c *Client) Sent() int { return int(c.sent.Load()) }

// try sends the request once.
func (c *Client) try(ctx context.Context, to Target, r Request, body []byte, style Style) answer {
	patience := answerPatience
	if style.patience != nil {
		patience = style.patience()
	}

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	called, other := time.Since(c.Start), to.Other()
	c.sent.Add(1)
	a, err := post(ctx, c.http, to, body)
	if err == nil && a.outcome == history.Invalid && r.Operation != Invalid {
		err = fmt.Errorf("%w: the input is valid", errAnswer)
	}
	if err != nil && !other && !to.Other() {
		c.Violated(r.Key, err.Error())
	}
	call := history.Call{
		Key: r.Key, Variant: r.Variant, Server: to.Name, Called: called, Returned: time.Since(c.Start),
		Outcome: a.outcome, Payload: a.payload,
	}
	if a.outcome == history.Unknown || a.outcome == history.Refused {
		call.Why, call.Left = a.why, style.leaves
	}
	c.History.Add(call)
	return a
}

// Send sends the request in a client's style, first to the server of that index, and
// returns whether the client heard what became of it.
func (c *Client) Send(ctx context.Context, style Style, servers []Target, first int, r Request) (heard bool) {
	body := r.body()
	for try := range style.tries {
		a := c.try(ctx, servers[first%len(servers)], r, body, style)
		if !a.again {
			return true
		}
		if style.next {
			first++
			continue
		}
		if try == style.tries-1 || ctx.Err() != nil {
			break
		}
		pause(ctx, max(a.after, style.pause(try)))
	}
	return false
}

// Settle sends the request until its answer says what became of the key, or ctx ends,
// each time to the next server.
func (c *Client) Settle(ctx context.Context, servers []Target, first int, r Request) (settled bool) {
	body := r.body()
	for ctx.Err() == nil {
		if a := c.try(ctx, servers[first%len(servers)], r, body, Style{}); !a.again && a.outcome != history.Unknown {
			return true
		}
		first++
		pause(ctx, 50*time.Millisecond)
	}
	return false
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
