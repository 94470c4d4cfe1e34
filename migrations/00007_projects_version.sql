-- +goose Up
-- The default rewrites nothing. Servers of the build before, which don't name the column,
-- insert with it, and their changes leave it as it is.
alter table projects add column version integer not null default 1;
