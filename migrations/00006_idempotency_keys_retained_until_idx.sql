-- +goose NO TRANSACTION
-- +goose Up
-- Calls go on meanwhile. The index on created_at stays for one release: servers of the
-- build before purge by it.
create index concurrently if not exists idempotency_keys_retained_until_idx on idempotency_keys (retained_until);
