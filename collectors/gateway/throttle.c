/* SPDX-License-Identifier: PostgreSQL
 *
 * throttle.c -- slows guessing of codes, per peer address.
 *
 * Attempts under way count as failures once a peer has failed, so that a burst of
 * parallel guesses is not checked at once; a peer without failures (many agents behind one
 * address being enrolled) may have THROTTLE_BURST of them.
 */
#include "gateway/throttle.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mem.h"

#define WAYS 8 /* an address may stand in one of so many places of its bucket */

struct throttle_peer
{
	uint64_t key[2];                     /* {0, 0} = free */
	int64_t failures[THROTTLE_FAILURES]; /* times, 0 = none, a ring */
	int64_t touched;
	int next;
	int under_way;
};

struct throttle
{
	struct throttle_peer peers[THROTTLE_PEERS_MAX];
};

struct throttle *
throttle_new(void)
{
	return mem_alloc(sizeof(struct throttle));
}

void
throttle_free(struct throttle *t)
{
	free(t);
}

/* IPv4 (also as ::ffff:a.b.c.d): the address. IPv6: its /64. */
static void
peer_key(const struct sockaddr *peer, uint64_t key[2])
{
	key[0] = key[1] = 0;
	if (peer->sa_family == AF_INET)
	{
		key[0] = 4;
		key[1] = ((const struct sockaddr_in *) peer)->sin_addr.s_addr;
	}
	else if (peer->sa_family == AF_INET6)
	{
		const struct in6_addr *a = &((const struct sockaddr_in6 *) peer)->sin6_addr;

		key[0] = IN6_IS_ADDR_V4MAPPED(a) ? 4 : 6;
		if (key[0] == 4)
		{
			uint32_t v4;

			memcpy(&v4, a->s6_addr + 12, sizeof v4);
			key[1] = v4;
		}
		else
			memcpy(&key[1], a->s6_addr, sizeof key[1]);
	}
	else
		key[0] = 1;
}

/* The peer's row; taken over from the quietest of its bucket when it has none. */
static struct throttle_peer *
peer_row(struct throttle *t, const struct sockaddr *peer, int64_t now)
{
	struct throttle_peer *bucket, *oldest;
	uint64_t key[2], h;

	peer_key(peer, key);
	h = (key[1] ^ key[0]) * UINT64_C(0x9e3779b97f4a7c15);
	bucket = &t->peers[(h >> 40) % (THROTTLE_PEERS_MAX / WAYS) * WAYS];
	oldest = bucket;
	for (int i = 0; i < WAYS; i++)
	{
		if (bucket[i].key[0] == key[0] && bucket[i].key[1] == key[1])
			return &bucket[i];
		if (bucket[i].touched < oldest->touched)
			oldest = &bucket[i];
	}
	memset(oldest, 0, sizeof *oldest);
	memcpy(oldest->key, key, sizeof oldest->key);
	oldest->touched = now;
	return oldest;
}

int
throttle_begin(struct throttle *t, const struct sockaddr *peer, int64_t now_ms)
{
	struct throttle_peer *p = peer_row(t, peer, now_ms);
	int64_t oldest = now_ms;
	int recent = 0;

	for (int i = 0; i < THROTTLE_FAILURES; i++)
		if (p->failures[i] != 0 && now_ms - p->failures[i] < THROTTLE_WINDOW_MS)
		{
			recent++;
			if (p->failures[i] < oldest)
				oldest = p->failures[i];
		}
	p->touched = now_ms;
	if (recent >= THROTTLE_FAILURES)
		return (int) ((oldest + THROTTLE_WINDOW_MS - now_ms) / 1000) + 1;
	if (recent > 0 ? recent + p->under_way >= THROTTLE_FAILURES : p->under_way >= THROTTLE_BURST)
		return 1;
	p->under_way++;
	return 0;
}

void
throttle_end(struct throttle *t, const struct sockaddr *peer, int failed, int64_t now_ms)
{
	struct throttle_peer *p = peer_row(t, peer, now_ms);

	if (p->under_way > 0)
		p->under_way--;
	if (!failed)
		return;
	p->failures[p->next] = now_ms > 0 ? now_ms : 1;
	p->next = (p->next + 1) % THROTTLE_FAILURES;
}
