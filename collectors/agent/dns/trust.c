/* SPDX-License-Identifier: PostgreSQL
 *
 * trust.c -- the zone a name is in, from a trust anchor down (RFC 4035 section 5).
 *
 *   anchor -> DNSKEY of its zone -> for each label towards the name: DS?
 *       DS verified        -> DNSKEY of the child, and on
 *       no DS, delegation  -> insecure from here on, proven
 *       no DS, no cut      -> on in the same zone
 *       no such name       -> the zone is found
 *       anything else      -> bogus
 *
 * "Insecure" is only ever said with a proof: a missing signature in a zone that was found secure is
 * an attack or a fault, not an unsigned zone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/dns/chainpriv.h"

/* RRsets looked at in one authority section: a proof has at most four. */
#define AUTHORITY_SETS_MAX 48

/* ---- zones ---- */

static struct zone *
zone_add(struct chain *c, const uint8_t *name, enum trust trust)
{
	struct zone *zone = calloc(1, sizeof(*zone));

	if (zone == NULL)
	{
		c->out_of_memory = true;
		return NULL;
	}
	dname_copy(&zone->name, name);
	zone->trust = trust;
	zone->reason = c->reason;
	STAILQ_INSERT_TAIL(&c->zones, zone, entry);
	return zone;
}

static struct zone *
zone_find(const struct chain *c, const uint8_t *name)
{
	struct zone *zone;

	STAILQ_FOREACH(zone, &c->zones, entry)
	if (dname_equal(zone->name.bytes, name))
		return zone;
	return NULL;
}

/* Whether a DS, or a DNSKEY that is a trust anchor, means this key. */
static bool
names_key(uint16_t type, const uint8_t *rdata, size_t rdlen, const uint8_t *owner,
          const struct dns_rr *key)
{
	uint8_t digest[CRYPT_HASH_MAX];
	size_t n;

	if (key->rdlen < 5)
		return false;
	if (type == DNS_TYPE_DNSKEY)
		return rdlen == key->rdlen && memcmp(rdata, key->rdata, rdlen) == 0;
	if (rdlen < 5 || rdata[2] != key->rdata[3] ||
	    (rdata[0] << 8 | rdata[1]) != crypt_key_tag(key->rdata, key->rdlen))
		return false;
	n = crypt_digest(rdata[3], owner, key->rdata, key->rdlen, digest);
	return n > 0 && n == rdlen - 4 && memcmp(digest, rdata + 4, n) == 0;
}

/* The keys of a zone: verified by a key that the parent or an anchor names. Both are given as records
 * of type DS or DNSKEY; only those that can be used are in the list. */
struct entry_point
{
	uint16_t type;
	const uint8_t *rdata;
	size_t rdlen;
};

static enum trust
zone_keys(struct chain *c, const uint8_t *name, const struct entry_point *points, size_t count,
          struct zone **zone)
{
	enum trust trust;
	const struct dnsmsg *msg = chain_answer(c, name, DNS_TYPE_DNSKEY, &trust);
	struct rrset set = {msg, DNS_ANSWER, name, DNS_TYPE_DNSKEY, 0};
	const struct dns_rr *key;
	size_t at = 0;
	char text[120];

	if (msg == NULL)
		return trust;
	if (chain_refused(c, msg, name, "DNSKEY"))
		return TRUST_INDETERMINATE;
	dname_text(name, text, sizeof(text));
	chain_say(c, 9, "none of the keys of %s is one that %s names", text,
	          count && points[0].type == DNS_TYPE_DS ? "its DS" : "the trust anchor");
	if (dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_DNSKEY, &at) == NULL)
		chain_say(c, 9, "%s has no DNSKEY, and should have", text);
	at = 0;
	while ((key = dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_DNSKEY, &at)))
		for (size_t i = 0; i < count; i++)
		{
			if (!names_key(points[i].type, points[i].rdata, points[i].rdlen, name, key) ||
			    rrset_verify_key(c, &set, name, key) != TRUST_SECURE)
				continue;
			*zone = zone_add(c, name, TRUST_SECURE);
			if (*zone == NULL)
				return TRUST_BOGUS;
			(*zone)->keys = msg;
			return TRUST_SECURE;
		}
	*zone = zone_add(c, name, TRUST_BOGUS);
	return TRUST_BOGUS;
}

/* ---- anchors ---- */

static bool
anchor_usable(const struct chain *c, const struct anchor *anchor)
{
	if (anchor->type == DNS_TYPE_DNSKEY)
		return c->options.crypt->algorithm(anchor->rdata[3]);
	return c->options.crypt->algorithm(anchor->rdata[2]) && crypt_digest_rank(anchor->rdata[3]) > 0;
}

/* The nearest name at or above that has an anchor; NULL: none covers it. */
static const uint8_t *
anchor_above(const struct chain *c, const uint8_t *name)
{
	const uint8_t *nearest = NULL;

	for (size_t i = 0; c->options.anchors && i < c->options.anchors->count; i++)
	{
		const uint8_t *zone = c->options.anchors->list[i].zone.bytes;

		if (dname_under(name, zone) && (!nearest || dname_len(zone) > dname_len(nearest)))
			nearest = zone;
	}
	return nearest;
}

static enum trust
anchor_zone(struct chain *c, const uint8_t *name, struct zone **zone)
{
	struct entry_point points[ANCHORS_MAX];
	size_t count = 0;
	char text[120];

	*zone = zone_find(c, name);
	if (*zone)
		return (*zone)->trust;
	for (size_t i = 0; i < c->options.anchors->count; i++)
	{
		const struct anchor *anchor = &c->options.anchors->list[i];

		if (dname_equal(anchor->zone.bytes, name) && anchor_usable(c, anchor))
			points[count++] = (struct entry_point){anchor->type, anchor->rdata, anchor->rdlen};
	}
	if (count > 0)
		return zone_keys(c, name, points, count, zone);
	chain_say(c, 1, "the trust anchors of %s are of unsupported algorithms",
	          dname_text(name, text, sizeof(text)));
	*zone = zone_add(c, name, TRUST_INSECURE);
	return *zone ? TRUST_INSECURE : TRUST_BOGUS;
}

/* ---- cuts ---- */

static struct cut *
cut_add(struct chain *c, const uint8_t *name, enum cut_kind kind, struct zone *zone)
{
	struct cut *cut = calloc(1, sizeof(*cut));

	if (cut == NULL)
	{
		c->out_of_memory = true;
		return NULL;
	}
	dname_copy(&cut->name, name);
	cut->kind = kind;
	cut->zone = zone;
	STAILQ_INSERT_TAIL(&c->cuts, cut, entry);
	return cut;
}

/* A cut with a zone that is not secure: c->reason says why. */
static enum trust
cut_end(struct chain *c, const uint8_t *name, enum trust trust, struct cut **cut)
{
	struct zone *zone = zone_add(c, name, trust);

	*cut = zone ? cut_add(c, name, CUT_ZONE, zone) : NULL;
	return *cut ? TRUST_SECURE : TRUST_BOGUS;
}

/* The DS records that can be used: supported, and of the strongest digest there is (RFC 4509
 * section 3: SHA-1 does not count beside a better one). */
static size_t
usable_ds(const struct chain *c, const struct dnsmsg *msg, const uint8_t *name,
          struct entry_point *points, size_t room)
{
	const struct dns_rr *rr;
	unsigned best = 0;
	size_t at = 0, count = 0;

	while ((rr = dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_DS, &at)))
		if (rr->rdlen >= 5 && c->options.crypt->algorithm(rr->rdata[2]) &&
		    crypt_digest_rank(rr->rdata[3]) > best)
			best = crypt_digest_rank(rr->rdata[3]);
	at = 0;
	while (best > 0 && count < room && (rr = dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_DS, &at)))
		if (rr->rdlen >= 5 && c->options.crypt->algorithm(rr->rdata[2]) &&
		    crypt_digest_rank(rr->rdata[3]) == best)
			points[count++] = (struct entry_point){DNS_TYPE_DS, rr->rdata, rr->rdlen};
	return count;
}

static enum trust
cut_with_ds(struct chain *c, const struct dnsmsg *msg, const uint8_t *name, struct cut **cut)
{
	struct entry_point points[16];
	size_t count = usable_ds(c, msg, name, points, sizeof(points) / sizeof(points[0]));
	struct zone *zone = NULL;
	enum trust trust;
	char text[120];

	if (count == 0)
	{
		chain_say(c, 1, "%s is delegated with unsupported algorithms or digests only",
		          dname_text(name, text, sizeof(text)));
		return cut_end(c, name, TRUST_INSECURE, cut);
	}
	trust = zone_keys(c, name, points, count, &zone);
	if (trust == TRUST_PENDING || zone == NULL)
		return trust;
	*cut = cut_add(c, name, CUT_ZONE, zone);
	return *cut ? TRUST_SECURE : TRUST_BOGUS;
}

/* An alias at or above the name: no zone begins at a CNAME, and none below a DNAME. TRUST_INSECURE
 * here: there is none. */
static enum trust
cut_alias(struct chain *c, const struct dnsmsg *msg, const struct zone *parent, const uint8_t *name,
          struct cut **cut)
{
	struct rrset set = {msg, DNS_ANSWER, name, DNS_TYPE_CNAME, 0};
	size_t at = 0;

	for (unsigned labels = dname_labels(name) - 1; labels > dname_labels(parent->name.bytes);
	     labels--)
	{
		struct rrset dname = {msg, DNS_ANSWER, dname_tail(name, labels), DNS_TYPE_DNAME, 0};

		at = 0;
		if (dnsmsg_next(msg, DNS_ANSWER, dname.owner, DNS_TYPE_DNAME, &at) == NULL)
			continue;
		if (rrset_verify(c, &dname, parent) != TRUST_SECURE)
			return TRUST_BOGUS;
		*cut = cut_add(c, name, CUT_NO_NAME, NULL);
		return *cut ? TRUST_SECURE : TRUST_BOGUS;
	}
	at = 0;
	if (dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_CNAME, &at) == NULL)
		return TRUST_INSECURE;
	if (rrset_verify(c, &set, parent) != TRUST_SECURE)
		return TRUST_BOGUS;
	*cut = cut_add(c, name, CUT_NONE, NULL);
	return *cut ? TRUST_SECURE : TRUST_BOGUS;
}

static enum trust
cut_denied(struct chain *c, const struct dnsmsg *msg, const struct zone *parent,
           const uint8_t *name, struct cut **cut)
{
	struct denial_set denials;
	enum denial proof;
	char text[120], zone[80];

	if (trust_denials(c, msg, parent, false, &denials) != TRUST_SECURE)
		return cut_end(c, name, TRUST_BOGUS, cut);
	proof = denial_nodata(&denials, name, DNS_TYPE_DS);
	if (proof == DENIAL_NONE)
		proof = denial_nxdomain(&denials, name);
	dname_text(name, text, sizeof(text));
	dname_text(parent->name.bytes, zone, sizeof(zone));
	switch (proof)
	{
		case DENIAL_NODATA: *cut = cut_add(c, name, CUT_NONE, NULL); break;
		case DENIAL_NXDOMAIN: *cut = cut_add(c, name, CUT_NO_NAME, NULL); break;
		case DENIAL_DELEGATION:
			chain_say(c, -1, "%s proves that %s is delegated unsigned", zone, text);
			return cut_end(c, name, TRUST_INSECURE, cut);
		case DENIAL_OPT_OUT:
			chain_say(c, -1, "%s is in an opt-out span of %s", text, zone);
			return cut_end(c, name, TRUST_INSECURE, cut);
		case DENIAL_ITERATIONS:
			chain_say(c, 27, "%s has NSEC3 records with more than %d iterations", zone,
			          DENIAL_ITERATIONS_MAX);
			return cut_end(c, name, TRUST_INSECURE, cut);
		default:
			chain_say(c, 12, "%s neither has a DS for %s nor proves that there is none", zone,
			          text);
			return cut_end(c, name, TRUST_BOGUS, cut);
	}
	return *cut ? TRUST_SECURE : TRUST_BOGUS;
}

/* What begins at name, which is below the secure zone parent with no cut between. TRUST_SECURE: *cut
 * says it. */
static enum trust
cut_at(struct chain *c, const struct zone *parent, const uint8_t *name, struct cut **cut)
{
	const struct dnsmsg *msg;
	struct rrset ds = {NULL, DNS_ANSWER, name, DNS_TYPE_DS, 0};
	enum trust trust;
	size_t at = 0;

	STAILQ_FOREACH(*cut, &c->cuts, entry)
	if (dname_equal((*cut)->name.bytes, name))
		return TRUST_SECURE;
	msg = chain_answer(c, name, DNS_TYPE_DS, &trust);
	if (msg == NULL)
		return trust;
	if (chain_refused(c, msg, name, "DS"))
		return TRUST_INDETERMINATE;
	ds.msg = msg;
	if (dnsmsg_next(msg, DNS_ANSWER, name, DNS_TYPE_DS, &at))
	{
		if (rrset_verify(c, &ds, parent) != TRUST_SECURE)
			return cut_end(c, name, TRUST_BOGUS, cut);
		return cut_with_ds(c, msg, name, cut);
	}
	trust = cut_alias(c, msg, parent, name, cut);
	if (trust == TRUST_BOGUS)
		return cut_end(c, name, TRUST_BOGUS, cut);
	return trust == TRUST_INSECURE ? cut_denied(c, msg, parent, name, cut) : trust;
}

enum trust
trust_zone(struct chain *c, const uint8_t *name, const struct zone **found)
{
	const uint8_t *anchor = anchor_above(c, name);
	struct zone *zone;
	enum trust trust;
	char text[120];

	*found = NULL;
	if (anchor == NULL)
	{
		chain_say(c, 5, "no trust anchor covers %s", dname_text(name, text, sizeof(text)));
		return TRUST_INDETERMINATE;
	}
	trust = anchor_zone(c, anchor, &zone);
	for (unsigned labels = dname_labels(anchor) + 1;
	     trust == TRUST_SECURE && labels <= dname_labels(name); labels++)
	{
		struct cut *cut = NULL;

		trust = cut_at(c, zone, dname_tail(name, labels), &cut);
		if (trust != TRUST_SECURE || cut->kind == CUT_NO_NAME)
			break;
		if (cut->kind == CUT_NONE)
			continue;
		zone = cut->zone;
		trust = zone->trust;
	}
	if (trust == TRUST_PENDING || trust == TRUST_INDETERMINATE || zone == NULL)
		return trust;
	*found = zone;
	if (trust != TRUST_SECURE)
		c->reason = zone->reason;
	return trust;
}

/* ---- RRsets ---- */

/* The zone that holds an RRset: of a DS that is the one above. */
static const uint8_t *
holder(const uint8_t *owner, uint16_t type)
{
	return type == DNS_TYPE_DS && owner[0] ? owner + owner[0] + 1 : owner;
}

enum trust
trust_rrset(struct chain *c, struct rrset *set, const struct zone **zone)
{
	const uint8_t *signer = rrset_signer(set);
	enum trust trust = trust_zone(c, signer ? signer : holder(set->owner, set->type), zone);
	char owner[80], type[24], text[80];

	if (trust != TRUST_SECURE)
		return trust;
	if (signer && dname_equal((*zone)->name.bytes, signer))
		return rrset_verify(c, set, *zone);
	dname_text(set->owner, owner, sizeof(owner));
	dns_type_text(set->type, type, sizeof(type));
	if (signer)
		chain_say(c, 9, "%s %s is signed by %s, which is no zone", owner, type,
		          dname_text(signer, text, sizeof(text)));
	else
		chain_say(c, 10, "%s %s has no signature, and %s is signed", owner, type,
		          dname_text((*zone)->name.bytes, text, sizeof(text)));
	return TRUST_BOGUS;
}

/* What the zone did not sign is left alone, neither believed nor held against the answer; unless all is
 * to be signed but name servers, which come unsigned from above a cut. */
enum trust
trust_denials(struct chain *c, const struct dnsmsg *msg, const struct zone *zone, bool all,
              struct denial_set *denials)
{
	const struct dns_rr *before = NULL;
	unsigned sets = 0;

	denial_init(denials, zone->name.bytes, &c->hashes);
	for (size_t i = 0; i < msg->count; i++)
	{
		const struct dns_rr *rr = &msg->rrs[i];
		struct rrset set = {msg, DNS_AUTHORITY, rr->owner, rr->type, 0};
		const uint8_t *signer;

		if (rr->section != DNS_AUTHORITY || rr->class != DNS_CLASS_IN || rr->type == DNS_TYPE_RRSIG)
			continue;
		/* The records of an RRset mostly stand together; its verdict is kept in any case. */
		if (before && before->type == rr->type && dname_equal(before->owner, rr->owner))
			continue;
		before = rr;
		if (++sets > AUTHORITY_SETS_MAX)
		{
			chain_say(c, 6, "the answer comes with more in its authority section than is verified");
			return TRUST_BOGUS;
		}
		signer = rrset_signer(&set);
		if ((signer == NULL || !dname_equal(signer, zone->name.bytes)) &&
		    (!all || (signer == NULL && rr->type == DNS_TYPE_NS)))
			continue;
		if (rrset_verify(c, &set, zone) != TRUST_SECURE)
			return TRUST_BOGUS;
		/* RFC 4035 section 5.3.4 and RFC 6840 section 4.2: one that was made from a wildcard proves
		 * nothing. */
		if (set.labels == dname_labels(rr->owner) - dname_is_wildcard(rr->owner))
			denial_add(denials, rr);
	}
	return TRUST_SECURE;
}
