/* SPDX-License-Identifier: PostgreSQL
 *
 * events.h -- event streams (text/event-stream), separated by tenant.
 *
 * A stream belongs to the tenant its credential led to, told by the database in the
 * transaction that checked the credential. A notification names a tenant and a kind; it
 * reaches the streams of that tenant and nothing else does.
 */
#ifndef PCTL_GATEWAY_EVENTS_H
#define PCTL_GATEWAY_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVENTS_PER_SECOND 5     /* per tenant and kind */
#define EVENTS_COMMENT_MS 15000 /* keeps proxies from closing a quiet stream */
#define EVENTS_RECHECK_MS 12000 /* a credential that ended ends its stream within 15 s */

struct conn;

/* Turns a connection into a stream of this tenant. The token is kept for the re-check. */
void events_subscribe(struct conn *c, const char *tenant, const char *token);
size_t events_count(void);

/* A notification's payload: "<tenant uuid> <kind>". */
void events_notified(const char *payload);

/* The database is lost; it is back (whatever happened meanwhile is announced as every kind). */
void events_degraded(void);
void events_restored(void);

void events_tick(int64_t now_ms);
void events_start(void);
void events_stop(void);

#endif
