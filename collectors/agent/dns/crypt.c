/* SPDX-License-Identifier: PostgreSQL
 *
 * crypt.c -- the primitives DNSSEC is built from.
 *
 * Lengths are held to those of the algorithm before ldns sees them: a key or signature of
 * another size cannot be right, and refusing it here costs nothing.
 */
#include "agent/dns/crypt.h"

#include <ldns/ldns.h>
#include <string.h>

#include "agent/dns/name.h"

/* 4,096-bit keys are the largest in use; RFC 3110 has a ceiling of the same size. */
#define RSA_KEY_MAX 1100
#define RSA_SIG_MAX 512

#define RSA_EXPONENT_MAX 8

#define ECDSA_DER_MAX 104 /* of two 48-byte numbers: 2 + 2 * (2 + 1 + 48) */

static const struct
{
	uint8_t algorithm;
	uint16_t key_min, key_max, sig_min, sig_max;
} algorithms[] = {
    {LDNS_RSASHA1, 4, RSA_KEY_MAX, 1, RSA_SIG_MAX},
    {LDNS_RSASHA1_NSEC3, 4, RSA_KEY_MAX, 1, RSA_SIG_MAX},
    {LDNS_RSASHA256, 4, RSA_KEY_MAX, 1, RSA_SIG_MAX},
    {LDNS_RSASHA512, 4, RSA_KEY_MAX, 1, RSA_SIG_MAX},
    {LDNS_ECDSAP256SHA256, 64, 64, 64, 64},
    {LDNS_ECDSAP384SHA384, 96, 96, 96, 96},
    {LDNS_ED25519, 32, 32, 64, 64},
    {LDNS_ED448, 57, 57, 114, 114},
};

#define ALGORITHMS (sizeof(algorithms) / sizeof(algorithms[0]))

bool
crypt_algorithm(uint8_t algorithm)
{
	for (size_t i = 0; i < ALGORITHMS; i++)
		if (algorithms[i].algorithm == algorithm)
			return true;
	return false;
}

unsigned
crypt_digest_rank(uint8_t digest)
{
	switch (digest)
	{
		case LDNS_SHA1: return 1;
		case LDNS_SHA256: return 2;
		case LDNS_SHA384: return 3;
		default: return 0;
	}
}

/* An exponent as long as the modulus makes a verification as slow as signing (CVE-2006-2940); those
 * in use have 1 to 5 bytes. RFC 3110 section 2: one byte of length, or 0 and two. */
static bool
rsa_exponent_short(const uint8_t *key, size_t len)
{
	size_t n = key[0] ? key[0] : (size_t) key[1] << 8 | key[2];

	return n > 0 && n <= RSA_EXPONENT_MAX && n + 3 < len;
}

/* ECDSA signatures are two numbers end to end on the wire (RFC 6605 section 4); the library wants
 * them as SEQUENCE { INTEGER, INTEGER }: without leading zeros, and with one where the top bit is set. */
static size_t
ecdsa_der(const uint8_t *signature, size_t len, uint8_t out[ECDSA_DER_MAX])
{
	size_t used = 2;

	for (size_t half = 0; half < 2; half++)
	{
		const uint8_t *number = signature + half * len / 2;
		size_t n = len / 2;

		while (n > 1 && *number == 0)
		{
			number++;
			n--;
		}
		out[used++] = 0x02;
		out[used++] = (uint8_t) (n + (*number >> 7));
		if (*number & 0x80)
			out[used++] = 0;
		memcpy(out + used, number, n);
		used += n;
	}
	out[0] = 0x30;
	out[1] = (uint8_t) (used - 2); /* at most 102: the short form of a length */
	return used;
}

static bool
verify(uint8_t algorithm, const uint8_t *key, size_t key_len, const uint8_t *signature,
       size_t signature_len, const uint8_t *data, size_t len)
{
	ldns_buffer text;
	bool good;

	/* ldns takes pointers without const, and only reads. */
	ldns_buffer_new_frm_data(&text, data, len);
	ldns_buffer_set_position(&text, len);
	good = ldns_verify_rrsig_buffers_raw((unsigned char *) (uintptr_t) signature, signature_len,
	                                     &text, (unsigned char *) (uintptr_t) key, key_len,
	                                     algorithm) == LDNS_STATUS_OK;
	LDNS_FREE(text._data);
	return good;
}

bool
crypt_verify(uint8_t algorithm, const uint8_t *key, size_t key_len, const uint8_t *signature,
             size_t signature_len, const uint8_t *data, size_t len)
{
	uint8_t der[ECDSA_DER_MAX];

	for (size_t i = 0; i < ALGORITHMS; i++)
	{
		if (algorithms[i].algorithm != algorithm)
			continue;
		if (key_len < algorithms[i].key_min || key_len > algorithms[i].key_max ||
		    signature_len < algorithms[i].sig_min || signature_len > algorithms[i].sig_max)
			return false;
		if (algorithms[i].key_max == RSA_KEY_MAX && !rsa_exponent_short(key, key_len))
			return false;
		if (algorithm == LDNS_ECDSAP256SHA256 || algorithm == LDNS_ECDSAP384SHA384)
			return verify(algorithm, key, key_len, der, ecdsa_der(signature, signature_len, der),
			              data, len);
		return verify(algorithm, key, key_len, signature, signature_len, data, len);
	}
	return false;
}

const struct crypt_ops crypt_default = {crypt_algorithm, crypt_verify};

size_t
crypt_digest(uint8_t digest, const uint8_t *owner, const uint8_t *rdata, size_t rdlen,
             uint8_t out[CRYPT_HASH_MAX])
{
	struct buf text = BUF_INIT(DNS_NAME_MAX + 65536);
	size_t n = 0;

	if (buf_put(&text, owner, dname_len(owner)) && buf_put(&text, rdata, rdlen))
	{
		if (digest == LDNS_SHA1 && ldns_sha1(text.data, (unsigned) text.len, out))
			n = 20;
		else if (digest == LDNS_SHA256 && ldns_sha256(text.data, (unsigned) text.len, out))
			n = 32;
		else if (digest == LDNS_SHA384 && ldns_sha384(text.data, (unsigned) text.len, out))
			n = 48;
	}
	buf_free(&text);
	return n;
}

uint16_t
crypt_key_tag(const uint8_t *rdata, size_t rdlen)
{
	return ldns_calc_keytag_raw(rdata, rdlen);
}

void
crypt_nsec3_hash(const uint8_t *name, const uint8_t *salt, size_t salt_len, unsigned iterations,
                 uint8_t out[CRYPT_NSEC3_LEN])
{
	uint8_t text[DNS_NAME_MAX + 255];
	size_t len = dname_len(name);

	memcpy(text, name, len);
	memcpy(text + len, salt, salt_len);
	ldns_sha1(text, (unsigned) (len + salt_len), out);
	memcpy(text + CRYPT_NSEC3_LEN, salt, salt_len);
	for (unsigned i = 0; i < iterations; i++)
	{
		memcpy(text, out, CRYPT_NSEC3_LEN);
		ldns_sha1(text, (unsigned) (CRYPT_NSEC3_LEN + salt_len), out);
	}
}

bool
crypt_base32hex(const uint8_t *text, size_t len, uint8_t out[CRYPT_NSEC3_LEN])
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;

	if (len != 32) /* 20 bytes are 32 characters of 5 bits */
		return false;
	for (size_t i = 0; i < len; i++)
	{
		uint8_t c = text[i];
		unsigned value;

		if (c >= '0' && c <= '9')
			value = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'v')
			value = (c | 0x20) - 'a' + 10U;
		else
			return false;
		bits = bits << 5 | value;
		have += 5;
		if (have < 8)
			continue;
		have -= 8;
		out[n++] = (uint8_t) (bits >> have);
	}
	return true;
}
