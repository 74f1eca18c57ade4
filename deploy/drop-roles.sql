-- SPDX-License-Identifier: PostgreSQL
--
-- Removes the roles that CREATE EXTENSION probectl made. Roles belong to the cluster, not to a
-- database, so DROP EXTENSION leaves them: another database may need them. Run this once, after
-- DROP EXTENSION probectl in every database that had it:
--
--   psql -X -v ON_ERROR_STOP=1 -d postgres -f deploy/drop-roles.sql
--
-- All roles go, or none: while a database still holds something of theirs, the server
-- refuses and says in its DETAIL how much and in which database.
\set ON_ERROR_STOP on
BEGIN;
SELECT format('DROP ROLE %I', rolname)
FROM pg_catalog.pg_roles
WHERE rolname IN ('probectl_gateway', 'probectl_ingest', 'probectl_worker',
                  'probectl_provider', 'probectl_app', 'probectl_owner')
ORDER BY rolcanlogin DESC, rolname
\gexec
COMMIT;
