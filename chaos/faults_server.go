package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/onceql/onceql/chaos/fleet"
	"github.com/onceql/onceql/chaos/proxy"
)

// serverPatience is how long a server may take to serve again before the next fault of
// its stream comes all the same.
const serverPatience = 2 * time.Second

// servers are the faults of OnceQL's processes and of pgbouncer.
func (x *chaos) servers(random *rand.Rand) *stream {
	any := func() *fleet.Server { return x.fleet.Servers[random.IntN(len(x.fleet.Servers))] }
	return &stream{name: "servers", rest: 800 * time.Millisecond, faults: map[string]func(context.Context) (bool, error){
		serverKilled: happens(func(context.Context) error {
			s := any()
			x.sometimesAtStep(random, s, s.Kill)
			s.Await(serverPatience)
			return nil
		}),
		serverFrozen: happens(func(context.Context) error {
			s, d := any(), between(random, 100*time.Millisecond, 1500*time.Millisecond)
			x.sometimesAtStep(random, s, func() { s.Freeze(d) })
			return nil
		}),
		serverRolled: happens(func(context.Context) error {
			s := any()
			s.Deploy(x.programs[random.IntN(len(x.programs))])
			s.Await(serverPatience)
			return nil
		}),
		bouncerKilled: happens(func(context.Context) error {
			return x.cluster.Bouncer.Crash(between(random, 0, 500*time.Millisecond))
		}),
	}}
}

// messages are the faults of the network between a server and PostgreSQL.
func (x *chaos) messages(random *rand.Rand) *stream {
	// at has the next message at the step of some server meet the deed, and says whether
	// one came.
	at := func(step proxy.Step, do proxy.Deed) (bool, error) {
		servers := []*fleet.Server{x.fleet.Servers[0], x.fleet.Servers[1], x.fleet.Short}
		begun := make(chan struct{})
		armed := servers[random.IntN(len(servers))].Proxy.Next(step, func(message []byte) int {
			close(begun)
			return do(message)
		})
		select {
		case <-begun:
		case <-time.After(stepPatience):
			if armed.Forget() {
				return false, nil
			}
		}
		x.atNamedStep()
		return true, nil
	}
	some := func() proxy.Step { return proxy.Steps[random.IntN(len(proxy.Steps))] }
	return &stream{name: "messages", rest: 300 * time.Millisecond, faults: map[string]func(context.Context) (bool, error){
		commitLost: func(context.Context) (bool, error) {
			return at(proxy.Commit, func([]byte) int { return 0 })
		},
		answerLost: func(context.Context) (bool, error) {
			return at(proxy.CommitAnswer, func([]byte) int { return 0 })
		},
		messageCut: func(context.Context) (bool, error) {
			n := random.IntN(1 << 30)
			return at(some(), func(message []byte) int { return n % len(message) })
		},
		stalled: func(context.Context) (bool, error) {
			d, lost := between(random, 50*time.Millisecond, 4*time.Second), random.IntN(2) == 0
			return at(some(), func(message []byte) int {
				time.Sleep(d)
				if lost {
					return 0
				}
				return len(message)
			})
		},
	}}
}
