/* SPDX-License-Identifier: PostgreSQL
 *
 * denial.c -- what verified NSEC and NSEC3 records prove not to exist.
 *
 * NSEC speaks of names in their canonical order, NSEC3 of hashes. A record of the parent's side of a
 * delegation (NS without SOA) or of a DNAME says nothing about what is below it: without
 * that rule a signed delegation could be "proven" away.
 */
#include "agent/dns/denial.h"

#include <string.h>

#define NSEC3_SHA1    1
#define NSEC3_OPT_OUT 1

bool
denial_has_type(const uint8_t *bitmap, size_t len, uint16_t type)
{
	struct cursor c;

	cursor_init(&c, bitmap, len);
	while (cursor_left(&c) >= 2)
	{
		uint8_t window = cursor_u8(&c);
		uint8_t n = cursor_u8(&c);
		const uint8_t *bits = cursor_take(&c, n);

		if (bits == NULL)
			return false;
		if (window == type >> 8 && (type & 0xff) / 8 < n)
			return bits[(type & 0xff) / 8] & 0x80 >> (type & 7);
	}
	return false;
}

void
denial_init(struct denial_set *set, const uint8_t *zone, uint64_t *work)
{
	memset(set, 0, sizeof(*set));
	set->zone = zone;
	set->work = work;
}

static void
add_nsec3(struct denial_set *set, const struct dns_rr *rr)
{
	struct denial_nsec3 *record = &set->nsec3[set->nsec3_count];
	struct cursor c;
	uint8_t hash, flags, salt_len, next_len;
	unsigned iterations;
	const uint8_t *salt, *next;

	cursor_init(&c, rr->rdata, rr->rdlen);
	hash = cursor_u8(&c);
	flags = cursor_u8(&c);
	iterations = cursor_be16(&c);
	salt_len = cursor_u8(&c);
	salt = cursor_take(&c, salt_len);
	next_len = cursor_u8(&c);
	next = cursor_take(&c, next_len);
	/* RFC 5155 section 8.1 and 8.2: unknown hashes and flags do not count; the owner is one
	 * label below the zone. */
	if (c.failed || hash != NSEC3_SHA1 || (flags & ~NSEC3_OPT_OUT) || next_len != CRYPT_NSEC3_LEN ||
	    !dname_equal(rr->owner + rr->owner[0] + 1, set->zone) ||
	    !crypt_base32hex(rr->owner + 1, rr->owner[0], record->owner))
		return;
	if (set->nsec3_count == 0)
	{
		set->salt = salt;
		set->salt_len = salt_len;
		set->iterations = iterations;
	}
	else if (iterations != set->iterations || salt_len != set->salt_len ||
	         memcmp(salt, set->salt, salt_len) != 0)
		return;
	memcpy(record->next, next, CRYPT_NSEC3_LEN);
	record->rr = rr;
	record->opt_out = flags & NSEC3_OPT_OUT;
	record->bitmap_len = cursor_left(&c);
	record->bitmap = cursor_take(&c, record->bitmap_len);
	set->nsec3_count++;
}

void
denial_add(struct denial_set *set, const struct dns_rr *rr)
{
	if (rr->owner[0] == 0 && rr->type == DNS_TYPE_NSEC3)
		return;
	if (rr->type == DNS_TYPE_NSEC && set->nsec_count < DENIAL_RECORDS_MAX)
		set->nsec[set->nsec_count++] = rr;
	else if (rr->type == DNS_TYPE_NSEC3 && set->nsec3_count < DENIAL_RECORDS_MAX)
		add_nsec3(set, rr);
}

/* Whether a bitmap at the very name denies a type there (RFC 6840 section 4.1 and 4.4). */
static bool
bitmap_denies(const uint8_t *bitmap, size_t len, const uint8_t *name, uint16_t type)
{
	bool ns = denial_has_type(bitmap, len, DNS_TYPE_NS);
	bool soa = denial_has_type(bitmap, len, DNS_TYPE_SOA);

	if (denial_has_type(bitmap, len, type) || denial_has_type(bitmap, len, DNS_TYPE_CNAME))
		return false;
	/* The parent's side of a cut speaks of DS only, the child's of everything else. */
	return type == DNS_TYPE_DS ? !soa || name[0] == 0 : !ns || soa;
}

static enum denial
bitmap_verdict(const uint8_t *bitmap, size_t len, const uint8_t *name, uint16_t type)
{
	if (!bitmap_denies(bitmap, len, name, type))
		return DENIAL_NONE;
	return type == DNS_TYPE_DS && denial_has_type(bitmap, len, DNS_TYPE_NS) ? DENIAL_DELEGATION
	                                                                        : DENIAL_NODATA;
}

/* ---- NSEC ---- */

struct nsec
{
	const uint8_t *owner;
	struct dns_name next; /* in lower case, for comparisons */
	const uint8_t *bitmap;
	size_t bitmap_len;
};

static void
nsec_read(const struct dns_rr *rr, struct nsec *nsec)
{
	size_t n = dname_len(rr->rdata);

	nsec->owner = rr->owner;
	dname_lower(&nsec->next, rr->rdata);
	nsec->bitmap = rr->rdata + n;
	nsec->bitmap_len = rr->rdlen - n;
}

/* Name lies between owner and next; the last record's next is the zone. */
static bool
nsec_covers(const struct nsec *nsec, const uint8_t *zone, const uint8_t *name)
{
	if (dname_compare(nsec->owner, name) >= 0 || !dname_under(nsec->next.bytes, zone))
		return false;
	/* What a delegation or DNAME has below it is not its zone's to deny. */
	if (dname_under(name, nsec->owner) &&
	    (denial_has_type(nsec->bitmap, nsec->bitmap_len, DNS_TYPE_DNAME) ||
	     (denial_has_type(nsec->bitmap, nsec->bitmap_len, DNS_TYPE_NS) &&
	      !denial_has_type(nsec->bitmap, nsec->bitmap_len, DNS_TYPE_SOA))))
		return false;
	return dname_equal(nsec->next.bytes, zone) || dname_compare(name, nsec->next.bytes) < 0;
}

/* A name that has names below it exists, with nothing at it. */
static bool
nsec_covers_empty(const struct nsec *nsec, const uint8_t *name)
{
	return dname_compare(nsec->owner, name) < 0 && dname_under(nsec->next.bytes, name) &&
	       !dname_equal(nsec->next.bytes, name);
}

/* The longest name above a covered one that the record shows to exist. */
static const uint8_t *
nsec_encloser(const struct nsec *nsec, const uint8_t *name)
{
	unsigned left = dname_common(name, nsec->owner), right = dname_common(name, nsec->next.bytes);

	return dname_tail(name, left > right ? left : right);
}

static const uint8_t *
nsec_find_encloser(const struct denial_set *set, const uint8_t *name)
{
	for (size_t i = 0; i < set->nsec_count; i++)
	{
		struct nsec nsec;

		nsec_read(set->nsec[i], &nsec);
		if (nsec_covers(&nsec, set->zone, name) && !nsec_covers_empty(&nsec, name))
			return nsec_encloser(&nsec, name);
	}
	return NULL;
}

static enum denial
nsec_nodata(const struct denial_set *set, const uint8_t *name, uint16_t type)
{
	const uint8_t *encloser = nsec_find_encloser(set, name);
	struct dns_name wildcard;
	bool possible = encloser && dname_wildcard(encloser, &wildcard);

	for (size_t i = 0; i < set->nsec_count; i++)
	{
		struct nsec nsec;

		nsec_read(set->nsec[i], &nsec);
		if (dname_equal(nsec.owner, name))
			return bitmap_verdict(nsec.bitmap, nsec.bitmap_len, name, type);
		if (nsec_covers_empty(&nsec, name) && nsec_covers(&nsec, set->zone, name))
			return DENIAL_NODATA;
		if (possible && dname_equal(nsec.owner, wildcard.bytes) &&
		    bitmap_denies(nsec.bitmap, nsec.bitmap_len, name, type))
			return DENIAL_NODATA;
	}
	return DENIAL_NONE;
}

static enum denial
nsec_nxdomain(const struct denial_set *set, const uint8_t *name)
{
	const uint8_t *encloser = nsec_find_encloser(set, name);
	struct dns_name wildcard;

	if (encloser == NULL || !dname_wildcard(encloser, &wildcard))
		return DENIAL_NONE;
	for (size_t i = 0; i < set->nsec_count; i++)
	{
		struct nsec nsec;

		nsec_read(set->nsec[i], &nsec);
		if (nsec_covers(&nsec, set->zone, wildcard.bytes) &&
		    !nsec_covers_empty(&nsec, wildcard.bytes))
			return DENIAL_NXDOMAIN;
	}
	return DENIAL_NONE;
}

static enum denial
nsec_wildcard(const struct denial_set *set, const uint8_t *name, unsigned labels)
{
	const uint8_t *encloser = nsec_find_encloser(set, name);

	return encloser && dname_labels(encloser) <= labels ? DENIAL_NXDOMAIN : DENIAL_NONE;
}

/* ---- NSEC3 ---- */

static bool
nsec3_hash(struct denial_set *set, const uint8_t *name, uint8_t hash[CRYPT_NSEC3_LEN])
{
	/* A name and a long salt make up to 9 blocks of 64 bytes in the first round. */
	uint64_t cost = (uint64_t) (set->iterations + 1) * (1 + (set->salt_len + 29) / 64) + 8;

	if (*set->work < cost)
		return false;
	*set->work -= cost;
	crypt_nsec3_hash(name, set->salt, set->salt_len, set->iterations, hash);
	return true;
}

static const struct denial_nsec3 *
nsec3_match(struct denial_set *set, const uint8_t *name)
{
	uint8_t hash[CRYPT_NSEC3_LEN];

	if (!nsec3_hash(set, name, hash))
		return NULL;
	for (size_t i = 0; i < set->nsec3_count; i++)
		if (memcmp(set->nsec3[i].owner, hash, CRYPT_NSEC3_LEN) == 0)
			return &set->nsec3[i];
	return NULL;
}

static const struct denial_nsec3 *
nsec3_cover(struct denial_set *set, const uint8_t *name)
{
	uint8_t hash[CRYPT_NSEC3_LEN];

	if (!nsec3_hash(set, name, hash))
		return NULL;
	for (size_t i = 0; i < set->nsec3_count; i++)
	{
		const struct denial_nsec3 *record = &set->nsec3[i];
		bool after = memcmp(record->owner, hash, CRYPT_NSEC3_LEN) < 0;
		bool before = memcmp(hash, record->next, CRYPT_NSEC3_LEN) < 0;
		/* The last one goes round to the first. */
		bool round = memcmp(record->owner, record->next, CRYPT_NSEC3_LEN) >= 0;

		if (round ? after || before : after && before)
			return record;
	}
	return NULL;
}

/* RFC 5155 section 8.3: a name above that exists, and the next one towards name that does not.
 * DENIAL_NXDOMAIN when that is proven; DENIAL_DELEGATION when what exists is unsigned from there on. */
static enum denial
nsec3_enclose(struct denial_set *set, const uint8_t *name, const uint8_t **encloser,
              const struct denial_nsec3 **cover)
{
	unsigned zone_labels = dname_labels(set->zone);

	for (unsigned labels = dname_labels(name); labels-- > zone_labels;)
	{
		const struct denial_nsec3 *match;

		*encloser = dname_tail(name, labels);
		match = nsec3_match(set, *encloser);
		if (match == NULL)
			continue;
		if (denial_has_type(match->bitmap, match->bitmap_len, DNS_TYPE_DNAME))
			return DENIAL_NONE;
		if (denial_has_type(match->bitmap, match->bitmap_len, DNS_TYPE_NS) &&
		    !denial_has_type(match->bitmap, match->bitmap_len, DNS_TYPE_SOA))
			return denial_has_type(match->bitmap, match->bitmap_len, DNS_TYPE_DS)
			           ? DENIAL_NONE
			           : DENIAL_DELEGATION;
		*cover = nsec3_cover(set, dname_tail(name, labels + 1));
		return *cover ? DENIAL_NXDOMAIN : DENIAL_NONE;
	}
	return DENIAL_NONE;
}

static enum denial
nsec3_nodata(struct denial_set *set, const uint8_t *name, uint16_t type)
{
	const struct denial_nsec3 *match = nsec3_match(set, name), *cover;
	const uint8_t *encloser;
	struct dns_name wildcard;
	enum denial proof;

	if (match)
		return bitmap_verdict(match->bitmap, match->bitmap_len, name, type);
	proof = nsec3_enclose(set, name, &encloser, &cover);
	if (proof != DENIAL_NXDOMAIN)
		return proof;
	match = dname_wildcard(encloser, &wildcard) ? nsec3_match(set, wildcard.bytes) : NULL;
	if (match && !bitmap_denies(match->bitmap, match->bitmap_len, wildcard.bytes, type))
		return DENIAL_NONE;
	if (cover->opt_out)
		return DENIAL_OPT_OUT;
	return match ? DENIAL_NODATA : DENIAL_NONE;
}

static enum denial
nsec3_nxdomain(struct denial_set *set, const uint8_t *name)
{
	const struct denial_nsec3 *cover;
	const uint8_t *encloser;
	struct dns_name wildcard;
	enum denial proof = nsec3_enclose(set, name, &encloser, &cover);

	if (proof != DENIAL_NXDOMAIN)
		return proof;
	if (!dname_wildcard(encloser, &wildcard) || nsec3_cover(set, wildcard.bytes) == NULL)
		return DENIAL_NONE;
	return cover->opt_out ? DENIAL_OPT_OUT : DENIAL_NXDOMAIN;
}

static enum denial
nsec3_wildcard(struct denial_set *set, const uint8_t *name, unsigned labels)
{
	const struct denial_nsec3 *cover = nsec3_cover(set, dname_tail(name, labels + 1));

	if (cover == NULL)
		return DENIAL_NONE;
	return cover->opt_out ? DENIAL_OPT_OUT : DENIAL_NXDOMAIN;
}

/* ---- both ---- */

static bool
too_many_iterations(const struct denial_set *set)
{
	return set->nsec3_count > 0 && set->iterations > DENIAL_ITERATIONS_MAX;
}

enum denial
denial_nodata(struct denial_set *set, const uint8_t *name, uint16_t type)
{
	enum denial proof = nsec_nodata(set, name, type);

	if (proof != DENIAL_NONE || set->nsec3_count == 0)
		return proof;
	return too_many_iterations(set) ? DENIAL_ITERATIONS : nsec3_nodata(set, name, type);
}

enum denial
denial_nxdomain(struct denial_set *set, const uint8_t *name)
{
	enum denial proof = nsec_nxdomain(set, name);

	if (proof != DENIAL_NONE || set->nsec3_count == 0)
		return proof;
	return too_many_iterations(set) ? DENIAL_ITERATIONS : nsec3_nxdomain(set, name);
}

enum denial
denial_wildcard(struct denial_set *set, const uint8_t *name, unsigned labels)
{
	enum denial proof = nsec_wildcard(set, name, labels);

	if (proof != DENIAL_NONE || set->nsec3_count == 0)
		return proof;
	return too_many_iterations(set) ? DENIAL_ITERATIONS : nsec3_wildcard(set, name, labels);
}
