/* SPDX-License-Identifier: PostgreSQL
 *
 * staple.h -- the OCSP answer that a server shows with its certificate (RFC 6066 section 8).
 *
 * Only what the server staples is looked at: no responder is ever asked.
 */
#ifndef PCTL_AGENT_HTTP_STAPLE_H
#define PCTL_AGENT_HTTP_STAPLE_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

enum staple_verdict
{
	STAPLE_NONE, /* the server sent none */
	STAPLE_GOOD,
	STAPLE_REVOKED,
	STAPLE_UNKNOWN, /* the responder does not know the certificate */
	STAPLE_INVALID  /* malformed, not signed by who may, not current, of another certificate */
};

/* After a handshake: judges the staple, and says in text what it is ("good, until 2026-11-28T00:00:00Z");
 * empty for STAPLE_NONE. */
enum staple_verdict staple_judge(SSL *ssl, X509 *leaf, char *text, size_t len);

/* Whether the certificate demands a staple ("must-staple", RFC 7633). */
bool staple_demanded(X509 *leaf);

#endif
