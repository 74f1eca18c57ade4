/* SPDX-License-Identifier: PostgreSQL
 *
 * super.c -- the supervisor as the commands see it.
 *
 * Commands and supervisor speak through two files, each replaced whole: commands
 * write etc/processes.json (what is to run, with a generation that grows), the
 * supervisor writes run/supervisor.json (what runs, and the generation it has
 * taken over). Signals only say "look again" and "stop".
 */
#include "cli/super.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/step.h"
#include "cli/util.h"

#define START_WAIT_MS     10000
#define RELOAD_WAIT_MS    10000
#define RESTARTS_HOPELESS 4 /* after 0.2 + 0.4 + 0.8 + 1.6 s */
#define LOG_TAIL          4096
#define STOP_WAIT_MS      90000 /* postgres has 60 s, the others 10 each, in turn */

json_t *
super_state(const struct home *home)
{
	int fd = open(home_path(home, "run/supervisor.json"), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	json_t *state = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	/* run/ can be written by the service users: what they put there is not believed. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0))
		state = json_loadfd(fd, 0, NULL);
	close(fd);
	return state;
}

bool
super_running(const struct home *home, struct proc_id *id)
{
	json_t *state = super_state(home);
	bool alive = proc_from_json(json_object_get(state, "process"), id) && proc_alive(id);

	json_decref(state);
	return alive;
}

json_t *
super_child(const json_t *state, const char *name)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(state, "children"), i, row)
	{
		const char *is = json_string_value(json_object_get(row, "name"));

		if (is && strcmp(is, name) == 0)
			return row;
	}
	return NULL;
}

bool
super_child_alive(const struct home *home, const char *name)
{
	json_t *state = super_state(home);
	struct proc_id id;
	bool alive = proc_from_json(json_object_get(super_child(state, name), "process"), &id) &&
	             proc_alive(&id);

	json_decref(state);
	return alive;
}

void
super_signal(const struct home *home, const char *name, int sig)
{
	json_t *state = super_state(home);
	struct proc_id id;
	int fd = -1;

	if (proc_from_json(json_object_get(super_child(state, name), "process"), &id))
		fd = proc_open(&id);
	if (fd >= 0)
	{
		proc_signal(fd, sig);
		close(fd);
	}
	json_decref(state);
}

static void __attribute__((noreturn)) start_detached(const struct home *home)
{
	char self[PATH_MAX] = {0};
	char *log = home_path(home, "log/supervisor.log");
	int null = open("/dev/null", O_RDONLY);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640);

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0 || null < 0 || out < 0)
		_exit(1);
	if (setsid() < 0 || fork() != 0)
		_exit(0);
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	close_range(3, ~0U, 0);
	home_clean_environment();
	if (chdir("/") == 0)
		execl(self, "probectl", "supervise", "--home", home->named, (char *) NULL);
	_exit(1);
}

void
super_start(const struct home *home)
{
	int64_t until = util_now_ms() + START_WAIT_MS;
	struct proc_id id;
	pid_t pid;

	if (super_running(home, &id))
		return;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		start_detached(home);
	if (pid < 0)
		util_fail(EXIT_CANNOT, "could not start the supervisor: %s", strerror(errno));
	while (!super_running(home, &id))
	{
		if (util_now_ms() > until)
			util_fail(EXIT_CANNOT, "the supervisor did not start: %s",
			          super_last_log(home, "supervisor"));
		util_pause_ms(20);
		step_tick();
	}
}

static json_t *
table_load(const struct home *home)
{
	char *path = home_path(home, "etc/processes.json");
	json_error_t at;
	json_t *table = json_load_file(path, 0, &at);

	if (!table && access(path, F_OK) == 0)
		util_fail(EXIT_USAGE, "%s:%d: %s: remove it and run probectl up", path, at.line, at.text);
	return table ? table : json_pack("{s:i, s:[]}", "generation", 0, "processes");
}

static void
table_save(const struct home *home, json_t *table)
{
	json_int_t generation = json_integer_value(json_object_get(table, "generation"));
	struct util_error err;
	char *text;
	bool ok;

	json_object_set_new(table, "generation", json_integer(generation + 1));
	text = json_dumps(table, JSON_INDENT(2));
	ok = util_write(home_path(home, "etc/processes.json"), text, strlen(text), 0644, -1, -1, &err);
	free(text);
	if (!ok)
		util_fail(EXIT_CANNOT, "%s", err.text);
}

void
super_put(const struct home *home, json_t *row)
{
	json_t *table = table_load(home);
	json_t *rows = json_object_get(table, "processes");
	const char *name = json_string_value(json_object_get(row, "name"));
	json_t *old;
	size_t i;

	json_array_foreach(rows, i, old)
	{
		const char *is = json_string_value(json_object_get(old, "name"));

		if (is && name && strcmp(is, name) == 0)
			break;
	}
	if (i < json_array_size(rows) && json_equal(json_array_get(rows, i), row))
		json_decref(row);
	else
	{
		if (i < json_array_size(rows))
			json_array_set_new(rows, i, row);
		else
			json_array_append_new(rows, row);
		table_save(home, table);
	}
	json_decref(table);
}

static bool
generation_taken(const struct home *home)
{
	json_t *table = table_load(home);
	json_t *state = super_state(home);
	bool taken = json_integer_value(json_object_get(state, "generation")) ==
	             json_integer_value(json_object_get(table, "generation"));

	json_decref(table);
	json_decref(state);
	return taken;
}

void
super_reload(const struct home *home)
{
	int64_t until = util_now_ms() + RELOAD_WAIT_MS;
	struct proc_id id;
	int pidfd = super_running(home, &id) ? proc_open(&id) : -1;

	if (pidfd < 0)
		util_fail(EXIT_CANNOT, "the supervisor ended: %s", super_last_log(home, "supervisor"));
	proc_signal(pidfd, SIGHUP);
	while (!generation_taken(home))
	{
		if (proc_wait(pidfd, 20))
			util_fail(EXIT_CANNOT, "the supervisor ended: %s", super_last_log(home, "supervisor"));
		if (util_now_ms() > until)
			util_fail(EXIT_CANNOT, "the supervisor does not answer: see %s",
			          home_path(home, "log/supervisor.log"));
	}
	close(pidfd);
}

/* Left behind by a supervisor that was killed: no one else will end them. */
static bool
leftovers_stop(const struct home *home)
{
	json_t *state = super_state(home);
	json_t *rows = json_object_get(state, "children");
	bool any = false;

	for (size_t i = json_array_size(rows); i-- > 0;)
	{
		const json_t *row = json_array_get(rows, i);
		const char *name = json_string_value(json_object_get(row, "name"));
		bool postgres = name && strcmp(name, "postgres") == 0;
		struct proc_id id;
		int fd = proc_from_json(json_object_get(row, "process"), &id) ? proc_open(&id) : -1;

		if (fd < 0)
			continue;
		any = true;
		proc_signal(fd, postgres ? SIGINT : SIGTERM);
		if (!proc_wait(fd, postgres ? 60000 : 10000))
		{
			proc_signal(fd, SIGKILL);
			proc_wait(fd, 5000);
		}
		close(fd);
	}
	json_decref(state);
	return any;
}

bool
super_stop(const struct home *home)
{
	struct proc_id id;
	int pidfd = super_running(home, &id) ? proc_open(&id) : -1;

	if (pidfd < 0)
		return leftovers_stop(home);
	if (!proc_signal(pidfd, SIGTERM))
		util_fail(EXIT_CANNOT, "could not stop the supervisor, pid %d: %s", (int) id.pid,
		          strerror(errno));
	if (!proc_wait(pidfd, STOP_WAIT_MS))
		util_fail(EXIT_CANNOT, "the supervisor, pid %d, is still stopping: see %s", (int) id.pid,
		          home_path(home, "log/supervisor.log"));
	close(pidfd);
	return true;
}

static int
child_restarts(const struct home *home, const char *name)
{
	json_t *state = super_state(home);
	int n = (int) json_integer_value(json_object_get(super_child(state, name), "restarts"));

	json_decref(state);
	return n;
}

struct super_patience
super_patience(const struct home *home, const char *name, int ms)
{
	return (struct super_patience){.home = home,
	                               .name = name,
	                               .until_ms = util_now_ms() + ms,
	                               .restarts = child_restarts(home, name)};
}

bool
super_patience_over(const struct super_patience *patience)
{
	const char *said;

	if (util_now_ms() > patience->until_ms)
		return true;
	util_pause_ms(50);
	step_tick();
	if (child_restarts(patience->home, patience->name) - patience->restarts < RESTARTS_HOPELESS)
		return false;
	/* A killed server's last processes still hold its memory: that passes. */
	said = super_last_log(patience->home, patience->name);
	return !strstr(said, "still in use") && !strstr(said, "lock file");
}

const char *
super_last_log(const struct home *home, const char *name)
{
	int fd = open(home_path(home, "log/%s.log", name), O_RDONLY | O_CLOEXEC);
	char *text = util_alloc(LOG_TAIL + 1);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	ssize_t n = fd >= 0 ? pread(fd, text, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0) : 0;
	char *fatal = NULL;

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *at = text; (at = strstr(at, " FATAL:  ")); at++)
		fatal = at + strlen(" FATAL:  ");
	if (!fatal || strcmp(name, "postgres") != 0)
		return proc_last_line(text);
	fatal[strcspn(fatal, "\n")] = '\0';
	return fatal;
}
