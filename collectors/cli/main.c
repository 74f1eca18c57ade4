/* SPDX-License-Identifier: PostgreSQL
 *
 * main.c -- the command line: one table of commands, from which the dispatch,
 * the option parser and every help text are made.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/home.h"
#include "cli/util.h"

static const struct cli_command *const commands[] = {
    &cmd_up,     &cmd_down,    &cmd_status, &cmd_env,   &cmd_signin,    &cmd_enroll,
    &cmd_tenant, &cmd_token,   &cmd_top,    &cmd_api,   &cmd_audit,     &cmd_psql,
    &cmd_backup, &cmd_restore, &cmd_bench,  &cmd_renew, &cmd_supervise,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct cli_command *
command_find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int
help_all(void)
{
	printf("probectl: self-hosted, multi-tenant network observability\n\n"
	       "Usage: probectl COMMAND [OPTIONS]\n\nCommands:\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("\nOptions:\n"
	       "  --help          this text; after a command: the command's help\n"
	       "  --version       version and exit\n"
	       "  --check-config  read the settings of the state directory, say what is wrong\n\n"
	       "'probectl help COMMAND' explains a command with examples. Start with: probectl up\n");
	return 0;
}

static int
help_command(const struct cli_command *cmd)
{
	printf("probectl %s: %s\n\nUsage: probectl %s%s%s%s\n", cmd->name, cmd->summary, cmd->name,
	       cmd->options[0].name ? " [OPTIONS]" : "", cmd->words ? " " : "",
	       cmd->words ? cmd->words : "");
	if (cmd->options[0].name)
		printf("\nOptions:\n");
	for (const struct cli_option *o = cmd->options; o->name; o++)
	{
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-27s %s\n", left, o->help);
	}
	if (cmd->more)
		cmd->more();
	if (cmd->text)
		printf("\n%s", cmd->text);
	return 0;
}

static void __attribute__((noreturn))
usage(const struct cli_command *cmd, const char *what, const char *which)
{
	util_fail(EXIT_USAGE, "%s: %s%s: see 'probectl help %s'", cmd->name, what, which, cmd->name);
}

const char *
cli_value(const struct cli_args *args, const char *name)
{
	for (int i = 0; args->options[i].name; i++)
		if (strcmp(args->options[i].name, name) == 0)
			return args->values[i];
	return NULL;
}

/* getopt_long with a table made from the command's rows; argv[0] is the command. */
static void
options_parse(const struct cli_command *cmd, int argc, char **argv, struct cli_args *args)
{
	struct option table[CLI_OPTIONS_MAX + 2] = {{0}};
	int n = 0, c, index = 0;

	for (; cmd->options[n].name && n < CLI_OPTIONS_MAX; n++)
		table[n] = (struct option){cmd->options[n].name,
		                           cmd->options[n].arg ? required_argument : no_argument, NULL, 1};
	table[n] = (struct option){"help", no_argument, NULL, 'h'};
	args->options = cmd->options;
	opterr = 0;
	/* Where the rest is handed on (psql, bench) the first word ends the options. */
	while ((c = getopt_long(argc, argv, cmd->max_words < 0 ? "+:h" : ":h", table, &index)) != -1)
	{
		if (c == 1)
			args->values[index] = optarg ? optarg : "";
		else if (c == 'h')
			exit(help_command(cmd));
		else if (c == ':')
			usage(cmd, "this option needs a value: ", argv[optind - 1]);
		else
			usage(cmd, "unknown option ", argv[optind - 1]);
	}
	args->words = argv + optind;
	args->count = argc - optind;
}

static int
command_run(const struct cli_command *cmd, int argc, char **argv)
{
	struct cli_args args = {0};

	options_parse(cmd, argc, argv, &args);
	if (args.count < cmd->min_words)
		usage(cmd, "missing argument: ", cmd->words);
	if (cmd->max_words >= 0 && args.count > cmd->max_words)
		usage(cmd, "unexpected argument ", args.words[cmd->max_words]);
	return cmd->run(&args);
}

int
main(int argc, char **argv)
{
	const struct cli_command *cmd;

	if (argc < 2)
	{
		help_all();
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0)
	{
		printf("probectl %s\n", PROBECTL_VERSION);
		return 0;
	}
	if (strcmp(argv[1], "--check-config") == 0)
		return home_check_config(argc > 3 && strcmp(argv[2], "--home") == 0 ? argv[3] : NULL);
	if (strcmp(argv[1], "--help") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2))
		return help_all();
	if (strcmp(argv[1], "help") == 0)
	{
		cmd = command_find(argv[2]);
		if (!cmd)
			util_fail(EXIT_USAGE, "unknown command %s: see 'probectl --help'", argv[2]);
		return help_command(cmd);
	}
	if (argv[1][0] == '-')
		util_fail(EXIT_USAGE, "unknown option %s: see 'probectl --help'", argv[1]);
	cmd = command_find(argv[1]);
	if (!cmd)
		util_fail(EXIT_USAGE, "unknown command %s: see 'probectl --help'", argv[1]);
	return command_run(cmd, argc - 1, argv + 1);
}
