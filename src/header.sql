-- SPDX-License-Identifier: PostgreSQL
-- First in every script: nothing below depends on the caller's search_path, and nobody runs it by hand.
\echo Use "CREATE EXTENSION probectl" to load this file. \quit
SET LOCAL search_path = pg_catalog, pg_temp;
