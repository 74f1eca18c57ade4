/* SPDX-License-Identifier: PostgreSQL
 *
 * guard.c -- see guard.h. Two tables: prefixes that are refused, and prefixes of IPv6 that carry
 * an IPv4 address, which is then looked up in the first.
 */
#include "agent/guard.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

struct guard_row
{
	uint8_t prefix[16];
	uint8_t bits;
	const char *what;
};

/* The more precise first: it names the address better. Registries: RFC 6890, RFC 8190. */
static const struct guard_row rows4[] = {
    {{169, 254, 169, 254}, 32, "a cloud's metadata address"},
    {{192, 0, 0, 192}, 32, "a cloud's metadata address"},
    {{100, 100, 100, 200}, 32, "a cloud's metadata address"},
    {{168, 63, 129, 16}, 32, "a cloud's metadata address"},
    {{0}, 8, "an unspecified address"},
    {{10}, 8, "a private address"},
    {{100, 64}, 10, "a shared address of a carrier's NAT"},
    {{127}, 8, "a loopback address"},
    {{169, 254}, 16, "a link-local address"},
    {{172, 16}, 12, "a private address"},
    {{192, 0, 0}, 24, "a protocol's own address"},
    {{192, 168}, 16, "a private address"},
    {{198, 18}, 15, "an address for benchmarks"},
    {{224}, 4, "a multicast address"},
    {{240}, 4, "a reserved or broadcast address"},
};

static const struct guard_row rows6[] = {
    {{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, "a cloud's metadata address"},
    {{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128, "a cloud's metadata address"},
    {{0}, 128, "an unspecified address"},
    {{[15] = 1}, 128, "a loopback address"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "an address of a local NAT64"},
    {{0x01}, 64, "a discard address"},
    {{0xfc}, 7, "a private address"},
    {{0xfe, 0x80}, 10, "a link-local address"},
    {{0xfe, 0xc0}, 10, "a site-local address"},
    {{0xff}, 8, "a multicast address"},
};

/* Where the four bytes stand; Teredo has the client's inverted. */
static const struct guard_embedded
{
	struct guard_row in;
	uint8_t at, invert;
} embedded[] = {
    {{{[10] = 0xff, [11] = 0xff}, 96, "mapped"}, 12, 0},         /* RFC 4291 section 2.5.5.2 */
    {{{[8] = 0xff, [9] = 0xff}, 96, "translated"}, 12, 0},       /* RFC 2765 */
    {{{0}, 96, "compatible"}, 12, 0},                            /* RFC 4291 section 2.5.5.1 */
    {{{0x00, 0x64, 0xff, 0x9b}, 96, "NAT64"}, 12, 0},            /* RFC 6052 */
    {{{0x20, 0x02}, 16, "6to4"}, 2, 0},                          /* RFC 3056 */
    {{{0x20, 0x01, 0x00, 0x00}, 32, "Teredo client"}, 12, 0xff}, /* RFC 4380 */
    {{{0x20, 0x01, 0x00, 0x00}, 32, "Teredo server"}, 4, 0},     /* RFC 4380 */
};

static bool
in_prefix(const uint8_t *address, const struct guard_row *row)
{
	size_t whole = row->bits / 8;
	unsigned rest = row->bits % 8;
	uint8_t mask = (uint8_t) (0xff << (8 - rest));

	return memcmp(address, row->prefix, whole) == 0 &&
	       (rest == 0 || (address[whole] & mask) == (row->prefix[whole] & mask));
}

static const char *
refuses4(const uint8_t address[4])
{
	for (size_t i = 0; i < sizeof(rows4) / sizeof(rows4[0]); i++)
		if (in_prefix(address, &rows4[i]))
			return rows4[i].what;
	return NULL;
}

/* The interface identifier of RFC 5214: 00-00-5e-fe or 02-00-5e-fe, then the IPv4 address. */
static bool
is_isatap(const uint8_t address[16])
{
	return (address[8] & 0xfd) == 0 && address[9] == 0 && address[10] == 0x5e &&
	       address[11] == 0xfe;
}

static const char *
refuses6(const uint8_t address[16])
{
	const char *what;
	uint8_t inner[4];

	for (size_t i = 0; i < sizeof(rows6) / sizeof(rows6[0]); i++)
		if (in_prefix(address, &rows6[i]))
			return rows6[i].what;
	for (size_t i = 0; i < sizeof(embedded) / sizeof(embedded[0]); i++)
	{
		if (!in_prefix(address, &embedded[i].in))
			continue;
		for (size_t k = 0; k < sizeof(inner); k++)
			inner[k] = address[embedded[i].at + k] ^ embedded[i].invert;
		what = refuses4(inner);
		if (what)
			return what;
	}
	return is_isatap(address) ? refuses4(address + 12) : NULL;
}

const char *
guard_refuses(const struct sockaddr_storage *addr)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) addr;

	switch (addr->ss_family)
	{
		case AF_INET: return refuses4((const uint8_t *) &in4->sin_addr);
		case AF_INET6: return refuses6(in6->sin6_addr.s6_addr);
		default: return "no Internet address";
	}
}

bool
guard_lifted(const struct test_spec *spec)
{
	const char *value = probe_param(spec, GUARD_PARAM);

	return value && strcmp(value, "true") == 0;
}

bool
guard_pass(struct probe *probe, const struct resolver_address *addresses, size_t count)
{
	char text[64];

	if (guard_lifted(probe->spec))
		return true;
	for (size_t i = 0; i < count; i++)
	{
		const char *what = guard_refuses(&addresses[i].addr);

		if (!what)
			continue;
		probe_address_text(&addresses[i].addr, text, sizeof(text));
		probe_fail(probe, ERROR_GUARD_DENIED,
		           "%s is %s: somebody with the permission test.allow_private must set the "
		           "param " GUARD_PARAM,
		           text, what);
		return false;
	}
	return true;
}
