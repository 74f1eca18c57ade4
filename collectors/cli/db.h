/* SPDX-License-Identifier: PostgreSQL
 *
 * db.h -- the private cluster as its superuser, through libpq.
 *
 * A command that meets an error it did not ask for ends with one line; the few
 * that are expected (an object exists already) are asked for by SQLSTATE.
 */
#ifndef PCTL_CLI_DB_H
#define PCTL_CLI_DB_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/home.h"
#include "cli/util.h"

/* libpq conninfo of the home's cluster for that database and role. */
char *db_conninfo(const struct home *home, const char *database, const char *role);

/* Connects as the superuser; NULL with a message when that fails. */
PGconn *db_try_connect(const struct home *home, const char *database, struct util_error *err);

/* The same, or the end of the process. */
PGconn *db_connect(const struct home *home, const char *database);

/*
 * Runs a statement with text parameters and waits with progress (step.h). Any
 * error ends the process, except SQLSTATE allowed (may be NULL): then NULL.
 */
PGresult *db_query(PGconn *conn, const char *allowed, const char *sql, int count,
                   const char *const *params);

/* First column of the first row in pool memory; NULL for no row or SQL NULL. */
char *db_value(PGconn *conn, const char *sql, int count, const char *const *params);

/* A statement (or several, without parameters) whose answer does not matter. */
void db_run(PGconn *conn, const char *sql);

/* Opens a transaction bound to that tenant (slug); ends the process if there is none. */
void db_enter_tenant(PGconn *conn, const char *slug);

#endif
