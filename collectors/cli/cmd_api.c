/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_api.c -- one call of the HTTP API.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/home.h"
#include "cli/util.h"

#define BODY_MAX       (16 << 20)
#define API_TIMEOUT_MS 60000

/* "-" is standard input. Sent as it is, once it is known to be JSON. */
static char *
body_read(const char *word)
{
	json_error_t at;
	json_t *json;
	char *body;

	if (strcmp(word, "-") == 0)
	{
		size_t size;
		char *text;

		if (!util_read("/dev/stdin", BODY_MAX, &text, &size))
			util_fail(EXIT_CANNOT, "could not read standard input");
		body = util_dup(text);
		free(text);
	}
	else
		body = util_dup(word);
	json = json_loads(body, JSON_DECODE_ANY, &at);
	if (!json)
		util_fail(EXIT_USAGE, "api: the body is not JSON: line %d: %s", at.line, at.text);
	json_decref(json);
	return body;
}

static void
answer_print(const struct fetch_answer *answer)
{
	json_t *json = json_loads(answer->body, JSON_DECODE_ANY, NULL);
	char *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_ENCODE_ANY) : NULL;

	if (text)
		printf("%s\n", text);
	else if (*answer->body)
		printf("%s%s", answer->body, answer->body[strlen(answer->body) - 1] == '\n' ? "" : "\n");
	free(text);
	json_decref(json);
}

static int
api_run(struct cli_args *args)
{
	char *method = util_dup(args->words[0]);
	const char *path = args->words[1];
	struct fetch_target target;
	struct fetch_answer answer;

	for (char *c = method; *c; c++)
	{
		if (!isalpha((unsigned char) *c))
			util_fail(EXIT_USAGE, "api: %s is not a method", args->words[0]);
		*c = (char) toupper((unsigned char) *c);
	}
	if (path[0] != '/')
		util_fail(EXIT_USAGE, "api: the path %s does not begin with /", path);
	target = fetch_target_find(cli_value(args, "home"));
	answer = fetch_call(&target, method, path, args->count > 2 ? body_read(args->words[2]) : NULL,
	                    API_TIMEOUT_MS);
	if (answer.status == 0)
		util_fail(EXIT_CANNOT, "%s does not answer: %s", target.url, answer.text);
	if (answer.status >= 400)
	{
		answer_print(&answer);
		util_fail(EXIT_CANNOT, "%s %s: HTTP %ld: %s", method, path, answer.status,
		          fetch_message(&answer));
	}
	answer_print(&answer);
	return 0;
}

static const struct cli_option options[] = {CLI_OPTION_HOME, CLI_OPTION_END};

const struct cli_command cmd_api = {
    .name = "api",
    .words = "METHOD PATH [JSON | -]",
    .min_words = 2,
    .max_words = 3,
    .summary = "call the HTTP API and print the answer",
    .text =
        "Uses PROBECTL_URL, PROBECTL_CA and PROBECTL_TOKEN where set, else the state directory.\n"
        "'-' reads the body from standard input. All routes: probectl api GET /openapi.json\n\n"
        "  probectl api GET /v1/results/latest\n"
        "  probectl api POST /v1/tests '{\"name\":\"dns\",\"type\":\"tcp\",\"target\":"
        "\"192.0.2.53:53\",\"interval_seconds\":30}'\n"
        "  probectl api DELETE /v1/tests/ID\n\n"
        "Exit status: 0, or 1 with the message on standard error for HTTP 400 and above.\n",
    .options = options,
    .run = api_run,
};
