-- +goose NO TRANSACTION
-- +goose Up
-- A page of calls, newest first, is a range of one of these: those of a tenant, or those of
-- all. Calls go on meanwhile. An attempt that was cut short leaves an invalid index behind.
-- The one on created_at is there already where an older build made the table.
drop index concurrently if exists idempotency_keys_newest_idx;
create index concurrently idempotency_keys_newest_idx on idempotency_keys (scope, created_at, key);
drop index concurrently if exists idempotency_keys_created_at_idx;
create index concurrently idempotency_keys_created_at_idx on idempotency_keys (created_at);

insert into schema_compatibility (version, oldest_build) values (13, 9) on conflict (version) do nothing;
