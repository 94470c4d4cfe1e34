package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/onceql/onceql/internal/telemetry"
)

// Calls are a tenant's calls of lately, of all servers that were asked.
type Calls struct {
	// Since is when the first of the servers began to count.
	Since time.Time `json:"since"`
	telemetry.CallsOfTenant
}

// counted is how many calls there were, and how many more there may have been.
func (c *Calls) counted() string {
	if c.Missed > 0 {
		return fmt.Sprintf("%d to %d", c.Calls, c.Calls+c.Missed)
	}
	return fmt.Sprint(c.Calls)
}

// replayed is the rate of replays.
func (c *Calls) replayed() string { return c.share(c.Outcomes[telemetry.CallReplayed.String()]) }

func (c *Calls) share(of uint64) string {
	if c.Calls == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*float64(of)/float64(c.Calls))
}

// serversCalls are what several servers counted.
type serversCalls struct {
	since    time.Time
	unlisted uint64
	tenants  map[string]*telemetry.CallsOfTenant
}

const (
	// serverTimeout is how long a server may take to tell its calls, and serverAnswer how many
	// bytes it may tell: more than it has.
	serverTimeout = 10 * time.Second
	serverAnswer  = 64 << 20
	// allTenants is more than a server counts.
	allTenants = 1_000_000
)

// askServers adds up what the servers tell whose metrics are at the addresses, or returns nil
// when there are none.
func askServers(ctx context.Context, addresses []string) (*serversCalls, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	sum := &serversCalls{tenants: map[string]*telemetry.CallsOfTenant{}}
	// Each tenant may have made at most so many calls of which a server does not tell.
	told := map[string]uint64{}
	for _, address := range addresses {
		calls, err := askServer(ctx, address)
		if err != nil {
			return nil, fmt.Errorf("asking the server at %s for its calls: %w", redacted(address), err)
		}
		if sum.since.IsZero() || calls.Since.Before(sum.since) {
			sum.since = calls.Since
		}
		sum.unlisted += calls.Unlisted
		for _, c := range calls.Tenants {
			told[c.Tenant] += calls.Unlisted
			of := sum.tenants[c.Tenant]
			if of == nil {
				of = &telemetry.CallsOfTenant{Tenant: c.Tenant, Outcomes: map[string]uint64{}}
				sum.tenants[c.Tenant] = of
			}
			of.Calls += c.Calls
			of.Missed += c.Missed
			for outcome, n := range c.Outcomes {
				of.Outcomes[outcome] += n
			}
		}
	}
	for tenant, of := range sum.tenants {
		of.Missed += sum.unlisted - told[tenant]
	}
	return sum, nil
}

// redacted is the address without the password that it may have.
func redacted(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "an address that can't be read"
	}
	return parsed.Redacted()
}

func askServer(ctx context.Context, address string) (calls telemetry.CountedCalls, err error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return calls, errors.New("it is not an address such as http://127.0.0.1:9090")
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, parsed.JoinPath("tenants").String()+fmt.Sprintf("?limit=%d", allTenants), nil)
	if err != nil {
		return calls, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return calls, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNotFound {
		return calls, errors.New("it counts none: set METRICS_TENANTS=true")
	}
	if response.StatusCode != http.StatusOK {
		return calls, fmt.Errorf("it answers %s", Line(response.Status))
	}
	err = json.NewDecoder(io.LimitReader(response.Body, serverAnswer)).Decode(&calls)
	return calls, err
}

// of returns the tenant's calls, and nil where no server was asked.
func (c *serversCalls) of(tenant string) *Calls {
	if c == nil {
		return nil
	}
	calls := &Calls{Since: c.since, CallsOfTenant: telemetry.CallsOfTenant{Tenant: tenant, Missed: c.unlisted, Outcomes: map[string]uint64{}}}
	if counted := c.tenants[tenant]; counted != nil {
		calls.CallsOfTenant = *counted
	}
	return calls
}
