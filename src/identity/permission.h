/* SPDX-License-Identifier: PostgreSQL
 *
 * permission.h -- the catalog of permissions, the same for every tenant. A permission's place in the table of
 * permission.c is its bit in a principal's set: rows are only ever added at the end.
 */
#ifndef PCTL_IDENTITY_PERMISSION_H
#define PCTL_IDENTITY_PERMISSION_H

#include "postgres.h"

#include "utils/array.h"

/* Bit of a permission, -1 when there is none of that name. */
int pctl_permission_bit(const char *name, int len);

/* Bits of the permissions in a text array; names that are none add nothing. */
uint64 pctl_permission_bits(ArrayType *names);

#endif
