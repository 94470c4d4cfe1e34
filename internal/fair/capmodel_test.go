package fair_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/onceql/onceql/internal/fair"
)

// Whoever comes, leaves, leaves again, gives up or is slow: beside another tenant no more
// are let in than may be at work, who is alone always is, nobody waits while there is room,
// those of a tenant come in in their order, and in the end nobody waits or is at work.
func TestCap_LosesNoSlotAndGivesNoneTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		config := fair.CapConfig{
			AtOnce:  rapid.IntRange(1, 5).Draw(rt, "at once"),
			Waiting: rapid.IntRange(1, 30).Draw(rt, "waiting"), OfOne: rapid.IntRange(1, 10).Draw(rt, "of one"),
		}
		steps := rapid.SliceOfN(rapid.Uint32(), 1, 150).Draw(rt, "steps")
		simulateCap(t, config, func(f *capFixture) {
			m := &capModel{capFixture: f, config: config, active: map[string]time.Time{}, work: map[*visit]time.Time{}, known: map[*visit]bool{}}
			for _, step := range steps {
				m.step(step)
				m.check()
			}
		})
	})
}

// A capModel knows who is active, who is at work, and who was let in ever.
type capModel struct {
	*capFixture
	config fair.CapConfig
	active map[string]time.Time
	work   map[*visit]time.Time
	known  map[*visit]bool
}

func (m *capModel) step(random uint32) {
	kind, which := random%8, int(random/8)
	var in, waiting []*visit
	for _, v := range m.visits {
		switch {
		case v.leave != nil:
			in = append(in, v)
		case v.err == nil:
			waiting = append(waiting, v)
		}
	}
	switch {
	case kind < 4:
		m.enterOne(string(rune('a' + which%3)))
	case kind == 4 && len(in) > 0:
		m.leaveOne(in[which%len(in)]) // It may have left before, or was too slow.
	case kind == 5 && len(waiting) > 0:
		waiting[which%len(waiting)].cancel()
		m.settle()
	case kind == 6:
		m.passed(time.Duration(which%50) * time.Millisecond)
	case kind == 7:
		m.passed(time.Duration(which%12) * whileAtWork)
	}
}

func (m *capModel) enterOne(tenant string) {
	m.t.Helper()
	alone := m.alone(tenant)
	v := m.enter(tenant, 1)[0]
	if alone && v.leave == nil {
		m.t.Errorf("%s is alone and was not let in", tenant)
	}
	m.letIn()
}

func (m *capModel) leaveOne(v *visit) {
	delete(m.work, v)
	m.leave(v)
	m.letIn()
}

// passed lets time pass in steps that take no more than one slot each.
func (m *capModel) passed(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		m.pass(time.Millisecond)
		for v, since := range m.work {
			if time.Since(since) >= whileAtWork {
				delete(m.work, v)
			}
		}
		m.letIn()
	}
}

// letIn notes who was let in since.
func (m *capModel) letIn() {
	m.t.Helper()
	waits := map[string]bool{}
	for _, v := range m.visits {
		switch {
		case m.known[v]:
		case v.leave != nil:
			m.known[v] = true
			m.work[v], m.active[v.tenant] = time.Now(), time.Now()
			if waits[v.tenant] {
				m.t.Errorf("one of %s was passed over", v.tenant)
			}
			if n := m.atWork(v.tenant); n > m.config.AtOnce && !m.alone(v.tenant) {
				m.t.Errorf("%d of %s are at work beside another tenant, want %d", n, v.tenant, m.config.AtOnce)
			}
		case v.err == nil:
			waits[v.tenant] = true
		}
	}
}

func (m *capModel) alone(tenant string) bool {
	for other, at := range m.active {
		if other != tenant && time.Since(at) < whileActive {
			return false
		}
	}
	return true
}

func (m *capModel) atWork(tenant string) (n int) {
	for v := range m.work {
		if v.tenant == tenant {
			n++
		}
	}
	return n
}

func (m *capModel) check() {
	m.t.Helper()
	want := fair.Stats{Taken: int64(len(m.work))}
	for _, v := range m.visits {
		if v.leave == nil && v.err == nil {
			want.Waiting++
			if n := m.atWork(v.tenant); n < m.config.AtOnce {
				m.t.Errorf("one of %s waits while %d are at work", v.tenant, n)
			}
		}
	}
	m.wantStats(want)
	if want.Waiting > m.config.Waiting || slices.ContainsFunc(m.visits, func(v *visit) bool { return v.err != nil && v.leave != nil }) {
		m.t.Errorf("%+v wait of %d, or one is both in and refused", want, m.config.Waiting)
	}
}
