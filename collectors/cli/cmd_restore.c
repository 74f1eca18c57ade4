/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_restore.c -- a state directory from a backup; 'probectl up' starts it.
 *
 * The copy goes to pg/data.new, which becomes pg/data by rename only when it is complete, as with a new
 * cluster; the key and, for the first 'up', that it is from a backup are there before. What 'up' writes, settings, logins and certificates of servers, it writes anew.
 */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/home.h"
#include "cli/proc.h"
#include "cli/step.h"
#include "cli/util.h"

#define KEY_BYTES 32

/* The key that was named, else that of the backup, else the one that is there. */
static const char *
key_find(const struct cli_args *args, const struct home *home, const char *dir)
{
	const char *beside = util_fmt("%s/" BACKUP_KEY, dir), *kept = home_path(home, CLUSTER_KEY);

	if (cli_value(args, "key"))
		return cli_value(args, "key");
	if (access(beside, F_OK) == 0)
		return beside;
	if (access(kept, F_OK) == 0)
		return kept;
	util_fail(EXIT_USAGE,
	          "the envelope key is not in the backup: name the copy you kept with --key FILE");
}

static char *
key_read(const char *path)
{
	char *key = NULL;
	size_t size;

	if (!util_read(path, KEY_BYTES + 1, &key, &size))
		util_fail(EXIT_CANNOT, "could not read %s: %s", path, strerror(errno));
	if (size != KEY_BYTES)
		util_fail(EXIT_CANNOT, "%s is no envelope key: it has not %d bytes", path, KEY_BYTES);
	return key;
}

static uid_t owner_uid;
static gid_t owner_gid;

static int
own_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return lchown(path, owner_uid, owner_gid);
}

static void
copy_cluster(const struct home *home, const char *from)
{
	char *data = home_path(home, "pg/data"), *fresh = home_path(home, "pg/data.new");
	const char *argv[] = {"/bin/cp", "--archive", "--reflink=auto", "--no-target-directory", from,
	                      fresh,     NULL};
	struct util_error err;

	step_begin("copy of the cluster");
	cluster_remove(fresh);
	if (!proc_run(argv, NULL, NULL, &err))
	{
		cluster_remove(fresh);
		util_fail(EXIT_CANNOT, "%s", err.text);
	}
	owner_uid = home->postgres.uid;
	owner_gid = home->postgres.gid;
	if (nftw(fresh, own_one, 16, FTW_PHYS) != 0)
		util_fail(EXIT_CANNOT, "could not give %s to %s: %s", fresh, home->postgres.name,
		          strerror(errno));
	if (rename(fresh, data) != 0)
		util_fail(EXIT_CANNOT, "could not make %s: %s", data, strerror(errno));
	step_done("%s", data);
}

/* A key that is there may be the only one of a cluster that was moved away. */
static void
put_key(const struct home *home, const char *key)
{
	const char *path = home_path(home, CLUSTER_KEY);
	struct util_error err;

	if (access(path, F_OK) == 0 && memcmp(key_read(path), key, KEY_BYTES) != 0)
		util_fail(EXIT_CANNOT,
		          "there is another envelope key in %s: move it away, it may be needed", path);
	if (!util_write(path, key, KEY_BYTES, 0600, home->postgres.uid, home->postgres.gid, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
}

static int
restore_run(struct cli_args *args)
{
	char *programs = cluster_programs(), *from, *key;
	char dir[PATH_MAX]; /* its whole name: what copies runs in another folder */
	struct home *home;

	if (!realpath(args->words[0], dir))
		util_fail(EXIT_CANNOT, "%s: %s", args->words[0], strerror(errno));
	from = util_fmt("%s/data", dir);
	if (access(util_fmt("%s/PG_VERSION", from), F_OK) != 0)
		util_fail(EXIT_USAGE, "%s is no backup: there is no %s/PG_VERSION", dir, from);
	home = home_make(cli_value(args, "home"));
	if (access(home_path(home, "pg/data"), F_OK) == 0)
		util_fail(EXIT_CANNOT,
		          "there is a cluster in %s: choose another place with --home DIR, or stop it with "
		          "'probectl down' and move pg/data away",
		          home->named);
	key = key_read(key_find(args, home, dir));
	cluster_verify(programs, from);
	put_key(home, key);
	home_set(home, HOME_RESTORED, json_true());
	home_save(home);
	copy_cluster(home, from);
	printf("\nStart it:\n\n  probectl up --home %s\n", home->named);
	return 0;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"key", "FILE", "the copy of the envelope key (default: DIR/" BACKUP_KEY ")"},
    CLI_OPTION_END,
};

const struct cli_command cmd_restore = {
    .name = "restore",
    .words = "DIR",
    .min_words = 1,
    .max_words = 1,
    .summary = "make a state directory from a backup",
    .text = "Checks what 'probectl backup' wrote and copies it into a state directory that has no "
            "cluster;\n"
            "DIR stays as it is. Agents elsewhere connect again by themselves; what they\n"
            "delivered after the backup is not sent again.\n\n"
            "  probectl restore /srv/backup/2026-01-31 --home /srv/other --key probectl.key\n"
            "  probectl up --home /srv/other\n\n"
            "Exit status: 0 restored, 1 cannot (the message says why), 2 wrong option.\n",
    .options = options,
    .run = restore_run,
};
