/* SPDX-License-Identifier: PostgreSQL
 *
 * export.h -- what leaves the shared library.
 *
 * The library is compiled with hidden visibility. PG_FUNCTION_INFO_V1 on 15 does not mark its
 * functions, so PCTL_FUNCTION does it; dev/check-exported-symbols.sh proves that nothing
 * but these, the magic block and _PG_init is exported.
 */
#ifndef PCTL_EXPORT_H
#define PCTL_EXPORT_H

#include "postgres.h"

#include "fmgr.h"

#define PCTL_EXPORT __attribute__((visibility("default")))

#define PCTL_FUNCTION(name)                                                                        \
	extern PCTL_EXPORT Datum name(PG_FUNCTION_ARGS);                                               \
	extern PCTL_EXPORT const Pg_finfo_record *pg_finfo_##name(void);                               \
	const Pg_finfo_record *pg_finfo_##name(void)                                                   \
	{                                                                                              \
		static const Pg_finfo_record info = {1};                                                   \
		return &info;                                                                              \
	}                                                                                              \
	extern int pctl_no_such_variable

#endif
