/* SPDX-License-Identifier: PostgreSQL
 *
 * test_udp.c -- frames byte by byte, then the canary against services that echo well and badly, and the
 * responder against those who would abuse it.
 */
#include "rig.h"

#include <errno.h>
#include <sched.h>

#include "agent/probe.h"
#include "agent/stamp.h"
#include "agent/udp/echo.h"
#include "agent/udp/frame.h"

/* ---- frames ---- */

/* magic and version, request, three zeros, token, number, then 14 (20), 15 (21) */
static const uint8_t request[] = {0x70, 0x63, 0x45, 0x31, 0x00, 0,    0,    0,    0x11, 0x22, 0x33,
                                  0x44, 0x55, 0x66, 0x77, 0x88, 0x00, 0x01, 0x02, 0x03, 0x14, 0x15};

static void
test_frame(void **state)
{
	const struct frame frame = {FRAME_REQUEST, 0x1122334455667788, 0x00010203};
	uint8_t bytes[sizeof(request)];
	struct frame read;

	frame_write(bytes, sizeof(bytes), &frame);
	assert_memory_equal(bytes, request, sizeof(request));
	assert_true(frame_read(bytes, sizeof(bytes), &read));
	assert_int_equal(read.kind, FRAME_REQUEST);
	assert_true(read.token == frame.token);
	assert_int_equal(read.number, frame.number);
	/* An answer differs in its kind and in nothing else. */
	frame_turn(bytes);
	assert_int_equal(bytes[4], 1);
	bytes[4] = 0;
	assert_memory_equal(bytes, request, sizeof(request));
	for (size_t n = 0; n < FRAME_MIN; n++)
		assert_false(frame_read(request, n, &read));
	assert_true(frame_read(request, FRAME_MIN, &read));
	/* Another magic, another version, an unknown kind, anything in the zeros. */
	for (size_t at = 0; at < 8; at++)
	{
		memcpy(bytes, request, sizeof(bytes));
		bytes[at] ^= 0x42;
		assert_false(frame_read(bytes, sizeof(bytes), &read));
	}
}

/* The copy of a sent packet has the headers of whatever is below. */
static void
test_frame_behind_headers(void **state)
{
	static const size_t headers[] = {0, 28, 42, 62, 110};
	uint8_t bytes[200];
	struct frame read;

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
	{
		memset(bytes, 0x70, sizeof(bytes));
		memcpy(bytes + headers[i], request, sizeof(request));
		assert_true(frame_find(bytes, headers[i] + sizeof(request), &read));
		assert_int_equal(read.number, 0x00010203);
		assert_false(frame_find(bytes, headers[i] + FRAME_MIN - 1, &read));
	}
}

/* ---- parameters ---- */

static void
test_parameters(void **state)
{
	static const struct
	{
		const char *target, *key, *value, *complaint;
	} cases[] = {
	    {"host", NULL, NULL, "port is missing"},
	    {"host:0", NULL, NULL, "1 to 65535"},
	    {"host:7", "port", "8", "the target says 7"},
	    {"host:7", "count", "0", "1 to 1000"},
	    {"host:7", "count", "1001", "1 to 1000"},
	    {"host:7", "payload_bytes", "19", "20 to 65000"},
	    {"host:7", "payload_bytes", "65001", "20 to 65000"},
	    {"host:7", "dscp", "64", "0 to 63"},
	    {"host:7", "interval_ms", "400", "half of the timeout"},
	    {"host:7", "ip_version", "5", "param ip_version"},
	    {"host:7", "df", "true", "unknown"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		assert_false(rig_run(&rig, "udp", cases[i].target, 1000, params));
		if (strstr(rig.err, cases[i].complaint) == NULL)
			print_error("case %zu: %s\n", i, rig.err);
		assert_non_null(strstr(rig.err, cases[i].complaint));
	}
	rig_close(&rig);
}

/* ---- services ---- */

static int
udp_socket(int family, uint16_t *port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *addr = family == AF_INET ? (void *) &in4 : (void *) &in6;
	socklen_t len = family == AF_INET ? sizeof(in4) : sizeof(in6);
	int fd = socket(family, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, addr, len), 0);
	assert_int_equal(getsockname(fd, addr, &len), 0);
	*port = ntohs(family == AF_INET ? in4.sin_port : in6.sin6_port);
	return fd;
}

/* What a service does with the n-th datagram, from 0. */
typedef void (*treat)(int fd, unsigned n, uint8_t *data, size_t len, struct sockaddr_storage *from,
                      socklen_t fromlen);

struct service
{
	treat treat;
};

static void
serve(int fd, void *arg)
{
	struct service *service = arg;
	static uint8_t data[70000];

	for (unsigned n = 0;; n++)
	{
		struct sockaddr_storage from;
		socklen_t fromlen = sizeof(from);
		ssize_t len = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *) &from, &fromlen);

		if (len < 0)
			return;
		service->treat(fd, n, data, (size_t) len, &from, fromlen);
	}
}

static void
reply(int fd, const uint8_t *data, size_t len, struct sockaddr_storage *from, socklen_t fromlen)
{
	sendto(fd, data, len, 0, (struct sockaddr *) from, fromlen);
}

static void
plain(int fd, unsigned n, uint8_t *data, size_t len, struct sockaddr_storage *from,
      socklen_t fromlen)
{
	reply(fd, data, len, from, fromlen);
}

/* The second is lost, the third comes twice, the fourth after the fifth. */
static void
unruly(int fd, unsigned n, uint8_t *data, size_t len, struct sockaddr_storage *from,
       socklen_t fromlen)
{
	static uint8_t kept[100];

	if (n == 1)
		return;
	if (n == 3)
	{
		memcpy(kept, data, len);
		return;
	}
	reply(fd, data, len, from, fromlen);
	if (n == 2)
		reply(fd, data, len, from, fromlen);
	if (n == 4)
		reply(fd, kept, len, from, fromlen);
}

/* Everything that looks like an answer and is none: of another round, of a packet that was not sent
 * yet, too short, too long, and not a frame. */
static void
lying(int fd, unsigned n, uint8_t *data, size_t len, struct sockaddr_storage *from,
      socklen_t fromlen)
{
	data[15] ^= 1;
	reply(fd, data, len, from, fromlen);
	data[15] ^= 1;
	data[19] = 200;
	reply(fd, data, len, from, fromlen);
	data[19] = 0;
	reply(fd, data, len - 1, from, fromlen);
	reply(fd, data, len + 1, from, fromlen);
	data[0] ^= 1;
	reply(fd, data, len, from, fromlen);
}

struct stand
{
	struct rig rig;
	struct service service;
	int fd;
	pid_t pid;
	char target[64];
};

static void
stand_open(struct stand *stand, int family, treat treat)
{
	uint16_t port;

	rig_open(&stand->rig);
	stand->service.treat = treat;
	stand->fd = udp_socket(family, &port);
	stand->pid = rig_fork(stand->fd, serve, &stand->service);
	snprintf(stand->target, sizeof(stand->target), family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u",
	         port);
}

static void
stand_close(struct stand *stand)
{
	rig_stop(stand->pid);
	close(stand->fd);
	rig_close(&stand->rig);
}

static void
check_plain(int family, const char *bytes, const char *count)
{
	const char *params[] = {"count", count,           "interval_ms", "2", "dscp",
	                        "46",    "payload_bytes", bytes,         NULL};
	struct stand stand;

	stand_open(&stand, family, plain);
	assert_true(rig_run(&stand.rig, "udp", stand.target, 5000, params));
	rig_expect(&stand.rig, "");
	assert_true(rig_metric(&stand.rig, "packets.sent") == atoi(count));
	assert_true(rig_metric(&stand.rig, "packets.received") == atoi(count));
	assert_true(rig_metric(&stand.rig, "loss.ratio") == 0);
	assert_true(rig_metric(&stand.rig, "packets.duplicates") == 0);
	assert_true(rig_metric(&stand.rig, "rtt.min.ms") > 0);
	assert_true(rig_metric(&stand.rig, "rtt.min.ms") <= rig_metric(&stand.rig, "rtt.median.ms"));
	assert_true(rig_metric(&stand.rig, "rtt.median.ms") <= rig_metric(&stand.rig, "rtt.max.ms"));
	assert_string_equal(rig_attribute(&stand.rig, "probectl.udp.responder"), "echo");
	assert_string_equal(rig_attribute(&stand.rig, "probectl.timestamps"), "send,receive");
	assert_string_equal(stand.rig.result.network_transport, "udp");
	assert_true(stand.rig.result.server_port > 0);
	stand_close(&stand);
}

static void
test_plain_echo(void **state)
{
	check_plain(AF_INET, "56", "10");
	check_plain(AF_INET6, "56", "10");
	check_plain(AF_INET, "20", "10");
	check_plain(AF_INET, "65000", "2"); /* a default receive buffer takes few of them */
}

static void
test_loss_duplicates_reordering(void **state)
{
	static const char *const params[] = {"count", "6", "interval_ms", "5", NULL};
	struct stand stand;

	stand_open(&stand, AF_INET, unruly);
	assert_true(rig_run(&stand.rig, "udp", stand.target, 500, params));
	rig_expect(&stand.rig, "");
	assert_true(rig_metric(&stand.rig, "packets.sent") == 6);
	assert_true(rig_metric(&stand.rig, "packets.received") == 5);
	assert_true(rig_metric(&stand.rig, "loss.ratio") == 0.1667);
	assert_true(rig_metric(&stand.rig, "packets.duplicates") == 1);
	assert_true(rig_metric(&stand.rig, "packets.reordered") == 1);
	stand_close(&stand);
}

static void
test_what_is_no_answer_is_none(void **state)
{
	static const char *const params[] = {"count", "2", "interval_ms", "5", NULL};
	struct stand stand;

	stand_open(&stand, AF_INET, lying);
	assert_true(rig_run(&stand.rig, "udp", stand.target, 300, params));
	rig_expect(&stand.rig, "no_reply");
	assert_true(rig_metric(&stand.rig, "loss.ratio") == 1);
	stand_close(&stand);
}

static void
test_refused(void **state)
{
	static const char *const params[] = {"count", "4", "interval_ms", "5", NULL};
	struct rig rig;
	uint16_t port;
	char target[64];

	close(udp_socket(AF_INET, &port));
	rig_open(&rig);
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "udp", target, 5000, params));
	rig_expect(&rig, "connect_refused");
	assert_true(rig_metric(&rig, "packets.sent") == 4);
	assert_string_equal(rig_attribute(&rig, "probectl.udp.error.from"), "127.0.0.1");
	/* Every packet was refused: there is nothing to wait for. */
	assert_true(rig.result.duration_nano < 4500 * 1000000LL);
	snprintf(target, sizeof(target), "[::1]:%u", port);
	assert_true(rig_run(&rig, "udp", target, 5000, params));
	rig_expect(&rig, "connect_refused");
	rig_close(&rig);
}

/* A service that comes up while the round goes on, as when it is restarted: the refusals before cost
 * the packets they were for, the others are measured. The parent closes the port, sees packets being
 * refused, and opens it again. */
struct revival
{
	struct rig *rig;
	struct event event;
	uint16_t port;
	pid_t pid;
	int fd;
	struct service service;
};

static void
on_revive(evutil_socket_t fd, short what, void *arg)
{
	struct revival *revival = arg;
	struct sockaddr_in at = {.sin_family = AF_INET,
	                         .sin_port = htons(revival->port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	revival->fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(revival->fd, (struct sockaddr *) &at, sizeof(at)), 0);
	revival->pid = rig_fork(revival->fd, serve, &revival->service);
}

static void
test_refusals_cost_their_own_packets(void **state)
{
	static const char *const params[] = {"count", "20", "interval_ms", "20", NULL};
	struct rig rig;
	struct revival revival = {.rig = &rig, .service = {plain}};
	struct timeval soon = {0, 150000};
	char target[64];
	double received;

	close(udp_socket(AF_INET, &revival.port));
	rig_open(&rig);
	evtimer_assign(&revival.event, rig.base, on_revive, &revival);
	evtimer_add(&revival.event, &soon);
	snprintf(target, sizeof(target), "127.0.0.1:%u", revival.port);
	assert_true(rig_run(&rig, "udp", target, 10000, params));
	rig_expect(&rig, "");
	received = rig_metric(&rig, "packets.received");
	assert_true(rig_metric(&rig, "packets.sent") == 20);
	assert_true(received >= 1 && received <= 19);
	assert_string_equal(rig_attribute(&rig, "probectl.udp.error"), "connection refused");
	/* Every packet is accounted for, so the round ended without its timeout. */
	assert_true(rig.result.duration_nano < 9000 * 1000000LL);
	rig_stop(revival.pid);
	close(revival.fd);
	rig_close(&rig);
}

static void
test_guard(void **state)
{
	struct stand stand;

	stand_open(&stand, AF_INET, plain);
	stand.rig.guarded = true;
	assert_true(rig_run(&stand.rig, "udp", stand.target, 1000, NULL));
	rig_expect(&stand.rig, "guard_denied");
	assert_true(isnan(rig_metric(&stand.rig, "packets.sent")));
	stand_close(&stand);
}

static void
test_cancelled_run_says_nothing(void **state)
{
	struct rig rig;
	struct canary_run *run;
	void *cmd;

	rig_open(&rig);
	rig_spec(&rig, "udp", "127.0.0.1:9", 1000, NULL);
	assert_true(canary_udp.cmd_parse(&rig.spec, &cmd, rig.err, sizeof(rig.err)));
	run = canary_udp.start(&rig.env, &rig.spec, cmd, rig_done, &rig);
	assert_non_null(run);
	canary_udp.cancel(run);
	event_base_dispatch(rig.base);
	assert_int_equal(rig.calls, 0);
	canary_udp.cmd_free(cmd);
	rig_close(&rig);
}

/* ---- the responder ---- */

static int
responder(uint16_t *port, const char *format)
{
	char err[256], listen[64];
	int probe = udp_socket(format[0] == '[' ? AF_INET6 : AF_INET, port), fd;

	/* A free port, then the responder on it. */
	close(probe);
	snprintf(listen, sizeof(listen), format, *port);
	fd = echo_open(listen, err, sizeof(err));
	if (fd < 0)
		print_error("%s\n", err);
	assert_true(fd >= 0);
	return fd;
}

static void
turn(struct event_base *base)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void
test_responder(void **state)
{
	static const char *const params[] = {"count", "5", "interval_ms", "2", "dscp", "46", NULL};
	static const char *const formats[] = {"127.0.0.1:%u", "[::]:%u", "[::1]:%u", NULL};
	static const char *const targets[] = {"127.0.0.1:%u", "127.0.0.1:%u", "[::1]:%u"};

	for (int i = 0; formats[i]; i++)
	{
		struct rig rig;
		struct echo *echo;
		uint16_t port;
		char target[64];
		int fd = responder(&port, formats[i]);

		rig_open(&rig);
		echo = echo_start(rig.base, fd, 1000);
		assert_non_null(echo);
		snprintf(target, sizeof(target), targets[i], port);
		assert_true(rig_run(&rig, "udp", target, 2000, params));
		rig_expect(&rig, "");
		assert_true(rig_metric(&rig, "packets.received") == 5);
		assert_string_equal(rig_attribute(&rig, "probectl.udp.responder"), "probectl");
		echo_stop(echo);
		rig_close(&rig);
	}
}

/* Nothing but a request is answered, and an answer is as long as its request. */
static void
test_responder_is_no_reflector(void **state)
{
	struct event_base *base = event_base_new();
	uint16_t port, own;
	int fd = responder(&port, "127.0.0.1:%u"), client = udp_socket(AF_INET, &own);
	struct echo *echo = echo_start(base, fd, 1000);
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct echo_stats before, after;
	uint8_t bytes[1200], got[70000];

	assert_int_equal(connect(client, (struct sockaddr *) &to, sizeof(to)), 0);
	echo_stats(&before);
	memcpy(bytes, request, sizeof(request));
	frame_turn(bytes); /* an answer, as another responder would send it */
	assert_int_equal(send(client, bytes, sizeof(request), 0), sizeof(request));
	assert_int_equal(send(client, "hello", 5, 0), 5);
	assert_int_equal(send(client, "", 0, 0), 0);
	assert_int_equal(send(client, request, FRAME_MIN - 1, 0), FRAME_MIN - 1);
	turn(base);
	assert_int_equal(recv(client, got, sizeof(got), MSG_DONTWAIT), -1);
	echo_stats(&after);
	assert_int_equal(after.ignored - before.ignored, 4);
	assert_int_equal(after.answered, before.answered);
	for (size_t len = FRAME_MIN; len <= sizeof(bytes); len += 295)
	{
		frame_write(bytes, len, &(struct frame){FRAME_REQUEST, 7, (uint32_t) len});
		assert_int_equal(send(client, bytes, len, 0), len);
		turn(base);
		assert_int_equal(recv(client, got, sizeof(got), MSG_DONTWAIT), len);
		frame_turn(bytes);
		assert_memory_equal(got, bytes, len);
		assert_int_equal(recv(client, got, sizeof(got), MSG_DONTWAIT), -1);
	}
	echo_stop(echo);
	close(client);
	event_base_free(base);
}

static struct sockaddr_storage
source(const char *text)
{
	struct resolver_address address;

	assert_true(resolver_literal(text, &address));
	return address.addr;
}

/* A rate of 100 gives a source 10 a second, and all of them together 100. */
static void
test_rates(void **state)
{
	struct echo_limit *limit = echo_limit_new(100);
	struct sockaddr_storage one = source("192.0.2.1"), other = source("192.0.2.2");
	struct sockaddr_storage six = source("2001:db8::1"), same64 = source("2001:db8::ffff");
	int64_t now = 1000000000;
	int n;

	for (n = 0; echo_limit_take(limit, &one, 100, now); n++)
		;
	assert_int_equal(n, 10);
	assert_true(echo_limit_take(limit, &other, 100, now));
	now += 100000000; /* a tenth of a second: one more */
	assert_true(echo_limit_take(limit, &one, 100, now));
	assert_false(echo_limit_take(limit, &one, 100, now));
	/* A long datagram counts for what it weighs. */
	now += 1000000000;
	assert_true(echo_limit_take(limit, &one, 1500 * 9, now));
	assert_false(echo_limit_take(limit, &one, 100, now));
	/* Addresses of one /64 are one source. */
	for (n = 0; echo_limit_take(limit, n % 2 ? &six : &same64, 100, now); n++)
		;
	assert_int_equal(n, 10);
	/* Who forges sources meets the rate of all. */
	now += 1000000000;
	for (n = 0; n < 1000; n++)
	{
		char text[32];
		struct sockaddr_storage forged;

		snprintf(text, sizeof(text), "198.51.%d.%d", n / 250, n % 250 + 1);
		forged = source(text);
		if (!echo_limit_take(limit, &forged, 100, now))
			break;
	}
	assert_int_equal(n, 100);
	echo_limit_free(limit);
}

static void
test_responder_addresses(void **state)
{
	static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:0", "localhost:1", ":1", "[::1]"};
	char err[256];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		assert_int_equal(echo_open(bad[i], err, sizeof(err)), -1);
		assert_non_null(strstr(err, "192.0.2.1:8620"));
	}
	assert_int_equal(echo_open("192.0.2.77:8620", err, sizeof(err)), -1);
	assert_non_null(strstr(err, "cannot answer on 192.0.2.77:8620"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_frame),
	    cmocka_unit_test(test_frame_behind_headers),
	    cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_plain_echo),
	    cmocka_unit_test(test_loss_duplicates_reordering),
	    cmocka_unit_test(test_what_is_no_answer_is_none),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_refusals_cost_their_own_packets),
	    cmocka_unit_test(test_guard),
	    cmocka_unit_test(test_cancelled_run_says_nothing),
	    cmocka_unit_test(test_responder),
	    cmocka_unit_test(test_responder_is_no_reflector),
	    cmocka_unit_test(test_rates),
	    cmocka_unit_test(test_responder_addresses),
	};

	return cmocka_run_group_tests_name("udp", tests, NULL, NULL);
}
