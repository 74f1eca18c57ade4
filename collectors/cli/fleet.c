/* SPDX-License-Identifier: PostgreSQL
 *
 * fleet.c -- see fleet.h.
 */
#include "cli/fleet.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/db.h"
#include "cli/proc.h"
#include "cli/super.h"
#include "cli/util.h"
#include "lib/crypto.h"
#include "lib/mem.h"

static char *key_dir;
static pid_t key_owner; /* a forked producer leaves them to its parent */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
keys_remove(void)
{
	if (key_dir != NULL && key_owner == getpid())
		nftw(key_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	key_dir = NULL;
}

static void
keys_open(const struct home *home)
{
	char *dir = home_path(home, "bench-keys-XXXXXX");

	if (key_dir != NULL)
		return;
	if (mkdtemp(dir) == NULL)
		util_fail(EXIT_CANNOT, "bench: cannot make a folder in %s: %s", home->named,
		          strerror(errno));
	key_dir = util_dup(dir);
	key_owner = getpid();
	atexit(keys_remove);
}

static char *
file_put(const char *name, const char *text, mode_t mode)
{
	char *path = util_fmt("%s/%s", key_dir, name);
	struct util_error err;

	if (!util_write(path, text, strlen(text), mode, -1, -1, &err))
		util_fail(EXIT_CANNOT, "bench: %s", err.text);
	return path;
}

/* As a new machine does it: token, key, request, certificate. */
static void
agent_enrol(PGconn *conn, const char *slug, const char *name, struct load_agent *agent)
{
	char *key = crypto_key_new(), *csr, err[256] = "no key";
	const char *params[4];
	char *token, *cert;

	csr = key != NULL ? crypto_csr_new(key, err, sizeof(err)) : NULL;
	if (csr == NULL)
		util_fail(EXIT_CANNOT, "bench: %s", err);
	db_enter_tenant(conn, slug);
	token = db_value(conn, "SELECT probectl.join_token_create('1 hour', NULL)", 0, NULL);
	db_run(conn, "COMMIT");
	params[0] = token;
	params[1] = csr;
	params[2] = name;
	params[3] = PROBECTL_VERSION;
	cert = db_value(conn, "SELECT certificate FROM probectl.agent_enroll($1, $2, $3, $4)", 4,
	                params);
	if (cert == NULL)
		util_fail(EXIT_CANNOT, "bench: an agent got no certificate");
	agent->key_file = file_put(util_fmt("%s.key", name), key, 0600);
	agent->cert_file = file_put(util_fmt("%s.pem", name), cert, 0644);
	crypto_wipe(key);
	free(key);
	free(csr);
}

struct fleet
fleet_make(const struct home *home, PGconn *conn, const char *name, int tenants, int agents_each)
{
	struct fleet fleet = {
	    .agents = mem_array((size_t) tenants * (size_t) agents_each, sizeof(struct load_agent)),
	    .tenants = tenants,
	    .agents_each = agents_each,
	    .tenant_ids = mem_array((size_t) tenants, sizeof(char *)),
	    .slug = util_fmt("bench-%s-%lld", name, (long long) util_wall_ms())};

	keys_open(home);
	for (int t = 0; t < tenants; t++)
	{
		char *slug = util_fmt("%s-%d", fleet.slug, t);
		const char *params[2] = {slug, util_fmt("%d", agents_each)};

		fleet.tenant_ids[t] = db_value(conn, "SELECT probectl.tenant_create($1, 'Bench')", 1,
		                               params);
		params[0] = fleet.tenant_ids[t];
		db_value(conn, "SELECT probectl.tenant_set_quota($1, 'agents', $2::bigint)", 2, params);
		for (int a = 0; a < agents_each; a++)
		{
			int number = t * agents_each + a;

			agent_enrol(conn, slug, util_fmt("%s-%d", name, number), &fleet.agents[number]);
			if (number % 500 == 499)
				fprintf(stderr, "bench: %d agents enrolled\n", number + 1);
		}
	}
	return fleet;
}

void
fleet_renew(struct fleet *fleet)
{
	for (int i = 0; i < fleet->tenants * fleet->agents_each; i++)
	{
		fleet->agents[i].epoch = (uint64_t) util_wall_ms() * 1000000;
		fleet->agents[i].acked = 0;
		fleet->agents[i].repeated = 0;
	}
}

struct fleet_check
fleet_check(PGconn *conn, const struct fleet *fleet, const int64_t *acked)
{
	struct fleet_check check = {0};

	for (int t = 0; t < fleet->tenants; t++)
	{
		const char *params[1] = {fleet->tenant_ids[t]};
		PGresult *row = db_query(conn, NULL,
		                         "SELECT count(*), count(DISTINCT result_id), count(*) FILTER "
		                         "(WHERE NOT EXISTS (SELECT FROM probectl.agent a WHERE "
		                         "a.tenant_id = r.tenant_id AND a.agent_id = r.agent_id)) FROM "
		                         "probectl.result r WHERE r.tenant_id = $1",
		                         1, params);
		int64_t stored = strtoll(PQgetvalue(row, 0, 0), NULL, 10);
		int64_t different = strtoll(PQgetvalue(row, 0, 1), NULL, 10);

		check.stored += stored;
		check.duplicated += stored - different;
		check.lost += acked[t] > different ? acked[t] - different : 0;
		check.misplaced += strtoll(PQgetvalue(row, 0, 2), NULL, 10);
		PQclear(row);
	}
	return check;
}

/* ---- what it costs ---- */

static pid_t
child_pid(const struct home *home, const char *name)
{
	json_t *state = super_state(home);
	struct proc_id id;
	bool found = proc_from_json(json_object_get(super_child(state, name), "process"), &id);

	json_decref(state);
	if (!found || !proc_alive(&id))
		util_fail(EXIT_CANNOT, "bench: %s does not run: %s", name, super_last_log(home, name));
	return id.pid;
}

static struct fleet_cost
process_cost(pid_t pid)
{
	struct fleet_cost cost = {0};
	int64_t rss_kib = 0;
	char *text, *line;

	if (!proc_usage(pid, &rss_kib, &cost.cpu_us))
		return (struct fleet_cost){0};
	if (!util_read(util_fmt("/proc/%d/smaps_rollup", (int) pid), 65536, &text, NULL))
		return cost;
	if ((line = strstr(text, "\nPss:")) != NULL)
		cost.pss_kib = strtoll(line + 5, NULL, 10);
	free(text);
	return cost;
}

struct fleet_cost
fleet_ingest_cost(const struct home *home)
{
	return process_cost(child_pid(home, "ingest"));
}

void
fleet_postgres_each(const struct home *home, void (*each)(void *arg, pid_t pid), void *arg)
{
	pid_t postmaster = child_pid(home, "postgres");
	char *text, *at, *end;

	each(arg, postmaster);
	if (!util_read(util_fmt("/proc/%d/task/%d/children", (int) postmaster, (int) postmaster), 65536,
	               &text, NULL))
		return;
	for (at = text;; at = end)
	{
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		each(arg, (pid_t) pid);
	}
	free(text);
}

static void
cost_add(void *arg, pid_t pid)
{
	struct fleet_cost *total = arg, one = process_cost(pid);

	total->cpu_us += one.cpu_us;
	total->pss_kib += one.pss_kib;
}

/* Those of ingest's connections live as long as the run. */
struct fleet_cost
fleet_postgres_cost(const struct home *home)
{
	struct fleet_cost total = {0};

	fleet_postgres_each(home, cost_add, &total);
	return total;
}
