-- +goose NO TRANSACTION
-- +goose Up
-- A page without archived projects is a range of this index, however many of those there
-- are. Calls go on meanwhile. An attempt that was cut short leaves an invalid index behind.
drop index concurrently if exists projects_current_idx;
create index concurrently projects_current_idx on projects (tenant, created_at desc, id desc) where archived_at is null;
