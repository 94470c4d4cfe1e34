-- +goose NO TRANSACTION
-- +goose Up
-- An index that a server was ended while it made, which no query uses. A table without
-- rows may have one that is good: it is soon made again.
drop index concurrently if exists idempotency_keys_retained_until_idx;

-- Calls go on meanwhile. The index on created_at stays for one release: servers of the
-- build before purge by it.
create index concurrently idempotency_keys_retained_until_idx on idempotency_keys (retained_until);
