/* SPDX-License-Identifier: PostgreSQL
 *
 * verify.c -- a chain of certificates, verified to the end whatever is wrong with it.
 */
#include "agent/http/verify.h"

#include <openssl/x509_vfy.h>
#include <stdio.h>

/* In order of weight: with several problems the first row is the class. The dates come first, for
 * they are true of a certificate whoever signed it; its name counts once the signer is known. */
static const struct
{
	int code;
	enum error_type type;
} verify_table[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, ERROR_TLS_EXPIRED},
    {X509_V_ERR_CERT_NOT_YET_VALID, ERROR_TLS_NOT_YET_VALID},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_CERT_UNTRUSTED, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_INVALID_CA, ERROR_TLS_UNKNOWN_CA},
    {X509_V_ERR_HOSTNAME_MISMATCH, ERROR_TLS_NAME_MISMATCH},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, ERROR_TLS_NAME_MISMATCH},
};

#define VERIFY_ROWS (sizeof(verify_table) / sizeof(verify_table[0]))

static int
on_verify(int ok, X509_STORE_CTX *store)
{
	struct verdict *verdict = X509_STORE_CTX_get_app_data(store);
	int code = X509_STORE_CTX_get_error(store);

	if (ok)
		return 1;
	if (verdict->first_error == X509_V_OK)
		verdict->first_error = code;
	for (size_t i = 0; i < VERIFY_ROWS; i++)
		if (verify_table[i].code == code)
			verdict->problems |= 1U << i;
	return 1;
}

bool
verify_chain(X509_STORE_CTX *store, struct verdict *verdict)
{
	X509_STORE_CTX_set_app_data(store, verdict);
	X509_STORE_CTX_set_verify_cb(store, on_verify);
	return X509_verify_cert(store) > 0;
}

bool
verify_passed(const struct verdict *verdict)
{
	return verdict->first_error == X509_V_OK;
}

enum error_type
verify_judge(const struct verdict *verdict, char *problem, size_t len)
{
	enum error_type type = ERROR_TLS_HANDSHAKE;
	size_t used = 0;

	problem[0] = '\0';
	if (verify_passed(verdict))
		return ERROR_NONE;
	for (size_t i = 0; i < VERIFY_ROWS; i++)
	{
		if (!(verdict->problems & 1U << i))
			continue;
		if (used == 0)
			type = verify_table[i].type;
		if (used < len)
			used += (size_t) snprintf(problem + used, len - used, "%s%s", used ? "; " : "",
			                          X509_verify_cert_error_string(verify_table[i].code));
	}
	if (used == 0)
		snprintf(problem, len, "%s", X509_verify_cert_error_string(verdict->first_error));
	return type;
}
