-- +goose Up
-- The last barrier between tenants: whatever a statement forgets to say, it sees
-- and writes rows of the tenants in the transaction's setting onceql.tenants, and
-- without the setting none. The owner is held to it as well.
alter table projects enable row level security;
alter table projects force row level security;
-- The subquery is run once, and not for each row.
create policy tenants on projects
    using (tenant = any ((select nullif(current_setting('onceql.tenants', true), '')::text[])::text[]));

alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy tenants on idempotency_keys
    using (scope = any ((select nullif(current_setting('onceql.tenants', true), '')::text[])::text[]));

-- The purge removes rows of all tenants, and sees none that may still be replayed.
create policy purge_sees on idempotency_keys for select
    using (expires_at < now() and current_setting('onceql.purge', true) = 'on');
create policy purge_removes on idempotency_keys for delete
    using (expires_at < now() and current_setting('onceql.purge', true) = 'on');
