/* SPDX-License-Identifier: PostgreSQL
 *
 * main.c -- probectl-agent: options, privileges, and what happens on one event loop.
 *
 * A result goes from its canary into the spool and leaves with those of the same half second; what
 * the control plane has not committed a second after it was measured is synced to disk. So an agent
 * with a link makes its disk do nothing, and one without loses to a power cut what one with a
 * link does: a second. Measuring needs neither the control plane nor a connection: tests that were
 * pulled are kept on disk and run again after a restart without a link.
 */
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/bundle.h"
#include "agent/a2a/meet.h"
#include "agent/a2a/reflector.h"
#include "agent/canary.h"
#include "agent/confine.h"
#include "agent/forward.h"
#include "agent/join.h"
#include "agent/once.h"
#include "agent/privilege.h"
#include "agent/resolver.h"
#include "agent/rotate.h"
#include "agent/sched.h"
#include "agent/settings.h"
#include "agent/stamp.h"
#include "agent/sweep.h"
#include "agent/tests.h"
#include "agent/udp/echo.h"
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/files.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "lib/spool.h"

#define SEND_MS          1000   /* results of so long share one batch */
#define SYNC_MS          1500   /* what waits for longer is synced */
#define DRAIN_MS         3000   /* how long a stop waits for acknowledgements */
#define TRIM_MS          10000  /* after what used memory and code that is not needed again */
#define TRIM_AGAIN_MS    300000 /* and after whatever else may have */
#define RESULT_BYTES_MAX (64 * 1024)

struct agent
{
	struct settings settings;
	struct conf conf;
	struct event_base *base;
	struct canary_env env;
	struct identity identity;
	struct spool *spool;
	struct sched *sched;
	struct forward *forward;
	struct join *join;
	struct rotate *rotate;
	struct echo *echo;
	struct metrics_server *status;
	struct event *tick, *pulse, *send, *sync, *drain, *trim;
	int64_t pulse_due; /* monotonic ns */
	struct event *signals[4];
	struct bundle bundle;
	bool draining;
	int exit_code;
};

enum
{
	ROW_SUCCEEDED,
	ROW_FAILED,
	ROW_LOST,
	ROW_RUNS,
	ROW_OVERRUN,
	ROW_MISSED,
	ROW_HELD,
	ROW_DISTURBED,
	ROW_LATEST,
	ROW_TESTS,
	ROW_SYNC_FAILED,
	ROW_DROPPED,
	ROW_COUNT = ROW_DROPPED + SPOOL_DROP_COUNT,
};

#define DROPPED(why, words)                                                                        \
	[ROW_DROPPED + (why)] = METRIC_COUNTER("probectl_agent_spool_dropped_total",                   \
	                                       "reason=\"" words "\"", "Results lost, by reason.")

static struct metric rows[ROW_COUNT] = {
    [ROW_SUCCEEDED] = METRIC_COUNTER("probectl_agent_results_total", "outcome=\"success\"",
                                     "Results by verdict."),
    [ROW_FAILED] = METRIC_COUNTER("probectl_agent_results_total", "outcome=\"failure\"",
                                  "Results by verdict."),
    [ROW_LOST] = METRIC_COUNTER("probectl_agent_results_total", "outcome=\"lost\"",
                                "Results by verdict."),
    [ROW_RUNS] = METRIC_COUNTER("probectl_agent_runs_total", NULL, "Runs of tests started."),
    [ROW_OVERRUN] = METRIC_COUNTER("probectl_agent_ticks_skipped_total", "reason=\"overrun\"",
                                   "Ticks at which no run was started."),
    [ROW_MISSED] = METRIC_COUNTER("probectl_agent_ticks_skipped_total", "reason=\"missed\"",
                                  "Ticks at which no run was started."),
    [ROW_HELD] = METRIC_COUNTER("probectl_agent_runs_held_total", NULL,
                                "Times that a run which was due waited for a budget."),
    [ROW_DISTURBED] = METRIC_COUNTER("probectl_agent_runs_disturbed_total", NULL,
                                     "Runs that the agent's own load may have disturbed."),
    [ROW_LATEST] = {.name = "probectl_agent_start_delay_max_seconds",
                    .kind = METRIC_KIND_GAUGE,
                    .divisor = 1000000000,
                    .help = "The most that a run started after its time."},
    [ROW_TESTS] = METRIC_GAUGE("probectl_agent_tests", NULL, "Tests that run."),
    [ROW_SYNC_FAILED] = METRIC_COUNTER("probectl_agent_spool_sync_failures_total", NULL,
                                       "Failed fsyncs of the spool."),
    DROPPED(SPOOL_DROP_RECORDS, "max_records"),
    DROPPED(SPOOL_DROP_BYTES, "max_bytes"),
    DROPPED(SPOOL_DROP_AGE, "max_age"),
    DROPPED(SPOOL_DROP_CORRUPT, "corrupt"),
    DROPPED(SPOOL_DROP_TOO_LARGE, "too_large"),
    DROPPED(SPOOL_DROP_DISK, "disk"),
    DROPPED(SPOOL_DROP_REFUSED, "refused"),
    DROPPED(SPOOL_DROP_FULL, "full"),
    DROPPED(SPOOL_DROP_NEWER, "newer_version"),
};

static void
arm(struct event *timer, int64_t ms)
{
	struct timeval delay = clock_timeval(ms * NANO_PER_MS);

	event_add(timer, &delay);
}

/* Brings counters and gauges up to date; cheap enough for every change. */
static void
publish(struct agent *a)
{
	struct spool_stats spool;
	struct sched_stats sched = {0};

	spool_stats(a->spool, &spool);
	if (a->sched)
		sched_stats(a->sched, &sched);
	metrics_backlog((int64_t) spool.records);
	metric_set(&rows[ROW_RUNS], (int64_t) sched.runs);
	metric_set(&rows[ROW_OVERRUN], (int64_t) sched.overrun);
	metric_set(&rows[ROW_MISSED], (int64_t) sched.missed);
	metric_set(&rows[ROW_HELD], (int64_t) sched.held);
	metric_set(&rows[ROW_DISTURBED], (int64_t) sched.disturbed);
	metric_set(&rows[ROW_LATEST], sched.latest);
	metric_set(&rows[ROW_TESTS], (int64_t) sched.tests);
	metric_set(&rows[ROW_SYNC_FAILED], (int64_t) spool.sync_failures);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		metric_set(&rows[ROW_DROPPED + i], (int64_t) spool.dropped[i]);
}

/* What this process did since then, the disk above all, kept it from everything else. */
static void
held_up(struct agent *a, int64_t since)
{
	if (a->sched)
		sched_pulse(a->sched, clock_mono_nano() - since);
}

/* The coarse clock that libevent takes otherwise is up to 4 ms behind: a test would begin so much
 * late, after some turns of the loop in which nothing is due. */
static struct event_base *
loop_new(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	if (!config)
		return NULL;
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

/* ---- results ---- */

static void
on_result(const struct result *result, void *arg)
{
	static uint8_t bytes[RESULT_BYTES_MAX];
	struct agent *a = arg;
	size_t len = result_encode(result, bytes, sizeof(bytes));
	int64_t since = clock_mono_nano();
	bool kept;

	/* A failure is what somebody will look for after an outage. */
	if (result->success)
		kept = len > 0 && spool_append(a->spool, bytes, len, clock_unix_nano(), NULL);
	else
		kept = len > 0 && spool_append_important(a->spool, bytes, len, clock_unix_nano(), NULL);
	held_up(a, since);
	if (!kept)
	{
		metric_add(&rows[ROW_LOST], 1);
		log_limited(LOG_LEVEL_ERROR, "spool", a->settings.spool_dir, "a result is lost: %s",
		            len ? strerror(errno) : "it is too long");
		publish(a);
		return;
	}
	metric_add(&rows[result->success ? ROW_SUCCEEDED : ROW_FAILED], 1);
	metrics_last_result(clock_unix_nano());
	if (!event_pending(a->send, EV_TIMEOUT, NULL))
		arm(a->send, SEND_MS);
	if (!event_pending(a->sync, EV_TIMEOUT, NULL))
		arm(a->sync, SYNC_MS);
}

static void
on_send(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	spool_offer(a->spool);
	if (a->forward)
		forward_kick(a->forward);
}

/* Due only where the control plane did not take everything in time. */
static void
on_sync(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	int64_t since = clock_mono_nano();

	if (!spool_sync(a->spool))
	{
		log_limited(LOG_LEVEL_ERROR, "spool", a->settings.spool_dir, "fsync: %s", strerror(errno));
		arm(a->sync, 1000);
	}
	held_up(a, since);
	publish(a);
	on_send(-1, 0, a);
}

/* ---- tests ---- */

static void
schedule(struct agent *a)
{
	int64_t due = sched_due(a->sched), delay;

	if (due == INT64_MAX || a->draining)
	{
		event_del(a->tick);
		return;
	}
	delay = due - clock_mono_nano();
	/* Rounded up: a tick that comes early would only come again. */
	arm(a->tick, delay > 0 ? (delay + NANO_PER_MS - 1) / NANO_PER_MS : 0);
}

/* While a run goes on that cannot tell itself, the loop is asked every now and then how late it is:
 * what delays this timer delays the run as well. */
static void
watch_loop(struct agent *a)
{
	struct sched_stats stats;

	sched_stats(a->sched, &stats);
	if (stats.watched == 0)
		event_del(a->pulse);
	if (stats.watched == 0 || event_pending(a->pulse, EV_TIMEOUT, NULL))
		return;
	a->pulse_due = clock_mono_nano() + SCHED_PULSE_MS * NANO_PER_MS;
	arm(a->pulse, SCHED_PULSE_MS);
}

static void
on_pulse(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	sched_pulse(a->sched, clock_mono_nano() - a->pulse_due);
	watch_loop(a);
}

static void
on_changed(void *arg)
{
	struct agent *a = arg;

	if (!a->sched)
		return;
	watch_loop(a);
	schedule(a);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	sched_run(a->sched, clock_mono_nano());
	on_changed(a);
}

static int64_t
on_processor(void *arg)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (int64_t) used.tv_sec * NANO_PER_SECOND + used.tv_nsec;
}

/* Runs the agent's own tests and those that were pulled. */
static void
apply_tests(struct agent *a)
{
	struct test_list all = {0};

	tests_copy(&all, &a->settings.canaries);
	bundle_tests(&a->bundle, &all);
	sched_set(a->sched, &all, clock_mono_nano());
	arm(a->trim, TRIM_MS);
	publish(a);
}

static bool
on_tests(const void *answer, size_t len, void *arg)
{
	struct agent *a = arg;

	if (bundle_take(&a->bundle, answer, len) != BUNDLE_OK)
		return false;
	apply_tests(a);
	return true;
}

static void
on_report(struct forward_report *report, void *arg)
{
	struct agent *a = arg;
	struct sched_stats sched;

	sched_stats(a->sched, &sched);
	report->revision = a->bundle.revision;
	report->tests_problem = a->bundle.problem;
	report->tests_refused = a->bundle.refused;
	report->ticks_skipped = sched.overrun + sched.missed;
	report->runs_disturbed = sched.disturbed;
}

/* ---- life ---- */

static void
stop(struct agent *a, int exit_code)
{
	a->exit_code = exit_code;
	event_base_loopbreak(a->base);
}

static void
on_progress(void *arg)
{
	struct agent *a = arg;
	struct spool_stats stats;

	publish(a);
	if (!spool_dirty(a->spool))
		event_del(a->sync);
	if (!a->draining)
		return;
	spool_stats(a->spool, &stats);
	if (stats.records == 0)
		stop(a, 0);
}

/* ---- sessions with other agents ---- */

static uint8_t *
on_meet(uint32_t wait_seconds, const char *address, size_t *len, void *arg)
{
	struct agent *a = arg;

	return meet_ask(a->env.meet, wait_seconds, address, len);
}

static int64_t
on_met(const uint8_t *data, size_t len, void *arg)
{
	struct agent *a = arg;

	return meet_told(a->env.meet, data, len);
}

static void
on_linked(void *arg)
{
	struct agent *a = arg;

	rotate_linked(a->rotate);
	arm(a->trim, TRIM_MS);
}

static void
on_stranger(void *arg)
{
	stop(arg, 1);
}

static void
start_measuring(struct agent *a)
{
	static const struct sched_ops sched_ops = {on_result, on_changed, on_processor};
	static const struct forward_ops forward_ops = {
	    .tests = on_tests,
	    .report = on_report,
	    .progress = on_progress,
	    .meet = on_meet,
	    .met = on_met,
	    .linked = on_linked,
	};
	static const struct forward_ops without_meet = {
	    .tests = on_tests,
	    .report = on_report,
	    .progress = on_progress,
	    .linked = on_linked,
	};
	const struct sched_limits limits = {
	    .concurrency = (size_t) a->settings.tests_concurrency,
	    .packets_per_second = (unsigned) a->settings.tests_packets,
	};
	struct rotate_options rotate = {
	    .base = a->base,
	    .resolver = a->env.resolver,
	    .settings = &a->settings,
	    .identity = &a->identity,
	    .stranger = on_stranger,
	    .arg = a,
	};
	struct forward_options options = {
	    .base = a->base,
	    .resolver = a->env.resolver,
	    .identity = &a->identity,
	    .settings = &a->settings,
	    .spool = a->spool,
	    .ops = a->env.meet ? &forward_ops : &without_meet,
	    .arg = a,
	};
	char err[512];

	log_info("main", a->identity.agent_id, "tenant %s, epoch %" PRIu64, a->identity.tenant_id,
	         spool_epoch(a->spool));
	if (a->settings.tests_from_control)
		bundle_open(&a->bundle, &a->identity, a->settings.spool_dir);
	a->sched = sched_new(&a->env, a->identity.agent_id, &limits, &sched_ops, a);
	apply_tests(a);
	a->forward = forward_new(&options, err, sizeof(err));
	if (!a->forward)
	{
		log_error("main", NULL, "%s", err);
		stop(a, 1);
		return;
	}
	rotate.forward = a->forward;
	a->rotate = rotate_new(&rotate);
	malloc_trim(0);
}

static void
on_joined(const char *why_not, void *arg)
{
	struct agent *a = arg;
	char err[1024];

	a->join = NULL;
	if (why_not)
	{
		log_error("enroll", a->settings.enroll_server, "%s; make a new join token and start again",
		          why_not);
		stop(a, 1);
	}
	else if (identity_load(a->settings.identity_dir, &a->identity, err, sizeof(err)) != IDENTITY_OK)
	{
		log_error("main", NULL, "%s", err);
		stop(a, 1);
	}
	else
		start_measuring(a);
}

static void
on_drained(evutil_socket_t fd, short what, void *arg)
{
	stop(arg, 0);
}

/* Unmaps one segment of the program that is never written: what is needed of it is mapped again
 * from the page cache, what only the start needed is not. */
static int
segment_release(struct dl_phdr_info *info, size_t size, void *arg)
{
	const uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE) - 1;

	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr, end = start + p->p_memsz;

		start = (start + page) & ~page;
		end &= ~page;
		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W) && start < end)
			madvise((void *) start, end - start, MADV_DONTNEED);
	}
	return 1; /* the program comes first, libraries of a test build stay as they are */
}

/* Freed heap and unused code go back to the system. */
static void
on_trim(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	malloc_trim(0);
	dl_iterate_phdr(segment_release, NULL);
	arm(a->trim, TRIM_AGAIN_MS);
}

/* SIGTERM, SIGINT: no new runs, what is measured leaves if it can, the rest stays on disk. */
static void
on_terminate(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	if (a->draining || !a->sched)
	{
		stop(a, 0);
		return;
	}
	log_info("main", NULL, "stopping");
	a->draining = true;
	schedule(a);
	arm(a->drain, DRAIN_MS);
	on_sync(-1, 0, a);
	on_progress(a);
}

static void
on_hangup(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	char err[512];

	if (!conf_reload(&a->conf, err, sizeof(err)))
	{
		log_error("conf", a->conf.file, "settings stay as they were: %s", err);
		return;
	}
	log_set_level((enum log_level) a->settings.log_level);
	log_info("conf", a->conf.file, "settings read again");
	if (a->sched)
		apply_tests(a);
	if (a->rotate)
		rotate_reload(a->rotate);
}

/* SIGUSR1: a new certificate now. */
static void
on_rotate(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	if (a->rotate)
		rotate_now(a->rotate);
}

static void
make_events(struct agent *a)
{
	a->tick = evtimer_new(a->base, on_tick, a);
	a->pulse = evtimer_new(a->base, on_pulse, a);
	a->send = evtimer_new(a->base, on_send, a);
	a->sync = evtimer_new(a->base, on_sync, a);
	a->drain = evtimer_new(a->base, on_drained, a);
	a->trim = evtimer_new(a->base, on_trim, a);
	a->signals[0] = evsignal_new(a->base, SIGTERM, on_terminate, a);
	a->signals[1] = evsignal_new(a->base, SIGINT, on_terminate, a);
	a->signals[2] = evsignal_new(a->base, SIGHUP, on_hangup, a);
	a->signals[3] = evsignal_new(a->base, SIGUSR1, on_rotate, a);
	if (!a->tick || !a->pulse || !a->send || !a->sync || !a->drain || !a->trim)
		log_fatal("main", NULL, "out of memory for events");
	arm(a->trim, TRIM_MS);
	for (size_t i = 0; i < sizeof(a->signals) / sizeof(a->signals[0]); i++)
		if (!a->signals[i] || event_add(a->signals[i], NULL) != 0)
			log_fatal("main", NULL, "cannot handle signals");
	signal(SIGPIPE, SIG_IGN);
}

static void
open_meet(struct agent *a)
{
	const struct settings *s = &a->settings;
	const struct meet_options options = {
	    .base = a->base,
	    .listen = s->a2a_listen,
	    .advertise = s->a2a_advertise,
	    .allow = s->a2a_allow,
	    .rate = s->a2a_rate,
	};
	char err[512];

	a->env.meet = meet_new(&options, err, sizeof(err));
	if (!a->env.meet)
		log_fatal("main", NULL, "%s", err);
}

/* Privileged sockets, then the user the agent stays, then its files. Exits with one line. */
static void
prepare(struct agent *a)
{
	const struct settings *s = &a->settings;
	const struct spool_limits limits = {
	    .max_records = (uint64_t) s->spool_max_records,
	    .max_bytes = (uint64_t) s->spool_max_bytes,
	    .max_age_nano = s->spool_max_age * NANO_PER_MS,
	    .policy = (enum spool_policy) s->spool_policy,
	};
	char err[1024];
	int echo_fd = -1;

	canary_env_open(&a->env);
	if (s->echo_listen && (echo_fd = echo_open(s->echo_listen, err, sizeof(err))) < 0)
		log_fatal("main", NULL, "%s", err);
	if (!privilege_drop(s->user, err, sizeof(err)))
		log_fatal("main", NULL, "%s", err);
	if (!confine((enum confine_mode) s->seccomp, err, sizeof(err)))
		log_warning("main", NULL, "%s; going on without", err);
	if (geteuid() == 0)
		log_warning("main", NULL, "running as root without capabilities; set user to an account");
	umask(0077);
	a->base = loop_new();
	a->env.base = a->base;
	a->env.resolver = a->base ? resolver_new(a->base, NULL) : NULL;
	if (!a->env.resolver)
		log_fatal("main", NULL, "cannot make an event loop");
	make_events(a);
	if (echo_fd >= 0 && !(a->echo = echo_start(a->base, echo_fd, (uint32_t) s->echo_rate)))
		log_fatal("main", NULL, "out of memory for the echo responder");
	if (s->a2a_enabled)
		open_meet(a);
	a->spool = spool_open(s->spool_dir, &limits, err, sizeof(err));
	if (!a->spool)
		log_fatal("main", NULL, "%s", err);
	if (s->status_socket)
	{
		a->status = metrics_serve(a->base, s->status_socket, err, sizeof(err));
		if (!a->status)
			log_fatal("main", NULL, "%s", err);
	}
}

static void
begin(struct agent *a)
{
	char err[1024];

	switch (identity_load(a->settings.identity_dir, &a->identity, err, sizeof(err)))
	{
		case IDENTITY_OK: start_measuring(a); break;
		case IDENTITY_BROKEN: log_fatal("main", NULL, "%s", err);
		case IDENTITY_MISSING:
			a->join = join_start(a->base, a->env.resolver, &a->settings, on_joined, a, err,
			                     sizeof(err));
			if (!a->join)
				log_fatal("main", NULL, "%s", err);
			break;
	}
}

static void
finish(struct agent *a)
{
	struct event *events[] = {a->tick, a->pulse,      a->send,       a->sync,       a->drain,
	                          a->trim, a->signals[0], a->signals[1], a->signals[2], a->signals[3]};

	join_free(a->join);
	rotate_free(a->rotate);
	forward_free(a->forward);
	sched_free(a->sched);
	meet_free(a->env.meet);
	bundle_close(&a->bundle);
	spool_close(a->spool);
	metrics_stop(a->status);
	echo_stop(a->echo);
	canary_env_close(&a->env);
	resolver_free(a->env.resolver);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		event_free(events[i]);
	event_base_free(a->base);
	conf_free(&a->conf);
}

/* ---- command line ---- */

static void
help_more(FILE *out)
{
	fprintf(out, "\nTests:\n");
	for (size_t i = 0; canary_table[i]; i++)
		fprintf(out, "  %-6s %s\n", canary_table[i]->type, canary_table[i]->summary);
	fprintf(out, "\nTo find out which system call is missing from the filter:\n"
	             "  probectl-agent --seccomp=log --config FILE\n");
	fprintf(out, "\nOne run from the shell, without a server:\n"
	             "  probectl-agent --once TYPE TARGET [--param KEY=VALUE]... [--json]\n"
	             "or one against each target of a list, one a line:\n"
	             "  probectl-agent --once TYPE @FILE [--rate RUNS_A_SECOND] [--at-once RUNS] "
	             "[--summary] ...\n");
	fprintf(out, "\nAnswer the udp tests of others, and do nothing else:\n"
	             "  probectl-agent --echo ADDRESS:PORT [--rate ANSWERS_A_SECOND] [--user NAME]\n");
	fprintf(out,
	        "\nTo answer a2a tests, or any other sender of STAMP packets, from these prefixes:\n"
	        "  probectl-agent --reflect ADDRESS:PORT --allow PREFIX [--allow PREFIX]...\n");
}

/* There is no settings file; the environment counts as it does with one. */
static enum confine_mode
once_mode(void)
{
	const char *want = getenv("PROBECTL_AGENT_SECCOMP");

	for (int i = 0; want && confine_modes[i]; i++)
		if (strcmp(want, confine_modes[i]) == 0)
			return (enum confine_mode) i;
	return settings_seccomp_default;
}

/* A whole number from 1 to max; text may be NULL. */
static bool
once_number(const char *text, int64_t max, uint32_t *number)
{
	int64_t value;

	if (!text || !conf_parse_int(text, &value) || value < 1 || value > max)
		return false;
	*number = (uint32_t) value;
	return true;
}

/* --once TYPE TARGET [--param KEY=VALUE]... [--json] */
static int
main_once(int argc, char **argv)
{
	struct canary_env env = {.icmp4_fd = -1, .icmp6_fd = -1};
	char *params[ONCE_PARAMS_MAX], err[256];
	struct sweep_options sweep = {.params = params, .at_once = SWEEP_AT_ONCE};
	int code;

	if (argc < 4)
	{
		fprintf(stderr, "probectl-agent: --once needs TYPE and TARGET; see --help\n");
		return 2;
	}
	for (int i = 4; i < argc; i++)
	{
		if (strcmp(argv[i], "--json") == 0)
			sweep.json = true;
		else if (strcmp(argv[i], "--summary") == 0)
			sweep.summary = true;
		else if (strcmp(argv[i], "--rate") == 0 &&
		         once_number(argv[i + 1], SWEEP_RATE_MAX, &sweep.rate))
			i++;
		else if (strcmp(argv[i], "--at-once") == 0 &&
		         once_number(argv[i + 1], SWEEP_AT_ONCE_MAX, &sweep.at_once))
			i++;
		else if (strcmp(argv[i], "--param") == 0 && i + 1 < argc && sweep.nparams < ONCE_PARAMS_MAX)
			params[sweep.nparams++] = argv[++i];
		else
		{
			fprintf(stderr, "probectl-agent: unexpected argument \"%s\"; see --help\n", argv[i]);
			return 2;
		}
	}
	canary_env_open(&env);
	if (!privilege_drop(NULL, err, sizeof(err)))
		log_fatal("main", NULL, "%s", err);
	if (!confine(once_mode(), err, sizeof(err)))
		log_warning("main", NULL, "%s; going on without", err);
	env.base = loop_new();
	env.resolver = env.base ? resolver_new(env.base, NULL) : NULL;
	if (!env.resolver)
		log_fatal("main", NULL, "cannot make an event loop");
	sweep.type = argv[2];
	sweep.file = argv[3] + 1;
	if (argv[3][0] == '@')
		code = sweep_run(env.base, &env, &sweep);
	else
		code = once_run(env.base, &env, argv[2], argv[3], params, sweep.nparams, sweep.json);
	canary_env_close(&env);
	resolver_free(env.resolver);
	event_base_free(env.base);
	return code;
}

static void
on_echo_end(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(arg);
}

static bool
echo_arguments(int argc, char **argv, int64_t *rate, const char **user)
{
	if (argc < 3)
	{
		fprintf(stderr, "probectl-agent: --echo needs ADDRESS:PORT; see --help\n");
		return false;
	}
	for (int i = 3; i < argc; i += 2)
	{
		if (i + 1 < argc && strcmp(argv[i], "--user") == 0)
			*user = argv[i + 1];
		else if (i + 1 >= argc || strcmp(argv[i], "--rate") != 0 ||
		         !conf_parse_int(argv[i + 1], rate) || *rate < ECHO_RATE_MIN ||
		         *rate > ECHO_RATE_MAX)
		{
			fprintf(stderr,
			        "probectl-agent: unexpected argument \"%s\"; see --help (--rate is %d to %d)\n",
			        argv[i], ECHO_RATE_MIN, ECHO_RATE_MAX);
			return false;
		}
	}
	return true;
}

/* --echo ADDRESS:PORT [--rate N] [--user NAME]: until SIGTERM or SIGINT. */
static int
main_echo(int argc, char **argv)
{
	int64_t rate = ECHO_RATE_DEFAULT;
	const char *user = NULL;
	struct event_base *base;
	struct event *ends[2];
	struct echo_stats stats;
	struct echo *echo;
	char err[256];
	int fd;

	if (!echo_arguments(argc, argv, &rate, &user))
		return 2;
	fd = echo_open(argv[2], err, sizeof(err));
	if (fd < 0 || !privilege_drop(user, err, sizeof(err)))
		log_fatal("echo", NULL, "%s", err);
	if (!confine(once_mode(), err, sizeof(err)))
		log_warning("echo", NULL, "%s; going on without", err);
	base = event_base_new();
	echo = base ? echo_start(base, fd, (uint32_t) rate) : NULL;
	if (!echo)
		log_fatal("echo", NULL, "cannot make an event loop");
	for (int i = 0; i < 2; i++)
	{
		ends[i] = evsignal_new(base, i ? SIGINT : SIGTERM, on_echo_end, base);
		if (!ends[i] || event_add(ends[i], NULL) != 0)
			log_fatal("echo", NULL, "cannot handle signals");
	}
	log_info("echo", argv[2], "answering at most %" PRId64 " requests a second", rate);
	event_base_dispatch(base);
	echo_stats(&stats);
	log_info("echo", argv[2], "answered %" PRIu64 ", ignored %" PRIu64 ", over the rate %" PRIu64,
	         stats.answered, stats.ignored, stats.limited);
	for (int i = 0; i < 2; i++)
		event_free(ends[i]);
	echo_stop(echo);
	event_base_free(base);
	return 0;
}

/* --reflect ADDRESS:PORT --allow PREFIX [--allow PREFIX]... */
static int
main_reflect(int argc, char **argv)
{
	struct buf allow = BUF_INIT(4096);
	struct event_base *base;
	char err[256];
	int code;

	for (int i = 3; i < argc; i += 2)
	{
		if (strcmp(argv[i], "--allow") != 0 || i + 1 == argc)
		{
			fprintf(stderr, "probectl-agent: unexpected argument \"%s\"; see --help\n", argv[i]);
			return 2;
		}
		buf_printf(&allow, "%s ", argv[i + 1]);
	}
	if (argc < 3 || allow.len == 0 || !buf_cstr(&allow))
	{
		fprintf(stderr,
		        "probectl-agent: --reflect needs ADDRESS:PORT, and --allow PREFIX for those "
		        "it answers; see --help\n");
		buf_free(&allow);
		return 2;
	}
	stamp_open();
	if (!privilege_drop(NULL, err, sizeof(err)))
		log_fatal("main", NULL, "%s", err);
	if (!confine(once_mode(), err, sizeof(err)))
		log_warning("main", NULL, "%s; going on without", err);
	base = event_base_new();
	if (!base)
		log_fatal("main", NULL, "cannot make an event loop");
	code = once_reflect(base, argv[2], buf_cstr(&allow), SETTINGS_A2A_RATE_DEFAULT);
	event_base_free(base);
	buf_free(&allow);
	return code;
}

/* --seccomp=MODE is the key seccomp, for one start: taken out of argv. */
static int
seccomp_option(int argc, char **argv)
{
	static const char option[] = "--seccomp=";
	int kept = 1;

	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], option, sizeof(option) - 1) == 0)
			setenv("PROBECTL_AGENT_SECCOMP", argv[i] + sizeof(option) - 1, 1);
		else
			argv[kept++] = argv[i];
	argv[kept] = NULL;
	return kept;
}

int
main(int argc, char **argv)
{
	static struct agent a = {.env = {.icmp4_fd = -1, .icmp6_fd = -1}};
	static struct conf_spec spec = {
	    .process = "agent",
	    .summary = "Measures the network and sends what it sees to its control plane.",
	    .size = sizeof(struct settings),
	    .check = settings_check,
	    .help_more = help_more,
	};

	/* One thread, little memory: what is freed goes back to the system. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	mallopt(M_TOP_PAD, 16 * 1024);
	argc = seccomp_option(argc, argv);
	if (argc > 1 && strcmp(argv[1], "--once") == 0)
		return main_once(argc, argv);
	if (argc > 1 && strcmp(argv[1], "--echo") == 0)
		return main_echo(argc, argv);
	if (argc > 1 && strcmp(argv[1], "--reflect") == 0)
		return main_reflect(argc, argv);
	spec.keys = settings_keys;
	spec.key_count = settings_key_count;
	conf_start(&a.conf, &spec, &a.settings, argc, argv);
	log_set_level((enum log_level) a.settings.log_level);
	metrics_init("agent");
	metrics_register(rows, ROW_COUNT);
	bundle_metrics();
	forward_metrics();
	if (a.settings.echo_listen)
		echo_metrics();
	reflector_metrics();
	rotate_metrics();
	prepare(&a);
	begin(&a);
	if (event_base_got_break(a.base) == 0)
		event_base_dispatch(a.base);
	finish(&a);
	return a.exit_code;
}
