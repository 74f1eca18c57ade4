/* SPDX-License-Identifier: PostgreSQL
 *
 * rrset.c -- one RRset and its signatures (RFC 4034 section 3.1.8.1, RFC 4035 section 5.3).
 *
 *   signed data = RRSIG data without the signature | record(1) | record(2) ...
 *   record      = owner | type | class | original TTL | length | data
 *
 * Records are sorted by their canonical data, duplicates dropped. The owner of an RRset made
 * from a wildcard is put back to the wildcard. Everything a signature says is checked before
 * the signature is, because that is cheap and it is what a person needs to know.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/dns/chainpriv.h"

#define SIGNED_MAX   (1024 * 1024) /* bytes a signature is computed over */
#define KEY_ZONE     0x0100
#define KEY_REVOKE   0x0080
#define KEY_PROTOCOL 3
#define RRSIG_HEAD   18

/* The fields of an RRSIG. */
struct signature
{
	uint16_t covered, tag;
	uint8_t algorithm, labels;
	uint32_t ttl, expiration, inception;
	const uint8_t *signer, *bytes;
	size_t len, head; /* of the signature; of what is in front of it */
};

static void
signature_read(const struct dns_rr *rr, struct signature *s)
{
	struct cursor c;

	cursor_init(&c, rr->rdata, rr->rdlen);
	s->covered = cursor_be16(&c);
	s->algorithm = cursor_u8(&c);
	s->labels = cursor_u8(&c);
	s->ttl = cursor_be32(&c);
	s->expiration = cursor_be32(&c);
	s->inception = cursor_be32(&c);
	s->tag = cursor_be16(&c);
	s->signer = rr->rdata + RRSIG_HEAD;
	s->head = RRSIG_HEAD + dname_len(s->signer);
	s->bytes = rr->rdata + s->head;
	s->len = rr->rdlen - s->head;
}

static const struct dns_rr *
next_signature(const struct rrset *set, size_t *at, struct signature *s)
{
	const struct dns_rr *rr;

	while ((rr = dnsmsg_next(set->msg, set->section, set->owner, DNS_TYPE_RRSIG, at)))
	{
		signature_read(rr, s);
		if (s->covered == set->type)
			return rr;
	}
	return NULL;
}

const uint8_t *
rrset_signer(const struct rrset *set)
{
	const uint8_t *signer = NULL;
	struct signature s;
	size_t at = 0;

	while (next_signature(set, &at, &s))
	{
		if (!dname_under(set->owner, s.signer))
			continue;
		/* A DS is signed by the zone above. */
		if (set->type == DNS_TYPE_DS && set->owner[0] && dname_equal(set->owner, s.signer))
			continue;
		if (signer == NULL || dname_labels(s.signer) > dname_labels(signer))
			signer = s.signer;
	}
	return signer;
}

/* ---- what is signed ---- */

static int
by_data(const void *a, const void *b)
{
	const struct dns_rr *left = *(const struct dns_rr *const *) a;
	const struct dns_rr *right = *(const struct dns_rr *const *) b;
	size_t n = left->rdlen < right->rdlen ? left->rdlen : right->rdlen;
	int order = memcmp(left->rdata, right->rdata, n);

	return order ? order : (int) left->rdlen - (int) right->rdlen;
}

/* The records in canonical order, without duplicates; NULL when memory is out. */
static const struct dns_rr **
sorted(const struct rrset *set, size_t *count)
{
	const struct dns_rr **list = calloc(set->msg->count + 1, sizeof(*list)), *rr;
	size_t at = 0, n = 0, kept = 0;

	if (list == NULL)
		return NULL;
	while ((rr = dnsmsg_next(set->msg, set->section, set->owner, set->type, &at)))
		list[n++] = rr;
	qsort(list, n, sizeof(*list), by_data);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || by_data(&list[kept - 1], &list[i]) != 0)
			list[kept++] = list[i];
	*count = kept;
	return list;
}

/* The owner as it was when it was signed; false when that has fewer labels than is said. */
static bool
signed_owner(const struct rrset *set, const struct signature *s, struct dns_name *owner)
{
	unsigned labels = dname_labels(set->owner);

	if (dname_is_wildcard(set->owner))
		labels--;
	if (s->labels > labels)
		return false;
	if (s->labels == labels)
		dname_copy(owner, set->owner);
	else if (!dname_wildcard(dname_tail(set->owner, s->labels), owner))
		return false;
	return true;
}

static bool
signed_data(struct buf *out, const struct rrset *set, const struct dns_rr *rrsig,
            const struct signature *s, const struct dns_rr *const *list, size_t count)
{
	struct dns_name owner;

	buf_reset(out);
	if (!signed_owner(set, s, &owner))
		return false;
	buf_put(out, rrsig->rdata, s->head);
	for (size_t i = 0; i < count; i++)
	{
		buf_put(out, owner.bytes, owner.len);
		buf_put_be16(out, set->type);
		buf_put_be16(out, DNS_CLASS_IN);
		buf_put_be32(out, s->ttl);
		buf_put_be16(out, list[i]->rdlen);
		buf_put(out, list[i]->rdata, list[i]->rdlen);
	}
	return !out->failed;
}

/* ---- verification ---- */

static const char *
set_text(const struct rrset *set, char *buf, size_t len)
{
	char name[120], type[24];

	snprintf(buf, len, "%s %s", dname_text(set->owner, name, sizeof(name)),
	         dns_type_text(set->type, type, sizeof(type)));
	return buf;
}

static void
date_text(uint32_t when, char *buf, size_t len)
{
	time_t t = when;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, len, "%Y-%m-%d %H:%M UTC", &tm);
}

/* Whether a signature can count at all: signer, dates, algorithm. Dates compare as serial
 * numbers (RFC 1982), for 32 bits of seconds wrap in 2106. */
static bool
signature_counts(struct chain *c, const struct rrset *set, const struct signature *s,
                 const uint8_t *zone)
{
	uint32_t now = (uint32_t) c->options.now;
	char what[160], date[40];

	set_text(set, what, sizeof(what));
	if (!dname_equal(s->signer, zone))
	{
		char name[60];

		chain_say(c, 9, "%s is signed by %s, which is not its zone", what,
		          dname_text(s->signer, name, sizeof(name)));
		return false;
	}
	if (!c->options.crypt->algorithm(s->algorithm))
	{
		chain_say(c, 1, "%s has only signatures of unsupported algorithms (%u)", what,
		          s->algorithm);
		return false;
	}
	if ((int32_t) (s->expiration - now) < 0)
	{
		date_text(s->expiration, date, sizeof(date));
		chain_say(c, (int32_t) (s->expiration - s->inception) < 0 ? 25 : 7,
		          "the signature of %s expired on %s", what, date);
		return false;
	}
	if ((int32_t) (now - s->inception) < 0)
	{
		date_text(s->inception, date, sizeof(date));
		chain_say(c, 8, "the signature of %s is not valid before %s", what, date);
		return false;
	}
	return true;
}

/* RFC 4034 section 2.1: a zone key, in the protocol of DNSSEC, and not revoked (RFC 5011). */
static bool
key_fits(const struct dns_rr *key, const struct signature *s)
{
	unsigned flags;

	if (key->rdlen < 5)
		return false;
	flags = (unsigned) key->rdata[0] << 8 | key->rdata[1];
	return (flags & KEY_ZONE) && !(flags & KEY_REVOKE) && key->rdata[2] == KEY_PROTOCOL &&
	       key->rdata[3] == s->algorithm && crypt_key_tag(key->rdata, key->rdlen) == s->tag;
}

struct attempt
{
	struct chain *c;
	const struct rrset *set;
	const uint8_t *zone;
	const struct dnsmsg *keys; /* all of them, or */
	const struct dns_rr *key;  /* this one */
	const struct dns_rr **list;
	size_t count;
	struct buf data;
	unsigned failures;
	unsigned labels;
};

/* One signature and one key. */
static bool
try_key(struct attempt *a, const struct dns_rr *rrsig, const struct signature *s,
        const struct dns_rr *key)
{
	struct chain *c = a->c;
	char what[160];

	if (!key_fits(key, s))
		return false;
	if (a->failures >= CHAIN_FAILURES_MAX || c->result.checks >= CHAIN_CHECKS_MAX)
	{
		chain_say(c, 6, "%s: too many keys and signatures to try them all",
		          set_text(a->set, what, sizeof(what)));
		return false;
	}
	c->result.checks++;
	if (signed_data(&a->data, a->set, rrsig, s, a->list, a->count) &&
	    c->options.crypt->verify(s->algorithm, key->rdata + 4, key->rdlen - 4U, s->bytes, s->len,
	                             a->data.data, a->data.len))
	{
		a->labels = s->labels;
		return true;
	}
	a->failures++;
	chain_say(c, 6, "the signature of %s by key %u does not verify",
	          set_text(a->set, what, sizeof(what)), s->tag);
	return false;
}

static bool
try_signature(struct attempt *a, const struct dns_rr *rrsig, const struct signature *s)
{
	const struct dns_rr *key;
	char what[160];
	size_t at = 0;

	if (!signature_counts(a->c, a->set, s, a->zone))
		return false;
	chain_say(a->c, 9, "%s is signed with key %u, which the zone does not have",
	          set_text(a->set, what, sizeof(what)), s->tag);
	if (a->key)
		return try_key(a, rrsig, s, a->key);
	while ((key = dnsmsg_next(a->keys, DNS_ANSWER, a->zone, DNS_TYPE_DNSKEY, &at)))
		if (try_key(a, rrsig, s, key))
			return true;
	return false;
}

static enum trust
verify(struct attempt *a)
{
	struct signature s;
	const struct dns_rr *rrsig;
	enum trust trust = TRUST_BOGUS;
	char what[160];
	size_t at = 0;

	chain_say(a->c, 10, "%s has no signature", set_text(a->set, what, sizeof(what)));
	a->list = sorted(a->set, &a->count);
	buf_init(&a->data, SIGNED_MAX);
	while (a->list && trust != TRUST_SECURE && (rrsig = next_signature(a->set, &at, &s)))
		if (try_signature(a, rrsig, &s))
			trust = TRUST_SECURE;
	if (a->list == NULL)
		a->c->out_of_memory = true;
	free(a->list);
	buf_free(&a->data);
	return trust;
}

enum trust
rrset_verify_key(struct chain *c, struct rrset *set, const uint8_t *zone, const struct dns_rr *key)
{
	struct attempt a = {.c = c, .set = set, .zone = zone, .key = key};
	enum trust trust = verify(&a);

	set->labels = a.labels;
	return trust;
}

enum trust
rrset_verify(struct chain *c, struct rrset *set, const struct zone *zone)
{
	struct attempt a = {.c = c, .set = set, .zone = zone->name.bytes, .keys = zone->keys};
	size_t at = 0;
	const struct dns_rr *first = dnsmsg_next(set->msg, set->section, set->owner, set->type, &at);
	struct checked *checked;

	STAILQ_FOREACH(checked, &c->checked, entry)
	if (checked->rr == first && checked->zone == zone)
	{
		set->labels = checked->labels;
		if (checked->trust != TRUST_SECURE)
			c->reason = checked->reason;
		return checked->trust;
	}
	checked = calloc(1, sizeof(*checked));
	if (checked == NULL)
	{
		c->out_of_memory = true;
		return TRUST_BOGUS;
	}
	checked->rr = first;
	checked->zone = zone;
	checked->trust = verify(&a);
	checked->labels = set->labels = a.labels;
	checked->reason = c->reason;
	STAILQ_INSERT_TAIL(&c->checked, checked, entry);
	return checked->trust;
}
