/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.h -- the time, as everything here asks for it: virtual when a test sets
 * probectl.clock, the real one otherwise.
 */
#ifndef PCTL_CLOCK_H
#define PCTL_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/guc.h"

TimestampTz pctl_now(void);

bool pctl_clock_check(char **newval, void **extra, GucSource source);
void pctl_clock_assign(const char *newval, void *extra);

#endif
