package telemetry

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// countedTenants is how many tenants' calls are counted at a time. Names have 255 bytes at
	// most, so both spans together take at most 10 MB.
	countedTenants = 10_000
	// countedSpan is for how long calls are counted until they are forgotten span by span.
	countedSpan = 15 * time.Minute
)

// TenantCalls counts the keyed calls of the tenants that call most, by outcome, over the last
// 15 to 30 minutes. No metric has a tenant's name for a label, so these counts stand apart.
// It is safe for use by many goroutines, and bounded however many tenants call.
type TenantCalls struct {
	now func() time.Time
	// reading is held by one answer at a time, which takes some memory.
	reading sync.Mutex

	mu sync.Mutex
	// before are the calls of the span before, and latest those since begun.
	before, latest     *sketch
	beganBefore, begun time.Time
	places             int
}

// NewTenantCalls returns one that has counted nothing.
func NewTenantCalls() *TenantCalls { return newTenantCalls(countedTenants, time.Now) }

func newTenantCalls(places int, now func() time.Time) *TenantCalls {
	begun := now()
	return &TenantCalls{now: now, before: newSketch(places), latest: newSketch(places), beganBefore: begun, begun: begun, places: places}
}

// Count counts a call that ended.
func (t *TenantCalls) Count(call Call) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.turn(now)
	t.latest.count(call.Tenant, call.Outcome)
}

// turn begins a new span when the latest is over.
func (t *TenantCalls) turn(now time.Time) {
	if now.Sub(t.begun) < countedSpan {
		return
	}
	t.before, t.beganBefore = t.latest, t.begun
	if now.Sub(t.begun) >= 2*countedSpan { // Nobody called for a span.
		t.before, t.beganBefore = newSketch(t.places), now.Add(-countedSpan)
	}
	t.latest, t.begun = newSketch(t.places), now
}

// CountedCalls are a server's keyed calls by tenant.
type CountedCalls struct {
	// Since is when it began to count them.
	Since time.Time `json:"since"`
	// Unlisted is how many calls a tenant may have made at most that is not among Tenants.
	Unlisted uint64 `json:"unlisted"`
	// Tenants are those with the most calls first.
	Tenants []CallsOfTenant `json:"tenants"`
}

// CallsOfTenant are the keyed calls of one tenant.
type CallsOfTenant struct {
	Tenant string `json:"tenant"`
	// Calls are those that were counted, and Missed is how many more there may have been,
	// while others called more than this tenant.
	Calls  uint64 `json:"calls"`
	Missed uint64 `json:"missed"`
	// Outcomes are the counted calls by the word of their outcome.
	Outcomes map[string]uint64 `json:"outcomes"`
}

// Read returns the calls of at most limit tenants.
func (t *TenantCalls) Read(limit int) CountedCalls {
	sums, read := t.sums()
	sorted := slices.SortedFunc(maps.Values(sums), func(a, b counted) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.tenant, b.tenant))
	})
	if len(sorted) > limit {
		read.Unlisted = max(read.Unlisted, sorted[limit].rank)
		sorted = sorted[:limit]
	}
	read.Tenants = make([]CallsOfTenant, 0, len(sorted))
	for _, c := range sorted {
		of := CallsOfTenant{Tenant: c.tenant, Calls: c.rank - c.missed, Missed: c.missed, Outcomes: map[string]uint64{}}
		for outcome, calls := range c.outcomes {
			if calls > 0 {
				of.Outcomes[outcomeNames[outcome]] = calls
			}
		}
		read.Tenants = append(read.Tenants, of)
	}
	return read
}

// sums returns the calls of both spans by tenant, and what is to be told of all of them.
func (t *TenantCalls) sums() (map[string]counted, CountedCalls) {
	now := t.now()
	t.mu.Lock() // Calls wait meanwhile.
	t.turn(now)
	read := CountedCalls{Since: t.beganBefore.UTC()}
	before, mostBefore := t.before.all(), t.before.most()
	latest, mostLatest := t.latest.all(), t.latest.most()
	t.mu.Unlock()

	read.Unlisted = mostBefore + mostLatest
	sums := make(map[string]counted, len(before))
	for _, c := range before {
		c.missed += mostLatest
		c.rank += mostLatest
		sums[c.tenant] = c
	}
	for _, c := range latest {
		sum, known := sums[c.tenant]
		if known {
			sum.missed -= mostLatest
			sum.rank -= mostLatest
		} else {
			sum = counted{tenant: c.tenant, missed: mostBefore, rank: mostBefore}
		}
		sum.missed += c.missed
		sum.rank += c.rank
		for outcome, calls := range c.outcomes {
			sum.outcomes[outcome] += calls
		}
		sums[c.tenant] = sum
	}
	return sums, read
}

// defaultListed is how many tenants are listed where a request does not say.
const defaultListed = 100

// ServeHTTP answers with the calls of the tenants that call most, as JSON: of as many as the
// parameter limit says.
func (t *TenantCalls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limit := defaultListed
	if text := r.FormValue("limit"); text != "" {
		given, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			http.Error(w, "limit is not a number", http.StatusBadRequest)
			return
		}
		limit = int(given)
	}
	t.reading.Lock()
	read := t.Read(limit)
	t.reading.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(read)
}
