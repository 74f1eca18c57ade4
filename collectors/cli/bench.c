/* SPDX-License-Identifier: PostgreSQL
 *
 * bench.c -- `probectl bench NAME`: the table of benchmarks, the private instance
 * they run on, the JSON line they print.
 */
#include "cli/bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/proc.h"
#include "cli/super.h"
#include "cli/util.h"

static const struct bench *const benches[] = {
    &bench_ingest,  &bench_gateway, &bench_rls,    &bench_agent,    &bench_audit,
    &bench_tenants, &bench_metric,  &bench_pooled, &bench_fairness, &bench_tier,
    &bench_spool,   &bench_icmp,    &bench_remote, &bench_http};
#define BENCHES (sizeof(benches) / sizeof(benches[0]))

double
bench_now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

double
bench_now_ms(void)
{
	return bench_now_s() * 1e3;
}

static int
compare_double(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

double
bench_percentile(double *values, size_t count, double p)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), compare_double);
	return values[(size_t) ((double) (count - 1) * p)];
}

/* ---- the private instance ---- */

static char *private_dir;
static struct home *private_home;

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void
private_remove(void)
{
	if (private_home)
		super_stop(private_home);
	if (private_dir)
		nftw(private_dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
	private_dir = NULL;
	private_home = NULL;
}

/* A port of loopback that is free now. */
char *
bench_free_listen(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &at, sizeof(at)) != 0 ||
	    getsockname(fd, (struct sockaddr *) &at, &size) != 0)
		util_fail(EXIT_CANNOT, "no free port on loopback: %s", strerror(errno));
	close(fd);
	return util_fmt("127.0.0.1:%d", ntohs(at.sin_port));
}

static struct home *
private_make(void)
{
	char dir[] = "/tmp/pctl-bench-XXXXXX";
	char self[PATH_MAX] = {0};
	const char *argv[] = {self,
	                      "up",
	                      "--home",
	                      NULL,
	                      "--gateway-listen",
	                      bench_free_listen(),
	                      "--ingest-listen",
	                      bench_free_listen(),
	                      "--no-agent",
	                      NULL};
	struct util_error err;

	if (!mkdtemp(dir) || chmod(dir, 0755) != 0)
		util_fail(EXIT_CANNOT, "could not make %s: %s", dir, strerror(errno));
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		util_fail(EXIT_CANNOT, "could not find the own program: is /proc mounted?");
	private_dir = util_dup(dir);
	argv[3] = util_fmt("%s/h", dir);
	fprintf(stderr, "bench: starting a private instance in %s\n", argv[3]);
	if (!proc_run(argv, NULL, NULL, &err))
	{
		/* Half of it may run. */
		private_home = home_find(argv[3]);
		private_remove();
		util_fail(EXIT_CANNOT, "%s", err.text);
	}
	private_home = home_open(argv[3]);
	return private_home;
}

/* ---- the machine ---- */

static char *
cpu_model(void)
{
	char *text, *line, *model = util_dup("unknown");

	if (!util_read("/proc/cpuinfo", 1 << 16, &text, NULL))
		return model;
	line = strstr(text, "model name");
	if (line && (line = strchr(line, ':')))
		model = util_fmt("%.*s", (int) strcspn(line + 2, "\n"), line + 2);
	free(text);
	return model;
}

static json_t *
machine_json(void)
{
	struct sysinfo info = {0};
	struct utsname name = {0};

	sysinfo(&info);
	uname(&name);
	return json_pack("{s:s, s:i, s:I, s:s}", "cpu", cpu_model(), "cores",
	                 (int) sysconf(_SC_NPROCESSORS_ONLN), "memory_mb",
	                 (json_int_t) ((uint64_t) info.totalram * info.mem_unit >> 20), "kernel",
	                 name.release);
}

/* ---- the command ---- */

static int64_t
number_option(const struct cli_args *args, const char *name)
{
	const char *text = cli_value(args, name);
	char *end;
	long long value;

	if (!text)
		return 0;
	value = strtoll(text, &end, 10);
	if (*end || end == text || value < 1)
		util_fail(EXIT_USAGE, "bench: --%s %s is not a number above 0", name, text);
	return value;
}

static const struct bench *
bench_find(const char *name)
{
	char *names = util_dup("");

	for (size_t i = 0; i < BENCHES; i++)
	{
		if (strcmp(benches[i]->name, name) == 0)
			return benches[i];
		names = util_fmt("%s %s", names, benches[i]->name);
	}
	util_fail(EXIT_USAGE, "bench: unknown benchmark %s: there are%s", name, names);
}

static void
bench_measure(const struct bench *bench, const struct bench_env *env)
{
	json_t *out = json_pack("{s:s}", "bench", bench->name);
	char *text;

	bench->run(env, out);
	json_object_set_new(out, "version", json_string(PROBECTL_VERSION));
	json_object_set_new(out, "machine", machine_json());
	text = json_dumps(out, JSON_COMPACT | JSON_REAL_PRECISION(6));
	printf("%s\n", text);
	free(text);
	json_decref(out);
}

/*
 * The measuring is a process of its own, so that this one removes the private
 * instance however that ends, also by Ctrl-C.
 */
static int
bench_guarded(const struct bench *bench, struct bench_env *env)
{
	sigset_t set;
	int status = 0, sig;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	env->home = private_make();
	fflush(NULL);
	pid = fork();
	if (pid == 0)
	{
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		bench_measure(bench, env);
		exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0)
	{
		sig = sigwaitinfo(&set, NULL);
		if (sig == SIGINT || sig == SIGTERM)
			kill(pid, SIGTERM);
	}
	private_remove();
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_CANNOT;
}

static int
bench_run(struct cli_args *args)
{
	const struct bench *bench = bench_find(args->words[0]);
	struct bench_env env = {.rows = number_option(args, "rows"),
	                        .seconds = number_option(args, "seconds"),
	                        .tier = cli_value(args, "tier"),
	                        .brokers = cli_value(args, "brokers"),
	                        .private = !cli_value(args, "home")};

	if (bench->alone)
	{
		bench_measure(bench, &env);
		return 0;
	}
	if (env.private && bench->prepare)
		bench->prepare(&env);
	if (env.private)
		return bench_guarded(bench, &env);
	env.home = home_open(cli_value(args, "home"));
	bench_measure(bench, &env);
	return 0;
}

static void
bench_list(void)
{
	printf("\nBenchmarks:\n");
	for (size_t i = 0; i < BENCHES; i++)
		printf("  %-12s %s\n", benches[i]->name, benches[i]->summary);
}

static const struct cli_option options[] = {
    {"home", "DIR", "use this running instance (default: a private one, removed afterwards)"},
    {"rows", "N",
     "rls: rows of the table (default: 1000000); audit: events to verify (300000); "
     "icmp: targets (10000)"},
    {"seconds", "N", "how long the measured part takes"},
    {"tier", "NAME", "tier: S, M, L, XL, or fleet (5,000 agents with one result a second each)"},
    {"brokers", "HOST:PORT", "ingest: over these brokers of Kafka, without TLS, and a consumer"},
    CLI_OPTION_END,
};

const struct cli_command cmd_bench = {
    .name = "bench",
    .words = "NAME",
    .min_words = 1,
    .max_words = 1,
    .summary = "measure how fast a part of it is, on this machine",
    .text = "Prints one JSON line with the figures and the machine.\n\n"
            "  probectl bench rls --rows 4000000\n"
            "  probectl bench agent --seconds 60\n"
            "  probectl bench ingest --seconds 10\n"
            "  probectl bench tier --tier L --seconds 1800\n"
            "  probectl bench ingest --brokers 127.0.0.1:9092\n",
    .options = options,
    .more = bench_list,
    .run = bench_run,
};
