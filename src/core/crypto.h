/* SPDX-License-Identifier: PostgreSQL
 *
 * crypto.h -- every primitive the server side uses, behind fetched EVP algorithms, so that a
 * FIPS provider is a matter of openssl.cnf. Errors are raised; nothing is returned half done.
 */
#ifndef PCTL_CRYPTO_H
#define PCTL_CRYPTO_H

#include "postgres.h"

#define PCTL_SHA256_LEN 32
#define PCTL_KEY_LEN    32
#define PCTL_SEAL_EXTRA (12 + 16) /* AES-256-GCM nonce and tag */

/* Incremental SHA-256; one at a time per backend, as the context is reused. */
void pctl_sha256_begin(void);
void pctl_sha256_add(const void *data, size_t len);
void pctl_sha256_end(uint8 digest[PCTL_SHA256_LEN]);

void pctl_hmac_sha256(const uint8 *key, size_t keylen, const void *data, size_t len,
                      uint8 mac[PCTL_SHA256_LEN]);
void pctl_random(void *buf, size_t len);

/* The envelope key; read at server start, PCTL_KEY_LEN bytes. */
void pctl_key_load(void);

/* A key for one purpose, derived from the envelope key: label is part of the format. */
void pctl_key_derive(const char *label, uint8 key[PCTL_KEY_LEN]);

/* AES-256-GCM under a derived key; context is authenticated, not stored. palloc'd. */
bytea *pctl_seal(const char *context, const void *plain, size_t len);
bytea *pctl_unseal(const char *context, const bytea *sealed);

/* Ed25519. The private key is the 32-byte seed. */
#define PCTL_ED25519_LEN       32
#define PCTL_ED25519_SIGNATURE 64
void pctl_ed25519_public(const uint8 seed[PCTL_ED25519_LEN], uint8 public[PCTL_ED25519_LEN]);
void pctl_ed25519_sign(const uint8 seed[PCTL_ED25519_LEN], const void *data, size_t len,
                       uint8 signature[PCTL_ED25519_SIGNATURE]);
bool pctl_ed25519_verify(const uint8 public[PCTL_ED25519_LEN], const void *data, size_t len,
                         const uint8 signature[PCTL_ED25519_SIGNATURE]);

/* True when OpenSSL runs under a FIPS provider. */
bool pctl_fips(void);

/* PBKDF2-HMAC-SHA-256 (RFC 8018); HOTP value of 6 digits (RFC 4226, HMAC-SHA-1). */
void pctl_pbkdf2(const char *password, const uint8 *salt, size_t saltlen, int iterations,
                 uint8 key[PCTL_SHA256_LEN]);
uint32 pctl_hotp(const uint8 *key, size_t keylen, uint64 counter);

/* base64url without padding. Both palloc'd; decode returns NULL when text is not exactly that. */
char *pctl_base64url(const uint8 *data, size_t len);
bool pctl_base64url_decode(const char *text, uint8 *out, size_t len);

bool pctl_equal(const void *a, const void *b, size_t len); /* in constant time */

#endif
