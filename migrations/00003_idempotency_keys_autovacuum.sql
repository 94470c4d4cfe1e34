-- +goose Up
-- For tables made before the schema said so, see idempotency/schema.sql.
alter table idempotency_keys set (autovacuum_vacuum_scale_factor = 0.05);
