/* SPDX-License-Identifier: PostgreSQL
 *
 * route.c -- the routes of probectl.api_route, matched against a path.
 *
 * A few hundred short patterns: a sorted array walked from the start costs less than
 * the copy of one request, and the sort order is the precedence rule.
 */
#include "gateway/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

struct route_table
{
	struct route *routes;
	size_t count;
};

struct route_table *
route_table_new(void)
{
	return mem_alloc(sizeof(struct route_table));
}

static void
route_clear(struct route *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->segments[i].text);
	free(r->segments);
	free(r->method);
	free(r->pattern);
}

void
route_table_free(struct route_table *table)
{
	if (table == NULL)
		return;
	for (size_t i = 0; i < table->count; i++)
		route_clear(&table->routes[i]);
	free(table->routes);
	free(table);
}

/* One segment of a pattern: text or {name}. */
static bool
segment_parse(struct route_segment *seg, const char *p, size_t len)
{
	if (len == 0)
		return false;
	seg->parameter = p[0] == '{';
	if (seg->parameter)
	{
		if (len < 3 || p[len - 1] != '}')
			return false;
		p++;
		len -= 2;
	}
	if (memchr(p, '{', len) != NULL || memchr(p, '}', len) != NULL)
		return false;
	seg->text = mem_alloc(len + 1);
	memcpy(seg->text, p, len);
	return true;
}

bool
route_table_add(struct route_table *table, const char *method, const char *pattern, bool stream,
                char *err, size_t errlen)
{
	struct route r = {.stream = stream};
	const char *p = pattern;
	bool ok = true;

	r.method = mem_strdup(method);
	r.pattern = mem_strdup(pattern);
	r.segments = mem_array(INPUT_SEGMENTS_MAX, sizeof *r.segments);
	while (ok && *p == '/' && r.count < INPUT_SEGMENTS_MAX)
	{
		size_t len = strcspn(++p, "/");

		ok = segment_parse(&r.segments[r.count], p, len);
		r.count += ok;
		p += len;
	}
	if (!ok || r.count == 0 || *p != '\0')
	{
		snprintf(err, errlen, "route pattern \"%s\" is not /segments and /{names}", pattern);
		route_clear(&r);
		return false;
	}
	table->routes = mem_resize(table->routes, table->count + 1, sizeof r);
	table->routes[table->count++] = r;
	return true;
}

/* Literals before parameters at the first segment that differs. */
static int
route_compare(const void *a, const void *b)
{
	const struct route *x = a, *y = b;

	for (size_t i = 0; i < x->count && i < y->count; i++)
	{
		int diff = (int) x->segments[i].parameter - (int) y->segments[i].parameter;

		if (diff == 0)
			diff = strcmp(x->segments[i].text, y->segments[i].text);
		if (diff != 0)
			return diff;
	}
	if (x->count != y->count)
		return x->count < y->count ? -1 : 1;
	return strcmp(x->method, y->method);
}

void
route_table_seal(struct route_table *table)
{
	if (table->count > 1)
		qsort(table->routes, table->count, sizeof *table->routes, route_compare);
}

size_t
route_table_size(const struct route_table *table)
{
	return table->count;
}

static bool
route_fits(const struct route *r, const struct input_path *path)
{
	if (r->count != path->count || path->overflow)
		return false;
	for (size_t i = 0; i < r->count; i++)
	{
		const struct http_slice *have = &path->segments[i];
		const struct route_segment *want = &r->segments[i];

		if (want->parameter
		        ? have->len == 0
		        : have->len != strlen(want->text) || memcmp(have->ptr, want->text, have->len) != 0)
			return false;
	}
	return true;
}

/* Adds a method to an Allow list once. */
static void
allow_add(char *allow, const char *method)
{
	size_t have = strlen(allow);

	if (strstr(allow, method) == NULL)
		snprintf(allow + have, ROUTE_ALLOW_MAX - have, "%s%s", have > 0 ? ", " : "", method);
}

const struct route *
route_find(const struct route_table *table, const char *method, const struct input_path *path,
           char allow[ROUTE_ALLOW_MAX])
{
	allow[0] = '\0';
	for (size_t i = 0; i < table->count; i++)
	{
		const struct route *r = &table->routes[i];

		if (!route_fits(r, path))
			continue;
		if (strcmp(r->method, method) == 0)
			return r;
		allow_add(allow, r->method);
	}
	return NULL;
}

void
route_params(const struct route *route, const struct input_path *path, struct buf *out)
{
	bool first = true;

	buf_put_u8(out, '{');
	for (size_t i = 0; i < route->count; i++)
	{
		const struct route_segment *seg = &route->segments[i];

		if (!seg->parameter)
			continue;
		if (!first)
			buf_put_u8(out, ',');
		first = false;
		input_json_string(out, seg->text, strlen(seg->text));
		buf_put_u8(out, ':');
		input_json_string(out, path->segments[i].ptr, path->segments[i].len);
	}
	buf_put_u8(out, '}');
}
