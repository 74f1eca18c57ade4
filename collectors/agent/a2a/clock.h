/* SPDX-License-Identifier: PostgreSQL
 *
 * clock.h -- what the kernel knows of the error of the wall clock.
 */
#ifndef PCTL_AGENT_A2A_CLOCK_H
#define PCTL_AGENT_A2A_CLOCK_H

#include "agent/a2a/wire.h"

/* Synchronised, with the largest error the kernel reckons with (NTP's root distance), when something
 * disciplines the clock; else how fine it is. */
struct a2a_estimate a2a_clock_estimate(void);

#endif
