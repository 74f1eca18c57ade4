/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_backup.c -- the private cluster, copied while it runs.
 *
 * All that lasts is in PostgreSQL, so a backup is one of the cluster (pg_basebackup), checked against
 * its manifest. pg_dump would be none: what it writes of an extension is that it was there. The
 * envelope key is outside of the data directory and not in the backup, unless it is asked for: who has
 * both can accept and issue anything.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/proc.h"
#include "cli/step.h"
#include "cli/util.h"

/* An empty folder is as good as none. Its whole name: what copies runs in another folder. */
static char *
folder_make(const char *dir)
{
	char real[PATH_MAX];

	if ((mkdir(dir, 0700) == 0 || (errno == EEXIST && rmdir(dir) == 0 && mkdir(dir, 0700) == 0)) &&
	    realpath(dir, real))
		return util_dup(real);
	if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
		util_fail(EXIT_USAGE, "%s is there already: a backup goes into a folder of its own", dir);
	util_fail(EXIT_CANNOT, "could not make %s: %s", dir, strerror(errno));
}

static void
copy_cluster(const struct home *home, const char *programs, const char *dir)
{
	const char *argv[] = {util_fmt("%s/pg_basebackup", programs),
	                      "--pgdata",
	                      util_fmt("%s/data", dir),
	                      "--dbname",
	                      db_conninfo(home, HOME_DATABASE, HOME_SUPERUSER),
	                      "--checkpoint=fast",
	                      "--wal-method=stream",
	                      NULL};
	struct util_error err;

	step_begin("copy of the cluster");
	if (!proc_run(argv, NULL, NULL, &err))
	{
		rmdir(dir);
		util_fail(EXIT_CANNOT, "%s", err.text);
	}
	step_done("%s", argv[2]);
}

static void
copy_key(const struct home *home, const char *dir)
{
	char *from = home_path(home, CLUSTER_KEY), *to = util_fmt("%s/" BACKUP_KEY, dir);
	struct util_error err;

	step_begin("envelope key");
	if (!util_copy(from, to, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	step_done("%s", to);
}

static int
backup_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	char *programs = cluster_programs(), *dir;

	PQfinish(db_connect(home, HOME_DATABASE)); /* says when it does not run */
	dir = folder_make(args->words[0]);
	copy_cluster(home, programs, dir);
	cluster_verify(programs, util_fmt("%s/data", dir));
	if (cli_value(args, "with-key"))
	{
		copy_key(home, dir);
		printf("\nWho reads %s can do all that the control plane can: keep it like the key.\n",
		       dir);
	}
	else
		printf("\nThe envelope key is not in it. Keep a copy of it at another place, once:\n  %s\n",
		       home_path(home, CLUSTER_KEY));
	return 0;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"with-key", NULL, "copy the envelope key too, as DIR/" BACKUP_KEY},
    CLI_OPTION_END,
};

const struct cli_command cmd_backup = {
    .name = "backup",
    .words = "DIR",
    .min_words = 1,
    .max_words = 1,
    .summary = "copy the database while it runs, and check the copy",
    .text =
        "Makes DIR and copies the cluster to DIR/data, of all tenants and as it is at the end of "
        "the\n"
        "copy, then checks each file of it against the list of sums. Nothing stops meanwhile. "
        "Without the\n"
        "envelope key a copy opens no secret: no token is accepted and no certificate issued.\n\n"
        "  probectl backup /srv/backup/2026-01-31\n"
        "  probectl restore /srv/backup/2026-01-31 --home /srv/other --key probectl.key\n\n"
        "Exit status: 0 copied and checked, 1 cannot (the message says why), 2 wrong option.\n",
    .options = options,
    .run = backup_run,
};
