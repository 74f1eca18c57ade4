/* SPDX-License-Identifier: PostgreSQL
 *
 * privilege.h -- what the agent does as root, and how it stops being root.
 *
 * Privileged are only the ICMP sockets (canary_env_open). After privilege_drop nothing can be got back:
 * no other user or group, no capability, no set-user-id program.
 */
#ifndef PCTL_AGENT_PRIVILEGE_H
#define PCTL_AGENT_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>

/* Becomes user for good when started as root; user NULL keeps the user, without its
 * capabilities. False with a sentence in err; the process must not go on then. */
bool privilege_drop(const char *user, char *err, size_t errlen);

#endif
