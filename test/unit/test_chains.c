/* SPDX-License-Identifier: PostgreSQL
 *
 * test_chains.c -- certificates that were parsed before, chains that were verified before.
 */
#include "mint.h"

#include <string.h>

#include "agent/http/certs.h"
#include "agent/http/chains.h"

#define NOW 1000000 /* monotonic seconds */

/* ---- certificates ---- */

struct bytes
{
	unsigned char *data;
	int len;
};

static struct bytes
bytes_of(const struct identity *identity)
{
	struct bytes bytes = {0};

	bytes.len = i2d_X509(identity->certificate, &bytes.data);
	assert_true(bytes.len > 0);
	return bytes;
}

/* Into an object that is there, as libssl does. */
static X509 *
parse(const struct bytes *bytes)
{
	const unsigned char *at = bytes->data;
	X509 *into = X509_new();
	X509 *parsed = certs_parse(&into, &at, bytes->len);

	assert_non_null(parsed);
	assert_ptr_equal(parsed, into);
	assert_ptr_equal(at, bytes->data + bytes->len);
	return parsed;
}

static void
test_same_bytes_same_object(void **state)
{
	struct identity ca = mint("CA", NULL, -1, 1, NULL), leaf = mint("leaf", "DNS:a", -1, 1, &ca);
	struct bytes bytes = bytes_of(&leaf);
	X509 *first = parse(&bytes), *again = parse(&bytes), *other;
	const unsigned char *at = bytes.data;

	assert_ptr_equal(first, again);
	assert_int_equal(X509_cmp(first, leaf.certificate), 0);
	/* without an object to fill */
	other = certs_parse(NULL, &at, bytes.len);
	assert_ptr_equal(other, first);
	X509_free(other);
	/* the last byte is of the signature */
	bytes.data[bytes.len - 1] ^= 1;
	other = parse(&bytes);
	assert_ptr_not_equal(other, first);
	assert_int_equal(X509_verify(first, ca.key), 1);
	assert_int_not_equal(X509_verify(other, ca.key), 1);
	X509_free(first);
	X509_free(again);
	X509_free(other);
	certs_forget();
	OPENSSL_free(bytes.data);
	identity_free(&leaf);
	identity_free(&ca);
}

static void
test_other_bytes_are_refused(void **state)
{
	struct identity ca = mint("CA", NULL, -1, 1, NULL);
	struct bytes bytes = bytes_of(&ca);
	unsigned char *longer = malloc((size_t) bytes.len + 4);
	const unsigned char *at;

	for (int i = 0; i < 2; i++)
	{
		X509 *parsed;

		/* cut short */
		at = bytes.data;
		assert_null(certs_parse(NULL, &at, bytes.len - 1));
		at = bytes.data;
		assert_null(certs_parse(NULL, &at, 0));
		/* what follows is left to the caller, also the second time */
		memcpy(longer, bytes.data, (size_t) bytes.len);
		memset(longer + bytes.len, 0, 4);
		at = longer;
		parsed = certs_parse(NULL, &at, bytes.len + 4);
		assert_non_null(parsed);
		assert_ptr_equal(at, longer + bytes.len);
		X509_free(parsed);
	}
	free(longer);
	OPENSSL_free(bytes.data);
	certs_forget();
	identity_free(&ca);
}

/* The longest unused goes; what is still held outside stays whole. */
static void
test_certificates_are_bounded(void **state)
{
	struct identity ca = mint("CA", NULL, -1, 1, NULL);
	struct bytes bytes = bytes_of(&ca);
	X509 *held = parse(&bytes), *again;

	for (int i = 0; i < CERTS_MAX; i++)
	{
		struct identity leaf = mint("leaf", "DNS:a", -1, 1, &ca);
		struct bytes one = bytes_of(&leaf);

		X509_free(parse(&one));
		OPENSSL_free(one.data);
		identity_free(&leaf);
	}
	again = parse(&bytes);
	assert_ptr_not_equal(again, held);
	assert_int_equal(X509_cmp(again, held), 0);
	X509_free(again);
	X509_free(held);
	OPENSSL_free(bytes.data);
	certs_forget();
	identity_free(&ca);
}

/* ---- chains ---- */

struct case_of_chain
{
	struct identity ca, leaf;
	X509_STORE *store;
	STACK_OF(X509) * shown;
	X509_STORE_CTX *ctx;
};

static int
accept_all(int ok, X509_STORE_CTX *ctx)
{
	return 1;
}

/* A verification of leaf by ca, as libssl prepares it. */
static void
chain_open(struct case_of_chain *c, const struct identity *leaf, const struct identity *ca)
{
	c->store = X509_STORE_new();
	X509_STORE_add_cert(c->store, ca->certificate);
	c->shown = sk_X509_new_null();
	sk_X509_push(c->shown, leaf->certificate);
	c->ctx = X509_STORE_CTX_new();
	X509_STORE_CTX_init(c->ctx, c->store, leaf->certificate, c->shown);
	X509_STORE_CTX_set_verify_cb(c->ctx, accept_all);
}

static void
chain_close(struct case_of_chain *c)
{
	X509_STORE_CTX_free(c->ctx);
	sk_X509_free(c->shown);
	X509_STORE_free(c->store);
}

/* Verifies and keeps, whatever came of it: what known makes of it is the question. */
static void
keep(const struct identity *leaf, const struct identity *ca, uint64_t trust, const char *host)
{
	struct case_of_chain c;

	chain_open(&c, leaf, ca);
	assert_int_equal(X509_verify_cert(c.ctx), 1);
	chains_keep(c.ctx, trust, host, NOW);
	chain_close(&c);
}

static bool
known(const struct identity *leaf, const struct identity *ca, uint64_t trust, const char *host,
      int64_t now)
{
	struct case_of_chain c;
	bool found;

	chain_open(&c, leaf, ca);
	found = chains_known(c.ctx, trust, host, now);
	if (found)
	{
		assert_int_equal(X509_STORE_CTX_get_error(c.ctx), X509_V_OK);
		/* the root came from the store, not from the server */
		assert_int_equal(sk_X509_num(X509_STORE_CTX_get0_chain(c.ctx)), 2);
	}
	chain_close(&c);
	return found;
}

static void
test_known_only_as_it_was(void **state)
{
	struct identity ca = mint("CA", NULL, -1, 1, NULL), leaf = mint("leaf", "DNS:a", -1, 1, &ca);
	struct identity twin = mint("leaf", "DNS:a", -1, 1, &ca);
	struct identity forged = {.key = leaf.key, .certificate = X509_dup(leaf.certificate)};
	struct identity same = {.key = leaf.key, .certificate = X509_dup(leaf.certificate)};
	const ASN1_BIT_STRING *signature;

	X509_get0_signature(&signature, NULL, forged.certificate);
	((unsigned char *) ASN1_STRING_get0_data(signature))[signature->length - 1] ^= 1;

	assert_false(known(&leaf, &ca, 1, "a", NOW));
	keep(&leaf, &ca, 1, "a");
	assert_true(known(&leaf, &ca, 1, "a", NOW));
	assert_true(known(&same, &ca, 1, "a", NOW)); /* other object, same bytes */
	assert_false(known(&leaf, &ca, 1, "b", NOW));
	assert_false(known(&leaf, &ca, 2, "a", NOW));
	assert_false(known(&twin, &ca, 1, "a", NOW));
	assert_false(known(&forged, &ca, 1, "a", NOW));
	/* for a while */
	assert_true(known(&leaf, &ca, 1, "a", NOW + CHAINS_KEPT_S - 1));
	assert_false(known(&leaf, &ca, 1, "a", NOW + CHAINS_KEPT_S));
	assert_false(known(&leaf, &ca, 1, "a", NOW)); /* and gone then */
	/* until the CA certificates are read again */
	keep(&leaf, &ca, 1, "a");
	keep(&leaf, &ca, 2, "a");
	chains_forget(1);
	assert_false(known(&leaf, &ca, 1, "a", NOW));
	assert_true(known(&leaf, &ca, 2, "a", NOW));
	chains_forget(0);
	assert_false(known(&leaf, &ca, 2, "a", NOW));
	X509_free(forged.certificate);
	X509_free(same.certificate);
	identity_free(&leaf);
	identity_free(&twin);
	identity_free(&ca);
}

/* Dates are looked at each time, those of the CA too. */
static void
test_dates_count_each_time(void **state)
{
	const struct
	{
		long leaf_from, leaf_to, ca_from, ca_to;
		bool known;
	} cases[] = {
	    {-1, 1, -1, 1, true},   {-2, -1, -2, 1, false}, {1, 2, -1, 2, false},
	    {-1, 1, -2, -1, false}, {-1, 1, 1, 2, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct identity ca = mint("CA", NULL, cases[i].ca_from, cases[i].ca_to, NULL);
		struct identity leaf = mint("leaf", "DNS:a", cases[i].leaf_from, cases[i].leaf_to, &ca);

		keep(&leaf, &ca, 1, "a");
		assert_int_equal(known(&leaf, &ca, 1, "a", NOW), cases[i].known);
		chains_forget(0);
		identity_free(&leaf);
		identity_free(&ca);
	}
}

static void
test_chains_are_bounded(void **state)
{
	struct identity ca = mint("CA", NULL, -1, 1, NULL), leaf = mint("leaf", "DNS:a", -1, 1, &ca);
	char host[16];

	for (int i = 0; i <= CHAINS_MAX; i++)
	{
		snprintf(host, sizeof(host), "h%d", i);
		keep(&leaf, &ca, 1, host);
	}
	assert_false(known(&leaf, &ca, 1, "h0", NOW));
	for (int i = 1; i <= CHAINS_MAX; i++)
	{
		snprintf(host, sizeof(host), "h%d", i);
		assert_true(known(&leaf, &ca, 1, host, NOW));
	}
	chains_forget(0);
	identity_free(&leaf);
	identity_free(&ca);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_same_bytes_same_object),
	    cmocka_unit_test(test_other_bytes_are_refused),
	    cmocka_unit_test(test_certificates_are_bounded),
	    cmocka_unit_test(test_known_only_as_it_was),
	    cmocka_unit_test(test_dates_count_each_time),
	    cmocka_unit_test(test_chains_are_bounded),
	};

	return cmocka_run_group_tests_name("certs and chains", tests, NULL, NULL);
}
