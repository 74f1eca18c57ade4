/* SPDX-License-Identifier: PostgreSQL
 *
 * health.c -- how each process is.
 *
 * "running" is believed of the process itself (pid and start time), not of a file;
 * a process that runs but whose status socket is silent, or that has not what it needs, is shown as such.
 */
#include "cli/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db.h"
#include "cli/fetch.h"
#include "cli/proc.h"
#include "cli/super.h"
#include "cli/util.h"

/* A process that has just started may need this long until it answers. */
#define STARTING_SECONDS 5

static void
supervisor_read(const json_t *state, bool alive, struct health *row)
{
	const char *version = json_string_value(json_object_get(state, "version"));
	struct proc_id id;

	snprintf(row->name, sizeof(row->name), "supervisor");
	row->backlog = -1;
	row->ok = alive;
	snprintf(row->state, sizeof(row->state), "%s", alive ? "running" : "stopped");
	if (!alive || !proc_from_json(json_object_get(state, "process"), &id))
		return;
	row->pid = id.pid;
	row->since = json_integer_value(json_object_get(state, "since_ms")) / 1000;
	snprintf(row->version, sizeof(row->version), "%s", version ? version : "");
	if (json_is_true(json_object_get(state, "stopping")))
	{
		row->ok = false;
		snprintf(row->state, sizeof(row->state), "stopping");
	}
}

static void
child_read(const json_t *child, bool supervised, struct health *row)
{
	const char *name = json_string_value(json_object_get(child, "name"));
	const char *state = json_string_value(json_object_get(child, "state"));
	const char *last = json_string_value(json_object_get(child, "last_exit"));
	struct proc_id id;
	bool alive = proc_from_json(json_object_get(child, "process"), &id) && proc_alive(&id);

	snprintf(row->name, sizeof(row->name), "%s", name ? name : "?");
	row->backlog = -1;
	row->restarts = (int) json_integer_value(json_object_get(child, "restarts"));
	row->ok = alive && supervised && state && strcmp(state, "running") == 0;
	snprintf(row->state, sizeof(row->state), "%s",
	         !alive && state && strcmp(state, "running") == 0 ? "stopped"
	         : state                                          ? state
	                                                          : "?");
	if (alive)
	{
		row->pid = id.pid;
		row->since = json_integer_value(json_object_get(child, "since_ms")) / 1000;
	}
	else if (last && *last)
		snprintf(row->note, sizeof(row->note), "last end: %s", last);
	/* The supervisor died, its children live. */
	if (alive && !supervised)
		snprintf(row->note, sizeof(row->note), "nobody supervises it: run probectl up");
}

/*
 * What postgres has committed and its workers have not worked in yet, and when the
 * newest result arrived. A database that is busy or half set up answers neither.
 */
static void
postgres_progress(PGconn *conn, struct health *row)
{
	static const char sql[] =
	    "SET statement_timeout = '2s';"
	    "SELECT (SELECT coalesce(sum(stored), 0) FROM probectl.ledger WHERE xid >= (SELECT "
	    "min(next_xid) FROM probectl_internal.worker_cursor)), coalesce(extract(epoch FROM "
	    "max(received_at))::bigint, 0) FROM probectl.result_latest";
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
	{
		row->backlog = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		row->last_result = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	}
	PQclear(result);
}

static void
postgres_read(const struct home *home, struct health *row)
{
	struct util_error err;
	PGconn *conn = db_try_connect(home, HOME_DATABASE, &err);
	int version;

	if (!conn)
	{
		row->ok = false;
		snprintf(row->state, sizeof(row->state), "no answer");
		snprintf(row->note, sizeof(row->note), "%.200s", err.text);
		return;
	}
	version = PQserverVersion(conn);
	snprintf(row->version, sizeof(row->version), "%d.%d", version / 10000, version % 10000);
	postgres_progress(conn, row);
	PQfinish(conn);
}

/* What a process tells of what it needs; 0 where it has none of it. */
static const struct need
{
	const char *metric, *without;
} needs[] = {
    {"probectl_ingest_database_connections", "has no connection to the database"},
    {"probectl_gateway_database_connections", "has no connection to the database"},
    {"probectl_agent_connected", "has no link to the control plane, and keeps its results"},
};

/* Excused while it has just started. */
static void
not_ready(struct health *row, const char *state, const char *note)
{
	row->ok = row->ok && util_wall_ms() / 1000 - row->since < STARTING_SECONDS;
	snprintf(row->state, sizeof(row->state), "%s", row->ok ? "starting" : state);
	snprintf(row->note, sizeof(row->note), "%s", note);
}

static void
needs_read(const char *metrics, struct health *row)
{
	double value;

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (fetch_metric(metrics, needs[i].metric, &value) && value == 0)
			not_ready(row, "waiting", needs[i].without);
}

static void
socket_read(const struct home *home, struct health *row)
{
	struct fetch_answer answer = fetch_status(home_path(home, "run/%s.sock", row->name));
	double value;

	if (answer.status != 200)
	{
		not_ready(row, "no answer", util_fmt("does not answer on run/%s.sock", row->name));
		return;
	}
	needs_read(answer.body, row);
	snprintf(row->version, sizeof(row->version), "%s",
	         fetch_metric_label(answer.body, "probectl_build_info", "version"));
	if (fetch_metric(answer.body, "probectl_backlog", &value))
		row->backlog = (int64_t) value;
	if (fetch_metric(answer.body, "probectl_last_result_timestamp_seconds", &value))
		row->last_result = (int64_t) value;
}

int
health_read(const struct home *home, struct health rows[HEALTH_MAX], enum health_sum *sum)
{
	json_t *state = super_state(home);
	json_t *children = json_object_get(state, "children");
	bool alive, good, any;
	struct proc_id id;
	int count = 1;

	memset(rows, 0, HEALTH_MAX * sizeof(*rows));
	alive = proc_from_json(json_object_get(state, "process"), &id) && proc_alive(&id);
	supervisor_read(state, alive, &rows[0]);
	good = any = rows[0].ok;
	for (size_t i = 0; i < json_array_size(children) && count < HEALTH_MAX; i++)
	{
		struct health *row = &rows[count++];

		child_read(json_array_get(children, i), alive, row);
		if (row->pid && strcmp(row->name, "postgres") == 0)
			postgres_read(home, row);
		else if (row->pid)
			socket_read(home, row);
		good = good && row->ok;
		any = any || row->pid;
	}
	json_decref(state);
	/* A set-up that was interrupted lacks processes that are in no table yet. */
	good = good && home_true(home, "complete");
	if (any && !home_true(home, "complete"))
		snprintf(rows[0].note, sizeof(rows[0].note), "the set-up is not complete: run probectl up");
	*sum = good && count > 1 ? HEALTH_GOOD : any ? HEALTH_DEGRADED : HEALTH_DOWN;
	return count;
}

void
health_print(const struct health *rows, int count)
{
	int64_t now = util_wall_ms() / 1000;

	printf("%-16s %-11s %8s %9s %9s %8s %8s %s\n", "PROCESS", "STATE", "PID", "SINCE", "RESTARTS",
	       "VERSION", "BACKLOG", "LAST RESULT");
	for (int i = 0; i < count; i++)
	{
		const struct health *row = &rows[i];
		char age[32] = "-", result[32] = "-", pid[16] = "-", backlog[24] = "-";

		if (row->since)
			util_age(now - row->since, age, sizeof(age));
		if (row->last_result)
		{
			char past[24];

			snprintf(result, sizeof(result), "%s ago",
			         util_age(now - row->last_result, past, sizeof(past)));
		}
		if (row->pid)
			snprintf(pid, sizeof(pid), "%d", row->pid);
		if (row->backlog >= 0)
			snprintf(backlog, sizeof(backlog), "%lld", (long long) row->backlog);
		printf("%-16s %-11s %8s %9s %9d %8s %8s %s%s%s\n", row->name, row->state, pid, age,
		       row->restarts, *row->version ? row->version : "-", backlog, result,
		       *row->note ? "  " : "", row->note);
	}
}
