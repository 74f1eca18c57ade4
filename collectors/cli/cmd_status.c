/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_status.c -- for each process: running or not, since when, version,
 * restarts, backlog, last result.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/health.h"
#include "cli/home.h"
#include "cli/util.h"

static const char *
sum_name(enum health_sum sum)
{
	return sum == HEALTH_GOOD ? "running" : sum == HEALTH_DEGRADED ? "degraded" : "not running";
}

static json_t *
time_or_null(int64_t unix_seconds)
{
	char text[32];

	return unix_seconds ? json_string(util_time(unix_seconds, text, sizeof(text))) : json_null();
}

static json_t *
row_json(const struct health *row)
{
	return json_pack("{s:s, s:s, s:b, s:o, s:o, s:i, s:s, s:o, s:o, s:s}", "name", row->name,
	                 "state", row->state, "healthy", row->ok, "pid",
	                 row->pid ? json_integer(row->pid) : json_null(), "since",
	                 time_or_null(row->since), "restarts", row->restarts, "version", row->version,
	                 "backlog", row->backlog < 0 ? json_null() : json_integer(row->backlog),
	                 "last_result_at", time_or_null(row->last_result), "note", row->note);
}

static void
print_json(const struct home *home, const struct health *rows, int count, enum health_sum sum)
{
	json_t *list = json_array();
	json_t *all;
	char *text;

	for (int i = 0; i < count; i++)
		json_array_append_new(list, row_json(&rows[i]));
	all = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "status", sum_name(sum), "home", home->named,
	                "url", home_url(home), "ingest", home_text(home, "ingest_listen"), "version",
	                PROBECTL_VERSION, "processes", list);
	text = json_dumps(all, JSON_INDENT(2));
	printf("%s\n", text ? text : "{}");
	free(text);
	json_decref(all);
}

static int
status_run(struct cli_args *args)
{
	struct home *home = home_find(cli_value(args, "home"));
	struct health rows[HEALTH_MAX];
	enum health_sum sum;
	int count;

	if (!home)
	{
		if (cli_value(args, "json"))
			printf("{\"status\": \"not running\", \"processes\": []}\n");
		else
			printf("there is no probectl at %s: start one with 'probectl up'\n",
			       home_name(cli_value(args, "home")));
		return HEALTH_DOWN;
	}
	count = health_read(home, rows, &sum);
	if (cli_value(args, "json"))
		print_json(home, rows, count, sum);
	else
	{
		printf("probectl %s at %s: %s\n\n", PROBECTL_VERSION, home_url(home), sum_name(sum));
		health_print(rows, count);
	}
	return (int) sum;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"json", NULL, "one JSON object instead of the table"},
    CLI_OPTION_END,
};

const struct cli_command cmd_status = {
    .name = "status",
    .summary = "show each process: since when, version, backlog, last result",
    .text = "  probectl status\n"
            "  probectl status --json | jq -r '.processes[] | select(.healthy | not).name'\n\n"
            "Exit status: 0 all healthy, 3 degraded, 4 not running.\n",
    .options = options,
    .run = status_run,
};
