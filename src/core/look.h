/* SPDX-License-Identifier: PostgreSQL
 *
 * look.h -- rows of a table by their primary key: one look into its index for each, without a statement.
 *
 * For thousands of keys at once, where starting a scan of a plan for each is twice what the look itself costs. Reads what is
 * committed when it is opened, and what this transaction did before. Row-level security is not looked at: the tenant is
 * part of the key.
 */
#ifndef PCTL_LOOK_H
#define PCTL_LOOK_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef struct PctlLook PctlLook;

/* A table of schema probectl. Everything lives in the context of the call. */
PctlLook *pctl_look_open(const char *table);

/* NULL when it is not there; the row stays until the next look. key: values of all columns of the primary key, none of
 * them NULL. */
TupleTableSlot *pctl_look(PctlLook *look, const Datum *key);

void pctl_look_close(PctlLook *look);

#endif
