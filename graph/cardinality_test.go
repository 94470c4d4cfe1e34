package graph_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/onceql/onceql/graph"
	"github.com/onceql/onceql/idempotency"
	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/internal/telemetry"
)

// Whoever calls, and whatever is asked: the metrics have no series more.
func TestMetrics_DoNotGrowWithTenantsAndDocuments(t *testing.T) {
	t.Parallel()
	metrics := telemetry.New("test", slog.New(slog.DiscardHandler), graph.Operations()...)
	pool := pgtest.Pool(t)
	a := makeAPIOn(t, pool, idempotency.Config{Observer: metrics.Observe}, graph.Config{
		Ended: metrics.CallEnded, Refused: metrics.Refusals.Refuse, Tenant: tenantOf,
	}, func(*graph.Resolver) {})
	a.Handler = metrics.CountRequests(a.Handler)
	before, random := series(t, metrics), rand.New(rand.NewPCG(1, 2))
	codes := map[string]int{}
	for n := range 10_000 {
		ctx := as(t.Context(), fmt.Sprint("tenant ", n))
		word := fmt.Sprintf("w%x", random.Uint64())
		var document string
		switch n % 8 {
		case 0:
			document = fmt.Sprintf(`mutation %s { %[1]s: createProject(input: {name: "x"}, idempotencyKey: "") { project { id } } }`, word)
		case 1:
			document = fmt.Sprintf(`mutation { createProject(input: {name: "x"}, idempotencyKey: %q) { project { id } } }`, word+" ")
		case 2:
			document = fmt.Sprintf(`query %s { %[1]s }`, word)
		case 3:
			document = fmt.Sprintf(`mutation { %s(idempotencyKey: %[1]q) { id } }`, word)
		case 4:
			document = fmt.Sprintf(`{ %s: __typename @%[1]s }`, word)
		case 5:
			document = word + ` {{`
		case 6:
			document = fmt.Sprintf(`mutation { updateProject(input: {id: %q, name: "x"}, idempotencyKey: %[1]q) { project { id } } }`, word)
		default:
			document = fmt.Sprintf(`{ idempotentCall(key: "") { key } project(id: %q) { id } }`, word)
		}
		for _, err := range a.post(ctx, t, document, nil).Errors {
			code, _ := err.Extensions["code"].(string)
			codes[code]++
		}
	}
	if len(codes) < 5 {
		t.Errorf("the errors are of the codes %v: not much was tried", codes)
	}
	if after := series(t, metrics); after != before {
		t.Errorf("%d series, and %d before", after, before)
	}
}

func series(t *testing.T, metrics *telemetry.Telemetry) (n int) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		n += len(family.GetMetric())
	}
	return n
}
