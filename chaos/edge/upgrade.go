package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/onceql/onceql/chaos/audit"
	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/fleet"
	"github.com/onceql/onceql/chaos/history"
	"github.com/onceql/onceql/chaos/load"
)

// An upgrade is a drill in which the servers go from the build before to this one, and back.
type upgrade struct {
	*drill
	// calling runs until the load ends.
	calling context.Context
	// steps are the restarts, as the report counts faults.
	steps []*fault
	// replays counts the keys that one build executed and the other one replayed with the
	// same answer, by who executed.
	replays map[string]int
	// failed are those that it did not.
	failed []audit.Violation
	n      int
}

// rolled is what the report calls a restart as another build.
const rolled = "rolled to another build"

// witnesses is how many keys each build executes for the other to replay, at each step.
const witnesses = 40

// upgrade follows docs/operations/upgrades.md under load, and then goes back.
func (d *drill) upgrade(ctx context.Context) (good bool, err error) {
	before := filepath.Join(d.work, previous)
	envOf := map[string][]string{
		// A build that grants its role no look at the schema's version has to be the owner at
		// its start.
		before: {"MIGRATION_DATABASE_URL=" + databaseURL(cluster.Owner)},
		// As long as the build before has no versions of projects.
		filepath.Join(d.work, current): {"ACCEPT_IF_VERSION=false"},
	}
	if err := d.prepare(ctx, previous, envOf); err != nil {
		return false, err
	}
	d.load.Forget = nil // The library of this build knows no older schema.
	running, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	u := &upgrade{drill: d, calling: running, replays: map[string]int{}}
	called := make(chan struct{})
	go func() {
		defer close(called)
		d.load.Run(running, "1", d.seed)
	}()
	if err := u.roll(); err != nil {
		return false, err
	}
	cancel()
	<-called
	r, err := d.check(ctx)
	if err != nil {
		return false, err
	}
	r.violations = append(r.violations, u.failed...)
	r.attribute(u.steps, d.calls, kinds[d.edge].buffered < large)
	fmt.Print(r.ofUpgrade(d.calls, u.replays))
	return len(r.violations) == 0 && len(r.unexplained) == 0 && u.replays[previous] > 0 && u.replays[current] > 0, nil
}

// roll upgrades the servers one after another, and takes them back.
func (u *upgrade) roll() error {
	a, b := u.fleet.Servers[0], u.fleet.Servers[1]
	if err := u.more(); err != nil {
		return err
	}
	old := u.execute(a, previous)
	// Expand: the servers of the build before go on, on the new schema.
	if err := u.migrate(current); err != nil {
		return err
	}
	if err := u.more(); err != nil {
		return err
	}
	old = append(old, u.execute(b, previous)...)
	if err := u.deploy(a, current); err != nil {
		return err
	}
	u.replay(a, previous, old)
	u.both(a, b)
	if err := u.deploy(b, current); err != nil {
		return err
	}
	u.replay(b, previous, old)
	recent := u.execute(a, current)
	// Back, on the schema that stays.
	if err := u.deploy(b, previous); err != nil {
		return err
	}
	u.replay(b, current, recent)
	u.both(a, b)
	if err := u.deploy(a, previous); err != nil {
		return err
	}
	u.replay(a, current, recent)
	return nil
}

// deploy has the server drain and start again as the program, and waits until calls have
// been made to it.
func (u *upgrade) deploy(s *fleet.Server, program string) error {
	step := &fault{kind: rolled, server: s.Name, from: time.Since(u.start)}
	s.Deploy(filepath.Join(u.work, program))
	if !s.Await(serverPatience) {
		return fmt.Errorf("the server %s does not serve as %s", s.Name, program)
	}
	step.until = time.Since(u.start)
	u.steps = append(u.steps, step)
	return u.more()
}

// more waits for so many calls more.
func (u *upgrade) more() error {
	for wanted := u.load.Client.Sent() + max(u.options.calls, 1); u.load.Client.Sent() < wanted; {
		if u.calling.Err() != nil {
			return fmt.Errorf("the upgrade is not done after %s", timeLimit)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// both has each of two servers, of this build and the one before, execute what the other
// one replays.
func (u *upgrade) both(this, before *fleet.Server) {
	u.replay(before, current, u.execute(this, current))
	u.replay(this, previous, u.execute(before, previous))
}

// execute has the server execute calls with new keys.
func (u *upgrade) execute(s *fleet.Server, program string) []load.Request {
	requests := make([]load.Request, witnesses)
	for i := range requests {
		u.n++
		r := load.Request{Key: fmt.Sprintf("%s-%s-%d", load.Ordinary, program, u.n), Variant: "create1", Operation: load.Create}
		if i%3 == 0 {
			r.Operation, r.Variant, r.Project = load.Update, "update1", u.load.Projects[i]
		}
		requests[i] = r
		u.want(s, r, history.Executed, "")
	}
	return requests
}

// replay has the server replay what servers of the program executed.
func (u *upgrade) replay(s *fleet.Server, program string, requests []load.Request) {
	for _, r := range requests {
		if u.want(s, r, history.Replayed, u.calls.Of(r.Key)[0].Payload) {
			u.replays[program]++
		}
	}
}

// want sends the request to the server and says whether the answer is the wanted one.
func (u *upgrade) want(s *fleet.Server, r load.Request, outcome history.Outcome, payload string) bool {
	direct := load.Target{Name: s.Name, URL: s.URL(), Other: func() bool { return false }}
	u.load.Client.Send(u.calling, load.Patient, []load.Target{direct}, 0, r)
	calls := u.calls.Of(r.Key)
	last := calls[len(calls)-1]
	if last.Outcome == outcome && (payload == "" || payload == last.Payload) {
		return true
	}
	u.failed = append(u.failed, audit.Violation{Key: r.Key, What: fmt.Sprintf("the server %s says %s, want %s", s.Name, last.Outcome, outcome)})
	return false
}
