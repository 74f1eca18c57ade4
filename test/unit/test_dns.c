/* SPDX-License-Identifier: PostgreSQL
 *
 * test_dns.c -- names, messages, denials, the walk and the engine of the dns canary, byte by byte.
 */
#include "rig.h"

#include "agent/dns/chain.h"
#include "agent/dns/denial.h"
#include "agent/dns/dns.h"
#include "lib/clock.h"

static struct dns_name
name_of(const char *text)
{
	struct dns_name name;

	assert_true(dname_parse(text, &name));
	return name;
}

/* ---- names ---- */

static void
test_name_text(void **state)
{
	struct dns_name name;
	char text[DNAME_TEXT_MAX], one[300];

	assert_true(dname_parse("WwW.Example.net.", &name));
	assert_memory_equal(name.bytes, "\3www\7example\3net", 17);
	assert_string_equal(dname_text(name.bytes, text, sizeof(text)), "www.example.net.");
	assert_true(dname_parse("a\\.b.\\255\\000.c", &name));
	assert_memory_equal(name.bytes, "\3a.b\2\xff\0\1c", 10);
	assert_string_equal(dname_text(name.bytes, text, sizeof(text)), "a\\.b.\\255\\000.c.");
	assert_true(dname_parse(".", &name));
	assert_int_equal(name.len, 1);
	assert_false(dname_parse("", &name));
	assert_false(dname_parse("a..b", &name));
	assert_false(dname_parse(".a", &name));
	assert_false(dname_parse("a\\", &name));
	assert_false(dname_parse("a\\256", &name));
	memset(one, 'x', 64);
	one[64] = '\0';
	assert_false(dname_parse(one, &name));
	assert_true(dname_parse(one + 1, &name));
	for (int i = 0; i < 254; i++)
		one[i] = i % 2 ? '.' : 'y';
	one[253] = '\0';
	assert_true(dname_parse(one, &name));
	assert_int_equal(name.len, 255);
	memcpy(one + 252, "yy", 3);
	assert_false(dname_parse(one, &name));
}

/* RFC 4034 section 6.1 has this list. */
static void
test_name_order(void **state)
{
	static const char *const sorted[] = {
	    "example.",         "a.example.",      "yljkjljk.a.example.",
	    "z.a.example.",     "zabc.a.example.", "z.example.",
	    "\\001.z.example.", "*.z.example.",    "\\200.z.example."};

	for (size_t i = 0; i < sizeof(sorted) / sizeof(sorted[0]); i++)
		for (size_t j = 0; j < sizeof(sorted) / sizeof(sorted[0]); j++)
		{
			struct dns_name a = name_of(sorted[i]), b = name_of(sorted[j]);
			int order = dname_compare(a.bytes, b.bytes);

			assert_true(i < j ? order < 0 : i > j ? order > 0 : order == 0);
		}
}

static void
test_name_parts(void **state)
{
	struct dns_name name = name_of("a.b.example"), zone = name_of("example"),
	                other = name_of("net");
	struct dns_name made;

	assert_int_equal(dname_labels(name.bytes), 3);
	assert_true(dname_under(name.bytes, zone.bytes));
	assert_true(dname_under(zone.bytes, zone.bytes));
	assert_false(dname_under(zone.bytes, name.bytes));
	assert_false(dname_under(name_of("xexample").bytes, zone.bytes));
	assert_int_equal(dname_common(name.bytes, name_of("c.b.example").bytes), 2);
	assert_true(dname_replace(name.bytes, zone.bytes, other.bytes, &made));
	assert_true(dname_equal(made.bytes, name_of("a.b.net").bytes));
	assert_true(dname_wildcard(zone.bytes, &made));
	assert_true(dname_is_wildcard(made.bytes));
}

/* ---- messages ---- */

/* id 1234, QR RD RA; one question, two answers, OPT with an extended error. */
static const uint8_t good[] = {
    0x12, 0x34, 0x81, 0x80, 0,    1,   0,   2,    0,   0,   0,  1, /* header */
    3,    'W',  'w',  'w',  2,    'e', 'x', 0,    0,   1,   0,  1, /* 12: Www.ex. A IN */
    0xc0, 12,   0,    5,    0,    1,   0,   0,    0,   60,  0,  4, /* 24: www.ex. CNAME, 4 bytes */
    1,    'A',  0xc0, 16,                                          /* 36: A.ex. */
    0xc0, 36,   0,    1,    0,    1,   0,   0,    0,   60,  0,  4, /* 40: a.ex. A, 4 bytes */
    192,  0,    2,    1,                                           /* 52 */
    0,    0,    41,   4,    0xd0, 0,   0,   0x80, 0,   0,   10,    /* 56: OPT, DO, 10 bytes */
    0,    15,   0,    6,    0,    7,   'l', 'a',  't', 'e',        /* 67: EDE 7 "late" */
};

static void
test_message(void **state)
{
	struct dnsmsg m;
	const char *reason;
	struct dns_name www = name_of("www.ex");
	size_t at = 0;
	const struct dns_rr *rr;
	char text[80];

	assert_true(dnsmsg_matches(good, sizeof(good), 0x1234, www.bytes, 1));
	assert_false(dnsmsg_matches(good, sizeof(good), 0x1235, www.bytes, 1));
	assert_false(dnsmsg_matches(good, sizeof(good), 0x1234, www.bytes, 28));
	assert_false(dnsmsg_matches(good, sizeof(good), 0x1234, name_of("ww.ex").bytes, 1));
	assert_true(dnsmsg_parse(&m, good, sizeof(good), &reason));
	assert_int_equal(m.count, 2);
	assert_true(m.edns);
	assert_int_equal(m.ede, 7);
	assert_string_equal(m.ede_text, "late");
	rr = dnsmsg_next(&m, DNS_ANSWER, www.bytes, DNS_TYPE_CNAME, &at);
	assert_non_null(rr);
	assert_int_equal(rr->rdlen, 6); /* uncompressed and in lower case */
	assert_memory_equal(rr->rdata, "\1a\2ex", 6);
	rr = dnsmsg_next(&m, DNS_ANSWER, rr->rdata, DNS_TYPE_A, &at);
	assert_non_null(rr);
	assert_string_equal(dns_rdata_text(rr, text, sizeof(text)), "192.0.2.1");
	dnsmsg_free(&m);
}

static void
test_message_broken(void **state)
{
	uint8_t data[sizeof(good) + 1];
	struct dnsmsg m;
	const char *reason;

	/* Cut anywhere, it is no message. */
	for (size_t len = 0; len < sizeof(good); len++)
	{
		assert_false(dnsmsg_parse(&m, good, len, &reason));
		assert_null(m.rrs);
	}
	memcpy(data, good, sizeof(good));
	data[sizeof(good)] = 0; /* a byte too many */
	assert_false(dnsmsg_parse(&m, data, sizeof(data), &reason));
	data[37] = 0xc0; /* a pointer to itself */
	data[36] = 0xc0;
	data[37] = 36;
	assert_false(dnsmsg_parse(&m, data, sizeof(good), &reason));
	memcpy(data, good, sizeof(good));
	data[51] = 3; /* an A of 3 bytes */
	assert_false(dnsmsg_parse(&m, data, sizeof(good), &reason));
	memcpy(data, good, sizeof(good));
	data[5] = 2; /* two questions */
	assert_false(dnsmsg_parse(&m, data, sizeof(good), &reason));
	memcpy(data, good, sizeof(good));
	data[6] = 0xff; /* 65,282 answers */
	assert_false(dnsmsg_parse(&m, data, sizeof(good), &reason));
}

static void
test_query(void **state)
{
	static const uint8_t expected[] = {0xab, 0xcd, 0x01, 0x10, 0,    1,  0, 0,    0, 0, 0,
	                                   1,                                      /* RD CD */
	                                   2,    'e',  'x',  0,    0,    48, 0, 1, /* ex. DNSKEY IN */
	                                   0,    0,    41,   0x04, 0xd0, 0,  0, 0x80, 0, 0, 0};
	uint8_t query[DNSMSG_QUERY_MAX];

	assert_int_equal(dnsmsg_query(query, 0xabcd, name_of("ex").bytes, DNS_TYPE_DNSKEY,
	                              DNS_FLAG_RD | DNS_FLAG_CD, true),
	                 sizeof(expected));
	assert_memory_equal(query, expected, sizeof(expected));
}

static void
test_words(void **state)
{
	char text[24];

	assert_int_equal(dns_type_parse("aaaa"), 28);
	assert_int_equal(dns_type_parse("TYPE65280"), 65280);
	assert_int_equal(dns_type_parse("CAA"), 257);
	assert_int_equal(dns_type_parse("NOPE"), 0);
	assert_int_equal(dns_type_parse("OPT"), 0);
	assert_string_equal(dns_rcode_text(3, text, sizeof(text)), "NXDOMAIN");
	assert_string_equal(dns_rcode_text(77, text, sizeof(text)), "RCODE77");
	assert_int_equal(dns_rcode_parse("refused"), 5);
	assert_true(dns_expected("www.Example", "WWW.example."));
	assert_true(dns_expected("10 mx.example", "10 mx.example."));
	assert_true(dns_expected("v=spf1 -all", "\"v=spf1 -all\""));
	assert_false(dns_expected("192.0.2.1", "192.0.2.11"));
	assert_false(dns_expected("192.0.2.11", "192.0.2.1"));
}

/* ---- primitives ---- */

/* RFC 5155 appendix A: salt AABBCCDD, 12 more iterations. */
static void
test_nsec3_hash(void **state)
{
	static const struct
	{
		const char *name, *hash;
	} vectors[] = {{"example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"},
	               {"a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"},
	               {"*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"},
	               {"xx.example", "t644ebqk9bibcna874givr6joj62mlhv"}};
	static const uint8_t salt[4] = {0xaa, 0xbb, 0xcc, 0xdd};

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		uint8_t hash[CRYPT_NSEC3_LEN], expected[CRYPT_NSEC3_LEN];
		struct dns_name name = name_of(vectors[i].name);

		crypt_nsec3_hash(name.bytes, salt, 4, 12, hash);
		assert_true(crypt_base32hex((const uint8_t *) vectors[i].hash, 32, expected));
		assert_memory_equal(hash, expected, CRYPT_NSEC3_LEN);
	}
	assert_false(crypt_base32hex((const uint8_t *) "0p9m", 4, (uint8_t[20]){0}));
	assert_false(crypt_base32hex((const uint8_t *) "zp9mhaveqvm6t7vbl5lop2u3t2rp3tom", 32,
	                             (uint8_t[20]){0}));
}

/* RFC 4034 section 5.4 (SHA-1) and RFC 4509 section 2.3 (SHA-256): the same key. */
static void
test_ds_digest(void **state)
{
	struct anchors anchors;
	char err[200];
	uint8_t digest[CRYPT_HASH_MAX];
	static const uint8_t sha1[] = {0x2b, 0xb1, 0x83, 0xaf, 0x5f, 0x22, 0x58, 0x81, 0x79, 0xa5,
	                               0x3b, 0x0a, 0x98, 0x63, 0x1f, 0xad, 0x1a, 0x29, 0x21, 0x18};

	assert_true(
	    anchors_parse(&anchors,
	                  "dskey.example.com. 86400 IN DNSKEY 256 3 5 ( AQOeiiR0GOMYkDshWoSKz9Xz"
	                  "fwJr1AYtsmx3TGkJaNXVbfi/ 2pHm822aJ5iI9BMzNXxeYCmZ"
	                  "DRD99WYwYqUSdjMmmAphXdvx egXd/M5+X7OrzKBaMbCVdFLU"
	                  "Uh6DhweJBjEVv5f2wwjM9Xzc nOf+EPbtG9DMBmADjFDc2w/r"
	                  "ljwvFw== ) ;  key id = 60485\n",
	                  err, sizeof(err)));
	assert_int_equal(anchors.list[0].type, DNS_TYPE_DNSKEY);
	assert_int_equal(crypt_key_tag(anchors.list[0].rdata, anchors.list[0].rdlen), 60485);
	assert_int_equal(crypt_digest(1, anchors.list[0].zone.bytes, anchors.list[0].rdata,
	                              anchors.list[0].rdlen, digest),
	                 20);
	assert_memory_equal(digest, sha1, 20);
	assert_int_equal(crypt_digest(2, anchors.list[0].zone.bytes, anchors.list[0].rdata,
	                              anchors.list[0].rdlen, digest),
	                 32);
	assert_memory_equal(digest, "\xd4\xb7\xd5\x20\xe7\xbb\x5f\x0f\x67\x67\x4a\x0c", 12);
	assert_int_equal(crypt_digest(99, anchors.list[0].zone.bytes, anchors.list[0].rdata,
	                              anchors.list[0].rdlen, digest),
	                 0);
	assert_false(crypt_algorithm(1)); /* RSAMD5 */
	assert_false(crypt_algorithm(3)); /* DSA */
	assert_false(crypt_verify(13, (uint8_t[64]){0}, 64, (uint8_t[64]){0}, 63, digest, 32));
	assert_false(crypt_verify(13, (uint8_t[64]){0}, 64, (uint8_t[64]){0}, 64, digest, 32));
}

static void
test_anchors(void **state)
{
	struct anchors anchors;
	struct hints hints;
	char err[200];

	anchors_default(&anchors);
	assert_int_equal(anchors.count, 2);
	assert_int_equal(anchors.list[0].rdata[0] << 8 | anchors.list[0].rdata[1], 20326);
	assert_int_equal(anchors.list[1].rdata[0] << 8 | anchors.list[1].rdata[1], 38696);
	assert_false(anchors_parse(&anchors, "", err, sizeof(err)));
	assert_false(anchors_parse(&anchors, "example. A 192.0.2.1\n", err, sizeof(err)));
	assert_non_null(strstr(err, "only DS and DNSKEY"));
	assert_false(anchors_parse(&anchors, "example. IN DS broken\n", err, sizeof(err)));
	assert_non_null(strstr(err, "line 1"));
	hints_default(&hints);
	assert_int_equal(hints.count, 26);
	assert_true(hints_parse(&hints, "127.0.0.1:5301, [::1]:5302,192.0.2.1", err, sizeof(err)));
	assert_int_equal(hints.count, 3);
	assert_false(hints_parse(&hints, "example.net", err, sizeof(err)));
}

/* ---- denials ---- */

/* Records are made from text by way of an anchor-like wire form: owner, type, data. */
struct made
{
	struct dns_name owner, next;
	uint8_t rdata[400];
	struct dns_rr rr;
};

/* An NSEC; types below 64 end in 0. */
static const struct dns_rr *
nsec(struct made *m, const char *owner, const char *next, const uint8_t *types)
{
	size_t n;

	m->owner = name_of(owner);
	m->next = name_of(next);
	n = m->next.len;
	memcpy(m->rdata, m->next.bytes, n);
	memset(m->rdata + n, 0, 10);
	m->rdata[n + 1] = 8;
	for (; *types; types++)
		m->rdata[n + 2 + *types / 8] |= (uint8_t) (0x80 >> *types % 8);
	m->rr = (struct dns_rr){.owner = m->owner.bytes,
	                        .rdata = m->rdata,
	                        .type = DNS_TYPE_NSEC,
	                        .class = 1,
	                        .rdlen = (uint16_t) (n + 10)};
	return &m->rr;
}

#define TYPES(...) ((const uint8_t[]){__VA_ARGS__, 0})

static void
test_denial_nsec(void **state)
{
	struct dns_name zone = name_of("example");
	struct made m[4];
	struct denial_set set;
	uint64_t work = 1000;

	denial_init(&set, zone.bytes, &work);
	denial_add(&set, nsec(&m[0], "example", "b.example", TYPES(2, 6, 46, 47)));
	denial_add(&set, nsec(&m[1], "b.example", "d.e.example", TYPES(1, 46, 47)));
	denial_add(&set, nsec(&m[2], "sub.example", "x.example", TYPES(2, 46, 47)));
	denial_add(&set, nsec(&m[3], "x.example", "example", TYPES(5, 46, 47)));
	assert_int_equal(denial_nodata(&set, name_of("b.example").bytes, 28), DENIAL_NODATA);
	assert_int_equal(denial_nodata(&set, name_of("b.example").bytes, 1), DENIAL_NONE);
	/* An alias has every type. */
	assert_int_equal(denial_nodata(&set, name_of("x.example").bytes, 28), DENIAL_NONE);
	/* Only names below. */
	assert_int_equal(denial_nodata(&set, name_of("e.example").bytes, 1), DENIAL_NODATA);
	assert_int_equal(denial_nxdomain(&set, name_of("e.example").bytes), DENIAL_NONE);
	/* c lies between b and d.e; the wildcard between example and b. */
	assert_int_equal(denial_nxdomain(&set, name_of("c.example").bytes), DENIAL_NXDOMAIN);
	assert_int_equal(denial_nxdomain(&set, name_of("z.example").bytes), DENIAL_NXDOMAIN);
	/* The parent's side of a cut: no DS, and nothing else. */
	assert_int_equal(denial_nodata(&set, name_of("sub.example").bytes, DNS_TYPE_DS),
	                 DENIAL_DELEGATION);
	assert_int_equal(denial_nodata(&set, name_of("sub.example").bytes, 1), DENIAL_NONE);
	assert_int_equal(denial_nxdomain(&set, name_of("a.sub.example").bytes), DENIAL_NONE);
	/* The child's side does not deny a DS. */
	assert_int_equal(denial_nodata(&set, zone.bytes, DNS_TYPE_DS), DENIAL_NONE);
	assert_int_equal(denial_nodata(&set, zone.bytes, 15), DENIAL_NODATA);
	/* Wildcards: *.example may stand for c.example, nothing of e.example may. */
	assert_int_equal(denial_wildcard(&set, name_of("c.example").bytes, 1), DENIAL_NXDOMAIN);
	assert_int_equal(denial_wildcard(&set, name_of("c.b.example").bytes, 1), DENIAL_NONE);
}

static void
test_denial_without_wildcard(void **state)
{
	struct dns_name zone = name_of("example");
	struct made m;
	struct denial_set set;
	uint64_t work = 1000;

	denial_init(&set, zone.bytes, &work);
	denial_add(&set, nsec(&m, "b.example", "d.example", TYPES(1, 46, 47)));
	assert_int_equal(denial_nxdomain(&set, name_of("c.example").bytes), DENIAL_NONE);
	/* A bitmap that ends early denies nothing it does not have, and reads no further. */
	assert_false(denial_has_type((const uint8_t *) "\0\4\x40", 3, 1));
	assert_true(denial_has_type((const uint8_t *) "\0\1\x40", 3, 1));
	assert_true(denial_has_type((const uint8_t *) "\0\1\x40\1\1\x40", 6, 257));
}

static void
test_denial_nsec3(void **state)
{
	struct dns_name zone = name_of("example");
	struct dns_name owner = name_of("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example");
	/* 1 SHA-1, flags, 200 iterations, no salt, next = the owner: the only name of the zone */
	uint8_t rdata[26] = {1, 0, 0, 200, 0, 20};
	struct dns_rr rr = {owner.bytes, rdata, 60, DNS_TYPE_NSEC3, 1, sizeof(rdata), DNS_AUTHORITY};
	struct denial_set set;
	uint64_t work = 1000;

	denial_init(&set, zone.bytes, &work);
	denial_add(&set, &rr);
	assert_int_equal(set.nsec3_count, 1);
	assert_int_equal(denial_nodata(&set, zone.bytes, 15), DENIAL_ITERATIONS);
	assert_int_equal(work, 1000); /* nothing was computed */
	rdata[1] = 2;                 /* an unknown flag */
	denial_init(&set, zone.bytes, &work);
	denial_add(&set, &rr);
	assert_int_equal(set.nsec3_count, 0);
	/* With little work left the answer is that nothing is proven, not an endless computation. */
	rdata[1] = 0;
	rdata[3] = 100;
	work = 50;
	denial_init(&set, zone.bytes, &work);
	denial_add(&set, &rr);
	assert_int_equal(denial_nxdomain(&set, name_of("a.example").bytes), DENIAL_NONE);
	assert_true(work <= 50);
}

/* ---- the engine ---- */

static void
test_chain_without_validation(void **state)
{
	struct chain_options options = {.now = 1};
	struct dns_name www = name_of("www.ex"), a = name_of("a.ex");
	struct chain *chain = chain_new(&options, www.bytes, 1);
	struct dnsmsg m;
	const char *reason;
	const uint8_t *name;
	uint16_t type;

	assert_int_equal(chain_step(chain, &name, &type), CHAIN_ASK);
	assert_true(dname_equal(name, www.bytes));
	assert_int_equal(type, 1);
	assert_true(dnsmsg_parse(&m, good, sizeof(good), &reason));
	chain_give(chain, &m);
	assert_int_equal(chain_step(chain, &name, &type), CHAIN_DONE);
	assert_int_equal(chain_result(chain)->verdict, CHAIN_UNCHECKED);
	assert_int_equal(chain_result(chain)->links, 1);
	assert_true(dname_equal(chain_result(chain)->final.bytes, a.bytes));
	chain_free(chain);
}

/* With an anchor, the unsigned answer needs the root's keys; without them nothing can be said. */
static void
test_chain_indeterminate(void **state)
{
	struct anchors anchors;
	struct chain_options options = {.validate = true, .now = 1, .anchors = &anchors};
	struct dns_name www = name_of("www.ex");
	struct chain *chain;
	struct dnsmsg m;
	const char *reason;
	const uint8_t *name;
	uint16_t type;

	anchors_default(&anchors);
	chain = chain_new(&options, www.bytes, 1);
	assert_int_equal(chain_step(chain, &name, &type), CHAIN_ASK);
	assert_true(dnsmsg_parse(&m, good, sizeof(good), &reason));
	chain_give(chain, &m);
	assert_int_equal(chain_step(chain, &name, &type), CHAIN_ASK);
	assert_int_equal(type, DNS_TYPE_DNSKEY);
	assert_int_equal(name[0], 0);
	chain_fail(chain, ERROR_DNS_TIMEOUT, "no answer");
	assert_int_equal(chain_step(chain, &name, &type), CHAIN_DONE);
	assert_int_equal(chain_result(chain)->verdict, CHAIN_INDETERMINATE);
	assert_int_equal(chain_result(chain)->error, ERROR_DNS_TIMEOUT);
	chain_free(chain);
}

/* Many keys, and many signatures that all say they are by the one that is trusted (CVE-2023-50387): after
 * a few that do not verify the rest are not tried. */
static void
test_chain_keytrap(void **state)
{
	enum
	{
		KEYS = 60
	};
	struct anchors anchors = {0};
	struct chain_options options = {.validate = true, .now = 1700000000, .anchors = &anchors};
	struct dns_name www = name_of("www.ex");
	struct chain *chain;
	struct dnsmsg m;
	struct buf b = BUF_INIT(65535);
	const char *reason;
	const uint8_t *name;
	uint16_t type;

	chain = chain_new(&options, www.bytes, 1);
	buf_put(&b, (const uint8_t[]){0, 0, 0x80, 0, 0, 1, 0, 2 * KEYS, 0, 0, 0, 0, 0, 0, 48, 0, 1},
	        17);
	for (int i = 0; i < KEYS; i++)
	{
		uint8_t rdata[68] = {1, 1, 3, 13};

		for (int w = 0; w < 32; w++)
			rdata[5 + 2 * w] = (uint8_t) (1 + (w + i / 2 * (w > 1)) % 30);
		rdata[4 + 2 * (i % 30)] = 0x40; /* the same high byte, elsewhere */
		buf_put(&b, (const uint8_t[]){0, 0, 48, 0, 1, 0, 0, 0, 9, 0, 68}, 11);
		buf_put(&b, rdata, sizeof(rdata));
		if (i == 0)
		{
			anchors.count = 1;
			anchors.list[0] = (struct anchor){
			    .zone = {.len = 1}, .type = DNS_TYPE_DNSKEY, .rdlen = sizeof(rdata)};
			memcpy(anchors.list[0].rdata, rdata, sizeof(rdata));
		}
	}
	for (int i = 0; i < KEYS; i++)
	{
		uint16_t tag = crypt_key_tag(anchors.list[0].rdata, 68);
		uint8_t signature[64];

		memset(signature, i + 1, sizeof(signature));
		buf_put(&b, (const uint8_t[]){0, 0, 46, 0, 1, 0, 0, 0, 9, 0, 83, 0, 48, 13, 0}, 15);
		buf_put_be32(&b, 9);
		buf_put_be32(&b, 1800000000);
		buf_put_be32(&b, 1600000000);
		buf_put_be16(&b, tag);
		buf_put_u8(&b, 0);
		buf_put(&b, signature, sizeof(signature));
	}
	while (chain_step(chain, &name, &type) == CHAIN_ASK)
	{
		assert_true(dnsmsg_parse(&m, type == DNS_TYPE_DNSKEY ? b.data : good,
		                         type == DNS_TYPE_DNSKEY ? b.len : sizeof(good), &reason));
		chain_give(chain, &m);
	}
	assert_int_equal(chain_result(chain)->verdict, CHAIN_BOGUS);
	assert_int_equal(chain_result(chain)->checks, CHAIN_FAILURES_MAX);
	assert_non_null(strstr(chain_result(chain)->reason, "too many"));
	chain_free(chain);
	buf_free(&b);
}

/* Whatever the servers say, a walk ends: here each refers to a zone one label deeper, whose server has no
 * address, or refers back up. */
static void
test_walk_ends(void **state)
{
	struct hints hints;
	struct walk_options options = {.hints = &hints, .port = 53};
	struct walk_query query;
	struct walk *walk;
	struct dns_name name = name_of("a.b.c.d.e.f.g.h.i.j.k.l.m.n.example");
	enum error_type error = ERROR_NONE;
	struct dnsmsg m;
	char text[RESULT_ERROR_MAX];
	unsigned sends = 0;

	hints_default(&hints);
	walk = walk_new(&options);
	walk_begin(walk, name.bytes, 1, true);
	while (walk_step(walk, &query) == WALK_SEND)
	{
		uint8_t data[600];
		size_t len = dnsmsg_query(data, 0, query.name, query.type, 0, false) - 11;
		const uint8_t *zone = dname_tail(query.name, sends % 7);
		const char *reason;

		data[2] = 0x80;
		data[9] = 1; /* one authority record: zone NS x.<zone> */
		data[11] = 0;
		memcpy(data + len, zone, dname_len(zone));
		len += dname_len(zone);
		memcpy(data + len, (const uint8_t[]){0, 2, 0, 1, 0, 0, 0, 9, 0, 0, 1, 'x'}, 12);
		data[len + 9] = (uint8_t) (2 + dname_len(zone));
		memcpy(data + len + 12, zone, dname_len(zone));
		len += 12 + dname_len(zone);
		assert_true(dnsmsg_parse(&m, data, len, &reason));
		walk_give(walk, &m, 1000);
		assert_true(++sends <= WALK_SENDS_MAX);
	}
	assert_false(walk_take(walk, &m, &error, text, sizeof(text)));
	assert_int_equal(error, ERROR_DNS_LAME);
	walk_free(walk);
}

/* ---- the canary ---- */

static void
refuse(struct rig *rig, const char *key, const char *value, const char *server)
{
	void *cmd = NULL;

	memset(&rig->spec, 0, sizeof(rig->spec));
	snprintf(rig->spec.type, sizeof(rig->spec.type), "dns");
	rig->spec.target = (char *) (uintptr_t) "example.net";
	rig->params[0] = (struct test_param){(char *) (uintptr_t) key, (char *) (uintptr_t) value};
	rig->params[1] = (struct test_param){(char *) (uintptr_t) "server",
	                                     (char *) (uintptr_t) server};
	rig->spec.params = rig->params;
	rig->spec.param_count = server ? 2 : 1;
	assert_false(canary_dns.cmd_parse(&rig->spec, &cmd, rig->err, sizeof(rig->err)));
	assert_non_null(strstr(rig->err, key));
}

static void
test_params(void **state)
{
	struct rig rig;

	rig_open(&rig);
	refuse(&rig, "type", "NOPE", NULL);
	refuse(&rig, "port", "5353", "192.0.2.1");
	refuse(&rig, "ca_file", "/x", NULL);
	refuse(&rig, "tries", "6", NULL);
	refuse(&rig, "expect_answer", "a,,b", NULL);
	refuse(&rig, "trust_anchor", ". IN DS 1 8 2 aa", NULL); /* without dnssec */
	refuse(&rig, "unknown", "1", NULL);
	rig_close(&rig);
}

static void
note_result(const struct result *result, void *arg)
{
	struct rig *rig = arg;

	rig->result = *result;
	rig->calls++;
	event_base_loopbreak(rig->base);
}

/* A server that may not be dialled is refused before anything is sent, in a trace as well. */
static void
guarded(const char *key, const char *value, const char *key2, const char *value2)
{
	struct rig rig;
	void *cmd;

	rig_open(&rig);
	snprintf(rig.spec.type, sizeof(rig.spec.type), "dns");
	rig.spec.target = (char *) (uintptr_t) "example.net";
	rig.spec.timeout_ms = 2000;
	rig.params[0] = (struct test_param){(char *) (uintptr_t) key, (char *) (uintptr_t) value};
	rig.params[1] = (struct test_param){(char *) (uintptr_t) key2, (char *) (uintptr_t) value2};
	rig.spec.params = rig.params;
	rig.spec.param_count = key2 ? 2 : 1;
	assert_true(canary_dns.cmd_parse(&rig.spec, &cmd, rig.err, sizeof(rig.err)));
	assert_non_null(canary_dns.start(&rig.env, &rig.spec, cmd, note_result, &rig));
	event_base_dispatch(rig.base);
	assert_int_equal(rig.calls, 1);
	assert_int_equal(rig.result.error_type, ERROR_GUARD_DENIED);
	canary_dns.cmd_free(cmd);
	rig_close(&rig);
}

static void
test_guard(void **state)
{
	guarded("server", "127.0.0.1:9", NULL, NULL);
	guarded("mode", "trace", "root_hints", "127.0.0.1:9,[::1]:9");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_name_text),
	    cmocka_unit_test(test_name_order),
	    cmocka_unit_test(test_name_parts),
	    cmocka_unit_test(test_message),
	    cmocka_unit_test(test_message_broken),
	    cmocka_unit_test(test_query),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_nsec3_hash),
	    cmocka_unit_test(test_ds_digest),
	    cmocka_unit_test(test_anchors),
	    cmocka_unit_test(test_denial_nsec),
	    cmocka_unit_test(test_denial_without_wildcard),
	    cmocka_unit_test(test_denial_nsec3),
	    cmocka_unit_test(test_chain_without_validation),
	    cmocka_unit_test(test_chain_indeterminate),
	    cmocka_unit_test(test_chain_keytrap),
	    cmocka_unit_test(test_walk_ends),
	    cmocka_unit_test(test_params),
	    cmocka_unit_test(test_guard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
