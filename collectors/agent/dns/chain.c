/* SPDX-License-Identifier: PostgreSQL
 *
 * chain.c -- follows an answer from alias to alias, and draws the verdict.
 *
 *   name -> RRset asked for?            -> verified: the end
 *        -> CNAME, or DNAME above it    -> verified: on with its target
 *        -> neither: denied             -> proven: the end
 *
 * The verdict is that of the weakest link. With validation off the same way is gone without
 * looking at signatures.
 */
#include "agent/dns/chain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/dns/chainpriv.h"

static const char *const verdict_names[] = {[CHAIN_UNCHECKED] = "unchecked",
                                            [CHAIN_SECURE] = "secure",
                                            [CHAIN_INSECURE] = "insecure",
                                            [CHAIN_BOGUS] = "bogus",
                                            [CHAIN_INDETERMINATE] = "indeterminate"};

const char *
chain_verdict_name(enum chain_verdict verdict)
{
	return verdict_names[verdict];
}

void
chain_say(struct chain *c, int ede, const char *fmt, ...)
{
	va_list args;

	c->reason.ede = ede;
	va_start(args, fmt);
	vsnprintf(c->reason.text, sizeof(c->reason.text), fmt, args);
	va_end(args);
}

struct chain *
chain_new(const struct chain_options *options, const uint8_t *name, uint16_t type)
{
	struct chain *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->options = *options;
	if (c->options.crypt == NULL)
		c->options.crypt = &crypt_default;
	dname_copy(&c->name, name);
	c->type = type;
	c->hashes = CHAIN_HASHES_MAX;
	c->result.ede = -1;
	STAILQ_INIT(&c->asked);
	STAILQ_INIT(&c->zones);
	STAILQ_INIT(&c->cuts);
	STAILQ_INIT(&c->checked);
	return c;
}

#define LIST_DROP(head, type)                                                                      \
	while (!STAILQ_EMPTY(head))                                                                    \
	{                                                                                              \
		struct type *first_ = STAILQ_FIRST(head);                                                  \
		STAILQ_REMOVE_HEAD(head, entry);                                                           \
		free(first_);                                                                              \
	}

void
chain_free(struct chain *c)
{
	struct asked *asked;

	if (c == NULL)
		return;
	STAILQ_FOREACH(asked, &c->asked, entry)
	dnsmsg_free(&asked->msg);
	LIST_DROP(&c->asked, asked);
	LIST_DROP(&c->zones, zone);
	LIST_DROP(&c->cuts, cut);
	LIST_DROP(&c->checked, checked);
	free(c);
}

/* ---- questions ---- */

static struct asked *
ask(struct chain *c, const uint8_t *name, uint16_t type)
{
	struct asked *asked;

	STAILQ_FOREACH(asked, &c->asked, entry)
	if (asked->type == type && dname_equal(asked->name.bytes, name))
		return asked;
	asked = calloc(1, sizeof(*asked));
	if (asked == NULL)
	{
		c->out_of_memory = true;
		return NULL;
	}
	dname_copy(&asked->name, name);
	asked->type = type;
	asked->msg.ede = -1;
	STAILQ_INSERT_TAIL(&c->asked, asked, entry);
	if (c->result.questions >= CHAIN_QUESTIONS_MAX)
	{
		asked->given = true;
		asked->error = ERROR_DNS_SERVFAIL;
		snprintf(asked->text, sizeof(asked->text), "more than %d questions would be needed",
		         CHAIN_QUESTIONS_MAX);
	}
	else
		c->result.questions++;
	return asked;
}

const struct dnsmsg *
chain_answer(struct chain *c, const uint8_t *name, uint16_t type, enum trust *trust)
{
	struct asked *asked = ask(c, name, type);

	*trust = TRUST_INDETERMINATE;
	if (asked == NULL)
		return NULL;
	if (!asked->given)
	{
		c->wanted = asked;
		*trust = TRUST_PENDING;
		return NULL;
	}
	if (asked->error == ERROR_NONE)
		return &asked->msg;
	c->error = asked->error;
	c->error_text = asked->text;
	chain_say(c, 23, "%s", asked->text);
	return NULL;
}

bool
chain_refused(struct chain *c, const struct dnsmsg *msg, const uint8_t *name, const char *what)
{
	char text[120], rcode[24];

	if (msg->rcode == DNS_RCODE_NOERROR || msg->rcode == DNS_RCODE_NXDOMAIN)
		return false;
	chain_say(c, 22, "the server says %s to the question for the %s of %s",
	          dns_rcode_text(msg->rcode, rcode, sizeof(rcode)), what,
	          dname_text(name, text, sizeof(text)));
	c->error = ERROR_DNS_SERVFAIL;
	c->error_text = NULL;
	return true;
}

void
chain_give(struct chain *c, struct dnsmsg *msg)
{
	if (c->wanted == NULL)
		return;
	c->wanted->msg = *msg;
	c->wanted->given = true;
	memset(msg, 0, sizeof(*msg));
	msg->ede = -1;
}

void
chain_fail(struct chain *c, enum error_type error, const char *text)
{
	if (c->wanted == NULL)
		return;
	c->wanted->error = error;
	c->wanted->given = true;
	snprintf(c->wanted->text, sizeof(c->wanted->text), "%s", text);
}

/* ---- the links of an answer ---- */

/* Where the chain is. */
struct link
{
	struct dns_name name;
	const struct dnsmsg *msg;
	enum trust trust; /* of the weakest so far */
	struct reason reason;
};

/* Keeps the weaker of two; bogus ends everything. */
static void
weaken(struct chain *c, struct link *link, enum trust trust)
{
	if (trust <= link->trust)
		return;
	link->trust = trust;
	link->reason = c->reason;
}

/* An RRset that was made from a wildcard stands only with the proof that nothing closer exists. */
static enum trust
check_expansion(struct chain *c, const struct rrset *set, struct denial_set *denials)
{
	unsigned labels = dname_labels(set->owner) - dname_is_wildcard(set->owner);
	char text[120];

	if (set->labels >= labels)
		return TRUST_SECURE;
	dname_text(set->owner, text, sizeof(text));
	/* RFC 6672 section 3.3: what names such a DNAME covers is not defined. */
	if (set->type == DNS_TYPE_DNAME)
	{
		chain_say(c, 6, "the DNAME of %s comes from a wildcard", text);
		return TRUST_BOGUS;
	}
	switch (denial_wildcard(denials, set->owner, set->labels))
	{
		case DENIAL_NXDOMAIN: return TRUST_SECURE;
		case DENIAL_OPT_OUT:
			chain_say(c, -1, "%s comes from a wildcard, in an opt-out span", text);
			return TRUST_INSECURE;
		case DENIAL_ITERATIONS:
			chain_say(c, 27, "the NSEC3 records beside %s have more than %d iterations", text,
			          DENIAL_ITERATIONS_MAX);
			return TRUST_INSECURE;
		default:
			chain_say(c, 12, "%s comes from a wildcard, and nothing proves that it may", text);
			return TRUST_BOGUS;
	}
}

/* Trust in one RRset of the answer section, with what belongs to it in the authority section. */
static enum trust
check_set(struct chain *c, const struct dnsmsg *msg, const uint8_t *owner, uint16_t type)
{
	struct rrset set = {msg, DNS_ANSWER, owner, type, 0};
	const struct zone *zone;
	struct denial_set denials;
	enum trust trust;

	if (!c->options.validate)
		return TRUST_SECURE;
	trust = trust_rrset(c, &set, &zone);
	if (trust != TRUST_SECURE)
		return trust;
	/* Behind an alias the authority section is about a name of another zone. */
	if (trust_denials(c, msg, zone, c->result.links == 0 && type == c->type, &denials) !=
	    TRUST_SECURE)
		return TRUST_BOGUS;
	return check_expansion(c, &set, &denials);
}

/* The name with what is asked for: every type there for ANY. False: there is nothing. */
static bool
take_answer(struct chain *c, struct link *link)
{
	const struct dnsmsg *msg = link->msg;
	uint8_t seen[65536 / 8] = {0}; /* types: an RRset is checked once */
	bool found = false;

	for (size_t i = 0; i < msg->count; i++)
	{
		const struct dns_rr *rr = &msg->rrs[i];

		if (rr->section != DNS_ANSWER || rr->class != DNS_CLASS_IN ||
		    (rr->type == DNS_TYPE_RRSIG && c->type != DNS_TYPE_RRSIG) ||
		    (rr->type != c->type && c->type != DNS_TYPE_ANY) ||
		    !dname_equal(rr->owner, link->name.bytes))
			continue;
		found = true;
		if (seen[rr->type / 8] & 1U << rr->type % 8)
			continue;
		seen[rr->type / 8] |= (uint8_t) (1U << rr->type % 8);
		if (c->type == DNS_TYPE_RRSIG) /* signatures are not signed */
			continue;
		weaken(c, link, check_set(c, msg, rr->owner, rr->type));
	}
	return found;
}

/* The DNAME that covers a name, or NULL. */
static const struct dns_rr *
find_dname(const struct dnsmsg *msg, const uint8_t *name)
{
	for (unsigned labels = dname_labels(name); labels-- > 0;)
	{
		size_t at = 0;
		const struct dns_rr *rr = dnsmsg_next(msg, DNS_ANSWER, dname_tail(name, labels),
		                                      DNS_TYPE_DNAME, &at);

		if (rr)
			return rr;
	}
	return NULL;
}

/* RFC 6672 section 3.4: the CNAME a DNAME makes is not signed; it must be what the DNAME makes. */
static bool
take_dname(struct chain *c, struct link *link)
{
	const struct dns_rr *rr = find_dname(link->msg, link->name.bytes), *cname;
	struct dns_name target;
	size_t at = 0;

	if (rr == NULL || !dname_replace(link->name.bytes, rr->owner, rr->rdata, &target))
		return false;
	cname = dnsmsg_next(link->msg, DNS_ANSWER, link->name.bytes, DNS_TYPE_CNAME, &at);
	weaken(c, link, check_set(c, link->msg, rr->owner, DNS_TYPE_DNAME));
	if (c->options.validate && cname && !dname_equal(cname->rdata, target.bytes) &&
	    link->trust == TRUST_SECURE)
	{
		chain_say(c, 6, "a CNAME is not what the DNAME above it makes");
		weaken(c, link, TRUST_BOGUS);
	}
	link->name = target;
	return true;
}

static bool
take_cname(struct chain *c, struct link *link)
{
	const struct dns_rr *rr;
	struct rrset set = {link->msg, DNS_ANSWER, link->name.bytes, DNS_TYPE_CNAME, 0};
	struct dns_name owner = link->name;
	size_t at = 0;

	rr = dnsmsg_next(link->msg, DNS_ANSWER, link->name.bytes, DNS_TYPE_CNAME, &at);
	if (rr == NULL || (rrset_signer(&set) == NULL && find_dname(link->msg, link->name.bytes)))
		return take_dname(c, link);
	weaken(c, link, check_set(c, link->msg, owner.bytes, DNS_TYPE_CNAME));
	dname_copy(&link->name, rr->rdata);
	return true;
}

/* ---- denials ---- */

/* Who denies: the deepest zone that signed an NSEC or NSEC3 of the authority section. */
static const uint8_t *
denier(const struct dnsmsg *msg, const uint8_t *name)
{
	const uint8_t *found = NULL;

	for (size_t i = 0; i < msg->count; i++)
	{
		const struct dns_rr *rr = &msg->rrs[i];
		struct rrset set = {msg, DNS_AUTHORITY, rr->owner, rr->type, 0};
		const uint8_t *signer;

		if (rr->section != DNS_AUTHORITY ||
		    (rr->type != DNS_TYPE_NSEC && rr->type != DNS_TYPE_NSEC3))
			continue;
		signer = rrset_signer(&set);
		if (signer && dname_under(name, signer) &&
		    (found == NULL || dname_labels(signer) > dname_labels(found)))
			found = signer;
	}
	return found;
}

static enum trust
judge_denial(struct chain *c, const struct link *link, struct denial_set *denials)
{
	const uint8_t *name = link->name.bytes;
	enum denial proof = DENIAL_NONE;
	char text[120], type[24];

	if (link->msg->rcode != DNS_RCODE_NXDOMAIN)
		proof = denial_nodata(denials, name, c->type);
	else
		proof = denial_nxdomain(denials, name);
	/* Old servers say NXDOMAIN for a name that has only names below it: a full proof counts. */
	if (proof == DENIAL_NONE && denial_nodata(denials, name, c->type) == DENIAL_NODATA)
		proof = DENIAL_NODATA;
	dname_text(name, text, sizeof(text));
	switch (proof)
	{
		case DENIAL_NODATA:
		case DENIAL_NXDOMAIN: return TRUST_SECURE;
		case DENIAL_DELEGATION:
			if (c->type == DNS_TYPE_DS) /* the very thing that is proven */
				return TRUST_SECURE;
			chain_say(c, -1, "%s is below an unsigned delegation", text);
			return TRUST_INSECURE;
		case DENIAL_OPT_OUT:
			chain_say(c, -1, "%s is in an opt-out span", text);
			return TRUST_INSECURE;
		case DENIAL_ITERATIONS:
			chain_say(c, 27, "the NSEC3 records that deny %s have more than %d iterations", text,
			          DENIAL_ITERATIONS_MAX);
			return TRUST_INSECURE;
		default:
			chain_say(c, 12, "nothing proves that %s %s", text,
			          link->msg->rcode == DNS_RCODE_NXDOMAIN ? "does not exist" : "has no record");
			if (link->msg->rcode != DNS_RCODE_NXDOMAIN)
				chain_say(c, 12, "nothing proves that %s has no %s record", text,
				          dns_type_text(c->type, type, sizeof(type)));
			return TRUST_BOGUS;
	}
}

static enum trust
check_denial(struct chain *c, const struct link *link)
{
	const uint8_t *name = link->name.bytes, *zone_name = denier(link->msg, name);
	bool above = c->type == DNS_TYPE_DS && name[0];
	const struct zone *zone;
	struct denial_set denials;
	enum trust trust;
	char text[120], zone_text[80];

	trust = trust_zone(c, zone_name ? zone_name : above ? name + name[0] + 1 : name, &zone);
	if (trust != TRUST_SECURE)
		return trust;
	if (zone_name == NULL || !dname_equal(zone->name.bytes, zone_name))
	{
		chain_say(c, 12, "%s is denied without a proof, and %s is signed",
		          dname_text(name, text, sizeof(text)),
		          dname_text(zone->name.bytes, zone_text, sizeof(zone_text)));
		return TRUST_BOGUS;
	}
	if (trust_denials(c, link->msg, zone, c->result.links == 0, &denials) != TRUST_SECURE)
		return TRUST_BOGUS;
	return judge_denial(c, link, &denials);
}

/* Whether a message has something to say about a name beyond the aliases that led to it. */
static bool
speaks_of(const struct dnsmsg *msg, const uint8_t *name)
{
	const struct dns_rr *rr;
	size_t at = 0;

	if (msg->rcode != DNS_RCODE_NOERROR)
		return true;
	while ((rr = dnsmsg_next(msg, DNS_AUTHORITY, NULL, DNS_TYPE_SOA, &at)))
		if (dname_under(name, rr->owner))
			return true;
	return false;
}

/* ---- the whole ---- */

/* Follows the aliases. TRUST_PENDING: a question is to be answered first; otherwise link has it. */
static enum trust
follow(struct chain *c, struct link *link)
{
	enum trust trust;

	link->msg = chain_answer(c, link->name.bytes, c->type, &trust);
	if (link->msg == NULL)
	{
		weaken(c, link, trust);
		return link->trust;
	}
	c->result.first = link->msg;
	for (c->result.links = 0;; c->result.links++)
	{
		c->result.last = link->msg;
		if (link->trust == TRUST_PENDING || take_answer(c, link))
			return link->trust;
		if (c->result.links == CHAIN_LINKS_MAX)
		{
			chain_say(c, 0, "more than %d aliases", CHAIN_LINKS_MAX);
			c->error = ERROR_DNS_SERVFAIL;
			c->error_text = "more aliases than are followed";
			weaken(c, link, TRUST_INDETERMINATE);
			return link->trust;
		}
		if (take_cname(c, link))
			continue;
		if (c->result.links > 0 && c->options.chase && !speaks_of(link->msg, link->name.bytes))
		{
			const struct dnsmsg *msg = chain_answer(c, link->name.bytes, c->type, &trust);

			if (msg == NULL)
				weaken(c, link, trust);
			if (msg == NULL)
				return link->trust;
			if (msg != link->msg)
			{
				link->msg = msg;
				c->result.links--; /* the same link, in another message */
				continue;
			}
		}
		if (c->options.validate)
			weaken(c, link, check_denial(c, link));
		return link->trust;
	}
}

static void
conclude(struct chain *c, const struct link *link)
{
	static const enum chain_verdict verdicts[] = {[TRUST_SECURE] = CHAIN_SECURE,
	                                              [TRUST_INSECURE] = CHAIN_INSECURE,
	                                              [TRUST_INDETERMINATE] = CHAIN_INDETERMINATE,
	                                              [TRUST_BOGUS] = CHAIN_BOGUS};
	struct chain_result *r = &c->result;

	r->final = link->name;
	r->rcode = r->last ? r->last->rcode : 0;
	if (c->error != ERROR_NONE && link->trust == TRUST_INDETERMINATE)
	{
		r->error = c->error;
		snprintf(r->text, sizeof(r->text), "%s", c->error_text ? c->error_text : link->reason.text);
	}
	if (!c->options.validate)
		return;
	r->verdict = verdicts[link->trust];
	/* A server that fails gives nothing that could be judged. */
	if (r->last && r->rcode != DNS_RCODE_NOERROR && r->rcode != DNS_RCODE_NXDOMAIN)
		r->verdict = CHAIN_INDETERMINATE;
	if (c->out_of_memory)
	{
		r->verdict = CHAIN_INDETERMINATE;
		r->error = ERROR_LOCAL_FAULT;
		snprintf(r->text, sizeof(r->text), "out of memory");
	}
	if (r->verdict == CHAIN_SECURE)
		return;
	r->ede = link->reason.ede;
	snprintf(r->reason, sizeof(r->reason), "%s", link->reason.text);
}

enum chain_step
chain_step(struct chain *c, const uint8_t **name, uint16_t *type)
{
	struct link link = {.name = c->name, .trust = TRUST_SECURE, .reason = {.ede = -1}};

	c->wanted = NULL;
	c->error = ERROR_NONE;
	c->result.last = NULL;
	follow(c, &link);
	/* Whatever was met first: with a question open nothing is final but a bogus link. */
	if (c->wanted && !c->out_of_memory && link.trust == TRUST_PENDING)
	{
		*name = c->wanted->name.bytes;
		*type = c->wanted->type;
		return CHAIN_ASK;
	}
	conclude(c, &link);
	return CHAIN_DONE;
}

const struct chain_result *
chain_result(const struct chain *c)
{
	return &c->result;
}
