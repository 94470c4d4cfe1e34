package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/onceql/onceql/chaos/cluster"
	"github.com/onceql/onceql/chaos/proxy"
)

// ShortTTL and ShortRetention are how long Short replays and keeps keys.
const (
	ShortTTL       = 2 * time.Second
	ShortRetention = 4 * time.Second
)

// A Fleet is the servers of one database, which differ in how they reach it.
type Fleet struct {
	// Servers are those that calls go to.
	Servers []*Server
	// Short keeps keys for a moment, and so its purge has something to remove. Calls
	// with keys of their own go to it. A Pair has none.
	Short *Server
}

// New starts the servers. Their logs are in the directory.
func New(program, logs string) (*Fleet, error) {
	f := &Fleet{
		Servers: []*Server{
			{Name: "proxied", Port: 8081, Proxy: proxy.New()},
			{Name: "pooled", Port: 8082, Proxy: proxy.New()},
			{Name: "direct", Port: 8083},
		},
		Short: &Server{Name: "short", Port: 8084, Proxy: proxy.New()},
	}
	// As docs/operations.md has it for several hosts, and for pgbouncer.
	const hosts = "?target_session_attrs=read-write&connect_timeout=2&sslmode=disable"
	proxied, pooled, direct, short := f.Servers[0], f.Servers[1], f.Servers[2], f.Short
	proxied.Env = database(fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", 7000, 7001), hosts)
	pooled.Env = database(fmt.Sprintf("127.0.0.1:%d", 7002), "?default_query_exec_mode=exec&connect_timeout=2&sslmode=disable")
	direct.Env = database("127.0.0.1:5432,127.0.0.1:5433", hosts)
	short.Env = append(database(fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", 7004, 7003), hosts),
		"IDEMPOTENCY_TTL="+ShortTTL.String(), "IDEMPOTENCY_RETENTION="+ShortRetention.String())
	if err := errors.Join(
		proxied.Proxy.Listen(7000, 5432), proxied.Proxy.Listen(7001, 5433),
		pooled.Proxy.Listen(7002, cluster.BouncerPort),
		short.Proxy.Listen(7003, 5432), short.Proxy.Listen(7004, 5433),
	); err != nil {
		return nil, err
	}
	for _, s := range f.All() {
		// Shorter than by default, so that a minute has room for many faults.
		s.Env = append(s.Env, "IDEMPOTENCY_WAIT=3s", "IDEMPOTENCY_BUDGET=3s",
			"MIGRATION_DATABASE_URL=postgres://"+cluster.Owner+"@127.0.0.1:5432,127.0.0.1:5433/"+cluster.Database+hosts)
		if err := s.Start(program, logs); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Pair starts two servers of one database, as their own role, which migrates nothing. They
// have that environment besides, and while they run a program what envOf has for it. Their
// logs are in the directory.
func Pair(program, logs string, envOf map[string][]string, env ...string) (*Fleet, error) {
	f := &Fleet{Servers: []*Server{
		{Name: "a", Port: 8081, Proxy: proxy.New()},
		{Name: "b", Port: 8082, Proxy: proxy.New()},
	}}
	for i, s := range f.Servers {
		if err := s.Proxy.Listen(7000+i, 5432); err != nil {
			return nil, err
		}
		s.Env = append(database(fmt.Sprintf("127.0.0.1:%d", 7000+i), "?connect_timeout=2&sslmode=disable"), env...)
		s.EnvOf = envOf
		if err := s.Start(program, logs); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func database(hosts, options string) []string {
	return []string{"DATABASE_URL=postgres://" + cluster.Role + "@" + hosts + "/" + cluster.Database + options}
}

// All are the servers, Short too.
func (f *Fleet) All() []*Server {
	if f.Short == nil {
		return f.Servers
	}
	return append(f.Servers[:len(f.Servers):len(f.Servers)], f.Short)
}

// UnknownCommits is how many commits the servers did not hear of.
func (f *Fleet) UnknownCommits() int {
	n := 0
	for _, s := range f.All() {
		n += s.UnknownCommits()
	}
	return n
}

// CommitsCancelled is how many COMMITs the servers cancelled too soon, see proxy.
func (f *Fleet) CommitsCancelled() int {
	n := 0
	for _, s := range f.All() {
		if s.Proxy != nil {
			n += s.Proxy.CommitsCancelled()
		}
	}
	return n
}
