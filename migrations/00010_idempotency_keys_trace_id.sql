-- +goose Up
-- For tables made before the schema said so, see idempotency/schema.sql. Nothing is rewritten,
-- and servers of the build before, which don't name the column, insert without it. There is
-- nothing to validate either, as no row has one yet: a scan would hold calls up.
alter table idempotency_keys
    add column if not exists trace_id text,
    drop constraint if exists idempotency_keys_trace_id_check,
    add constraint idempotency_keys_trace_id_check check (trace_id ~ '^[0-9a-f]{32}(-[0-9a-f]{16})?$') not valid;

insert into schema_compatibility (version, oldest_build) values (10, 4);
