/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_psql.c -- psql on the private cluster.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/home.h"
#include "cli/util.h"

static int
psql_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	char **argv = util_alloc(((size_t) args->count + 2) * sizeof(*argv));
	char *program = util_fmt("%s/psql", cluster_programs());

	home_clean_environment();
	setenv("PGHOST", home_path(home, "run"), 1);
	setenv("PGPORT", HOME_PG_PORT, 1);
	setenv("PGDATABASE", HOME_DATABASE, 1);
	setenv("PGUSER", HOME_SUPERUSER, 1);
	argv[0] = "psql";
	for (int i = 0; i < args->count; i++)
		argv[i + 1] = args->words[i];
	execv(program, argv);
	util_fail(EXIT_CANNOT, "could not start %s: %s: install postgresql-client-15", program,
	          strerror(errno));
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_psql = {
    .name = "psql",
    .words = "[-- ARGUMENTS OF PSQL]",
    .max_words = -1,
    .summary = "open psql on the private cluster, as its superuser",
    .text = "  probectl psql\n"
            "  probectl psql -- -Atc 'SELECT count(*) FROM probectl.result'\n",
    .options = options,
    .run = psql_run,
};
