package gqlidem_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency/gqlidem"
	"github.com/onceql/onceql/internal/pgtest"
)

type (
	animal interface{ sound() string }
	cat    struct{ Lives int }
	dog    struct{ Name string }
	pet    struct{ Animal animal }
)

func (cat) sound() string { return "meow" }
func (dog) sound() string { return "woof" }

// petCodec writes the animal's type beside it.
type petCodec struct{}

func (petCodec) Encode(value any) ([]byte, error) {
	animal := value.(*pet).Animal
	data, err := json.Marshal(animal)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]json.RawMessage{fmt.Sprintf("%T", animal): data})
}

func (petCodec) Decode(data []byte, into any) error {
	var stored struct {
		Cat *cat `json:"gqlidem_test.cat"`
		Dog *dog `json:"gqlidem_test.dog"`
	}
	if err := json.Unmarshal(data, &stored); err != nil {
		return err
	}
	switch {
	case stored.Cat != nil:
		*into.(**pet) = &pet{*stored.Cat}
	case stored.Dog != nil:
		*into.(**pet) = &pet{*stored.Dog}
	default:
		return errors.New("no animal")
	}
	return nil
}

func TestCodec_StoresAPayloadWithAnInterface(t *testing.T) {
	t.Parallel()
	const sdl = `directive @idempotent on FIELD_DEFINITION
		type Cat { lives: Int! }
		type Dog { name: String! }
		union Animal = Cat | Dog
		type Pet { animal: Animal! }
		type Query { ok: Boolean }
		type Mutation { adopt(kind: String!, idempotencyKey: String!): Pet @idempotent }`
	once := newOnce(t, pgtest.Pool(t), gqlidem.WithCodec("Pet", petCodec{}))
	var runs int
	var got *pet
	server := func(animal animal) response {
		return send(t, serve(sdl, once, resolvers{"adopt": func(ctx context.Context) (payload any, err error) {
			got, err = gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*pet, error) {
				runs++
				return &pet{animal}, nil
			})
			return got, err
		}}), fmt.Sprintf(`mutation { adopt(kind: "%T", idempotencyKey: "%T") { animal { __typename } } }`, animal, animal))
	}
	for i, animal := range []animal{cat{9}, dog{"Rex"}} {
		for _, status := range []string{"EXECUTED", "REPLAYED"} {
			r := server(animal)
			if diff := cmp.Diff(statuses{"adopt": status}, r.statuses()); diff != "" {
				t.Fatalf("status (-want +got):\n%s\n%s", diff, r.body)
			}
			if diff := cmp.Diff(&pet{animal}, got); diff != "" || got.Animal.sound() != animal.sound() || runs != i+1 {
				t.Errorf("%s, run %d: payload (-want +got):\n%s", status, runs, diff)
			}
		}
	}
}

// An input type gains fields with defaults between two builds: what a client sent
// to the one replays from the other.
func TestDo_ReplaysOverASchemaThatGainsFields(t *testing.T) {
	t.Parallel()
	const before = `directive @idempotent on FIELD_DEFINITION
		type Note { text: String! }
		input Order { sku: ID! line: Line, lines: [Line!] }
		input Line { quantity: Int }
		type Query { ok: Boolean }
		type Mutation { order(input: Order!, idempotencyKey: String!): Note @idempotent }`
	const after = `directive @idempotent on FIELD_DEFINITION
		type Note { text: String!, at: String }
		input Order { sku: ID! line: Line = {}, lines: [Line!], gift: Boolean! = false, note: String, tags: [String!]! = ["new"] }
		input Line { quantity: Int = 1, unit: String! = "piece" }
		type Query { ok: Boolean }
		type Mutation { order(input: Order!, priority: Int! = 3, dryRun: Boolean, idempotencyKey: String!): Note @idempotent }`
	const literal = `mutation { order(input: {sku: 7, lines: [{quantity: 2}, {}]}, idempotencyKey: "k") { text } }`
	const variable = `mutation($in: Order!) { order(input: $in, idempotencyKey: "k") { text } }`
	const variables = `{"in": {"sku": "7", "lines": [{"quantity": 2}, {}]}}`
	pool := pgtest.Pool(t)
	once := func() *gqlidem.Once { return newOnce(t, pool) }
	ordering := func(once *gqlidem.Once) resolvers {
		return resolvers{"order": func(ctx context.Context) (any, error) {
			return gqlidem.Do(ctx, once, func(context.Context, pgx.Tx) (*note, error) { return &note{"ordered"}, nil })
		}}
	}
	o := once()
	server := serve(before, o, ordering(o))
	if r := send(t, server, literal); r.statuses()["order"] != "EXECUTED" {
		t.Fatalf("before: %s", r.body)
	}
	// A Once belongs to the one schema of its server.
	o = once()
	server = serve(after, o, ordering(o))
	for _, request := range [][]string{{literal}, {variable, variables}} {
		if r := send(t, server, request[0], request[1:]...); r.statuses()["order"] != "REPLAYED" {
			t.Errorf("after: %s: %s", request, r.body)
		}
	}
	for _, document := range []string{
		`mutation { order(input: {sku: 7, lines: [{quantity: 2}, {}], gift: false}, idempotencyKey: "k") { text } }`,
		`mutation { order(input: {sku: 7, lines: [{quantity: 2}, {quantity: 1}]}, idempotencyKey: "k") { text } }`,
		`mutation { order(input: {sku: 7, lines: [{quantity: 2}, {}]}, priority: 3, idempotencyKey: "k") { text } }`,
	} {
		if r := send(t, server, document); len(r.Errors) != 1 || r.Errors[0].Extensions["code"] != gqlidem.CodeKeyReused {
			t.Errorf("what a client says is part of the call, be it the default: %s: %s", document, r.body)
		}
	}
}
