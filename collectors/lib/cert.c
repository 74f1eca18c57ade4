/* SPDX-License-Identifier: PostgreSQL
 *
 * cert.c -- keys, certificate requests and what a certificate says (crypto.h).
 */
#include "lib/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/uuid.h"

/* The text a memory BIO holds, as a string of its own; frees the BIO. */
static char *
bio_text(BIO *bio, bool ok)
{
	char *data, *text = NULL;
	long len = BIO_get_mem_data(bio, &data);

	if (ok && len > 0)
	{
		text = malloc((size_t) len + 1);
		if (text)
		{
			memcpy(text, data, (size_t) len);
			text[len] = '\0';
		}
	}
	BIO_free(bio);
	return text;
}

static EVP_PKEY *
key_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return key;
}

static X509 *
cert_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return cert;
}

char *
crypto_key_new(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	BIO *bio = BIO_new(BIO_s_secmem());
	char *text;

	if (!bio)
		bio = BIO_new(BIO_s_mem());
	if (!key || !bio)
	{
		EVP_PKEY_free(key);
		BIO_free(bio);
		return NULL;
	}
	text = bio_text(bio, PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return text;
}

void
crypto_wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
}

char *
crypto_csr_new(const char *key_pem, char *err, size_t errlen)
{
	EVP_PKEY *key = key_read(key_pem);
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = key && md && req && bio && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
	          X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, md) > 0 &&
	          PEM_write_bio_X509_REQ(bio, req) == 1;
	char *text = NULL;

	if (bio)
		text = bio_text(bio, ok);
	if (!text)
		snprintf(err, errlen, "%s",
		         key ? "the certificate request cannot be made" : "the private key cannot be read");
	X509_REQ_free(req);
	EVP_MD_free(md);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return text;
}

bool
crypto_key_matches(const char *key_pem, const char *cert_pem)
{
	EVP_PKEY *key = key_read(key_pem);
	X509 *cert = cert_read(cert_pem);
	bool ok = key && cert && X509_check_private_key(cert, key) == 1;

	EVP_PKEY_free(key);
	X509_free(cert);
	ERR_clear_error();
	return ok;
}

bool
crypto_key_fingerprint(const char *key_pem, uint8_t out[CRYPTO_SHA256_BYTES])
{
	EVP_PKEY *key = key_read(key_pem);
	unsigned char *der = NULL;
	int len = key ? i2d_PUBKEY(key, &der) : -1;

	if (len > 0)
		crypto_sha256(der, (size_t) len, out);
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return len > 0;
}

bool
crypto_sign(const char *key_pem, const char *text, uint8_t *out, size_t *len)
{
	EVP_PKEY *key = key_read(key_pem);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	/* Ed25519 hashes by itself and refuses a digest. */
	const char *digest = key && EVP_PKEY_is_a(key, "ED25519") ? NULL : "SHA256";
	bool ok = key && ctx && EVP_DigestSignInit_ex(ctx, NULL, digest, NULL, NULL, key, NULL) == 1 &&
	          EVP_DigestSign(ctx, out, len, (const unsigned char *) text, strlen(text)) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

static bool
cert_time(const ASN1_TIME *t, int64_t *unix_seconds)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*unix_seconds = timegm(&tm);
	return true;
}

static bool
cert_serial(const X509 *x, char out[CRYPTO_SERIAL_MAX])
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *hex = number ? BN_bn2hex(number) : NULL;
	const char *p = hex;
	size_t at = 0;

	while (p && *p == '0' && p[1])
		p++;
	for (; p && *p && at + 1 < CRYPTO_SERIAL_MAX; p++)
		out[at++] = *p >= 'A' && *p <= 'F' ? (char) (*p - 'A' + 'a') : *p;
	out[at] = '\0';
	p = p && *p == '\0' ? p : NULL;
	OPENSSL_free(hex);
	BN_free(number);
	return p != NULL;
}

/* False when a URI holds a NUL or does not fit: such a name must not pass for a shorter one. */
static bool
cert_uris(const X509 *x, struct crypto_cert *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	bool ok = true;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
	{
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
		size_t len;

		if (name->type != GEN_URI)
			continue;
		len = (size_t) ASN1_STRING_length(uri);
		if (len >= CRYPTO_URI_MAX || memchr(ASN1_STRING_get0_data(uri), 0, len))
			ok = false;
		else if (cert->uri_count < CRYPTO_URIS_MAX)
		{
			memcpy(cert->uris[cert->uri_count], ASN1_STRING_get0_data(uri), len);
			cert->uris[cert->uri_count][len] = '\0';
		}
		cert->uri_count++;
	}
	GENERAL_NAMES_free(names);
	return ok;
}

bool
crypto_cert_parse(const char *pem, struct crypto_cert *cert, char *err, size_t errlen)
{
	X509 *x = cert_read(pem);
	bool ok = false;

	memset(cert, 0, sizeof(*cert));
	if (!x)
		snprintf(err, errlen, "no certificate can be read there");
	else if (!cert_serial(x, cert->serial))
		snprintf(err, errlen, "the serial number of the certificate is too long");
	else if (!cert_time(X509_get0_notBefore(x), &cert->not_before) ||
	         !cert_time(X509_get0_notAfter(x), &cert->not_after))
		snprintf(err, errlen, "the validity of the certificate cannot be read");
	else if (!cert_uris(x, cert))
		snprintf(err, errlen, "a URI in the certificate is too long or not text");
	else
		ok = true;
	X509_free(x);
	ERR_clear_error();
	return ok;
}

/* A lower-case UUID and then what must follow; returns what comes after, NULL if not so. */
static const char *
spiffe_uuid(const char *p, const char *then, char out[37])
{
	uint8_t raw[UUID_BYTES];

	if (!p || strlen(p) < 36)
		return NULL;
	memcpy(out, p, 36);
	out[36] = '\0';
	if (!uuid_parse(out, raw))
		return NULL;
	for (const char *c = out; *c; c++)
		if (*c >= 'A' && *c <= 'F')
			return NULL;
	p += 36;
	return strncmp(p, then, strlen(then)) == 0 ? p + strlen(then) : NULL;
}

bool
crypto_spiffe_parse(const char *uri, char tenant_id[37], char agent_id[37])
{
	static const char prefix[] = "spiffe://probectl/tenant/";
	const char *p;

	if (strncmp(uri, prefix, sizeof(prefix) - 1) != 0)
		return false;
	p = spiffe_uuid(uri + sizeof(prefix) - 1, "/agent/", tenant_id);
	p = spiffe_uuid(p, "", agent_id);
	return p && *p == '\0';
}
