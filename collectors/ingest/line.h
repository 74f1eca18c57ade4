/* SPDX-License-Identifier: PostgreSQL
 *
 * line.h -- batches that wait for a connection, by tenant.
 *
 * A lane is what waits of one tenant, in the order in which it came; lanes take turns, so a tenant with many batches does
 * not delay those with few. What must go alone (group.h) is a lane by itself. A lane is ripe, or gathers until
 * line_ripen() or until it fills a group; what comes to a ripe one is ripe at once.
 */
#ifndef PCTL_INGEST_LINE_H
#define PCTL_INGEST_LINE_H

#include <stdbool.h>
#include <sys/queue.h>

#include "ingest/db.h"

#define LINE_ROWS 256

struct lane;
TAILQ_HEAD(lanes, lane);

struct line
{
	struct lanes ripe, gathering;
	TAILQ_HEAD(, lane) rows[LINE_ROWS]; /* lanes of tenants, by a hash of the tenant */
};

void line_init(struct line *line);

/* Takes the request over; ripe: it need not wait for company. */
void line_put(struct line *line, struct db_request *request, bool ripe);

/* Lanes whose first request was submitted (queued_at) at this time or before are ripe. */
void line_ripen(struct line *line, int64_t until);

bool line_ripe(const struct line *line);
bool line_gathers(const struct line *line);

/* The first of the ripe lane whose turn it is; NULL when none is ripe. */
struct db_request *line_take(struct line *line);

/* What is next of the lane that the one taken last came from, and stays there; NULL when that was all. */
struct db_request *line_also(const struct line *line, const struct db_request *taken);

/* The lane it came from waits for its next turn. */
void line_turn(struct line *line, const struct db_request *taken);

#endif
