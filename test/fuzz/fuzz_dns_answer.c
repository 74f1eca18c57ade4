/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_dns_answer.c -- whatever a name server sends.
 *
 * Input: one byte that chooses the type, then a message, whose question is taken as the one that
 * was asked where it can be read, so that the fuzzer gets past the first check. Held: addresses
 * exactly with the verdict that says so, TTLs within their ceilings, a question of another
 * id never answered.
 */
#include <stdlib.h>

#include "agent/dnswire.h"
#include "lib/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

/* The labels of the question, uncompressed; "a" when there are none. */
static void
question(const uint8_t *data, size_t size, struct dns_name *name)
{
	struct cursor c;
	char text[DNS_NAME_MAX + 1];
	size_t used = 0;
	uint8_t label;

	cursor_init(&c, data, size);
	cursor_skip(&c, 12);
	while ((label = cursor_u8(&c)) > 0 && label < 64 && used + label + 2 < sizeof(text))
	{
		cursor_copy(&c, text + used, label);
		if (c.failed)
			break;
		used += label;
		text[used++] = '.';
	}
	text[used] = '\0';
	if (!dns_name_parse(text, name))
		hold(dns_name_parse("a", name));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_answer answer;
	struct dns_name name;
	uint16_t type, id;

	if (size < 3)
		return 0;
	type = data[0] & 1 ? DNS_TYPE_AAAA : DNS_TYPE_A;
	data++;
	size--;
	id = (uint16_t) (data[0] << 8 | data[1]);
	question(data, size, &name);
	dns_answer_read(data, size, id, &name, type, &answer);
	hold((answer.verdict == DNS_ADDRESSES) == (answer.count > 0));
	hold(answer.count <= DNS_ADDRESSES_MAX);
	hold(answer.ttl <= DNS_TTL_MAX);
	hold(answer.verdict != DNS_NXDOMAIN || answer.ttl <= DNS_NEGATIVE_MAX);
	hold(answer.verdict > DNS_TRUNCATED || answer.ttl == 0);
	dns_answer_read(data, size, (uint16_t) (id + 1), &name, type, &answer);
	hold(answer.verdict == DNS_FOREIGN && answer.count == 0);
	return 0;
}
