/* SPDX-License-Identifier: PostgreSQL
 *
 * leftover.h -- what a killed postmaster leaves behind, and what a reboot does: lock
 * files that name a stranger, and server processes that work on without a parent.
 */
#ifndef PCTL_CLI_LEFTOVER_H
#define PCTL_CLI_LEFTOVER_H

#include "cli/home.h"

/* Called before each start of postgres, when no postmaster of ours lives. */
void leftover_clear(const struct home *home);

#endif
