/* SPDX-License-Identifier: PostgreSQL
 *
 * test_verify.c -- chains of certificates: classes of what is wrong, and the x509-limbo corpus.
 *
 * The corpus is not part of the project: without it that test is skipped. It is stricter than OpenSSL in
 * some rules of the web's CAs; those cases are listed, and all others have to agree.
 */
#include "mint.h"

#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <time.h>

#include "agent/http/verify.h"

#define CORPUS "../shared/data/tls-x509/limbo.json"

/* What OpenSSL accepts at security level 0, though the rules for CAs forbid to issue it: key identifiers
 * that are missing, extensions where they should not be, weak algorithms. None of it lets a certificate
 * pass for a name that its issuer did not vouch for. */
static const char *const lax[] = {"rfc5280::aki::leaf-missing-aki",
                                  "rfc5280::aki::intermediate-missing-aki",
                                  "rfc5280::nc::not-allowed-in-ee-noncritical",
                                  "rfc5280::nc::not-allowed-in-ee-critical",
                                  "rfc5280::nc::nc-permits-invalid-dns-san",
                                  "rfc5280::san::noncritical-with-empty-subject",
                                  "rfc5280::serial::too-long",
                                  "rfc5280::ski::root-missing-ski",
                                  "rfc5280::ski::intermediate-missing-ski",
                                  "rfc5280::leaf-ku-keycertsign",
                                  "webpki::aki::root-with-aki-missing-keyidentifier",
                                  "webpki::eku::ee-anyeku",
                                  "webpki::eku::ee-critical-eku",
                                  "webpki::eku::ee-without-eku",
                                  "webpki::eku::root-has-eku",
                                  "webpki::malformed-aia",
                                  "webpki::forbidden-p192-spki-leaf",
                                  "webpki::forbidden-signature-algorithm-in-root",
                                  "webpki::v1-cert",
                                  "webpki::ee-basicconstraints-ca",
                                  NULL};

static enum error_type
judged(X509 *leaf, STACK_OF(X509) * trusted, STACK_OF(X509) * shown, const char *host, bool address,
       time_t when, char *problem, size_t len)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509_VERIFY_PARAM *param;
	struct verdict verdict = {0};
	enum error_type type;

	for (int i = 0; i < sk_X509_num(trusted); i++)
		X509_STORE_add_cert(store, sk_X509_value(trusted, i));
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, shown), 1);
	X509_STORE_CTX_set_default(ctx, "ssl_server");
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_hostflags(param, VERIFY_HOST_FLAGS);
	if (host)
		assert_int_equal(address ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
		                         : X509_VERIFY_PARAM_set1_host(param, host, 0),
		                 1);
	if (when)
		X509_VERIFY_PARAM_set_time(param, when);
	assert_true(verify_chain(ctx, &verdict));
	type = verify_judge(&verdict, problem, len);
	assert_int_equal(verify_passed(&verdict), type == ERROR_NONE);
	assert_int_equal(problem[0] == '\0', type == ERROR_NONE);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return type;
}

static void
test_gravest_problem_is_the_class(void **state)
{
	struct identity ca = mint("CA", NULL, -10, 10, NULL),
	                other = mint("Other", NULL, -10, 10, NULL);
	const struct
	{
		const char *san;
		long from, to;
		const struct identity *issuer;
		enum error_type type;
		const char *words[3];
	} cases[] = {
	    {"DNS:a.example", -1, 1, &ca, ERROR_NONE, {NULL}},
	    {"DNS:b.example", -1, 1, &ca, ERROR_TLS_NAME_MISMATCH, {"hostname mismatch"}},
	    {"DNS:a.example", -1, 1, &other, ERROR_TLS_UNKNOWN_CA, {"unable to get local issuer"}},
	    {"DNS:b.example", -3, -1, &ca, ERROR_TLS_EXPIRED, {"certificate has expired", "hostname"}},
	    {"DNS:b.example", 1, 3, &other, ERROR_TLS_NOT_YET_VALID, {"not yet valid", "issuer"}},
	};
	STACK_OF(X509) *trusted = sk_X509_new_null();
	char problem[200];

	sk_X509_push(trusted, ca.certificate);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct identity leaf = mint("leaf", cases[i].san, cases[i].from, cases[i].to,
		                            cases[i].issuer);

		assert_int_equal(judged(leaf.certificate, trusted, NULL, "a.example", false, 0, problem,
		                        sizeof(problem)),
		                 cases[i].type);
		for (size_t k = 0; k < 3 && cases[i].words[k]; k++)
			assert_non_null(strstr(problem, cases[i].words[k]));
		identity_free(&leaf);
	}
	/* a name in the subject alone is none */
	{
		struct identity leaf = mint("a.example", "email:x@a.example", -1, 1, &ca);

		assert_int_equal(judged(leaf.certificate, trusted, NULL, "a.example", false, 0, problem,
		                        sizeof(problem)),
		                 ERROR_TLS_NAME_MISMATCH);
		identity_free(&leaf);
	}
	/* the same leaf at another time */
	{
		struct identity leaf = mint("leaf", "IP:192.0.2.1", -1, 1, &ca);

		assert_int_equal(
		    judged(leaf.certificate, trusted, NULL, "192.0.2.1", true, 0, problem, sizeof(problem)),
		    ERROR_NONE);
		assert_int_equal(judged(leaf.certificate, trusted, NULL, "192.0.2.1", true,
		                        time(NULL) + 2 * 86400, problem, sizeof(problem)),
		                 ERROR_TLS_EXPIRED);
		assert_int_equal(
		    judged(leaf.certificate, trusted, NULL, "192.0.2.2", true, 0, problem, sizeof(problem)),
		    ERROR_TLS_NAME_MISMATCH);
		identity_free(&leaf);
	}
	sk_X509_free(trusted);
	identity_free(&ca);
	identity_free(&other);
}

/* ---- the corpus ---- */

static X509 *
read_pem(const json_t *text)
{
	BIO *bio = BIO_new_mem_buf(json_string_value(text), -1);
	X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return certificate;
}

static STACK_OF(X509) * read_all(const json_t *texts)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	json_t *text;
	size_t i;

	json_array_foreach(texts, i, text)
	{
		X509 *certificate = read_pem(text);

		if (certificate)
			sk_X509_push(all, certificate);
	}
	return all;
}

static time_t
read_time(const json_t *text)
{
	struct tm tm = {0};

	return json_is_string(text) && strptime(json_string_value(text), "%Y-%m-%dT%H:%M:%S", &tm)
	           ? timegm(&tm)
	           : 0;
}

/* Refused by the parser counts as refused. */
static bool
accepted(const json_t *test)
{
	const json_t *peer = json_object_get(test, "expected_peer_name");
	const char *kind = json_string_value(json_object_get(peer, "kind"));
	X509 *leaf = read_pem(json_object_get(test, "peer_certificate"));
	STACK_OF(X509) *trusted = read_all(json_object_get(test, "trusted_certs"));
	STACK_OF(X509) *shown = read_all(json_object_get(test, "untrusted_intermediates"));
	char problem[200];
	bool ok = leaf &&
	          judged(leaf, trusted, shown, json_string_value(json_object_get(peer, "value")),
	                 kind && strcmp(kind, "IP") == 0,
	                 read_time(json_object_get(test, "validation_time")), problem,
	                 sizeof(problem)) == ERROR_NONE;

	X509_free(leaf);
	sk_X509_pop_free(trusted, X509_free);
	sk_X509_pop_free(shown, X509_free);
	return ok;
}

static bool
is_lax(const char *id)
{
	for (size_t i = 0; lax[i]; i++)
		if (strcmp(lax[i], id) == 0)
			return true;
	return false;
}

static void
test_limbo(void **state)
{
	json_t *corpus = json_load_file(CORPUS, 0, NULL), *test;
	size_t i, agreed = 0, wrong = 0;

	if (!corpus)
		skip();
	json_array_foreach(json_object_get(corpus, "testcases"), i, test)
	{
		const char *id = json_string_value(json_object_get(test, "id"));
		bool want = strcmp(json_string_value(json_object_get(test, "expected_result")),
		                   "SUCCESS") == 0;

		/* the agent sets no depth of its own */
		if (json_is_integer(json_object_get(test, "max_chain_depth")))
			continue;
		if (accepted(test) == want)
			agreed++;
		else if (want || !is_lax(id))
		{
			print_error("%s: wanted %s\n", id, want ? "accepted" : "refused");
			wrong++;
		}
	}
	print_message("%zu agree, %zu do not\n", agreed, wrong);
	json_decref(corpus);
	assert_int_equal(wrong, 0);
	assert_true(agreed > 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gravest_problem_is_the_class),
	    cmocka_unit_test(test_limbo),
	};

	return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
