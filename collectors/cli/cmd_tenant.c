/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_tenant.c -- tenants: create one with its administrator, list them.
 */
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/util.h"

static int
tenant_list(PGconn *conn)
{
	PGresult *rows = db_query(
	    conn, NULL,
	    "SELECT slug, name, status, tenant_id FROM probectl.tenant_list() ORDER BY slug", 0, NULL);

	printf("%-24s %-32s %-12s %s\n", "SLUG", "NAME", "STATUS", "ID");
	for (int i = 0; i < PQntuples(rows); i++)
		printf("%-24s %-32s %-12s %s\n", PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1),
		       PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 3));
	PQclear(rows);
	return 0;
}

static int
tenant_create(PGconn *conn, const char *slug, const char *name)
{
	const char *params[] = {slug, name};
	char *id = db_value(conn, "SELECT probectl.tenant_create($1, $2)", 2, params);

	admin_user(conn, slug);
	printf("%s\n", id);
	fprintf(stderr, "tenant %s is made; sign in with: probectl signin --tenant %s\n", slug, slug);
	return 0;
}

static int
tenant_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	const char *verb = args->words[0];
	PGconn *conn;
	int code;

	if (strcmp(verb, "list") != 0 && strcmp(verb, "create") != 0)
		util_fail(EXIT_USAGE, "tenant: unknown verb %s: see 'probectl help tenant'", verb);
	if (strcmp(verb, "create") == 0 && args->count < 2)
		util_fail(EXIT_USAGE, "tenant create: missing argument: SLUG [NAME]");
	if (strcmp(verb, "list") == 0 && args->count > 1)
		util_fail(EXIT_USAGE, "tenant list: unexpected argument %s", args->words[1]);
	conn = db_connect(home, HOME_DATABASE);
	if (strcmp(verb, "list") == 0)
		code = tenant_list(conn);
	else
		code = tenant_create(conn, args->words[1], args->words[args->count > 2 ? 2 : 1]);
	PQfinish(conn);
	return code;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_tenant = {
    .name = "tenant",
    .words = "create SLUG [NAME] | list",
    .min_words = 1,
    .max_words = 3,
    .summary = "create and list tenants",
    .text = "  probectl tenant create acme 'Acme Ltd'\n"
            "  probectl tenant list\n\n"
            "create prints the tenant's id and makes its administrator, " HOME_ADMIN ".\n",
    .options = options,
    .run = tenant_run,
};
