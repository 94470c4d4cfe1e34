package world_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/onceql/onceql/idempotency/internal/sim"
)

// A plan says everything that a world does: the same plan gives the same history. It is
// drawn from a seed, and what a violation needs of it is found by leaving parts out.
type plan struct {
	seed    uint64
	family  family
	servers []serverPlan
	intents []intentPlan
	faults  []sim.Fault
	// synchronous says that commits wait for the standby.
	synchronous bool
}

// A family says what goes wrong in a world.
type family int

const (
	// calm: nothing does, but for calls that are bad in themselves.
	calm family = iota
	// commits: COMMITs and their answers are lost, cut, delayed and refused.
	commits
	// crashes: servers and the database end in the middle of things.
	crashes
	// lies: the locks say yes to everyone.
	lies
	// failovers: a standby takes over.
	failovers
	// ages: keys expire, are purged and forgotten, and the clock runs.
	ages
	// mixed: all of it.
	mixed
	families
)

var familyNames = [...]string{"calm", "commits", "crashes", "lies", "failovers", "ages", "mixed"}

func (f family) String() string { return familyNames[f] }

// A serverPlan is a server: a pool and an engine.
type serverPlan struct {
	// deploys are when it is stopped and another build starts in its place, which writes
	// fingerprints of the other version; kills are when it dies.
	deploys, kills []time.Duration
	version        int16
	// misled says that its connections lead to the standby for a while.
	misled bool
}

// An intentPlan is what a client wants: one thing, once, however often it has to ask.
type intentPlan struct {
	client     int
	at         time.Duration
	scope, key string
	payload    int
	kind       kind
	single     bool
	// server is whom the client asks first. patience is how long it waits for an answer
	// before it asks again, while the first request goes on.
	server   int
	patience time.Duration
	// forget makes the client forget the key in the end.
	forget bool
}

func (i intentPlan) id() string { return i.scope + "/" + i.key }

func (i intentPlan) String() string {
	how := "batched"
	if i.single {
		how = "single"
	}
	return fmt.Sprintf("%v client %d wants %s %s payload %d of server %d, %s, patience %v, forget %t",
		i.at, i.client, i.kind, i.id(), i.payload, i.server, how, i.patience, i.forget)
}

// A kind is what the effect does for an intent.
type kind int

const (
	// good: it inserts its row.
	good kind = iota
	// fail: it is refused before the first statement.
	fail
	// failLate: it is refused after its row was inserted.
	failLate
	// immediate: its statement violates a constraint.
	immediate
	// deferred: it violates one that is checked at the end.
	deferred
	// rowLock: it holds a row that others want.
	rowLock
	// slow: it takes longer than a batch may.
	slow
	// panics: it panics.
	panics
	kinds
)

var kindNames = [...]string{"good", "fail", "fail late", "immediate", "deferred", "row lock", "slow", "panics"}

func (k kind) String() string { return kindNames[k] }

// succeeds says whether the effect can: all others are refused for what they are.
func (k kind) succeeds() bool { return k == good || k == rowLock || k == slow }

// instants draws moments of which no two of a plan are equal: what falls on one has no
// order.
type instants struct {
	random *rand.Rand
	used   map[time.Duration]bool
}

// within draws a duration up to most, a whole number of microseconds.
func (d *instants) within(most time.Duration) time.Duration {
	for {
		at := time.Duration(d.random.Int64N(int64(most/time.Microsecond))+1) * time.Microsecond
		if !d.used[at] {
			d.used[at] = true
			return at
		}
	}
}

// enough is more patience than any call needs.
const enough = 10 * time.Second

// trouble is how long intents begin and things go wrong. Afterwards all is well.
const trouble = 4 * time.Second

// draw draws the seed's plan.
func draw(seed uint64) plan {
	random := rand.New(rand.NewPCG(seed, 1))
	at := &instants{random, map[time.Duration]bool{}}
	p := plan{seed: seed, family: family(seed % uint64(families))}
	for range 1 + min(1, random.IntN(3)) {
		s := serverPlan{version: int16(1 + random.IntN(2))}
		if p.family == crashes || p.family == mixed {
			for range random.IntN(2) {
				s.kills = append(s.kills, at.within(trouble))
			}
		}
		if random.IntN(4) == 0 {
			s.deploys = append(s.deploys, at.within(trouble))
		}
		s.misled = p.family == failovers && random.IntN(4) == 0
		p.servers = append(p.servers, s)
	}
	p.intents = drawIntents(random, at, p)
	p.synchronous = p.family == failovers || p.family != calm && random.IntN(4) == 0
	p.faults = drawFaults(random, at, p)
	return p
}

// drawIntents draws what clients want: few keys, so that they meet, and some payloads
// under a key that is another's.
func drawIntents(random *rand.Rand, at *instants, p plan) []intentPlan {
	scopes, keys := 1+random.IntN(3), 1+random.IntN(4)
	burst, spread := at.within(trouble/2), at.within(20*time.Millisecond)
	var intents []intentPlan
	for client := range 4 + random.IntN(7) {
		for range 1 + random.IntN(2) {
			i := intentPlan{
				client: client,
				at:     at.within(trouble),
				scope:  fmt.Sprint("tenant", random.IntN(scopes)),
				key:    fmt.Sprint("key", random.IntN(keys)),
				single: random.IntN(3) == 0,
				server: random.IntN(len(p.servers)),
			}
			if random.IntN(2) == 0 { // Many at once.
				i.at = burst + at.within(spread+time.Millisecond)
			}
			if random.IntN(8) == 0 {
				i.payload = 1
			}
			if random.IntN(3) == 0 {
				i.kind = kind(1 + random.IntN(int(kinds)-1))
				// What is refused has a key of its own: it is never another's outcome.
				i.key = fmt.Sprint(i.key, " ", i.kind)
			}
			i.patience = enough
			if random.IntN(4) == 0 {
				i.patience = at.within(200 * time.Millisecond)
			}
			i.forget = p.family == ages && random.IntN(6) == 0
			intents = append(intents, i)
		}
	}
	slices.SortFunc(intents, func(a, b intentPlan) int { return int(a.at - b.at) })
	return intents
}

// deploys says whether a server is stopped while calls run.
func (p plan) deploys() bool {
	return slices.ContainsFunc(p.servers, func(s serverPlan) bool { return len(s.deploys)+len(s.kills) > 0 })
}

// String is the plan as a failure prints it.
func (p plan) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "seed %d, %v\n", p.seed, p.family)
	for n, s := range p.servers {
		fmt.Fprintf(&text, "server %d writes version %d, misled %t, deploys %v, kills %v\n", n, s.version, s.misled, s.deploys, s.kills)
	}
	for _, i := range p.intents {
		fmt.Fprintln(&text, i)
	}
	for _, f := range p.faults {
		fmt.Fprintln(&text, f)
	}
	return text.String()
}
