package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// refuse makes the table refuse rows, as the body of its trigger says.
func (f *fixture) refuse(body string) {
	f.t.Helper()
	f.exec(`create sequence refusals`)
	f.exec(`create function refuse() returns trigger language plpgsql as $$ begin ` + body + ` return new; end $$`)
	f.exec(`create trigger refuses before insert on idempotency_keys for each row execute function refuse()`)
}

// What the table refuses for good is the deployment's defect. Everyone hears so, no
// effect stands, and none runs on and on.
func TestKeys_ThatAreRefusedAreADefect(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(*fixture){
		"a row that a trigger drops": func(f *fixture) { f.refuse(`return null;`) },
		"a trigger that raises":      func(f *fixture) { f.refuse(`raise exception 'no';`) },
		"a check":                    func(f *fixture) { f.exec(`alter table idempotency_keys add check (scope = 'before')`) },
		"a column without a default": func(f *fixture) {
			f.exec(`alter table idempotency_keys add other text; update idempotency_keys set other = ''; alter table idempotency_keys alter other set not null`)
		},
		"no right to insert": func(f *fixture) { f.exec(`revoke insert on idempotency_keys from onceql_tests`) },
		"no right to select": func(f *fixture) { f.exec(`revoke select on idempotency_keys from onceql_tests`) },
		"no table":           func(f *fixture) { f.exec(`alter table idempotency_keys rename to gone`) },
		"no column":          func(f *fixture) { f.exec(`alter table idempotency_keys rename request_hash to gone`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			address := f.asRole()
			engine := f.engineOn(f.open(address, 6), idempotency.Config{Batches: 1, Wait: testTimeout})
			// Its statements are prepared while all is well.
			if _, err := idempotency.Do(t.Context(), engine, inScope("before", "k", "a"), write("a")); err != nil {
				t.Fatal(err)
			}
			refuse(f)
			var runs atomic.Int32
			_, err := idempotency.Do(t.Context(), engine, call("alone", "a"), counted(&runs, write("a")))
			defect(t, err)
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(),
				each(func(ctx context.Context, tx pgx.Tx, item *noteItem) (note, error) {
					return counted(&runs, write(item.Input))(ctx, tx)
				}))
			var callers sync.WaitGroup
			for _, text := range texts(8) {
				callers.Go(func() {
					_, err := batch.Do(t.Context(), inScope(text, "k", text), text)
					defect(t, err)
				})
			}
			callers.Wait()
			if n := runs.Load(); n > 2+3*8 {
				t.Errorf("the effects ran %d times", n)
			}
			if n := f.count(`select count(*) from notes`); n != 1 {
				t.Errorf("%d effects stand, want that of before", n)
			}
		})
	}
}

func defect(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, idempotency.ErrTable) || errors.Is(err, idempotency.ErrUnavailable) {
		t.Errorf("error %v, want ErrTable alone", err)
	}
}

// A row that the table refuses keeps no other from being stored.
func TestKeys_ThatAreRefusedAreOneCalls(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"dropped": `if new.scope = 'tenant 003' then return null; end if;`,
		"raised":  `if new.scope = 'tenant 003' then raise exception 'no'; end if;`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.refuse(body)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
			for i, r := range together(t, engine, batch, texts(8)...) {
				if i == 3 {
					wantError(t, r.err, idempotency.ErrTable)
				} else {
					executed(t, r)
				}
			}
			f.effects(7)
		})
	}
}

// What passes is tried again within the wait, and nobody hears of it.
func TestKeys_ThatAreRefusedForAMomentAreStored(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "40P01", "53200", "57014", "08006", "58030", "25006", "55P03"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.refuse(`if nextval('refusals') <= 2 then raise exception using errcode = '` + code + `'; end if;`)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
			o, err := idempotency.Do(t.Context(), engine, call("alone", "a"), write("a"))
			executed(t, reply{o, err})
			f.exec(`alter sequence refusals restart`)
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
			executed(t, together(t, engine, batch, texts(8)...)...)
			f.effects(9)
		})
	}
}

// What does not pass within the wait is unavailable.
func TestKeys_ThatAreRefusedForTheWholeWaitAreUnavailable(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"40001", "53200"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.refuse(`raise exception using errcode = '` + code + `';`)
			engine := f.engine(idempotency.Config{Batches: 1, Wait: 500 * time.Millisecond})
			_, err := idempotency.Do(t.Context(), engine, call("alone", "a"), write("a"))
			wantError(t, err, idempotency.ErrUnavailable)
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
			_, err = batch.Do(t.Context(), call("k", "a"), "a")
			wantError(t, err, idempotency.ErrUnavailable)
			eventually(t, "nothing is tried any more", func() bool { return engine.Stats().InFlight == 0 })
			f.effects(0)
		})
	}
}

// Rows of rivals appear in the middle of a batch: their calls are replayed or refused,
// and the others execute.
func TestKeys_OfRivalsLeaveTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{Batches: 1, Wait: testTimeout})
	batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
		for _, item := range items {
			switch item.Input {
			case "same":
				if err := f.insertRival(ctx, inScope(item.Scope, item.Key, "same")); err != nil {
					return err
				}
			case "other":
				if err := f.insertRival(ctx, inScope(item.Scope, item.Key, "not the same")); err != nil {
					return err
				}
			}
		}
		return writes(ctx, tx, items)
	})
	for i, r := range together(t, engine, batch, "a", "same", "b", "other", "c") {
		switch i {
		case 1:
			if r.err != nil || !r.outcome.Replayed || r.outcome.Value.Text != "rival" {
				t.Errorf("the same: %+v, %v; want the rival's", r.outcome, r.err)
			}
		case 3:
			wantError(t, r.err, idempotency.ErrKeyReused)
		default:
			executed(t, r)
		}
	}
	f.effects(5)
}

// Whatever becomes of a batch's COMMIT: each call executes once, and hears so.
func TestKeys_OfABatchWhoseCommitIsLost(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			proxy, url := newProxy(t, f.url)
			engine := f.engineOn(f.open(url, 6), idempotency.Config{Batches: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), writes)
			met := proxy.arm(fault)
			inputs := append(texts(10), "refuse")
			replies := together(t, engine, batch, inputs...)
			<-met
			executed(t, replies[:10]...)
			wantError(t, replies[10].err, errRefused)
			f.effects(10)
		})
	}
}

// Prepared statements that are gone, or that mean something else by now, are made
// anew.
func TestKeys_OutliveTheirPreparedStatements(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(f *fixture, engine *idempotency.Engine, key string){
		"taken away": func(f *fixture, engine *idempotency.Engine, key string) {
			taken := false
			o, err := idempotency.Do(t.Context(), engine, call(key, "a"), func(ctx context.Context, tx pgx.Tx) (note, error) {
				if !taken {
					taken = true
					if err := tx.Conn().PgConn().Exec(ctx, `deallocate all`).Close(); err != nil {
						return note{}, err
					}
				}
				return write("a")(ctx, tx)
			})
			executed(f.t, reply{o, err})
		},
		"of another type": func(f *fixture, _ *idempotency.Engine, key string) {
			f.exec(`alter table idempotency_keys alter request_id type varchar(` + fmt.Sprint(1000+len(key)) + `)`)
			f.exec(`alter table notes add "` + key + `" int`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			engine := f.engine(idempotency.Config{Batches: 1, Workers: 1, Wait: testTimeout})
			batch := idempotency.NewBatch(engine, "write", idempotency.AcrossScopes(), func(ctx context.Context, tx pgx.Tx, items []*noteItem) error {
				rows, _ := tx.Query(ctx, `select * from notes where id < $1`, 0)
				rows.Close()
				if err := rows.Err(); err != nil {
					return err
				}
				return writes(ctx, tx, items)
			})
			for _, round := range []string{"1", "22", "333"} {
				for i := range 3 {
					text := fmt.Sprint(round, " ", i)
					o, err := idempotency.Do(t.Context(), engine, call(text, text), write(text))
					executed(t, reply{o, err})
					o, err = batch.Do(t.Context(), inScope(text, text, text), text)
					executed(t, reply{o, err})
				}
				take(f, engine, round)
			}
		})
	}
}
