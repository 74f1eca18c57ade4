/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_renew.c -- renews the servers' certificate when it is due, and has ingest
 * and gateway read it. The supervisor runs this every hour.
 */
#include <stdio.h>

#include "cli/cert.h"
#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/services.h"

static int
renew_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	PGconn *conn = db_connect(home, HOME_DATABASE);
	bool renewed;

	cert_authority(home, conn);
	renewed = cert_server(home, conn);
	PQfinish(conn);
	if (renewed)
	{
		services_reload(home);
		printf("the certificate of the servers is renewed, %d days\n", cert_days_left(home));
	}
	return 0;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_renew = {
    .name = "renew",
    .summary = "renew the servers' certificate when two thirds of its life are over",
    .text = "The supervisor does this every hour: there is no need to, unless the CA changed.\n\n"
            "  probectl renew\n",
    .options = options,
    .run = renew_run,
};
