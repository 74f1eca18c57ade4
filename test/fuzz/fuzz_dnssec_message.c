/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_dnssec_message.c -- whatever comes as a DNS message, and what is read out of it.
 *
 * Held: names and data lie within the pool and have the lengths they say, parsing depends on the
 * bytes alone, a message that is cut is refused, texts fit, and denials draw no proof from records of
 * another zone.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/dns/denial.h"
#include "agent/dns/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

static void
look(const struct dnsmsg *m)
{
	static const uint8_t stranger[] = "\7nothing\4here";
	struct denial_set set;
	uint64_t work = 2000;
	char text[300];

	denial_init(&set, stranger, &work);
	for (size_t i = 0; i < m->count; i++)
	{
		const struct dns_rr *rr = &m->rrs[i];
		struct dns_name name;

		hold(dname_len(rr->owner) <= DNS_NAME_MAX);
		hold(dname_labels(rr->owner) <= DNAME_LABELS_MAX);
		hold(dname_compare(rr->owner, m->qname.bytes) ==
		         -dname_compare(m->qname.bytes, rr->owner) ||
		     !dname_equal(rr->owner, m->qname.bytes));
		if (dname_parse(dname_text(rr->owner, (char[DNAME_TEXT_MAX]){0}, DNAME_TEXT_MAX), &name))
			hold(dname_equal(name.bytes, rr->owner));
		else
			hold(0);
		hold(strlen(dns_rdata_text(rr, text, sizeof(text))) < sizeof(text));
		if ((rr->type == DNS_TYPE_NSEC || rr->type == DNS_TYPE_NSEC3) &&
		    !dname_under(rr->owner, stranger))
			denial_add(&set, rr);
	}
	hold(set.nsec3_count == 0);
	hold(denial_nxdomain(&set, stranger) != DENIAL_OPT_OUT);
	denial_nodata(&set, m->qname.bytes, m->qtype);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dnsmsg m, again;
	const char *reason;

	if (!dnsmsg_parse(&m, data, size, &reason))
	{
		hold(m.rrs == NULL && m.pool == NULL && reason != NULL);
		return 0;
	}
	hold(dnsmsg_matches(data, size, m.id, m.qname.bytes, m.qtype) ==
	     ((m.flags & DNS_FLAG_QR) && !(m.flags & 0x7800) && m.qclass == DNS_CLASS_IN));
	look(&m);
	hold(dnsmsg_parse(&again, data, size, &reason) && again.count == m.count);
	dnsmsg_free(&again);
	if (size > 12 && m.count > 0)
		hold(!dnsmsg_parse(&again, data, size - 1, &reason));
	dnsmsg_free(&m);
	return 0;
}
