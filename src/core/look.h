/* SPDX-License-Identifier: PostgreSQL
 *
 * look.h -- which keys are in a table: one look into the index of its primary key for each, without a statement.
 *
 * For thousands of keys at once, where starting a scan of a plan for each is twice what the look itself costs. Reads what is
 * committed when it is opened, and what this transaction did before. Row-level security is not looked at: the tenant is
 * part of the key.
 */
#ifndef PCTL_LOOK_H
#define PCTL_LOOK_H

#include "postgres.h"

typedef struct PctlLook PctlLook;

/* A table of schema probectl. Everything lives in the context of the call. */
PctlLook *pctl_look_open(const char *table);

/* key: values of all columns of the primary key, none of them NULL. */
bool pctl_look(PctlLook *look, const Datum *key);

void pctl_look_close(PctlLook *look);

#endif
