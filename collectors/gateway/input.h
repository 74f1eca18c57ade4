/* SPDX-License-Identifier: PostgreSQL
 *
 * input.h -- from the text of a request to the parameters of a database call.
 *
 * Query strings and path parameters become flat JSON objects of strings, a body is checked
 * and passed on as it came. Pure functions: no sockets, no state.
 */
#ifndef PCTL_GATEWAY_INPUT_H
#define PCTL_GATEWAY_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/http.h"
#include "lib/buf.h"

#define INPUT_DEPTH_MAX    32 /* nesting of a JSON body */
#define INPUT_KEYS_MAX     64 /* parameters of a query string */
#define INPUT_SEGMENTS_MAX 16 /* of a path */

struct input_error
{
	int status;
	char field[64]; /* "" when none */
	char message[200];
};

/* Appends s as a JSON string, quotes included. s is UTF-8. */
void input_json_string(struct buf *out, const char *s, size_t len);

/* "a=1&b=x%20y" -> {"a":"1","b":"x y"}. */
bool input_query(struct buf *out, const struct http_slice *query, struct input_error *err);

/* A decoded path: segments point into text. */
struct input_path
{
	char text[HTTP_LINE_MAX];
	struct http_slice segments[INPUT_SEGMENTS_MAX];
	size_t count;
	bool overflow; /* more segments than any route or file has */
};

/* Splits and decodes; "/a/b" has two segments, "/" none, "/a/" a second empty one.
 * Refuses what could mean another place: ".", "..", bad escapes, control bytes. */
bool input_path(struct input_path *path, const struct http_slice *raw, struct input_error *err);

/* The password of "user:password" in base64 (RFC 7617, RFC 4648 section 4), ended by a zero. False: it is none, holds a
 * zero or does not fit. */
bool input_basic_password(const char *text, size_t len, char *password, size_t size);

/* Whether text is one JSON object or array, without duplicate keys, not too deep. */
bool input_json_check(const char *text, size_t len, struct input_error *err);

#endif
