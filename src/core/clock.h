/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.h -- the time, as everything here asks for it: virtual when a test sets
 * probectl.clock, the real one otherwise.
 */
#ifndef PCTL_CLOCK_H
#define PCTL_CLOCK_H

#include "postgres.h"

#include "core/export.h"
#include "datatype/timestamp.h"
#include "utils/guc.h"

TimestampTz pctl_now(void);

/* timestamptz -> text, RFC 3339 in UTC with microseconds. */
extern PCTL_EXPORT Datum pctl_time_text(PG_FUNCTION_ARGS);

bool pctl_clock_check(char **newval, void **extra, GucSource source);
void pctl_clock_assign(const char *newval, void *extra);

#endif
