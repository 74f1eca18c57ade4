/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd.c -- parameters of an http test.
 *
 * Each parameter has its own small check that leaves a sentence with the parameter's name; a
 * table runs them in order.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/http/http.h"

#define EXPECT_DEFAULT       "200-399"
#define CONTENT_TYPE_DEFAULT "text/plain; charset=utf-8"

static const char *const known[] = {
    "method",        "headers",       "body",       "content_type",     "http_version",
    "expect_status", "expect_header", "body_match", "follow_redirects", "max_body_bytes",
    "ca_file",       "ip_version",    NULL};

typedef bool (*check)(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen);

static const char *
text_param(const struct test_spec *spec, const char *key, const char *otherwise)
{
	const char *value = probe_param(spec, key);

	return value ? value : otherwise;
}

static bool
check_url(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	struct http_url url;

	if (!http_url_parse(spec->target, &url, err, errlen))
		return false;
	cmd->url = http_url_keep(&url);
	if (cmd->url == NULL)
		snprintf(err, errlen, "out of memory");
	return cmd->url != NULL;
}

static bool
check_method(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	static const char *const methods[] = {"GET",   "HEAD",   "POST",   "PUT",
	                                      "PATCH", "DELETE", "OPTIONS"};
	const char *value = text_param(spec, "method", "GET");

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i], value) == 0)
		{
			snprintf(cmd->method, sizeof(cmd->method), "%s", value);
			return true;
		}
	snprintf(err, errlen,
	         "param method: must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS, not \"%.40s\"",
	         value);
	return false;
}

static bool
check_body(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	const char *type = text_param(spec, "content_type", CONTENT_TYPE_DEFAULT);

	cmd->body = text_param(spec, "body", "");
	cmd->body_len = strlen(cmd->body);
	cmd->with_body = cmd->method[0] == 'P';
	if (cmd->body_len > 0 && !cmd->with_body)
	{
		snprintf(err, errlen,
		         "param body: only POST, PUT and PATCH have a body; set param method to POST");
		return false;
	}
	if (cmd->body_len > HTTP_REQUEST_BODY_MAX)
	{
		snprintf(err, errlen, "param body: is longer than %d bytes", HTTP_REQUEST_BODY_MAX);
		return false;
	}
	for (const char *p = type; *p; p++)
		if (!isprint((unsigned char) *p))
		{
			snprintf(err, errlen, "param content_type: must be printable ASCII on one line");
			return false;
		}
	if (strlen(type) >= HTTP_TYPE_MAX)
	{
		snprintf(err, errlen, "param content_type: is longer than %d characters",
		         HTTP_TYPE_MAX - 1);
		return false;
	}
	cmd->content_type = type;
	return true;
}

/* "200", "2xx" or "300-399", in the first len characters of text. */
static bool
parse_range(const char *text, size_t len, struct http_range *range)
{
	char word[8];

	if (len != 3 && len != 7)
		return false;
	snprintf(word, sizeof(word), "%.*s", (int) len, text);
	if (word[0] < '1' || word[0] > '9')
		return false;
	if (len == 3 && strcmp(word + 1, "xx") == 0)
	{
		range->low = (unsigned) (word[0] - '0') * 100;
		range->high = range->low + 99;
		return true;
	}
	for (size_t i = 0; i < len; i++)
		if (i == 3 ? word[i] != '-' : !isdigit((unsigned char) word[i]))
			return false;
	range->low = (unsigned) strtoul(word, NULL, 10);
	range->high = len == 7 ? (unsigned) strtoul(word + 4, NULL, 10) : range->low;
	return range->low >= 100 && range->low <= range->high;
}

static bool
check_expect(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	const char *value = text_param(spec, "expect_status", EXPECT_DEFAULT), *at = value;

	cmd->expect_text = value;
	while (cmd->expect_count < HTTP_EXPECT_MAX)
	{
		size_t len;

		at += strspn(at, " ");
		len = strcspn(at, ", ");
		if (!parse_range(at, len, &cmd->expect[cmd->expect_count]))
			break;
		cmd->expect_count++;
		at += len;
		at += strspn(at, " ");
		if (*at == '\0')
			return true;
		if (*at != ',')
			break;
		at++;
	}
	snprintf(err, errlen,
	         "param expect_status: must be up to %d of 200, 2xx or 300-399, separated by commas, "
	         "not \"%.60s\"",
	         HTTP_EXPECT_MAX, value);
	return false;
}

bool
http_expected(const struct http_cmd *cmd, unsigned status)
{
	for (size_t i = 0; i < cmd->expect_count; i++)
		if (status >= cmd->expect[i].low && status <= cmd->expect[i].high)
			return true;
	return false;
}

static bool
check_match(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	const char *value = text_param(spec, "body_match", "");
	uint16_t k = 0;

	cmd->body_match_len = strlen(value);
	if (cmd->body_match_len >= HTTP_MATCH_MAX)
	{
		snprintf(err, errlen, "param body_match: is longer than %d bytes", HTTP_MATCH_MAX - 1);
		return false;
	}
	if (cmd->body_match_len > 0 && strcmp(cmd->method, "HEAD") == 0)
	{
		snprintf(err, errlen, "param body_match: the answer to HEAD has no body");
		return false;
	}
	cmd->body_match = value;
	if (cmd->body_match_len == 0)
		return true;
	cmd->match_next = calloc(cmd->body_match_len, sizeof(*cmd->match_next));
	if (cmd->match_next == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	for (size_t i = 1; i < cmd->body_match_len; i++)
	{
		while (k > 0 && value[i] != value[k])
			k = cmd->match_next[k - 1];
		if (value[i] == value[k])
			k++;
		cmd->match_next[i] = k;
	}
	return true;
}

static bool
check_version(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	static const char *const words[] = {
	    [HTTP_VERSION_ANY] = "any", [HTTP_VERSION_1] = "1.1", [HTTP_VERSION_2] = "2"};
	const char *value = text_param(spec, "http_version", "any");

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(words[i], value) == 0)
		{
			cmd->version = (enum http_version) i;
			return true;
		}
	snprintf(err, errlen, "param http_version: must be any, 1.1 or 2, not \"%.40s\"", value);
	return false;
}

static bool
check_headers(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	return http_headers_parse(cmd, text_param(spec, "headers", ""), err, errlen) &&
	       http_rules_parse(cmd, text_param(spec, "expect_header", ""), err, errlen);
}

static bool
check_ca_file(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	const char *value = text_param(spec, "ca_file", tls_ca_default());

	if (value[0] != '/' || strlen(value) >= HTTP_CA_FILE_MAX)
	{
		snprintf(err, errlen, "param ca_file: must be an absolute path of at most %d characters",
		         HTTP_CA_FILE_MAX - 1);
		return false;
	}
	cmd->ca_file = value;
	return true;
}

static bool
check_rest(const struct test_spec *spec, struct http_cmd *cmd, char *err, size_t errlen)
{
	cmd->follow_redirects = true;
	cmd->max_body_bytes = HTTP_BODY_BYTES_DEFAULT;
	return probe_param_bool(spec, "follow_redirects", &cmd->follow_redirects, err, errlen) &&
	       probe_param_uint(spec, "max_body_bytes", HTTP_BODY_BYTES_MIN, HTTP_BODY_BYTES_MAX,
	                        &cmd->max_body_bytes, err, errlen) &&
	       probe_param_family(spec, &cmd->family, err, errlen);
}

bool
http_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen)
{
	static const check checks[] = {check_method,  check_body,  check_version, check_expect,
	                               check_headers, check_match, check_ca_file, check_rest};
	struct http_cmd *parsed = calloc(1, sizeof(*parsed));
	bool ok;

	if (parsed == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return false;
	}
	ok = check_url(spec, parsed, err, errlen) && probe_params_known(spec, known, err, errlen);
	for (size_t i = 0; ok && i < sizeof(checks) / sizeof(checks[0]); i++)
		ok = checks[i](spec, parsed, err, errlen);
	if (!ok)
	{
		http_cmd_free(parsed);
		return false;
	}
	*cmd = parsed;
	return true;
}

void
http_cmd_free(void *cmd)
{
	struct http_cmd *parsed = cmd;

	if (parsed == NULL)
		return;
	free(parsed->url);
	free(parsed->headers);
	free(parsed->rules);
	free(parsed->match_next);
	free(parsed->header_text);
	free(parsed->rule_text);
	free(parsed);
}
