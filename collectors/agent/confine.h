/* SPDX-License-Identifier: PostgreSQL
 *
 * confine.h -- the system calls that are left to the agent.
 *
 * The agent reads bytes that strangers chose: answers of servers under test, certificates, names.
 * After its privileges are given up it also gives up every system call it has no use for, so
 * that whoever takes it over can neither start a program nor look into another process.
 * The kernel keeps the answer for calls without conditions in a bitmap, so that they cost
 * nothing (Linux 5.11 and later).
 */
#ifndef PCTL_AGENT_CONFINE_H
#define PCTL_AGENT_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

enum confine_mode
{
	CONFINE_KILL, /* another call ends the process */
	CONFINE_LOG,  /* another call fails with EPERM and is logged: to find out what is missing */
	CONFINE_OFF,
};

/* NULL-terminated, in the order of enum confine_mode. */
extern const char *const confine_modes[];

/* For good, for this process. False with err when the kernel does not do it. */
bool confine(enum confine_mode mode, char *err, size_t errlen);

#endif
