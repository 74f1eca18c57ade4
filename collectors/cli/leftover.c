/* SPDX-License-Identifier: PostgreSQL
 *
 * leftover.c -- what a killed postmaster leaves behind.
 *
 * PostgreSQL refuses to start while the pid in a lock file lives, whatever that
 * process is by now, and while a process of an earlier run is attached to its
 * shared memory. Every one of its processes works in the data directory, which
 * is how they are told from strangers. A process that waits sees that its parent
 * is gone and ends by itself; one that computes does not for minutes: it gets SIGQUIT,
 * on which a server process drops everything and ends at once. Nothing
 * is lost by that: the next start recovers from the log in any case.
 */
#include "cli/leftover.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/proc.h"
#include "cli/util.h"
#include "lib/log.h"

/* Whether that process lives and works in that folder; false also when it may not be seen. */
static bool
works_in(long pid, const char *folder)
{
	char link[64], cwd[PATH_MAX] = {0};

	snprintf(link, sizeof(link), "/proc/%ld/cwd", pid);
	return pid > 0 && readlink(link, cwd, sizeof(cwd) - 1) > 0 && strcmp(cwd, folder) == 0;
}

/* The pid in the first line of a lock file; 0 without one. */
static long
lock_pid(const char *lock)
{
	char *text;
	long pid;

	if (!util_read(lock, 64, &text, NULL))
		return 0;
	pid = strtol(text, NULL, 10);
	free(text);
	return pid;
}

/* True when the file names a living process of this cluster: somebody runs it by hand. */
static bool
lock_check(const char *lock, const char *data)
{
	long pid = lock_pid(lock);
	struct proc_id id;

	if (pid <= 0 || !proc_identify((pid_t) pid, &id))
		return false;
	if (works_in(pid, data))
		return true;
	log_warning("supervise", lock, "names pid %ld, a stranger: removed", pid);
	unlink(lock);
	return false;
}

static void
orphan_end(long pid, const char *data)
{
	struct proc_id id;
	int fd = proc_identify((pid_t) pid, &id) ? proc_open(&id) : -1;

	if (fd < 0)
		return;
	/* Again, now that the descriptor cannot mean another one. */
	if (works_in(pid, data) && proc_signal(fd, SIGQUIT))
		log_warning("supervise", "postgres", "pid %ld of the run before still worked: ended", pid);
	close(fd);
}

static void
orphans_end(const char *data)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		char path[PATH_MAX], exe[PATH_MAX] = {0};
		const char *name;
		long pid;

		if (!isdigit((unsigned char) entry->d_name[0]))
			continue;
		pid = strtol(entry->d_name, NULL, 10);
		if (!works_in(pid, data))
			continue;
		/* Not a shell that somebody left standing there. */
		snprintf(path, sizeof(path), "/proc/%ld/exe", pid);
		if (readlink(path, exe, sizeof(exe) - 1) <= 0)
			continue;
		name = strrchr(exe, '/');
		if (name && strncmp(name, "/postgres", 9) == 0)
			orphan_end(pid, data);
	}
	if (dir)
		closedir(dir);
}

void
leftover_clear(const struct home *home)
{
	char data[PATH_MAX - 32], lock[PATH_MAX];
	bool used;

	snprintf(data, sizeof(data), "%s/pg/data", home->dir);
	snprintf(lock, sizeof(lock), "%s/run/.s.PGSQL.%s.lock", home->dir, HOME_PG_PORT);
	lock_check(lock, data);
	snprintf(lock, sizeof(lock), "%s/postmaster.pid", data);
	used = lock_check(lock, data);
	if (!used)
		orphans_end(data);
}
