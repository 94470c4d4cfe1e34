package fair_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/fair"
)

const (
	// whileActive is how long a tenant counts as active, and whileAtWork how long one who
	// was let in counts as at work.
	whileActive = time.Second
	whileAtWork = 100 * time.Millisecond
)

// A capFixture is a cap in a bubble of synctest, and who went to it.
type capFixture struct {
	t      testing.TB
	cap    *fair.Cap
	visits []*visit
	// entered has what Enter has returned, of those that were not heard of yet.
	entered map[*visit]chan entered
}

type entered struct {
	leave func()
	err   error
}

func simulateCap(t *testing.T, config fair.CapConfig, run func(*capFixture)) {
	t.Helper()
	if config.Waiting == 0 {
		config.Waiting, config.OfOne = 1000, 1000
	}
	synctest.Test(t, func(t *testing.T) {
		f := &capFixture{t: t, cap: fair.NewCap(config), entered: map[*visit]chan entered{}}
		run(f)
		f.end()
	})
}

// enter sends so many of the tenant to the cap, and waits until they are in or have to wait.
func (f *capFixture) enter(tenant string, count int) (visits []*visit) {
	for range count {
		ctx, cancel := context.WithCancel(context.Background()) // The bubble's own: that of the test is older.
		v := &visit{tenant: tenant, cancel: cancel}
		done := make(chan entered, 1)
		f.entered[v] = done
		go func() {
			leave, err := f.cap.Enter(ctx, tenant)
			done <- entered{leave, err}
		}()
		visits, f.visits = append(visits, v), append(f.visits, v)
		f.settle()
	}
	return visits
}

// settle waits until whoever can go on has done so.
func (f *capFixture) settle() {
	synctest.Wait()
	for v, done := range f.entered {
		select {
		case e := <-done:
			v.leave, v.err = e.leave, e.err
			delete(f.entered, v)
		default:
		}
	}
}

func (f *capFixture) leave(visits ...*visit) {
	for _, v := range visits {
		v.leave()
	}
	f.settle()
}

func (f *capFixture) pass(d time.Duration) {
	time.Sleep(d)
	f.settle()
}

// end lets time pass until nobody waits, and has all leave, some of them once more.
func (f *capFixture) end() {
	f.t.Helper()
	f.pass(whileAtWork * time.Duration(len(f.visits)+1))
	for _, v := range f.visits {
		if v.leave == nil && v.err == nil {
			f.t.Errorf("one of %s waits for ever", v.tenant)
		} else if v.leave != nil {
			f.leave(v)
		}
	}
	f.wantStats(fair.Stats{})
	if n := f.cap.Tenants(); n > 0 {
		f.t.Errorf("%d tenants are kept that have nobody in it", n)
	}
}

func (f *capFixture) wantStats(want fair.Stats) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.cap.Stats()); diff != "" {
		f.t.Errorf("the cap (-want +got):\n%s", diff)
	}
}

func wantIn(t testing.TB, what string, visits []*visit, want int) {
	t.Helper()
	for i, v := range visits {
		if in := v.leave != nil; in != (i < want) {
			t.Errorf("%s: the %d. of %d is in: %t, want the first %d to be", what, i+1, len(visits), in, want)
		}
	}
}

func TestCap_DoesNotBoundWhoIsAlone(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 2}, func(f *capFixture) {
		wantIn(t, "alone", f.enter("a", 500), 500)
		f.wantStats(fair.Stats{Taken: 500})
	})
}

func TestCap_BoundsEachWhileAnotherIsActive(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 3}, func(f *capFixture) {
		before := f.enter("a", 50)
		wantIn(t, "another", f.enter("b", 5), 3)
		after := f.enter("a", 10)
		wantIn(t, "beside it", after, 0)
		f.leave(before[:47]...)
		wantIn(t, "while 3 are at work", after, 0)
		f.leave(before[47:49]...)
		wantIn(t, "while 1 is at work", after, 2)
		wantIn(t, "a third", f.enter("c", 5), 3)
		f.leave(after[1], before[49])
		wantIn(t, "in their order", after, 4)
	})
}

func TestCap_OneIsAloneAgain_ASecondAfterTheOther(t *testing.T) {
	t.Parallel()
	for what, wake := range map[string]func(*capFixture, *visit){
		"at the next leave":   func(f *capFixture, first *visit) { f.leave(first) },
		"with the next one":   func(f *capFixture, _ *visit) { wantIn(t, "the next", f.enter("a", 1), 1) },
		"when time takes one": func(f *capFixture, _ *visit) { f.pass(whileAtWork) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			simulateCap(t, fair.CapConfig{AtOnce: 1}, func(f *capFixture) {
				f.enter("b", 1)
				f.pass(whileActive - whileAtWork/2)
				visits := f.enter("a", 20)
				wantIn(t, "while it is active", visits, 1)
				f.pass(whileAtWork / 2)
				wake(f, visits[0])
				wantIn(t, "alone", visits, 20)
			})
		})
	}
}

// A tenant whose requests wait is active, however long ago they came.
func TestCap_WhoWaitsIsActive(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 1}, func(f *capFixture) {
		f.enter("a", 1)
		f.enter("b", 40)
		for range 6 {
			f.pass(whileActive / 2)
			f.enter("a", 1)
		}
		f.pass(whileAtWork)
		wantIn(t, "beside who waits", f.enter("a", 5), 1)
	})
}

// Each of those who wait for something else gives its slot back, and only once.
func TestCap_DoesNotWaitForWhoDoesNotWork(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 2}, func(f *capFixture) {
		f.enter("b", 1)
		stuck := f.enter("a", 2)
		next := f.enter("a", 6)
		f.pass(whileAtWork - 1)
		wantIn(t, "while they are at work", next, 0)
		f.pass(1)
		wantIn(t, "after", next, 2)
		f.leave(stuck...)
		f.leave(stuck...)
		wantIn(t, "when they leave", next, 2)
		f.leave(next[:1]...)
		f.leave(next[:1]...)
		wantIn(t, "when another one leaves", next, 3)
	})
}

func TestCap_BoundsThoseWhoWait(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 1, Waiting: 6, OfOne: 4}, func(f *capFixture) {
		wantRefused := func(what string, visits []*visit, want ...int) {
			t.Helper()
			var got []int
			for i, v := range visits {
				if errors.Is(v.err, fair.ErrFull) {
					got = append(got, i)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: refused (-want +got):\n%s", what, diff)
			}
		}
		f.enter("b", 1)
		a := f.enter("a", 7)
		wantRefused("beyond its own", a, 5, 6)
		b := f.enter("b", 2)
		f.wantStats(fair.Stats{Taken: 2, Waiting: 6})
		c := f.enter("c", 2) // The second takes the last place of a.
		wantRefused("the fullest", a, 4, 5, 6)
		wantRefused("who would have as many as the fullest", f.enter("b", 1), 0)
		c = append(c, f.enter("c", 2)...)
		wantRefused("the fullest", a, 3, 4, 5, 6)
		wantRefused("who would be the fullest", c, 3)
		wantRefused("another", b)
	})
}

func TestCap_GivesUpWithTheContext(t *testing.T) {
	t.Parallel()
	simulateCap(t, fair.CapConfig{AtOnce: 1}, func(f *capFixture) {
		f.enter("b", 1)
		visits := f.enter("a", 3)
		visits[1].cancel()
		f.settle()
		if err := visits[1].err; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up is told %v", err)
		}
		f.leave(visits[0])
		wantIn(t, "the next", visits[2:], 1)
		ended, cancel := context.WithDeadline(context.Background(), time.Now())
		defer cancel()
		if _, err := f.cap.Enter(ended, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its deadline: %v", err)
		}
	})
}
