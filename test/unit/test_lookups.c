/* SPDX-License-Identifier: PostgreSQL
 *
 * test_lookups.c -- algorithms that were looked up before: the library is asked once, and gives the same.
 */
#include "unit.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>

#include "agent/http/lookups.h"

static int asked;

#define STAND_IN(TYPE)                                                                             \
	TYPE *__wrap_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);      \
	TYPE *__real_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);      \
                                                                                                   \
	TYPE *__real_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties)       \
	{                                                                                              \
		asked++;                                                                                   \
		return TYPE##_fetch(ctx, name, properties);                                                \
	}

STAND_IN(EVP_MD)
STAND_IN(EVP_MAC)
STAND_IN(EVP_KDF)

int __real_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys,
                                    void (*each)(const char *name, void *data), void *data);
int __wrap_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys,
                                    void (*each)(const char *name, void *data), void *data);

int
__real_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys, void (*each)(const char *name, void *data),
                                void *data)
{
	asked++;
	return EVP_KEYMGMT_names_do_all(keys, each, data);
}

static void
test_asked_once(void **state)
{
	EVP_MD *theirs = EVP_MD_fetch(NULL, "SHA256", NULL);

	asked = 0;
	for (int i = 0; i < 3; i++)
	{
		EVP_MD *md = __wrap_EVP_MD_fetch(NULL, "SHA256", i == 2 ? "" : NULL);
		EVP_MAC *mac = __wrap_EVP_MAC_fetch(NULL, "HMAC", NULL);
		EVP_KDF *kdf = __wrap_EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);

		assert_ptr_equal(md, theirs);
		assert_true(EVP_MAC_is_a(mac, "HMAC"));
		assert_true(EVP_KDF_is_a(kdf, "TLS13-KDF"));
		assert_int_equal(asked, 3);
		EVP_MD_free(md);
		EVP_MAC_free(mac);
		EVP_KDF_free(kdf);
	}
	EVP_MD_free(theirs);
}

/* A name means another thing for another kind, in another context, and with properties. */
static void
test_asked_apart(void **state)
{
	OSSL_LIB_CTX *other = OSSL_LIB_CTX_new();
	EVP_MD *usual = __wrap_EVP_MD_fetch(NULL, "SHA384", NULL),
	       *same = __wrap_EVP_MD_fetch(OSSL_LIB_CTX_get0_global_default(), "SHA384", NULL);
	EVP_KDF *kdf = __wrap_EVP_KDF_fetch(NULL, "HKDF", NULL);

	assert_non_null(usual);
	assert_ptr_equal(usual, same);
	assert_non_null(kdf);
	assert_null(__wrap_EVP_MD_fetch(NULL, "HKDF", NULL));
	asked = 0;
	for (int i = 0; i < 2; i++)
	{
		EVP_MD *apart = __wrap_EVP_MD_fetch(other, "SHA384", NULL);

		assert_non_null(apart);
		assert_ptr_not_equal(usual, apart);
		EVP_MD_free(apart);
		assert_null(__wrap_EVP_MD_fetch(NULL, "SHA384", "provider=none"));
		assert_null(__wrap_EVP_MD_fetch(NULL, "no such digest", NULL));
	}
	assert_int_equal(asked, 6);
	EVP_MD_free(usual);
	EVP_MD_free(same);
	EVP_KDF_free(kdf);
	OSSL_LIB_CTX_free(other);
}

static void
collect(const char *name, void *data)
{
	char *text = data;

	strcat(strcat(text, name), " ");
}

static void
test_names(void **state)
{
	static const char *const kinds[] = {"X25519", "EC", "RSA"};

	for (size_t i = 0; i < 3; i++)
	{
		EVP_KEYMGMT *keys = EVP_KEYMGMT_fetch(NULL, kinds[i], NULL);
		char theirs[300] = "";

		assert_int_equal(EVP_KEYMGMT_names_do_all(keys, collect, theirs), 1);
		asked = 0;
		for (int k = 0; k < 3; k++)
		{
			char ours[300] = "";

			assert_int_equal(__wrap_EVP_KEYMGMT_names_do_all(keys, collect, ours), 1);
			assert_string_equal(ours, theirs);
			assert_int_equal(asked, 1);
		}
		EVP_KEYMGMT_free(keys);
	}
}

/* More than there is room for are still found. */
static void
test_bounded(void **state)
{
	static const char *const names[] = {
	    "SHA1",         "SHA224",       "SHA512",     "SHA512-224",  "SHA512-256",
	    "SHA3-224",     "SHA3-256",     "SHA3-384",   "SHA3-512",    "SHAKE128",
	    "SHAKE256",     "BLAKE2B-512",  "MD5",        "BLAKE2S-256", "SM3",
	    "RIPEMD160",    "MD5-SHA1",     "SHA2-224",   "SHA-1",       "SHA2-512",
	    "SHA2-512/224", "SHA2-512/256", "SHAKE-128",  "SHAKE-256",   "KECCAK-KMAC-128",
	    "SSL3-MD5",     "ssl3-sha1",    "BLAKE2s256", "BLAKE2b512",  "RMD160"};

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		{
			EVP_MD *theirs = EVP_MD_fetch(NULL, names[i], NULL);
			EVP_MD *ours = __wrap_EVP_MD_fetch(NULL, names[i], NULL);

			assert_ptr_equal(ours, theirs);
			EVP_MD_free(ours);
			EVP_MD_free(theirs);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_asked_once),
	    cmocka_unit_test(test_asked_apart),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests_name("lookups", tests, NULL, NULL);
}
