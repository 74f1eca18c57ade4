/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_icmp.c -- what an ICMP probe costs, and what many targets do to its round-trip time: the agent's
 * canary, fping and blackbox_exporter one after the other on the same loopback addresses.
 *
 * CPU is that of the process, start included. On loopback the kernel answers within the call that sends, so
 * the peer's work is in it too, for all three alike. Where the machine is too busy to read the answers the
 * loss is its own, and a lost packet is waited for: the rate is then that of the waiting. A peer that is not installed is left out.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/bench_peer.h"
#include "cli/proc.h"
#include "cli/util.h"

#define TARGETS_DEFAULT 10000
#define TARGETS_MAX     60000
#define FPING_MAX       5000 /* more at once and it runs out of its 16-bit sequence numbers */
#define COUNT           10
#define SINGLE_COUNT    100 /* packets to a lone target, SINGLE_MS apart */
#define SINGLE_MS       10
#define BLACKBOX_PROBES 1000

static const char *const fping_names[] = {"/usr/bin/fping", "/usr/sbin/fping", NULL};
/* 127.1.0.1 and on, as loopback answers for all of 127/8. */
static const char *
targets_write(const char *folder, int64_t count)
{
	const char *path = util_fmt("%s/targets-%lld", folder, (long long) count);
	FILE *f = fopen(path, "w");

	for (int64_t i = 0; f && i < count; i++)
		fprintf(f, "127.1.%lld.%lld\n", (long long) (i / 250), (long long) (i % 250 + 1));
	if (!f || fclose(f) != 0)
		util_fail(EXIT_CANNOT, "bench icmp: cannot write %s: %s", path, strerror(errno));
	return path;
}

/* ---- ours ---- */

struct figures
{
	double us_per_probe, probes_per_s, median_ms, loss_percent;
};

static struct figures
measure_ours(const char *folder, int64_t targets, int count, int interval_ms)
{
	const char *argv[] = {
	    peer_agent(), "--once",
	    "icmp",       util_fmt("@%s", targets_write(folder, targets)),
	    "--json",     "--summary",
	    "--at-once",  "100000",
	    "--rate",     util_fmt("%lld", (long long) (targets * 1000 / interval_ms)),
	    "--param",    util_fmt("count=%d", count),
	    "--param",    util_fmt("interval_ms=%d", interval_ms),
	    "--param",    "timeout=20000",
	    NULL};
	struct peer_outcome outcome = peer_run(argv, folder);
	json_t *summary = json_loads(proc_last_line(outcome.output), 0, NULL);
	double packets = json_number_value(json_object_get(summary, "packets"));
	struct figures figures = {
	    .us_per_probe = outcome.cpu_us / packets,
	    .probes_per_s = packets / json_number_value(json_object_get(summary, "seconds")),
	    .median_ms = json_number_value(json_object_get(summary, "median_ms")),
	    .loss_percent = 100 -
	                    json_number_value(json_object_get(summary, "received")) / packets * 100};

	if (packets == 0 ||
	    json_integer_value(json_object_get(summary, "ok")) * 10 < (json_int_t) targets * 9)
		util_fail(EXIT_CANNOT,
		          "bench icmp: the agent got no answers: it needs CAP_NET_RAW, or its group in "
		          "net.ipv4.ping_group_range");
	json_decref(summary);
	return figures;
}

/* ---- fping ---- */

/* Median over the targets of their mean: "127.1.0.1 : xmt/rcv/%loss = .., min/avg/max = 0.01/0.02/0.03". */
static double
fping_median(char *text, int64_t targets)
{
	double *means = util_alloc(sizeof(*means) * (size_t) targets);
	int64_t n = 0;

	for (char *at = text; n < targets && (at = strstr(at, "min/avg/max = ")); at++)
		n += sscanf(at, "min/avg/max = %*f/%lf/", &means[n]) == 1;
	if (n == 0)
		util_fail(EXIT_CANNOT, "bench icmp: fping got no answers: %s", proc_last_line(text));
	return bench_percentile(means, (size_t) n, 0.5);
}

static struct figures
measure_fping(const char *program, const char *folder, int64_t targets, int count, int period_ms)
{
	const char *argv[] = {
	    program, "-q",   "-c", util_fmt("%d", count),          "-p", util_fmt("%d", period_ms),
	    "-i",    "0.01", "-f", targets_write(folder, targets), NULL};
	struct peer_outcome outcome = peer_run(argv, folder);
	double packets = (double) targets * count;

	return (struct figures){.us_per_probe = outcome.cpu_us / packets,
	                        .probes_per_s = packets / outcome.seconds,
	                        .median_ms = fping_median(outcome.output, targets)};
}

/* ---- blackbox_exporter ---- */

/* One scrape; the round-trip time it says, in ms, or NaN. */
static double
blackbox_probe(uint16_t port, int64_t number)
{
	static const char name[] = "\nprobe_icmp_duration_seconds{phase=\"rtt\"} ";
	const char *answer = peer_blackbox_probe(
	    port, "icmp",
	    util_fmt("127.1.%lld.%lld", (long long) (number / 250), (long long) (number % 250 + 1)));
	const char *at = answer ? strstr(answer, name) : NULL;

	return at ? strtod(at + sizeof(name) - 1, NULL) * 1000 : NAN;
}

static struct figures
measure_blackbox(const char *program, const char *folder)
{
	static const char modules[] =
	    "modules:\n  icmp:\n    prober: icmp\n    timeout: 5s\n    icmp:\n"
	    "      preferred_ip_protocol: ip4\n";
	struct peer_blackbox blackbox = peer_blackbox_start(program, folder, modules);
	double times[BLACKBOX_PROBES], cpu_us;
	int64_t began = util_now_ms(), took;

	for (int i = 0; i < BLACKBOX_PROBES; i++)
		times[i] = blackbox_probe(blackbox.port, i);
	took = util_now_ms() - began;
	cpu_us = peer_blackbox_stop(&blackbox);
	for (int i = 0; i < BLACKBOX_PROBES; i++)
		if (isnan(times[i]))
			util_fail(EXIT_CANNOT, "bench icmp: blackbox_exporter did not probe");
	return (struct figures){.us_per_probe = cpu_us / BLACKBOX_PROBES,
	                        .probes_per_s = BLACKBOX_PROBES * 1000.0 /
	                                        (double) (took > 0 ? took : 1),
	                        .median_ms = bench_percentile(times, BLACKBOX_PROBES, 0.5)};
}

/* ---- the run ---- */

static void
add(json_t *out, const char *name, double value)
{
	json_object_set_new(out, name, json_real(value));
}

static void
run_fping(const char *folder, int64_t targets, json_t *out)
{
	const char *program = peer_installed(fping_names);
	struct figures one, many, ours;

	if (!program)
	{
		fprintf(stderr, "bench: fping is not installed: no figures of it\n");
		return;
	}
	fprintf(stderr, "bench: fping, and the agent at its pace\n");
	if (targets > FPING_MAX)
		targets = FPING_MAX;
	one = measure_fping(program, folder, 1, SINGLE_COUNT, SINGLE_MS);
	many = measure_fping(program, folder, targets, COUNT, 1000);
	ours = measure_ours(folder, targets, COUNT, 1000);
	add(out, "fping_us_per_probe", many.us_per_probe);
	add(out, "fping_rtt_one_us", one.median_ms * 1000);
	add(out, "fping_rtt_many_us", many.median_ms * 1000);
	add(out, "us_per_probe_at_fpings_pace", ours.us_per_probe);
}

static void
run_blackbox(const char *folder, json_t *out)
{
	const char *program = peer_installed(peer_blackbox_names);
	struct figures blackbox;

	if (!program)
	{
		fprintf(stderr, "bench: blackbox_exporter is not installed: no figures of it\n");
		return;
	}
	fprintf(stderr, "bench: blackbox_exporter\n");
	blackbox = measure_blackbox(program, folder);
	add(out, "blackbox_us_per_probe", blackbox.us_per_probe);
	add(out, "blackbox_rtt_one_us", blackbox.median_ms * 1000);
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t targets = env->rows ? env->rows : TARGETS_DEFAULT;
	char folder[] = "/tmp/pctl-bench-XXXXXX";
	struct figures one, many;
	struct util_error err;
	const char *argv[] = {"/bin/rm", "-r", folder, NULL};

	if (targets > TARGETS_MAX)
		util_fail(EXIT_USAGE, "bench icmp: --rows is at most %d targets", TARGETS_MAX);
	if (!mkdtemp(folder))
		util_fail(EXIT_CANNOT, "could not make %s: %s", folder, strerror(errno));
	fprintf(stderr, "bench: %lld targets, %d packets each\n", (long long) targets, COUNT);
	one = measure_ours(folder, 1, SINGLE_COUNT, SINGLE_MS);
	many = measure_ours(folder, targets, COUNT, 500);
	add(out, "us_per_probe", many.us_per_probe);
	add(out, "probes_per_s", many.probes_per_s);
	add(out, "loss_percent", many.loss_percent);
	add(out, "rtt_one_us", one.median_ms * 1000);
	add(out, "rtt_many_us", many.median_ms * 1000);
	json_object_set_new(out, "targets", json_integer(targets));
	run_fping(folder, targets, out);
	run_blackbox(folder, out);
	if (!proc_run(argv, NULL, NULL, &err))
		fprintf(stderr, "bench: %s stays: %s\n", folder, err.text);
}

const struct bench bench_icmp = {
    .name = "icmp",
    .summary = "processor time and round trip of ICMP probes, beside fping and blackbox_exporter",
    .alone = true,
    .run = run,
};
