/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_down.c -- stops everything of a state directory; the data stays.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/health.h"
#include "cli/home.h"
#include "cli/super.h"
#include "cli/util.h"

static int
down_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	int64_t began = util_now_ms();
	char *names = util_dup("");
	json_t *state = super_state(home);
	json_t *rows = json_object_get(state, "children");

	for (size_t i = json_array_size(rows); i-- > 0;)
	{
		const json_t *row = json_array_get(rows, i);
		const char *name = json_string_value(json_object_get(row, "name"));

		if (name && super_child_alive(home, name))
			names = util_fmt("%s%s%s", names, *names ? ", " : "", name);
	}
	json_decref(state);
	if (!super_stop(home))
	{
		printf("probectl is not running at %s\n", home->named);
		return 0;
	}
	printf("stopped %s (%.1f s); the data stays in %s\n", *names ? names : "the supervisor",
	       (double) (util_now_ms() - began) / 1000.0, home->named);
	return 0;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_down = {
    .name = "down",
    .summary = "stop everything; the data stays",
    .text = "Stops agents, gateway, ingest and PostgreSQL in this order and waits until each is\n"
            "gone (PostgreSQL at most 60 s, the others 10 s each, then they are killed).\n\n"
            "  probectl down\n"
            "  probectl up            # all of it again, with the same data\n",
    .options = options,
    .run = down_run,
};
