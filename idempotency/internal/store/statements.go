package store

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// statements are those on the table, named with its schema: what an effect sets as its
// search_path does not lead them elsewhere.
// One key has forms of its own, which cost less than a list of one.
type statements struct {
	table, find, findInScope, findOne, insert, insertOne string
	info, exists, forget, purge, usage                   string
}

// resolve finds the table on the search_path of one of the pool's connections.
func (s *Store) resolve(ctx context.Context, conn *pgx.Conn) (*statements, error) {
	found, err := reachedBy(ctx, conn)
	if err == nil {
		s.sql.Store(found)
	}
	return found, err
}

// reachedBy finds the table on the search_path of q.
func reachedBy(ctx context.Context, q Querier) (*statements, error) {
	var table string
	err := q.QueryRow(ctx, resolveSQL).Scan(&table)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrNoTable
	}
	if err != nil {
		return nil, err
	}
	return statementsOn(table), nil
}

const resolveSQL = `
	select format('%I.%I', nspname, relname)
	from pg_class join pg_namespace on pg_namespace.oid = relnamespace
	where pg_class.oid = to_regclass('idempotency_keys')`

func statementsOn(table string) *statements {
	return &statements{
		table:       table,
		find:        find(table, "(select $1::text[]), (select $2::text[])", "scope, key", "wanted.scope"),
		findInScope: find(table, "(select $2::text[])", "key", "$1"),
		findOne: `
			select ` + columnsOf("stored") + `
			from ` + table + ` as stored
			where stored.scope = $1 and stored.key = $2` + replan,
		insert: stored(table, `
			select scope, key, operation, request_hash, hash_version, response_json::json,
				nullif(request_id, ''), execution_id::uuid, nullif(trace_id, ''), $10::timestamptz, $11::timestamptz, $12::timestamptz
			from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::text[])
				as rows (scope, key, operation, request_hash, hash_version, response_json, request_id, execution_id, trace_id)`, "cardinality($1::text[])"),
		insertOne: stored(table, `
			values ($1::text, $2::text, $3::text, $4::bytea, $5::smallint, $6::text::json,
				nullif($7::text, ''), $8::text::uuid, nullif($9::text, ''), $10::timestamptz, $11::timestamptz, $12::timestamptz)`, "1"),
		info: `
			select operation, coalesce(request_id, ''), coalesce(trace_id, ''), created_at, expires_at, retained_until, expires_at <= now()
			from ` + table + `
			where scope = $1 and key = $2`,
		usage: `
			select count(*), coalesce(sum(pg_column_size(response_json)), 0)
			from (select response_json from ` + table + ` where scope = $1 limit $2) as stored`,
		exists: `select exists (select from ` + table + ` where scope = $1 and key = $2)`,
		forget: `delete from ` + table + ` where scope = $1 and key = $2`,
		// The times stand in both places: a row that is given more time meanwhile is spared.
		purge: `
			with removed as (
				delete from ` + table + `
				where retained_until < now() and expires_at < now()
				and (scope, key) in (
					select scope, key
					from ` + table + `
					where retained_until >= coalesce($1::timestamptz, '-infinity')
					and retained_until < now() and expires_at < now()
					order by retained_until
					limit $2
				)
				returning retained_until
			)
			select count(*), max(retained_until) from removed`,
	}
}

// find looks every key up in the primary key, whatever the planner believes: a plan
// that it made for a small table, and that pgx keeps, would scan the table when it is
// large. The arrays are selected, so that the planner does not see how long they are:
// it would find each worth a plan of its own. Keys of one scope have a form of their
// own, because a distributed engine has them in one place.
func find(table, arrays, columns, scope string) string {
	return `
select ` + columnsOf("found") + `
from unnest(` + arrays + `) as wanted (` + columns + `)
cross join lateral (
	select *
	from ` + table + ` as stored
	where stored.scope = ` + scope + ` and stored.key = wanted.key
	limit 1
) as found
where true` + replan
}

// replan makes that what the effect does is planned as its author means it again, once
// the look-up is planned without scans of the table.
const replan = ` and (select set_config('enable_seqscan', current_setting('onceql.enable_seqscan'), true)) is not null`

func columnsOf(row string) string {
	return row + `.scope, ` + row + `.key, operation, request_hash, hash_version, response_json,
	coalesce(request_id, ''), execution_id, coalesce(trace_id, ''), created_at, expires_at, retained_until`
}

func scanRow(row pgx.CollectableRow) (Row, error) {
	var r Row
	err := row.Scan(&r.Scope, &r.Key.Key, &r.Operation, &r.Hash, &r.HashVersion, &r.Response,
		&r.RequestID, &r.ExecutionID, &r.Trace, &r.CreatedAt, &r.ExpiresAt, &r.RetainedUntil)
	return r, err
}

// arguments are the insert's. Ids are text: pgx can't tell the type of [][16]byte
// without asking Postgres, and in the mode that poolers need it does not ask.
func arguments(rows []Row) []any {
	n := len(rows)
	scopes, keys, operations := make([]string, n), make([]string, n), make([]string, n)
	hashes, versions, responses := make([][]byte, n), make([]int16, n), make([]string, n)
	requestIDs, executionIDs, traces := make([]string, n), make([]string, n), make([]string, n)
	for i, r := range rows {
		scopes[i], keys[i], operations[i] = r.Scope, r.Key.Key, r.Operation
		hashes[i], versions[i], responses[i] = r.Hash, r.HashVersion, string(r.Response)
		requestIDs[i], executionIDs[i], traces[i] = r.RequestID, uuid.UUID(r.ExecutionID).String(), r.Trace
	}
	return []any{
		scopes, keys, operations, hashes, versions, responses, requestIDs, executionIDs, traces,
		rows[0].CreatedAt, rows[0].ExpiresAt, rows[0].RetainedUntil,
	}
}

// stored inserts rows and fails by itself when one of them is missing, as a trigger can
// make it be: the COMMIT behind it in the pipeline is not carried out. It returns its
// rows, because a distributed engine takes another and worse path for inserts that
// return nothing.
func stored(table, rows, number string) string {
	return `
with stored as (
	insert into ` + table + ` (scope, key, operation, request_hash, hash_version, response_json,
		request_id, execution_id, trace_id, created_at, expires_at, retained_until)
	` + rows + `
	returning 1
)
select case when count(*) = ` + number + ` then 1
	else ('only ' || count(*) || ' of ' || ` + number + ` || ' keys were stored')::int end
from stored`
}

// These read and set what the transaction depends on. Temporary tables count: what an
// effect leaves of them stands before the tables of others. Locks are tried, not waited for:
// whoever waits does so outside Postgres, where that holds no connection. A commit is
// durable whatever the role's default is, and no policy sees other tenants.
var (
	claimSQL    = begun(`array(select pg_try_advisory_xact_lock(l) from unnest($1::bigint[]) with ordinality as locks (l, n) order by n)`)
	claimOneSQL = begun(`array(select pg_try_advisory_xact_lock(($1::bigint[])[1]))`)
	// A lock that can be shared is one that nobody executes under.
	probeSQL = begun(`array(select pg_try_advisory_xact_lock_shared(l) from unnest($1::bigint[]) with ordinality as locks (l, n) order by n)`)
)

func begun(locks string) string {
	return `
select now(),
	current_setting('synchronous_standby_names') <> '',
	concat_ws(E'\x1f', current_setting('role'), current_setting('row_security'), current_setting('search_path'),
		case when pg_my_temp_schema() = 0 then 0
			else (select count(*) from pg_class where relnamespace = pg_my_temp_schema()) end),
	pg_advisory_unlock_all()::text,
	` + locks + `,` + settingsSQL
}

const settingsSQL = `
	set_config('onceql.tenants', ($2::text[])::text, true),
	set_config('lock_timeout', $3, true),
	set_config('statement_timeout', $4, true),
	set_config('idle_in_transaction_session_timeout', $5, true),
	set_config('synchronous_commit', case when current_setting('synchronous_commit') in ('off', 'local') then 'on'
		else current_setting('synchronous_commit') end, true),
	set_config('onceql.enable_seqscan', current_setting('enable_seqscan'), true),
	set_config('enable_seqscan', 'off', true)`

// restoreSQL puts back what an effect may have changed and the insert depends on, and lets
// locks of the session go: they would outlive the effect. It fails in another transaction
// than the claim's, as "commit and chain" begins it. A search_path that is set, even to
// what it is, has to be resolved again.
const restoreSQL = `
select case when now() = $6 then 1 else ('another transaction, of ' || now())::int end,
	set_config('role', $1, true), set_config('row_security', $2, true),
	case when current_setting('search_path') <> $3 then set_config('search_path', $3, true) end,
	set_config('onceql.tenants', ($4::text[])::text, true),
	set_config('lock_timeout', $5, true), set_config('statement_timeout', $5, true),
	set_config('synchronous_commit', case when current_setting('synchronous_commit') in ('off', 'local') then 'on'
		else current_setting('synchronous_commit') end, true),
	set_config('transaction_read_only', 'off', true),
	pg_advisory_unlock_all()`

const (
	constraintsSQL = `set constraints all immediate`
	acknowledgeSQL = `select pg_logical_emit_message(true, 'onceql', '')`
)

// Texts returns the statements of the store on the table, schema and name, under names of
// their own. Those that begin and end a transaction, and its savepoints, are not among
// them. A stand-in for Postgres knows the statements by these texts.
func Texts(table string) map[string]string {
	sql := statementsOn(table)
	return map[string]string{
		"resolve": resolveSQL, "check": checkSQL,
		"claim": claimSQL, "claim one": claimOneSQL, "probe": probeSQL,
		"find": sql.find, "find in scope": sql.findInScope, "find one": sql.findOne,
		"constraints": constraintsSQL, "restore": restoreSQL,
		"insert": sql.insert, "insert one": sql.insertOne,
		"acknowledge": acknowledgeSQL,
		"scope":       scopeSQL, "info": sql.info,
		"forgetting": forgettingSQL, "lock": lockSQL, "exists": sql.exists, "forget": sql.forget,
		"purge lock": purgeLockSQL, "purge": sql.purge,
	}
}
