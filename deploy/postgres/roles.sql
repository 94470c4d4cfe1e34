-- The database and the roles of OnceQL, from nothing, on PostgreSQL 14 or newer. Run once, as
-- a superuser, with psql, which has the passwords from its environment:
--
--   ONCEQL_OWNER_PASSWORD=… ONCEQL_PASSWORD=… ONCEQL_OPERATOR_PASSWORD=… psql -f roles.sql
--
-- Then `onceql migrate up` makes the tables, and grants each role what it needs.

\set ON_ERROR_STOP on
\set owner_password `printenv ONCEQL_OWNER_PASSWORD`
\set server_password `printenv ONCEQL_PASSWORD`
\set operator_password `printenv ONCEQL_OPERATOR_PASSWORD`

select '' in (:'owner_password', :'server_password', :'operator_password') as missing \gset
\if :missing
    do $$ begin raise exception 'set ONCEQL_OWNER_PASSWORD, ONCEQL_PASSWORD and ONCEQL_OPERATOR_PASSWORD'; end $$;
\endif

-- PostgreSQL's log has no passwords, whatever it logs else.
set log_statement = 'none';
set log_min_error_statement = 'panic';
set log_min_duration_statement = -1;

-- It owns the tables, and migrates them: MIGRATION_DATABASE_URL.
create role onceql_owner login password :'owner_password';
-- The server's own, which owns nothing: DATABASE_URL.
create role onceql login password :'server_password';
-- For people who look at the keys of all tenants: OPERATOR_DATABASE_URL.
create role onceql_operator login password :'operator_password';

create database onceql owner onceql_owner encoding 'UTF8' template template0;
revoke all on database onceql from public;
grant connect on database onceql to onceql, onceql_operator;

\connect onceql
-- From PostgreSQL 15 on it is so by itself: the database's owner alone may create tables.
alter schema public owner to onceql_owner;
revoke create on schema public from public;
