/* SPDX-License-Identifier: PostgreSQL
 *
 * mint.h -- certificates for tests, made in memory.
 */
#ifndef TEST_MINT_H
#define TEST_MINT_H

#include "unit.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct identity
{
	EVP_PKEY *key;
	X509 *certificate;
};

/* Days are from now. issuer NULL: self-signed, a CA. */
static inline struct identity
mint(const char *name, const char *san, long from_day, long to_day, const struct identity *issuer)
{
	struct identity made = {EVP_EC_gen("P-256"), X509_new()};
	X509_NAME *subject = X509_get_subject_name(made.certificate);
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509_set_version(made.certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), 1 + rand());
	X509_gmtime_adj(X509_getm_notBefore(made.certificate), 0);
	X509_time_adj_ex(X509_getm_notBefore(made.certificate), (int) from_day, 0, NULL);
	X509_time_adj_ex(X509_getm_notAfter(made.certificate), (int) to_day, 0, NULL);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *) name, -1, -1,
	                           0);
	X509_set_issuer_name(made.certificate,
	                     issuer ? X509_get_subject_name(issuer->certificate) : subject);
	X509_set_pubkey(made.certificate, made.key);
	X509V3_set_ctx(&ctx, issuer ? issuer->certificate : made.certificate, made.certificate, NULL,
	               NULL, 0);
	extension = issuer ? X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san)
	                   : X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, "critical,CA:TRUE");
	assert_non_null(extension);
	X509_add_ext(made.certificate, extension, -1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(made.certificate, issuer ? issuer->key : made.key, EVP_sha256()) > 0);
	return made;
}

static inline void
identity_free(struct identity *identity)
{
	X509_free(identity->certificate);
	EVP_PKEY_free(identity->key);
}

#endif
