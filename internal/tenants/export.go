package tenants

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
)

// An export is JSON Lines, https://jsonlines.org: a Header, a Row for each project and then
// for each key, and an End. One without an End is not whole.
const (
	// ExportFormat names the format of an export, in its Header.
	ExportFormat = "onceql.tenant"
	// ExportVersion is that of the format. Members that are added raise it not: readers pass
	// over those that they don't know.
	ExportVersion = 1
)

// A Header is the first line of an export.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Tenant  string `json:"tenant"`
	// ExportedAt is the time of the snapshot, by the database's clock, and Schema the newest
	// migration of its tables.
	ExportedAt time.Time `json:"exportedAt"`
	Schema     int64     `json:"schema"`
}

// A Row is a line of an export with one of its members: the columns of a project or of a
// key, by their names. The payload is the member response_json, as it is replayed.
type Row struct {
	Project json.RawMessage `json:"project,omitempty"`
	Key     json.RawMessage `json:"key,omitempty"`
}

// Exported is how many lines of each kind an export has.
type Exported struct {
	Projects int64 `json:"projects"`
	Keys     int64 `json:"keys"`
}

// An End is the last line of an export.
type End struct {
	End Exported `json:"end"`
}

// Export writes all that is stored for the tenant, of one moment, a row at a time. While it
// writes, the database keeps what was removed since, for this snapshot.
func Export(ctx context.Context, database Database, tenant string, to io.Writer) (exported Exported, err error) {
	buffered := bufio.NewWriterSize(to, 64<<10)
	err = reading(ctx, database, 0, func(tx pgx.Tx) error {
		// Times in UTC and bytes in hexadecimal digits, whatever the role's settings.
		if _, err := tx.Exec(ctx, `set local timezone = 'UTC'; set local bytea_output = 'hex'`); err != nil {
			return err
		}
		header := Header{Format: ExportFormat, Version: ExportVersion, Tenant: tenant}
		err := tx.QueryRow(ctx, `select now(), max(version_id) from goose_db_version where is_applied`).Scan(&header.ExportedAt, &header.Schema)
		if err != nil {
			return fmt.Errorf("reading the schema's version: %w", err)
		}
		header.ExportedAt = header.ExportedAt.UTC()
		if err := line(buffered, header); err != nil {
			return err
		}
		if exported.Projects, err = rows(ctx, tx, buffered, "project", `
			select row_to_json(projects) from projects where tenant = $1`, tenant); err != nil {
			return fmt.Errorf("exporting the projects: %w", err)
		}
		if exported.Keys, err = rows(ctx, tx, buffered, "key", `
			select row_to_json(idempotency_keys) from idempotency_keys where scope = $1`, tenant); err != nil {
			return fmt.Errorf("exporting the keys: %w", err)
		}
		if err := line(buffered, End{exported}); err != nil {
			return err
		}
		return buffered.Flush()
	})
	return exported, err
}

func line(to io.Writer, value any) error {
	encoder := json.NewEncoder(to) // It ends each value with a newline.
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// rows writes a line for each row that the query returns as JSON, under the member's name.
func rows(ctx context.Context, tx pgx.Tx, to *bufio.Writer, member, query, tenant string) (written int64, err error) {
	found, err := tx.Query(ctx, query, tenant)
	if err != nil {
		return 0, err
	}
	defer found.Close()
	for found.Next() {
		row := found.RawValues()[0]
		// A stored payload may have newlines, between its tokens alone: none inside of them.
		for _, newline := range []byte("\r\n") {
			for i := bytes.IndexByte(row, newline); i >= 0; i = bytes.IndexByte(row, newline) {
				row[i] = ' '
			}
		}
		for _, text := range [][]byte{[]byte(`{"` + member + `":`), row, []byte("}\n")} {
			if _, err := to.Write(text); err != nil {
				return written, fmt.Errorf("writing: %w", err)
			}
		}
		written++
	}
	return written, found.Err()
}
