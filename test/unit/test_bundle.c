/* SPDX-License-Identifier: PostgreSQL
 *
 * test_bundle.c -- whose tests an agent takes: those signed by a key its root vouches for, meant
 * for it, and not older than what it has.
 */
#include "unit.h"

#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "agent/bundle.h"
#include "lib/buf.h"
#include "lib/crypto.h"
#include "lib/files.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "probectl/agent/v1/agent.pb-c.h"
#include "probectl/test/v1/test.pb-c.h"

#define TENANT "11111111-1111-4111-8111-111111111111"
#define AGENT  "22222222-2222-4222-8222-222222222222"
#define OTHER  "33333333-3333-4333-8333-333333333333"
#define URI    "URI:" BUNDLE_SIGNER

/* ---- certificates ---- */

struct party
{
	EVP_PKEY *key;
	X509 *cert;
};

struct wanted
{
	const char *name, *uri, *use;
	bool ca;
	long from, until; /* seconds from now */
};

static void
extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static struct party
certify(const struct party *issuer, EVP_PKEY *key, const struct wanted *w)
{
	static long serial;
	struct party p = {key, X509_new()};
	const struct party *by = issuer ? issuer : &p;

	X509_set_version(p.cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(p.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(p.cert), w->from ? w->from : -60);
	X509_gmtime_adj(X509_getm_notAfter(p.cert), w->until ? w->until : 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(p.cert), "CN", MBSTRING_ASC,
	                           (const unsigned char *) w->name, -1, -1, 0);
	X509_set_pubkey(p.cert, key);
	X509_set_issuer_name(p.cert, X509_get_subject_name(by->cert));
	extension(p.cert, by->cert, NID_basic_constraints, w->ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (w->ca)
		extension(p.cert, by->cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	if (w->uri)
		extension(p.cert, by->cert, NID_subject_alt_name, w->uri);
	if (w->use)
		extension(p.cert, by->cert, NID_ext_key_usage, w->use);
	assert_true(X509_sign(p.cert, by->key, EVP_sha256()) > 0);
	return p;
}

static void
party_free(struct party *p)
{
	EVP_PKEY_free(p->key);
	X509_free(p->cert);
}

static char *
pem_of(X509 *first, X509 *second)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text;
	long len;

	PEM_write_bio_X509(bio, first);
	if (second)
		PEM_write_bio_X509(bio, second);
	len = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t) len);
	BIO_free(bio);
	return text;
}

/* ---- an agent, its CA, and somebody who signs ---- */

struct world
{
	char *dir;
	struct party root, middle, signer;
	struct identity identity;
	struct bundle bundle;
};

static void
signer_change(struct world *w, EVP_PKEY *key, const struct wanted *wanted)
{
	party_free(&w->signer);
	w->signer = certify(&w->middle, key, wanted);
}

static struct world *
world_make(void)
{
	static const struct wanted root = {.name = "root", .ca = true};
	static const struct wanted middle = {.name = "middle", .ca = true};
	static const struct wanted signer = {.name = "tests", .uri = URI, .use = "codeSigning"};
	struct world *w = calloc(1, sizeof(*w));
	char *pem;

	w->dir = unit_dir();
	w->root = certify(NULL, EVP_EC_gen("P-256"), &root);
	w->middle = certify(&w->root, EVP_EC_gen("P-256"), &middle);
	w->signer = certify(&w->middle, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), &signer);
	snprintf(w->identity.tenant_id, sizeof(w->identity.tenant_id), "%s", TENANT);
	snprintf(w->identity.agent_id, sizeof(w->identity.agent_id), "%s", AGENT);
	snprintf(w->identity.ca_file, sizeof(w->identity.ca_file), "%s/ca.pem", w->dir);
	pem = pem_of(w->root.cert, NULL);
	unit_write(w->identity.ca_file, pem, strlen(pem));
	free(pem);
	bundle_open(&w->bundle, &w->identity, w->dir);
	assert_int_equal(w->bundle.revision, 0);
	return w;
}

static void
world_end(struct world *w)
{
	bundle_close(&w->bundle);
	party_free(&w->root);
	party_free(&w->middle);
	party_free(&w->signer);
	unit_dir_remove(w->dir);
	free(w);
}

struct answer
{
	uint8_t bundle[1024], signature[128], bytes[8192];
	size_t bundle_len, signature_len, len;
	char *signer;
};

static void
answer_pack(struct answer *a)
{
	Probectl__Agent__V1__PullTestsResponse r = PROBECTL__AGENT__V1__PULL_TESTS_RESPONSE__INIT;

	r.bundle.data = a->bundle;
	r.bundle.len = a->bundle_len;
	r.signature.data = a->signature;
	r.signature.len = a->signature_len;
	r.signer_pem = a->signer;
	assert_true(probectl__agent__v1__pull_tests_response__get_packed_size(&r) < sizeof(a->bytes));
	a->len = probectl__agent__v1__pull_tests_response__pack(&r, a->bytes);
}

static void
answer_sign(const struct world *w, struct answer *a, const char *domain)
{
	uint8_t text[2048];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t head = strlen(domain);
	const char *digest = EVP_PKEY_is_a(w->signer.key, "ED25519") ? NULL : "SHA256";

	memcpy(text, domain, head);
	memcpy(text + head, a->bundle, a->bundle_len);
	a->signature_len = sizeof(a->signature);
	assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, digest, NULL, NULL, w->signer.key, NULL), 1);
	assert_int_equal(
	    EVP_DigestSign(ctx, a->signature, &a->signature_len, text, head + a->bundle_len), 1);
	EVP_MD_CTX_free(ctx);
}

/* One test to 192.0.2.<revision>, signed as it should be. */
static struct answer *
answer_for(const struct world *w, uint64_t revision, const char *tenant, const char *agent)
{
	static struct answer a;
	Probectl__Test__V1__TestBundle bundle = PROBECTL__TEST__V1__TEST_BUNDLE__INIT;
	Probectl__Test__V1__Test test = PROBECTL__TEST__V1__TEST__INIT, *tests[] = {&test};
	char target[32];

	snprintf(target, sizeof(target), "192.0.2.%u", (unsigned) revision);
	test.test_id = (char *) "00000000-0000-4000-8000-000000000001";
	test.type = (char *) "icmp";
	test.target = target;
	test.interval_ms = 60000;
	test.timeout_ms = 1000;
	bundle.revision = revision;
	bundle.tenant_id = (char *) tenant;
	bundle.agent_id = (char *) agent;
	bundle.tests = tests;
	bundle.n_tests = 1;
	free(a.signer);
	memset(&a, 0, sizeof(a));
	a.bundle_len = probectl__test__v1__test_bundle__pack(&bundle, a.bundle);
	answer_sign(w, &a, BUNDLE_DOMAIN);
	a.signer = pem_of(w->signer.cert, w->middle.cert);
	answer_pack(&a);
	return &a;
}

static struct answer *
good(const struct world *w, uint64_t revision)
{
	return answer_for(w, revision, TENANT, AGENT);
}

/* The one test of a bundle goes to 192.0.2.<revision>; 0: it has none. */
static void
holds(const struct bundle *b, uint64_t revision)
{
	struct test_list list = {0};
	char target[32];

	assert_int_equal(b->revision, revision);
	bundle_tests(b, &list);
	assert_int_equal(list.count, revision > 0);
	snprintf(target, sizeof(target), "192.0.2.%u", (unsigned) revision);
	if (revision > 0)
		assert_string_equal(list.items[0]->spec.target, target);
	tests_free(&list);
}

static void
taken(struct world *w, uint64_t revision)
{
	struct answer *a = good(w, revision);

	if (bundle_take(&w->bundle, a->bytes, a->len) != BUNDLE_OK)
		fail_msg("%s", w->bundle.problem);
	holds(&w->bundle, revision);
	assert_string_equal(w->bundle.problem, "");
}

/* Refused for that reason; revision 5, which runs, runs on, and would after a restart. */
static void
refused(struct world *w, const struct answer *a, enum bundle_refusal why, const char *words)
{
	uint64_t before = w->bundle.refused;
	struct bundle again;

	assert_int_equal(bundle_take(&w->bundle, a->bytes, a->len), why);
	if (!strstr(w->bundle.problem, words))
		fail_msg("want \"%s\", got \"%s\"", words, w->bundle.problem);
	assert_int_equal(w->bundle.refused, before + 1);
	holds(&w->bundle, 5);
	bundle_open(&again, &w->identity, w->dir);
	holds(&again, 5);
	bundle_close(&again);
}

static void
a_signed_bundle_is_taken_and_kept(void **state)
{
	struct world *w = world_make();
	struct bundle again;

	taken(w, 3);
	taken(w, 3); /* the same again changes nothing and harms nothing */
	taken(w, 4);
	bundle_open(&again, &w->identity, w->dir);
	holds(&again, 4);
	bundle_close(&again);
	world_end(w);
}

static void
an_older_one_is_refused(void **state)
{
	struct world *w = world_make();

	taken(w, 5);
	refused(w, good(w, 4), BUNDLE_ROLLBACK, "revision 4 is older than 5");
	refused(w, good(w, 0), BUNDLE_ROLLBACK, "revision 0 is older than 5");
	/* Nor after a restart. */
	bundle_close(&w->bundle);
	bundle_open(&w->bundle, &w->identity, w->dir);
	refused(w, good(w, 4), BUNDLE_ROLLBACK, "older");
	taken(w, 6);
	world_end(w);
}

static void
what_was_changed_on_the_way_is_refused(void **state)
{
	struct world *w = world_make();
	struct answer *a;

	taken(w, 5);
	/* Every byte of the bundle and of the signature counts. */
	for (size_t i = 0; i < good(w, 6)->bundle_len; i++)
	{
		a = good(w, 6);
		a->bundle[i] ^= 1;
		answer_pack(a);
		refused(w, a, BUNDLE_UNSIGNED, "signature does not hold");
	}
	for (size_t i = 0; i < 64; i += 7)
	{
		a = good(w, 6);
		a->signature[i] ^= 1;
		answer_pack(a);
		refused(w, a, BUNDLE_UNSIGNED, "signature does not hold");
	}
	a = good(w, 6);
	a->signature_len = 0;
	answer_pack(a);
	refused(w, a, BUNDLE_UNSIGNED, "not signed");
	a = good(w, 6);
	a->signature_len = 63;
	answer_pack(a);
	refused(w, a, BUNDLE_UNSIGNED, "signature does not hold");
	a = good(w, 6);
	answer_sign(w, a, "probectl.other.v1\n");
	answer_pack(a);
	refused(w, a, BUNDLE_UNSIGNED, "signature does not hold");
	a = good(w, 6);
	a->signer[40] = '!';
	answer_pack(a);
	refused(w, a, BUNDLE_UNSIGNED, "certificate of its signer cannot be read");
	a = good(w, 6);
	a->len -= 10;
	refused(w, a, BUNDLE_UNREADABLE, "cannot be read");
	world_end(w);
}

static void
only_the_signer_of_tests_may_sign(void **state)
{
	static const struct
	{
		struct wanted wanted;
		const char *key, *words;
	} cases[] = {
	    {{.name = "server", .uri = "DNS:ingest", .use = "serverAuth"}, "ED25519", "may not sign"},
	    {{.name = "agent",
	      .uri = "URI:spiffe://probectl/tenant/" TENANT "/agent/" AGENT,
	      .use = "clientAuth"},
	     "ED25519",
	     "may not sign"},
	    {{.name = "use", .uri = URI, .use = "clientAuth"}, "ED25519", "may not sign"},
	    {{.name = "both", .uri = URI, .use = "codeSigning,clientAuth"}, "ED25519", "may not sign"},
	    {{.name = "none", .uri = URI}, "ED25519", "may not sign"},
	    {{.name = "name", .uri = URI "/x", .use = "codeSigning"}, "ED25519", "may not sign"},
	    {{.name = "two", .uri = URI "," URI, .use = "codeSigning"}, "ED25519", "may not sign"},
	    {{.name = "curve", .uri = URI, .use = "codeSigning"}, "EC", "may not sign"},
	    {{.name = "old", .uri = URI, .use = "codeSigning", .from = -200, .until = -100},
	     "ED25519",
	     "expired"},
	    {{.name = "early", .uri = URI, .use = "codeSigning", .from = 100}, "ED25519", "not yet"},
	};
	struct world *w = world_make();

	taken(w, 5);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		EVP_PKEY *key = strcmp(cases[i].key, "EC") == 0 ? EVP_EC_gen("P-256")
		                                                : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

		signer_change(w, key, &cases[i].wanted);
		refused(w, good(w, 6), BUNDLE_UNSIGNED, cases[i].words);
	}
	world_end(w);
}

static void
a_stranger_s_root_signs_nothing(void **state)
{
	struct world *w = world_make(), *stranger = world_make();
	struct answer *a;

	taken(w, 5);
	a = good(stranger, 6);
	refused(w, a, BUNDLE_UNSIGNED, "certificate signature failure");
	/* His root in the chain does not help him. */
	free(a->signer);
	a->signer = pem_of(stranger->signer.cert, stranger->root.cert);
	answer_pack(a);
	refused(w, a, BUNDLE_UNSIGNED, "certificate");
	world_end(stranger);
	world_end(w);
}

static void
tests_of_another_are_refused(void **state)
{
	struct world *w = world_make();

	taken(w, 5);
	refused(w, answer_for(w, 6, TENANT, OTHER), BUNDLE_STRANGER, "for agent " OTHER);
	refused(w, answer_for(w, 6, OTHER, AGENT), BUNDLE_STRANGER, "tenant " OTHER);
	refused(w, answer_for(w, 6, TENANT, ""), BUNDLE_STRANGER, "for agent");
	refused(w, answer_for(w, 6, "", AGENT), BUNDLE_STRANGER, "for agent");
	world_end(w);
}

/* A machine that starts without a link may start without the right time as well. */
static void
kept_tests_outlive_their_signer(void **state)
{
	static const struct wanted old = {
	    .name = "old", .uri = URI, .use = "codeSigning", .from = -200, .until = -100};
	struct world *w = world_make();
	struct bundle again;
	struct answer *a;
	char file[512];

	taken(w, 5);
	signer_change(w, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), &old);
	a = good(w, 5);
	snprintf(file, sizeof(file), "%s/tests.signed", w->dir);
	unit_write(file, a->bytes, a->len);
	bundle_open(&again, &w->identity, w->dir);
	holds(&again, 5);
	bundle_close(&again);
	/* But what somebody wrote there himself does not run. */
	a->bundle[a->bundle_len - 1] ^= 1;
	answer_pack(a);
	unit_write(file, a->bytes, a->len);
	bundle_open(&again, &w->identity, w->dir);
	holds(&again, 0);
	bundle_close(&again);
	world_end(w);
}

static void
no_new_root_over_a_link(void **state)
{
	struct world *w = world_make(), *stranger = world_make();
	char *same = pem_of(w->root.cert, w->middle.cert);
	char *more = pem_of(w->root.cert, stranger->root.cert);
	char *other = pem_of(stranger->root.cert, NULL);
	char *middle = pem_of(w->middle.cert, NULL);

	assert_true(crypto_roots_known(same, w->identity.ca_file));
	assert_true(crypto_roots_known(middle, w->identity.ca_file)); /* leads to what is known */
	assert_false(crypto_roots_known(more, w->identity.ca_file));
	assert_false(crypto_roots_known(other, w->identity.ca_file));
	assert_false(crypto_roots_known("", w->identity.ca_file));
	assert_false(crypto_roots_known(same, "/nonexistent"));
	free(same);
	free(more);
	free(other);
	free(middle);
	world_end(stranger);
	world_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_signed_bundle_is_taken_and_kept),
	    cmocka_unit_test(an_older_one_is_refused),
	    cmocka_unit_test(what_was_changed_on_the_way_is_refused),
	    cmocka_unit_test(only_the_signer_of_tests_may_sign),
	    cmocka_unit_test(a_stranger_s_root_signs_nothing),
	    cmocka_unit_test(tests_of_another_are_refused),
	    cmocka_unit_test(kept_tests_outlive_their_signer),
	    cmocka_unit_test(no_new_root_over_a_link),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("bundle", tests, NULL, NULL);
}
