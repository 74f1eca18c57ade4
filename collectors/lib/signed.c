/* SPDX-License-Identifier: PostgreSQL
 *
 * signed.c -- what a key of the control plane signed (crypto.h).
 *
 * The key proves itself by a certificate that leads to a root this machine trusts, names what it is
 * for and serves for nothing else: who holds the key of a server or of an agent cannot sign with it.
 */
#include "lib/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/buf.h"
#include "lib/files.h"

#define CHAIN_BYTES_MAX 16384
#define CHAIN_MAX       4
#define BUNDLE_MAX      (64 * 1024) /* a CA file */

/* Every certificate of a text, at most max of them; NULL when there is none or one too many. */
static STACK_OF(X509) * chain_read(const char *pem, int max)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert;

	while (chain && bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		if (sk_X509_push(chain, cert) == 0 || sk_X509_num(chain) > max)
		{
			sk_X509_pop_free(chain, X509_free);
			chain = NULL;
		}
	if (chain && sk_X509_num(chain) == 0)
	{
		sk_X509_free(chain);
		chain = NULL;
	}
	BIO_free(bio);
	ERR_clear_error();
	return chain;
}

/* NULL, or why the chain does not lead to a root of the file. */
static const char *
chain_wrong(const struct crypto_signed *s, STACK_OF(X509) * chain)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	const char *wrong = "out of memory";

	if (store && ctx && X509_STORE_load_file(store, s->ca_file) != 1)
		wrong = "the CA certificate cannot be read";
	else if (store && ctx && X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) == 1)
	{
		if (s->any_time)
			X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_NO_CHECK_TIME);
		wrong = X509_verify_cert(ctx) == 1
		            ? NULL
		            : X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	ERR_clear_error();
	return wrong;
}

/* The leaf is for signing this and for nothing else. */
static bool
leaf_fits(X509 *leaf, const char *uri)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	const GENERAL_NAME *name = sk_GENERAL_NAME_num(names) == 1 ? sk_GENERAL_NAME_value(names, 0)
	                                                           : NULL;
	bool ok = name && name->type == GEN_URI &&
	          (size_t) ASN1_STRING_length(name->d.uniformResourceIdentifier) == strlen(uri) &&
	          memcmp(ASN1_STRING_get0_data(name->d.uniformResourceIdentifier), uri, strlen(uri)) ==
	              0 &&
	          X509_get_extended_key_usage(leaf) == XKU_CODE_SIGN &&
	          EVP_PKEY_is_a(X509_get0_pubkey(leaf), "ED25519");

	GENERAL_NAMES_free(names);
	return ok;
}

static bool
signature_holds(const struct crypto_signed *s, X509 *leaf)
{
	size_t domain = strlen(s->domain);
	uint8_t *text = malloc(domain + s->len);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = false;

	if (text && ctx)
	{
		memcpy(text, s->domain, domain);
		if (s->len > 0)
			memcpy(text + domain, s->data, s->len);
		ok = EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, X509_get0_pubkey(leaf), NULL) ==
		         1 &&
		     EVP_DigestVerify(ctx, s->signature, s->signature_len, text, domain + s->len) == 1;
	}
	EVP_MD_CTX_free(ctx);
	free(text);
	ERR_clear_error();
	return ok;
}

bool
crypto_signed_verify(const struct crypto_signed *s, char *err, size_t errlen)
{
	STACK_OF(X509) *chain = NULL;
	const char *wrong;

	if (s->signature_len == 0)
		wrong = "it is not signed";
	else if (strlen(s->chain_pem) > CHAIN_BYTES_MAX ||
	         !(chain = chain_read(s->chain_pem, CHAIN_MAX)))
		wrong = "the certificate of its signer cannot be read";
	else if ((wrong = chain_wrong(s, chain)))
		;
	else if (!leaf_fits(sk_X509_value(chain, 0), s->uri))
		wrong = "its signer may not sign this";
	else if (!signature_holds(s, sk_X509_value(chain, 0)))
		wrong = "its signature does not hold";
	sk_X509_pop_free(chain, X509_free);
	if (wrong)
		snprintf(err, errlen, "%s", wrong);
	return !wrong;
}

bool
crypto_roots_known(const char *ca_pem, const char *ca_file)
{
	struct buf file = BUF_INIT(BUNDLE_MAX);
	STACK_OF(X509) *old = NULL, *new = NULL;
	bool ok = false;

	if (files_read(ca_file, &file) && buf_cstr(&file))
		old = chain_read((const char *) file.data, 64);
	if (old)
		new = chain_read(ca_pem, 64);
	for (int i = 0; new &&i < sk_X509_num(new); i++)
	{
		X509 *cert = sk_X509_value(new, i);
		bool known = false;

		ok = true;
		if (X509_self_signed(cert, 0) == 0)
			continue;
		for (int k = 0; k < sk_X509_num(old); k++)
			known = known || X509_cmp(cert, sk_X509_value(old, k)) == 0;
		if (!known)
		{
			ok = false;
			break;
		}
	}
	sk_X509_pop_free(old, X509_free);
	sk_X509_pop_free(new, X509_free);
	buf_free(&file);
	ERR_clear_error();
	return ok;
}
