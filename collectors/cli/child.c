/* SPDX-License-Identifier: PostgreSQL
 *
 * child.c -- one process under the supervisor.
 *
 * Its end is seen through a pidfd, which works for children of this process and
 * for those taken over alike; only the exit status is known of the former alone.
 */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <pwd.h>

#include "lib/log.h"

#define STOP_MS_DEFAULT 10000

const char *const child_state_names[CHILD_STATES] = {
    [CHILD_STOPPED] = "stopped",
    [CHILD_RUNNING] = "running",
    [CHILD_BACKOFF] = "restarting",
    [CHILD_STOPPING] = "stopping",
};

static const struct
{
	const char *name;
	int sig;
} stop_signals[] = {{"TERM", SIGTERM}, {"INT", SIGINT}};

/* Legal next states, one bit each. */
static const unsigned next_states[CHILD_STATES] = {
    [CHILD_STOPPED] = 1u << CHILD_RUNNING | 1u << CHILD_BACKOFF,
    [CHILD_RUNNING] = 1u << CHILD_BACKOFF | 1u << CHILD_STOPPING,
    [CHILD_BACKOFF] = 1u << CHILD_RUNNING | 1u << CHILD_BACKOFF | 1u << CHILD_STOPPED,
    [CHILD_STOPPING] = 1u << CHILD_STOPPED,
};

static void
child_set_state(struct child *child, enum child_state state)
{
	if (!(next_states[child->state] & 1u << state))
		log_fatal("supervise", child->spec.name, "impossible change of state from %s to %s",
		          child_state_names[child->state], child_state_names[state]);
	child->state = state;
}

static char *
text_copy(const json_t *row, const char *key)
{
	const char *text = json_string_value(json_object_get(row, key));

	return text ? strdup(text) : NULL;
}

/* The name becomes a part of file names. */
static bool
name_valid(const char *name)
{
	return name && *name && strlen(name) < 48 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

bool
child_spec_parse(const json_t *row, struct child_spec *spec, struct util_error *err)
{
	const json_t *argv = json_object_get(row, "argv");
	const char *stop = json_string_value(json_object_get(row, "stop"));
	json_int_t stop_ms = json_integer_value(json_object_get(row, "stop_ms"));
	size_t n = json_array_size(argv);

	memset(spec, 0, sizeof(*spec));
	spec->name = text_copy(row, "name");
	spec->user = text_copy(row, "user");
	spec->revision = text_copy(row, "revision");
	spec->net_raw = json_is_true(json_object_get(row, "net_raw"));
	spec->stop_ms = stop_ms > 0 && stop_ms <= 600000 ? (int) stop_ms : STOP_MS_DEFAULT;
	for (size_t i = 0; stop && i < sizeof(stop_signals) / sizeof(stop_signals[0]); i++)
		if (strcmp(stop_signals[i].name, stop) == 0)
			spec->stop_signal = stop_signals[i].sig;
	for (size_t i = 0; i < n && n <= CHILD_ARGS_MAX; i++)
	{
		const char *word = json_string_value(json_array_get(argv, i));

		spec->argv[i] = word ? strdup(word) : NULL;
	}
	if (name_valid(spec->name) && spec->user && spec->revision && spec->stop_signal &&
	    spec->argv[0] && spec->argv[0][0] == '/')
		return true;
	util_error_set(err, "a process without a valid name, user, revision, argv or stop");
	child_spec_free(spec);
	return false;
}

void
child_spec_free(struct child_spec *spec)
{
	free(spec->name);
	free(spec->user);
	free(spec->revision);
	for (size_t i = 0; i < CHILD_ARGS_MAX; i++)
		free(spec->argv[i]);
	memset(spec, 0, sizeof(*spec));
}

static bool
child_user(const struct child *child, struct home_user *user)
{
	struct passwd *pw = geteuid() == 0 ? getpwnam(child->spec.user) : getpwuid(geteuid());

	if (!pw)
		return false;
	snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	return true;
}

static int
log_open(const struct child *child, const struct home *home, const struct home_user *user)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/log/%s.log", home->dir, child->spec.name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd >= 0 && geteuid() == 0 && fchown(fd, user->uid, user->gid) != 0)
		log_warning("supervise", child->spec.name, "could not set the owner of its log: %m");
	return fd;
}

static void
pid_file_write(const struct child *child, const struct home *home)
{
	char path[PATH_MAX], text[64];
	struct util_error err;
	int n;

	snprintf(path, sizeof(path), "%s/run/%s.pid", home->dir, child->spec.name);
	n = snprintf(text, sizeof(text), "%d %llu\n", (int) child->id.pid,
	             (unsigned long long) child->id.start);
	if (!util_write(path, text, (size_t) n, 0644, -1, -1, &err))
		log_warning("supervise", child->spec.name, "%s", err.text);
}

static void
pid_file_remove(const struct child *child, const struct home *home)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/run/%s.pid", home->dir, child->spec.name);
	unlink(path);
}

/*
 * CAP_NET_RAW across the change of user and the exec: kept, then made inheritable
 * and ambient. Without it (a container that lacks it) the process starts all the
 * same and says itself what it cannot do.
 */
static void
keep_net_raw(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	data[0].effective = data[0].permitted = data[0].inheritable = 1u << CAP_NET_RAW;
	if (syscall(SYS_capset, &header, data) == 0)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0);
}

static void __attribute__((noreturn))
child_exec(const struct child *child, const struct home_user *user, int log_fd)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0)
		_exit(126);
	close_range(3, ~0U, 0);
	umask(027);
	if (child->spec.net_raw && geteuid() == 0)
		prctl(PR_SET_KEEPCAPS, 1);
	if (!proc_become(user))
	{
		dprintf(2, "could not become %s: %s\n", user->name, strerror(errno));
		_exit(126);
	}
	if (child->spec.net_raw)
		keep_net_raw();
	if (chdir("/") != 0)
		_exit(126);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	execv(child->spec.argv[0], child->spec.argv);
	dprintf(2, "could not start %s: %s\n", child->spec.argv[0], strerror(errno));
	_exit(127);
}

static void
child_backoff(struct child *child)
{
	child->start_at_ms = util_now_ms() + child->backoff_ms;
	child->backoff_ms *= 2;
	if (child->backoff_ms > CHILD_BACKOFF_MAX_MS)
		child->backoff_ms = CHILD_BACKOFF_MAX_MS;
	child_set_state(child, CHILD_BACKOFF);
}

/* Made by fork alone: the descriptor is opened before anybody can reap the pid. */
static bool
child_fork(struct child *child, const struct home_user *user, int log_fd)
{
	pid_t pid = fork();

	if (pid == 0)
		child_exec(child, user, log_fd);
	if (pid < 0)
		return false;
	child->pidfd = pidfd_open(pid, 0);
	if (child->pidfd < 0)
	{
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return false;
	}
	memset(&child->id, 0, sizeof(child->id));
	/* Gone already is no fault here: the descriptor will say so. */
	if (!proc_identify(pid, &child->id))
		child->id.pid = pid;
	return true;
}

void
child_start(struct child *child, const struct home *home)
{
	struct home_user user;
	int log_fd = -1;
	bool ok = false;

	if (child->backoff_ms == 0)
		child->backoff_ms = CHILD_BACKOFF_MIN_MS;
	if (!child_user(child, &user))
		log_error("supervise", child->spec.name, "there is no user %s", child->spec.user);
	else if ((log_fd = log_open(child, home, &user)) < 0)
		log_error("supervise", child->spec.name, "could not open its log: %m");
	else if (!(ok = child_fork(child, &user, log_fd)))
		log_error("supervise", child->spec.name, "could not start: %m");
	if (log_fd >= 0)
		close(log_fd);
	if (!ok)
	{
		child_backoff(child);
		return;
	}
	child->own = true;
	child->outdated = false;
	snprintf(child->running_revision, sizeof(child->running_revision), "%s", child->spec.revision);
	child->since_ms = util_now_ms();
	child->since_wall_ms = util_wall_ms();
	child_set_state(child, CHILD_RUNNING);
	pid_file_write(child, home);
	log_info("supervise", child->spec.name, "started, pid %d", (int) child->id.pid);
}

bool
child_adopt(struct child *child, const json_t *row)
{
	const char *revision = json_string_value(json_object_get(row, "revision"));

	child->restarts = (unsigned) json_integer_value(json_object_get(row, "restarts"));
	if (!proc_from_json(json_object_get(row, "process"), &child->id))
		return false;
	child->pidfd = proc_open(&child->id);
	if (child->pidfd < 0)
		return false;
	child->own = false;
	child->since_ms = util_now_ms();
	child->since_wall_ms = json_integer_value(json_object_get(row, "since_ms"));
	child->backoff_ms = CHILD_BACKOFF_MIN_MS;
	snprintf(child->running_revision, sizeof(child->running_revision), "%s",
	         revision ? revision : "");
	child_set_state(child, CHILD_RUNNING);
	log_info("supervise", child->spec.name, "taken over, pid %d", (int) child->id.pid);
	return true;
}

void
child_stop(struct child *child)
{
	if (child->state == CHILD_BACKOFF)
		child_set_state(child, CHILD_STOPPED);
	if (child->state != CHILD_RUNNING)
		return;
	child->kill_at_ms = util_now_ms() + child->spec.stop_ms;
	child_set_state(child, CHILD_STOPPING);
	log_info("supervise", child->spec.name, "stopping, pid %d", (int) child->id.pid);
	proc_signal(child->pidfd, child->spec.stop_signal);
}

static void
exit_describe(struct child *child)
{
	int status = 0;

	if (!child->own || waitpid(child->id.pid, &status, 0) != child->id.pid)
		snprintf(child->last_exit, sizeof(child->last_exit), "unknown");
	else if (WIFSIGNALED(status))
		snprintf(child->last_exit, sizeof(child->last_exit), "signal %d (%s)", WTERMSIG(status),
		         strsignal(WTERMSIG(status)));
	else
		snprintf(child->last_exit, sizeof(child->last_exit), "exit %d", WEXITSTATUS(status));
}

void
child_gone(struct child *child, const struct home *home)
{
	exit_describe(child);
	close(child->pidfd);
	child->pidfd = -1;
	child->id.pid = 0;
	pid_file_remove(child, home);
	if (child->state == CHILD_STOPPING)
	{
		log_info("supervise", child->spec.name, "stopped: %s", child->last_exit);
		child_set_state(child, CHILD_STOPPED);
		return;
	}
	if (util_now_ms() - child->since_ms >= CHILD_HEALTHY_MS)
		child->backoff_ms = CHILD_BACKOFF_MIN_MS;
	log_warning("supervise", child->spec.name, "ended: %s; starting again in %lld ms",
	            child->last_exit, (long long) child->backoff_ms);
	child_backoff(child);
}

void
child_tick(struct child *child, const struct home *home, bool stopping)
{
	int64_t now = util_now_ms();

	if (child->state == CHILD_STOPPING && now >= child->kill_at_ms)
	{
		log_warning("supervise", child->spec.name, "did not stop in %d ms: killed",
		            child->spec.stop_ms);
		proc_signal(child->pidfd, SIGKILL);
		child->kill_at_ms = INT64_MAX;
	}
	if (stopping)
		return;
	if (child->state == CHILD_RUNNING && (!child->wanted || child->outdated))
		child_stop(child);
	else if (child->state == CHILD_BACKOFF && !child->wanted)
		child_set_state(child, CHILD_STOPPED);
	else if (child->state == CHILD_BACKOFF && now >= child->start_at_ms)
	{
		child->restarts++;
		child_start(child, home);
	}
	else if (child->state == CHILD_STOPPED && child->wanted)
		child_start(child, home);
}

int64_t
child_deadline(const struct child *child)
{
	if (child->state == CHILD_STOPPING)
		return child->kill_at_ms;
	if (child->state == CHILD_BACKOFF)
		return child->start_at_ms;
	return INT64_MAX;
}

json_t *
child_json(const struct child *child)
{
	return json_pack("{s:s, s:s, s:o, s:I, s:i, s:s, s:s}", "name", child->spec.name, "state",
	                 child_state_names[child->state], "process", proc_json(&child->id), "since_ms",
	                 (json_int_t) child->since_wall_ms, "restarts", (int) child->restarts,
	                 "last_exit", child->last_exit, "revision", child->running_revision);
}
