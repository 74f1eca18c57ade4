/* SPDX-License-Identifier: PostgreSQL
 *
 * staple.c -- the OCSP answer that a server shows with its certificate.
 *
 * A verdict counts only when the answer is signed by the issuer or by somebody he let sign, is
 * about this very certificate, and is current. Each of these is said by its own words.
 */
#include "agent/http/staple.h"

#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SKEW_S         300 /* clocks may differ by so much */
#define FEATURE_STATUS 5   /* status_request, RFC 7633 section 4.1 */

static enum staple_verdict
invalid(char *text, size_t len, const char *why)
{
	snprintf(text, len, "invalid: %s", why);
	ERR_clear_error();
	return STAPLE_INVALID;
}

static void
append_time(char *text, size_t len, const char *words, const ASN1_TIME *when)
{
	struct tm tm = {0};
	char at[32];
	size_t used = 0;

	while (used < len && text[used])
		used++;
	if (when && ASN1_TIME_to_tm(when, &tm) == 1 &&
	    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		snprintf(text + used, len - used, "%s%s", words, at);
}

/* The issuer as verified, or else as the server showed it. */
static X509 *
issuer_of(SSL *ssl)
{
	STACK_OF(X509) *verified = SSL_get0_verified_chain(ssl);
	STACK_OF(X509) *shown = SSL_get_peer_cert_chain(ssl);

	if (sk_X509_num(verified) > 1)
		return sk_X509_value(verified, 1);
	return sk_X509_num(shown) > 1 ? sk_X509_value(shown, 1) : NULL;
}

/* The part that is about leaf, whatever digest the responder chose for the names. */
static OCSP_SINGLERESP *
part_of(OCSP_BASICRESP *basic, X509 *leaf, X509 *issuer)
{
	for (int i = 0; i < OCSP_resp_count(basic); i++)
	{
		OCSP_SINGLERESP *part = OCSP_resp_get0(basic, i);
		OCSP_CERTID *theirs = (OCSP_CERTID *) OCSP_SINGLERESP_get0_id(part), *ours;
		ASN1_OBJECT *digest;
		const EVP_MD *md;
		bool same;

		OCSP_id_get0_info(NULL, &digest, NULL, NULL, theirs);
		md = EVP_get_digestbyobj(digest);
		ours = md ? OCSP_cert_to_id(md, leaf, issuer) : NULL;
		same = ours && OCSP_id_cmp(ours, theirs) == 0;
		OCSP_CERTID_free(ours);
		if (same)
			return part;
	}
	return NULL;
}

static enum staple_verdict
judge_part(OCSP_SINGLERESP *part, char *text, size_t len)
{
	ASN1_GENERALIZEDTIME *revoked, *from, *until;
	int reason, status = OCSP_single_get0_status(part, &reason, &revoked, &from, &until);

	if (OCSP_check_validity(from, until, SKEW_S, -1) != 1)
	{
		invalid(text, len, "it is not current");
		append_time(text, len, ", from ", from);
		append_time(text, len, " until ", until);
		return STAPLE_INVALID;
	}
	switch (status)
	{
		case V_OCSP_CERTSTATUS_GOOD:
			snprintf(text, len, "good");
			append_time(text, len, ", until ", until);
			return STAPLE_GOOD;
		case V_OCSP_CERTSTATUS_REVOKED:
			snprintf(text, len, "revoked");
			append_time(text, len, " on ", revoked);
			if (reason >= 0)
			{
				size_t used = strlen(text);

				snprintf(text + used, len - used, ": %s", OCSP_crl_reason_str(reason));
			}
			return STAPLE_REVOKED;
		default: snprintf(text, len, "unknown to the responder"); return STAPLE_UNKNOWN;
	}
}

static enum staple_verdict
judge_basic(SSL *ssl, OCSP_BASICRESP *basic, X509 *leaf, char *text, size_t len)
{
	X509 *issuer = issuer_of(ssl);
	STACK_OF(X509) *shown = SSL_get_peer_cert_chain(ssl);
	X509_STORE *store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
	OCSP_SINGLERESP *part;

	if (issuer == NULL)
		return invalid(text, len, "the issuer of the certificate is not known");
	if (OCSP_basic_verify(basic, shown, store, 0) <= 0)
		return invalid(text, len, "it is not signed by the issuer or for him");
	part = part_of(basic, leaf, issuer);
	if (part == NULL)
		return invalid(text, len, "it is about another certificate");
	return judge_part(part, text, len);
}

enum staple_verdict
staple_judge(SSL *ssl, X509 *leaf, char *text, size_t len)
{
	const unsigned char *bytes = NULL;
	long size = SSL_get_tlsext_status_ocsp_resp(ssl, &bytes);
	OCSP_RESPONSE *response;
	OCSP_BASICRESP *basic;
	enum staple_verdict verdict;
	int status;

	text[0] = '\0';
	if (bytes == NULL || size <= 0)
		return STAPLE_NONE;
	response = d2i_OCSP_RESPONSE(NULL, &bytes, size);
	if (response == NULL)
		return invalid(text, len, "it is no OCSP response");
	status = OCSP_response_status(response);
	basic = status == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(response) : NULL;
	if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		verdict = invalid(text, len, OCSP_response_status_str(status));
	else if (basic == NULL)
		verdict = invalid(text, len, "it is no OCSP response");
	else
		verdict = judge_basic(ssl, basic, leaf, text, len);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	return verdict;
}

bool
staple_demanded(X509 *leaf)
{
	TLS_FEATURE *features = X509_get_ext_d2i(leaf, NID_tlsfeature, NULL, NULL);
	bool demanded = false;

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		if (ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == FEATURE_STATUS)
			demanded = true;
	TLS_FEATURE_free(features);
	return demanded;
}
