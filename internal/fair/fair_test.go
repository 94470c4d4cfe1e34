package fair_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/onceql/onceql/internal/fair"
)

// A fixture is a gate in a bubble of synctest, and who went to it.
type fixture struct {
	t    testing.TB
	gate *fair.Gate

	mu sync.Mutex
	// in has, in the order in which they came in, those who did and did not leave.
	in      []*visit
	refused []string
}

// A visit is one call of Enter.
type visit struct {
	tenant string
	n      int64
	// cancel ends its context, and leave gives back what it has.
	cancel, leave func()
	err           error
}

// simulate runs the test with a gate of slots that leaves plenty of places to wait, unless
// the configuration says otherwise.
func simulate(t *testing.T, config fair.Config, run func(*fixture)) {
	t.Helper()
	if config.Waiting == 0 {
		config.Waiting, config.OfOne = 1000, 1000
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fixture{t: t, gate: fair.New(config)}
		run(f)
		for len(f.in) > 0 {
			f.leave(f.in[0])
		}
		f.wantEmpty()
	})
}

// wantEmpty checks that nothing is left of those who went to the gate.
func (f *fixture) wantEmpty() {
	f.t.Helper()
	if stats, tenants := f.gate.Stats(), f.gate.Tenants(); stats != (fair.Stats{}) || tenants > 0 {
		f.t.Errorf("all have left: %+v, and %d tenants are known", stats, tenants)
	}
}

// enter sends one of the tenant to the gate, and waits until it is in or has to wait.
func (f *fixture) enter(tenant string, n int64) *visit {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // The bubble's own: that of the test is older.
	v := &visit{tenant: tenant, n: n, cancel: cancel}
	go func() {
		leave, err := f.gate.Enter(ctx, tenant, n)
		f.mu.Lock()
		defer f.mu.Unlock()
		v.leave, v.err = leave, err
		switch {
		case v.err == nil:
			f.in = append(f.in, v)
		case errors.Is(v.err, fair.ErrFull):
			f.refused = append(f.refused, tenant)
		}
	}()
	synctest.Wait()
	return v
}

func (f *fixture) many(tenant string, count int) (visits []*visit) {
	for range count {
		visits = append(visits, f.enter(tenant, 1))
	}
	return visits
}

// leave has the visit give back what it has.
func (f *fixture) leave(v *visit) {
	f.t.Helper()
	i := slices.Index(f.in, v)
	if i < 0 {
		f.t.Fatalf("one of %s is not in", v.tenant)
	}
	f.in = slices.Delete(f.in, i, i+1)
	v.leave()
	synctest.Wait()
}

// giveUp ends the visit's context.
func (f *fixture) giveUp(v *visit) {
	v.cancel()
	synctest.Wait()
}

// wantIn checks how much each tenant has.
func (f *fixture) wantIn(want map[string]int64) {
	f.t.Helper()
	got := map[string]int64{}
	for _, v := range f.in {
		got[v.tenant] += v.n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Errorf("who is in (-want +got):\n%s", diff)
	}
}

func TestGate_LeavesSomethingForNewcomers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ slots, share, want int64 }{
		{8, 3, 6}, {8, 7, 7}, {8, 1, 4}, {4, 3, 3}, {3, 3, 2}, {2, 3, 1}, {1, 3, 1},
	} {
		t.Run(fmt.Sprint(test.slots, " ", test.share), func(t *testing.T) {
			t.Parallel()
			simulate(t, fair.Config{Slots: test.slots, Share: test.share}, func(f *fixture) {
				f.many("a", 20)
				f.wantIn(map[string]int64{"a": test.want})
				if test.want < test.slots {
					f.enter("b", 1)
					f.wantIn(map[string]int64{"a": test.want, "b": 1})
				}
			})
		})
	}
}

func TestGate_SharesEquallyWhileOthersWait(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 8, Share: 3}, func(f *fixture) {
		hogs := f.many("a", 20)
		f.many("b", 20)
		f.many("c", 20)
		f.wantIn(map[string]int64{"a": 6, "b": 1, "c": 1})
		for _, hog := range hogs[:4] {
			f.leave(hog)
		}
		// One is kept for who has nothing.
		f.wantIn(map[string]int64{"a": 3, "b": 2, "c": 2})
		f.enter("d", 1)
		f.wantIn(map[string]int64{"a": 3, "b": 2, "c": 2, "d": 1})
	})
}

// However long the others wait.
func TestGate_ServesFirstWhoHasTheLeast(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 8, Share: 3}, func(f *fixture) {
		hogs := f.many("a", 7)
		f.many("b", 2)
		f.enter("c", 1)
		f.wantIn(map[string]int64{"a": 6, "b": 1, "c": 1})
		f.leave(hogs[0])
		f.leave(hogs[1])
		f.wantIn(map[string]int64{"a": 4, "b": 2, "c": 1})
	})
}

func TestGate_ServesNewcomersFirst_InTheirOrder(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 2, Share: 1}, func(f *fixture) {
		first := f.enter("a", 1)
		f.enter("a", 1)
		second := f.enter("b", 1)
		f.enter("c", 1)
		f.enter("d", 1)
		f.enter("c", 1)
		f.leave(first) // The second of a has waited for longest, and a has nothing now.
		f.wantIn(map[string]int64{"a": 1, "b": 1})
		f.leave(second)
		f.wantIn(map[string]int64{"a": 1, "c": 1})
		f.leave(f.in[1])
		f.wantIn(map[string]int64{"a": 1, "d": 1})
		f.leave(f.in[0])
		f.wantIn(map[string]int64{"c": 1, "d": 1})
	})
}

// One that asks for much is not passed over by those who ask for little.
func TestGate_PassesOverNobody(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 8, Share: 1}, func(f *fixture) {
		f.enter("a", 4)
		f.enter("b", 2)
		large := f.enter("c", 3)
		f.enter("d", 1)
		f.wantIn(map[string]int64{"a": 4, "b": 2})
		f.giveUp(large)
		f.wantIn(map[string]int64{"a": 4, "b": 2, "d": 1})
		f.enter("e", 100) // That counts as all of them.
		for range 3 {
			f.leave(f.in[0])
		}
		f.wantIn(map[string]int64{"e": 100})
	})
}

func TestGate_BoundsThoseWhoWait(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 1, Share: 1, Waiting: 6, OfOne: 4}, func(f *fixture) {
		hogs := f.many("a", 6)
		wantRefused := func(want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, f.refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
		}
		wantRefused("a")
		f.many("b", 2)
		wantRefused("a")
		f.enter("c", 1) // It takes the last place of a.
		wantRefused("a", "a")
		f.enter("c", 1)
		wantRefused("a", "a", "a")
		for _, last := range hogs[3:] {
			if !errors.Is(last.err, fair.ErrFull) {
				t.Errorf("one of the last of a is told %v", last.err)
			}
		}
		f.enter("c", 1) // None has more than it would have.
		wantRefused("a", "a", "a", "c")
		if stats := f.gate.Stats(); stats != (fair.Stats{Taken: 1, Waiting: 6}) {
			t.Errorf("%+v, want 1 taken and 6 waiting", stats)
		}
	})
}

// Or each would take the other's place in turn.
func TestGate_MakesNoPlaceForWhoWouldHaveAsMany(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 1, Share: 1, Waiting: 5, OfOne: 5}, func(f *fixture) {
		f.many("a", 4)
		f.many("b", 3)
		if diff := cmp.Diff([]string{"b"}, f.refused); diff != "" {
			t.Errorf("refused (-want +got):\n%s", diff)
		}
	})
}

// Who gives up at the moment at which it is let in has either its slot or an error.
func TestGate_LosesNoSlotToWhoGivesUpAsItIsLetIn(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 1, Share: 1}, func(f *fixture) {
		for range 50 {
			first, second := f.enter("a", 1), f.enter("b", 1)
			f.in = nil
			second.cancel()
			first.leave()
			synctest.Wait()
			if second.err == nil {
				f.leave(second)
			}
			f.wantEmpty()
		}
	})
}

func TestGate_GivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	simulate(t, fair.Config{Slots: 1, Share: 1}, func(f *fixture) {
		first := f.enter("a", 1)
		left := f.enter("b", 1)
		f.enter("b", 1)
		f.giveUp(left)
		if !errors.Is(left.err, context.Canceled) {
			t.Errorf("who gave up is told %v", left.err)
		}
		f.leave(first)
		f.wantIn(map[string]int64{"b": 1})
		ended, cancel := context.WithDeadline(context.Background(), time.Now())
		defer cancel()
		if _, err := f.gate.Enter(ended, "c", 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
	})
}

// Whatever comes, waits, leaves and gives up: no more is in than there are slots, a tenant
// that has something gets nothing beyond its share, nobody waits without need, who comes
// first was not given more than who waits, and once nobody comes any more all are served.
func TestGate_LosesNoSlotAndStarvesNobody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		config := fair.Config{
			Slots: rapid.Int64Range(1, 9).Draw(rt, "slots"), Share: rapid.Int64Range(1, 8).Draw(rt, "share"),
			Waiting: rapid.IntRange(1, 30).Draw(rt, "waiting"), OfOne: rapid.IntRange(1, 10).Draw(rt, "of one"),
		}
		steps := rapid.SliceOfN(rapid.Uint32(), 1, 150).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			p := &property{fixture: &fixture{t: t, gate: fair.New(config)}, config: config}
			for _, step := range steps {
				p.step(step)
			}
			for len(p.in) > 0 {
				p.leave(p.in[0])
				p.check()
			}
			for _, v := range p.visits {
				if v.leave == nil && v.err == nil {
					t.Errorf("one of %s waits for ever", v.tenant)
				}
			}
			p.wantEmpty()
		})
	})
}

type property struct {
	*fixture
	config fair.Config
	visits []*visit
}

func (p *property) step(random uint32) {
	p.t.Helper()
	kind, which := random%4, int(random/4)
	before := p.gate.Stats().Waiting
	switch {
	case kind < 2:
		v := p.enter(string(rune('a'+which%4)), min(int64(1+which/4%3), p.config.Slots))
		p.visits = append(p.visits, v)
		if v.err != nil && before < min(p.config.Waiting, p.config.OfOne) {
			p.t.Errorf("refused while %d wait", before)
		}
	case kind == 2 && len(p.in) > 0:
		p.leave(p.in[which%len(p.in)])
	case kind == 3 && len(p.visits) > 0:
		p.giveUp(p.visits[which%len(p.visits)])
	}
	p.check()
}

func (p *property) check() {
	p.t.Helper()
	has, free := map[string]int64{}, p.config.Slots
	for _, v := range p.in {
		has[v.tenant] += v.n
		free -= v.n
	}
	if got := p.gate.Stats().Taken; free < 0 || got != p.config.Slots-free {
		p.t.Fatalf("%d of %d slots are taken, and the gate says %d", p.config.Slots-free, p.config.Slots, got)
	}
	for tenant, n := range has {
		one := slices.IndexFunc(p.in, func(v *visit) bool { return v.tenant == tenant && v.n == n }) >= 0
		if !one && n > p.config.Share*(p.config.Slots-n) {
			p.t.Errorf("%s has %d of %d slots, more than its share", tenant, n, p.config.Slots)
		}
	}
	// The first of those who wait may not come in: it has the least.
	var first *visit
	for _, v := range p.visits {
		if v.leave == nil && v.err == nil && (first == nil || has[v.tenant] < has[first.tenant]) {
			first = v
		}
	}
	if first != nil && has[first.tenant] == 0 && p.config.Slots-3 >= p.config.Slots-free {
		p.t.Errorf("one of %s waits, has nothing, and %d are free", first.tenant, free)
	}
}
