-- +goose Up
-- What operators did to keys: a row is written in the transaction of what it tells of. The
-- server's role has no right here, and an operator's may read and add. Keys are named by
-- their hash, see idempotency.KeyHash: what is forgotten may be personal data, and this stays.
create table operator_actions (
    -- One command, and the transactions of it.
    id           uuid        not null,
    part         integer     not null,
    -- An operator may not name these two columns, so they are as the database has it.
    acted_at     timestamptz not null default now(),
    role         text        not null default session_user,
    -- Who it was, as the command knows: the user and host that ran it.
    operator     text        not null,
    action       text        not null,
    reason       text        not null,
    -- Whose rows; null where they are not those of one tenant. No hash: of more than one key.
    scope        text collate "C",
    key_hash     text,
    removed      bigint      not null,
    -- What the row was, where it is one.
    operation    text,
    request_id   text,
    trace_id     text,
    request_hash bytea,
    hash_version smallint,
    executed_at  timestamptz,
    expires_at   timestamptz,
    constraint operator_actions_pkey primary key (id, part)
);

create index operator_actions_newest_idx on operator_actions (acted_at desc, id desc, part desc);

insert into schema_compatibility (version, oldest_build) values (11, 9);
