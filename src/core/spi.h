/* SPDX-License-Identifier: PostgreSQL
 *
 * spi.h -- prepared statements kept for the life of a backend, and reading their answers.
 */
#ifndef PCTL_SPI_H
#define PCTL_SPI_H

#include "postgres.h"

#include "executor/spi.h"

#define PCTL_PLAN_ARGS_MAX 24

/* Declare static; the plan is made on first use, under the role that is current then: use one
 * from trusted code only, where that is always probectl_owner. */
typedef struct PctlPlan
{
	const char *sql;
	int nargs;
	Oid types[PCTL_PLAN_ARGS_MAX];
	SPIPlanPtr plan;
} PctlPlan;

/* Runs inside SPI_connect; nulls as for SPI or NULL. Returns the number of rows. */
uint64 pctl_plan_run(PctlPlan *plan, Datum *args, const char *nulls, bool read_only, long limit);

/* The same, row by row as they are found and without copies: the sink may keep nothing of the slot. */
typedef void (*PctlRowSink)(void *state, TupleTableSlot *slot);
void pctl_plan_each(PctlPlan *plan, const Datum *args, bool read_only, PctlRowSink sink,
                    void *state);

/* An array of one dimension as a parameter; nulls may be NULL. */
Datum pctl_array(Datum *values, bool *nulls, int count, Oid type);

/* Column (from 1) of a row (from 0) of the last answer. */
Datum pctl_spi_value(uint64 row, int column, bool *isnull);

#endif
