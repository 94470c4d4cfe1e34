package idempotency

import _ "embed"

// Schema is the SQL that creates the table idempotency_keys with its index, for
// an importer's own migrations. The table is found through the search_path.
//
//go:embed schema.sql
var Schema string
