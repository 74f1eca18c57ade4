/* SPDX-License-Identifier: PostgreSQL
 *
 * supervise.c -- keeps postgres, ingest, gateway and the agents running.
 *
 * One loop over a signalfd and a pidfd per child. What is to run stands in
 * etc/processes.json in the order of starting (stopping is the reverse); what
 * runs is published in run/supervisor.json after every change. A lock on
 * etc/supervisor.lock makes sure that there is one. When it is killed its
 * children live on, and the next one takes them over by pid and start time. It
 * keeps no connection and no key: `probectl renew`, which it runs now and then,
 * does the work on certificates.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/cli.h"
#include "cli/home.h"
#include "cli/leftover.h"
#include "cli/super.h"
#include "cli/util.h"
#include "lib/log.h"

#define CHILDREN_MAX  64
#define LOG_BYTES_MAX (8 << 20) /* then it moves to <name>.log.1 */
#define LOG_CHECK_MS  10000
#define RENEW_MS      (3600 * 1000)

struct super
{
	const struct home *home;
	struct child children[CHILDREN_MAX];
	size_t count;
	bool stopping;
	bool changed; /* the published state is old */
	json_int_t generation;
	struct proc_id self;
	int64_t since_wall_ms;
	int signals;
	int64_t log_check_at;
	int64_t renew_at;
	pid_t renew_pid; /* 0 = none */
};

/* ---- what is to run ---- */

static struct child *
child_find(struct super *super, const char *name)
{
	for (size_t i = 0; i < super->count; i++)
		if (strcmp(super->children[i].spec.name, name) == 0)
			return &super->children[i];
	return NULL;
}

/* Takes spec. */
static void
child_want(struct super *super, struct child_spec *spec)
{
	struct child *child = child_find(super, spec->name);

	if (!child && super->count == CHILDREN_MAX)
	{
		log_error("supervise", spec->name, "more than %d processes: not started", CHILDREN_MAX);
		child_spec_free(spec);
		return;
	}
	if (!child)
	{
		child = &super->children[super->count++];
		memset(child, 0, sizeof(*child));
		child->pidfd = -1;
	}
	else
		child_spec_free(&child->spec);
	child->spec = *spec;
	child->wanted = true;
	child->outdated = child->state == CHILD_RUNNING &&
	                  strcmp(child->running_revision, spec->revision) != 0;
	/* A new definition deserves a prompt start. */
	if (child->state == CHILD_BACKOFF)
	{
		child->start_at_ms = 0;
		child->backoff_ms = CHILD_BACKOFF_MIN_MS;
	}
}

static bool
table_read(struct super *super)
{
	char path[PATH_MAX];
	struct util_error err = {{0}};
	json_error_t at;
	json_t *table, *row;
	size_t i;

	snprintf(path, sizeof(path), "%s/etc/processes.json", super->home->dir);
	table = json_load_file(path, 0, &at);
	if (!table)
	{
		log_error("supervise", path, "line %d: %s: the running processes stay", at.line, at.text);
		return false;
	}
	for (i = 0; i < super->count; i++)
		super->children[i].wanted = false;
	json_array_foreach(json_object_get(table, "processes"), i, row)
	{
		struct child_spec spec;

		if (child_spec_parse(row, &spec, &err))
			child_want(super, &spec);
		else
			log_error("supervise", path, "row %zu: %s", i + 1, err.text);
	}
	super->generation = json_integer_value(json_object_get(table, "generation"));
	super->changed = true;
	json_decref(table);
	return true;
}

/* ---- what runs ---- */

static void
state_publish(struct super *super)
{
	json_t *rows = json_array();
	char path[PATH_MAX];
	struct util_error err;
	json_t *state;
	char *text;

	for (size_t i = 0; i < super->count; i++)
		json_array_append_new(rows, child_json(&super->children[i]));
	state = json_pack("{s:o, s:I, s:s, s:b, s:I, s:o}", "process", proc_json(&super->self),
	                  "since_ms", (json_int_t) super->since_wall_ms, "version", PROBECTL_VERSION,
	                  "stopping", super->stopping, "generation", super->generation, "children",
	                  rows);
	text = state ? json_dumps(state, JSON_INDENT(2)) : NULL;
	snprintf(path, sizeof(path), "%s/run/supervisor.json", super->home->dir);
	/* On a full disk the state is old, the processes are not: try again next time. */
	if (!text || !util_write(path, text, strlen(text), 0644, -1, -1, &err))
		log_limited(LOG_LEVEL_ERROR, "supervise", NULL, "could not publish the state: %s",
		            text ? err.text : "out of memory");
	else
		super->changed = false;
	free(text);
	json_decref(state);
}

static void
children_adopt(struct super *super)
{
	json_t *state = super_state(super->home);

	for (size_t i = 0; i < super->count; i++)
	{
		struct child *child = &super->children[i];
		const json_t *row = super_child(state, child->spec.name);

		if (!row || !child_adopt(child, row))
			continue;
		child->outdated = strcmp(child->running_revision, child->spec.revision) != 0;
	}
	json_decref(state);
}

/* ---- logs ---- */

/*
 * Copy and truncate: children hold the file open in append mode, also those that
 * outlive a supervisor. A line written between the copy and the cut is lost.
 */
static void
log_rotate(const char *path)
{
	char old[PATH_MAX + 2];
	struct stat st;
	struct util_error err;
	int fd;

	if (stat(path, &st) != 0 || st.st_size <= LOG_BYTES_MAX)
		return;
	snprintf(old, sizeof(old), "%s.1", path);
	if (!util_copy(path, old, &err))
		log_limited(LOG_LEVEL_WARNING, "supervise", path, "%s", err.text);
	fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, 0) != 0)
		log_limited(LOG_LEVEL_WARNING, "supervise", path, "could not cut the log: %m");
	if (fd >= 0)
		close(fd);
}

static void
logs_check(const struct super *super)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < super->count; i++)
	{
		snprintf(path, sizeof(path), "%s/log/%s.log", super->home->dir,
		         super->children[i].spec.name);
		log_rotate(path);
	}
	snprintf(path, sizeof(path), "%s/log/supervisor.log", super->home->dir);
	log_rotate(path);
}

/* ---- certificates ---- */

static void
renew_start(struct super *super)
{
	char self[PATH_MAX] = {0};
	sigset_t none;
	pid_t pid;

	if (super->renew_pid != 0 || readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		return;
	pid = fork();
	if (pid == 0)
	{
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execl(self, "probectl", "renew", "--home", super->home->named, (char *) NULL);
		_exit(127);
	}
	if (pid > 0)
		super->renew_pid = pid;
}

static void
renew_reap(struct super *super)
{
	int status;

	if (super->renew_pid == 0 || waitpid(super->renew_pid, &status, WNOHANG) != super->renew_pid)
		return;
	super->renew_pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		log_warning("supervise", NULL, "the check of the certificates failed: retried in an hour");
}

/* ---- the loop ---- */

static void
signals_read(struct super *super)
{
	struct signalfd_siginfo info;

	while (read(super->signals, &info, sizeof(info)) == (ssize_t) sizeof(info))
	{
		if (info.ssi_signo == SIGHUP && !super->stopping)
			table_read(super);
		else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
		{
			log_info("supervise", NULL, "stopping everything");
			super->stopping = true;
			super->changed = true;
		}
		else if (info.ssi_signo == SIGCHLD)
			renew_reap(super);
	}
}

/* One after the other, the last started first. True when nothing is left. */
static bool
stop_next(struct super *super)
{
	for (size_t i = super->count; i-- > 0;)
	{
		struct child *child = &super->children[i];

		if (child->state == CHILD_STOPPED)
			continue;
		child_stop(child);
		if (child->state != CHILD_STOPPED)
			return false;
	}
	return true;
}

static void
children_tick(struct super *super)
{
	for (size_t i = 0; i < super->count; i++)
	{
		struct child *child = &super->children[i];
		enum child_state before = child->state;
		bool starts = before == CHILD_BACKOFF || before == CHILD_STOPPED;

		if (starts && child->wanted && !super->stopping &&
		    strcmp(child->spec.name, "postgres") == 0)
			leftover_clear(super->home);
		child_tick(child, super->home, super->stopping);
		if (child->state != before)
			super->changed = true;
	}
	/* Those that are not wanted any more and are gone leave the table. */
	for (size_t i = super->count; i-- > 0;)
	{
		struct child *child = &super->children[i];

		if (child->wanted || child->state != CHILD_STOPPED || super->stopping)
			continue;
		child_spec_free(&child->spec);
		memmove(child, child + 1, (super->count - i - 1) * sizeof(*child));
		super->count--;
		super->changed = true;
	}
}

static int
timeout_ms(const struct super *super)
{
	int64_t now = util_now_ms();
	int64_t next = now + LOG_CHECK_MS;

	for (size_t i = 0; i < super->count; i++)
	{
		int64_t due = child_deadline(&super->children[i]);

		if (due < next)
			next = due;
	}
	/* A state that could not be published is tried again each second. */
	if (super->changed && next > now + 1000)
		next = now + 1000;
	return next <= now ? 0 : (int) (next - now);
}

static void
wait_events(struct super *super)
{
	struct pollfd fds[CHILDREN_MAX + 1];
	size_t which[CHILDREN_MAX + 1];
	nfds_t n = 1;

	fds[0] = (struct pollfd){.fd = super->signals, .events = POLLIN};
	for (size_t i = 0; i < super->count; i++)
	{
		if (super->children[i].pidfd < 0)
			continue;
		which[n] = i;
		fds[n++] = (struct pollfd){.fd = super->children[i].pidfd, .events = POLLIN};
	}
	if (poll(fds, n, timeout_ms(super)) <= 0)
		return;
	for (nfds_t i = 1; i < n; i++)
	{
		if (!(fds[i].revents & POLLIN))
			continue;
		child_gone(&super->children[which[i]], super->home);
		super->changed = true;
	}
	if (fds[0].revents & POLLIN)
		signals_read(super);
}

static void
super_loop(struct super *super)
{
	for (;;)
	{
		int64_t now = util_now_ms();

		children_tick(super);
		if (super->stopping && stop_next(super))
			break;
		if (now >= super->log_check_at)
		{
			logs_check(super);
			super->log_check_at = now + LOG_CHECK_MS;
		}
		if (now >= super->renew_at && !super->stopping)
		{
			renew_start(super);
			super->renew_at = now + RENEW_MS;
		}
		if (super->changed)
			state_publish(super);
		wait_events(super);
	}
	log_info("supervise", NULL, "everything is stopped");
	state_publish(super);
}

static void
lock_take(const struct home *home)
{
	char *path = home_path(home, "etc/supervisor.lock");
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		util_fail(EXIT_CANNOT, "could not open %s: %s", path, strerror(errno));
	/* Held until the end of the process. */
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		util_fail(EXIT_CANNOT, "another supervisor runs for %s", home->dir);
}

static int
signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int
supervise_run(struct cli_args *args)
{
	static struct super super;

	super.home = home_open(cli_value(args, "home"));
	lock_take(super.home);
	home_clean_environment();
	super.signals = signals_open();
	super.since_wall_ms = util_wall_ms();
	super.renew_at = util_now_ms() + RENEW_MS;
	if (super.signals < 0 || !proc_identify(getpid(), &super.self))
		util_fail(EXIT_CANNOT, "could not set up the supervisor: %s", strerror(errno));
	if (!table_read(&super))
		return EXIT_USAGE;
	children_adopt(&super);
	log_info("supervise", NULL, "probectl %s runs for %s", PROBECTL_VERSION, super.home->dir);
	super_loop(&super);
	return 0;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_supervise = {
    .name = "supervise",
    .summary = "keep the processes of a state directory running (what 'up' starts)",
    .text = "Runs in the foreground until SIGTERM, for use in a service unit:\n\n"
            "  probectl up && probectl down          # once: makes the state directory\n"
            "  probectl supervise --home /srv/probe  # then: keeps it running\n",
    .options = options,
    .run = supervise_run,
};
