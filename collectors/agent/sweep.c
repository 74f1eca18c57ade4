/* SPDX-License-Identifier: PostgreSQL
 *
 * sweep.c -- see sweep.h. A test exists from its start to its end only, so that a long list costs no
 * more memory than what is under way.
 */
#include "agent/sweep.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/canary.h"
#include "agent/once.h"
#include "agent/probe.h"

#define PACE_MS  1
#define LINE_MAX 1100

enum
{
	EXIT_SUCCEEDED = 0,
	EXIT_FAILED = 1,
	EXIT_INPUT = 2
};

struct sweep
{
	struct event_base *base;
	struct canary_env *env;
	const struct sweep_options *options;
	const struct canary_ops *ops;
	char **targets;
	size_t count, started, ended, ok;
	struct event pace;
	int64_t began, cpu;
	double packets, received;
	float *times; /* of the targets that answered: the median in ms, or how long the run took */
	size_t time_count;
	int status;
};

/* One run under way. */
struct errand
{
	struct sweep *sweep;
	struct test_spec spec;
	struct test_param room[ONCE_PARAMS_MAX];
	void *cmd;
};

static int64_t
cpu_nano(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return ((int64_t) usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
	       ((int64_t) usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* ---- output ---- */

static void
print_line(const struct result *r)
{
	double loss = once_metric(r, "loss.ratio"), min = once_metric(r, "rtt.min.ms"),
	       median = once_metric(r, "rtt.median.ms"), max = once_metric(r, "rtt.max.ms");

	if (isnan(min))
	{
		min = once_metric(r, "connect.min.ms");
		median = once_metric(r, "connect.median.ms");
		max = once_metric(r, "connect.max.ms");
	}
	printf("%-40s %-16s", r->server_address, r->success ? "ok" : error_type_name(r->error_type));
	if (!isnan(loss))
		printf(" %5.1f %% lost", loss * 100);
	if (!isnan(min))
		printf("  %.3f / %.3f / %.3f ms\n", min, median, max);
	else
		printf("  %.1f ms  %s\n", (double) r->duration_nano / 1e6, r->error);
}

static int
by_value(const void *a, const void *b)
{
	float left = *(const float *) a, right = *(const float *) b;

	return (left > right) - (left < right);
}

static void
print_summary(struct sweep *s)
{
	double seconds = (double) (probe_now() - s->began) / 1e9;
	double cpu_us = (double) (cpu_nano() - s->cpu) / 1e3;
	double units = s->packets > 0 ? s->packets : (double) s->ended;
	double median = 0;

	if (s->time_count > 0)
	{
		qsort(s->times, s->time_count, sizeof(s->times[0]), by_value);
		median = s->times[s->time_count / 2];
	}
	if (s->options->json)
		printf("{\"targets\":%zu,\"ok\":%zu,\"packets\":%.0f,\"received\":%.0f,\"seconds\":%.3f,"
		       "\"cpu_us\":%.0f,"
		       "\"cpu_us_per_probe\":%.3f,\"median_ms\":%.4f}\n",
		       s->ended, s->ok, s->packets, s->received, seconds, cpu_us, cpu_us / units, median);
	else
		printf("%zu of %zu ok, %.0f packets in %.2f s, %.1f us of CPU each, median %.3f ms\n",
		       s->ok, s->ended, s->packets, seconds, cpu_us / units, median);
}

/* ---- runs ---- */

static void
errand_free(struct errand *errand)
{
	if (errand->cmd)
		errand->sweep->ops->cmd_free(errand->cmd);
	once_spec_free(&errand->spec);
	free(errand);
}

static void start_some(struct sweep *s);

static void
on_done(const struct result *result, void *arg)
{
	struct errand *errand = arg;
	struct sweep *s = errand->sweep;
	double packets = once_metric(result, "packets.sent"),
	       received = once_metric(result, "packets.received"),
	       median = once_metric(result, "rtt.median.ms");

	if (!s->options->summary && s->options->json)
		once_print(result, true);
	else if (!s->options->summary)
		print_line(result);
	if (!isnan(packets))
	{
		s->packets += packets;
		s->received += received;
	}
	if (result->success)
	{
		s->ok++;
		s->times[s->time_count++] = (float) (isnan(median) ? (double) result->duration_nano / 1e6
		                                                   : median);
	}
	else if (s->status == EXIT_SUCCEEDED)
		s->status = EXIT_FAILED;
	s->ended++;
	errand_free(errand);
	if (s->ended == s->count)
		event_base_loopbreak(s->base);
	else if (s->options->rate == 0)
		start_some(s);
}

/* False ends the sweep: what is wrong with one target's parameters is wrong with all. */
static bool
start_one(struct sweep *s, const char *target)
{
	struct errand *errand = calloc(1, sizeof(*errand));
	char err[256] = "out of memory";

	if (errand)
	{
		errand->sweep = s;
		errand->spec.params = errand->room;
		if (!once_spec(&errand->spec, s->options->type, target, s->options->params,
		               s->options->nparams))
			err[0] = '\0';
		else if (s->ops->cmd_parse(&errand->spec, &errand->cmd, err, sizeof(err)) &&
		         s->ops->start(s->env, &errand->spec, errand->cmd, on_done, errand))
			return true;
		errand_free(errand);
	}
	if (err[0])
		fprintf(stderr, "probectl-agent: %s: %s\n", target, err);
	s->status = EXIT_INPUT;
	event_base_loopbreak(s->base);
	return false;
}

static void
start_some(struct sweep *s)
{
	double due = (double) s->count;

	if (s->options->rate > 0)
		due = (double) (probe_now() - s->began) / 1e9 * s->options->rate + 1;
	while (s->started < s->count && (double) s->started < due &&
	       s->started - s->ended < s->options->at_once && s->status != EXIT_INPUT)
		if (!start_one(s, s->targets[s->started++]))
			return;
}

static void
on_pace(evutil_socket_t fd, short what, void *arg)
{
	struct sweep *s = arg;

	start_some(s);
	if (s->started == s->count)
		event_del(&s->pace);
}

/* ---- input ---- */

static bool
read_targets(struct sweep *s, FILE *f)
{
	char line[LINE_MAX];

	s->targets = calloc(SWEEP_TARGETS_MAX, sizeof(s->targets[0]));
	while (s->targets && fgets(line, sizeof(line), f))
	{
		char *text = line + strspn(line, " \t");

		text[strcspn(text, " \t\r\n#")] = '\0';
		if (text[0] == '\0')
			continue;
		if (s->count == SWEEP_TARGETS_MAX)
		{
			fprintf(stderr, "probectl-agent: more than %d targets\n", SWEEP_TARGETS_MAX);
			return false;
		}
		s->targets[s->count] = strdup(text);
		if (s->targets[s->count++] == NULL)
			return false;
	}
	if (s->count == 0)
		fprintf(stderr, "probectl-agent: %s: there is no target\n", s->options->file);
	s->times = calloc(s->count + 1, sizeof(s->times[0]));
	return s->count > 0 && s->targets && s->times;
}

static bool
open_targets(struct sweep *s)
{
	FILE *f = strcmp(s->options->file, "-") == 0 ? stdin : fopen(s->options->file, "re");
	bool ok;

	if (f == NULL)
	{
		fprintf(stderr, "probectl-agent: %s: %s\n", s->options->file, strerror(errno));
		return false;
	}
	ok = read_targets(s, f);
	if (f != stdin)
		fclose(f);
	return ok;
}

int
sweep_run(struct event_base *base, struct canary_env *env, const struct sweep_options *options)
{
	struct timeval pace = {0, PACE_MS * 1000};
	struct sweep s = {
	    .base = base, .env = env, .options = options, .ops = once_type(options->type)};

	s.status = s.ops && open_targets(&s) ? EXIT_SUCCEEDED : EXIT_INPUT;
	if (s.status == EXIT_SUCCEEDED)
	{
		s.began = probe_now();
		s.cpu = cpu_nano();
		event_assign(&s.pace, base, -1, EV_PERSIST, on_pace, &s);
		event_add(&s.pace, &pace);
		start_some(&s);
		event_base_dispatch(base);
		event_del(&s.pace);
	}
	if (s.status != EXIT_INPUT)
		print_summary(&s);
	fflush(stdout);
	for (size_t i = 0; i < s.count; i++)
		free(s.targets[i]);
	free(s.targets);
	free(s.times);
	return s.status;
}
