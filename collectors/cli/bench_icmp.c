/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_icmp.c -- what an ICMP probe costs, and what many targets do to its round-trip time: the agent's
 * canary, fping and blackbox_exporter one after the other on the same loopback addresses.
 *
 * CPU is that of the process, start included. On loopback the kernel answers within the call that sends, so
 * the peer's work is in it too, for all three alike. Where the machine is too busy to read the answers the
 * loss is its own, and a lost packet is waited for: the rate is then that of the waiting. A peer that is not installed is left out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/proc.h"
#include "cli/util.h"

#define TARGETS_DEFAULT  10000
#define TARGETS_MAX      60000
#define FPING_MAX        5000 /* more at once and it runs out of its 16-bit sequence numbers */
#define COUNT            10
#define SINGLE_COUNT     100 /* packets to a lone target, SINGLE_MS apart */
#define SINGLE_MS        10
#define BLACKBOX_PROBES  1000
#define BLACKBOX_WAIT_MS 10000
#define OUTPUT_MAX       (8 * 1024 * 1024)

static const char *const fping_names[] = {"/usr/bin/fping", "/usr/sbin/fping", NULL};
static const char *const blackbox_names[] = {"/usr/bin/prometheus-blackbox-exporter",
                                             "/usr/bin/blackbox_exporter", NULL};

struct outcome
{
	double cpu_us, seconds;
	char *output; /* standard output, or error when it was empty */
};

static const char *
installed(const char *const *names)
{
	for (; *names; names++)
		if (access(*names, X_OK) == 0)
			return *names;
	return NULL;
}

/* Both outputs into a file of the folder; the child is in *pid. */
static void
launch(const char *const *argv, const char *output, pid_t *pid)
{
	*pid = fork();
	if (*pid < 0)
		util_fail(EXIT_CANNOT, "bench icmp: cannot start a process: %s", strerror(errno));
	if (*pid == 0)
	{
		int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600),
		    in = open("/dev/null", O_RDONLY);

		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execv(argv[0], (char *const *) argv);
		_exit(127);
	}
}

static struct outcome
run_peer(const char *const *argv, const char *folder)
{
	const char *path = util_fmt("%s/output", folder);
	struct outcome outcome = {0};
	struct rusage usage;
	int64_t began = util_now_ms();
	int status;
	pid_t pid;

	launch(argv, path, &pid);
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			util_fail(EXIT_CANNOT, "bench icmp: %s: %s", argv[0], strerror(errno));
	outcome.seconds = (double) (util_now_ms() - began) / 1000;
	outcome.cpu_us = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	                 (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	if (!util_read(path, OUTPUT_MAX, &outcome.output, NULL))
		util_fail(EXIT_CANNOT, "bench icmp: cannot read %s", path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		util_fail(EXIT_CANNOT, "bench icmp: %s failed: %s", argv[0],
		          proc_last_line(outcome.output));
	return outcome;
}

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

static const char *
agent_program(void)
{
	char self[PATH_MAX] = {0};

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		util_fail(EXIT_CANNOT, "bench icmp: could not find the own program: is /proc mounted?");
	*strrchr(self, '/') = '\0';
	return util_fmt("%s/probectl-agent", self);
}

/* ---- ours ---- */

struct figures
{
	double us_per_probe, probes_per_s, median_ms, loss_percent;
};

static struct figures
measure_ours(const char *folder, int64_t targets, int count, int interval_ms)
{
	const char *argv[] = {agent_program(),
	                      "--once",
	                      "icmp",
	                      util_fmt("@%s", targets_write(folder, targets)),
	                      "--json",
	                      "--summary",
	                      "--at-once",
	                      "100000",
	                      "--rate",
	                      util_fmt("%lld", (long long) (targets * 1000 / interval_ms)),
	                      "--param",
	                      util_fmt("count=%d", count),
	                      "--param",
	                      util_fmt("interval_ms=%d", interval_ms),
	                      "--param",
	                      "timeout=20000",
	                      NULL};
	struct outcome outcome = run_peer(argv, folder);
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
	struct outcome outcome = run_peer(argv, folder);
	double packets = (double) targets * count;

	return (struct figures){.us_per_probe = outcome.cpu_us / packets,
	                        .probes_per_s = packets / outcome.seconds,
	                        .median_ms = fping_median(outcome.output, targets)};
}

/* ---- blackbox_exporter ---- */

static int
dial(uint16_t port)
{
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* One scrape; the round-trip time it says, in ms, or NaN. */
static double
blackbox_probe(uint16_t port, int64_t number)
{
	static const char name[] = "\nprobe_icmp_duration_seconds{phase=\"rtt\"} ";
	const char *request = util_fmt("GET /probe?module=icmp&target=127.1.%lld.%lld HTTP/1.0\r\n\r\n",
	                               (long long) (number / 250), (long long) (number % 250 + 1));
	char answer[16384];
	size_t len = 0;
	ssize_t n = 0;
	int fd = dial(port);
	const char *at;

	if (fd < 0 || write(fd, request, strlen(request)) < 0)
		n = -1;
	while (n >= 0 && len + 1 < sizeof(answer) &&
	       (n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t) n;
	if (fd >= 0)
		close(fd);
	answer[len] = '\0';
	at = strstr(answer, name);
	return at && strstr(answer, "\nprobe_success 1") ? strtod(at + sizeof(name) - 1, NULL) * 1000
	                                                 : NAN;
}

static uint16_t
free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &at, sizeof(at)) != 0 ||
	    getsockname(fd, (struct sockaddr *) &at, &size) != 0)
		util_fail(EXIT_CANNOT, "no free port on loopback: %s", strerror(errno));
	close(fd);
	return ntohs(at.sin_port);
}

static struct figures
measure_blackbox(const char *program, const char *folder)
{
	static const char modules[] =
	    "modules:\n  icmp:\n    prober: icmp\n    timeout: 5s\n    icmp:\n"
	    "      preferred_ip_protocol: ip4\n";
	uint16_t port = free_port();
	const char *conf = util_fmt("%s/blackbox.yml", folder);
	const char *argv[] = {program, util_fmt("--config.file=%s", conf),
	                      util_fmt("--web.listen-address=127.0.0.1:%u", port), "--log.level=error",
	                      NULL};
	double times[BLACKBOX_PROBES];
	int64_t rss, from = 0, to = 0, until = util_now_ms() + BLACKBOX_WAIT_MS, began;
	struct util_error err;
	pid_t pid;

	if (!util_write(conf, modules, sizeof(modules) - 1, 0600, getuid(), getgid(), &err))
		util_fail(EXIT_CANNOT, "bench icmp: %s", err.text);
	launch(argv, util_fmt("%s/blackbox.log", folder), &pid);
	while (isnan(blackbox_probe(port, 0)) && util_now_ms() < until)
		util_pause_ms(50);
	proc_usage(pid, &rss, &from);
	began = util_now_ms();
	for (int i = 0; i < BLACKBOX_PROBES; i++)
		times[i] = blackbox_probe(port, i);
	until = util_now_ms();
	proc_usage(pid, &rss, &to);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < BLACKBOX_PROBES; i++)
		if (isnan(times[i]))
			util_fail(EXIT_CANNOT, "bench icmp: blackbox_exporter did not probe");
	return (struct figures){.us_per_probe = (double) (to - from) / BLACKBOX_PROBES,
	                        .probes_per_s = BLACKBOX_PROBES * 1000.0 /
	                                        (double) (until - began > 0 ? until - began : 1),
	                        .median_ms = times[BLACKBOX_PROBES / 2]};
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
	const char *program = installed(fping_names);
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
	const char *program = installed(blackbox_names);
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
