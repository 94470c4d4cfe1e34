-- +goose Up
-- Which older builds may serve on this schema. A migration after this one that the build
-- before it can live with says so, by a row with its own version and that of the oldest
-- build's newest migration. Without one, older builds refuse to start.
create table schema_compatibility (
    version      bigint not null,
    oldest_build bigint not null,
    constraint schema_compatibility_pkey primary key (version)
);

-- Builds that are older than this table do not read it.
insert into schema_compatibility (version, oldest_build) values (9, 4);
