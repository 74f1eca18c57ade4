/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_token.c -- API tokens of a tenant's administrator.
 */
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/util.h"

struct token_verb
{
	const char *name;
	int words; /* after the verb */
	const char *usage;
	int (*run)(PGconn *conn, const char *tenant, struct cli_args *args);
};

static int
token_create(PGconn *conn, const char *tenant, struct cli_args *args)
{
	const char *ttl = cli_value(args, "ttl");

	printf("%s\n", admin_api_token(conn, tenant, args->words[1], ttl ? ttl : "365 days"));
	return 0;
}

static int
token_list(PGconn *conn, const char *tenant, struct cli_args *args)
{
	PGresult *rows;

	db_enter_tenant(conn, tenant);
	rows = db_query(conn, NULL,
	                "SELECT credential_id, name, to_char(created_at, 'YYYY-MM-DD'), "
	                "to_char(expires_at, 'YYYY-MM-DD'), "
	                "coalesce(to_char(used_at, 'YYYY-MM-DD HH24:MI'), 'never'), "
	                "CASE WHEN revoked_at IS NOT NULL THEN 'revoked' "
	                "WHEN expires_at < now() THEN 'expired' ELSE 'active' END "
	                "FROM probectl.api_token_list()",
	                0, NULL);
	db_run(conn, "COMMIT");
	printf("%-36s  %-24s %-10s %-10s %-16s %s\n", "ID", "NAME", "CREATED", "EXPIRES", "LAST USED",
	       "STATE");
	for (int i = 0; i < PQntuples(rows); i++)
		printf("%-36s  %-24s %-10s %-10s %-16s %s\n", PQgetvalue(rows, i, 0),
		       PQgetvalue(rows, i, 1), PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 3),
		       PQgetvalue(rows, i, 4), PQgetvalue(rows, i, 5));
	PQclear(rows);
	return 0;
}

static int
token_revoke(PGconn *conn, const char *tenant, struct cli_args *args)
{
	const char *params[] = {args->words[1]};
	char *done;

	/* Only a token: the id of somebody's session is none of this command's business. */
	db_enter_tenant(conn, tenant);
	done = db_value(conn,
	                "SELECT probectl.credential_revoke(credential_id) FROM "
	                "probectl.api_token_list() WHERE credential_id = $1::uuid",
	                1, params);
	db_run(conn, "COMMIT");
	if (!done || strcmp(done, "t") != 0)
		util_fail(EXIT_CANNOT, "there is no active token %s in tenant %s", args->words[1], tenant);
	printf("revoked\n");
	return 0;
}

static const struct token_verb verbs[] = {
    {"create", 1, "NAME", token_create},
    {"list", 0, "", token_list},
    {"revoke", 1, "ID", token_revoke},
};

static int
token_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	const char *tenant = cli_value(args, "tenant");
	PGconn *conn;
	int code;

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
	{
		if (strcmp(verbs[i].name, args->words[0]) != 0)
			continue;
		if (args->count - 1 != verbs[i].words)
			util_fail(EXIT_USAGE, "token %s takes %d argument%s: probectl token %s %s",
			          verbs[i].name, verbs[i].words, verbs[i].words == 1 ? "" : "s", verbs[i].name,
			          verbs[i].usage);
		conn = db_connect(home, HOME_DATABASE);
		code = verbs[i].run(conn, tenant ? tenant : HOME_TENANT, args);
		PQfinish(conn);
		return code;
	}
	util_fail(EXIT_USAGE, "token: unknown verb %s: see 'probectl help token'", args->words[0]);
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"tenant", "SLUG", "tenant (default: " HOME_TENANT ")"},
    {"ttl", "TIME", "create: how long it works (default: 365 days)"},
    CLI_OPTION_END,
};

const struct cli_command cmd_token = {
    .name = "token",
    .words = "create NAME | list | revoke ID",
    .min_words = 1,
    .max_words = 2,
    .summary = "create, list and revoke API tokens",
    .text = "A token is shown once; the database keeps a keyed hash of it.\n\n"
            "  probectl token create grafana --ttl '90 days'\n"
            "  probectl token list\n"
            "  probectl token revoke 0193f0a2-...\n",
    .options = options,
    .run = token_run,
};
