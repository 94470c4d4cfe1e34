-- What each idempotency key did. A row is written in the transaction of the
-- effect that it describes, and never updated.
create table idempotency_keys (
    -- The tenant leads the primary key, so that a distributed engine can place
    -- a tenant's keys together. Keys compare as bytes, in every locale.
    scope         text collate "C" not null,
    key           text collate "C" not null,
    operation     text             not null,
    request_hash  bytea            not null,
    hash_version  smallint         not null,
    -- json, not jsonb: jsonb rewrites numbers and refuses \u0000, and an answer
    -- is replayed byte for byte.
    response_json json             not null,
    request_id    text,
    -- Tells an execution's own row from another's when a COMMIT went unanswered.
    execution_id  uuid             not null,
    created_at    timestamptz      not null,
    -- Until when the result is replayed, and until when the key is kept and refused.
    expires_at     timestamptz     not null,
    retained_until timestamptz     not null default now() + interval '72 hours',
    -- The trace that executed, as W3C Trace Context writes its id, and mostly the id of
    -- the span in it, to which a replay's span links.
    trace_id       text,
    constraint idempotency_keys_pkey primary key (scope, key),
    constraint idempotency_keys_request_hash_check check (octet_length(request_hash) = 32),
    constraint idempotency_keys_trace_id_check check (trace_id ~ '^[0-9a-f]{32}(-[0-9a-f]{16})?$')
)
-- All rows are purged in the end, in the order of their age. Vacuumed after 20 % of
-- them, which is the default, the table grows to 1.4 times its live rows; after
-- 5 %, to 1.15 times (docs/performance.md).
with (autovacuum_vacuum_scale_factor = 0.05);

-- The purge walks the rows in the order in which their retention ends.
create index idempotency_keys_retained_until_idx on idempotency_keys (retained_until);

-- What was executed, newest first, of a scope and of all. Only listing reads these.
create index idempotency_keys_newest_idx on idempotency_keys (scope, created_at, key);
create index idempotency_keys_created_at_idx on idempotency_keys (created_at);
