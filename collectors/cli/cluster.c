/* SPDX-License-Identifier: PostgreSQL
 *
 * cluster.c -- the private PostgreSQL cluster.
 *
 * initdb works in pg/data.new, which becomes pg/data by rename only when it is
 * complete: a run that is killed leaves nothing that looks like a cluster.
 * Settings stand in their own file, included by postgresql.conf; what an
 * operator sets with ALTER SYSTEM wins over them.
 */
#include "cli/cluster.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "cli/db.h"
#include "cli/proc.h"
#include "cli/step.h"
#include "cli/super.h"
#include "cli/util.h"

#define DEBIAN_PROGRAMS "/usr/lib/postgresql/15/bin"
#define READY_WAIT_MS   60000

/* Shared buffers: a quarter of memory, in MB, within these bounds. */
#define BUFFERS_MIN 128
#define BUFFERS_MAX 2048

char *
cluster_config(const char *programs, const char *option)
{
	const char *argv[] = {util_fmt("%s/pg_config", programs), option, NULL};
	struct util_error err;
	char *text, *copy;

	if (!proc_run(argv, NULL, &text, &err))
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	copy = util_dup(text);
	free(text);
	return copy;
}

static bool
programs_in(const char *folder)
{
	return access(util_fmt("%s/postgres", folder), X_OK) == 0 &&
	       access(util_fmt("%s/initdb", folder), X_OK) == 0;
}

char *
cluster_programs(void)
{
	const char *config = getenv("PG_CONFIG");
	const char *argv[] = {config && *config ? config : "pg_config", "--bindir", NULL};
	struct util_error err;
	char *text = NULL;

	if ((!config || !*config) && programs_in(DEBIAN_PROGRAMS))
		return util_dup(DEBIAN_PROGRAMS);
	if (proc_run(argv, NULL, &text, &err))
	{
		char *folder;

		text[strcspn(text, "\n")] = '\0';
		folder = util_dup(text);
		free(text);
		if (programs_in(folder))
			return folder;
	}
	util_fail(EXIT_CANNOT,
	          "PostgreSQL 15 is not installed (no %s/postgres): run 'apt-get install "
	          "postgresql-15', or set PG_CONFIG",
	          DEBIAN_PROGRAMS);
}

void
cluster_check_extension(const char *programs)
{
	const char *share = cluster_config(programs, "--sharedir");
	const char *libs = cluster_config(programs, "--pkglibdir");

	/* A server package without pg_config: the paths Debian uses. */
	if (!share)
		share = "/usr/share/postgresql/15";
	if (!libs)
		libs = "/usr/lib/postgresql/15/lib";
	if (access(util_fmt("%s/extension/probectl.control", share), R_OK) != 0 ||
	    access(util_fmt("%s/probectl.so", libs), R_OK) != 0)
		util_fail(EXIT_CANNOT, "the extension is not installed in %s: run 'make install'", libs);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void
cluster_remove(const char *data)
{
	/* FTW_PHYS never leaves the folder by a link. */
	nftw(data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
cluster_verify(const char *programs, const char *data)
{
	const char *argv[] = {util_fmt("%s/pg_verifybackup", programs), "--exit-on-error", data, NULL};
	struct util_error err;

	step_begin("check of the copy");
	if (!proc_run(argv, NULL, NULL, &err))
		util_fail(EXIT_CANNOT, "the copy in %s is damaged: %s", data, err.text);
	step_done("every file as listed");
}

bool
cluster_init(const struct home *home, const char *programs)
{
	char *data = home_path(home, "pg/data"), *fresh = home_path(home, "pg/data.new");
	const char *argv[] = {util_fmt("%s/initdb", programs),
	                      "--pgdata",
	                      fresh,
	                      "--username",
	                      HOME_SUPERUSER,
	                      "--encoding=UTF8",
	                      "--locale=C.UTF-8",
	                      "--data-checksums",
	                      "--auth=peer",
	                      "--no-instructions",
	                      NULL};
	struct util_error err;

	if (access(util_fmt("%s/PG_VERSION", data), F_OK) == 0)
		return false;
	cluster_remove(fresh); /* what a run that was killed left */
	if (!proc_run(argv, &home->postgres, NULL, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	if (rename(fresh, data) != 0)
		util_fail(EXIT_CANNOT, "could not make %s: %s", data, strerror(errno));
	return true;
}

/* ---- settings ---- */

static void
cluster_file(const struct home *home, const char *name, const char *text)
{
	char *path = home_path(home, "pg/data/%s", name);
	struct util_error err;
	char *old = NULL;
	bool same;

	same = util_read(path, 65536, &old, NULL) && strcmp(old, text) == 0;
	free(old);
	if (!same &&
	    !util_write(path, text, strlen(text), 0600, home->postgres.uid, home->postgres.gid, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
}

static long
memory_mb(void)
{
	struct sysinfo info;

	if (sysinfo(&info) != 0)
		return 1024;
	return (long) ((uint64_t) info.totalram * info.mem_unit >> 20);
}

static void
settings_write(const struct home *home)
{
	long memory = memory_mb();
	long buffers = memory / 4;

	if (buffers > BUFFERS_MAX)
		buffers = BUFFERS_MAX;
	if (buffers < BUFFERS_MIN)
		buffers = BUFFERS_MIN;
	cluster_file(
	    home, "probectl.conf",
	    util_fmt("# Written by probectl up. Change settings with ALTER SYSTEM: those win.\n"
	             "cluster_name = 'probectl'\n"
	             "listen_addresses = ''\n"
	             "port = %s\n"
	             "unix_socket_directories = '%s'\n"
	             "unix_socket_permissions = 0777\n" /* the folder decides who gets there */
	             "shared_preload_libraries = 'probectl'\n"
	             "probectl.key_file = '../probectl.key'\n" /* CLUSTER_KEY */
	             "max_connections = 100\n"
	             "max_worker_processes = 16\n"
	             "shared_buffers = %ldMB\n"
	             "effective_cache_size = %ldMB\n"
	             "work_mem = 16MB\n"
	             "maintenance_work_mem = 256MB\n"
	             "wal_level = replica\n"
	             "wal_compression = lz4\n"
	             "min_wal_size = 80MB\n"
	             "max_wal_size = 4GB\n"
	             "checkpoint_timeout = 15min\n"
	             "checkpoint_completion_target = 0.9\n"
	             "random_page_cost = 1.1\n"
	             "effective_io_concurrency = 64\n"
	             "jit = off\n" /* short statements: compiling costs more than it gains */
	             "log_destination = 'stderr'\n"
	             "logging_collector = off\n"
	             "log_line_prefix = '%%m %%b %%u@%%d '\n"
	             "log_timezone = 'UTC'\n"
	             "timezone = 'UTC'\n",
	             HOME_PG_PORT, home_path(home, "run"), buffers, memory / 2));
}

/* postgresql.conf of initdb, with one line more. */
static void
settings_include(const struct home *home)
{
	static const char line[] = "\ninclude = 'probectl.conf'\n";
	char *path = home_path(home, "pg/data/postgresql.conf");
	char *text;

	if (!util_read(path, 1 << 20, &text, NULL))
		util_fail(EXIT_CANNOT, "could not read %s: %s", path, strerror(errno));
	if (!strstr(text, line))
		cluster_file(home, "postgresql.conf", util_fmt("%s%s", text, line));
	free(text);
}

/*
 * No password anywhere: the kernel says who is at the other end of the socket.
 * The service user reaches its two roles and nothing else; its name equals that of
 * the superuser role, so the map is what keeps it from being one.
 */
static void
logins_write(const struct home *home)
{
	static const char *const roles[] = {HOME_SUPERUSER, "probectl_gateway", "probectl_ingest",
	                                    "probectl_worker"};
	const char *operator= home->root ? "root" : home->service.name;
	char *ident = util_fmt("# MAP SYSTEM-USER ROLE\n");

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		ident = util_fmt("%sprobectl \"%s\" %s\n", ident, operator, roles[i]);
	if (home->root)
		ident = util_fmt("%sprobectl \"%s\" %s\n"
		                 "probectl \"%s\" probectl_gateway\n"
		                 "probectl \"%s\" probectl_ingest\n",
		                 ident, home->postgres.name, HOME_SUPERUSER, home->service.name,
		                 home->service.name);
	cluster_file(home, "pg_ident.conf", ident);
	cluster_file(home, "pg_hba.conf",
	             "# TYPE DATABASE USER METHOD\n"
	             "local all all peer map=probectl\n"
	             "local replication " HOME_SUPERUSER " peer map=probectl\n"
	             "local replication all reject\n");
}

void
cluster_configure(const struct home *home)
{
	settings_write(home);
	settings_include(home);
	logins_write(home);
}

void
cluster_put(const struct home *home, const char *programs)
{
	super_put(home, json_pack("{s:s, s:s, s:s, s:[s, s, s], s:s, s:i}", "name", "postgres", "user",
	                          home->postgres.name, "revision", "1", "argv",
	                          util_fmt("%s/postgres", programs), "-D", home_path(home, "pg/data"),
	                          "stop", "INT", "stop_ms", 60000));
}

void
cluster_wait(const struct home *home)
{
	struct super_patience patience = super_patience(home, "postgres", READY_WAIT_MS);
	struct util_error err;
	PGconn *conn;

	while (!(conn = db_try_connect(home, "postgres", &err)))
		if (super_patience_over(&patience))
			util_fail(EXIT_CANNOT, "PostgreSQL does not start: %s",
			          super_last_log(home, "postgres"));
	PQfinish(conn);
}

/* Functions of one build and a library of another of the same version would fail in odd places. */
static void
script_check(const struct home *home, PGconn *conn)
{
	const char *made_by = db_value(
	    conn, "SELECT to_regprocedure('probectl_internal.script_digest()')", 0, NULL);
	const char *installed = db_value(
	    conn,
	    "SELECT substring(pg_read_file(c.setting || '/extension/probectl--' || e.extversion || "
	    "'.sql') FROM $$SELECT '([0-9a-f]{64})'::text$$)"
	    "  FROM pg_config c, pg_extension e WHERE c.name = 'SHAREDIR' AND e.extname = 'probectl'",
	    0, NULL);

	if (made_by)
		made_by = db_value(conn, "SELECT probectl_internal.script_digest()", 0, NULL);
	if (!installed || (made_by && strcmp(made_by, installed) == 0))
		return;
	util_fail(EXIT_CANNOT,
	          "the data in %s was made by another build of this version, and this one cannot "
	          "upgrade it: stop it with 'probectl down', then move it away, or choose another "
	          "place with 'probectl up --home DIR'",
	          home->dir);
}

void
cluster_database(const struct home *home)
{
	PGconn *conn = db_connect(home, "postgres");
	char *installed, *available;

	/* Killed in between, CREATE DATABASE leaves nothing. */
	if (!db_value(conn, "SELECT 1 FROM pg_database WHERE datname = '" HOME_DATABASE "'", 0, NULL))
		db_run(conn, "CREATE DATABASE " HOME_DATABASE " TEMPLATE template0");
	PQfinish(conn);
	conn = db_connect(home, HOME_DATABASE);
	installed = db_value(conn, "SELECT extversion FROM pg_extension WHERE extname = 'probectl'", 0,
	                     NULL);
	available = db_value(
	    conn, "SELECT default_version FROM pg_available_extensions WHERE name = 'probectl'", 0,
	    NULL);
	if (!installed)
		db_run(conn, "CREATE EXTENSION probectl");
	else if (available && strcmp(installed, available) != 0)
		db_run(conn, "ALTER EXTENSION probectl UPDATE");
	else
		script_check(home, conn);
	PQfinish(conn);
}
