/* SPDX-License-Identifier: PostgreSQL
 *
 * fetch.c -- HTTP as the command line needs it, on libcurl.
 *
 * Proxies of the environment are ignored: an API token must not pass through one
 * by accident, and a status socket has none.
 */
#include "cli/fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/util.h"

#define BODY_MAX          (16 << 20)
#define STATUS_TIMEOUT_MS 2000

struct body
{
	char *data;
	size_t size;
};

static size_t
body_add(char *data, size_t one, size_t size, void *into)
{
	struct body *body = into;
	char *grown;

	if (body->size + size > BODY_MAX)
		return 0;
	grown = realloc(body->data, body->size + size + 1);
	if (!grown)
		return 0;
	memcpy(grown + body->size, data, size);
	body->data = grown;
	body->size += size;
	body->data[body->size] = '\0';
	return size;
}

static const char *
env_text(const char *name)
{
	const char *text = getenv(name);

	return text && *text ? text : NULL;
}

static char *
token_read(const struct home *home)
{
	char *text;
	char *token;

	if (!util_read(home_path(home, "etc/token"), 512, &text, NULL))
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	token = *text ? util_dup(text) : NULL;
	free(text);
	return token;
}

struct fetch_target
fetch_target_home(const struct home *home)
{
	return (struct fetch_target){
	    .url = home_url(home), .ca = home_path(home, "pki/ca.pem"), .token = token_read(home)};
}

struct fetch_target
fetch_target_find(const char *home_option)
{
	const char *url = env_text("PROBECTL_URL"), *ca = env_text("PROBECTL_CA");
	const char *token = env_text("PROBECTL_TOKEN");
	struct fetch_target target;

	/* A token is never sent to a URL that it was not given with. */
	if (url && !home_option)
		return (struct fetch_target){.url = util_dup(url),
		                             .ca = ca ? util_dup(ca) : NULL,
		                             .token = token ? util_dup(token) : NULL};
	target = fetch_target_home(home_open(home_option));
	if (token && !home_option)
		target.token = util_dup(token);
	if (!target.token)
		util_fail(EXIT_CANNOT, "no API token: set PROBECTL_TOKEN, or run this as the owner of the "
		                       "state directory");
	return target;
}

static struct curl_slist *
headers_make(const struct fetch_target *target, const char *body)
{
	struct curl_slist *list = NULL;

	if (body)
		list = curl_slist_append(list, "Content-Type: application/json");
	/* No waiting for "100 Continue". */
	list = curl_slist_append(list, "Expect:");
	if (target->token)
		list = curl_slist_append(list, util_fmt("Authorization: Bearer %s", target->token));
	return list;
}

static struct fetch_answer
perform(CURL *curl, int timeout_ms)
{
	struct fetch_answer answer = {0};
	char detail[CURL_ERROR_SIZE] = {0};
	struct body body = {0};
	CURLcode code;

	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_add);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
	else
		snprintf(answer.text, sizeof(answer.text), "%s",
		         *detail ? detail : curl_easy_strerror(code));
	answer.body = util_dup(body.data ? body.data : "");
	free(body.data);
	return answer;
}

struct fetch_answer
fetch_call(const struct fetch_target *target, const char *method, const char *path,
           const char *body, int timeout_ms)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = headers_make(target, body);
	struct fetch_answer answer;

	if (!curl)
		util_fail(EXIT_CANNOT, "out of memory");
	curl_easy_setopt(curl, CURLOPT_URL, util_fmt("%s%s", target->url, path));
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	if (target->ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, target->ca);
	if (body)
		curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	answer = perform(curl, timeout_ms);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return answer;
}

struct fetch_answer
fetch_status(const char *socket_path)
{
	CURL *curl = curl_easy_init();
	struct fetch_answer answer;

	if (!curl)
		util_fail(EXIT_CANNOT, "out of memory");
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path);
	curl_easy_setopt(curl, CURLOPT_URL, "http://localhost/metrics");
	answer = perform(curl, STATUS_TIMEOUT_MS);
	curl_easy_cleanup(curl);
	return answer;
}

/* The line of the first sample: the name, then a brace or a space. */
static const char *
metric_line(const char *text, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = text; line && *line; line = strchr(line, '\n'))
	{
		if (*line == '\n')
			line++;
		if (strncmp(line, name, n) == 0 && (line[n] == '{' || line[n] == ' '))
			return line;
	}
	return NULL;
}

bool
fetch_metric(const char *text, const char *name, double *value)
{
	const char *line = metric_line(text, name);
	const char *at;
	char *end;

	if (!line)
		return false;
	at = line + strlen(name);
	if (*at == '{')
		at = strchr(at, '}');
	if (!at)
		return false;
	*value = strtod(at + 1, &end);
	return end != at + 1;
}

const char *
fetch_metric_label(const char *text, const char *name, const char *label)
{
	const char *line = metric_line(text, name);
	const char *at = line ? strstr(line, util_fmt("%s=\"", label)) : NULL;
	const char *stop = line ? strchr(line, '\n') : NULL;

	if (!at || (stop && at > stop))
		return "";
	at += strlen(label) + 2;
	return util_fmt("%.*s", (int) strcspn(at, "\"\n"), at);
}

const char *
fetch_message(const struct fetch_answer *answer)
{
	json_t *json = json_loads(answer->body, 0, NULL);
	const json_t *error = json_object_get(json, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *field = json_string_value(json_object_get(error, "field"));
	char *text;

	if (answer->status == 0)
		text = util_dup(answer->text);
	else if (message)
		text = util_fmt("%s%s%s%s", message, field ? " (" : "", field ? field : "",
		                field ? ")" : "");
	else
		text = util_fmt("HTTP %ld", answer->status);
	json_decref(json);
	return text;
}
