package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/onceql/onceql/internal/identity"
	"github.com/onceql/onceql/internal/telemetry"
)

// A log collects lines; slog's handlers write one at a time.
type log struct{ bytes.Buffer }

func (l *log) lines(t testing.TB, n int) []string {
	t.Helper()
	lines := slices.Collect(strings.Lines(l.String()))
	if len(lines) != n {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), n, l)
	}
	return lines
}

func newTelemetry() (*telemetry.Telemetry, *log) {
	l := new(log)
	return telemetry.New("v1.2.3", slog.New(slog.NewTextHandler(l, nil)), "createProject", "updateProject"), l
}

func of(ctx context.Context, tenant string) context.Context {
	return identity.With(ctx, identity.Identity{Tenant: tenant})
}

// counted is how often a request was refused for the reason.
func counted(t testing.TB, tel *telemetry.Telemetry, reason telemetry.Reason) float64 {
	t.Helper()
	return value(t, tel, "onceql_refused_total", string(reason))
}

// value is that of the metric whose one label, if it has any, has the value.
func value(t testing.TB, tel *telemetry.Telemetry, name, label string) float64 {
	t.Helper()
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && (len(metric.GetLabel()) == 0 || metric.GetLabel()[0].GetValue() == label) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s of %q", name, label)
	return 0
}

func TestRefusals_AreAllCountedAndTheFirstOfAMinuteIsLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel, log := newTelemetry()
		refuse := func(tenant string, reason telemetry.Reason, want bool) {
			t.Helper()
			if first := tel.Refusals.Refuse(of(t.Context(), tenant), reason, "createProject"); first != want {
				t.Errorf("%s of %s is the first: %v", reason, tenant, first)
			}
		}
		refuse("acme", telemetry.Scope, true)
		refuse("acme", telemetry.Scope, false)
		refuse("acme", telemetry.Unavailable, true)
		refuse("globex", telemetry.Scope, true)
		time.Sleep(time.Minute - time.Millisecond)
		refuse("acme", telemetry.Scope, false)
		time.Sleep(time.Millisecond)
		refuse("acme", telemetry.Scope, true)
		refuse("acme", telemetry.Scope, false)

		lines := log.lines(t, 4)
		if want := `level=INFO msg="a request is refused" reason=scope operation=createProject tenant=acme requestId=""`; !strings.Contains(lines[0], want) {
			t.Errorf("want %s in: %s", want, lines[0])
		}
		if n := counted(t, tel, telemetry.Scope); n != 6 {
			t.Errorf("%v were counted, want 6", n)
		}
		if n := counted(t, tel, telemetry.Unavailable); n != 1 {
			t.Errorf("%v were counted, want 1", n)
		}
	})
}

func TestRefusals_HaveNoReasonsButTheKnown(t *testing.T) {
	t.Parallel()
	tel, log := newTelemetry()
	for _, reason := range []telemetry.Reason{"", "a\nlevel=ERROR", telemetry.Limit("\"} 1\n"), telemetry.Limit(""), telemetry.Token(errors.New("a\nb"))} {
		tel.Refusals.Refuse(t.Context(), reason, "")
	}
	if other, limit := counted(t, tel, "other"), counted(t, tel, "limit_other"); other != 3 || limit != 2 {
		t.Errorf("%v are others and %v are of another limit, want 3 and 2", other, limit)
	}
	for _, line := range log.lines(t, 2) {
		if !strings.Contains(line, "operation=unread") {
			t.Errorf("a document is taken to be read: %s", line)
		}
	}
	families, err := tel.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if n := len(family.GetMetric()); family.GetName() == "onceql_refused_total" && n != len(telemetry.Reasons()) {
			t.Errorf("there are %d series, want one for each of %d reasons", n, len(telemetry.Reasons()))
		}
	}
}

// A tenant's name comes from a token and may be long.
func TestRefusals_CutLongTenants(t *testing.T) {
	t.Parallel()
	tel, log := newTelemetry()
	tel.Refusals.Refuse(of(t.Context(), "a"+strings.Repeat("é", 200)), telemetry.Scope, "query")
	tel.Refusals.Refuse(of(t.Context(), strings.Repeat("a", 64)), telemetry.Scope, "query")
	lines := log.lines(t, 2)
	_, tenant, _ := strings.Cut(lines[0], "tenant=")
	tenant, _, _ = strings.Cut(tenant, " ")
	if !utf8.ValidString(tenant) || tenant != "a"+strings.Repeat("é", 31)+"…" {
		t.Errorf("the tenant is logged as %s", tenant)
	}
	if !strings.Contains(lines[1], "tenant="+strings.Repeat("a", 64)+" ") {
		t.Errorf("a tenant that is short enough is cut: %s", lines[1])
	}
}

// Neither memory nor the log grows with the tenants.
func TestRefusals_OfAFloodOfTenantsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel, log := newTelemetry()
		const tenants = 10_000
		flood := func() {
			var flooding sync.WaitGroup
			for part := range 4 {
				flooding.Go(func() {
					for n := range tenants / 4 {
						tel.Refusals.Refuse(of(t.Context(), fmt.Sprint("tenant ", part, " ", n)), telemetry.Scope, "query")
					}
				})
			}
			flooding.Wait()
		}
		flood()
		log.lines(t, 1001)
		if !strings.Contains(log.String(), `level=WARN msg="the refusals of more tenants are only counted"`) {
			t.Error("the log does not say that it has not all")
		}
		for minute := range 5 {
			time.Sleep(time.Minute)
			flood()
			log.lines(t, 1001*(minute+2))
		}
		if n := counted(t, tel, telemetry.Scope); n != 6*tenants {
			t.Errorf("%v were counted, want %d", n, 6*tenants)
		}
		if n := telemetry.Remembered(tel.Refusals); n != 1000 {
			t.Errorf("%d pairs are remembered, want 1000", n)
		}
	})
}

func TestQueue_SaysOnceThatItIsFullAndOnceThatItHasRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel, log := newTelemetry()
		want := func(full bool) {
			t.Helper()
			synctest.Wait()
			gauge := 0.0
			if full {
				gauge = 1
			}
			if got := value(t, tel, "onceql_queue_full", ""); tel.Refusals.QueueFull() != full || got != gauge {
				t.Errorf("the queue is full: %v, and its gauge %v", !full, got)
			}
		}
		want(false)
		for round := range 2 {
			for range 20 {
				tel.Refusals.Refuse(t.Context(), telemetry.QueueFull, "")
				want(true)
				time.Sleep(time.Second)
			}
			time.Sleep(4*time.Second - time.Millisecond)
			want(true)
			time.Sleep(2 * time.Millisecond)
			want(false)
			time.Sleep(time.Minute)
			// One line of a refusal in each round.
			lines := log.lines(t, 3*(round+1))[3*round:]
			if !strings.Contains(lines[0], `level=WARN msg="the queue is full"`) ||
				!strings.Contains(lines[2], `level=INFO msg="the queue has room again" refused=20 full=19s`) {
				t.Errorf("logged: %s", lines)
			}
		}
	})
}

// A flood of one tenant, and one of many.
func BenchmarkRefuse(b *testing.B) {
	for _, tenants := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("tenants=%d", tenants), func(b *testing.B) {
			refusals := telemetry.New("", slog.New(slog.DiscardHandler)).Refusals
			contexts := make([]context.Context, tenants)
			for n := range contexts {
				contexts[n] = of(b.Context(), fmt.Sprint("tenant ", n))
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for n := 0; pb.Next(); n++ {
					refusals.Refuse(contexts[n%tenants], telemetry.TenantRate, "")
				}
			})
			runtime.KeepAlive(refusals)
		})
	}
}
