/* SPDX-License-Identifier: PostgreSQL
 *
 * input.c -- from the text of a request to the parameters of a database call.
 *
 * The database would refuse malformed JSON as well, but only after a round trip and
 * without a position; it would accept duplicate keys, of which the last wins, while a proxy
 * or an audit reader may look at the first.
 */
#include "gateway/input.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

static bool refuse(struct input_error *err, int status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool
refuse(struct input_error *err, int status, const char *field, const char *fmt, ...)
{
	va_list ap;

	err->status = status;
	snprintf(err->field, sizeof err->field, "%s", field);
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof err->message, fmt, ap);
	va_end(ap);
	return false;
}

void
input_json_string(struct buf *out, const char *s, size_t len)
{
	size_t from = 0;

	buf_put_u8(out, '"');
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		buf_put(out, s + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\')
		{
			buf_put_u8(out, '\\');
			buf_put_u8(out, c);
		}
		else
			buf_printf(out, "\\u%04x", c);
	}
	buf_put(out, s + from, len - from);
	buf_put_u8(out, '"');
}

/* Decodes one key or value into the scratch; the slice then points there. */
static bool
decode_part(char **scratch, const char *src, size_t len, struct http_slice *part)
{
	long n = http_decode(*scratch, src, len, true);

	if (n < 0)
		return false;
	*part = (struct http_slice){*scratch, (size_t) n};
	*scratch += n;
	return true;
}

bool
input_query(struct buf *out, const struct http_slice *query, struct input_error *err)
{
	struct http_slice keys[INPUT_KEYS_MAX], value;
	size_t count = 0;
	char decoded[HTTP_LINE_MAX], *scratch = decoded;
	const char *p = query->ptr != NULL ? query->ptr : "", *end = p + query->len;

	buf_put_u8(out, '{');
	while (p < end)
	{
		const char *amp = memchr(p, '&', (size_t) (end - p));
		const char *stop = amp != NULL ? amp : end;
		const char *eq = memchr(p, '=', (size_t) (stop - p));
		const char *name_end = eq != NULL ? eq : stop;

		if (stop > p)
		{
			if (count == INPUT_KEYS_MAX)
				return refuse(err, 400, "", "more than %d query parameters", INPUT_KEYS_MAX);
			if (!decode_part(&scratch, p, (size_t) (name_end - p), &keys[count]) ||
			    !decode_part(&scratch, eq != NULL ? eq + 1 : stop,
			                 eq != NULL ? (size_t) (stop - eq - 1) : 0, &value))
				return refuse(err, 400, "",
				              "query string at byte %zu: bad percent-encoding or not UTF-8 text",
				              (size_t) (p - query->ptr));
			if (keys[count].len == 0)
				return refuse(err, 400, "", "query parameter without a name");
			for (size_t i = 0; i < count; i++)
				if (keys[i].len == keys[count].len &&
				    memcmp(keys[i].ptr, keys[count].ptr, keys[i].len) == 0)
				{
					char name[64];

					snprintf(name, sizeof name, "%.*s", (int) keys[i].len, keys[i].ptr);
					return refuse(err, 422, name, "query parameter given more than once");
				}
			if (count++ > 0)
				buf_put_u8(out, ',');
			input_json_string(out, keys[count - 1].ptr, keys[count - 1].len);
			buf_put_u8(out, ':');
			input_json_string(out, value.ptr, value.len);
		}
		p = stop + 1;
	}
	buf_put_u8(out, '}');
	return true;
}

bool
input_path(struct input_path *path, const struct http_slice *raw, struct input_error *err)
{
	const char *p = raw->ptr, *end = raw->ptr + raw->len;
	char *scratch = path->text;

	path->count = 0;
	path->overflow = false;
	while (p < end)
	{
		const char *slash;
		struct http_slice seg;
		long n;

		p++; /* the slash in front */
		slash = memchr(p, '/', (size_t) (end - p));
		if (slash == NULL)
			slash = end;
		n = http_decode(scratch, p, (size_t) (slash - p), false);
		if (n < 0)
			return refuse(err, 400, "", "path: bad percent-encoding or not UTF-8 text");
		seg = (struct http_slice){scratch, (size_t) n};
		if (http_slice_is(&seg, ".") || http_slice_is(&seg, ".."))
			return refuse(err, 400, "", "path: dot segments are not served");
		scratch += n;
		p = slash;
		if (p == end && n == 0 && path->count == 0)
			break; /* "/" alone */
		if (path->count < INPUT_SEGMENTS_MAX)
			path->segments[path->count++] = seg;
		else
			path->overflow = true;
	}
	return true;
}

/*
 * Nesting is counted before the parser recurses into it. Brackets inside strings do not
 * count; whether the text is JSON at all is the parser's question.
 */
static bool
depth_ok(const char *text, size_t len)
{
	int depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++)
	{
		char c = text[i];

		if (in_string)
		{
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		}
		else if (c == '"')
			in_string = true;
		else if (c == '{' || c == '[')
		{
			if (++depth > INPUT_DEPTH_MAX)
				return false;
		}
		else if (c == '}' || c == ']')
			depth--;
	}
	return true;
}

bool
input_json_check(const char *text, size_t len, struct input_error *err)
{
	json_error_t where;
	json_t *value;

	if (!depth_ok(text, len))
		return refuse(err, 400, "", "body: JSON nested deeper than %d", INPUT_DEPTH_MAX);
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (value == NULL)
		return refuse(err, 400, "", "body: line %d, column %d: %s", where.line, where.column,
		              where.text);
	json_decref(value);
	return true;
}

/* 0 to 63, -1 for what is no digit of base64. */
static int
base64_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at != NULL ? (int) (at - digits) : -1;
}

bool
input_basic_password(const char *text, size_t len, char *password, size_t size)
{
	bool user = true; /* still before the colon */
	size_t out = 0;
	uint32_t bits = 0;
	int have = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++)
	{
		int digit = base64_digit(text[i]);
		char c;

		if (digit < 0)
			return false;
		bits = bits << 6 | (uint32_t) digit;
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		c = (char) (bits >> have & 0xff);
		if (c == '\0' || (!user && out + 1 >= size))
			return false;
		if (!user)
			password[out++] = c;
		else if (c == ':')
			user = false;
	}
	if (user || out == 0)
		return false;
	password[out] = '\0';
	return true;
}
