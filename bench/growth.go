package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onceql/onceql/bench/postgres"
	"github.com/onceql/onceql/bench/program"
	"github.com/onceql/onceql/idempotency"
)

// A growth measures what stored keys cost.
type growth struct {
	postgres string
	programs programs
	rounds   int
	duration time.Duration
}

// kinds are the kinds of keys, by how they are made at a time.
var kinds = map[string]func(time.Time) uuid.UUID{
	"random": func(time.Time) uuid.UUID { return uuid.New() },
	// https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
	"time-ordered": func(t time.Time) uuid.UUID {
		id := uuid.New()
		var milliseconds [8]byte
		binary.BigEndian.PutUint64(milliseconds[:], uint64(t.UnixMilli()))
		copy(id[:6], milliseconds[2:])
		id[6] = id[6]&0x0f | 0x70
		return id
	},
}

// stored names the load of keys of the kind beside so many stored ones.
func stored(kind string, keys int) string { return fmt.Sprintf("%s keys, %d stored", kind, keys) }

// stocks are the numbers of keys that are stored, up to most.
func stocks(most int) []int {
	numbers := []int{0}
	for n := 100_000; n <= most; n *= 10 {
		numbers = append(numbers, n)
	}
	return numbers
}

// measure measures with up to most stored keys, and during a purge. Each stock of
// keys has a database of its own, so that the rounds can be interleaved.
func (g growth) measure(ctx context.Context, most int) ([]measure, error) {
	databases := map[string]string{}
	for _, kind := range []string{"time-ordered", "random"} {
		for _, n := range stocks(most) {
			database, err := g.database(ctx, fmt.Sprintf("%s %d", kind, n))
			if err == nil {
				err = fill(ctx, database, kind, n, 20*time.Hour)
			}
			if err != nil {
				return nil, err
			}
			databases[stored(kind, n)] = database
			fmt.Fprintf(os.Stderr, "%d %s keys are stored\n", n, kind)
		}
	}
	var all []measure
	for round := range g.rounds {
		for _, kind := range []string{"time-ordered", "random"} {
			for _, n := range stocks(most) {
				name := stored(kind, n)
				perSecond, err := g.load(ctx, databases[name], kind, nil)
				if err != nil {
					return nil, err
				}
				all = append(all, measure{name, "onceql", perSecond[0], "/s"})
			}
		}
		fmt.Fprintf(os.Stderr, "growth: round %d of %d\n", round+1, g.rounds)
	}
	during, err := g.purge(ctx)
	return append(all, during...), err
}

func (g growth) database(ctx context.Context, name string) (string, error) {
	database, err := postgres.NewDatabase(ctx, g.postgres, strings.NewReplacer("-", "_", " ", "_").Replace(name))
	if err != nil {
		return "", err
	}
	return database, program.Migrate(g.programs.onceql, database)
}

// load starts a server on the database and sends distinct keys of the kind, once,
// and once more while meanwhile runs, when that is not nil.
func (g growth) load(ctx context.Context, database, kind string, meanwhile func(context.Context) error) (perSecond []float64, err error) {
	server, err := startOnceQL("onceql", database, g.programs.onceql)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	send := func(duration time.Duration) error {
		l := server.loadOf(64, prefix(), itself, never)
		l.Duration = duration
		l.Request = func(out []byte, n int) []byte {
			key := kinds[kind](time.Now())
			return server.requests.create(out, []byte(key.String()), n)
		}
		result, err := server.run(l)
		perSecond = append(perSecond, result.PerSecond())
		return err
	}
	if err := send(time.Second); err != nil { // To warm up.
		return nil, err
	}
	perSecond = nil
	if err := send(g.duration); err != nil || meanwhile == nil {
		return perSecond, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- meanwhile(ctx) }()
	err = send(g.duration)
	cancel()
	return perSecond, errors.Join(err, <-done)
}

// purge measures beside the purge of a million expired keys.
func (g growth) purge(ctx context.Context) ([]measure, error) {
	const expired = 1_000_000
	database, err := g.database(ctx, "purge")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(ctx, database, "time-ordered", expired, 20*time.Hour), fill(ctx, database, "time-ordered", expired, 100*time.Hour)); err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	// As another server would purge.
	engine := idempotency.New(pool, idempotency.Config{PurgeEvery: -1})
	defer engine.Close(ctx)
	var all []measure
	for range g.rounds {
		var removed int64
		var took time.Duration
		perSecond, err := g.load(ctx, database, "time-ordered", func(ctx context.Context) error {
			begin := time.Now()
			n, err := engine.Purge(ctx)
			removed, took = n, time.Since(begin)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // The load is over.
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all,
			measure{"beside no purge", "onceql", perSecond[0], "/s"},
			measure{"during a purge", "onceql", perSecond[1], "/s"},
			measure{"purged", "onceql", float64(removed) / took.Seconds(), "/s"})
	}
	return all, nil
}

// fill stores so many keys, the newest an hour old and the oldest of that age. Its
// indexes are made afterwards.
func fill(ctx context.Context, database, kind string, keys int, oldest time.Duration) error {
	if keys == 0 {
		return nil
	}
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	indexes, err := dropIndexes(ctx, conn)
	if err != nil {
		return err
	}
	now, hash, n := time.Now(), make([]byte, 32), 0
	newest := oldest - 19*time.Hour
	rows := pgx.CopyFromFunc(func() ([]any, error) {
		if n == keys {
			return nil, nil
		}
		created := now.Add(-oldest + time.Duration(float64(oldest-newest)*float64(n)/float64(keys)))
		n++
		return []any{
			"", kinds[kind](created).String(), "createProject", hash, int16(1),
			fmt.Sprintf(`{"project":{"id":"01a20a28-0e1d-775f-8861-2020ed7c5ed6","name":"Project %d","description":"Made by a load test",`+
				`"createdAt":"2026-01-01T00:00:00.000Z","updatedAt":"2026-01-01T00:00:00.000Z"}}`, n),
			uuid.NewString(), [16]byte(uuid.New()), created, created.Add(24 * time.Hour), created.Add(72 * time.Hour),
		}, nil
	})
	if _, err := conn.CopyFrom(ctx, pgx.Identifier{"idempotency_keys"}, []string{
		"scope", "key", "operation", "request_hash", "hash_version", "response_json", "request_id", "execution_id", "created_at", "expires_at", "retained_until",
	}, rows); err != nil {
		return err
	}
	for _, sql := range append(indexes, `vacuum analyze idempotency_keys`, `checkpoint`) {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// dropIndexes drops the indexes of the keys' table and returns what makes them again.
func dropIndexes(ctx context.Context, conn *pgx.Conn) (again []string, err error) {
	rows, _ := conn.Query(ctx, `
		select indexrelid::regclass::text, pg_get_indexdef(indexrelid)
		from pg_index
		where indrelid = 'idempotency_keys'::regclass and not indisprimary`)
	again = []string{`alter table idempotency_keys add constraint idempotency_keys_pkey primary key (scope, key)`}
	drops := []string{`alter table idempotency_keys drop constraint idempotency_keys_pkey`}
	var name, definition string
	if _, err := pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		again, drops = append(again, definition), append(drops, `drop index `+name)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, sql := range drops {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	return again, nil
}
