/* SPDX-License-Identifier: PostgreSQL
 *
 * services.h -- ingest, gateway and agents: where their programs are, the
 * settings files they get, and their rows in the supervisor's table.
 */
#ifndef PCTL_CLI_SERVICES_H
#define PCTL_CLI_SERVICES_H

#include <stdbool.h>

#include "cli/home.h"

/* Where the programs and the web files of this installation are. */
struct services
{
	char *programs; /* folder */
	char *web;      /* folder, NULL = not built */
};

/* Beside the running executable, or below prefix; ends the process when one is missing. */
struct services services_find(const char *prefix);

/*
 * What the service user can reach: the folders themselves, or copies of them in
 * the state directory when the way there is closed to it (a checkout below /root).
 */
struct services services_reachable(const struct services *services, struct home *home);

/* What services_reachable found the last time. */
struct services services_kept(const struct home *home);

/* Writes etc/<name>.yaml unless an operator changed it since, and the table row. */
void services_put_ingest(struct home *home, const struct services *services);
void services_put_gateway(struct home *home, const struct services *services);
void services_put_agent(struct home *home, const struct services *services, const char *agent);

/* Name of an agent's process: "agent" for the one `up` makes, else agent-<name>. */
char *services_agent_process(const char *agent);

/* Folders of an agent and a join token for it unless it has an identity; true = token made. */
bool services_agent_prepare(const struct home *home, const char *agent, const char *tenant);

/* Whether that agent has enrolled. */
bool services_agent_enrolled(const struct home *home, const char *agent);

/* After a new certificate: SIGHUP to ingest and gateway, which read it without a break. */
void services_reload(const struct home *home);

/* The address to reach a listener at: an "every address" listener is on loopback too. */
char *services_reach(const char *listen);

#endif
