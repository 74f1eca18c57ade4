/* SPDX-License-Identifier: PostgreSQL
 *
 * latest.h -- the newest result of each test, as the API gives it, for a terminal.
 */
#ifndef PCTL_CLI_LATEST_H
#define PCTL_CLI_LATEST_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/fetch.h"

/* The newest results; NULL with a message in answer when there is no good answer. */
json_t *latest_load(const struct fetch_target *target, int limit, struct fetch_answer *answer);

/* A table of at most rows lines and columns characters; ends lines with eol. */
void latest_table(const json_t *list, int rows, int columns, const char *eol);

/* Both, to standard output. */
void latest_print(const struct fetch_target *target, int rows);

/* Waits for a notification on a connection that listens, at most ms. */
void latest_wait(PGconn *conn, int ms);

#endif
