/* SPDX-License-Identifier: PostgreSQL
 *
 * compat.h -- the only place that looks at PG_VERSION_NUM.
 *
 * Built and tested on 15. What differs in 16 to 18 gets a macro here with the 15 spelling
 * as its name, so that the rest of the source reads as if there were one version.
 */
#ifndef PCTL_COMPAT_H
#define PCTL_COMPAT_H

#include "postgres.h"

#include "storage/proc.h"

#if PG_VERSION_NUM < 150000
#error "probectl needs PostgreSQL 15 or later"
#endif

/* The local transaction id moved into a struct in 17. */
#if PG_VERSION_NUM >= 170000
#define PCTL_MY_LXID (MyProc->vxid.lxid)
#else
#define PCTL_MY_LXID (MyProc->lxid)
#endif

#endif
