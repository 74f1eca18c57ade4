/* SPDX-License-Identifier: PostgreSQL
 *
 * crypt.h -- the primitives DNSSEC is built from: signatures, digests of keys, hashes of names.
 *
 * ldns and the library of cryptography below it do the arithmetic; here is which algorithms count,
 * and what is checked before foreign bytes get there.
 */
#ifndef PCTL_AGENT_DNS_CRYPT_H
#define PCTL_AGENT_DNS_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPT_HASH_MAX  48 /* SHA-384 */
#define CRYPT_NSEC3_LEN 20 /* SHA-1 */

/* DNSKEY algorithms a signature can be verified of. Not RSAMD5, DSA and GOST (RFC 8624 section 3.1):
 * a zone with only those is insecure (RFC 4035 section 5.2). */
bool crypt_algorithm(uint8_t algorithm);

/* Rank of a DS digest type, 0: not supported. */
unsigned crypt_digest_rank(uint8_t digest);

/* key is the public key field of a DNSKEY, signature that of an RRSIG. */
bool crypt_verify(uint8_t algorithm, const uint8_t *key, size_t key_len, const uint8_t *signature,
                  size_t signature_len, const uint8_t *data, size_t len);

/* The two above, as the engine calls them; a test may put others in their place. */
struct crypt_ops
{
	bool (*algorithm)(uint8_t algorithm);
	bool (*verify)(uint8_t algorithm, const uint8_t *key, size_t key_len, const uint8_t *signature,
	               size_t signature_len, const uint8_t *data, size_t len);
};

extern const struct crypt_ops crypt_default;

/* Length of the digest of a DNSKEY (RFC 4034 section 5.1.4), 0 for an unknown type. */
size_t crypt_digest(uint8_t digest, const uint8_t *owner, const uint8_t *rdata, size_t rdlen,
                    uint8_t out[CRYPT_HASH_MAX]);

/* Tag of a DNSKEY (RFC 4034 appendix B). */
uint16_t crypt_key_tag(const uint8_t *rdata, size_t rdlen);

/* RFC 5155 section 5. */
void crypt_nsec3_hash(const uint8_t *name, const uint8_t *salt, size_t salt_len,
                      unsigned iterations, uint8_t out[CRYPT_NSEC3_LEN]);

/* Extended hex without padding (RFC 4648 section 7), as NSEC3 owners have it; false when text of
 * len characters is not that of a 20-byte hash. */
bool crypt_base32hex(const uint8_t *text, size_t len, uint8_t out[CRYPT_NSEC3_LEN]);

#endif
