/* SPDX-License-Identifier: PostgreSQL
 *
 * line.c -- see line.h.
 */
#include "ingest/line.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/group.h"
#include "lib/hash.h"
#include "lib/mem.h"

struct lane
{
	TAILQ_ENTRY(lane) turn, row;
	const char *tenant; /* of its first request; NULL: it has one request, which goes alone */
	bool ripe;
	int count;
	struct db_request *head, **tail;
};

void
line_init(struct line *line)
{
	TAILQ_INIT(&line->ripe);
	TAILQ_INIT(&line->gathering);
	for (int i = 0; i < LINE_ROWS; i++)
		TAILQ_INIT(&line->rows[i]);
}

/* Who sends has no part in it, as tenants get their identifiers from us. */
static unsigned
row_of(const char *tenant)
{
	return hash_text(tenant) % LINE_ROWS;
}

static struct lane *
lane_find(const struct line *line, const char *tenant)
{
	struct lane *lane;

	TAILQ_FOREACH (lane, &line->rows[row_of(tenant)], row)
		if (strcmp(lane->tenant, tenant) == 0)
			return lane;
	return NULL;
}

static struct lane *
lane_new(struct line *line, const char *tenant, bool ripe)
{
	struct lane *lane = mem_alloc(sizeof(*lane));

	lane->tail = &lane->head;
	lane->tenant = tenant;
	lane->ripe = ripe;
	TAILQ_INSERT_TAIL(ripe ? &line->ripe : &line->gathering, lane, turn);
	if (tenant != NULL)
		TAILQ_INSERT_TAIL(&line->rows[row_of(tenant)], lane, row);
	return lane;
}

static void
lane_ripen(struct line *line, struct lane *lane)
{
	TAILQ_REMOVE(&line->gathering, lane, turn);
	lane->ripe = true;
	TAILQ_INSERT_TAIL(&line->ripe, lane, turn);
}

void
line_put(struct line *line, struct db_request *request, bool ripe)
{
	const char *tenant = group_may(request) ? request->tenant : NULL;
	struct lane *lane = tenant != NULL ? lane_find(line, tenant) : NULL;

	if (lane == NULL)
		lane = lane_new(line, tenant, ripe);
	request->next = NULL;
	*lane->tail = request;
	lane->tail = &request->next;
	lane->count++;
	if (!lane->ripe && (ripe || lane->count >= GROUP_MEMBERS_MAX))
		lane_ripen(line, lane);
}

void
line_ripen(struct line *line, int64_t until)
{
	struct lane *lane;

	while ((lane = TAILQ_FIRST(&line->gathering)) != NULL && lane->head->queued_at <= until)
		lane_ripen(line, lane);
}

bool
line_ripe(const struct line *line)
{
	return !TAILQ_EMPTY(&line->ripe);
}

bool
line_gathers(const struct line *line)
{
	return !TAILQ_EMPTY(&line->gathering);
}

struct db_request *
line_take(struct line *line)
{
	struct lane *lane = TAILQ_FIRST(&line->ripe);
	struct db_request *request;

	if (lane == NULL)
		return NULL;
	request = lane->head;
	lane->head = request->next;
	lane->count--;
	if (lane->head != NULL && lane->tenant != NULL)
		lane->tenant = lane->head->tenant; /* that of the one taken goes with it */
	if (lane->head == NULL)
	{
		TAILQ_REMOVE(&line->ripe, lane, turn);
		if (lane->tenant != NULL)
			TAILQ_REMOVE(&line->rows[row_of(lane->tenant)], lane, row);
		free(lane);
	}
	return request;
}

struct db_request *
line_also(const struct line *line, const struct db_request *taken)
{
	const struct lane *lane = TAILQ_FIRST(&line->ripe);

	return lane != NULL && lane->tenant != NULL && group_may(taken) &&
	               strcmp(lane->tenant, taken->tenant) == 0
	           ? lane->head
	           : NULL;
}

void
line_turn(struct line *line, const struct db_request *taken)
{
	struct lane *lane = TAILQ_FIRST(&line->ripe);

	if (line_also(line, taken) == NULL)
		return;
	TAILQ_REMOVE(&line->ripe, lane, turn);
	TAILQ_INSERT_TAIL(&line->ripe, lane, turn);
}
