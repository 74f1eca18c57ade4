/* SPDX-License-Identifier: PostgreSQL
 *
 * test_a2a_wire.c -- STAMP packets in hex, field by field (RFC 8762, RFC 8972).
 */
#include "unit.h"

#include "agent/a2a/wire.h"

/* 2026-11-21 22:13:20.5 UTC: 1795299200.5 s since 1970, 4004288000.5 s since 1900. */
#define WHEN   INT64_C(1795299200500000000)
#define T1_NTP 0xee, 0xac, 0x96, 0x00, 0x80, 0x00, 0x00, 0x00
#define T1_PTP 0x6b, 0x02, 0x17, 0x80, 0x1d, 0xcd, 0x65, 0x00
#define TOKEN                                                                                      \
	0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf
#define ZEROS_4 0, 0, 0, 0

static const uint8_t token[] = {TOKEN};

static void
check(const struct buf *buf, const uint8_t *expected, size_t len)
{
	assert_false(buf->failed);
	assert_int_equal(buf->len, len);
	for (size_t i = 0; i < len; i++)
		if (buf->data[i] != expected[i])
			print_error("octet %zu is %02x, not %02x\n", i, buf->data[i], expected[i]);
	assert_memory_equal(buf->data, expected, len);
}

static void
test_times(void **state)
{
	static const int64_t times[] = {WHEN,
	                                0,
	                                1,
	                                999999999,
	                                WHEN + 1,
	                                WHEN + 499999999,
	                                INT64_C(2085978496) * 1000000000 + 7,
	                                INT64_C(4294967296) * 1000000000 + 123456789};

	assert_true(a2a_time_write(WHEN, false) == 0xeeac960080000000);
	assert_true(a2a_time_write(WHEN, true) == 0x6b0217801dcd6500);
	/* NTP seconds start anew in 2036, PTP's and Unix's of 32 bits in 2106. */
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		for (int ptp = 0; ptp < 2; ptp++)
		{
			uint64_t raw = a2a_time_write(times[i], ptp);

			assert_true(a2a_time_read(raw, ptp, times[i] + INT64_C(86400000000000)) == times[i]);
			assert_true(
			    a2a_time_read(raw, ptp, times[i] - INT64_C(86400000000000) < 0 ? 0 : times[i]) ==
			    times[i]);
		}
	/* more nanoseconds than a second has */
	assert_true(a2a_time_read(0x6b021780ffffffff, true, WHEN) == INT64_C(1795299200999999999));
}

static void
test_estimates(void **state)
{
	static const struct
	{
		int64_t nano;
		bool synchronized, ptp;
		uint16_t raw;
	} cases[] = {
	    {1, false, false, 0x0005},         /* 5 * 2^-32 s is the least that is not less than 1 ns */
	    {1000, false, false, 0x0587},      /* 135 * 2^5 units */
	    {1000, true, true, 0xc587},        /* S and Z */
	    {1000000000, true, false, 0x9980}, /* a second: 128 * 2^25 units */
	};
	struct a2a_estimate estimate;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		estimate = (struct a2a_estimate){cases[i].synchronized, cases[i].ptp, cases[i].nano};
		assert_int_equal(a2a_estimate_write(&estimate), cases[i].raw);
		estimate = a2a_estimate_read(cases[i].raw);
		assert_int_equal(estimate.synchronized, cases[i].synchronized);
		assert_int_equal(estimate.ptp, cases[i].ptp);
		assert_true(estimate.nano >= cases[i].nano &&
		            estimate.nano <= cases[i].nano + cases[i].nano / 64 + 1);
	}
	assert_true(a2a_estimate_read(0x3fff).nano == INT64_MAX); /* 255 * 2^31 s */
	assert_true(a2a_estimate_read(0x1600).nano == INT64_MAX); /* without a multiplier */
	assert_true(a2a_estimate_read(0x1701).nano == 1953124);   /* 2^-9 s */
	for (int64_t nano = 1; nano < INT64_C(60000000000); nano = nano * 3 + 1)
	{
		estimate = (struct a2a_estimate){.nano = nano};
		estimate = a2a_estimate_read(a2a_estimate_write(&estimate));
		assert_true(estimate.nano >= nano && estimate.nano <= nano + nano / 64 + 1);
	}
}

static void
test_request(void **state)
{
	static const uint8_t bare[] = {
	    0x01,    0x02,    0x03,    0x04, /* sequence number */
	    T1_NTP,                          /* timestamp */
	    0x85,    0x87,                   /* error estimate: synchronised, NTP, 135 * 2^(5-32) s */
	    0xbe,    0xef,                   /* SSID */
	    ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4,
	};
	static const uint8_t tlvs[] = {
	    0x80, 252, 0, 16, TOKEN,                              /* of the session */
	    0x80, 7,   0, 16, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, /* follow-up */
	    0x80, 1,   0, 2,  0,       0,                         /* padding */
	};
	uint8_t whole[sizeof(bare) + sizeof(tlvs)];
	struct buf out = BUF_INIT(A2A_PACKET_MAX);
	struct a2a_request request = {.sequence = 0x01020304,
	                              .t1 = WHEN,
	                              .estimate = {true, false, 1000},
	                              .ssid = 0xbeef},
	                   seen;
	uint64_t raw;

	assert_int_equal(sizeof(bare), A2A_BASE);
	memcpy(whole, bare, sizeof(bare));
	memcpy(whole + sizeof(bare), tlvs, sizeof(tlvs));
	assert_true(a2a_request_write(&out, A2A_BASE, &request, &raw));
	check(&out, bare, sizeof(bare));
	assert_true(raw == 0xeeac960080000000);
	request.token = token;
	request.follow_up = true;
	assert_true(a2a_request_write(&out, sizeof(whole), &request, &raw));
	check(&out, whole, sizeof(whole));
	assert_true(a2a_request_read(out.data, out.len, WHEN, &seen));
	assert_int_equal(seen.sequence, 0x01020304);
	assert_true(seen.t1 == WHEN && seen.raw_t1 == raw);
	assert_true(seen.estimate.synchronized && !seen.estimate.ptp);
	assert_int_equal(seen.ssid, 0xbeef);
	assert_true(seen.follow_up);
	assert_ptr_equal(seen.token, out.data + A2A_BASE + 4);
	/* no room for the TLVs, or more than a packet may have */
	assert_false(a2a_request_write(&out, sizeof(bare) + 39, &request, &raw));
	assert_false(a2a_request_write(&out, A2A_PACKET_MAX + 1, &request, &raw));
	/* cut anywhere in its base, it is none; cut behind, its TLVs are not there */
	for (size_t n = 0; n < A2A_BASE; n++)
		assert_false(a2a_request_read(whole, n, WHEN, &seen));
	assert_true(a2a_request_read(whole, A2A_BASE + 19, WHEN, &seen));
	assert_null(seen.token);
	whole[13] = 0; /* the multiplier */
	assert_false(a2a_request_read(whole, sizeof(whole), WHEN, &seen));
	buf_free(&out);
}

static void
test_ptp_request(void **state)
{
	static const uint8_t packet[A2A_BASE] = {0, 0, 0, 1, T1_PTP, 0x45, 0x87};
	struct a2a_request seen;

	assert_true(a2a_request_read(packet, sizeof(packet), WHEN, &seen));
	assert_true(seen.estimate.ptp && !seen.estimate.synchronized);
	assert_true(seen.t1 == WHEN);
	assert_int_equal(seen.ssid, 0);
}

static const uint8_t request_octets[] = {
    0,       0,       0,       9,       T1_NTP,  0x85,    0x87,    0xbe, 0xef,
    ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4, 0x80, 7,
    0,       16,      ZEROS_4, ZEROS_4, ZEROS_4, ZEROS_4,             /* follow-up */
    0x80,    252,     0,       16,      TOKEN,                        /* ours */
    0x80,    4,       0,       4,       0xb8,    0,       0,       0, /* class of service: not known here */
    0x80,    1,       0,       3,       1,       2,       3,          /* padding */
    0x80,    1,       0,       9,       5,       6,                   /* longer than the packet */
};

static const uint8_t reply_octets[] = {
    0,      0,    0,    7,                             /* the reflector's number */
    0xee,   0xac, 0x96, 0x00, 0xc0,  0x00, 0x00, 0x00, /* T3: 250 ms later */
    0x05,   0x87,                                      /* its estimate: not synchronised */
    0xbe,   0xef,                                      /* SSID */
    0xee,   0xac, 0x96, 0x00, 0xa0,  0x00, 0x00, 0x00, /* T2: 125 ms later */
    0,      0,    0,    9,                             /* the sender's number */
    T1_NTP, 0x85, 0x87,                                /* its time and estimate, as they came */
    0,      0,    64,   0,    0,     0,                /* the TTL */
    0,      7,    0,    16,                            /* follow-up: known */
    0,      0,    0,    6,    0xee,  0xac, 0x96, 0x00,
    0x40,   0x00, 0x00, 0x00, 2,     0,    0,    0, /* number 6, 250 ms before T1, by software */
    0,      252,  0,    16,   TOKEN,                /* known */
    0x80,   4,    0,    4,    0xb8,  0,    0,    0, /* not known */
    0,      1,    0,    3,    1,     2,    3,       /* known */
    0x40,   1,    0,    9,    5,     6,             /* known, but malformed */
};

static void
test_reply(void **state)
{
	struct a2a_reflection reflection = {.sequence = 7,
	                                    .t2 = WHEN + 125000000,
	                                    .estimate = {false, false, 1000},
	                                    .ttl = 64,
	                                    .follow_sequence = 6,
	                                    .follow_at = WHEN - 250000000};
	struct buf out = BUF_INIT(A2A_PACKET_MAX);
	struct a2a_request request;
	struct a2a_reply reply;

	assert_true(a2a_request_read(request_octets, sizeof(request_octets), WHEN, &request));
	assert_true(request.follow_up);
	assert_non_null(request.token);
	assert_true(
	    a2a_reply_write(&out, request_octets, sizeof(request_octets), &request, &reflection, true));
	assert_true(a2a_reply_stamp(&out, WHEN + 250000000, false));
	check(&out, reply_octets, sizeof(reply_octets));
	assert_true(a2a_reply_read(out.data, out.len, WHEN, &reply));
	assert_int_equal(reply.sequence, 7);
	assert_int_equal(reply.sender_sequence, 9);
	assert_true(reply.t2 == WHEN + 125000000 && reply.t3 == WHEN + 250000000);
	assert_true(reply.raw_t1 == request.raw_t1);
	assert_int_equal(reply.ttl, 64);
	assert_int_equal(reply.ssid, 0xbeef);
	assert_false(reply.estimate.synchronized);
	assert_int_equal(reply.follow_method, A2A_METHOD_SOFTWARE);
	assert_int_equal(reply.follow_sequence, 6);
	assert_true(reply.follow_at == WHEN - 250000000);
	for (size_t n = 0; n < A2A_BASE; n++)
		assert_false(a2a_reply_read(reply_octets, n, WHEN, &reply));
	assert_false(
	    a2a_request_read(reply_octets, sizeof(reply_octets), WHEN, &request)); /* no request */
	assert_true(a2a_request_read(request_octets, sizeof(request_octets), WHEN, &request));
	/* with nothing to follow up, and a token of nobody */
	reflection.follow_at = 0;
	assert_true(a2a_reply_write(&out, request_octets, sizeof(request_octets), &request, &reflection,
	                            false));
	assert_int_equal(out.data[A2A_BASE], 0);
	assert_int_equal(out.data[A2A_BASE + 20], 0x80);
	assert_true(a2a_reply_read(out.data, out.len, WHEN, &reply));
	assert_int_equal(reply.follow_method, A2A_METHOD_NONE);
	/* every length behind the base comes back at that length */
	for (size_t n = A2A_BASE; n <= sizeof(request_octets); n++)
	{
		assert_true(a2a_request_read(request_octets, n, WHEN, &request));
		assert_true(a2a_reply_write(&out, request_octets, n, &request, &reflection, false));
		assert_int_equal(out.len, n);
	}
	buf_free(&out);
}

/* A reflector without TLVs zeroes what it does not know, or sends it back as it is: no follow-up. */
static void
test_old_reflector(void **state)
{
	uint8_t octets[A2A_BASE + 20];
	struct a2a_reply reply;

	memcpy(octets, reply_octets, sizeof(octets));
	octets[A2A_BASE] = 0x80; /* as the sender sent it */
	assert_true(a2a_reply_read(octets, sizeof(octets), WHEN, &reply));
	assert_int_equal(reply.follow_method, A2A_METHOD_NONE);
	memset(octets + A2A_BASE, 0, 20);
	memset(octets + 14, 0, 2);
	assert_true(a2a_reply_read(octets, sizeof(octets), WHEN, &reply));
	assert_int_equal(reply.ssid, 0);
	assert_int_equal(reply.follow_method, A2A_METHOD_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_times),   cmocka_unit_test(test_estimates),
	    cmocka_unit_test(test_request), cmocka_unit_test(test_ptp_request),
	    cmocka_unit_test(test_reply),   cmocka_unit_test(test_old_reflector),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
