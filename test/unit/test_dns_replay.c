/* SPDX-License-Identifier: PostgreSQL
 *
 * test_dns_replay.c -- recorded validation scenarios against the engine.
 *
 * A scenario (.rpl) has a trust anchor, a clock, servers with canned answers, and questions with the
 * answer a validating resolver gave. The walk and the engine are driven with it, without a socket; the
 * verdict must be that of the recorded answer: AD means secure, SERVFAIL bogus, neither insecure. The
 * files are not part of the project: without them the test is skipped.
 */
#include "unit.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <ctype.h>
#include <dirent.h>
#include <ldns/ldns.h>
#include <netinet/in.h>
#include <openssl/dsa.h>
#include <openssl/sha.h>
#include <strings.h>
#include <time.h>

#include "agent/dns/chain.h"
#include "agent/dns/walk.h"
#include "agent/probe.h"

#define ENTRIES_MAX 256
#define TEXT_MAX    8192

struct entry
{
	int from, to;     /* steps it is there for */
	char address[64]; /* whose answer it is */
	bool qname, qtype, subdomain, tcp, copy_query;
	uint16_t flags;
	unsigned rcode;
	bool is_do;
	struct dns_name name;
	uint16_t type;
	ldns_rr_list *sections[3];
};

struct scenario
{
	char anchors[TEXT_MAX];
	struct anchors trust;
	struct hints hints;
	char forward[64];
	bool other_stub;
	int64_t now;
	size_t count;
	struct entry entries[ENTRIES_MAX];
	FILE *in;
	char line[TEXT_MAX];
};

static int agreed, differed, skipped;

/* Where a verdict differs, and may. */
#define MORE_ASKED "a DS or an answer is asked for that the recording does not have"
#define GOST       "GOST is not supported (RFC 8624)"

static const struct
{
	const char *file, *reason;
} exceptions[] = {
    {"val_cnametoinsecure.rpl", MORE_ASKED},
    {"val_cnametonsec.rpl", MORE_ASKED},
    {"val_cnametooptin.rpl", MORE_ASKED},
    {"val_dnameqtype_qmin.rpl", MORE_ASKED},
    {"val_dnametopos.rpl", MORE_ASKED},
    {"val_refer_unsignadd.rpl", MORE_ASKED},
    {"val_referd.rpl", MORE_ASKED},
    {"val_referglue.rpl", MORE_ASKED},
    {"val_keyprefetch_verify.rpl", "it is about keys that stay in the cache"},
    {"val_ds_gost.crpl", GOST},
    {"val_ds_gost_downgrade.crpl", GOST},
    {"val_ds_sha2_lenient.crpl", "SHA-1 does not count beside SHA-256 (RFC 4509 section 3)"},
    {"val_scrub_rr_length.rpl", "the broken record is not in the message that is made of it here"},
};

/* ---- DSA: most recordings are of its time, the product takes it for unsupported ---- */

static bool
algorithm_or_dsa(uint8_t algorithm)
{
	return algorithm == LDNS_DSA || algorithm == LDNS_DSA_NSEC3 || crypt_algorithm(algorithm);
}

/* RFC 2536: T | Q 20 | P, G, Y of 64 + 8 T; the signature T | R 20 | S 20, or DER in
 * older recordings. */
static bool
verify_dsa(const uint8_t *key, size_t key_len, const uint8_t *signature, size_t signature_len,
           const uint8_t *data, size_t len)
{
	size_t n = 64 + 8 * (size_t) key[0];
	DSA *dsa = DSA_new();
	uint8_t hash[SHA_DIGEST_LENGTH];
	bool good = false;

	if (key_len == 21 + 3 * n)
	{
		DSA_set0_pqg(dsa, BN_bin2bn(key + 21, (int) n, NULL), BN_bin2bn(key + 1, 20, NULL),
		             BN_bin2bn(key + 21 + n, (int) n, NULL));
		DSA_set0_key(dsa, BN_bin2bn(key + 21 + 2 * n, (int) n, NULL), NULL);
		SHA1(data, len, hash);
		if (signature_len == 41)
		{
			DSA_SIG *sig = DSA_SIG_new();

			DSA_SIG_set0(sig, BN_bin2bn(signature + 1, 20, NULL),
			             BN_bin2bn(signature + 21, 20, NULL));
			good = DSA_do_verify(hash, sizeof(hash), sig, dsa) == 1;
			DSA_SIG_free(sig);
		}
		else
			good = DSA_verify(0, hash, sizeof(hash), signature, (int) signature_len, dsa) == 1;
	}
	DSA_free(dsa);
	return good;
}

static bool
verify_or_dsa(uint8_t algorithm, const uint8_t *key, size_t key_len, const uint8_t *signature,
              size_t signature_len, const uint8_t *data, size_t len)
{
	if (algorithm == LDNS_DSA || algorithm == LDNS_DSA_NSEC3)
		return verify_dsa(key, key_len, signature, signature_len, data, len);
	return crypt_verify(algorithm, key, key_len, signature, signature_len, data, len);
}

static const struct crypt_ops with_dsa = {algorithm_or_dsa, verify_or_dsa};

/* ---- reading ---- */

static bool
next_line(struct scenario *s)
{
	while (fgets(s->line, sizeof(s->line), s->in))
	{
		char *p = s->line, *end;
		bool quoted = false;

		for (end = p; *end && *end != '\n' && (*end != ';' || quoted); end++)
			if (*end == '"')
				quoted = !quoted;
		while (end > p && isspace((unsigned char) end[-1]))
			end--;
		*end = '\0';
		while (isspace((unsigned char) *p))
			p++;
		memmove(s->line, p, strlen(p) + 1);
		if (s->line[0])
			return true;
	}
	return false;
}

static const char *
value_of(const char *line, const char *key)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0)
		return NULL;
	line += n;
	while (*line && (isspace((unsigned char) *line) || *line == '"'))
		line++;
	return line;
}

static int64_t
date_of(const char *text)
{
	struct tm tm = {0};

	if (sscanf(text, "%4d%2d%2d%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
	           &tm.tm_min, &tm.tm_sec) != 6)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return timegm(&tm);
}

static void
read_config(struct scenario *s)
{
	const char *value;
	char err[200], hint[100];
	bool root = false, forward = false;

	s->now = 1256000000;
	while (next_line(s) && strncmp(s->line, "CONFIG_END", 10) != 0)
	{
		if ((value = value_of(s->line, "trust-anchor:")))
		{
			size_t used = strlen(s->anchors);

			snprintf(s->anchors + used, sizeof(s->anchors) - used, "%.*s\n",
			         (int) strcspn(value, "\";"), value);
		}
		else if ((value = value_of(s->line, "val-override-date:")) ||
		         (value = value_of(s->line, "val-override-timestamp:")))
			s->now = value[0] == '-'      ? 1352000000 /* any time: that of its signatures */
			         : strlen(value) > 12 ? date_of(value)
			                              : strtoll(value, NULL, 10);
		else if (strcmp(s->line, "stub-zone:") == 0 || strcmp(s->line, "forward-zone:") == 0)
			forward = s->line[0] == 'f';
		else if ((value = value_of(s->line, "name:")))
		{
			root = value[0] == '.';
			s->other_stub |= !root;
		}
		else if ((value = value_of(s->line, "stub-addr:")) && root && !forward)
		{
			struct hints one;

			snprintf(hint, sizeof(hint), "%.*s", (int) strcspn(value, " \t\"@"), value);
			if (hints_parse(&one, hint, err, sizeof(err)) && s->hints.count < HINTS_MAX)
				s->hints.list[s->hints.count++] = one.list[0];
		}
		else if ((value = value_of(s->line, "forward-addr:")) && root)
			snprintf(s->forward, sizeof(s->forward), "%.*s", (int) strcspn(value, " \t\"@"), value);
	}
	if (s->anchors[0] && !anchors_parse(&s->trust, s->anchors, err, sizeof(err)))
		fprintf(stderr, "anchors: %s\n", err);
}

static const struct
{
	const char *word;
	uint16_t flag;
} flag_words[] = {{"QR", DNS_FLAG_QR}, {"AA", DNS_FLAG_AA}, {"TC", DNS_FLAG_TC},
                  {"RD", DNS_FLAG_RD}, {"RA", DNS_FLAG_RA}, {"AD", DNS_FLAG_AD},
                  {"CD", DNS_FLAG_CD}};

static void
read_reply(struct entry *e, char *words)
{
	char *save, *word = strtok_r(words, " \t", &save);

	for (; word; word = strtok_r(NULL, " \t", &save))
	{
		if (dns_rcode_parse(word) >= 0)
			e->rcode = (unsigned) dns_rcode_parse(word);
		e->is_do |= strcmp(word, "DO") == 0;
		for (size_t i = 0; i < sizeof(flag_words) / sizeof(flag_words[0]); i++)
			if (strcmp(flag_words[i].word, word) == 0)
				e->flags |= flag_words[i].flag;
	}
}

static void
read_question(struct entry *e, const char *line)
{
	char name[1100], class[20], type[20];

	if (sscanf(line, "%1023s %19s %19s", name, class, type) == 3 && dname_parse(name, &e->name))
		e->type = strcasecmp(type, "ANY") == 0 ? DNS_TYPE_ANY : dns_type_parse(type);
}

static void
entry_free(struct entry *e)
{
	for (int i = 0; i < 3; i++)
		ldns_rr_list_deep_free(e->sections[i]);
}

/* From behind ENTRY_BEGIN. False: something in it is not understood. */
static bool
read_entry(struct scenario *s, struct entry *e)
{
	int section = -1;
	ldns_rdf *previous = NULL;
	bool ok = true;

	for (int i = 0; i < 3; i++)
		e->sections[i] = ldns_rr_list_new();
	while (next_line(s) && strncmp(s->line, "ENTRY_END", 9) != 0)
	{
		ldns_rr *rr = NULL;

		if (strncmp(s->line, "MATCH", 5) == 0)
		{
			e->qname |= strstr(s->line, "qname") != NULL;
			e->qtype |= strstr(s->line, "qtype") != NULL;
			e->subdomain |= strstr(s->line, "subdomain") != NULL;
			e->tcp |= strstr(s->line, "TCP") != NULL;
		}
		else if (strncmp(s->line, "ADJUST", 6) == 0)
			e->copy_query = strstr(s->line, "copy_query") != NULL;
		else if (strncmp(s->line, "REPLY", 5) == 0)
			read_reply(e, s->line + 5);
		else if (strncmp(s->line, "SECTION", 7) == 0)
			section = strstr(s->line, "QUESTION")     ? 0
			          : strstr(s->line, "ANSWER")     ? 1
			          : strstr(s->line, "AUTHORITY")  ? 2
			          : strstr(s->line, "ADDITIONAL") ? 3
			                                          : -1;
		else if (section == 0)
			read_question(e, s->line);
		else if (section > 0 && strncmp(s->line, "HEX_", 4) != 0 &&
		         ldns_rr_new_frm_str(&rr, s->line, 3600, NULL, &previous) == LDNS_STATUS_OK)
			ldns_rr_list_push_rr(e->sections[section - 1], rr);
		else
			ok = false;
	}
	ldns_rdf_deep_free(previous);
	return ok;
}

static bool
read_range(struct scenario *s)
{
	int from = 0, to = 0;
	char address[64] = "";
	bool ok = true;

	sscanf(s->line, "RANGE_BEGIN %d %d", &from, &to);
	while (next_line(s) && strncmp(s->line, "RANGE_END", 9) != 0)
	{
		if (strncmp(s->line, "ADDRESS", 7) == 0)
			sscanf(s->line, "ADDRESS %63s", address);
		else if (strncmp(s->line, "ENTRY_BEGIN", 11) == 0 && s->count < ENTRIES_MAX)
		{
			struct entry *e = &s->entries[s->count++];

			e->from = from;
			e->to = to;
			snprintf(e->address, sizeof(e->address), "%s", address);
			ok &= read_entry(s, e);
		}
	}
	return ok;
}

/* ---- answering ---- */

static bool
entry_matches(const struct entry *e, const char *address, int step, const uint8_t *name,
              uint16_t type)
{
	if (step < e->from || step > e->to || strcmp(e->address, address) != 0)
		return false;
	if (e->qtype && e->type != type)
		return false;
	if (e->subdomain)
		return dname_under(name, e->name.bytes);
	return !e->qname || dname_equal(name, e->name.bytes);
}

static void
put_section(struct buf *out, const ldns_rr_list *list)
{
	for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++)
	{
		uint8_t *wire = NULL;
		size_t len = 0;

		ldns_rr2wire(&wire, ldns_rr_list_rr(list, i), LDNS_SECTION_ANSWER, &len);
		buf_put(out, wire, len);
		free(wire);
	}
}

static bool
entry_message(const struct entry *e, const uint8_t *name, uint16_t type, struct dnsmsg *msg)
{
	struct buf out = BUF_INIT(1 << 17);
	const char *reason;
	bool ok;

	buf_put_be16(&out, 0);
	buf_put_be16(&out, (uint16_t) (e->flags | DNS_FLAG_QR | e->rcode));
	buf_put_be16(&out, 1);
	for (int i = 0; i < 3; i++)
		buf_put_be16(&out, (uint16_t) ldns_rr_list_rr_count(e->sections[i]));
	buf_put(&out, name, dname_len(name));
	buf_put_be16(&out, type);
	buf_put_be16(&out, 1);
	for (int i = 0; i < 3; i++)
		put_section(&out, e->sections[i]);
	ok = dnsmsg_parse(msg, out.data, out.len, &reason);
	buf_free(&out);
	return ok;
}

/* Recordings often have the DS, or the proof that there is none, only in the referral. */
static bool
referral_message(const struct entry *e, const uint8_t *name, struct dnsmsg *msg)
{
	struct dnsmsg whole;
	bool found = false;

	if (!entry_message(e, name, DNS_TYPE_DS, msg))
		return false;
	whole = *msg;
	for (size_t i = 0; i < whole.count; i++)
	{
		struct dns_rr *rr = &whole.rrs[i];
		bool of_ds = rr->type == DNS_TYPE_DS ||
		             (rr->type == DNS_TYPE_RRSIG && rr->rdata[1] == DNS_TYPE_DS);

		found |= rr->section == DNS_AUTHORITY && rr->type == DNS_TYPE_NS &&
		         dname_equal(rr->owner, name);
		if (rr->section == DNS_AUTHORITY && of_ds && dname_equal(rr->owner, name))
			rr->section = DNS_ANSWER;
		else if (rr->type == DNS_TYPE_NS)
			rr->section = DNS_DROPPED;
	}
	if (!found)
		dnsmsg_free(msg);
	return found;
}

static bool
answer(const struct scenario *s, const char *address, int step, const uint8_t *name, uint16_t type,
       struct dnsmsg *msg)
{
	for (size_t i = 0; i < s->count; i++)
	{
		const struct entry *e = &s->entries[i];

		if ((e->flags & DNS_FLAG_TC) || !entry_matches(e, address, step, name, type))
			continue;
		return entry_message(e, name, type, msg);
	}
	return false;
}

/* What was answered at an earlier step: the resolver that made the recording had it in its cache. */
static bool
answer_from_past(const struct scenario *s, int step, const uint8_t *name, uint16_t type,
                 struct dnsmsg *msg)
{
	while (step-- > 0)
		for (size_t i = 0; i < s->count; i++)
		{
			const struct entry *e = &s->entries[i];

			if (!e->subdomain && !(e->flags & DNS_FLAG_TC) && e->qname && e->qtype &&
			    entry_matches(e, e->address, step, name, type))
				return entry_message(e, name, type, msg);
		}
	return false;
}

static bool
answer_from_referral(const struct scenario *s, int step, const uint8_t *name, struct dnsmsg *msg)
{
	for (size_t i = 0; i < s->count; i++)
		if (step >= s->entries[i].from && step <= s->entries[i].to &&
		    referral_message(&s->entries[i], name, msg))
			return true;
	return false;
}

static bool
walk_to(const struct scenario *s, struct walk *walk, int step, const uint8_t *name, uint16_t type,
        struct dnsmsg *msg)
{
	struct walk_query query;
	enum error_type error;
	char address[64], text[RESULT_ERROR_MAX];

	walk_begin(walk, name, type, true);
	while (walk_step(walk, &query) == WALK_SEND)
	{
		probe_address_text(&query.server->addr, address, sizeof(address));
		if (answer(s, address, step, query.name, query.type, msg))
			walk_give(walk, msg, 1000);
		else
			walk_fail(walk, ERROR_DNS_TIMEOUT, "no answer");
	}
	return walk_take(walk, msg, &error, text, sizeof(text));
}

static const struct chain_result *
ask(struct scenario *s, struct chain *chain, int step)
{
	struct walk_options options = {.hints = &s->hints, .port = 53};
	struct walk *walk = s->forward[0] ? NULL : walk_new(&options);
	const uint8_t *name;
	uint16_t type;

	while (chain_step(chain, &name, &type) == CHAIN_ASK)
	{
		struct dnsmsg msg = {.ede = -1};
		bool got = walk ? walk_to(s, walk, step, name, type, &msg)
		                : answer(s, s->forward, step, name, type, &msg);

		if (!got && type == DNS_TYPE_DS)
			got = answer_from_referral(s, step, name, &msg);
		if (!got)
			got = answer_from_past(s, step, name, type, &msg);
		if (got)
			chain_give(chain, &msg);
		else
		{
			char text[300], owner[200], word[24];

			snprintf(text, sizeof(text), "no answer for %s %s",
			         dname_text(name, owner, sizeof(owner)),
			         dns_type_text(type, word, sizeof(word)));
			chain_fail(chain, ERROR_DNS_TIMEOUT, text);
		}
	}
	walk_free(walk);
	return chain_result(chain);
}

/* ---- comparing ---- */

static const char *
exception(const char *file)
{
	for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++)
		if (strcmp(exceptions[i].file, file) == 0)
			return exceptions[i].reason;
	return NULL;
}

static void
compare(struct scenario *s, const char *file, int step, const struct entry *query,
        const struct entry *expected)
{
	struct chain_options options = {
	    .validate = true, .chase = true, .crypt = &with_dsa, .now = s->now, .anchors = &s->trust};
	struct chain *chain = chain_new(&options, query->name.bytes, query->type);
	const struct chain_result *r = ask(s, chain, step);
	/* A resolver without an anchor for a name passes its answer on. */
	bool unanchored = r->verdict == CHAIN_INDETERMINATE && r->error == ERROR_NONE;
	bool failed = r->verdict == CHAIN_BOGUS || (r->verdict == CHAIN_INDETERMINATE && !unanchored);
	bool same, plain = !query->is_do && !(query->flags & DNS_FLAG_AD);

	if (expected->rcode == DNS_RCODE_SERVFAIL)
		same = failed;
	else if (expected->flags & DNS_FLAG_AD)
		same = r->verdict == CHAIN_SECURE;
	else
		same = plain ? !failed : r->verdict == CHAIN_INSECURE || unanchored;
	if (query->flags & DNS_FLAG_CD)
		skipped++;
	else if (same)
		agreed++;
	else
	{
		const char *why = exception(file);
		char name[120];

		differed++;
		printf("  %s step %d %s: %s where %s is recorded (%s)%s%s\n", file, step,
		       dname_text(query->name.bytes, name, sizeof(name)), chain_verdict_name(r->verdict),
		       expected->rcode == DNS_RCODE_SERVFAIL ? "bogus"
		       : expected->flags & DNS_FLAG_AD       ? "secure"
		                                             : "insecure",
		       r->reason, why ? " -- meant: " : "", why ? why : "");
		if (why == NULL)
			fail_msg("%s: the verdict differs", file);
	}
	chain_free(chain);
}

static void
run_steps(struct scenario *s, const char *file, bool understood)
{
	struct entry query = {0};
	bool asked = false;

	do
	{
		int step;
		char what[40];

		if (strncmp(s->line, "RANGE_BEGIN", 11) == 0)
			understood &= read_range(s);
		if (sscanf(s->line, "STEP %d %39s", &step, what) != 2)
			continue;
		if (strcmp(what, "TIME_PASSES") == 0)
		{
			const char *elapse = strstr(s->line, "ELAPSE");

			if (elapse)
				s->now += strtoll(elapse + 6, NULL, 10);
		}
		if (strcmp(what, "QUERY") == 0)
		{
			entry_free(&query);
			memset(&query, 0, sizeof(query));
			next_line(s);
			read_entry(s, &query);
			asked = true;
		}
		if (strcmp(what, "CHECK_ANSWER") == 0)
		{
			struct entry expected = {0};

			next_line(s);
			read_entry(s, &expected);
			if (asked && understood && (s->forward[0] || s->hints.count > 0) && !s->other_stub)
				compare(s, file, step, &query, &expected);
			else
				skipped++;
			entry_free(&expected);
		}
	} while (next_line(s));
	entry_free(&query);
}

static void
run_file(const char *path, const char *file)
{
	struct scenario *s = calloc(1, sizeof(*s));

	s->in = fopen(path, "re");
	assert_non_null(s->in);
	read_config(s);
	while (next_line(s) && strncmp(s->line, "RANGE_BEGIN", 11) != 0 &&
	       strncmp(s->line, "STEP", 4) != 0)
		;
	run_steps(s, file, true);
	fclose(s->in);
	for (size_t i = 0; i < s->count; i++)
		entry_free(&s->entries[i]);
	free(s);
}

static void
run_folder(const char *folder)
{
	struct dirent **list;
	int count = scandir(folder, &list, NULL, alphasort);

	for (int i = 0; i < count; i++)
	{
		const char *end = strrchr(list[i]->d_name, '.');
		char path[4096];

		if (end && (strcmp(end, ".rpl") == 0 || strcmp(end, ".crpl") == 0))
		{
			snprintf(path, sizeof(path), "%s/%s", folder, list[i]->d_name);
			run_file(path, list[i]->d_name);
		}
		free(list[i]);
	}
	if (count >= 0)
		free(list);
}

/* The reader on a scenario of our own: comments, continued time, answers and their sections. */
static void
test_reader(void **state)
{
	static char text[] = "; a scenario of two servers' answers\n"
	                     "server:\n"
	                     "\tval-override-timestamp: \"1700000000\"\n"
	                     "forward-zone:\n"
	                     "\tname: \".\"\n"
	                     "\tforward-addr: 192.0.2.53\n"
	                     "CONFIG_END\n"
	                     "RANGE_BEGIN 0 10\n"
	                     "\tADDRESS 192.0.2.53\n"
	                     "ENTRY_BEGIN\n"
	                     "MATCH opcode qtype qname\n"
	                     "ADJUST copy_id\n"
	                     "REPLY QR RD RA NXDOMAIN\n"
	                     "SECTION QUESTION\n"
	                     "www.example.net. IN AAAA\n"
	                     "SECTION AUTHORITY\n"
	                     "example.net. 60 IN SOA ns.example.net. host.example.net. 1 2 3 4 60\n"
	                     "ENTRY_END\n"
	                     "RANGE_END\n";
	struct scenario *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->in = fmemopen(text, sizeof(text) - 1, "r");
	assert_non_null(s->in);
	read_config(s);
	assert_int_equal(s->now, 1700000000);
	assert_string_equal(s->forward, "192.0.2.53");
	assert_false(s->other_stub);
	assert_true(next_line(s));
	assert_true(read_range(s));
	assert_int_equal(s->count, 1);
	assert_int_equal(s->entries[0].type, 28);
	assert_int_equal(s->entries[0].rcode, 3);
	assert_int_equal(s->entries[0].to, 10);
	assert_true(s->entries[0].qname && s->entries[0].qtype && !s->entries[0].subdomain);
	assert_int_equal(ldns_rr_list_rr_count(s->entries[0].sections[0]), 0);
	assert_int_equal(ldns_rr_list_rr_count(s->entries[0].sections[1]), 1);
	fclose(s->in);
	entry_free(&s->entries[0]);
	free(s);
}

/* The data folder: named by the caller, or beside the checkout, seen from its top or from here. */
static const char *
data_folder(void)
{
	static const char *const places[] = {"../shared/data", "../../../shared/data"};
	const char *named = getenv("PROBECTL_TEST_DATA");

	for (size_t i = 0; named == NULL && i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], R_OK) == 0)
			named = places[i];
	return named != NULL ? named : places[0];
}

static void
test_scenarios(void **state)
{
	const char *data = data_folder();
	char path[4096];

	snprintf(path, sizeof(path), "%s/dns/unbound-val", data);
	if (access(path, R_OK) != 0)
	{
		printf("no scenarios in %s\n", path);
		skip();
	}
	run_folder(path);
	snprintf(path, sizeof(path), "%s/dns/domain-validator", data);
	run_folder(path);
	printf("scenarios: %d verdicts agree, %d differ, %d are not comparable\n", agreed, differed,
	       skipped);
	/* A driver that fails to read them would compare nothing. */
	assert_true(agreed >= 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_reader),
	                                   cmocka_unit_test(test_scenarios)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
