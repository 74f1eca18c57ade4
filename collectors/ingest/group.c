/* SPDX-License-Identifier: PostgreSQL
 *
 * group.c -- see group.h. Parameters are arrays in PostgreSQL's binary form (array_recv): number of
 * dimensions, flags, element type, elements, lower bound, then each element with its length; all of 4
 * bytes, most significant first.
 */
#include "ingest/group.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/mem.h"

#define OID_BYTEA 17
#define OID_TEXT  25

enum array
{
	ARRAY_AGENTS,
	ARRAY_SERIALS,
	ARRAY_PLANES,
	ARRAY_BATCHES,
	ARRAYS
};

bool
group_may(const struct db_request *request)
{
	for (int i = 0; i < request->item_count; i++)
		if (request->items[i].statement != DB_INGEST || request->items[i].place != NULL ||
		    request->items[i].who[0] != NULL)
			return false;
	return request->bulk && !request->alone;
}

static size_t
request_bytes(const struct db_request *request)
{
	size_t bytes = 0;

	for (int i = 0; i < request->item_count; i++)
		bytes += (size_t) request->items[i].lengths[1];
	return bytes;
}

bool
group_small(const struct db_request *request)
{
	return group_may(request) && request_bytes(request) <= GROUP_BYTES_SMALL;
}

struct group *
group_new(struct db_request *first)
{
	struct group *group = mem_alloc(sizeof(*group));

	group->request.tenant = first->tenant;
	group->request.group = group;
	group->request.bulk = true;
	(void) group_add(group, first);
	return group;
}

bool
group_add(struct group *group, struct db_request *request)
{
	size_t bytes = request_bytes(request);

	if (group->count == GROUP_MEMBERS_MAX || strcmp(group->request.tenant, request->tenant) != 0 ||
	    (group->count > 0 && group->bytes + bytes > GROUP_BYTES_MAX))
		return false;
	group->members[group->count++] = request;
	group->rows += request->item_count;
	group->bytes += bytes;
	return true;
}

/* The element of a batch, and its length. */
static const char *
element(const struct db_request *member, const struct db_item *item, enum array which, size_t *len)
{
	const char *const texts[ARRAYS] = {member->agent, member->serial, item->values[0],
	                                   item->values[1]};

	*len = which == ARRAY_BATCHES ? (size_t) item->lengths[1] : strlen(texts[which]);
	return texts[which];
}

static char *
put32(char *to, size_t value)
{
	uint32_t wire = htonl((uint32_t) value);

	memcpy(to, &wire, sizeof(wire));
	return to + sizeof(wire);
}

static char *
array_make(const struct group *group, enum array which, int *total)
{
	size_t len, size = 20;
	char *array, *to;

	for (int m = 0; m < group->count; m++)
		for (int i = 0; i < group->members[m]->item_count; i++)
		{
			(void) element(group->members[m], &group->members[m]->items[i], which, &len);
			size += 4 + len;
		}
	array = mem_alloc(size);
	to = put32(put32(array, 1), 0);
	to = put32(to, which == ARRAY_BATCHES ? OID_BYTEA : OID_TEXT);
	to = put32(put32(to, (size_t) group->rows), 1);
	for (int m = 0; m < group->count; m++)
		for (int i = 0; i < group->members[m]->item_count; i++)
		{
			const char *bytes = element(group->members[m], &group->members[m]->items[i], which,
			                            &len);

			to = put32(to, len);
			memcpy(to, bytes, len);
			to += len;
		}
	*total = (int) size;
	return array;
}

void
group_seal(struct group *group)
{
	struct db_item *item = &group->request.items[0];

	group->request.item_count = 1;
	item->statement = DB_GROUP;
	item->values[0] = group->request.tenant;
	for (int which = 0; which < ARRAYS; which++)
	{
		group->arrays[which] = array_make(group, which, &item->lengths[which + 1]);
		item->values[which + 1] = group->arrays[which];
	}
}

/* One row of the answer as an answer of its own. */
static PGresult *
row_copy(const PGresult *answer, int row)
{
	PGresult *one = PQcopyResult(answer, PG_COPYRES_ATTRS);

	for (int column = 0; one != NULL && column < PQnfields(answer); column++)
		if (!PQsetvalue(one, 0, column, PQgetvalue(answer, row, column),
		                PQgetlength(answer, row, column)))
		{
			PQclear(one);
			one = NULL;
		}
	if (one == NULL)
		log_fatal("database", NULL, "out of memory");
	return one;
}

void
group_divide(struct group *group)
{
	int row = 0;

	for (int m = 0; m < group->count; m++)
	{
		struct db_request *member = group->members[m];

		for (int i = 0; i < member->item_count; i++)
			member->items[i].result = row_copy(group->request.items[0].result, row++);
		member->done = member->item_count;
	}
}

void
group_free(struct group *group)
{
	PQclear(group->request.items[0].result);
	for (int which = 0; which < ARRAYS; which++)
		free(group->arrays[which]);
	free(group);
}
