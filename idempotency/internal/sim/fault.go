package sim

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
)

// The steps that have no statement. Every statement is a step of its name, before it runs:
// those of store.Texts, "begin", "rollback", "savepoint", "rollback to", "release", and
// those of Statements.
const (
	// StepDial is a client's attempt to connect.
	StepDial = "dial"
	// StepStartup is a connection that is to be let in.
	StepStartup = "startup"
	// StepRequest is a client's write, mostly all that it sends before it waits.
	StepRequest = "request"
	// StepReply is a node's write.
	StepReply = "reply"
	// The steps of a commit: it is asked for; then each says what is to come next.
	StepCommit   = "commit"
	StepFlush    = "flush"    // The commit becomes durable here.
	StepStandby  = "standby"  // It is durable here, and waits for the standby if it has to.
	StepVisible  = "visible"  // Others will see it.
	StepUnlock   = "unlock"   // It is visible, and its locks are still held.
	StepAnswered = "answered" // The locks are free, and the answer is still to be sent.
)

// An Action is what a fault does.
type Action string

// The actions on a connection: the one at the step, or all of the client.
const (
	// Delay makes the step last longer, by For.
	Delay Action = "delay"
	// Drop loses what the client has sent from the step on, and all that it sends later.
	Drop Action = "drop"
	// Silence loses what the node sends from the step on.
	Silence Action = "silence"
	// Cut ends the connection at once; or, at a step before something is sent, after N
	// bytes of that when N is not less than zero.
	Cut Action = "cut"
	// Fail answers with the SQLSTATE Code, at a step of a session's. Those of class 57P end
	// the connection.
	Fail Action = "fail"
	// Terminate ends the session, as pg_terminate_backend does.
	Terminate Action = "terminate"
	// Freeze holds back what the connection carries, for For.
	Freeze Action = "freeze"
)

// The actions on a node: Node, or else that of the step, or the primary.
const (
	// FreezeNode lets the node stand still, for For.
	FreezeNode Action = "freeze node"
	// Crash stops the node. It starts again after For.
	Crash Action = "crash"
	// Promote makes a standby the primary, with the commits that it has received. The old
	// one is stopped, and follows after For; until then no commit waits for a standby. The
	// default node is the standby. Where there is none, nothing happens.
	Promote Action = "promote"
	// PromoteUnfenced is Promote, but the old primary goes on as one until it follows.
	PromoteUnfenced Action = "promote unfenced"
	// Detach keeps the node from receiving commits, for For. The default node is the standby.
	Detach Action = "detach"
	// Lie gives advisory locks to everyone, for For.
	Lie Action = "lie"
	// Shift sets the node's clock ahead by For.
	Shift Action = "shift"
	// Asynchronous lets commits no longer wait for a standby, and Synchronous again.
	Asynchronous Action = "asynchronous"
	Synchronous  Action = "synchronous"
)

// A Fault is one thing that goes wrong, once.
type Fault struct {
	// Step is where: at the Count-th time, from 1, that the client's connections come
	// there, or those of all clients when Client is "". Without a step it is at the time At.
	Step   string
	Client string
	Count  int
	At     time.Duration

	Do   Action
	For  time.Duration
	N    int
	Code string
	Node string
}

// String is the fault in one line.
func (f Fault) String() string {
	var b strings.Builder
	if f.Step == "" {
		fmt.Fprintf(&b, "at %s", f.At)
	} else {
		fmt.Fprintf(&b, "at %s %d", f.Step, f.Count)
	}
	if f.Client != "" {
		fmt.Fprintf(&b, " of %s", f.Client)
	}
	fmt.Fprintf(&b, ": %s", f.Do)
	for _, part := range []struct {
		there bool
		text  string
	}{{f.Node != "", f.Node}, {f.Code != "", f.Code}, {f.Do == Cut, fmt.Sprint(f.N)}, {f.For != 0, f.For.String()}} {
		if part.there {
			b.WriteString(" " + part.text)
		}
	}
	return b.String()
}

// faults are those still to come, and how often each step was come to.
type faults struct {
	steps  map[string][]*Fault
	counts map[stepOf]int
}

type stepOf struct{ step, client string }

// Arm adds faults to those of the Config. Steps count from the cluster's beginning.
func (c *Cluster) Arm(faults []Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range faults {
		if f.Step != "" {
			c.faults.steps[f.Step] = append(c.faults.steps[f.Step], &f)
			continue
		}
		c.after(f.At-c.now(), func() {
			c.note("fault", f.String())
			if c.onNode(&f, nil) {
				return
			}
			for _, n := range c.nodes {
				for _, s := range n.sessions {
					if f.Client == "" || s.link.client == f.Client {
						// Each a moment later, so that they don't go on at one instant.
						c.after(s.link.draws.Below(c.config.Delay), func() { _ = s.link.suffer(&f) })
					}
				}
			}
		})
	}
}

// Count returns how often the client came to the step so far, or all did when it is "".
func (c *Cluster) Count(step, client string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults.counts[stepOf{step, client}]
}

// step counts that the link comes to the step, and does what is to go wrong there. It may
// let the mutex go for a while.
func (l *link) step(step string) error {
	if step != StepRequest && step != StepReply {
		l.c.note(l.name, step)
	}
	counts := l.c.faults.counts
	ours, all := stepOf{step, l.client}, stepOf{step, ""}
	counts[ours]++
	counts[all]++
	nth, nthOfAll := counts[ours], counts[all]
	for _, f := range l.c.faults.steps[step] {
		if f.Client == l.client && f.Count == nth || f.Client == "" && f.Count == nthOfAll {
			l.c.note(l.name, "fault", f.String())
			if l.c.onNode(f, l.node) {
				continue
			}
			if err := l.suffer(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// suffer does what a fault does to a connection.
func (l *link) suffer(f *Fault) error {
	switch f.Do {
	case Delay:
		if f.Step == StepRequest || f.Step == StepReply || f.Step == "" {
			l.late += f.For
			break
		}
		l.c.mu.Unlock()
		time.Sleep(l.c.Instant(f.For))
		l.c.mu.Lock()
	case Drop:
		l.up.silent = true
		if f.Step != StepRequest && f.Step != StepReply && f.Step != "" { // Nor does the node see the rest of what came.
			l.up.chunks = nil
			return errDropped
		}
	case Silence:
		l.down.silent = true
	case Cut:
		switch {
		case f.Step == StepDial:
			return syscall.ECONNREFUSED
		case f.N < 0 || f.Step == "":
			l.sever(io.EOF)
		default:
			l.cut = f.N
		}
	case Fail:
		return &pgError{code: f.Code, message: "the simulation says so"}
	case Terminate:
		if s := l.session; s != nil {
			s.terminated = true
			s.cond.Broadcast()
			l.up.cond.Broadcast()
		}
	case Freeze:
		now := l.c.now()
		l.up.frozen, l.down.frozen = now+l.c.instant(f.For), now+l.c.instant(f.For)
	default:
		panic("sim: unknown action " + f.Do)
	}
	return nil
}

// onNode does what a fault does to a node, and says whether it is such a fault.
func (c *Cluster) onNode(f *Fault, at *node) bool {
	n := c.node(f.Node)
	if n == nil {
		n = at
	}
	if n == nil {
		n = c.primary
	}
	if f.Node == "" && (f.Do == Promote || f.Do == PromoteUnfenced || f.Do == Detach) {
		for _, standby := range c.nodes {
			if standby.upstream != nil {
				n = standby
			}
		}
	}
	switch f.Do {
	case FreezeNode:
		n.frozen = true
		c.after(f.For, n.thaw)
	case Crash:
		n.crash(f.For)
	case Promote, PromoteUnfenced:
		n.promote(f.Do == PromoteUnfenced, f.For)
	case Detach:
		n.detached = true
		c.after(f.For, func() {
			n.detached = false
			n.receive()
		})
	case Lie:
		n.lying = true
		c.after(f.For, func() { n.lying = false })
	case Shift:
		n.shift += f.For
	case Asynchronous, Synchronous:
		n.synchronous = f.Do == Synchronous
		for _, s := range n.sessions {
			s.cond.Broadcast()
		}
	case Delay, Drop, Silence, Cut, Fail, Terminate, Freeze:
		return false
	}
	return true
}
