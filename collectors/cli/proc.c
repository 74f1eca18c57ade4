/* SPDX-License-Identifier: PostgreSQL
 *
 * proc.c -- processes: who one is, running one, ending one.
 *
 * Every signal goes through a pidfd opened after the identity was compared, so
 * a pid that was reused in between is never hit.
 */
#include "cli/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/home.h"
#include "cli/step.h"

#define OUTPUT_MAX (1 << 20)

static bool
boot_read(char boot[37])
{
	char *text;
	size_t size;
	bool ok;

	if (!util_read("/proc/sys/kernel/random/boot_id", 64, &text, &size))
		return false;
	ok = size >= 36;
	if (ok)
		snprintf(boot, 37, "%.36s", text);
	free(text);
	return ok;
}

/* The fields after the name, which may hold spaces and brackets itself. */
static char *
stat_fields(pid_t pid, char **whole)
{
	char path[64];
	char *paren;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	if (pid <= 0 || !util_read(path, 4096, whole, NULL))
		return NULL;
	paren = strrchr(*whole, ')');
	return paren && paren[1] == ' ' ? paren + 2 : NULL;
}

/* Field n of proc(5) counted from 3, the state. */
static uint64_t
stat_number(const char *fields, int n)
{
	for (int i = 3; i < n && fields; i++)
	{
		fields = strchr(fields, ' ');
		if (fields)
			fields++;
	}
	return fields ? strtoull(fields, NULL, 10) : 0;
}

bool
proc_identify(pid_t pid, struct proc_id *id)
{
	char *whole = NULL;
	char *fields = stat_fields(pid, &whole);
	bool ok = fields && fields[0] != 'Z' && fields[0] != 'X' && boot_read(id->boot);

	if (ok)
	{
		id->pid = pid;
		id->start = stat_number(fields, 22);
	}
	free(whole);
	return ok;
}

bool
proc_alive(const struct proc_id *id)
{
	struct proc_id now;

	return id->pid > 0 && proc_identify(id->pid, &now) && now.start == id->start &&
	       strcmp(now.boot, id->boot) == 0;
}

int
proc_open(const struct proc_id *id)
{
	int fd;

	if (id->pid <= 0)
		return -1;
	fd = pidfd_open(id->pid, 0);
	if (fd < 0)
		return -1;
	/* After the open: from here on the descriptor cannot mean another one. */
	if (proc_alive(id))
		return fd;
	close(fd);
	return -1;
}

bool
proc_signal(int pidfd, int sig)
{
	return pidfd_send_signal(pidfd, sig, NULL, 0) == 0;
}

bool
proc_wait(int pidfd, int ms)
{
	int64_t until = util_now_ms() + ms;

	for (;;)
	{
		int64_t left = until - util_now_ms();
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		int n = poll(&p, 1, left < 0 ? 0 : left > 500 ? 500 : (int) left);

		if (n > 0)
			return true;
		step_tick();
		if (left <= 0)
			return false;
	}
}

/* The scheduler's own account, in nanoseconds; ticks of 10 ms are too coarse for an agent. */
static int64_t
cpu_time_us(pid_t pid)
{
	char path[300];
	struct dirent *entry;
	int64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int) pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
	{
		char *text;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", (int) pid, entry->d_name);
		if (entry->d_name[0] == '.' || !util_read(path, 256, &text, NULL))
			continue;
		sum += strtoll(text, NULL, 10) / 1000;
		free(text);
	}
	if (dir)
		closedir(dir);
	return sum;
}

bool
proc_usage(pid_t pid, int64_t *rss_kib, int64_t *cpu_us)
{
	char *whole = NULL;
	char *fields = stat_fields(pid, &whole);
	bool ok = fields && fields[0] != 'Z';

	if (ok)
	{
		*cpu_us = cpu_time_us(pid);
		*rss_kib = (int64_t) stat_number(fields, 24) * (sysconf(_SC_PAGESIZE) / 1024);
	}
	free(whole);
	return ok;
}

json_t *
proc_json(const struct proc_id *id)
{
	return json_pack("{s:i, s:I, s:s}", "pid", (int) id->pid, "start", (json_int_t) id->start,
	                 "boot", id->boot);
}

bool
proc_from_json(const json_t *json, struct proc_id *id)
{
	const char *boot = json_string_value(json_object_get(json, "boot"));
	json_int_t pid = json_integer_value(json_object_get(json, "pid"));

	memset(id, 0, sizeof(*id));
	if (!boot || pid <= 1 || pid > INT32_MAX)
		return false;
	id->pid = (pid_t) pid;
	id->start = (uint64_t) json_integer_value(json_object_get(json, "start"));
	snprintf(id->boot, sizeof(id->boot), "%s", boot);
	return true;
}

bool
proc_become(const struct home_user *user)
{
	if (geteuid() != 0 || user->uid == 0)
		return true;
	return initgroups(user->name, user->gid) == 0 &&
	       setresgid(user->gid, user->gid, user->gid) == 0 &&
	       setresuid(user->uid, user->uid, user->uid) == 0;
}

const char *
proc_last_line(char *text)
{
	size_t n = strlen(text);
	char *line;

	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
		text[--n] = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

static void __attribute__((noreturn))
run_child(const char *const *argv, const struct home_user *user, int out)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	close_range(3, ~0U, 0);
	if ((user && !proc_become(user)) || chdir("/") != 0)
		_exit(126);
	execvp(argv[0], (char *const *) argv);
	dprintf(2, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/* Everything the child says, until it closes its output. */
static char *
run_collect(int fd)
{
	char *text = calloc(1, OUTPUT_MAX + 1);
	size_t used = 0;

	for (;;)
	{
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char spill[4096];
		ssize_t n;

		if (poll(&p, 1, 500) == 0)
		{
			step_tick();
			continue;
		}
		n = used < OUTPUT_MAX && text ? read(fd, text + used, OUTPUT_MAX - used)
		                              : read(fd, spill, sizeof(spill));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (used < OUTPUT_MAX)
			used += (size_t) n;
	}
	return text;
}

bool
proc_run(const char *const *argv, const struct home_user *user, char **out, struct util_error *err)
{
	int pipes[2], status = 0;
	char *text;
	pid_t pid;
	bool ok;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return util_error_set(err, "could not start %s: %s", argv[0], strerror(errno));
	pid = fork();
	if (pid == 0)
		run_child(argv, user, pipes[1]);
	close(pipes[1]);
	if (pid < 0)
	{
		close(pipes[0]);
		return util_error_set(err, "could not start %s: %s", argv[0], strerror(errno));
	}
	text = run_collect(pipes[0]);
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	ok = text && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!ok && text && strstr(text, "No space left on device"))
		util_error_set(err, "the disk is full (%s): free some space, then retry", argv[0]);
	else if (!ok)
		util_error_set(err, "%s failed: %s", argv[0], text && *text ? proc_last_line(text) : "?");
	if (ok && out)
		*out = text;
	else
		free(text);
	return ok;
}
