-- +goose Up
-- For tables made before the schema said so, see idempotency/schema.sql. The default
-- rewrites nothing, and servers of the build before, which don't name the column, insert
-- with it: their rows are kept for at least their 72 hours.
alter table idempotency_keys
    add column if not exists retained_until timestamptz not null default now() + interval '72 hours';

-- Whoever purges, and by whatever rule, removes no row whose retention is not over.
drop policy purge_sees on idempotency_keys;
create policy purge_sees on idempotency_keys for select
    using (expires_at < now() and retained_until < now() and current_setting('onceql.purge', true) = 'on');
drop policy purge_removes on idempotency_keys;
create policy purge_removes on idempotency_keys for delete
    using (expires_at < now() and retained_until < now() and current_setting('onceql.purge', true) = 'on');
