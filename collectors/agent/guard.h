/* SPDX-License-Identifier: PostgreSQL
 *
 * guard.h -- addresses an agent does not probe for just anybody.
 *
 * A test is written at the control plane and runs in somebody's network: without a guard it would be
 * a way to look into that network, or to fetch the credentials a cloud hands out at its metadata
 * address. So addresses that are not public are refused unless the test carries GUARD_PARAM, which the
 * control plane lets only somebody with the permission test.allow_private set, and a local
 * file because who writes it owns the machine. What is judged is the address that would be dialled,
 * after the look-up and after each redirect: a name proves nothing.
 */
#ifndef PCTL_AGENT_GUARD_H
#define PCTL_AGENT_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "agent/probe.h"

#define GUARD_PARAM "allow_private_targets"

/* NULL when everybody may probe it, else what it is ("a loopback address"). IPv4 addresses inside of
 * IPv6 ones (mapped, 6to4, NAT64, Teredo, ISATAP) are judged as well. */
const char *guard_refuses(const struct sockaddr_storage *addr);

/* Whether the test carries the parameter. */
bool guard_lifted(const struct test_spec *spec);

/* False when one of the addresses is refused; the probe has failed with guard_denied then. One is
 * enough: a name that has a public and a private address is how such a guard is talked around. */
bool guard_pass(struct probe *probe, const struct resolver_address *addresses, size_t count);

#endif
