/* SPDX-License-Identifier: PostgreSQL
 *
 * cli.h -- what a command is: a row in the table of main.c.
 *
 * Options, their help and their parsing come from the same rows, so --help can
 * not disagree with what is accepted. A command returns its exit code.
 */
#ifndef PCTL_CLI_CLI_H
#define PCTL_CLI_CLI_H

#include <stdbool.h>

#define CLI_OPTIONS_MAX 16

struct cli_option
{
	const char *name; /* without dashes; NULL ends the list */
	const char *arg;  /* name of the value; NULL = a switch */
	const char *help;
};

struct cli_args
{
	const struct cli_option *options;
	const char *values[CLI_OPTIONS_MAX]; /* by index in options; NULL = absent */
	int count;                           /* words that are no options */
	char **words;
};

struct cli_command
{
	const char *name;
	const char *words; /* what follows the options, for the usage line */
	int min_words;
	int max_words;
	const char *summary; /* one line */
	const char *text;    /* help: what it does, examples */
	void (*more)(void);  /* help: what comes from a table of the command's own, or NULL */
	const struct cli_option *options;
	int (*run)(struct cli_args *args);
};

/* Value of an option, "" for a switch that was given, NULL when absent. */
const char *cli_value(const struct cli_args *args, const char *name);

extern const struct cli_command cmd_up;
extern const struct cli_command cmd_down;
extern const struct cli_command cmd_status;
extern const struct cli_command cmd_env;
extern const struct cli_command cmd_signin;
extern const struct cli_command cmd_enroll;
extern const struct cli_command cmd_tenant;
extern const struct cli_command cmd_token;
extern const struct cli_command cmd_top;
extern const struct cli_command cmd_api;
extern const struct cli_command cmd_audit;
extern const struct cli_command cmd_psql;
extern const struct cli_command cmd_backup;
extern const struct cli_command cmd_restore;
extern const struct cli_command cmd_bench;
extern const struct cli_command cmd_renew;
extern const struct cli_command cmd_supervise;

/* The option every command has. */
#define CLI_OPTION_HOME                                                                            \
	{                                                                                              \
		"home", "DIR", "state directory (default: $PROBECTL_HOME, else ~/.probectl)"               \
	}
#define CLI_OPTION_END                                                                             \
	{                                                                                              \
		NULL, NULL, NULL                                                                           \
	}

#endif
