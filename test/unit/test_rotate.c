/* SPDX-License-Identifier: PostgreSQL
 *
 * test_rotate.c -- when a certificate is replaced, and what proves that its holder asks.
 */
#include "unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "agent/rotate.h"
#include "lib/crypto.h"
#include "lib/identity.h"

#define HOUR 3600

static void
due_is_two_thirds_in_give_or_take(void **state)
{
	struct identity id = {.not_before = 1000000, .not_after = 1000000 + 24 * HOUR};
	int64_t low = INT64_MAX, high = 0;

	for (uint32_t i = 0; i < 100000; i++)
	{
		int64_t due = rotate_due(&id, i * 2654435761u) - id.not_before;

		assert_true(due >= 15 * HOUR && due <= 17 * HOUR);
		low = due < low ? due : low;
		high = due > high ? due : high;
	}
	/* A fleet that enrolled together is spread over the two hours. */
	assert_true(low < 15 * HOUR + 60 && high > 17 * HOUR - 60);
}

static void
due_is_within_any_life(void **state)
{
	static const int64_t lives[] = {0, 1, 2, 10, 23, 24, 60, HOUR, 365 * 24 * HOUR};

	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		for (uint32_t random = 0; random < 3; random++)
		{
			struct identity id = {.not_before = 5, .not_after = 5 + lives[i]};
			int64_t due = rotate_due(&id, random == 2 ? UINT32_MAX : random);

			assert_true(due >= id.not_before && due <= id.not_after);
		}
}

static EVP_PKEY *
key_of(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

static bool
verified(EVP_PKEY *key, const EVP_MD *md, const char *text, const uint8_t *sig, size_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = EVP_DigestVerifyInit(ctx, NULL, md, NULL, key) == 1 &&
	          EVP_DigestVerify(ctx, sig, len, (const uint8_t *) text, strlen(text)) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static void
signature_is_by_the_key(void **state)
{
	char *pem = crypto_key_new(), *other_pem = crypto_key_new();
	EVP_PKEY *key = key_of(pem), *other = key_of(other_pem);
	uint8_t sig[256];
	size_t len = sizeof(sig);

	assert_true(crypto_sign(pem, "text", sig, &len));
	assert_true(verified(key, EVP_sha256(), "text", sig, len));
	assert_false(verified(key, EVP_sha256(), "texT", sig, len));
	assert_false(verified(other, EVP_sha256(), "text", sig, len));
	len = 8;
	assert_false(crypto_sign(pem, "text", sig, &len));
	len = sizeof(sig);
	assert_false(crypto_sign("no key", "text", sig, &len));
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	free(pem);
	free(other_pem);
}

static void
ed25519_signs_without_a_digest(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new(BIO_s_mem());
	uint8_t sig[256];
	size_t len = sizeof(sig);
	char pem[512] = "";

	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	assert_true(BIO_read(bio, pem, sizeof(pem) - 1) > 0);
	assert_true(crypto_sign(pem, "text", sig, &len));
	assert_int_equal(len, 64);
	assert_true(verified(key, NULL, "text", sig, len));
	BIO_free(bio);
	EVP_PKEY_free(key);
}

static void
fingerprint_is_of_the_public_key(void **state)
{
	char *pem = crypto_key_new();
	EVP_PKEY *key = key_of(pem);
	uint8_t ours[CRYPTO_SHA256_BYTES], theirs[CRYPTO_SHA256_BYTES];
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	crypto_sha256(der, (size_t) len, theirs);
	assert_true(crypto_key_fingerprint(pem, ours));
	assert_memory_equal(ours, theirs, sizeof(ours));
	assert_false(crypto_key_fingerprint("no key", ours));
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	free(pem);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(due_is_two_thirds_in_give_or_take),
	    cmocka_unit_test(due_is_within_any_life),
	    cmocka_unit_test(signature_is_by_the_key),
	    cmocka_unit_test(ed25519_signs_without_a_digest),
	    cmocka_unit_test(fingerprint_is_of_the_public_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
