/* SPDX-License-Identifier: PostgreSQL
 *
 * x509.h -- certificates: making the agent CA and signing with it. With crypto.h the only user of OpenSSL.
 *
 * PEM text in and out, palloc'd. Errors of the caller's input are PC422.
 */
#ifndef PCTL_X509_H
#define PCTL_X509_H

#include "postgres.h"

#include "core/crypto.h"
#include "datatype/timestamp.h"

typedef struct PctlKeyPair
{
	char *certificate; /* PEM */
	char *key;         /* PEM, PKCS #8: seal it, never store it */
	TimestampTz not_before, not_after;
} PctlKeyPair;

typedef struct PctlLeaf
{
	char *certificate; /* PEM of the leaf alone */
	char *serial;      /* lower-case hex without leading zeros */
	TimestampTz not_before, not_after;
} PctlLeaf;

/* A P-256 CA; self-signed when issuer is NULL, else an intermediate of path length 0. */
void pctl_x509_ca(const char *common_name, int days, const char *issuer, const char *issuer_key,
                  PctlKeyPair *out);

typedef enum PctlLeafUse
{
	PCTL_LEAF_AGENT,  /* client authentication, one URI name */
	PCTL_LEAF_SERVER, /* server authentication, DNS and IP names */
	PCTL_LEAF_TESTS   /* signs what agents are to run, one URI name */
} PctlLeafUse;

/* Signs the key of a CSR; nothing but the key is taken from it. names: URI or DNS/IP names. */
void pctl_x509_leaf(const char *csr, PctlLeafUse use, const char *const *names, int name_count,
                    int hours, const char *issuer, const char *issuer_key, PctlLeaf *out);

/* Certifies the Ed25519 key that signs tests; it never made a request, as it never left. */
void pctl_x509_tests(const uint8 public[PCTL_ED25519_LEN], const char *name, int hours,
                     const char *issuer, const char *issuer_key, PctlLeaf *out);

/* SubjectPublicKeyInfo (DER) of a CSR whose self-signature holds. */
bytea *pctl_x509_csr_key(const char *csr);

/* Whether data was signed (SHA-256 where the key wants a digest) by the key of a SubjectPublicKeyInfo. */
bool pctl_x509_signed(const bytea *public_key, const void *data, size_t len,
                      const bytea *signature);

#endif
