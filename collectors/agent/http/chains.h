/* SPDX-License-Identifier: PostgreSQL
 *
 * chains.h -- certificate chains that were verified before.
 *
 * The same server shows the same chain to every run of a test. Whether its signatures are
 * right does not change with time, so a chain that was verified without a problem is remembered,
 * for CHAINS_KEPT_S, with everything the verdict rested on: the bytes of every certificate,
 * their order, the host, and the set of CA certificates. What does change with
 * time, the dates of every certificate up to the root, is looked at each time; and the signature
 * of the handshake itself, which proves the key, is none of this and never left out. Verdicts that
 * found a problem are not remembered.
 */
#ifndef PCTL_AGENT_HTTP_CHAINS_H
#define PCTL_AGENT_HTTP_CHAINS_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

#define CHAINS_MAX    32
#define CHAINS_KEPT_S 600

/* trust is a number that one set of CA certificates has, and no other ever had; now is in monotonic
 * seconds. */

/* To be asked before X509_verify_cert. True: verified before, and every date is right now; the
 * chain is then in the store context as if it had been verified. */
bool chains_known(X509_STORE_CTX *store, uint64_t trust, const char *host, int64_t now);

/* After X509_verify_cert found no problem. */
void chains_keep(X509_STORE_CTX *store, uint64_t trust, const char *host, int64_t now);

/* Those of one set of CA certificates, or with 0 all. */
void chains_forget(uint64_t trust);

#endif
