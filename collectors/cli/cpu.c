/* SPDX-License-Identifier: PostgreSQL
 *
 * cpu.c -- see cpu.h. PostgreSQL's processes tell what they are in their command line; those of ingest live as
 * long as it is connected, so what they used is still there at the end of a run.
 */
#include "cli/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/fleet.h"
#include "cli/proc.h"
#include "cli/util.h"

static const char *const part_names[CPU_PARTS] = {[CPU_PRODUCERS] = "producers",
                                                  [CPU_INGEST] = "ingest",
                                                  [CPU_SESSIONS] = "sessions",
                                                  [CPU_DERIVE] = "derive",
                                                  [CPU_POSTGRES] = "postgres_other"};

/* What is in a title, behind "postgres: CLUSTER: ". */
static const struct
{
	const char *title;
	enum cpu_part part;
} titles[] = {{": probectl derive ", CPU_DERIVE}, {": probectl_ingest ", CPU_SESSIONS}};

static enum cpu_part
postgres_part(pid_t pid)
{
	enum cpu_part part = CPU_POSTGRES;
	char *title;

	if (!util_read(util_fmt("/proc/%d/cmdline", (int) pid), 4096, &title, NULL))
		return part;
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (strstr(title, titles[i].title) != NULL)
			part = titles[i].part;
	free(title);
	return part;
}

static void
use_add(void *arg, pid_t pid)
{
	struct cpu_use *use = arg;
	int64_t cpu_us = 0, rss_kib;

	if (proc_usage(pid, &rss_kib, &cpu_us))
		use->us[postgres_part(pid)] += cpu_us;
}

struct cpu_use
cpu_use(const struct home *home)
{
	struct cpu_use use = {0};
	int64_t rss_kib;

	(void) proc_usage(getpid(), &rss_kib, &use.us[CPU_PRODUCERS]);
	use.us[CPU_INGEST] = fleet_ingest_cost(home).cpu_us;
	fleet_postgres_each(home, use_add, &use);
	return use;
}

json_t *
cpu_per_result(const struct cpu_use *before, const struct cpu_use *after, uint64_t results)
{
	json_t *out = json_object();
	double all = 0;

	for (int part = 0; part < CPU_PARTS && results > 0; part++)
	{
		double us = (double) (after->us[part] - before->us[part]) / (double) results;

		all += us;
		json_object_set_new(out, part_names[part], json_real(us));
	}
	json_object_set_new(out, "all", json_real(all));
	return out;
}
