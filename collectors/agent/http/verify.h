/* SPDX-License-Identifier: PostgreSQL
 *
 * verify.h -- a chain of certificates, verified to the end whatever is wrong with it.
 *
 * OpenSSL stops at the first problem. Here all are noted, and the class of the gravest is what the test
 * fails with.
 */
#ifndef PCTL_AGENT_HTTP_VERIFY_H
#define PCTL_AGENT_HTTP_VERIFY_H

#include <openssl/types.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/result.h"

/* How a host is looked for in a certificate: among the alternative names only (RFC 9525), and a wildcard is
 * a whole label. */
#define VERIFY_HOST_FLAGS                                                                          \
	(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)

/* Zeroed before. */
struct verdict
{
	unsigned problems; /* bits of the rows of verify.c's table */
	int first_error;   /* X509_V_ERR_* */
};

/* Verifies the chain that the store context was made for. False: it could not be verified at all, for memory
 * is out or there is no certificate. */
bool verify_chain(X509_STORE_CTX *store, struct verdict *verdict);

/* Nothing is wrong. */
bool verify_passed(const struct verdict *verdict);

/* The class of what is wrong, and all of it in words; ERROR_NONE when nothing is. */
enum error_type verify_judge(const struct verdict *verdict, char *problem, size_t len);

#endif
