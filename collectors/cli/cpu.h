/* SPDX-License-Identifier: PostgreSQL
 *
 * cpu.h -- processor time of a measurement, by who used it: the producers, the processes of the
 * installation, and PostgreSQL's by what they do.
 */
#ifndef PCTL_CLI_CPU_H
#define PCTL_CLI_CPU_H

#include <jansson.h>
#include <stdint.h>

#include "cli/home.h"

enum cpu_part
{
	CPU_PRODUCERS, /* this process */
	CPU_INGEST,
	CPU_SESSIONS, /* PostgreSQL's for ingest */
	CPU_DERIVE,   /* its worker that makes series and newest results */
	CPU_POSTGRES, /* the rest of it */
	CPU_PARTS,
};

/* Microseconds since each process began. */
struct cpu_use
{
	int64_t us[CPU_PARTS];
};

struct cpu_use cpu_use(const struct home *home);

/* {part: microseconds for one result, ..., "all": their sum}. */
json_t *cpu_per_result(const struct cpu_use *before, const struct cpu_use *after, uint64_t results);

#endif
