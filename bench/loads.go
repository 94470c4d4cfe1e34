package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/onceql/onceql/bench/load"
)

// A measure is one figure of one target in one round.
type measure struct {
	load, target string
	value        float64
	unit         string
}

// prefix makes keys that no other run has used.
func prefix() []byte {
	return strconv.AppendInt([]byte("k"), time.Now().UnixNano(), 36)
}

// loadOf is a load of the target whose n-th request creates a project with the key
// that keyOf gives.
func (t *target) loadOf(connections int, keys []byte, keyOf func(n int) int, replay func(n int) bool) load.Load {
	return t.loadWith(t.requests.create, connections, keys, keyOf, replay)
}

// loadWith is one whose requests write appends.
func (t *target) loadWith(write func(out, key []byte, n int) []byte, connections int, keys []byte, keyOf func(n int) int, replay func(n int) bool) load.Load {
	return load.Load{
		Connections: connections,
		Request: func(out []byte, n int) []byte {
			var buffer [40]byte
			key := append(append(buffer[:0], keys...), '-')
			k := keyOf(n)
			return write(out, strconv.AppendInt(key, int64(k), 10), k)
		},
		Check: func(n, status int, answer []byte) error {
			return t.requests.check(status, answer, keyOf(n), replay(n))
		},
	}
}

func itself(n int) int { return n }
func never(int) bool   { return false }
func always(int) bool  { return true }

// distinct sends keys that are all new. The memory that this takes is a figure where
// there are many connections.
func distinct(t *target, connections int, duration time.Duration) ([]measure, error) {
	_ = t.server.ResetPeak()
	l := t.loadOf(connections, prefix(), itself, never)
	l.Duration = duration
	result, err := t.run(l)
	name := fmt.Sprintf("distinct keys, %d", connections)
	measures := []measure{
		{name, t.name, result.PerSecond(), "/s"},
		{name + ", median latency", t.name, milliseconds(result.Quantile(0, 0.5)), "ms"},
		{name + ", p99 latency", t.name, milliseconds(result.Quantile(0, 0.99)), "ms"},
	}
	if connections == 256 {
		f, _ := t.server.Footprint()
		measures = append(measures, measure{"memory, 256 connections", t.name, float64(f.Peak) / (1 << 20), "MiB"})
	}
	return measures, err
}

// ofTenants sends distinct keys of so many tenants, which take turns.
func ofTenants(t *target, connections, tenants int, duration time.Duration) ([]measure, error) {
	l := t.loadOf(connections, prefix(), itself, never)
	l.Duration = duration
	l.Header = func(out []byte, n int) []byte {
		return append(strconv.AppendInt(append(out, "X-Tenant: tenant "...), int64(n%tenants), 10), "\r\n"...)
	}
	result, err := t.run(l)
	return []measure{{fmt.Sprintf("tenants: %d, %d", tenants, connections), t.name, result.PerSecond(), "/s"}}, err
}

// replays sends keys that were sent before, of so many different ones.
func replays(t *target, connections, keys int, duration time.Duration) ([]measure, error) {
	name := fmt.Sprintf("replays of distinct keys, %d", connections)
	if keys == 1 {
		name = fmt.Sprintf("replays of one key, %d", connections)
	}
	return replaysWith(t.requests.create, name, t, connections, keys, duration)
}

// replaysOfUpdates sends keys of updateProject, whose calls run singly, that were
// sent before.
func replaysOfUpdates(t *target, connections, keys int, duration time.Duration) ([]measure, error) {
	return replaysWith(update, fmt.Sprintf("replays of updateProject, %d", connections), t, connections, keys, duration)
}

func replaysWith(write func(out, key []byte, n int) []byte, name string, t *target, connections, keys int, duration time.Duration) ([]measure, error) {
	names := prefix()
	first := t.loadWith(write, connections, names, itself, never)
	first.Requests = keys
	if _, err := t.run(first); err != nil {
		return nil, err
	}
	again := t.loadWith(write, connections, names, func(n int) int { return n % keys }, always)
	again.Duration = duration
	result, err := t.run(again)
	return []measure{{name, t.name, result.PerSecond(), "/s"}}, err
}

// mix sends one replay in twenty calls.
func mix(t *target, connections int, duration time.Duration) ([]measure, error) {
	names := prefix()
	const every = 20
	first := t.loadOf(connections, names, itself, never)
	first.Requests = 1000
	if _, err := t.run(first); err != nil {
		return nil, err
	}
	l := t.loadOf(connections, names,
		func(n int) int {
			if n%every == 0 {
				return n / every % first.Requests
			}
			return first.Requests + n
		},
		func(n int) bool { return n%every == 0 })
	l.Duration = duration
	result, err := t.run(l)
	return []measure{{fmt.Sprintf("5 %% replays, %d", connections), t.name, result.PerSecond(), "/s"}}, err
}

// burst lets many callers send one new key at once.
func burst(t *target, callers int) ([]measure, error) {
	l := t.loadOf(callers, prefix(), func(int) int { return 0 }, never)
	l.Requests = callers
	check := l.Check
	l.Check = func(n, status int, answer []byte) error {
		if check(n, status, answer) == nil { // The one that executed.
			return nil
		}
		return t.requests.check(status, answer, 0, true)
	}
	result, err := t.run(l)
	return []measure{{fmt.Sprintf("burst of %d on one key", callers), t.name, milliseconds(result.Elapsed), "ms"}}, err
}

// A poison is the name of a project that can't be created, and the code of the
// error that says so.
type poison struct{ kind, name, code string }

var poisons = []poison{
	{"by its own error", " ", "BAD_USER_INPUT"},
	{"by a database error", "Poison", "INTERNAL"},
}

// poisoned sends distinct keys, of which one in a hundred fails.
func poisoned(t *target, connections int, poison poison, duration time.Duration) ([]measure, error) {
	names := prefix()
	l := t.loadOf(connections, names, itself, never)
	l.Duration = duration
	create, check := l.Request, l.Check
	const every = 100
	l.Request = func(out []byte, n int) []byte {
		if n%every != 0 {
			return create(out, n)
		}
		out = append(out, `{"query":"mutation Poison($name: String!, $key: String!) { createProject(input: {name: $name}, `+
			`idempotencyKey: $key) { project { id } } }","variables":{"name":"`...)
		out = append(append(append(out, poison.name...), `","key":"`...), names...)
		return append(strconv.AppendInt(out, int64(n), 10), `"}}`...)
	}
	l.Check = func(n, status int, answer []byte) error {
		if n%every != 0 {
			return check(n, status, answer)
		}
		if status != 200 || !contains(answer, `"code":"`+poison.code+`"`) {
			return fmt.Errorf("the poison was answered %d %s", status, answer)
		}
		return nil
	}
	result, err := t.run(l)
	return []measure{{fmt.Sprintf("1 %% refused %s, %d", poison.kind, connections), t.name, result.PerSecond(), "/s"}}, err
}

// neighbour sends distinct keys, while one call in a hundred is an updateProject
// that takes 50 ms, or none is.
func neighbour(t *target, connections int, slow bool, duration time.Duration) ([]measure, error) {
	names := prefix()
	l := t.loadOf(connections, names, itself, never)
	l.Duration = duration
	name := "without a slow neighbour"
	if slow {
		name = "with a slow neighbour"
		create, check := l.Request, l.Check
		const every = 100
		l.Class = func(n int) int {
			if n%every == 0 {
				return 1
			}
			return 0
		}
		l.Request = func(out []byte, n int) []byte {
			if n%every != 0 {
				return create(out, n)
			}
			// Another name each time: an update that changes nothing has no effect to be slow.
			out = append(out, `{"query":"mutation Slow($id: ID!, $name: String!, $key: String!) { updateProject(input: {id: $id, name: $name}, `+
				`idempotencyKey: $key) { project { name } } }","variables":{"id":"`...)
			out = append(out, slowProject...)
			out = append(out, `","name":"Slow `...)
			out = strconv.AppendInt(out, int64(n), 10)
			out = append(out, `","key":"slow`...)
			out = append(out, names...)
			return append(strconv.AppendInt(out, int64(n), 10), `"}}`...)
		}
		l.Check = func(n, status int, answer []byte) error {
			if n%every != 0 {
				return check(n, status, answer)
			}
			if want := `"name":"Slow `; status != 200 || !contains(answer, want) {
				return fmt.Errorf("the slow neighbour was answered %d %s", status, answer)
			}
			return nil
		}
	}
	result, err := t.run(l)
	return []measure{{"p99 of createProject " + name, t.name, milliseconds(result.Quantile(0, 0.99)), "ms"}}, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
