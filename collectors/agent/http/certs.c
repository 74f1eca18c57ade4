/* SPDX-License-Identifier: PostgreSQL
 *
 * certs.c -- certificates that were parsed before.
 *
 * libssl parses what a server sends and has no hook in front of that, so the linker puts
 * one there (--wrap, see sources.mk): its calls of d2i_X509 come to __wrap_d2i_X509. The
 * objects are shared by reference; nothing in libssl or here changes one after it was parsed.
 */
#include "agent/http/certs.h"

#include <openssl/asn1t.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <string.h>

#define CERTIFICATE_BYTES_MAX 16384 /* longer ones are not kept */

struct cert
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	X509 *certificate; /* NULL: a free place */
	uint64_t used;
};

static struct cert certs[CERTS_MAX];
static uint64_t certs_clock;
static bool certs_on;

X509 *__wrap_d2i_X509(X509 **into, const unsigned char **in, long len);

/* What d2i_X509 does; by its name it could lead back to here. */
static X509 *
parse(X509 **into, const unsigned char **in, long len)
{
	X509 *certificate = (X509 *) ASN1_item_d2i((ASN1_VALUE **) into, in, len, ASN1_ITEM_rptr(X509));

	if (certificate)
		X509_check_purpose(certificate, -1, 0); /* reads the extensions */
	return certificate;
}

/* The place of the digest, or the one to be given up for it. */
static struct cert *
place_of(const uint8_t *digest)
{
	struct cert *oldest = &certs[0];

	for (size_t i = 0; i < CERTS_MAX; i++)
	{
		if (certs[i].certificate && memcmp(certs[i].digest, digest, SHA256_DIGEST_LENGTH) == 0)
			return &certs[i];
		if (certs[i].used < oldest->used)
			oldest = &certs[i];
	}
	return oldest;
}

X509 *
certs_parse(X509 **into, const unsigned char **in, long len)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	const unsigned char *start = *in;
	struct cert *place;
	X509 *parsed;

	if (len <= 0 || len > CERTIFICATE_BYTES_MAX || !SHA256(start, (size_t) len, digest))
		return parse(into, in, len);
	place = place_of(digest);
	place->used = ++certs_clock;
	if (place->certificate && memcmp(place->digest, digest, sizeof(digest)) == 0)
	{
		X509_up_ref(place->certificate);
		*in += len;
		if (into)
		{
			X509_free(*into);
			*into = place->certificate;
		}
		return place->certificate;
	}
	parsed = parse(into, in, len);
	/* Bytes after the certificate are the caller's to refuse, each time. */
	if (parsed == NULL || *in != start + len)
		return parsed;
	X509_free(place->certificate);
	X509_up_ref(parsed);
	place->certificate = parsed;
	memcpy(place->digest, digest, sizeof(digest));
	return parsed;
}

X509 *
__wrap_d2i_X509(X509 **into, const unsigned char **in, long len)
{
	return certs_on ? certs_parse(into, in, len) : parse(into, in, len);
}

void
certs_meant(bool on)
{
	certs_on = on;
}

void
certs_forget(void)
{
	for (size_t i = 0; i < CERTS_MAX; i++)
		X509_free(certs[i].certificate);
	memset(certs, 0, sizeof(certs));
}
