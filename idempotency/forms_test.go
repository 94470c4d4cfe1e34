package idempotency_test

import (
	"context"
	"os"
	"os/exec"
	"reflect"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

// batched makes the tests run their calls through batches.
var batched = os.Getenv("ONCEQL_TEST_BATCHED") != ""

// run runs the call in the form under test: with the function Do, or with a Batch,
// which all calls of an engine with the same operation share and which runs the effect
// of each call.
func run[T any](ctx context.Context, engine *idempotency.Engine, call idempotency.Call, effect func(context.Context, pgx.Tx) (T, error)) (idempotency.Outcome[T], error) {
	if !batched {
		return idempotency.Do(ctx, engine, call, effect)
	}
	type items = []*idempotency.Item[func(context.Context, pgx.Tx) (T, error), T]
	key := batchKey{engine, call.Operation, reflect.TypeFor[T]()}
	batch, ok := batches.Load(key)
	if !ok {
		batch, _ = batches.LoadOrStore(key, idempotency.NewBatch(engine, call.Operation, idempotency.AcrossScopes(),
			func(ctx context.Context, tx pgx.Tx, items items) error {
				for _, item := range items {
					value, err := item.Input(ctx, tx)
					if err != nil {
						return err
					}
					item.Succeed(value)
				}
				return nil
			}))
	}
	return batch.(*idempotency.Batch[func(context.Context, pgx.Tx) (T, error), T]).Do(ctx, call, effect)
}

type batchKey struct {
	engine *idempotency.Engine
	name   string
	result reflect.Type
}

var batches sync.Map

// What holds for Do holds for batched calls: the same tests, but for those of
// what Do alone has.
func TestBatch_PassesTheTestsOfDo(t *testing.T) {
	t.Parallel()
	if batched {
		return // This is that run.
	}
	tests := exec.Command(os.Args[0], "-test.timeout", "5m", "-test.skip", "Example|TestDo_EffectKeepsTheCallersValues|"+
		"Test(Batch|Bisect|Check|Config|Failure|Item|Keys|Limits|Neighbours|Nested|Queue|Share|Stats)_|TestServer_ThatIs|TestStandby_Connections")
	tests.Env = append(os.Environ(), "ONCEQL_TEST_BATCHED=1")
	if output, err := tests.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
