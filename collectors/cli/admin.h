/* SPDX-License-Identifier: PostgreSQL
 *
 * admin.h -- what the operator of the machine does to tenants, in SQL as the
 * cluster's superuser: the functions of docs/81-contracts.md section 3.
 */
#ifndef PCTL_CLI_ADMIN_H
#define PCTL_CLI_ADMIN_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "cli/home.h"

/* The tenant, its id in pool memory; made when it is absent. */
char *admin_tenant(PGconn *conn, const char *slug, const char *name);

/* The administrator (HOME_ADMIN) of a tenant, made when absent; its id. */
char *admin_user(PGconn *conn, const char *slug);

/* One-time sign-in code for that tenant's administrator. */
char *admin_signin_code(PGconn *conn, const char *slug, const char *ttl);

/* API token of that tenant's administrator. */
char *admin_api_token(PGconn *conn, const char *slug, const char *name, const char *ttl);

/*
 * Token with which one agent may join that tenant. With a name the agent is made
 * first, or found if it never enrolled; without one it is called after its host.
 */
char *admin_join_token(PGconn *conn, const char *slug, const char *name, const char *ttl);

#endif
