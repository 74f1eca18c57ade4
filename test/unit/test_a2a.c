/* SPDX-License-Identifier: PostgreSQL
 *
 * test_a2a.c -- the a2a canary against our reflector, on loopback and between namespaces, and the sessions
 * the control plane brokers.
 *
 * On loopback canary and reflector share a loop. Between namespaces the reflector is a process of its own:
 *
 *   198.51.100.1  pa ===== pb  198.51.100.2
 *   2001:db8::1                2001:db8::2
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>

#include "agent/a2a/a2a.h"
#include "agent/a2a/reflector.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define TEST_ID    "00000000-0000-4000-8000-000000000001" /* of rig_spec */
#define SESSION_ID "00000000-0000-4000-8000-0000000000aa"
#define OTHER_ID   "00000000-0000-4000-8000-0000000000bb"
#define PEER_ID    "00000000-0000-4000-8000-0000000000cc"

static const uint8_t token[A2A_TOKEN_BYTES] = "sixteen octets!";
static const char *const quick[] = {"count", "10", "interval_ms", "1", NULL};

/* ---- parameters ---- */

static void
test_parameters(void **state)
{
	static const struct
	{
		const char *target, *key, *value, *complaint;
	} cases[] = {
	    {"host:862", "count", "0", "1 to 100"},
	    {"host:862", "count", "101", "1 to 100"},
	    {"host:862", "payload_bytes", "43", "44 to 9000"},
	    {"agent", "payload_bytes", "63", "64 at least"},
	    {"host:862", "dscp", "64", "0 to 63"},
	    {"host:862", "mode", "forever", "round or continuous"},
	    {"host:862", "port", "863", "target says 862"},
	    {"host:862", "interval_ms", "400", "half of the timeout"},
	    {"host:0", NULL, NULL, "port"},
	    {"2001:db8::1", NULL, NULL, "[address]:port"},
	    {"host:862", "Count", "1", "unknown"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		assert_false(rig_run(&rig, "a2a", cases[i].target, 1000, params));
		if (strstr(rig.err, cases[i].complaint) == NULL)
			print_error("case %zu: %s\n", i, rig.err);
		assert_non_null(strstr(rig.err, cases[i].complaint));
	}
	rig_close(&rig);
}

static void
test_prefixes(void **state)
{
	struct reflector_prefix prefixes[3];
	struct sockaddr_storage addr;
	socklen_t len;
	char err[128];

	assert_int_equal(
	    reflector_prefixes_parse("192.0.2.0/24, 2001:db8::/33,198.51.100.7", prefixes, 3, err, 128),
	    3);
	assert_int_equal(prefixes[0].bits, 24);
	assert_int_equal(prefixes[1].bits, 33);
	assert_int_equal(prefixes[1].family, AF_INET6);
	assert_int_equal(prefixes[2].bits, 32);
	assert_int_equal(reflector_prefixes_parse("", prefixes, 3, err, 128), 0);
	assert_int_equal(
	    reflector_prefixes_parse("1.2.3.4 1.2.3.4 1.2.3.4 1.2.3.4", prefixes, 3, err, 128), -1);
	assert_int_equal(reflector_prefixes_parse("192.0.2.0/33", prefixes, 3, err, 128), -1);
	assert_int_equal(reflector_prefixes_parse("192.0.2.0/", prefixes, 3, err, 128), -1);
	assert_int_equal(reflector_prefixes_parse("example.net/8", prefixes, 3, err, 128), -1);
	assert_true(reflector_address_parse("[::1]:862", &addr, &len, err, 128));
	assert_int_equal(addr.ss_family, AF_INET6);
	assert_true(reflector_address_parse("0.0.0.0:0", &addr, &len, err, 128));
	assert_false(reflector_address_parse("::1:862", &addr, &len, err, 128));
	assert_false(reflector_address_parse("localhost:862", &addr, &len, err, 128));
	assert_false(reflector_address_parse("127.0.0.1:65536", &addr, &len, err, 128));
	assert_false(reflector_address_parse("127.0.0.1", &addr, &len, err, 128));
}

/* ---- loopback ---- */

static struct reflector *
reflector_at(struct rig *rig, const char *listen, const char *allow, int64_t rate, char target[64])
{
	struct reflector_prefix prefixes[4];
	struct sockaddr_storage addr;
	struct reflector *r;
	char err[256];
	socklen_t len;
	int count;

	assert_true(reflector_address_parse(listen, &addr, &len, err, sizeof(err)));
	r = reflector_open(rig->base, &addr, len, rate, err, sizeof(err));
	assert_non_null(r);
	count = reflector_prefixes_parse(allow, prefixes, 4, err, sizeof(err));
	assert_true(count >= 0);
	reflector_allow(r, prefixes, (size_t) count);
	snprintf(target, 64, "%.*s:%u", (int) (strrchr(listen, ':') - listen), listen,
	         reflector_port(r));
	return r;
}

static void
check_round(struct rig *rig, uint32_t count)
{
	rig_expect(rig, "");
	assert_true(rig_metric(rig, "packets.sent") == count);
	assert_true(rig_metric(rig, "packets.received") == count);
	assert_true(rig_metric(rig, "loss.ratio") == 0);
	assert_true(rig_metric(rig, "forward.loss.ratio") == 0);
	assert_true(rig_metric(rig, "reverse.loss.ratio") == 0);
	assert_true(rig_metric(rig, "packets.duplicates") == 0);
	assert_true(rig_metric(rig, "rtt.min.ms") >= 0);
	assert_true(rig_metric(rig, "rtt.max.ms") < 1000);
	/* one clock: the truth is no offset, and it is within what is said */
	assert_string_equal(rig_attribute(rig, "probectl.a2a.oneway"), "absolute");
	assert_true(fabs(rig_metric(rig, "clock.offset.ms")) <=
	            rig_metric(rig, "clock.uncertainty.ms"));
	assert_true(rig_metric(rig, "forward.min.ms") >= 0);
	assert_true(rig_metric(rig, "forward.max.ms") < 1000);
	assert_true(rig_metric(rig, "reverse.min.ms") >= 0);
	assert_string_equal(rig_attribute(rig, "probectl.a2a.reflector.mode"), "stateful");
	assert_string_equal(rig_attribute(rig, "probectl.a2a.forward.ttl"), "255");
	assert_string_equal(rig_attribute(rig, "probectl.a2a.reverse.ttl"), "255");
}

static void
test_loopback(void **state)
{
	static const char *const listens[] = {"127.0.0.1:0", "[::1]:0"};
	struct reflector *r;
	char target[64];
	struct rig rig;

	for (size_t i = 0; i < 2; i++)
	{
		rig_open(&rig);
		r = reflector_at(&rig, listens[i], "127.0.0.0/8 ::1", 10000, target);
		assert_true(rig_run(&rig, "a2a", target, 5000, quick));
		check_round(&rig, 10);
		assert_string_equal(rig_attribute(&rig, "probectl.a2a.timestamps"), "kernel");
		assert_string_equal(rig_attribute(&rig, "probectl.a2a.reflector.timestamps"), "kernel");
		reflector_close(r);
		rig_close(&rig);
	}
}

static void
test_sizes(void **state)
{
	static const char *const sizes[] = {"44", "47", "48", "64", "68", "88", "1400", "9000"};
	struct reflector *r;
	char target[64];
	struct rig rig;

	rig_open(&rig);
	r = reflector_at(&rig, "127.0.0.1:0", "127.0.0.0/8", 10000, target);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		const char *params[] = {"count",  "3",    "interval_ms", "1", "payload_bytes",
		                        sizes[i], "dscp", "46",          NULL};

		assert_true(rig_run(&rig, "a2a", target, 5000, params));
		rig_expect(&rig, "");
		assert_true(rig_metric(&rig, "packets.received") == 3);
		/* a packet without room for the follow-up is measured all the same */
		assert_string_equal(rig_attribute(&rig, "probectl.a2a.reflector.timestamps"),
		                    i < 3 ? "packet" : "kernel");
	}
	reflector_close(r);
	rig_close(&rig);
}

/* Packets are spread over the timeout, less what the last reply needs. */
static void
test_continuous(void **state)
{
	static const char *const params[] = {"mode", "continuous", "count", "9", NULL};
	struct reflector *r;
	char target[64];
	struct rig rig;

	rig_open(&rig);
	r = reflector_at(&rig, "127.0.0.1:0", "127.0.0.0/8", 10000, target);
	assert_true(rig_run(&rig, "a2a", target, 400, params));
	rig_expect(&rig, "");
	assert_true(rig.result.duration_nano >= 250 * 1000000LL);
	assert_string_equal(rig_attribute(&rig, "probectl.a2a.mode"), "continuous");
	reflector_close(r);
	rig_close(&rig);
}

static void
test_strangers_get_nothing(void **state)
{
	struct reflector *r;
	char target[64];
	struct rig rig;

	rig_open(&rig);
	r = reflector_at(&rig, "127.0.0.1:0", "127.0.0.2/31, ::/0", 10000, target);
	assert_true(rig_run(&rig, "a2a", target, 300, quick));
	rig_expect(&rig, "no_reply");
	assert_true(isnan(rig_metric(&rig, "forward.loss.ratio"))); /* of either direction */
	reflector_close(r);
	rig_close(&rig);
}

static void
test_rate(void **state)
{
	static const char *const params[] = {"count", "100", "interval_ms", "1", NULL};
	struct reflector *r;
	char target[64];
	struct rig rig;

	rig_open(&rig);
	r = reflector_at(&rig, "127.0.0.1:0", "127.0.0.0/8", 1, target);
	assert_true(rig_run(&rig, "a2a", target, 600, params));
	rig_expect(&rig, "");
	/* the bucket holds eight, and one more comes each second */
	assert_true(rig_metric(&rig, "packets.received") >= 8);
	assert_true(rig_metric(&rig, "packets.received") <= 20);
	reflector_close(r);
	rig_close(&rig);
}

static void
test_failures(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	socklen_t len = sizeof(addr);
	char target[64];
	struct rig rig;

	rig_open(&rig);
	assert_int_equal(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &addr, &len), 0);
	snprintf(target, sizeof(target), "127.0.0.1:%u", ntohs(addr.sin_port));
	assert_true(rig_run(&rig, "a2a", target, 200, quick)); /* a hole */
	rig_expect(&rig, "no_reply");
	close(fd);
	assert_true(rig_run(&rig, "a2a", target, 200, quick)); /* nobody */
	rig_expect(&rig, "connect_refused");
	assert_true(rig_metric(&rig, "packets.sent") == 10); /* a refusal ends nothing */
	rig.guarded = true;
	assert_true(rig_run(&rig, "a2a", target, 200, quick));
	rig_expect(&rig, "guard_denied");
	rig.guarded = false;
	assert_true(rig_run(&rig, "a2a", "an agent", 200, NULL));
	rig_expect(&rig, "config_error");
	rig_close(&rig);
}

/* ---- sessions ---- */

struct offer
{
	Probectl__Agent__V1__MeetTask__Role role;
	const char *session_id;
	const char *hosts[2];
	uint32_t port;
};

/* What the control plane would answer; milliseconds as of meet_told. */
static int64_t
tell(struct meet *meet, const struct offer *offers, size_t count)
{
	Probectl__Agent__V1__MeetResponse response = PROBECTL__AGENT__V1__MEET_RESPONSE__INIT;
	Probectl__Agent__V1__MeetTasks tasks = PROBECTL__AGENT__V1__MEET_TASKS__INIT;
	Probectl__Agent__V1__MeetTask task[4], *list[4];
	uint8_t inner[2048], outer[4096];

	for (size_t i = 0; i < count; i++)
	{
		probectl__agent__v1__meet_task__init(&task[i]);
		task[i].role = offers[i].role;
		task[i].session_id = (char *) offers[i].session_id;
		task[i].test_id = TEST_ID;
		task[i].peer_agent_id = PEER_ID;
		task[i].token = (ProtobufCBinaryData){A2A_TOKEN_BYTES, (uint8_t *) token};
		task[i].hosts = (char **) offers[i].hosts;
		task[i].n_hosts = (offers[i].hosts[0] != NULL) + (offers[i].hosts[1] != NULL);
		task[i].port = offers[i].port;
		list[i] = &task[i];
	}
	tasks.tasks = list;
	tasks.n_tasks = count;
	response.revision = 7;
	response.tasks.data = inner;
	response.tasks.len = probectl__agent__v1__meet_tasks__pack(&tasks, inner);
	return meet_told(meet, outer, probectl__agent__v1__meet_response__pack(&response, outer));
}

static Probectl__Agent__V1__MeetRequest *
ask(struct meet *meet)
{
	Probectl__Agent__V1__MeetRequest *request;
	size_t len;
	uint8_t *bytes = meet_ask(meet, 25, "127.0.0.1", &len);

	request = probectl__agent__v1__meet_request__unpack(NULL, len, bytes);
	free(bytes);
	assert_non_null(request);
	return request;
}

static struct meet *
meet_open(struct rig *rig)
{
	const struct meet_options options = {.base = rig->base, .listen = "127.0.0.1:0", .rate = 10000};
	char err[256];
	struct meet *meet = meet_new(&options, err, sizeof(err));

	assert_non_null(meet);
	return meet;
}

#define RESPONDER                                                                                  \
	{                                                                                              \
		PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_RESPONDER, OTHER_ID, {NULL, NULL}, 0            \
	}

/* One agent plays both: it answers a session, and another of the same token is its own test. */
static void
test_session(void **state)
{
	static const struct offer answers[] = {RESPONDER};
	Probectl__Agent__V1__MeetRequest *request;
	uint32_t port;
	struct rig rig;

	rig_open(&rig);
	rig.env.meet = meet_open(&rig);
	/* nobody to answer, so no port is open and none is reported */
	request = ask(rig.env.meet);
	assert_string_equal(request->host, "");
	assert_int_equal(request->port, 0);
	assert_int_equal(request->known_revision, 0);
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
	assert_true(tell(rig.env.meet, answers, 1) == MEET_SOON_MS);
	request = ask(rig.env.meet);
	assert_string_equal(request->host, "127.0.0.1");
	assert_true(request->port > 0);
	assert_int_equal(request->known_revision, 7);
	assert_int_equal(request->n_session_ids, 1);
	assert_string_equal(request->session_ids[0], OTHER_ID);
	port = request->port;
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
	{
		const struct offer both[] = {
		    RESPONDER,
		    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
		     SESSION_ID,
		     {"127.0.0.1", NULL},
		     port},
		};

		assert_true(tell(rig.env.meet, both, 2) == MEET_SOON_MS);
	}
	assert_true(rig_run(&rig, "a2a", "the-other", 5000, quick));
	check_round(&rig, 10);
	assert_string_equal(rig_attribute(&rig, "probectl.a2a.session_id"), SESSION_ID);
	assert_string_equal(rig_attribute(&rig, "probectl.a2a.peer_agent_id"), PEER_ID);
	assert_string_equal(rig.result.server_address, "the-other");
	/* the session ends: whoever has the token gets nothing any more */
	{
		const struct offer mine[] = {
		    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
		     SESSION_ID,
		     {"127.0.0.1", NULL},
		     port},
		};

		assert_true(tell(rig.env.meet, mine, 1) == MEET_SOON_MS);
	}
	assert_true(rig_run(&rig, "a2a", "the-other", 200, quick));
	rig_expect(&rig, "connect_refused");
	meet_free(rig.env.meet);
	rig_close(&rig);
}

static void
on_tell(evutil_socket_t fd, short what, void *arg)
{
	static const struct offer answers[] = {RESPONDER};
	struct rig *rig = arg;
	Probectl__Agent__V1__MeetRequest *request;

	tell(rig->env.meet, answers, 1);
	request = ask(rig->env.meet);
	{
		const struct offer both[] = {
		    RESPONDER,
		    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
		     SESSION_ID,
		     {"127.0.0.1", NULL},
		     request->port},
		};

		tell(rig->env.meet, both, 2);
	}
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
}

/* A run begins when its session is there; without one it says that the other agent is away. */
static void
test_session_comes_later(void **state)
{
	static const struct offer silent[] = {
	    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR, SESSION_ID, {NULL, NULL}, 0}};
	struct timeval tv = {0, 20000};
	struct event *later;
	struct rig rig;

	rig_open(&rig);
	rig.env.meet = meet_open(&rig);
	assert_true(rig_run(&rig, "a2a", "the-other", 100, NULL));
	rig_expect(&rig, "peer_unavailable");
	assert_true(tell(rig.env.meet, silent, 1) == MEET_SOON_MS);
	assert_true(rig_run(&rig, "a2a", "the-other", 100, NULL));
	rig_expect(&rig, "peer_unavailable");
	later = evtimer_new(rig.base, on_tell, &rig);
	evtimer_add(later, &tv);
	assert_true(rig_run(&rig, "a2a", "the-other", 5000, quick));
	check_round(&rig, 10);
	event_free(later);
	meet_free(rig.env.meet);
	rig_close(&rig);
}

/* Behind a NAT two addresses are told: when the likelier gives no answer, the other is next. */
static void
test_second_host(void **state)
{
	static const struct offer answers[] = {RESPONDER};
	Probectl__Agent__V1__MeetRequest *request;
	struct rig rig;

	rig_open(&rig);
	rig.env.meet = meet_open(&rig);
	assert_true(tell(rig.env.meet, answers, 1) == MEET_SOON_MS);
	request = ask(rig.env.meet);
	for (int i = 0; i < 2; i++)
	{
		const struct offer both[] = {
		    RESPONDER,
		    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
		     SESSION_ID,
		     {"127.0.0.9", "127.0.0.1"},
		     request->port},
		};

		assert_true(tell(rig.env.meet, both, 2) == MEET_SOON_MS); /* told again, the turn stays */
		assert_true(rig_run(&rig, "a2a", "the-other", i == 0 ? 200 : 5000, quick));
		if (i == 0)
			rig_expect(&rig, "connect_refused");
		else
			check_round(&rig, 10);
	}
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
	meet_free(rig.env.meet);
	rig_close(&rig);
}

/* A reflector on all addresses is where the link is: what is reported can be reached. */
static void
test_family_of_the_link(void **state)
{
	static const struct offer answers[] = {RESPONDER};
	struct meet_options options = {.listen = "0.0.0.0:0", .rate = 10000};
	Probectl__Agent__V1__MeetRequest *request;
	uint8_t *bytes;
	char err[256];
	size_t len;
	struct rig rig;

	rig_open(&rig);
	options.base = rig.base;
	rig.env.meet = meet_new(&options, err, sizeof(err));
	assert_non_null(rig.env.meet);
	assert_true(tell(rig.env.meet, answers, 1) == MEET_SOON_MS);
	bytes = meet_ask(rig.env.meet, 25, "::1", &len);
	request = probectl__agent__v1__meet_request__unpack(NULL, len, bytes);
	free(bytes);
	assert_string_equal(request->host, "::1");
	{
		const struct offer both[] = {
		    RESPONDER,
		    {PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
		     SESSION_ID,
		     {"::1", NULL},
		     request->port},
		};

		assert_true(tell(rig.env.meet, both, 2) == MEET_SOON_MS);
	}
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
	assert_true(rig_run(&rig, "a2a", "the-other", 5000, quick));
	check_round(&rig, 10);
	meet_free(rig.env.meet);
	rig_close(&rig);
}

static void
test_bad_tasks(void **state)
{
	static const struct offer bad[][1] = {
	    {{PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR, "no uuid", {NULL, NULL}, 0}},
	    {{PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_RESPONDER, "", {NULL, NULL}, 0}},
	    {{PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR,
	      SESSION_ID,
	      {"127.0.0.1", NULL},
	      65536}},
	    {{PROBECTL__AGENT__V1__MEET_TASK__ROLE__ROLE_INITIATOR, SESSION_ID, {NULL, NULL}, 862}},
	};
	static const struct offer good[] = {RESPONDER};
	Probectl__Agent__V1__MeetRequest *request;
	struct rig rig;

	rig_open(&rig);
	rig.env.meet = meet_open(&rig);
	assert_true(tell(rig.env.meet, good, 1) == MEET_SOON_MS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(tell(rig.env.meet, bad[i], 1) == -1);
	assert_true(meet_told(rig.env.meet, (const uint8_t *) "\xff\xff", 2) == -1);
	request = ask(rig.env.meet); /* what was good stays */
	assert_int_equal(request->n_session_ids, 1);
	probectl__agent__v1__meet_request__free_unpacked(request, NULL);
	meet_free(rig.env.meet);
	rig_close(&rig);
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
on_parent_gone(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(arg);
}

/* The other end: a namespace of its own, an interface of the pair, a reflector until the test is gone. */
static void
far_end(int from_test, int to_test)
{
	struct event_base *base;
	struct reflector_prefix prefixes[2];
	struct sockaddr_storage addr;
	struct reflector *r4, *r6;
	char c = 0, err[256];
	struct event *end;
	socklen_t len;

	CHECK(unshare(CLONE_NEWNET) == 0);
	CHECK(write(to_test, "n", 1) == 1 && read(from_test, &c, 1) == 1);
	CHECK(system("ip link set lo up && ip link set pb up && ip addr add 198.51.100.2/24 dev pb && "
	             "ip addr add 2001:db8::2/64 dev pb nodad") == 0);
	base = event_base_new();
	CHECK(base);
	CHECK(reflector_prefixes_parse("198.51.100.0/24 2001:db8::/64", prefixes, 2, err,
	                               sizeof(err)) == 2);
	CHECK(reflector_address_parse("0.0.0.0:862", &addr, &len, err, sizeof(err)));
	r4 = reflector_open(base, &addr, len, 100000, err, sizeof(err));
	CHECK(reflector_address_parse("[::]:862", &addr, &len, err, sizeof(err)));
	r6 = reflector_open(base, &addr, len, 100000, err, sizeof(err));
	CHECK(r4 && r6);
	reflector_allow(r4, prefixes, 2);
	reflector_allow(r6, prefixes, 2);
	end = event_new(base, from_test, EV_READ, on_parent_gone, base);
	CHECK(end && event_add(end, NULL) == 0);
	CHECK(write(to_test, "r", 1) == 1);
	event_base_dispatch(base);
	event_free(end);
	reflector_close(r4);
	reflector_close(r6);
	event_base_free(base);
	_exit(0);
}

/* ---- how far delays of one direction are from what passed the interfaces ----
 *
 * Packet taps on both interfaces say when a packet left one and came to the other. The kernel stamps them on a
 * way of its own, so they judge what the canary says. Figures are printed; a machine that is busy fails nobody. */

#define ROUNDS  5
#define PACKETS 100

struct taps
{
	int fds[2]; /* near, far */
	int64_t forward[2][PACKETS],
	    reverse[2][PACKETS]; /* when a packet left and came, by its number; 0: not seen */
};

struct measured
{
	struct canary_run *run; /* NULL when it is over */
	struct track track;     /* as last seen */
	struct event_base *base;
};

static int
tap_open(const char *interface)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ALL)), on = 1,
	    size = 4 << 20;

	CHECK(fd >= 0);
	addr.sll_ifindex = (int) if_nametoindex(interface);
	CHECK(addr.sll_ifindex > 0 && bind(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) == 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static int
tap_open_far(pid_t pid)
{
	char path[64];
	int own = open("/proc/self/ns/net", O_RDONLY), far, fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pid);
	far = open(path, O_RDONLY);
	CHECK(own >= 0 && far >= 0 && setns(far, CLONE_NEWNET) == 0);
	fd = tap_open("pb");
	CHECK(setns(own, CLONE_NEWNET) == 0);
	close(own);
	close(far);
	return fd;
}

static void
tap_packet(struct taps *taps, int side, const uint8_t *p, ssize_t n, int64_t at, bool outgoing)
{
	uint32_t number;

	if (n < 28 + A2A_BASE || p[0] != 0x45 || p[9] != IPPROTO_UDP)
		return;
	if ((p[22] << 8 | p[23]) == 862)
	{
		memcpy(&number, p + 28, 4);
		if (ntohl(number) < PACKETS && outgoing == (side == 0))
			taps->forward[side == 0 ? 0 : 1][ntohl(number)] = at;
	}
	else if ((p[20] << 8 | p[21]) == 862)
	{
		memcpy(&number, p + 28 + 24, 4);
		if (ntohl(number) < PACKETS && outgoing == (side == 1))
			taps->reverse[side == 1 ? 0 : 1][ntohl(number)] = at;
	}
}

static void
taps_read(struct taps *taps)
{
	for (int side = 0; side < 2; side++)
		for (;;)
		{
			uint8_t data[256];
			char control[256];
			struct sockaddr_ll from;
			struct timespec ts = {0};
			struct iovec vector = {data, sizeof(data)};
			struct msghdr message = {.msg_name = &from,
			                         .msg_namelen = sizeof(from),
			                         .msg_iov = &vector,
			                         .msg_iovlen = 1,
			                         .msg_control = control,
			                         .msg_controllen = sizeof(control)};
			ssize_t n = recvmsg(taps->fds[side], &message, MSG_DONTWAIT);

			if (n < 0)
				break;
			for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
				if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
					memcpy(&ts, CMSG_DATA(c), sizeof(ts));
			tap_packet(taps, side, data, n, (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec,
			           from.sll_pkttype == PACKET_OUTGOING);
		}
}

static void
measured_done(const struct result *result, void *arg)
{
	struct measured *m = arg;

	CHECK(result->success);
	m->run = NULL;
	event_base_loopbreak(m->base);
}

static void
measured_look(evutil_socket_t fd, short what, void *arg)
{
	struct measured *m = arg;

	if (m->run)
		m->track = m->run->track;
}

static int
compare_errors(const void *a, const void *b)
{
	int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static void
print_errors(const char *direction, int64_t *errors, size_t count)
{
	CHECK(count > 0);
	qsort(errors, count, sizeof(*errors), compare_errors);
	print_message(
	    "one-way delay error %s: p50 %.1f us, p99 %.1f us, largest %.1f us of %zu packets\n",
	    direction, (double) errors[count / 2] / 1e3, (double) errors[count * 99 / 100] / 1e3,
	    (double) errors[count - 1] / 1e3, count);
}

static void
measure(struct rig *rig, pid_t far)
{
	static const char *const params[] = {"count", "100", "interval_ms", "2", NULL};
	static const struct timeval look = {0, 500};
	static int64_t forward[ROUNDS * PACKETS], reverse[ROUNDS * PACKETS];
	struct taps taps = {.fds = {tap_open("pa"), tap_open_far(far)}};
	size_t forwards = 0, reverses = 0;
	struct measured m = {.base = rig->base};
	struct event *looking = event_new(rig->base, -1, EV_PERSIST, measured_look, &m);
	void *cmd;

	rig_spec(rig, "a2a", "198.51.100.2:862", 5000, params);
	CHECK(canary_a2a.cmd_parse(&rig->spec, &cmd, rig->err, sizeof(rig->err)));
	event_add(looking, &look);
	for (int round = 0; round < ROUNDS; round++)
	{
		memset(taps.forward, 0, sizeof(taps.forward));
		memset(taps.reverse, 0, sizeof(taps.reverse));
		m.run = canary_a2a.start(&rig->env, &rig->spec, cmd, measured_done, &m);
		CHECK(m.run);
		event_base_dispatch(rig->base);
		taps_read(&taps);
		for (uint32_t i = 0; i < m.track.reply_count; i++)
		{
			const struct track_reply *r = &m.track.replies[i];
			const struct track_packet *p = &m.track.packets[r->number];
			const int64_t *left = taps.forward[0], *came = taps.forward[1];

			if (p->t1_source == TRACK_KERNEL && left[r->number] && came[r->number])
				forward[forwards++] = llabs(r->t2 - p->t1 - (came[r->number] - left[r->number]));
			left = taps.reverse[0];
			came = taps.reverse[1];
			if (r->t3_source == TRACK_KERNEL && r->t4_source == TRACK_KERNEL && left[r->number] &&
			    came[r->number])
				reverse[reverses++] = llabs(r->t4 - r->t3 - (came[r->number] - left[r->number]));
		}
	}
	print_errors("forward", forward, forwards);
	print_errors("reverse", reverse, reverses);
	canary_a2a.cmd_free(cmd);
	event_free(looking);
	close(taps.fds[0]);
	close(taps.fds[1]);
}

static void
near_end(void)
{
	static const char *const targets[] = {"198.51.100.2:862", "[2001:db8::2]:862"};
	int to_far[2], from_far[2];
	char c = 0, command[128];
	struct rig rig;
	pid_t pid;

	if (unshare(CLONE_NEWNET) != 0 || system("ip link show lo >/dev/null 2>&1") != 0)
		_exit(SKIPPED);
	CHECK(pipe(to_far) == 0 && pipe(from_far) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
	{
		close(to_far[1]);
		far_end(to_far[0], from_far[1]);
	}
	CHECK(read(from_far[0], &c, 1) == 1);
	snprintf(command, sizeof(command), "ip link add pa type veth peer name pb netns %d 2>/dev/null",
	         (int) pid);
	if (system(command) != 0)
		_exit(SKIPPED);
	CHECK(system("ip link set lo up && ip link set pa up && ip addr add 198.51.100.1/24 dev pa && "
	             "ip addr add 2001:db8::1/64 dev pa nodad") == 0);
	CHECK(write(to_far[1], "g", 1) == 1 && read(from_far[0], &c, 1) == 1);
	for (size_t i = 0; i < 2; i++)
	{
		rig_open(&rig);
		CHECK(rig_run(&rig, "a2a", targets[i], 5000, quick));
		if (rig.result.error_type != ERROR_NONE)
			fprintf(stderr, "%s\n", rig.result.error);
		CHECK(rig.result.error_type == ERROR_NONE);
		CHECK(rig_metric(&rig, "packets.received") == 10);
		CHECK(rig_metric(&rig, "forward.loss.ratio") == 0 &&
		      rig_metric(&rig, "reverse.loss.ratio") == 0);
		CHECK(strcmp(rig_attribute(&rig, "probectl.a2a.timestamps"), "kernel") == 0);
		CHECK(strcmp(rig_attribute(&rig, "probectl.a2a.reflector.timestamps"), "kernel") == 0);
		CHECK(strcmp(rig_attribute(&rig, "probectl.a2a.oneway"), "absolute") == 0);
		/* one machine, one clock: no offset */
		CHECK(fabs(rig_metric(&rig, "clock.offset.ms")) <=
		      rig_metric(&rig, "clock.uncertainty.ms"));
		rig_close(&rig);
	}
	rig_open(&rig);
	measure(&rig, pid);
	rig_close(&rig);
	close(to_far[1]);
	CHECK(waitpid(pid, NULL, 0) == pid);
	_exit(0);
}

static void
test_namespaces(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		near_end();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parameters),  cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_loopback),    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_continuous),  cmocka_unit_test(test_strangers_get_nothing),
	    cmocka_unit_test(test_rate),        cmocka_unit_test(test_failures),
	    cmocka_unit_test(test_session),     cmocka_unit_test(test_session_comes_later),
	    cmocka_unit_test(test_second_host), cmocka_unit_test(test_family_of_the_link),
	    cmocka_unit_test(test_bad_tasks),   cmocka_unit_test(test_namespaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
