/* SPDX-License-Identifier: PostgreSQL
 *
 * test_icmp.c -- packets in hex, then real ones: loopback, a router that refuses, a hole.
 *
 * The network of the live tests is two namespaces with a pair of interfaces:
 *
 *   198.51.100.1  pa ===== pb  198.51.100.2    the second forwards; its table prohibits or
 *   2001:db8::1                2001:db8::2     lacks the prefixes that the tests ask for
 *
 * A test that needs namespaces is skipped where they are not permitted.
 */
#include "rig.h"

#include <errno.h>
#include <sched.h>

#include "agent/icmp/filter.h"
#include "agent/icmp/icmp.h"

/* ---- packets ---- */

static void
test_request(void **state)
{
	/* type 8, code 0, checksum, id 1234, sequence 0102, token, then 08 */
	static const uint8_t expected[] = {0x08, 0x00, 0xb6, 0x7e, 0x12, 0x34, 0x01, 0x02, 0x11,
	                                   0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x08};
	uint8_t packet[sizeof(expected)];
	uint32_t sum = 0;

	icmp_request_write(packet, false, 0x1234, 0x0102, 0x1122334455667788, 9);
	/* RFC 1071: with its checksum in place the sum over all is all ones */
	for (size_t i = 0; i < sizeof(packet); i++)
		sum += i % 2 ? packet[i] : (uint32_t) packet[i] << 8;
	sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff);
	packet[2] = expected[2];
	packet[3] = expected[3];
	assert_memory_equal(packet, expected, sizeof(expected));
	icmp_request_write(packet, true, 0x1234, 0x0102, 0x1122334455667788, 9);
	assert_int_equal(packet[0], 128);
	assert_int_equal(packet[2] | packet[3], 0); /* the kernel's work */
}

static const uint8_t reply4[] = {
    /* IPv4: header of 20 bytes, protocol 1 */
    0x45, 0, 0, 36, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1,
    /* echo reply, id 1234, sequence 0102, token */
    0, 0, 0, 0, 0x12, 0x34, 0x01, 0x02, 1, 2, 3, 4, 5, 6, 7, 8};

static void
test_reply(void **state)
{
	struct icmp_seen seen;

	icmp4_read(reply4, sizeof(reply4), true, &seen);
	assert_int_equal(seen.kind, ICMP_REPLY);
	assert_int_equal(seen.id, 0x1234);
	assert_int_equal(seen.sequence, 0x0102);
	assert_true(seen.has_token);
	assert_true(seen.token == 0x0102030405060708);
	/* a ping socket gives it without the header */
	icmp4_read(reply4 + 20, sizeof(reply4) - 20, false, &seen);
	assert_int_equal(seen.kind, ICMP_REPLY);
	/* cut anywhere in front of the sequence, it is nothing */
	for (size_t n = 0; n < 28; n++)
	{
		icmp4_read(reply4, n, true, &seen);
		assert_int_equal(seen.kind, ICMP_NOTHING);
	}
	icmp4_read(reply4, 30, true, &seen);
	assert_int_equal(seen.kind, ICMP_REPLY);
	assert_false(seen.has_token);
}

/* An error of a type and code that quotes a request to 192.0.2.9 with its first eight bytes. */
static size_t
quote4(uint8_t *p, uint8_t type, uint8_t code)
{
	static const uint8_t outer[] = {0x45, 0, 0,  56, 0, 0, 0,  0, 64, 1,
	                                0,    0, 10, 0,  0, 1, 10, 0, 0,  2};
	static const uint8_t inner[] = {0x45, 0, 0,    84,   0,    0,    0,    0,   63, 1,
	                                0,    0, 10,   0,    0,    2,    192,  0,   2,  9,
	                                8,    0, 0xaa, 0xbb, 0x12, 0x34, 0x01, 0x02};
	const uint8_t error[] = {type, code, 0, 0, 0, 0, 0x05, 0x78}; /* next-hop MTU 1400 */

	memcpy(p, outer, sizeof(outer));
	memcpy(p + 20, error, sizeof(error));
	memcpy(p + 28, inner, sizeof(inner));
	return 28 + sizeof(inner);
}

static void
test_errors4(void **state)
{
	static const struct
	{
		uint8_t type, code;
		enum error_type error;
		uint32_t mtu;
	} cases[] = {
	    {3, 0, ERROR_NET_UNREACHABLE, 0},     {3, 1, ERROR_HOST_UNREACHABLE, 0},
	    {3, 4, ERROR_HOST_UNREACHABLE, 1400}, {3, 9, ERROR_ADMIN_PROHIBITED, 0},
	    {3, 10, ERROR_ADMIN_PROHIBITED, 0},   {3, 13, ERROR_ADMIN_PROHIBITED, 0},
	    {3, 200, ERROR_HOST_UNREACHABLE, 0},  {11, 0, ERROR_TTL_EXCEEDED, 0},
	    {11, 1, ERROR_TTL_EXCEEDED, 0},       {12, 0, ERROR_HOST_UNREACHABLE, 0},
	};
	uint8_t packet[64];
	struct icmp_seen seen;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		size_t n = quote4(packet, cases[i].type, cases[i].code);

		icmp4_read(packet, n, true, &seen);
		assert_int_equal(seen.kind, ICMP_PROBLEM);
		assert_int_equal(seen.error, cases[i].error);
		assert_int_equal(seen.mtu, cases[i].mtu);
		assert_int_equal(seen.id, 0x1234);
		assert_int_equal(seen.sequence, 0x0102);
		assert_false(seen.has_token);
		assert_memory_equal(seen.destination, "\xc0\x00\x02\x09", 4);
		for (size_t cut = 0; cut < n; cut++)
		{
			icmp4_read(packet, cut, true, &seen);
			assert_int_equal(seen.kind, ICMP_NOTHING);
		}
	}
	quote4(packet, 5, 1); /* a redirect is not an error */
	icmp4_read(packet, 56, true, &seen);
	assert_int_equal(seen.kind, ICMP_NOTHING);
	quote4(packet, 3, 1);
	packet[28 + 9] = 17; /* it quotes UDP */
	icmp4_read(packet, 56, true, &seen);
	assert_int_equal(seen.kind, ICMP_NOTHING);
	quote4(packet, 3, 1);
	packet[28 + 7] = 1; /* it quotes a later fragment */
	icmp4_read(packet, 56, true, &seen);
	assert_int_equal(seen.kind, ICMP_NOTHING);
	quote4(packet, 3, 1);
	packet[28] = 0x44; /* a header shorter than a header */
	icmp4_read(packet, 56, true, &seen);
	assert_int_equal(seen.kind, ICMP_NOTHING);
}

static void
test_errors6(void **state)
{
	static const struct
	{
		uint8_t type, code;
		enum error_type error;
		uint32_t mtu;
	} cases[] = {
	    {1, 0, ERROR_NET_UNREACHABLE, 0},     {1, 1, ERROR_ADMIN_PROHIBITED, 0},
	    {1, 3, ERROR_HOST_UNREACHABLE, 0},    {1, 5, ERROR_ADMIN_PROHIBITED, 0},
	    {2, 0, ERROR_HOST_UNREACHABLE, 1280}, {3, 0, ERROR_TTL_EXCEEDED, 0},
	};
	uint8_t packet[8 + 40 + 8 + 8] = {0};
	struct icmp_seen seen;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		packet[0] = cases[i].type;
		packet[1] = cases[i].code;
		packet[6] = 0x05; /* 1280 */
		packet[8] = 0x60;
		packet[8 + 6] = 58;
		memcpy(packet + 8 + 24, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09", 16);
		memcpy(packet + 48, "\x80\0\xaa\xbb\x12\x34\x01\x02", 8);
		icmp6_read(packet, 56, &seen);
		assert_int_equal(seen.kind, ICMP_PROBLEM);
		assert_int_equal(seen.error, cases[i].error);
		assert_int_equal(seen.mtu, cases[i].mtu);
		assert_int_equal(seen.sequence, 0x0102);
		/* the same behind a fragment header */
		packet[8 + 6] = 44;
		memcpy(packet + 48, "\x3a\0\0\x01\0\0\0\x07\x80\0\xaa\xbb\x12\x34\x01\x02", 16);
		icmp6_read(packet, 64, &seen);
		assert_int_equal(seen.kind, ICMP_PROBLEM);
		assert_int_equal(seen.sequence, 0x0102);
	}
}

/* ---- copies of sent packets ---- */

static bool
on_copy(const struct icmp_seen *seen, void *arg)
{
	*(struct icmp_seen *) arg = *seen;
	return seen->token == 0x0102030405060708;
}

/* The kernel returns what it sent with the headers of the device: none, Ethernet, Ethernet with a VLAN tag. */
static void
test_copies(void **state)
{
	static const uint8_t ip4[] = {0x45, 0, 0,  36, 0, 0, 0x40, 0, 64, 1,
	                              0,    0, 10, 0,  0, 1, 10,   0, 0,  2};
	static const uint8_t links[] = {0, 14, 18};
	uint8_t ip6[40] = {0x60, [5] = 16, [6] = 58, [7] = 64};
	uint8_t packet[128], request[ICMP_HEADER + 8];

	for (size_t i = 0; i < sizeof(links); i++)
	{
		for (int v6 = 0; v6 <= 1; v6++)
		{
			size_t head = v6 ? sizeof(ip6) : sizeof(ip4), len = links[i] + head + sizeof(request);
			struct icmp_seen seen = {0};

			memset(packet, 0x44, sizeof(packet)); /* an IPv4 header that is too short */
			memcpy(packet + links[i], v6 ? ip6 : ip4, head);
			icmp_request_write(request, v6, 0x1234, 7, 0x0102030405060708, 8);
			memcpy(packet + links[i] + head, request, sizeof(request));
			assert_true(icmp_copy_read(packet, len, v6, on_copy, &seen));
			assert_int_equal(seen.sequence, 7);
			assert_int_equal(seen.id, 0x1234);
			assert_false(icmp_copy_read(packet, len, !v6, on_copy, &seen));
			/* Without the whole token it could be anybody's. */
			for (size_t cut = 0; cut < len; cut++)
				assert_false(icmp_copy_read(packet, cut, v6, on_copy, &seen));
			packet[links[i] + head + 8] ^= 1;
			assert_false(icmp_copy_read(packet, len, v6, on_copy, &seen));
		}
	}
}

/* ---- parameters ---- */

/* ---- the filter ---- */

#define MARK 0xbeef

/* Whether a socket with the filter is given the packet. A datagram socket of any family runs it from the
 * first byte on. */
static bool
passes(bool v6, const uint8_t *packet, size_t len)
{
	uint8_t got[256];
	int fds[2];
	bool passed;

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	assert_true(icmp_filter_attach(fds[1], v6, MARK));
	send(fds[0], packet, len, MSG_DONTWAIT);
	passed = recv(fds[1], got, sizeof(got), MSG_DONTWAIT) == (ssize_t) len;
	close(fds[0]);
	close(fds[1]);
	return passed;
}

/* An echo message of the type, behind a header of 20 with so many octets of options (IPv4), or one of
 * 40 with a fragment header (IPv6). Returns its length. */
static size_t
echo_behind_header(uint8_t *at, bool v6, uint8_t type, uint16_t mark, size_t more)
{
	size_t header = (v6 ? 40 : 20) + more;

	memset(at, 0, header + 24);
	at[0] = v6 ? 0x60 : (uint8_t) (0x40 | header / 4);
	if (v6)
		at[6] = more ? 44 : 58;
	else
		at[9] = 1;
	if (v6 && more)
		at[40] = 58;
	icmp_request_write(at + header, v6, 1, 2, (uint64_t) mark << 48 | 3, 16);
	at[header] = type;
	return header + 24;
}

/* The same as seen by the socket: IPv4 with its header, IPv6 without. */
static size_t
reply_of(uint8_t *packet, bool v6, uint16_t mark, size_t options)
{
	size_t len = echo_behind_header(packet, v6, v6 ? 129 : 0, mark, options);

	if (!v6)
		return len;
	memmove(packet, packet + 40, len - 40);
	return len - 40;
}

/* An error of the type about an echo message. */
static size_t
error_of(uint8_t *packet, bool v6, uint8_t type, uint8_t quoted, uint16_t mark, size_t more)
{
	size_t header = v6 ? 0 : 24;

	memset(packet, 0, header + 8);
	if (!v6)
	{
		packet[0] = 0x46;
		packet[9] = 1;
	}
	packet[header] = type;
	return header + 8 + echo_behind_header(packet + header + 8, v6, quoted, mark, more);
}

static void
check_filter(bool v6, const uint8_t *errors, size_t error_count, size_t more)
{
	uint8_t packet[256], request = v6 ? 128 : 8;
	size_t len;

	len = reply_of(packet, v6, MARK, v6 ? 0 : more);
	assert_true(passes(v6, packet, len));
	assert_false(passes(v6, packet, len - 16)); /* without a token it is no reply to us */
	len = reply_of(packet, v6, MARK + 1, v6 ? 0 : more);
	assert_false(passes(v6, packet, len));
	for (size_t i = 0; i < error_count; i++)
	{
		size_t whole = error_of(packet, v6, errors[i], request, MARK, more);

		for (len = whole - 16; len <= whole; len++)
			assert_true(passes(v6, packet, len));
		assert_false(passes(v6, packet, whole - 24));
		/* The ping of somebody else, unless the quote is too short to tell. */
		whole = error_of(packet, v6, errors[i], request, MARK + 1, more);
		assert_true(passes(v6, packet, whole - 16));
		assert_false(passes(v6, packet, whole));
		/* An error about their answer, or about another protocol. */
		whole = error_of(packet, v6, errors[i], v6 ? 129 : 0, MARK, more);
		assert_false(passes(v6, packet, whole));
		whole = error_of(packet, v6, errors[i], request, MARK, more);
		packet[v6 ? (more ? 8 + 40 : 8 + 6) : 24 + 8 + 9] = 17;
		assert_false(passes(v6, packet, whole));
	}
	/* A request, or a redirect. */
	len = error_of(packet, v6, v6 ? 137 : 5, request, MARK, more);
	assert_false(passes(v6, packet, len));
	len = error_of(packet, v6, request, request, MARK, more);
	assert_false(passes(v6, packet, len));
	assert_false(passes(v6, packet, 1));
}

static void
test_filter(void **state)
{
	static const uint8_t errors4[] = {3, 11, 12}, errors6[] = {1, 2, 3, 4};

	for (size_t more = 0; more <= 8; more += 8)
	{
		check_filter(false, errors4, sizeof(errors4), more);
		check_filter(true, errors6, sizeof(errors6), more);
	}
}

/* Whatever the process hears, its own packets are among it, and those of another are not. */
static void
test_the_pings_of_others_wake_nobody(void **state)
{
	static const char *const params[] = {"count", "2", "interval_ms", "1", NULL};
	struct rig rig, other;
	uint8_t byte;

	rig_open(&rig);
	rig_open(&other);
	if (!rig.env.icmp4_raw || !other.env.icmp4_raw)
	{
		rig_close(&rig);
		rig_close(&other);
		skip();
	}
	assert_true(rig_run(&rig, "icmp", "127.0.0.1", 2000, params));
	rig_expect(&rig, "");
	assert_true(rig_run(&rig, "icmp", "::1", 2000, params));
	rig_expect(&rig, "");
	assert_true(recv(other.env.icmp4_fd, &byte, 1, MSG_DONTWAIT) < 0);
	assert_true(recv(other.env.icmp6_fd, &byte, 1, MSG_DONTWAIT) < 0);
	rig_close(&rig);
	rig_close(&other);
}

static void
test_parameters(void **state)
{
	static const struct
	{
		const char *target, *key, *value, *complaint;
	} cases[] = {
	    {"host:80", NULL, NULL, "no ports"},
	    {"host", "count", "0", "1 to 1000"},
	    {"host", "count", "1001", "1 to 1000"},
	    {"host", "payload_bytes", "7", "8 to 65000"},
	    {"host", "payload_bytes", "65001", "8 to 65000"},
	    {"host", "dscp", "64", "0 to 63"},
	    {"host", "df", "yes", "true or false"},
	    {"host", "interval_ms", "400", "half of the timeout"},
	    {"host", "Count", "1", "unknown"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		assert_false(rig_run(&rig, "icmp", cases[i].target, 1000, params));
		if (strstr(rig.err, cases[i].complaint) == NULL)
			print_error("case %zu: %s\n", i, rig.err);
		assert_non_null(strstr(rig.err, cases[i].complaint));
	}
	rig_close(&rig);
}

/* ---- loopback ---- */

static void
check_loopback(const char *target)
{
	static const char *const params[] = {"count", "10", "interval_ms", "2", "dscp", "46", NULL};
	struct rig rig;

	rig_open(&rig);
	if (rig.env.icmp4_fd < 0)
	{
		rig_close(&rig);
		skip();
	}
	assert_true(rig_run(&rig, "icmp", target, 2000, params));
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "packets.sent") == 10);
	assert_true(rig_metric(&rig, "packets.received") == 10);
	assert_true(rig_metric(&rig, "loss.ratio") == 0);
	assert_true(rig_metric(&rig, "packets.duplicates") == 0);
	assert_true(rig_metric(&rig, "packets.reordered") == 0);
	assert_true(rig_metric(&rig, "rtt.min.ms") > 0);
	assert_true(rig_metric(&rig, "rtt.max.ms") < 500);
	assert_string_equal(rig_attribute(&rig, "network.peer.address"), target);
	assert_true(rig.result.duration_nano >= 18 * 1000000LL); /* nine gaps of 2 ms */
	rig_close(&rig);
}

static void
test_loopback(void **state)
{
	check_loopback("127.0.0.1");
}

static void
test_loopback_ipv6(void **state)
{
	check_loopback("::1");
}

static void
test_sizes(void **state)
{
	static const char *const sizes[] = {"8", "56", "1473", "65000"};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < 4; i++)
	{
		const char *params[] = {"count", "2", "interval_ms", "1", "payload_bytes", sizes[i], NULL};

		assert_true(rig_run(&rig, "icmp", "127.0.0.1", 2000, params));
		rig_expect(&rig, "");
		assert_true(rig_metric(&rig, "loss.ratio") == 0);
		assert_true(rig_run(&rig, "icmp", "::1", 2000, params));
		rig_expect(&rig, "");
		assert_true(rig_metric(&rig, "loss.ratio") == 0);
	}
	rig_close(&rig);
}

struct many
{
	struct rig *rig;
	int left, ok;
};

static void
many_done(const struct result *result, void *arg)
{
	struct many *many = arg;

	many->ok += result->success && result->metric_count > 0;
	many->left--;
	if (many->left == 0)
		event_base_loopbreak(many->rig->base);
}

/* More runs than slots share the sockets, and each finds its own replies: a packet that is counted
 * for another run would be a loss here and a duplicate there. */
static void
test_many_runs_at_once(void **state)
{
	static const char *const params[] = {"count", "3", "interval_ms", "1", NULL};
	struct rig rig;
	struct many many = {&rig, 1100, 0};
	void *cmd;

	rig_open(&rig);
	rig_spec(&rig, "icmp", "127.0.0.1", 20000, params);
	assert_true(canary_icmp.cmd_parse(&rig.spec, &cmd, rig.err, sizeof(rig.err)));
	for (int i = 0; i < 1100; i++)
		assert_non_null(canary_icmp.start(&rig.env, &rig.spec, cmd, many_done, &many));
	event_base_dispatch(rig.base);
	assert_int_equal(many.left, 0);
	assert_int_equal(many.ok, 1100);
	canary_icmp.cmd_free(cmd);
	rig_close(&rig);
}

struct crowd
{
	struct many many;
	double overflow, lost;
};

static void
crowd_done(const struct result *result, void *arg)
{
	struct crowd *crowd = arg;

	for (size_t i = 0; i < result->metric_count; i++)
		if (strcmp(result->metrics[i].name, "packets.overflow") == 0)
			crowd->overflow += result->metrics[i].value;
	crowd->lost += !result->success;
	many_done(result, &crowd->many);
}

/* The answers to more packets than the socket has room for are lost by this host, and each of
 * the runs that lost one says that it may have been. */
static void
test_own_overflow_is_told(void **state)
{
	static const char *const params[] = {"count", "1", "payload_bytes", "1000", NULL};
	struct rig rig;
	struct crowd crowd = {{&rig, 300, 0}, 0, 0};
	int least = 1;
	void *cmd;

	rig_open(&rig);
	if (rig.env.icmp4_fd < 0)
	{
		rig_close(&rig);
		skip();
	}
	assert_int_equal(setsockopt(rig.env.icmp4_fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
	rig_spec(&rig, "icmp", "127.0.0.1", 500, params);
	assert_true(canary_icmp.cmd_parse(&rig.spec, &cmd, rig.err, sizeof(rig.err)));
	for (int i = 0; i < crowd.many.left; i++)
		assert_non_null(canary_icmp.start(&rig.env, &rig.spec, cmd, crowd_done, &crowd));
	event_base_dispatch(rig.base);
	assert_true(crowd.lost > 0);
	assert_true(crowd.overflow >= crowd.lost);
	canary_icmp.cmd_free(cmd);
	rig_close(&rig);
}

/* ---- the engine's bookkeeping, by feeding it what a network does ---- */

struct fake
{
	struct rig rig;
	struct canary_run *run;
	void *cmd;
};

static void
fake_open(struct fake *fake, uint32_t count)
{
	char text[8];
	const char *params[] = {"count", text, NULL};

	memset(fake, 0, sizeof(*fake));
	rig_open(&fake->rig);
	snprintf(text, sizeof(text), "%u", count);
	rig_spec(&fake->rig, "icmp", "127.0.0.1", 5000, params);
	assert_true(canary_icmp.cmd_parse(&fake->rig.spec, &fake->cmd, fake->rig.err, 256));
	fake->run = canary_icmp.start(&fake->rig.env, &fake->rig.spec, fake->cmd, rig_done, &fake->rig);
	/* as if every packet but the last had been sent */
	for (uint32_t i = 0; i + 1 < count; i++)
	{
		stamp_begin(&fake->run->packets[i].times);
		fake->run->next++;
		fake->run->outstanding++;
		stats_sent(&fake->run->stats);
	}
}

static void
test_duplicates_and_reordering(void **state)
{
	struct fake fake;
	struct canary_run *run;

	fake_open(&fake, 4);
	run = fake.run;
	icmp_run_reply(run, 1, probe_now_unix());
	icmp_run_reply(run, 0, probe_now_unix());
	icmp_run_reply(run, 1, probe_now_unix());
	assert_int_equal(run->stats.received, 2);
	assert_int_equal(run->stats.duplicates, 1);
	assert_int_equal(run->stats.reordered, 1);
	assert_int_equal(run->outstanding, 1);
	canary_icmp.cancel(run);
	canary_icmp.cmd_free(fake.cmd);
	rig_close(&fake.rig);
}

/* By the call, by the kernel's stamp, and not by a clock that was stepped. */
static void
test_a_late_packet_is_told(void **state)
{
	const int64_t ms = 1000000;
	struct fake fake;
	struct canary_run *run;
	struct stamp_times *times;

	fake_open(&fake, 4);
	run = fake.run;
	run->pace.first_at = probe_now() - 300 * ms;
	run->pace.spacing = 100 * ms;
	times = &run->packets[1].times;
	times->sent = run->pace.first_at + 130 * ms;
	times->sent_unix = probe_now_unix() - 170 * ms;
	icmp_run_stamped(run, 1, times->sent_unix + 12 * ms);
	assert_int_equal(run->probe.late / ms, 42);
	icmp_run_stamped(run, 1, times->sent_unix - 3600 * 1000 * ms);
	icmp_run_stamped(run, 1, times->sent_unix + 3600 * 1000 * ms);
	assert_int_equal(run->probe.late / ms, 42);
	icmp_run_reply(run, 1, probe_now_unix());
	probe_result(&run->probe, &fake.rig.result, "icmp");
	assert_int_equal(fake.rig.result.packet_late_nano / ms, 42);
	canary_icmp.cancel(run);
	canary_icmp.cmd_free(fake.cmd);
	rig_close(&fake.rig);
}

/* The wall clock is set back an hour between a packet and its reply. */
static void
test_stepped_clock_makes_no_latency(void **state)
{
	struct fake fake;
	struct canary_run *run;

	fake_open(&fake, 3);
	run = fake.run;
	icmp_run_reply(run, 0, probe_now_unix() - 3600 * 1000000000LL);
	icmp_run_reply(run, 1, probe_now_unix() + 3600 * 1000000000LL);
	assert_true(run->stats.min >= 0);
	assert_true(run->stats.max < 1000);
	canary_icmp.cancel(run);
	canary_icmp.cmd_free(fake.cmd);
	rig_close(&fake.rig);
}

/* ---- namespaces ---- */

#define CHECK(condition)                                                                           \
	do                                                                                             \
	{                                                                                              \
		if (!(condition))                                                                          \
		{                                                                                          \
			fprintf(stderr, "%s:%d: %s\n", __func__, __LINE__, #condition);                        \
			_exit(1);                                                                              \
		}                                                                                          \
	} while (0)

#define SKIPPED 77

static void
write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	if (f)
	{
		fputs(text, f);
		fclose(f);
	}
}

/* The router's side: waits for its interface, configures, says so, and stays until the
 * test is gone. */
static void
router(int from_test, int to_test)
{
	char c = 0;

	CHECK(unshare(CLONE_NEWNET) == 0);
	CHECK(write(to_test, "n", 1) == 1 && read(from_test, &c, 1) == 1);
	CHECK(system(
	          "ip link set lo up && ip link set pb up && ip addr add 198.51.100.2/24 dev pb && "
	          "ip addr add 2001:db8::2/64 dev pb nodad && "
	          "ip route add prohibit 203.0.113.0/26 && ip route add unreachable 203.0.113.64/26 && "
	          "ip -6 route add prohibit 2001:db8:1::/64") == 0);
	write_file("/proc/sys/net/ipv4/ip_forward", "1");
	write_file("/proc/sys/net/ipv6/conf/all/forwarding", "1");
	write_file("/proc/sys/net/ipv4/icmp_ratelimit", "0");
	write_file("/proc/sys/net/ipv6/icmp/ratelimit", "0");
	CHECK(write(to_test, "r", 1) == 1);
	/* Ends with the test, which may have given up the right to send it a signal. */
	CHECK(read(from_test, &c, 1) == 0);
	_exit(0);
}

static pid_t
lab_open(void)
{
	int down[2], up[2];
	char c = 0, command[512];
	pid_t pid;

	if (unshare(CLONE_NEWNET) != 0)
		_exit(SKIPPED);
	CHECK(pipe(down) == 0 && pipe(up) == 0);
	pid = fork();
	if (pid == 0)
	{
		close(down[1]);
		close(up[0]);
		router(down[0], up[1]);
	}
	CHECK(read(up[0], &c, 1) == 1);
	snprintf(
	    command, sizeof(command),
	    "ip link set lo up && ip link add pa type veth peer name pb && ip link set pb netns %d && "
	    "ip link set pa up && ip addr add 198.51.100.1/24 dev pa && "
	    "ip addr add 2001:db8::1/64 dev pa nodad && ip route add default via 198.51.100.2 && "
	    "ip -6 route add default via 2001:db8::2 && "
	    "ip neigh add 198.51.100.99 lladdr 02:00:00:00:00:99 dev pa",
	    (int) pid);
	CHECK(system(command) == 0);
	CHECK(write(down[1], "g", 1) == 1 && read(up[0], &c, 1) == 1);
	return pid;
}

static void
in_child(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
	{
		alarm(60);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
expect(struct rig *rig, const char *target, const char *error_type, const char *from)
{
	static const char *const params[] = {"count", "2", "interval_ms", "5", NULL};

	CHECK(rig_run(rig, "icmp", target, 400, params));
	if (strcmp(error_type_name(rig->result.error_type), error_type) != 0)
		fprintf(stderr, "%s: %s, not %s: %s\n", target, error_type_name(rig->result.error_type),
		        error_type, rig->result.error);
	CHECK(strcmp(error_type_name(rig->result.error_type), error_type) == 0);
	CHECK(strcmp(rig_attribute(rig, "probectl.icmp.error.from"), from) == 0);
}

static void
lab_body(void)
{
	struct rig rig;
	pid_t pid = lab_open();

	rig_open(&rig);
	expect(&rig, "198.51.100.2", "", "");
	expect(&rig, "2001:db8::2", "", "");
	/* An error answers every packet: the run does not wait for its timeout. */
	expect(&rig, "203.0.113.1", "admin_prohibited", "198.51.100.2");
	CHECK(rig.result.duration_nano < 300 * 1000000LL);
	expect(&rig, "203.0.113.65", "host_unreachable", "198.51.100.2");
	expect(&rig, "203.0.113.129", "net_unreachable", "198.51.100.2");
	expect(&rig, "2001:db8:1::1", "admin_prohibited", "2001:db8::2");
	expect(&rig, "2001:db8:2::1", "net_unreachable", "2001:db8::2");
	expect(&rig, "198.51.100.99", "no_reply", "");
	CHECK(rig_metric(&rig, "loss.ratio") == 1);
	/* The whole timeout, less the loop's rounding to whole milliseconds. */
	CHECK(rig.result.duration_nano >= (400 - 2) * 1000000LL);
	rig_close(&rig);
	rig_stop(pid);
}

static void
test_router_errors(void **state)
{
	in_child(lab_body);
}

/* Without privileges, and with a group that may open ping sockets. */
static void
ping_body(void)
{
	struct rig rig;

	lab_open();
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	rig_open(&rig);
	CHECK(rig.env.icmp4_fd >= 0 && !rig.env.icmp4_raw);
	CHECK(rig.env.icmp6_fd >= 0 && !rig.env.icmp6_raw);
	expect(&rig, "127.0.0.1", "", "");
	CHECK(strcmp(rig_attribute(&rig, "probectl.icmp.mode"), "ping") == 0);
	expect(&rig, "::1", "", "");
	expect(&rig, "203.0.113.1", "admin_prohibited", "198.51.100.2");
	expect(&rig, "203.0.113.65", "host_unreachable", "198.51.100.2");
	expect(&rig, "2001:db8:1::1", "admin_prohibited", "2001:db8::2");
	expect(&rig, "198.51.100.2", "", "");
	rig_close(&rig);
}

static void
test_ping_sockets(void **state)
{
	in_child(ping_body);
}

/* Neither: a result that says what to do. */
static void
forbidden_body(void)
{
	struct rig rig;

	if (unshare(CLONE_NEWNET) != 0)
		_exit(SKIPPED);
	write_file("/proc/sys/net/ipv4/ping_group_range", "1 0");
	CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	rig_open(&rig);
	CHECK(rig.env.icmp4_fd < 0);
	expect(&rig, "127.0.0.1", "local_fault", "");
	CHECK(strstr(rig.result.error, "CAP_NET_RAW") != NULL);
	rig_close(&rig);
}

static void
test_no_permission(void **state)
{
	in_child(forbidden_body);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),
	    cmocka_unit_test(test_reply),
	    cmocka_unit_test(test_errors4),
	    cmocka_unit_test(test_errors6),
	    cmocka_unit_test(test_copies),
	    cmocka_unit_test(test_filter),
	    cmocka_unit_test(test_the_pings_of_others_wake_nobody),
	    cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_loopback),
	    cmocka_unit_test(test_loopback_ipv6),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_many_runs_at_once),
	    cmocka_unit_test(test_own_overflow_is_told),
	    cmocka_unit_test(test_duplicates_and_reordering),
	    cmocka_unit_test(test_a_late_packet_is_told),
	    cmocka_unit_test(test_stepped_clock_makes_no_latency),
	    cmocka_unit_test(test_router_errors),
	    cmocka_unit_test(test_ping_sockets),
	    cmocka_unit_test(test_no_permission),
	};

	return cmocka_run_group_tests_name("icmp", tests, NULL, NULL);
}
