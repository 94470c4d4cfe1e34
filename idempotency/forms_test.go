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

// inGroups makes the tests run their calls through Operations.
var inGroups = os.Getenv("ONCEQL_TEST_IN_GROUPS") != ""

// run runs the call in the form under test: with the function Do, or with an
// Operation, which all calls of an engine with the same operation share and which
// runs the effect of each call in the group.
func run[T any](ctx context.Context, engine *idempotency.Engine, call idempotency.Call, effect func(context.Context, pgx.Tx) (T, error)) (idempotency.Outcome[T], error) {
	if !inGroups {
		return idempotency.Do(ctx, engine, call, effect)
	}
	type group = []*idempotency.Item[func(context.Context, pgx.Tx) (T, error), T]
	key := operationKey{engine, call.Operation, reflect.TypeFor[T]()}
	operation, ok := operations.Load(key)
	if !ok {
		operation, _ = operations.LoadOrStore(key, idempotency.NewBatch(engine, call.Operation, idempotency.AcrossScopes(),
			func(ctx context.Context, tx pgx.Tx, group group) error {
				for _, p := range group {
					value, err := p.Input(ctx, tx)
					if err != nil {
						return err
					}
					p.Succeed(value)
				}
				return nil
			}))
	}
	return operation.(*idempotency.Batch[func(context.Context, pgx.Tx) (T, error), T]).Do(ctx, call, effect)
}

type operationKey struct {
	engine *idempotency.Engine
	name   string
	result reflect.Type
}

var operations sync.Map

// What holds for Do holds for calls in groups: the same tests, but for those of
// what Do alone has.
func TestBatch_PassesTheTestsOfDo(t *testing.T) {
	t.Parallel()
	if inGroups {
		return // This is that run.
	}
	tests := exec.Command(os.Args[0], "-test.timeout", "5m", "-test.skip", "Example|TestDo_EffectKeepsTheCallersValues|"+
		"Test(Batch|Bisect|Check|Config|Failure|Item|Keys|Limits|Neighbours|Nested|Queue|Share|Stats)_|TestServer_ThatIs|TestStandby_Connections")
	tests.Env = append(os.Environ(), "ONCEQL_TEST_IN_GROUPS=1")
	if output, err := tests.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
