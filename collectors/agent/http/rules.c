/* SPDX-License-Identifier: PostgreSQL
 *
 * rules.c -- headers that a test sends, and rules for those it gets.
 *
 * Both are lists with commas between; "\," is a comma in an item and "\\" a backslash.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/http/http.h"

/* They say how the message ends or where it goes, which is not the test's to say. */
static const char *const ours[] = {"host",       "content-length", "transfer-encoding",
                                   "connection", "upgrade",        "te",
                                   "trailer",    "keep-alive",     NULL};

/* The next item, undone of its backslashes, without the space around it; NULL after the last. */
static char *
next_item(char **at)
{
	char *item = *at, *to, *from;

	if (item == NULL)
		return NULL;
	item += strspn(item, " ");
	for (to = from = item; *from && *from != ','; from++)
	{
		if (*from == '\\' && (from[1] == ',' || from[1] == '\\'))
			from++;
		*to++ = *from;
	}
	*at = *from ? from + 1 : NULL;
	while (to > item && to[-1] == ' ')
		to--;
	*to = '\0';
	return item;
}

/* RFC 9110 section 5.6.2. */
static bool
is_token(const char *text)
{
	for (const char *p = text; *p; p++)
		if (!isalnum((unsigned char) *p) && strchr("!#$%&'*+-.^_`|~", *p) == NULL)
			return false;
	return text[0] != '\0';
}

static bool
is_line(const char *text)
{
	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static char *
copy_list(const char *key, const char *text, char *err, size_t errlen)
{
	char *copy = NULL;

	if (strlen(text) > HTTP_LIST_MAX)
		snprintf(err, errlen, "param %s: is longer than %d bytes", key, HTTP_LIST_MAX);
	else if ((copy = strdup(text)) == NULL)
		snprintf(err, errlen, "out of memory");
	return copy;
}

/* For the items of the list at *at, which ends there when there is none. */
static void *
list_room(size_t count, size_t size, char **at, char *err, size_t errlen)
{
	void *room = *at ? calloc(count, size) : NULL;

	if (*at && room == NULL)
	{
		snprintf(err, errlen, "out of memory");
		*at = NULL;
	}
	return room;
}

bool
http_headers_parse(struct http_cmd *cmd, const char *text, char *err, size_t errlen)
{
	char *at, *item;

	if (text[0] == '\0')
		return true;
	cmd->header_text = at = copy_list("headers", text, err, errlen);
	cmd->headers = list_room(HTTP_HEADERS_SENT_MAX, sizeof(*cmd->headers), &at, err, errlen);
	while ((item = next_item(&at)))
	{
		char *value = strchr(item, ':');

		if (value)
		{
			*value++ = '\0';
			value += strspn(value, " ");
		}
		if (cmd->header_count == HTTP_HEADERS_SENT_MAX || value == NULL || !is_token(item) ||
		    !is_line(value))
		{
			snprintf(err, errlen,
			         "param headers: must be up to %d of \"Name: value\" with commas between "
			         "(\\, for a comma in a value), not \"%.40s\"",
			         HTTP_HEADERS_SENT_MAX, item);
			return false;
		}
		for (size_t i = 0; ours[i]; i++)
			if (strcasecmp(item, ours[i]) == 0)
			{
				snprintf(err, errlen, "param headers: %s is set by the agent", item);
				return false;
			}
		cmd->headers[cmd->header_count++] = (struct h2_header){item, value};
	}
	return cmd->header_text && cmd->headers;
}

/* "name", "!name", "name=value", "name~text". The operator ends the name, so that neither may be
 * in one here, though '~' and '!' are token characters. */
static bool
parse_rule(char *item, struct http_rule *rule)
{
	char *mark = item + strcspn(item, "=~");

	*rule = (struct http_rule){HTTP_RULE_THERE, item, ""};
	if (item[0] == '!')
	{
		rule->kind = HTTP_RULE_ABSENT;
		rule->name++;
		return *mark == '\0' && is_token(rule->name);
	}
	if (*mark)
	{
		rule->kind = *mark == '=' ? HTTP_RULE_IS : HTTP_RULE_CONTAINS;
		rule->value = mark + 1;
		*mark = '\0';
	}
	return is_token(rule->name);
}

bool
http_rules_parse(struct http_cmd *cmd, const char *text, char *err, size_t errlen)
{
	char *at, *item;

	if (text[0] == '\0')
		return true;
	cmd->rule_text = at = copy_list("expect_header", text, err, errlen);
	cmd->rules = list_room(HTTP_RULES_MAX, sizeof(*cmd->rules), &at, err, errlen);
	while ((item = next_item(&at)))
	{
		if (cmd->rule_count < HTTP_RULES_MAX && parse_rule(item, &cmd->rules[cmd->rule_count]))
		{
			cmd->rule_count++;
			continue;
		}
		snprintf(err, errlen,
		         "param expect_header: must be up to %d of name, !name, name=value or name~text "
		         "with commas between, not \"%.40s\"",
		         HTTP_RULES_MAX, item);
		return false;
	}
	return cmd->rule_text && cmd->rules;
}

/* ---- judging ---- */

void
http_rules_see(struct canary_run *run, const char *name, const char *value)
{
	/* Not those of an interim answer. */
	for (size_t i = 0; run->parser.status >= 200 && i < run->cmd->rule_count; i++)
	{
		const struct http_rule *rule = &run->cmd->rules[i];

		if (strcasecmp(rule->name, name) != 0 ||
		    (rule->kind == HTTP_RULE_IS && strcmp(rule->value, value) != 0) ||
		    (rule->kind == HTTP_RULE_CONTAINS && strstr(value, rule->value) == NULL))
			continue;
		run->rules_met |= 1U << i;
	}
}

bool
http_rules_broken(const struct canary_run *run, char *words, size_t len)
{
	for (size_t i = 0; i < run->cmd->rule_count; i++)
	{
		const struct http_rule *rule = &run->cmd->rules[i];
		bool met = run->rules_met & 1U << i;

		if (met != (rule->kind == HTTP_RULE_ABSENT))
			continue;
		switch (rule->kind)
		{
			case HTTP_RULE_THERE:
				snprintf(words, len, "there is no header %.60s", rule->name);
				break;
			case HTTP_RULE_ABSENT:
				snprintf(words, len, "there is a header %.60s", rule->name);
				break;
			case HTTP_RULE_IS:
				snprintf(words, len, "no header %.60s is \"%.80s\"", rule->name, rule->value);
				break;
			case HTTP_RULE_CONTAINS:
				snprintf(words, len, "no header %.60s contains \"%.80s\"", rule->name, rule->value);
				break;
		}
		return true;
	}
	return false;
}
