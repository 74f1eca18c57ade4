/* SPDX-License-Identifier: PostgreSQL
 *
 * chains.c -- certificate chains that were verified before.
 */
#include "agent/http/chains.h"

#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct chain
{
	uint64_t trust; /* 0: a free place */
	char *host;
	STACK_OF(X509) * shown;    /* by the server, leaf first */
	STACK_OF(X509) * verified; /* to the root */
	int64_t until;             /* monotonic seconds */
	uint64_t used;
};

static struct chain chains[CHAINS_MAX];
static uint64_t chains_clock;

static void
chain_drop(struct chain *chain)
{
	free(chain->host);
	sk_X509_pop_free(chain->shown, X509_free);
	sk_X509_pop_free(chain->verified, X509_free);
	memset(chain, 0, sizeof(*chain));
}

/* Whole bytes, not names or digests of names. */
static bool
same_certificate(X509 *a, X509 *b)
{
	unsigned char *bytes[2] = {NULL, NULL};
	int len[2];
	bool same;

	if (a == b)
		return true;
	if (X509_cmp(a, b) != 0)
		return false;
	len[0] = i2d_X509(a, &bytes[0]);
	len[1] = i2d_X509(b, &bytes[1]);
	same = len[0] > 0 && len[0] == len[1] && memcmp(bytes[0], bytes[1], (size_t) len[0]) == 0;
	OPENSSL_free(bytes[0]);
	OPENSSL_free(bytes[1]);
	return same;
}

static bool
same_chain(const struct chain *chain, const STACK_OF(X509) * shown)
{
	if (sk_X509_num(chain->shown) != sk_X509_num(shown))
		return false;
	for (int i = 0; i < sk_X509_num(shown); i++)
		if (!same_certificate(sk_X509_value(chain->shown, i), sk_X509_value(shown, i)))
			return false;
	return true;
}

static bool
dates_right(const STACK_OF(X509) * verified)
{
	for (int i = 0; i < sk_X509_num(verified); i++)
	{
		const X509 *certificate = sk_X509_value(verified, i);

		/* 0 is an error; the comparison has no "equal". */
		if (X509_cmp_current_time(X509_get0_notBefore(certificate)) >= 0 ||
		    X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0)
			return false;
	}
	return true;
}

bool
chains_known(X509_STORE_CTX *store, uint64_t trust, const char *host, int64_t now)
{
	const STACK_OF(X509) *shown = X509_STORE_CTX_get0_untrusted(store);

	for (size_t i = 0; i < CHAINS_MAX; i++)
	{
		struct chain *chain = &chains[i];
		STACK_OF(X509) * verified;

		if (chain->trust != trust || strcmp(chain->host, host) != 0 || !same_chain(chain, shown))
			continue;
		if (now >= chain->until || !dates_right(chain->verified) ||
		    (verified = X509_chain_up_ref(chain->verified)) == NULL)
		{
			chain_drop(chain);
			return false;
		}
		chain->used = ++chains_clock;
		X509_STORE_CTX_set0_verified_chain(store, verified);
		X509_STORE_CTX_set_error(store, X509_V_OK);
		return true;
	}
	return false;
}

void
chains_keep(X509_STORE_CTX *store, uint64_t trust, const char *host, int64_t now)
{
	struct chain *place = &chains[0];

	for (size_t i = 1; i < CHAINS_MAX; i++)
		if (chains[i].used < place->used)
			place = &chains[i];
	chain_drop(place);
	place->host = strdup(host);
	place->shown = X509_chain_up_ref(X509_STORE_CTX_get0_untrusted(store));
	place->verified = X509_STORE_CTX_get1_chain(store);
	if (place->host == NULL || place->shown == NULL || place->verified == NULL)
	{
		chain_drop(place);
		return;
	}
	place->trust = trust;
	place->until = now + CHAINS_KEPT_S;
	place->used = ++chains_clock;
}

void
chains_forget(uint64_t trust)
{
	for (size_t i = 0; i < CHAINS_MAX; i++)
		if (chains[i].trust && (trust == 0 || chains[i].trust == trust))
			chain_drop(&chains[i]);
}
