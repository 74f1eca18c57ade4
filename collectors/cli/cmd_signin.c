/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_signin.c -- a fresh one-time sign-in link. The code stands in the fragment
 * of the URL, which browsers do not send and servers do not log.
 */
#include <stdio.h>

#include "cli/admin.h"
#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"

static int
signin_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	const char *tenant = cli_value(args, "tenant");
	const char *ttl = cli_value(args, "ttl");
	PGconn *conn = db_connect(home, HOME_DATABASE);
	char *code = admin_signin_code(conn, tenant ? tenant : HOME_TENANT, ttl ? ttl : "1 hour");

	PQfinish(conn);
	printf("%s/signin#%s\n", home_page(home), code);
	return 0;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"tenant", "SLUG", "tenant to sign in to (default: " HOME_TENANT ")"},
    {"ttl", "TIME", "how long the link works, as PostgreSQL writes intervals (default: 1 hour)"},
    CLI_OPTION_END,
};

const struct cli_command cmd_signin = {
    .name = "signin",
    .summary = "print a fresh one-time sign-in link for the administrator",
    .text = "  probectl signin\n"
            "  probectl signin --tenant acme --ttl '10 minutes'\n",
    .options = options,
    .run = signin_run,
};
