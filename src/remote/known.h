/* SPDX-License-Identifier: PostgreSQL
 *
 * known.h -- which series some labels mean, remembered in shared memory for all backends.
 *
 * A cache of the registry: what is not found has to be looked up there. An entry is of one tenant and holds while the tenant's
 * epoch does. Whoever calls holds the tenant's series (receive.c) from before it reads the epoch to the end of its transaction.
 */
#ifndef PCTL_REMOTE_KNOWN_H
#define PCTL_REMOTE_KNOWN_H

#include "postgres.h"

#include "utils/relcache.h"
#include "utils/uuid.h"

/* Whose series, of which registry. */
typedef struct KnownScope
{
	pg_uuid_t tenant;
	int64 epoch;
	uint64 seeds[2];
} KnownScope;

/* What some labels are looked up by: a keyed hash of their bytes. */
typedef struct KnownKey
{
	uint64 hash[2];
} KnownKey;

typedef struct KnownSeries
{
	pg_uuid_t id;
	uint32 reserved; /* labels left out */
} KnownSeries;

void pctl_known_init(void);

KnownScope known_scope(Relation registry, const pg_uuid_t *tenant, int64 epoch);

/* The look-up, which follows when all of a request have their key, then waits less for the memory. */
KnownKey known_key(const KnownScope *scope, const uint8 *labels, size_t len);

bool known_find(const KnownScope *scope, const KnownKey *key, KnownSeries *series);

/* What the registry has, or has once this transaction is committed: remembered from then on. */
void known_put(const KnownScope *scope, const KnownKey *key, const KnownSeries *series);

#endif
