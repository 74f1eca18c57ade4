/* SPDX-License-Identifier: PostgreSQL
 *
 * route.h -- the routes of probectl.api_route, matched against a path.
 *
 * A pattern is literal segments and parameters in braces. Where two patterns fit, the one
 * with a literal at the first difference wins.
 */
#ifndef PCTL_GATEWAY_ROUTE_H
#define PCTL_GATEWAY_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/input.h"
#include "lib/buf.h"

#define ROUTE_ALLOW_MAX 96

struct route
{
	char *method;
	char *pattern; /* what probectl.api_call takes as path */
	bool stream;
	size_t count;
	struct route_segment
	{
		char *text; /* literal, or the parameter's name */
		bool parameter;
	} * segments;
};

struct route_table;

struct route_table *route_table_new(void);
void route_table_free(struct route_table *table);

/* False when the pattern is malformed, with a sentence part in err. */
bool route_table_add(struct route_table *table, const char *method, const char *pattern,
                     bool stream, char *err, size_t errlen);

/* Orders the table; before the first lookup. */
void route_table_seal(struct route_table *table);
size_t route_table_size(const struct route_table *table);

/* The route, or NULL: then allow names the methods the path has ("" = no such path). */
const struct route *route_find(const struct route_table *table, const char *method,
                               const struct input_path *path, char allow[ROUTE_ALLOW_MAX]);

/* {"test_id":"..."} */
void route_params(const struct route *route, const struct input_path *path, struct buf *out);

#endif
