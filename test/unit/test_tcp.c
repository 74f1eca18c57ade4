/* SPDX-License-Identifier: PostgreSQL
 *
 * test_tcp.c -- the tcp canary against real sockets: each way to fail has its own class.
 */
#include "rig.h"

#include <errno.h>
#include <sched.h>

static void
test_parameters(void **state)
{
	static const struct
	{
		const char *target, *key, *value, *complaint;
	} cases[] = {
	    {"host", NULL, NULL, "port is missing"},
	    {"host:0", NULL, NULL, "1 to 65535"},
	    {"host:65536", NULL, NULL, "1 to 65535"},
	    {"host:80x", NULL, NULL, "1 to 65535"},
	    {"", NULL, NULL, "host is missing"},
	    {"ho st:80", NULL, NULL, "letters, digits"},
	    {"[::1:80", NULL, NULL, "[address]:port"},
	    {"host:80", "port", "81", "the target says 80"},
	    {"host:80", "count", "0", "param count"},
	    {"host:80", "count", "101", "param count"},
	    {"host:80", "count", "-1", "param count"},
	    {"host:80", "count", "3x", "param count"},
	    {"host:80", "dscp", "64", "param dscp"},
	    {"host:80", "hold_ms", "10001", "param hold_ms"},
	    {"host:80", "hold_ms", "334", "do not fit into the timeout"},
	    {"host:80", "ip_version", "5", "param ip_version"},
	    {"host:80", "colour", "red", "unknown"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		assert_false(rig_run(&rig, "tcp", cases[i].target, 1000, params));
		if (strstr(rig.err, cases[i].complaint) == NULL)
			print_error("case %zu: %s\n", i, rig.err);
		assert_non_null(strstr(rig.err, cases[i].complaint));
	}
	rig_close(&rig);
}

static void
check_open_port(int family, const char *format)
{
	static const char *const params[] = {"count", "4", "dscp", "46", NULL};
	struct rig rig;
	uint16_t port;
	char target[64];
	int fd = rig_listen(family, 16, &port);

	rig_open(&rig);
	snprintf(target, sizeof(target), format, port);
	assert_true(rig_run(&rig, "tcp", target, 2000, params));
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "packets.sent") == 4);
	assert_true(rig_metric(&rig, "packets.received") == 4);
	assert_true(rig_metric(&rig, "loss.ratio") == 0);
	assert_true(rig_metric(&rig, "connect.min.ms") > 0);
	assert_true(rig_metric(&rig, "connect.min.ms") <= rig_metric(&rig, "connect.avg.ms"));
	assert_true(rig_metric(&rig, "connect.max.ms") < 1000);
	assert_false(isnan(rig_metric(&rig, "dns.ms")));
	assert_string_equal(rig_attribute(&rig, "network.peer.address"),
	                    family == AF_INET ? "127.0.0.1" : "::1");
	assert_int_equal(rig.result.server_port, port);
	assert_string_equal(rig.result.network_transport, "tcp");
	assert_int_equal(strlen(rig.result.result_id), 36);
	rig_close(&rig);
	close(fd);
}

static void
test_open_port(void **state)
{
	check_open_port(AF_INET, "127.0.0.1:%u");
}

static void
test_open_port_ipv6(void **state)
{
	check_open_port(AF_INET6, "[::1]:%u");
}

static void
test_refused(void **state)
{
	struct rig rig;
	uint16_t port;
	char target[64];
	int fd = rig_listen(AF_INET, 1, &port);

	close(fd); /* nobody listens there now */
	rig_open(&rig);
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 2000, NULL));
	rig_expect(&rig, "connect_refused");
	assert_true(rig_metric(&rig, "loss.ratio") == 1);
	assert_true(rig_metric(&rig, "packets.sent") == 3);
	assert_true(isnan(rig_metric(&rig, "connect.avg.ms")));
	rig_close(&rig);
}

/* A full accept queue drops SYNs: the peer is silent, as behind a packet filter. */
static void
test_silent_peer_times_out(void **state)
{
	static const char *const params[] = {"count", "2", "connect_timeout_ms", "100", NULL};
	struct rig rig;
	uint16_t port;
	char target[64];
	int fd = rig_listen(AF_INET, 0, &port), fill[4];
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	for (int i = 0; i < 4; i++)
	{
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *) &to, sizeof(to));
	}
	rig_open(&rig);
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 5000, params));
	rig_expect(&rig, "connect_timeout");
	assert_true(rig_metric(&rig, "packets.sent") == 2);
	assert_true(rig.result.duration_nano >= 200 * 1000000LL);
	assert_true(rig.result.duration_nano < 2000 * 1000000LL);
	/* without the parameter the attempts share the timeout, and the run ends within it */
	assert_true(rig_run(&rig, "tcp", target, 300, NULL));
	rig_expect(&rig, "connect_timeout");
	assert_true(rig_metric(&rig, "packets.sent") == 3);
	assert_true(rig.result.duration_nano < 600 * 1000000LL);
	rig_close(&rig);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
}

/* Takes the connection, lets the client see it, and resets it: what some firewalls do. */
static void
serve_reset(int fd, void *arg)
{
	const struct linger hard = {1, 0};

	for (;;)
	{
		int peer = accept(fd, NULL, NULL);

		send(peer, "220 hello\r\n", 11, MSG_NOSIGNAL);
		setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(peer);
	}
}

/* Ends it in order, or only speaks. */
static void
serve_banner(int fd, void *arg)
{
	int peer[8];

	for (int i = 0; i < 8; i++)
	{
		peer[i] = accept(fd, NULL, NULL);
		send(peer[i], "220 hello\r\n", 11, MSG_NOSIGNAL);
		if (i == 1)
			close(peer[i]);
	}
}

static void
test_reset_while_held(void **state)
{
	static const char *const params[] = {"count", "2", "hold_ms", "2000", NULL};
	struct rig rig;
	uint16_t port;
	char target[64];
	int fd = rig_listen(AF_INET, 16, &port);
	pid_t pid = rig_fork(fd, serve_reset, NULL);

	rig_open(&rig);
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 10000, params));
	rig_expect(&rig, "reset");
	assert_true(rig_metric(&rig, "packets.received") == 0);
	assert_true(rig.result.duration_nano < 4000 * 1000000LL); /* it did not wait for the rest */
	rig_close(&rig);
	rig_stop(pid);
	close(fd);
}

static void
test_held_connection(void **state)
{
	static const char *const params[] = {"count", "2", "hold_ms", "150", NULL};
	struct rig rig;
	uint16_t port;
	char target[64];
	int fd = rig_listen(AF_INET, 16, &port);
	pid_t pid = rig_fork(fd, serve_banner, NULL);

	rig_open(&rig);
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 5000, params));
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "packets.received") == 2);
	/* The first was held for the whole time though it spoke, the second was ended; neither is a
	 * part of the connect time. */
	assert_true(rig.result.duration_nano >= 145 * 1000000LL);
	assert_true(rig_metric(&rig, "connect.min.ms") < 145);
	rig_close(&rig);
	rig_stop(pid);
	close(fd);
}

/* In a fresh network namespace there is no route to anywhere: the fault of this host. */
static void
test_no_route(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
	{
		struct rig rig;

		if (unshare(CLONE_NEWNET) != 0)
			_exit(errno == EPERM ? 77 : 1);
		rig_open(&rig);
		if (!rig_run(&rig, "tcp", "192.0.2.1:80", 1000, NULL))
			_exit(2);
		_exit(rig.result.error_type == ERROR_LOCAL_FAULT ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
test_wrong_family_is_a_configuration_error(void **state)
{
	static const char *const params[] = {"ip_version", "6", NULL};
	struct rig rig;

	rig_open(&rig);
	assert_true(rig_run(&rig, "tcp", "127.0.0.1:80", 1000, params));
	rig_expect(&rig, "config_error");
	rig_close(&rig);
}

static void
test_cancelled_run_says_nothing(void **state)
{
	struct rig rig;
	void *cmd;
	struct canary_run *run;

	rig_open(&rig);
	rig_spec(&rig, "tcp", "127.0.0.1:9", 1000, NULL);
	assert_true(canary_tcp.cmd_parse(&rig.spec, &cmd, rig.err, sizeof(rig.err)));
	run = canary_tcp.start(&rig.env, &rig.spec, cmd, rig_done, &rig);
	assert_non_null(run);
	canary_tcp.cancel(run);
	event_base_dispatch(rig.base); /* nothing is left to wait for */
	assert_int_equal(rig.calls, 0);
	canary_tcp.cmd_free(cmd);
	rig_close(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_open_port),
	    cmocka_unit_test(test_open_port_ipv6),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_silent_peer_times_out),
	    cmocka_unit_test(test_reset_while_held),
	    cmocka_unit_test(test_held_connection),
	    cmocka_unit_test(test_no_route),
	    cmocka_unit_test(test_wrong_family_is_a_configuration_error),
	    cmocka_unit_test(test_cancelled_run_says_nothing),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
