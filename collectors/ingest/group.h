/* SPDX-License-Identifier: PostgreSQL
 *
 * group.h -- batches of several agents of one tenant in one transaction.
 *
 * Thousands of agents that send a result a second each would cost a commit each, and it is
 * commits that a disk bounds. What waits shares one: for a connection (line.h), or, when thousands come, for each
 * other (gather.h). The database takes all of it or nothing; when it refuses, the members
 * are asked for one by one, and the refusal meets the one it is for.
 */
#ifndef PCTL_INGEST_GROUP_H
#define PCTL_INGEST_GROUP_H

#include <stdbool.h>
#include <stddef.h>

#include "ingest/db.h"

#define GROUP_MEMBERS_MAX 64
#define GROUP_BYTES_MAX   (1024 * 1024)
#define GROUP_BYTES_SMALL 4096 /* about ten results */

struct group
{
	struct db_request request; /* what is sent: one item, DB_GROUP */
	int count;
	int rows; /* batches of all members: rows of the answer */
	size_t bytes;
	struct db_request *members[GROUP_MEMBERS_MAX];
	char *arrays[4]; /* parameters: agents, serials, planes, batches */
};

/* Whether the request may share a transaction: batches only, not from the bus, not refused before. */
bool group_may(const struct db_request *request);

/* Whether it costs more to take than it has in it, so that company is worth waiting for. */
bool group_small(const struct db_request *request);

struct group *group_new(struct db_request *first);

/* False when it is another tenant's, or there is no room. */
bool group_add(struct group *group, struct db_request *request);

/* Makes the parameters; after the last member. complete and owner are the caller's. */
void group_seal(struct group *group);

/* After a commit: gives each member its rows and counts it as done. */
void group_divide(struct group *group);

void group_free(struct group *group);

#endif
