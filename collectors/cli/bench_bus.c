/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_bus.c -- ingest and consumer of a measurement over Kafka.
 */
#include "cli/bench_bus.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/db.h"
#include "cli/load.h"
#include "cli/proc.h"
#include "cli/util.h"

#define CATCH_UP_MS 120000

static pid_t
bus_child(const struct home *home, const char *brokers, const char *role, const char *listen)
{
	char self[512];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - sizeof("-ingest"));
	const char *argv[] = {self,
	                      "--config",
	                      home_path(home, "etc/ingest.yaml"),
	                      "--set",
	                      util_fmt("role=%s", role),
	                      "--set",
	                      util_fmt("listen=%s", listen),
	                      "--set",
	                      "bus.mode=kafka",
	                      "--set",
	                      "bus.tls=false",
	                      "--set",
	                      util_fmt("bus.brokers=%s", brokers),
	                      "--set",
	                      util_fmt("bus.group=bench-%lld", (long long) util_wall_ms()),
	                      "--set",
	                      "status_socket=",
	                      "--set",
	                      "log.level=error",
	                      NULL};
	pid_t pid;

	if (len <= 0)
		util_fail(EXIT_CANNOT, "bench ingest: cannot find probectl-ingest");
	snprintf(self + len, sizeof(self) - (size_t) len, "-ingest");
	pid = fork();
	if (pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!home->root || proc_become(&home->service))
			execv(self, (char *const *) argv);
		_exit(127);
	}
	if (pid < 0)
		util_fail(EXIT_CANNOT, "bench ingest: cannot start a process");
	return pid;
}

static const char *
free_address(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &address, len) != 0 ||
	    getsockname(fd, (struct sockaddr *) &address, &len) != 0)
		util_fail(EXIT_CANNOT, "bench ingest: no free port");
	close(fd);
	return util_fmt("127.0.0.1:%d", ntohs(address.sin_port));
}

static int64_t
bus_stored(PGconn *conn, const struct fleet *fleet)
{
	const char *params[1] = {fleet->tenant_ids[0]};
	const char *text = db_value(
	    conn, "SELECT sum(committed_seq) FROM probectl.stream_position WHERE tenant_id = $1", 1,
	    params);

	return text != NULL ? strtoll(text, NULL, 10) : 0;
}

double
bench_bus_wait(PGconn *conn, const struct fleet *fleet)
{
	int64_t began = util_now_ms(), acked = 0;

	for (int i = 0; i < fleet->tenants * fleet->agents_each; i++)
		acked += (int64_t) fleet->agents[i].acked;
	while (bus_stored(conn, fleet) < acked)
	{
		if (util_now_ms() - began > CATCH_UP_MS)
			util_fail(EXIT_CANNOT, "bench ingest: the consumer does not catch up");
		poll(NULL, 0, 20);
	}
	return (double) (util_now_ms() - began) / 1000;
}

struct fleet_cost
bench_bus_cost(pid_t pid)
{
	struct fleet_cost cost = {0};

	proc_usage(pid, &cost.pss_kib, &cost.cpu_us);
	return cost;
}

struct bench_bus
bench_bus_start(const struct bench_env *env, PGconn *conn, struct fleet *fleet, int64_t *acked)
{
	struct bench_bus bus = {.listen = free_address()};
	struct load_plan plan = {.listen = bus.listen,
	                         .ca_file = home_path(env->home, "pki/ca.pem"),
	                         .agents = fleet->agents,
	                         .agent_count = fleet->tenants * fleet->agents_each,
	                         .seconds = 1,
	                         .rate = 1000,
	                         .first_batch = UINT64_C(1) << 40};
	struct load_figures figures;
	int64_t began = util_now_ms();
	char err[512] = "";

	bus.ingest = bus_child(env->home, env->brokers, "serve", bus.listen);
	bus.consumer = bus_child(env->home, env->brokers, "consume", bus.listen);
	/* The first batch gets through when ingest, broker, topics, group and consumer are there. */
	do
	{
		if (util_now_ms() - began > CATCH_UP_MS)
			util_fail(EXIT_CANNOT, "bench ingest: nothing gets through the bus: %s", err);
		poll(NULL, 0, 200);
		fleet_renew(fleet);
		plan.first_batch += UINT64_C(1) << 20;
	} while (!load_run(&plan, &figures, err, sizeof(err)));
	*acked = (int64_t) figures.results;
	bench_bus_wait(conn, fleet);
	return bus;
}

void
bench_bus_stop(const struct bench_bus *bus)
{
	if (bus->ingest == 0)
		return;
	kill(bus->ingest, SIGKILL);
	kill(bus->consumer, SIGKILL);
}
