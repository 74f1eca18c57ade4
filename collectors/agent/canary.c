/* SPDX-License-Identifier: PostgreSQL
 *
 * canary.c -- the table of canaries, and what they share of the process.
 *
 * A new kind of test is a folder and a row here.
 */
#include "agent/canary.h"

#include <string.h>

#include "agent/http/tls.h"
#include "agent/icmp/icmp.h"
#include "agent/stamp.h"

const struct canary_ops *const canary_table[] = {
    &canary_icmp, &canary_tcp, &canary_udp, &canary_http, &canary_dns, &canary_a2a, NULL};

const struct canary_ops *
canary_find(const char *type)
{
	for (size_t i = 0; canary_table[i]; i++)
		if (strcmp(canary_table[i]->type, type) == 0)
			return canary_table[i];
	return NULL;
}

void
canary_env_open(struct canary_env *env)
{
	icmp_open(env);
	stamp_open();
}

void
canary_env_close(struct canary_env *env)
{
	icmp_close(env);
	tls_forget();
}
