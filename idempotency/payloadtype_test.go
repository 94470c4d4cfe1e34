package idempotency_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/idempotency"
)

type (
	// amount has a form of its own, and reads it.
	amount struct{ cents int }
	// label writes a form of its own, which nothing reads.
	label struct{ text string }
	// instant has time.Time's form, stamped loses its note over it, and renamed has
	// its own form in place of it.
	instant struct{ time.Time }
	stamped struct {
		time.Time
		Note string
	}
	renamed struct {
		time.Time
		Note string
	}
	base  struct{ ID string }
	Named struct{ Name string }
	tree  struct {
		Name     string
		Children []*tree
		ByName   map[string]tree
	}
	Ring struct {
		*Ring
		Name string
	}
	either interface{ either() }
	left   struct{ Either either }
	right  struct{ Notify func() }
)

func (a amount) MarshalText() ([]byte, error) { return fmt.Append(nil, a.cents), nil }
func (a *amount) UnmarshalText(text []byte) error {
	_, err := fmt.Sscan(string(text), &a.cents)
	return err
}
func (l label) MarshalJSON() ([]byte, error)       { return json.Marshal(l.text) }
func (r renamed) MarshalJSON() ([]byte, error)     { return json.Marshal(r.Note) }
func (r *renamed) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &r.Note) }
func (left) either()                               {}
func (*right) either()                             {}

func TestCheckPayload_AcceptsWhatComesBackWhole(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		"", 0, 1.5, true,
		[]byte{},
		[2]int{},
		note{},
		&note{},
		[]*note{},
		map[string]note{},
		map[int]string{},
		time.Time{},
		json.RawMessage{},
		json.Number(""),
		uuid.UUID{},
		netip.Addr{},
		amount{},
		map[amount]amount{},
		big.Int{},
		&big.Int{},
		map[string]*big.Int{},
		tree{},
		instant{},
		renamed{},
		struct {
			base
			*Named
			Price big.Int
		}{},
		struct {
			Anything any
			_        int
			marker   struct{}
		}{},
		struct {
			Name  string `json:"name,omitempty"`
			Title string `json:"Name"`
		}{},
	} {
		if err := idempotency.CheckPayload(reflect.TypeOf(value), nil); err != nil {
			t.Errorf("%T: %v", value, err)
		}
	}
}

func TestCheckPayload_NamesWhatWouldBeLost(t *testing.T) {
	t.Parallel()
	// vet would refuse it if it were written out.
	twice := reflect.Zero(reflect.StructOf([]reflect.StructField{
		{Name: "A", Type: reflect.TypeFor[string](), Tag: `json:"name"`},
		{Name: "B", Type: reflect.TypeFor[string](), Tag: `json:"name,omitempty"`},
	})).Interface()
	for _, test := range []struct {
		value  any
		faults []string
	}{
		{struct{ secret int }{}, []string{"secret is not exported"}},
		{&struct{ Lines []struct{ secret int } }{}, []string{"Lines[].secret is not exported"}},
		{map[string]struct{ A struct{ secret int } }{}, []string{"[].A.secret is not exported"}},
		{struct {
			Hash  string `json:"-"`
			Other struct{ a, b int }
		}{}, []string{`Hash is tagged json:"-"`, "Other.a is not exported", "Other.b is not exported"}},
		{twice, []string{`B has the same JSON name, "name", as A`}},
		{struct {
			Named
			Name string
		}{}, []string{`Name has the same JSON name, "Name", as Named.Name`}},
		{struct {
			Named
			Other struct{ Named }
			Inner Named
			Also  string `json:"Name"`
		}{}, []string{`Also has the same JSON name, "Name", as Named.Name`}},
		{Ring{}, []string{`Name has the same JSON name, "Name", as Ring.Name`}},
		{struct{ *base }{}, []string{"base is a pointer that is not exported"}},
		{struct{ amount }{}, nil},
		{struct {
			amount
			Note string
		}{}, []string{"MarshalText is that of a struct embedded in it"}},
		{stamped{}, []string{"it is of type idempotency_test.stamped, whose MarshalJSON is that of a struct embedded in it"}},
		{struct{ At *stamped }{}, []string{"At is of type idempotency_test.stamped, whose MarshalJSON"}},
		{label{}, []string{"label, which has MarshalJSON and no method that reads"}},
		{map[string]big.Int{}, []string{"[] is of type big.Int and not a pointer to it"}},
		{struct{ Notify func() }{}, []string{"Notify is of type func(), which JSON can't hold"}},
		{make(chan int), []string{"it is of type chan int"}},
		{[]complex64{}, []string{"[] is of type complex64"}},
		{map[float64]int{}, []string{"it is a map with keys of type float64"}},
		{map[bool]chan int{}, []string{"keys of type bool", "[] is of type chan int"}},
		{left{}, []string{"Either is of the interface type idempotency_test.either: JSON does not tell"}},
		{struct{ Err error }{}, []string{"Err is of the interface type error"}},
		{struct{ Children []*left }{}, []string{"Children[].Either is of"}},
	} {
		err := idempotency.CheckPayload(reflect.TypeOf(test.value), nil)
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(test.faults) || err != nil && !strings.Contains(got[0], fmt.Sprintf("%T", test.value)) {
			t.Errorf("%T: %q, want %q", test.value, got, test.faults)
			continue
		}
		for i, fault := range test.faults {
			if !strings.Contains(got[i], fault) {
				t.Errorf("%T: %q, want %q in it", test.value, got[i], fault)
			}
		}
	}
}

func TestCheckPayload_AsksAboutInterfaces(t *testing.T) {
	t.Parallel()
	either := reflect.TypeFor[either]()
	check := func(types ...reflect.Type) error {
		return idempotency.CheckPayload(reflect.TypeFor[[]struct{ Found left }](), func(asked reflect.Type) ([]reflect.Type, error) {
			if asked != either {
				t.Errorf("asked about %s", asked)
			}
			return types, nil
		})
	}
	if err := check(reflect.TypeFor[left]()); err != nil {
		t.Error(err)
	}
	err := check(reflect.TypeFor[left](), reflect.TypeFor[*right]())
	if err == nil || !strings.Contains(err.Error(), ".Either.(*idempotency_test.right).Notify is of type func()") {
		t.Errorf("error %v, want one about the func", err)
	}
}

// Values of a type that loses something are refused, and nothing stands.
func TestDo_RefusesAPayloadTypeThatLosesSomething(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	_, err := run(t.Context(), engine, call("k", "a"), func(ctx context.Context, tx pgx.Tx) (*stamped, error) {
		_, err := write("a")(ctx, tx)
		return &stamped{time.Now(), "lost"}, err
	})
	if !errors.Is(err, idempotency.ErrPayload) || !strings.Contains(err.Error(), "other fields are lost") {
		t.Errorf("error %v, want ErrPayload that says what is lost", err)
	}
	f.effects(0)
}

// Methods of pointers write and read the fields that they are declared for, also
// in a payload that is no pointer.
func TestDo_CallsMethodsOfPointers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	type sum struct{ Total big.Int }
	want := new(big.Int).Lsh(big.NewInt(1), 100)
	for _, replayed := range []bool{false, true} {
		o, err := run(t.Context(), engine, call("k", "a"), func(context.Context, pgx.Tx) (sum, error) { return sum{*want}, nil })
		if err != nil || o.Replayed != replayed || o.Value.Total.Cmp(want) != 0 {
			t.Errorf("%+v, %v; want %s, replayed %t", o, err, want, replayed)
		}
	}
}

// Numbers among values of any kind are what they were, beyond 2^53 too.
func TestDo_KeepsNumbersExact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	engine := f.engine(idempotency.Config{})
	type event struct {
		Attributes map[string]any
		List       []any
		One        any
	}
	const huge = json.Number("123456789012345678901234567890.5")
	for _, replayed := range []bool{false, true} {
		o, err := run(t.Context(), engine, call("k", "a"), func(context.Context, pgx.Tx) (*event, error) {
			return &event{map[string]any{"id": int64(9007199254740993)}, []any{uint64(18446744073709551615), nil, "x"}, huge}, nil
		})
		if err != nil || o.Replayed != replayed {
			t.Fatalf("%+v, %v; want replayed %t", o, err, replayed)
		}
		want := &event{map[string]any{"id": json.Number("9007199254740993")}, []any{json.Number("18446744073709551615"), nil, "x"}, huge}
		if !reflect.DeepEqual(o.Value, want) {
			t.Errorf("replayed %t: %+v, want %+v", replayed, o.Value, want)
		}
	}
}

func TestCheckComplete(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stored, again string
		complete      bool
	}{
		{`{"a":1,"b":[{"c":null}]}`, `{"b":[{"c":null}],"a":1}`, true},
		{`{"a":1,"more":2}`, `{"a":1}`, true},
		{`{"a":1}`, `{"a":1,"b":0}`, false},
		{`{"a":[{"b":1},{}]}`, `{"a":[{"b":1},{"b":0}]}`, false},
		{`[1]`, `[1,2]`, false},
		{`null`, `{}`, true},
		{`null`, `""`, false},
		{`"2026-11-23T20:45:26Z"`, `"2026-11-23T20:45:26+00:00"`, true},
		{`true`, `false`, false},
		{`{"n":9007199254740993}`, `{"n":9007199254740992}`, false},
		{`[100,1.50,0.001,-0,1e400,120e-1]`, `[1e2,1.5,1E-3,0,1e+400,12]`, true},
		{`-1`, `1`, false},
		{`12`, `120`, false},
		{`1e99999999999`, `1e99999999999`, true},
		{`1e99999999999`, `1e99999999998`, false},
		{`{} {}`, `{}`, false},
	} {
		if err := idempotency.CheckComplete([]byte(test.stored), []byte(test.again)); (err == nil) != test.complete {
			t.Errorf("%s, read as %s: %v", test.stored, test.again, err)
		}
	}
}
