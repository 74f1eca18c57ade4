/* SPDX-License-Identifier: PostgreSQL
 *
 * crypto.c -- primitives on OpenSSL 3, algorithms fetched once per backend.
 *
 * Fetching costs more than hashing 300 bytes, so the SHA-256 and HMAC handles live as long as
 * the backend. The envelope key is read before the first fork: backends inherit it and
 * never open the file, which may then belong to the server's user alone.
 */
#include "core/crypto.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "core/guc.h"
#include "miscadmin.h"
#include "storage/fd.h"

#define NONCE_LEN 12
#define TAG_LEN   16

static uint8 envelope_key[PCTL_KEY_LEN];
static bool envelope_key_loaded = false;

static EVP_MD *sha256 = NULL;
static EVP_MD_CTX *sha256_ctx = NULL;
static EVP_MAC *hmac = NULL;

/* Raises what OpenSSL says, which names no secret. */
static void
crypto_fail(const char *what)
{
	unsigned long code = ERR_get_error();
	char detail[128] = "no detail";

	if (code != 0)
		ERR_error_string_n(code, detail, sizeof(detail));
	ERR_clear_error();
	ereport(ERROR,
	        (errcode(ERRCODE_INTERNAL_ERROR), errmsg("cryptographic operation failed: %s", what),
	         errdetail_log("%s", detail)));
}

void
pctl_sha256_begin(void)
{
	if (sha256 == NULL)
		sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (sha256_ctx == NULL)
		sha256_ctx = EVP_MD_CTX_new();
	if (sha256 == NULL || sha256_ctx == NULL || EVP_DigestInit_ex2(sha256_ctx, sha256, NULL) != 1)
		crypto_fail("SHA-256");
}

void
pctl_sha256_add(const void *data, size_t len)
{
	if (EVP_DigestUpdate(sha256_ctx, data, len) != 1)
		crypto_fail("SHA-256");
}

void
pctl_sha256_end(uint8 digest[PCTL_SHA256_LEN])
{
	if (EVP_DigestFinal_ex(sha256_ctx, digest, NULL) != 1)
		crypto_fail("SHA-256");
}

void
pctl_hmac_sha256(const uint8 *key, size_t keylen, const void *data, size_t len,
                 uint8 mac[PCTL_SHA256_LEN])
{
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
	                       OSSL_PARAM_construct_end()};
	EVP_MAC_CTX *ctx;
	size_t maclen = 0;
	bool ok;

	if (hmac == NULL)
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	ctx = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
	if (ctx == NULL)
		crypto_fail("HMAC");
	ok = EVP_MAC_init(ctx, key, keylen, params) == 1 && EVP_MAC_update(ctx, data, len) == 1 &&
	     EVP_MAC_final(ctx, mac, &maclen, PCTL_SHA256_LEN) == 1 && maclen == PCTL_SHA256_LEN;
	EVP_MAC_CTX_free(ctx);
	if (!ok)
		crypto_fail("HMAC");
}

void
pctl_random(void *buf, size_t len)
{
	if (RAND_bytes(buf, (int) len) != 1)
		crypto_fail("random bytes");
}

bool
pctl_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

/* Writes a fresh key, complete or not at all: a torn key file would make every secret void. */
static void
key_create(const char *path)
{
	char temporary[MAXPGPATH];
	uint8 key[PCTL_KEY_LEN];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.%d", path, (int) MyProcPid);
	pctl_random(key, sizeof(key));
	fd = OpenTransientFilePerm(temporary, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY,
	                           S_IRUSR | S_IWUSR);
	if (fd < 0)
		ereport(FATAL, (errcode_for_file_access(),
		                errmsg("could not create the envelope key file \"%s\": %m", temporary),
		                errhint("Set probectl.key_file to a place the server can write.")));
	if (write(fd, key, sizeof(key)) != (ssize_t) sizeof(key) || pg_fsync(fd) != 0)
		ereport(FATAL, (errcode_for_file_access(),
		                errmsg("could not write the envelope key file \"%s\": %m", temporary)));
	CloseTransientFile(fd);
	durable_rename(temporary, path, FATAL);
	OPENSSL_cleanse(key, sizeof(key));
	ereport(LOG, (errmsg("created the envelope key file \"%s\"", path),
	              errhint("Back it up apart from the database: without it no sealed key opens.")));
}

/* Reads the envelope key, creating it on the first start; called in the postmaster only. */
void
pctl_key_load(void)
{
	char path[MAXPGPATH];
	struct stat st;
	int fd;

	if (is_absolute_path(pctl_key_file))
		strlcpy(path, pctl_key_file, sizeof(path));
	else
		snprintf(path, sizeof(path), "%s/%s", DataDir, pctl_key_file);
	if (stat(path, &st) != 0 && errno == ENOENT)
		key_create(path);
	fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (fd < 0)
		ereport(FATAL, (errcode_for_file_access(),
		                errmsg("could not read the envelope key file \"%s\": %m", path)));
	if (fstat(fd, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(FATAL, (errcode(ERRCODE_CONFIG_FILE_ERROR),
		                errmsg("the envelope key file \"%s\" is open to others", path),
		                errhint("Run chmod 0600 on it.")));
	if (st.st_size != PCTL_KEY_LEN || read(fd, envelope_key, PCTL_KEY_LEN) != PCTL_KEY_LEN)
		ereport(FATAL, (errcode(ERRCODE_CONFIG_FILE_ERROR),
		                errmsg("the envelope key file \"%s\" does not hold %d bytes", path,
		                       PCTL_KEY_LEN)));
	CloseTransientFile(fd);
	envelope_key_loaded = true;
}

void
pctl_key_derive(const char *label, uint8 key[PCTL_KEY_LEN])
{
	if (!envelope_key_loaded)
		ereport(ERROR,
		        (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		         errmsg("probectl is not preloaded"),
		         errhint("Add probectl to shared_preload_libraries and restart the server.")));
	pctl_hmac_sha256(envelope_key, PCTL_KEY_LEN, label, strlen(label), key);
}

/* nonce | ciphertext | tag */
bytea *
pctl_seal(const char *context, const void *plain, size_t len)
{
	bytea *sealed = palloc(VARHDRSZ + len + PCTL_SEAL_EXTRA);
	uint8 *nonce = (uint8 *) VARDATA(sealed);
	uint8 key[PCTL_KEY_LEN];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	EVP_CIPHER *aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	int n;
	bool ok;

	SET_VARSIZE(sealed, VARHDRSZ + len + PCTL_SEAL_EXTRA);
	pctl_key_derive("probectl seal v1", key);
	pctl_random(nonce, NONCE_LEN);
	ok = ctx != NULL && aes != NULL && EVP_EncryptInit_ex2(ctx, aes, key, nonce, NULL) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &n, (const uint8 *) context, (int) strlen(context)) == 1 &&
	     EVP_EncryptUpdate(ctx, nonce + NONCE_LEN, &n, plain, (int) len) == 1 &&
	     EVP_EncryptFinal_ex(ctx, nonce + NONCE_LEN + n, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, nonce + NONCE_LEN + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(aes);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
		crypto_fail("sealing");
	return sealed;
}

bytea *
pctl_unseal(const char *context, const bytea *sealed)
{
	size_t total = VARSIZE_ANY_EXHDR(sealed);
	const uint8 *nonce = (const uint8 *) VARDATA_ANY(sealed);
	size_t len;
	bytea *plain;
	uint8 key[PCTL_KEY_LEN];
	EVP_CIPHER_CTX *ctx;
	EVP_CIPHER *aes;
	int n;
	bool ok;

	if (total < PCTL_SEAL_EXTRA)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value is too short")));
	len = total - PCTL_SEAL_EXTRA;
	plain = palloc(VARHDRSZ + len + 16);
	SET_VARSIZE(plain, VARHDRSZ + len);
	pctl_key_derive("probectl seal v1", key);
	ctx = EVP_CIPHER_CTX_new();
	aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	ok = ctx != NULL && aes != NULL && EVP_DecryptInit_ex2(ctx, aes, key, nonce, NULL) == 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &n, (const uint8 *) context, (int) strlen(context)) == 1 &&
	     EVP_DecryptUpdate(ctx, (uint8 *) VARDATA(plain), &n, nonce + NONCE_LEN, (int) len) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN,
	                         (void *) (nonce + NONCE_LEN + len)) == 1 &&
	     EVP_DecryptFinal_ex(ctx, (uint8 *) VARDATA(plain) + n, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(aes);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
	{
		ERR_clear_error();
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a sealed value does not open"),
		                errhint("The envelope key file is not the one it was sealed with.")));
	}
	return plain;
}

void
pctl_ed25519_public(const uint8 seed[PCTL_ED25519_LEN], uint8 public[PCTL_ED25519_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, PCTL_ED25519_LEN);
	size_t len = PCTL_ED25519_LEN;
	bool ok = key != NULL && EVP_PKEY_get_raw_public_key(key, public, &len) == 1;

	EVP_PKEY_free(key);
	if (!ok)
		crypto_fail("Ed25519 key");
}

void
pctl_ed25519_sign(const uint8 seed[PCTL_ED25519_LEN], const void *data, size_t len,
                  uint8 signature[PCTL_ED25519_SIGNATURE])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, PCTL_ED25519_LEN);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t siglen = PCTL_ED25519_SIGNATURE;
	bool ok = key != NULL && ctx != NULL &&
	          EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
	          EVP_DigestSign(ctx, signature, &siglen, data, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	if (!ok)
		crypto_fail("Ed25519 signature");
}

bool
pctl_ed25519_verify(const uint8 public[PCTL_ED25519_LEN], const void *data, size_t len,
                    const uint8 signature[PCTL_ED25519_SIGNATURE])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public, PCTL_ED25519_LEN);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = key != NULL && ctx != NULL &&
	          EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
	          EVP_DigestVerify(ctx, signature, PCTL_ED25519_SIGNATURE, data, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

bool
pctl_fips(void)
{
	return EVP_default_properties_is_fips_enabled(NULL) == 1;
}

void
pctl_pbkdf2(const char *password, const uint8 *salt, size_t saltlen, int iterations,
            uint8 key[PCTL_SHA256_LEN])
{
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
	bool ok = md != NULL && PKCS5_PBKDF2_HMAC(password, (int) strlen(password), salt, (int) saltlen,
	                                          iterations, md, PCTL_SHA256_LEN, key) == 1;

	EVP_MD_free(md);
	if (!ok)
		crypto_fail("PBKDF2");
}

/* RFC 4226 section 5.3: dynamic truncation of HMAC-SHA-1, six digits. */
uint32
pctl_hotp(const uint8 *key, size_t keylen, uint64 counter)
{
	uint8 message[8], mac[20];
	size_t maclen = 0;
	int offset;

	for (int i = 0; i < 8; i++)
		message[i] = (uint8) (counter >> (56 - 8 * i));
	if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA1", NULL, key, keylen, message, sizeof(message), mac,
	              sizeof(mac), &maclen) == NULL ||
	    maclen != sizeof(mac))
		crypto_fail("HOTP");
	offset = mac[19] & 15;
	return (((uint32) (mac[offset] & 0x7F) << 24 | (uint32) mac[offset + 1] << 16 |
	         (uint32) mac[offset + 2] << 8 | mac[offset + 3]) %
	        1000000);
}

static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *
pctl_base64url(const uint8 *data, size_t len)
{
	char *text = palloc(len * 4 / 3 + 4);
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3)
	{
		uint32 group = (uint32) data[i] << 16;

		if (i + 1 < len)
			group |= (uint32) data[i + 1] << 8;
		if (i + 2 < len)
			group |= data[i + 2];
		text[n++] = base64url_digits[group >> 18 & 63];
		text[n++] = base64url_digits[group >> 12 & 63];
		if (i + 1 < len)
			text[n++] = base64url_digits[group >> 6 & 63];
		if (i + 2 < len)
			text[n++] = base64url_digits[group & 63];
	}
	text[n] = '\0';
	return text;
}

/* Exactly len bytes; unused low bits must be zero, so that one secret has one spelling. */
bool
pctl_base64url_decode(const char *text, uint8 *out, size_t len)
{
	size_t digits = (len * 8 + 5) / 6;
	uint32 bits = 0;
	int have = 0;
	size_t n = 0;

	if (strlen(text) != digits)
		return false;
	for (size_t i = 0; i < digits; i++)
	{
		const char *at = strchr(base64url_digits, text[i]);

		if (at == NULL || text[i] == '\0')
			return false;
		bits = bits << 6 | (uint32) (at - base64url_digits);
		have += 6;
		if (have >= 8)
		{
			have -= 8;
			out[n++] = (uint8) (bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	return n == len && bits == 0;
}
