// Package idempotency runs operations at most once per idempotency key, on
// PostgreSQL.
//
// # The guarantee
//
// The row that describes a call, its key, the SHA-256 of its payload and its
// result, is committed in one transaction with the call's effect. So there is an
// effect exactly when there is a row, and the primary key allows one:
//
//   - The same key with the same payload gets the stored result again.
//   - The same key with another payload, or for another operation, is
//     [ErrKeyReused], and nothing happens.
//   - The same key while its call still executes waits for that call, in this
//     process or in another, and then gets its result; when the wait ends first
//     it is [ErrInProgress].
//   - The same key after its time to live is [ErrKeyExpired] as long as the row
//     is retained. Then the purge removes it, and the key is new.
//
// A call that fails leaves nothing behind: its effect is rolled back and the key
// is as good as new. After any error that is an [ErrInProgress] or an
// [ErrUnavailable], sending the same key again is right, also when the
// connection broke in the middle of a COMMIT: the row tells what came of it.
//
// # Use
//
//	engine := idempotency.New(pool, idempotency.Config{}) // A *pgxpool.Pool on a database with Schema.
//	defer engine.Close(ctx)
//
//	outcome, err := idempotency.Do(ctx, engine, idempotency.Call{
//		Scope:       tenant,
//		Key:         request.IdempotencyKey,
//		Operation:   "placeOrder",
//		Fingerprint: func(version int16) ([32]byte, bool) { return hash(request), version == 1 },
//	}, func(ctx context.Context, tx pgx.Tx) (Order, error) {
//		return insertOrder(ctx, tx, request) // Everything through tx; the engine commits.
//	})
//	// outcome.Value is the order, outcome.Replayed says whether it was there before.
//
// # Limits
//
// Effects. What an effect does outside of its tx is not undone with it, and may
// happen more than once: an effect runs again when its transaction conflicts with
// another or loses its connection. Calls of other services belong after the commit,
// with a key of their own. An effect's error is not remembered; a refusal that must
// be is a payload. An effect must not end its transaction, use it
// after it has returned, change its session (set, listen, session-level advisory
// locks), nor make a call of its own; what it sets with set local is put back.
//
// Batches. What one call of a [Batch] does never decides what becomes of another:
// when the effect fails, the calls that are to blame are found by bisecting and run
// singly, and the others commit. A call that is slow delays its batch for a quarter of
// the wait, or 250 ms where that is more; effects that differ much in time are best
// run with [Do], or in a batch WithinScope.
//
// Connections. pgxpool tries a connection that was idle for a second, and waits for it as
// long as the call's budget, unless the pool's PingTimeout is shorter. Set it to some
// seconds: a firewall may have forgotten the connection.
//
// Payloads. A result is stored as JSON of at most [MaxPayload] bytes, 1 MiB, and
// every answer is decoded from it, the first one too. encoding/json has to read
// back what it wrote: a type with fields of interface types needs a [Codec]. A
// stored result that lacks a member which the type always writes is not guessed
// at, it is ErrUnavailable; a member that is added later needs omitempty,
// omitzero or a Codec for as long as older results are retained.
//
// Keys. A key is 1 to [MaxKeyLength] bytes, 255, of printable ASCII without
// spaces at its ends. A scope is at most [MaxScopeLength] bytes of UTF-8.
//
// # What the importer provides
//
//   - The table of [Schema] exists in a schema on the search_path.
//   - The pool reaches a primary. A standby refuses the transactions; with
//     several hosts in the address, target_session_attrs=read-write finds the
//     primary.
//   - The pool has a connection for each of [Config].Workers and [Config].Batches, one
//     for look-ups, one for [Engine.Lookup], [Engine.Forget] and the purge, and two for
//     scopes that have nothing running: 10 or more are a good start. A pool that other
//     code uses too makes calls wait for it; a pool of the engine's own does not.
//   - Behind a pooler in transaction mode that does not carry prepared statements
//     over, such as PgBouncer before 1.21, the address has
//     default_query_exec_mode=exec.
//   - An execution takes one advisory lock. The lock table has room for
//     max_locks_per_transaction times max_connections locks, shared with
//     everything else; its defaults are plenty for one engine. When it is full,
//     calls are tried again and then ErrUnavailable.
//   - Fingerprints compare payloads by meaning, so that a client which sends the
//     same input in another form gets its replay. Package gqlidem does that for
//     the mutations of a gqlgen server.
//
// # How it works
//
// An execution is one READ COMMITTED transaction with two round trips besides
// the effect's own. The first begins it, tries a transaction-level advisory lock
// on the key and, in a statement of its own whose snapshot is newer than the
// lock, looks for the row. The second checks what the effect deferred, puts back what
// it set, inserts the row and commits. The lock only saves work. Nobody waits for it
// inside Postgres, where waiting would hold a connection. Where two executions get it
// all the same, the primary key still decides. Callers with the same key in one engine
// share one execution.
//
// The sources of that, in Postgres's documentation:
//
//   - Advisory locks: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
//   - READ COMMITTED, where each statement sees what was committed before it:
//     https://www.postgresql.org/docs/current/transaction-iso.html#XACT-READ-COMMITTED
//   - Uniqueness checks, which wait for another transaction's commit or rollback:
//     https://www.postgresql.org/docs/current/index-unique-checks.html
//   - Error codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
package idempotency
