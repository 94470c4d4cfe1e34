package tenants_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/onceql/onceql/internal/tenants"
)

// A row is a line of an export, and its columns.
type row struct {
	text    json.RawMessage
	columns map[string]json.RawMessage
}

// read reads an export, as docs/operations/tenants.md describes it.
func read(t testing.TB, text io.Reader) (header tenants.Header, projects, keys []row, end tenants.End) {
	t.Helper()
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 16<<20)
	strictly := func(value any) {
		t.Helper()
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(value); err != nil {
			t.Fatalf("%v: %q", err, lines.Bytes())
		}
	}
	if !lines.Scan() {
		t.Fatal("it has no line")
	}
	strictly(&header)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), `{"end"`) {
			strictly(&end)
			if lines.Scan() {
				t.Errorf("behind its end there is %q", lines.Text())
			}
			return header, projects, keys, end
		}
		var either tenants.Row
		strictly(&either)
		into, read := &projects, row{text: either.Project}
		if either.Key != nil {
			into, read = &keys, row{text: either.Key}
		}
		if err := json.Unmarshal(read.text, &read.columns); err != nil {
			t.Fatal(err)
		}
		*into = append(*into, read)
	}
	t.Fatal("it has no end")
	return header, projects, keys, end
}

// An export can be read back: it has every column of every row of the tenant, and no others.
func TestExport_HasEveryRowOfTheTenantAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, tenant := range []string{"", hostile, "neighbour"} {
		f.keys(tenant, "createProject", 3)
		f.projects(tenant, 4)
	}
	payloads := []string{"{\n\t\"a\" : 1.50e3,\r\n \"b\":\"\\u0000\\n\\ud800 ☃\u2028<&>\", \"a\": 2}", `{"deep":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, `"` + strings.Repeat("x", 100_000) + `"`}
	for i, payload := range payloads {
		f.exec(`update idempotency_keys set response_json = $1 where key = $2`, payload, fmt.Sprintf("createProject-%d", i+1))
	}
	for _, tenant := range []string{"", hostile} {
		var text bytes.Buffer
		exported, err := tenants.Export(t.Context(), f.pool, tenant, &text)
		if err != nil {
			t.Fatal(err)
		}
		header, projects, keys, end := read(t, &text)
		if header.Format != tenants.ExportFormat || header.Version != 1 || header.Tenant != tenant || header.ExportedAt.IsZero() || header.Schema == 0 {
			t.Errorf("its header is %+v", header)
		}
		if want := (tenants.Exported{Projects: 4, Keys: 3}); exported != want || end.End != want || len(projects) != 4 || len(keys) != 3 {
			t.Fatalf("it has %d projects and %d keys, and says %+v and %+v", len(projects), len(keys), exported, end.End)
		}
		for i, payload := range payloads {
			at := slices.IndexFunc(keys, func(row row) bool {
				return string(row.columns["key"]) == fmt.Sprintf(`"createProject-%d"`, i+1)
			})
			if want := strings.NewReplacer("\n", " ", "\r", " ").Replace(payload); at < 0 || string(keys[at].columns["response_json"]) != want {
				t.Errorf("a payload of %d bytes is not as it is stored", len(payload))
			}
		}
		f.wantRows("idempotency_keys", keys)
		f.wantRows("projects", projects)
	}
}

// unread are the escapes that Postgres stores in a payload and reads in none.
const unread = `\\+u(0000|d800)`

// wantRows checks that the rows have all columns of the table, and that Postgres reads them
// back as those that it has.
func (f fixture) wantRows(table string, rows []row) {
	f.t.Helper()
	var columns []string
	if err := f.owner.QueryRow(f.t.Context(), `
		select array_agg(attname::text order by attname)
		from pg_attribute
		where attrelid = $1::regclass and attnum > 0 and not attisdropped`, table).Scan(&columns); err != nil {
		f.t.Fatal(err)
	}
	for _, row := range rows {
		if diff := cmp.Diff(columns, slices.Sorted(maps.Keys(row.columns))); diff != "" {
			f.t.Fatalf("a row has other columns than %s:\n%s", table, diff)
		}
		var found int
		err := f.owner.QueryRow(f.t.Context(), `
			select count(*) from `+table+` as stored
			where regexp_replace(translate(stored::text, E'\n\r', '  '), $2, '', 'g') = json_populate_record(null::`+table+`, regexp_replace($1, $2, '', 'g')::json)::text`,
			string(row.text), unread).Scan(&found)
		if err != nil || found != 1 {
			f.t.Errorf("%d rows of %s are as exported: %v", found, table, err)
		}
	}
}

// writer calls before before each write.
type writer struct {
	io.Writer
	before func() error
}

func (w writer) Write(p []byte) (int, error) {
	if err := w.before(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

// What is stored and removed while an export is written changes nothing of it.
func TestExport_IsOfOneMoment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 2000)
	f.projects("acme", 2000)
	var text bytes.Buffer
	writes := 0
	_, err := tenants.Export(t.Context(), f.pool, "acme", writer{&text, func() error {
		writes++
		f.keys("acme", fmt.Sprintf("later-%d", writes), 10)
		f.projects("acme", 10)
		_, err := f.owner.Exec(t.Context(), `delete from idempotency_keys where key in (select key from idempotency_keys where scope = 'acme' order by key limit 100)`)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, projects, keys, _ := read(t, &text); writes < 3 || len(projects) != 2000 || len(keys) != 2000 {
		t.Errorf("after %d changes it has %d projects and %d keys", writes, len(projects), len(keys))
	}
}

// However much there is, little of it is in memory.
func TestExport_HoldsOneRowAtATime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 60)
	f.exec(`update idempotency_keys set response_json = to_json(repeat('x', 1000000))`)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var written, most uint64
	_, err := tenants.Export(t.Context(), f.pool, "acme", writer{counter{&written}, func() error {
		if written/10_000_000 > most/10_000_000 || written == 0 { // Now and then.
			var now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	}})
	if err != nil || written < 60_000_000 {
		t.Fatalf("it wrote %d bytes: %v", written, err)
	}
	if most > before.HeapAlloc+20_000_000 {
		t.Errorf("%d bytes are in memory while %d are written", most-before.HeapAlloc, written)
	}
}

type counter struct{ written *uint64 }

func (c counter) Write(p []byte) (int, error) {
	*c.written += uint64(len(p))
	return len(p), nil
}

// Who can't write learns it, and so does who reads: there is no end.
func TestExport_ThatCanNotBeWrittenIsNotWhole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 1000)
	full := errors.New("no space left on device")
	var text bytes.Buffer
	writes := 0
	_, err := tenants.Export(t.Context(), f.pool, "acme", writer{&text, func() error {
		if writes++; writes == 2 {
			return full
		}
		return nil
	}})
	if !errors.Is(err, full) || strings.Contains(text.String(), `{"end"`) {
		t.Errorf("%v, and it ends with %q", err, text.String()[max(0, text.Len()-40):])
	}
}

// The form of times and bytes is the format's, and not the database's setting.
func TestExport_IsOfOneFormWhateverTheDatabaseIsSetTo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.keys("acme", "createProject", 1)
	f.exec(`do $$ begin
		execute format('alter database %I set bytea_output = escape', current_database());
		execute format('alter database %I set timezone = ''Asia/Kolkata''', current_database());
		execute format('alter database %I set datestyle = ''German, DMY''', current_database());
	end $$`)
	f.pool.Reset()
	var text bytes.Buffer
	if _, err := tenants.Export(t.Context(), f.pool, "acme", &text); err != nil {
		t.Fatal(err)
	}
	_, _, keys, _ := read(t, &text)
	hash, at := string(keys[0].columns["request_hash"]), string(keys[0].columns["created_at"])
	if !strings.HasPrefix(hash, `"\\x`) || len(hash) != len(`"\\x"`)+64 || !strings.HasSuffix(at, `+00:00"`) {
		t.Errorf("it has the hash %s, and was created at %s", hash, at)
	}
}
