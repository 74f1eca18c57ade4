/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_dnssec_chain.c -- the engine and the walk against servers that say anything.
 *
 * Input: a byte of options, then answers, each with two bytes of length in front; they are given to the
 * questions in turn, with the question they are to answer put in. Held: nothing that an attacker without a
 * key can say is secure (no signature of the input can verify with the anchor's key, which is
 * made up), both end within their ceilings, and every verdict but secure has a reason.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/dns/chain.h"
#include "agent/dns/walk.h"
#include "lib/buf.h"

#define STEPS_MAX (CHAIN_QUESTIONS_MAX * (WALK_SENDS_MAX + 2))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct anchors anchors;
static struct hints hints;

static void
hold(int condition)
{
	if (!condition)
		abort();
}

/* The next answer: header and records of the input, the question of the engine. */
static bool
next_answer(struct cursor *c, const uint8_t *name, uint16_t type, struct dnsmsg *msg)
{
	struct cursor one = cursor_sub(c, cursor_be16(c) & 0x0fff);
	uint8_t whole[4096 + DNS_NAME_MAX + 16];
	size_t n = dname_len(name), left;
	const char *reason;

	if (cursor_left(&one) < 12)
		return false;
	memcpy(whole, cursor_take(&one, 12), 12);
	whole[4] = 0;
	whole[5] = 1;
	memcpy(whole + 12, name, n);
	memcpy(whole + 12 + n, (const uint8_t[]){(uint8_t) (type >> 8), (uint8_t) type, 0, 1}, 4);
	left = cursor_left(&one);
	if (left > 0)
		memcpy(whole + 16 + n, cursor_take(&one, left), left);
	return dnsmsg_parse(msg, whole, 16 + n + left, &reason);
}

/* One question by way of the walk; every send is answered by the input, or not at all. */
static bool
walk_for(struct walk *walk, struct cursor *c, const uint8_t *name, uint16_t type,
         struct dnsmsg *msg)
{
	struct walk_query query;
	enum error_type error;
	char text[RESULT_ERROR_MAX];
	unsigned sends = 0;

	walk_begin(walk, name, type, true);
	while (walk_step(walk, &query) == WALK_SEND)
	{
		hold(++sends <= WALK_SENDS_MAX);
		if (next_answer(c, query.name, query.type, msg))
			walk_give(walk, msg, 1);
		else
			walk_fail(walk, ERROR_DNS_TIMEOUT, "no answer");
	}
	return walk_take(walk, msg, &error, text, sizeof(text));
}

static void
drive(struct chain *chain, struct walk *walk, struct cursor *c)
{
	const uint8_t *name;
	uint16_t type;
	unsigned steps = 0;

	while (chain_step(chain, &name, &type) == CHAIN_ASK)
	{
		struct dnsmsg msg = {.ede = -1};

		hold(++steps <= STEPS_MAX);
		if (walk ? walk_for(walk, c, name, type, &msg) : next_answer(c, name, type, &msg))
			chain_give(chain, &msg);
		else
			chain_fail(chain, ERROR_DNS_TIMEOUT, "no answer");
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t question[] = "\3www\7example\3net";
	static const uint16_t types[] = {DNS_TYPE_A,  DNS_TYPE_ANY, DNS_TYPE_DS,     DNS_TYPE_CNAME,
	                                 DNS_TYPE_NS, DNS_TYPE_MX,  DNS_TYPE_DNSKEY, DNS_TYPE_NSEC};
	struct chain_options options = {.validate = true, .chase = true, .anchors = &anchors};
	struct walk_options walk_options = {.hints = &hints, .port = 53};
	const struct chain_result *r;
	struct chain *chain;
	struct walk *walk = NULL;
	struct cursor c;
	uint8_t choice;

	if (anchors.count == 0)
	{
		anchors_default(&anchors);
		hints_default(&hints);
	}
	cursor_init(&c, data, size);
	choice = cursor_u8(&c);
	options.now = 1700000000;
	chain = chain_new(&options, question, types[choice & 7]);
	if (choice & 8)
		walk = walk_new(&walk_options);
	drive(chain, walk, &c);
	r = chain_result(chain);
	hold(r->verdict == CHAIN_BOGUS || r->verdict == CHAIN_INDETERMINATE);
	hold(r->reason[0] || r->text[0]);
	hold(r->questions <= CHAIN_QUESTIONS_MAX && r->checks <= CHAIN_CHECKS_MAX &&
	     r->links <= CHAIN_LINKS_MAX);
	chain_free(chain);
	walk_free(walk);
	return 0;
}
