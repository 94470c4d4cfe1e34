-- +goose Up
create table projects (
    tenant      text collate "C" not null,
    id          uuid             not null,
    name        text             not null,
    description text,
    created_at  timestamptz      not null,
    updated_at  timestamptz      not null,
    archived_at timestamptz,
    constraint projects_pkey primary key (tenant, id),
    constraint projects_name_check check (char_length(name) between 1 and 200),
    constraint projects_description_check check (char_length(description) <= 10000)
);

-- A page of projects is a range of this index, newest first.
create index projects_newest_idx on projects (tenant, created_at desc, id desc);
