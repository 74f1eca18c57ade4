/* SPDX-License-Identifier: PostgreSQL
 *
 * errors.h -- SQLSTATEs of ours. The digits are the HTTP status they become.
 */
#ifndef PCTL_ERRORS_H
#define PCTL_ERRORS_H

#include "postgres.h"

#define ERRCODE_PCTL_UNAUTHENTICATED MAKE_SQLSTATE('P', 'C', '4', '0', '1')
#define ERRCODE_PCTL_FORBIDDEN       MAKE_SQLSTATE('P', 'C', '4', '0', '3')
#define ERRCODE_PCTL_NOT_FOUND       MAKE_SQLSTATE('P', 'C', '4', '0', '4')
#define ERRCODE_PCTL_CONFLICT        MAKE_SQLSTATE('P', 'C', '4', '0', '9')
#define ERRCODE_PCTL_INVALID         MAKE_SQLSTATE('P', 'C', '4', '2', '2')
#define ERRCODE_PCTL_TOO_MANY        MAKE_SQLSTATE('P', 'C', '4', '2', '9')

#endif
