/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.c -- a clock that a test can stop.
 *
 * The time of a transaction's work is the statement's wall clock, not the transaction's
 * start: a batch that waited for a lock was received when it was received.
 */
#include "core/clock.h"

#include <math.h>

#include "core/export.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

static TimestampTz clock_fixed = 0;
static bool clock_is_fixed = false;

/* The time everything here works with. */
TimestampTz
pctl_now(void)
{
	return clock_is_fixed ? clock_fixed : GetCurrentTimestamp();
}

/* Accepts an empty string or a full RFC 3339 time; nothing that depends on a session's zone. */
bool
pctl_clock_check(char **newval, void **extra, GucSource source)
{
	struct pg_tm tm;
	int year, month, day, hour, minute, consumed = 0;
	double second;
	TimestampTz *at;
	Timestamp stamp;

	if (*newval == NULL || (*newval)[0] == '\0')
		return true;
	if (sscanf(*newval, "%4d-%2d-%2dT%2d:%2d:%lfZ%n", &year, &month, &day, &hour, &minute, &second,
	           &consumed) != 6 ||
	    consumed != (int) strlen(*newval) || second < 0 || second >= 60)
	{
		GUC_check_errdetail("The time must look like 2026-01-31T12:00:00Z.");
		return false;
	}
	memset(&tm, 0, sizeof(tm));
	tm.tm_year = year;
	tm.tm_mon = month;
	tm.tm_mday = day;
	tm.tm_hour = hour;
	tm.tm_min = minute;
	tm.tm_sec = (int) second;
	if (month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1] || hour > 23 ||
	    minute > 59 ||
	    tm2timestamp(&tm, (fsec_t) rint((second - (int) second) * 1000000), NULL, &stamp) != 0)
	{
		GUC_check_errdetail("The time is out of range.");
		return false;
	}
	at = malloc(sizeof(*at));
	if (at == NULL)
		return false;
	*at = stamp;
	*extra = at;
	return true;
}

void
pctl_clock_assign(const char *newval, void *extra)
{
	clock_is_fixed = extra != NULL;
	if (clock_is_fixed)
		clock_fixed = *(TimestampTz *) extra;
}

PCTL_FUNCTION(pctl_clock_now);

/* probectl.clock_now() -> timestamptz */
Datum
pctl_clock_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(pctl_now());
}

PCTL_FUNCTION(pctl_time_text);

/* probectl_internal.time_text(at timestamptz) -> text; infinities as PostgreSQL writes them */
Datum
pctl_time_text(PG_FUNCTION_ARGS)
{
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	char buf[40];
	struct pg_tm tm;
	fsec_t microseconds;

	if (TIMESTAMP_NOT_FINITE(at))
		PG_RETURN_TEXT_P(cstring_to_text(TIMESTAMP_IS_NOBEGIN(at) ? "-infinity" : "infinity"));
	if (timestamp2tm(at, NULL, &tm, &microseconds, NULL, NULL) != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	snprintf(buf, sizeof(buf), "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon,
	         tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, microseconds);
	PG_RETURN_TEXT_P(cstring_to_text(buf));
}
