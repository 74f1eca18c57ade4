/* SPDX-License-Identifier: PostgreSQL
 *
 * ctl.h -- the one connection beside the pool: routes, the API description, readiness, LISTEN.
 */
#ifndef PCTL_GATEWAY_CTL_H
#define PCTL_GATEWAY_CTL_H

#include <stdbool.h>
#include <stdint.h>

struct route_table;

void ctl_start(const char *conninfo);
void ctl_stop(void);
void ctl_tick(int64_t now_ms);

/* Reads the routes again (SIGHUP). */
void ctl_reload(void);

/* The routes last read; NULL before the first contact. */
const struct route_table *ctl_routes(void);

/* The API description last read, and its entity tag; NULL before the first contact. */
const char *ctl_openapi(const char **etag);

/* Whether the database answers now and its workers run. Otherwise a sentence part in reason. */
bool ctl_ready(const char **reason);

/* Whether it answered ever, and what the last attempt met. fatal: waiting will not help. */
bool ctl_ever_ready(void);
const char *ctl_last_error(bool *fatal);

/* "version" and "workers" of probectl.ready(). */
const char *ctl_version(void);
int ctl_workers(void);

#endif
