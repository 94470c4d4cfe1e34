package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/onceql/onceql/internal/pgtest"
	"github.com/onceql/onceql/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// An index that is built concurrently is there and of no use where its building ended
// early: the server may have been stopped meanwhile.
func TestUp_BuildsAnIndexAgainThatWasCutShort(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range []string{
		`update pg_index set indisvalid = false where indexrelid = 'projects_current_idx'::regclass`,
		`update pg_index set indisvalid = false where indexrelid = 'idempotency_keys_newest_idx'::regclass`,
		`drop table schema_compatibility`,
		`drop table operator_actions`,
		`delete from goose_db_version where version_id >= 8`,
	} {
		if tag, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %s, %v", sql, tag, err)
		}
	}
	if err := migrations.Up(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	for _, index := range []string{"projects_current_idx", "idempotency_keys_newest_idx"} {
		var valid bool
		err = conn.QueryRow(t.Context(), `select indisvalid from pg_index where indexrelid = to_regclass($1)`, index).Scan(&valid)
		if err != nil || !valid {
			t.Errorf("the index %s is valid: %t, %v", index, valid, err)
		}
	}
}
