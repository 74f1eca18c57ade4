/* SPDX-License-Identifier: PostgreSQL
 *
 * certs.c -- certificates that were parsed before.
 *
 * libssl parses what a server sends and has no hook in front of that, so the linker puts
 * one there (--wrap, see sources.mk): its calls of d2i_X509 come to __wrap_d2i_X509. The
 * objects are shared by reference; nothing in libssl or here changes one after it was parsed.
 */
#include "agent/http/certs.h"

#include <arpa/inet.h>
#include <openssl/asn1t.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/result.h"

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
static int text_index = -1; /* of the words in an X509's extra data */

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

/* ---- in words ---- */

static void
name_text(const X509_NAME *name, char *buf, size_t len)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text;
	long n;

	buf[0] = '\0';
	if (out == NULL)
		return;
	X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~(unsigned long) ASN1_STRFLGS_ESC_MSB);
	n = BIO_get_mem_data(out, &text);
	if (n > 0)
		snprintf(buf, len, "%.*s", (int) n, text);
	BIO_free(out);
}

static int64_t
time_of(const ASN1_TIME *when)
{
	struct tm tm = {0};

	return ASN1_TIME_to_tm(when, &tm) == 1 ? (int64_t) timegm(&tm) : 0;
}

/* One name of the extension as text; false for kinds a host is not found by. */
static bool
san_text(const GENERAL_NAME *name, char *buf, size_t len)
{
	const ASN1_STRING *value;
	int kind;

	value = GENERAL_NAME_get0_value(name, &kind);
	if (kind == GEN_IPADD)
	{
		int size = ASN1_STRING_length(value);

		return (size == 4 || size == 16) &&
		       inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), buf,
		                 (socklen_t) len) != NULL;
	}
	if (kind != GEN_DNS && kind != GEN_URI && kind != GEN_EMAIL)
		return false;
	snprintf(buf, len, "%.*s", ASN1_STRING_length(value),
	         (const char *) ASN1_STRING_get0_data(value));
	return true;
}

/* Whole names only: the list ends with "..." where the value would be cut. */
static void
san_list(X509 *certificate, char *buf, size_t len)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	size_t used = 0;
	char one[260];

	buf[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
	{
		if (!san_text(sk_GENERAL_NAME_value(names, i), one, sizeof(one)))
			continue;
		if (used + strlen(one) + 6 > len)
		{
			snprintf(buf + used, len - used, ",...");
			break;
		}
		used += (size_t) snprintf(buf + used, len - used, "%s%s", used ? "," : "", one);
	}
	GENERAL_NAMES_free(names);
}

static void
day_text(int64_t when, char *buf, size_t len)
{
	time_t seconds = (time_t) when;
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL || strftime(buf, len, "%Y-%m-%d", &tm) == 0)
		snprintf(buf, len, "?");
}

static void
line_text(X509 *certificate, const struct cert_text *text, char *buf, size_t len)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char fingerprint[2 * SHA256_DIGEST_LENGTH + 1] = "", from[16], to[16];
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	const char *kind = key ? EVP_PKEY_get0_type_name(key) : NULL;
	const char *signature = OBJ_nid2ln(X509_get_signature_nid(certificate));
	unsigned n = 0;

	if (X509_digest(certificate, EVP_sha256(), digest, &n) == 1)
		for (unsigned i = 0; i < n; i++)
			snprintf(fingerprint + 2 * i, 3, "%02x", digest[i]);
	day_text(text->not_before, from, sizeof(from));
	day_text(text->not_after, to, sizeof(to));
	/* The names are what may be long; what is short and sure comes first. */
	snprintf(buf, len, "%s to %s, %s %d, %s, SHA-256 %s, %.120s, issued by %.120s", from, to,
	         kind ? kind : "key of no known kind", key ? EVP_PKEY_get_bits(key) : 0,
	         signature ? signature : "signature of no known kind", fingerprint, text->subject,
	         text->issuer);
}

static void
text_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	struct cert_text *text = ptr;

	if (text == NULL)
		return;
	free(text->subject);
	free(text->issuer);
	free(text->san);
	free(text->line);
	free(text);
}

const struct cert_text *
certs_text(X509 *certificate)
{
	struct cert_text *text;
	char buf[RESULT_VALUE_MAX];

	if (text_index < 0)
		text_index = X509_get_ex_new_index(0, NULL, NULL, NULL, text_free);
	text = X509_get_ex_data(certificate, text_index);
	if (text || (text = calloc(1, sizeof(*text))) == NULL)
		return text;
	name_text(X509_get_subject_name(certificate), buf, sizeof(buf));
	text->subject = strdup(buf);
	name_text(X509_get_issuer_name(certificate), buf, sizeof(buf));
	text->issuer = strdup(buf);
	san_list(certificate, buf, sizeof(buf));
	text->san = strdup(buf);
	text->not_before = time_of(X509_get0_notBefore(certificate));
	text->not_after = time_of(X509_get0_notAfter(certificate));
	if (text->subject && text->issuer && text->san)
	{
		line_text(certificate, text, buf, sizeof(buf));
		text->line = strdup(buf);
	}
	if (text->line == NULL || X509_set_ex_data(certificate, text_index, text) != 1)
	{
		text_free(NULL, text, NULL, 0, 0, NULL);
		return NULL;
	}
	return text;
}
