/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_env.c -- shell exports with which curl, psql and scripts reach this home.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/home.h"
#include "cli/services.h"
#include "cli/util.h"

/* In single quotes, a quote inside as '\''. */
static void
export_print(const char *name, const char *value)
{
	printf("export %s='", name);
	for (; *value; value++)
	{
		if (*value == '\'')
			printf("'\\''");
		else
			putchar(*value);
	}
	printf("'\n");
}

static int
env_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	struct fetch_target target = fetch_target_home(home);

	if (!target.token)
		util_fail(EXIT_CANNOT, "could not read %s: %s", home_path(home, "etc/token"),
		          errno == EACCES ? "run this as the owner of the state directory"
		                          : "complete the set-up with 'probectl up'");
	export_print("PROBECTL_URL", target.url);
	export_print("PROBECTL_CA", target.ca);
	export_print("PROBECTL_TOKEN", target.token);
	export_print("PROBECTL_INGEST", services_reach(home_text(home, "ingest_listen")));
	export_print("PGHOST", home_path(home, "run"));
	export_print("PGPORT", HOME_PG_PORT);
	export_print("PGDATABASE", HOME_DATABASE);
	export_print("PGUSER", HOME_SUPERUSER);
	return 0;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_env = {
    .name = "env",
    .summary = "print shell exports for curl, psql and scripts",
    .text =
        "  probectl env\n"
        "  eval \"$(probectl env)\"\n"
        "  psql -c 'SELECT * FROM probectl.tenant'\n"
        "  curl --cacert $PROBECTL_CA -H \"Authorization: Bearer $PROBECTL_TOKEN\" "
        "$PROBECTL_URL/v1/me\n\n"
        "The token is that of the administrator of the tenant 'default': treat the output as a\n"
        "secret.\n",
    .options = options,
    .run = env_run,
};
