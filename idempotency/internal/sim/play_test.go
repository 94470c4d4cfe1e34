package sim_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onceql/onceql/idempotency/internal/sim"
	"github.com/onceql/onceql/idempotency/internal/store"
)

// A step is a statement of a session, by its name or its text, and what it is answered:
// rows and tag, or an error's code and constraint. "waits" means that it is not answered
// for now; a later step of the session without a statement has the answer.
type step struct {
	session, do string
	args        []any
	want        string
}

// A play is a history of sessions on a cluster, one connection each.
type play struct {
	t        *testing.T
	cluster  *sim.Cluster
	host     string
	sessions map[string]*player
}

type player struct {
	conn    *pgx.Conn
	answer  chan string
	asked   bool
	notices []string
}

// rehearse plays the steps on a cluster of their own.
func rehearse(t *testing.T, config sim.Config, steps ...step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { newPlay(t, config).run(steps...) })
}

func newPlay(t *testing.T, config sim.Config) *play {
	t.Helper()
	return &play{t: t, cluster: newCluster(t, config), host: "db1", sessions: map[string]*player{}}
}

func (p *play) run(steps ...step) {
	p.t.Helper()
	for n, s := range steps {
		if got := p.do(s.session, s.do, s.args...); got != s.want {
			p.t.Errorf("step %d, %s: %s: %q, want %q", n+1, s.session, s.do, got, s.want)
		}
	}
}

// do sends a statement and returns what it is answered.
func (p *play) do(name, do string, args ...any) string {
	p.t.Helper()
	s := p.sessions[name]
	if s == nil {
		s = p.connect(name)
	}
	if do != "" {
		texts := store.Texts(sim.Table)
		maps.Copy(texts, sim.Statements)
		sql, named := texts[do]
		if !named {
			sql = do
		}
		s.asked = true
		go func() { s.answer <- ask(s.conn, do, sql, args) }()
	}
	select {
	case answer := <-s.answer:
		s.asked = false
		return answer
	case <-time.After(300*time.Millisecond + 1): // Longer than any statement takes, and shorter than what is waited for.
		return "waits"
	}
}

func (p *play) connect(name string) *player {
	p.t.Helper()
	config := p.cluster.Pool(name).ConnConfig
	config.Host, config.Fallbacks, config.ValidateConnect = p.host, nil, nil
	s := &player{answer: make(chan string, 1)}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { s.notices = append(s.notices, notice.Code) }
	var err error
	if s.conn, err = pgx.ConnectConfig(p.t.Context(), config); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if s.asked {
			_ = s.conn.PgConn().Conn().Close()
			<-s.answer
		}
		_ = s.conn.Close(context.Background())
	})
	p.sessions[name] = s
	return s
}

// shown are the columns that are the same each time.
var shown = map[string][]int{"claim": {4}, "claim one": {4}, "probe": {4}, "find one": {1}, "find": {0, 1}, "effect": {}, "restore": {}}

func ask(conn *pgx.Conn, name, sql string, args []any) string {
	if strings.Contains(name, ";") || strings.Contains(name, "--") {
		tag, err := conn.Exec(context.Background(), sql)
		if err != nil {
			return told(err)
		}
		return tag.String()
	}
	rows, err := conn.Query(context.Background(), sql, args...)
	if err != nil {
		return told(err)
	}
	var answer []string
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err.Error()
		}
		columns, some := shown[name]
		var row []string
		for i, v := range values {
			if !some {
				row = append(row, fmt.Sprint(v))
			}
			for _, c := range columns {
				if c == i {
					row = append(row, fmt.Sprint(v))
				}
			}
		}
		answer = append(answer, strings.Join(row, " "))
	}
	if err := rows.Err(); err != nil {
		return told(err)
	}
	return strings.TrimSpace(strings.Join(append(answer, rows.CommandTag().String()), " | "))
}

func told(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return strings.TrimSpace(pgErr.Code + " " + pgErr.ConstraintName)
	}
	return "broken"
}

// These are the arguments of statements on a key.

func claimed(keys ...string) []any { return limited("1000", keys...) }

// limited has a lock_timeout, in milliseconds.
func limited(lock string, keys ...string) []any {
	ids := make([]int64, len(keys))
	for i, key := range keys {
		ids[i] = store.Key{Scope: "t", Key: key}.Lock()
	}
	return []any{ids, []string{"t"}, lock, "9000", "5000"}
}

func named(key string) []any { return []any{"t", key} }

func row(key string) []any {
	at := time.Now()
	hash := sha256.Sum256(nil)
	return []any{"t", key, "write", hash[:], int16(1), "{}", "", uuid.NewSHA1(uuid.Nil, []byte(key+at.String())).String(), "", at, at.Add(time.Hour), at.Add(2 * time.Hour)}
}

func effectOf(key string, n int64) []any { return []any{"t", key, n} }

const begin = "begin isolation level read committed read write"
