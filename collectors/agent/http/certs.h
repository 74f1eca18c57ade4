/* SPDX-License-Identifier: PostgreSQL
 *
 * certs.h -- certificates that were parsed before.
 *
 * A test meets the same certificates every few seconds, and OpenSSL 3.0 spends more on finding a
 * decoder for a public key than on the handshake's own arithmetic. What a certificate
 * says depends on its bytes alone, so the parsed form is kept under a digest of them. Nothing
 * that is checked is left out: this is a parser with a memory.
 */
#ifndef PCTL_AGENT_HTTP_CERTS_H
#define PCTL_AGENT_HTTP_CERTS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#define CERTS_MAX 48 /* about 6 kB each; the longest unused one goes */

/* As d2i_X509. With a certificate in *into, that one is filled, or freed and replaced by
 * the one that is kept. */
X509 *certs_parse(X509 **into, const unsigned char **in, long len);

/* From here to certs_meant(false) the certificates that OpenSSL itself parses, in a handshake, come
 * through certs_parse. Only in a program that is linked with --wrap=d2i_X509, as the
 * static agent is; elsewhere they are parsed each time. */
void certs_meant(bool on);

void certs_forget(void);

/* What a certificate says, in words; kept with it. */
struct cert_text
{
	char *subject, *issuer; /* RFC 2253, UTF-8 */
	char *san;              /* names, addresses, URIs and mail addresses, with commas between */
	char *line;             /* subject, issuer, dates, key, signature and fingerprint in one line */
	int64_t not_before, not_after; /* seconds since 1970 */
};

/* NULL: out of memory. */
const struct cert_text *certs_text(X509 *certificate);

#endif
