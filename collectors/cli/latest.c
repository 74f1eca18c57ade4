/* SPDX-License-Identifier: PostgreSQL
 *
 * latest.c -- the newest result of each test, for a terminal.
 *
 * Text from a target (an error message, a name) may hold control characters:
 * what is printed is printable ASCII or UTF-8 beyond it, so that nobody writes
 * escape sequences to an operator's terminal.
 */
#include "cli/latest.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/util.h"

#define API_TIMEOUT_MS 10000

/* Milliseconds of an RFC 3339 UTC time; 0 when it is not one. */
static int64_t
time_parse(const char *text)
{
	struct tm tm = {0};
	double fraction = 0;
	const char *rest;

	rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	if (!rest)
		return 0;
	if (*rest == '.')
		fraction = strtod(rest, NULL);
	return (int64_t) timegm(&tm) * 1000 + (int64_t) (fraction * 1000);
}

json_t *
latest_load(const struct fetch_target *target, int limit, struct fetch_answer *answer)
{
	*answer = fetch_call(target, "GET", util_fmt("/v1/results/latest?limit=%d", limit), NULL,
	                     API_TIMEOUT_MS);
	return answer->status == 200 ? json_loads(answer->body, 0, NULL) : NULL;
}

/* Printable and at most width columns (bytes beyond ASCII count as they are). */
static const char *
printable(const char *text, size_t width)
{
	char *out = util_fmt("%.*s", (int) width, text ? text : "");

	for (char *c = out; *c; c++)
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			*c = '?';
	return out;
}

static const char *
number(const json_t *value, const char *format, double factor)
{
	if (!json_is_number(value))
		return "-";
	return util_fmt(format, json_number_value(value) * factor);
}

/* "host:port"; a URL has its port already. */
static const char *
target_text(const json_t *item)
{
	const char *target = json_string_value(json_object_get(item, "target"));
	json_int_t port = json_integer_value(json_object_get(item, "port"));

	if (!target || port == 0 || strstr(target, "://"))
		return target;
	return util_fmt(strchr(target, ':') ? "[%s]:%lld" : "%s:%lld", target, (long long) port);
}

static void
row_print(const json_t *item, int64_t now, int columns, const char *eol)
{
	const char *name = json_string_value(json_object_get(item, "test_name"));
	const char *state = json_string_value(json_object_get(item, "state"));
	const char *error = json_string_value(json_object_get(item, "error_type"));
	int64_t at = time_parse(json_string_value(json_object_get(item, "started_at")));
	char age[32] = "-";
	char *line;

	if (at)
		util_age((now - at) / 1000, age, sizeof(age));
	line = util_fmt("%-7s %-18s %-6s %-34s %12s %8s %7s %s", printable(state, 7),
	                printable(name, 18),
	                printable(json_string_value(json_object_get(item, "type")), 6),
	                printable(target_text(item), 34),
	                number(json_object_get(item, "latency_ms"), "%.3f ms", 1.0),
	                number(json_object_get(item, "loss_ratio"), "%.1f %%", 100.0), age,
	                error && *error ? printable(error, 24) : "");
	printf("%.*s%s", columns, line, eol);
}

void
latest_table(const json_t *list, int rows, int columns, const char *eol)
{
	const json_t *items = json_object_get(list, "items");
	int64_t now = util_wall_ms();
	char *head = util_fmt("%-7s %-18s %-6s %-34s %12s %8s %7s %s", "STATE", "TEST", "TYPE",
	                      "TARGET", "LATENCY", "LOSS", "AGE", "ERROR");

	printf("%.*s%s", columns, head, eol);
	for (size_t i = 0; i < json_array_size(items) && (int) i < rows; i++)
		row_print(json_array_get(items, i), now, columns, eol);
	if ((int) json_array_size(items) > rows)
		printf("... and %d more%s", (int) json_array_size(items) - rows, eol);
}

void
latest_print(const struct fetch_target *target, int rows)
{
	struct fetch_answer answer;
	json_t *list = latest_load(target, 100, &answer);

	if (!list)
		util_fail(EXIT_CANNOT, "could not read the results: %s", fetch_message(&answer));
	latest_table(list, rows, 200, "\n");
	json_decref(list);
}

void
latest_wait(PGconn *conn, int ms)
{
	struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};
	PGnotify *note;

	poll(&p, 1, ms);
	PQconsumeInput(conn);
	while ((note = PQnotifies(conn)))
		PQfreemem(note);
}
