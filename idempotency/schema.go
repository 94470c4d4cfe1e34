package idempotency

import _ "embed"

// Schema is the SQL that creates the table idempotency_keys with its index, for
// an importer's own migrations. The table is found through the search_path. Policies
// of row-level security may rely on the setting onceql.tenants, a text array: the
// scopes of the transaction; and on onceql.purge, which is on where the purge
// removes rows.
//
//go:embed schema.sql
var Schema string
