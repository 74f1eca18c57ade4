/* SPDX-License-Identifier: PostgreSQL
 *
 * admin.c -- what the operator of the machine does to tenants.
 *
 * Reading goes through the superuser's own eyes, every change through a
 * transaction bound to the tenant, so that it is checked and audited as any other.
 */
#include "cli/admin.h"

#include "cli/db.h"
#include "cli/util.h"

char *
admin_tenant(PGconn *conn, const char *slug, const char *name)
{
	const char *params[] = {slug, name};
	char *id;

	id = db_value(conn, "SELECT tenant_id FROM probectl.tenant_list() WHERE slug = $1", 1, params);
	if (!id)
		id = db_value(conn, "SELECT probectl.tenant_create($1, $2)", 2, params);
	return id;
}

/* One value computed inside the tenant. */
static char *
tenant_value(PGconn *conn, const char *slug, const char *sql, int count, const char *const *params)
{
	char *value;

	db_enter_tenant(conn, slug);
	value = db_value(conn, sql, count, params);
	db_run(conn, "COMMIT");
	return value;
}

char *
admin_user(PGconn *conn, const char *slug)
{
	const char *find[] = {slug, HOME_ADMIN};
	const char *make[] = {HOME_ADMIN, "Administrator", "admin"};
	char *id;

	id = db_value(conn,
	              "SELECT u.user_id FROM probectl.tenant_user u JOIN probectl.tenant t USING "
	              "(tenant_id) WHERE t.slug = $1 AND u.email = $2",
	              2, find);
	if (!id)
		id = tenant_value(conn, slug, "SELECT probectl.user_create($1, $2, $3)", 3, make);
	return id;
}

char *
admin_signin_code(PGconn *conn, const char *slug, const char *ttl)
{
	const char *params[] = {admin_user(conn, slug), ttl};

	return tenant_value(conn, slug, "SELECT probectl.signin_link_create($1::uuid, $2::interval)", 2,
	                    params);
}

char *
admin_api_token(PGconn *conn, const char *slug, const char *name, const char *ttl)
{
	const char *params[] = {name, admin_user(conn, slug), ttl};

	return tenant_value(conn, slug, "SELECT probectl.api_token_create($1, $2::uuid, $3::interval)",
	                    3, params);
}

/* An agent of that name that has no certificate yet; made when there is none. */
static char *
agent_named(PGconn *conn, const char *slug, const char *name)
{
	const char *params[] = {slug, name};
	const char *tenant;
	char *id;

	id = db_value(conn,
	              "SELECT a.agent_id FROM probectl.agent a JOIN probectl.tenant t USING "
	              "(tenant_id) WHERE t.slug = $1 AND a.name = $2 AND a.revoked_at IS NULL AND "
	              "NOT EXISTS (SELECT FROM probectl.agent_certificate c WHERE c.tenant_id = "
	              "a.tenant_id AND c.agent_id = a.agent_id)",
	              2, params);
	if (id)
		return id;
	tenant = db_value(conn, "SELECT tenant_id FROM probectl.tenant_list() WHERE slug = $1", 1,
	                  params);
	if (!tenant)
		util_fail(EXIT_CANNOT, "there is no tenant %s: see 'probectl tenant list'", slug);
	/* Bound as every change is, so that it stands in the tenant's audit chain. */
	db_run(conn, "BEGIN");
	PQclear(db_query(conn, NULL, "SELECT probectl_internal.tenant_bind($1::uuid)", 1, &tenant));
	id = db_value(conn, "INSERT INTO probectl.agent (name) VALUES ($1) RETURNING agent_id", 1,
	              &name);
	db_run(conn, "COMMIT");
	return id;
}

char *
admin_join_token(PGconn *conn, const char *slug, const char *name, const char *ttl)
{
	const char *params[] = {ttl, name ? agent_named(conn, slug, name) : NULL};

	return tenant_value(conn, slug, "SELECT probectl.join_token_create($1::interval, $2::uuid)", 2,
	                    params);
}
