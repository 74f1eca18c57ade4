/* SPDX-License-Identifier: PostgreSQL
 *
 * parse.c -- HTTP/1.x responses, as bytes that arrive.
 *
 * Strict where laxness would change where the body ends (lengths, chunk sizes: the stuff
 * of response splitting), lax where it does not (header contents, a missing reason phrase, bare LF
 * as a line end, which RFC 9112 section 2.2 allows a recipient).
 */
#include "agent/http/parse.h"

#include <string.h>
#include <strings.h>

static bool
broken(struct http_parser *parser, const char *reason)
{
	parser->in_body_when_broken = parser->head_done;
	parser->state = HTTP_BROKEN;
	parser->reason = reason;
	return false;
}

void
http_parser_init(struct http_parser *parser, bool head_request, http_body_fn on_body, void *arg)
{
	memset(parser, 0, sizeof(*parser));
	parser->head_request = head_request;
	parser->on_body = on_body;
	parser->arg = arg;
}

/* HTTP-version SP 3DIGIT [SP reason] */
static bool
parse_status_line(struct http_parser *parser)
{
	const char *p = parser->line;

	if (strncmp(p, "HTTP/1.", 7) != 0 || p[7] < '0' || p[7] > '9' || p[8] != ' ')
		return broken(parser, "the answer is not HTTP/1.x");
	parser->minor = (unsigned) (p[7] - '0');
	p += 9;
	for (int i = 0; i < 3; i++)
		if (p[i] < '0' || p[i] > '9')
			return broken(parser, "the status line has no three-digit status");
	if (p[3] != ' ' && p[3] != '\0')
		return broken(parser, "the status line has no three-digit status");
	parser->status = (unsigned) ((p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0'));
	if (parser->status < 100)
		return broken(parser, "the status is below 100");
	parser->state = HTTP_HEADERS;
	return true;
}

static void
trim(char **text)
{
	size_t len;

	*text += strspn(*text, " \t");
	len = strlen(*text);
	while (len > 0 && ((*text)[len - 1] == ' ' || (*text)[len - 1] == '\t'))
		(*text)[--len] = '\0';
}

/* Decimal digits only. Equal values may be repeated, separated by commas (RFC 9110 section 8.6). */
static bool
parse_length(struct http_parser *parser, char *value)
{
	char *part;

	while ((part = strsep(&value, ",")))
	{
		uint64_t length = 0;

		trim(&part);
		if (*part == '\0' || strspn(part, "0123456789") != strlen(part) || strlen(part) > 18)
			return broken(parser, "Content-Length is not a number");
		for (; *part; part++)
			length = length * 10 + (uint64_t) (*part - '0');
		if (parser->has_length && parser->left != length)
			return broken(parser, "Content-Length is given twice with different values");
		parser->has_length = true;
		parser->left = length;
	}
	return true;
}

/* Only a final "chunked" delimits the body; any other coding makes it end with the stream. */
static bool
parse_coding(struct http_parser *parser, char *value)
{
	char *part;

	while ((part = strsep(&value, ",")))
	{
		trim(&part);
		if (parser->chunked)
			return broken(parser, "a transfer coding follows chunked");
		if (strcasecmp(part, "chunked") == 0)
			parser->chunked = true;
		else if (*part)
			parser->other_coding = true;
	}
	return true;
}

static void
keep_location(struct http_parser *parser, const char *value)
{
	size_t len = strlen(value);

	if (parser->has_location)
		return;
	parser->has_location = true;
	parser->location_cut = len >= sizeof(parser->location) || parser->line_len > HTTP_LINE_MAX - 1;
	if (parser->location_cut)
		return;
	memcpy(parser->location, value, len + 1);
}

void
http_parser_header(struct http_parser *parser, const char *name, const char *value)
{
	if (strcasecmp(name, "location") == 0)
		keep_location(parser, value);
	if (parser->on_header)
		parser->on_header(name, value, parser->arg);
}

static bool
parse_header(struct http_parser *parser)
{
	char *value = strchr(parser->line, ':');

	if (++parser->headers > HTTP_HEADERS_MAX)
		return broken(parser, "the answer has more than 256 headers");
	/* A folded line (obsolete, RFC 9112 section 5.2) belongs to a header that matters only when it
	 * is one of ours; those are never folded by anything alive. */
	if (parser->line[0] == ' ' || parser->line[0] == '\t')
		return parser->headers > 1 ? true : broken(parser, "the first header line is folded");
	if (value == NULL || value == parser->line)
		return broken(parser, "a header line has no name and colon");
	if (value[-1] == ' ' || value[-1] == '\t')
		return broken(parser, "there is space between a header name and its colon");
	*value++ = '\0';
	trim(&value);
	http_parser_header(parser, parser->line, value);
	if (strcasecmp(parser->line, "content-length") == 0)
		return parse_length(parser, value);
	if (strcasecmp(parser->line, "transfer-encoding") == 0)
		return parse_coding(parser, value);
	return true;
}

/* RFC 9112 section 6.3: how the body ends. */
static bool
end_of_headers(struct http_parser *parser)
{
	if (parser->status < 200 && parser->status != 101)
	{
		if (++parser->interim > HTTP_INTERIM_MAX)
			return broken(parser, "too many interim responses");
		parser->has_length = parser->chunked = parser->other_coding = parser->has_location = false;
		parser->headers = 0;
		parser->state = HTTP_STATUS_LINE;
		return true;
	}
	parser->head_done = true;
	if (parser->head_request || parser->status == 204 || parser->status == 304 ||
	    parser->status == 101)
		parser->state = HTTP_DONE;
	else if (parser->chunked)
		parser->state = HTTP_CHUNK_SIZE;
	else if (parser->other_coding || !parser->has_length)
		parser->state = HTTP_BODY_CLOSE;
	else
		parser->state = parser->left > 0 ? HTTP_BODY_LENGTH : HTTP_DONE;
	parser->head_bytes = 0; /* counts the trailers from here on */
	return true;
}

/* 1*HEXDIG [extensions] */
static bool
parse_chunk_size(struct http_parser *parser)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = parser->line;
	uint64_t size = 0;
	int count = 0;

	for (; *p; p++, count++)
	{
		char c = *p >= 'A' && *p <= 'F' ? (char) (*p + 32) : *p;
		const char *digit = strchr(digits, c);

		if (digit == NULL)
			break;
		if (count == 15)
			return broken(parser, "a chunk is impossibly large");
		size = size << 4 | (uint64_t) (digit - digits);
	}
	if (count == 0 || (*p != '\0' && *p != ';' && *p != ' ' && *p != '\t'))
		return broken(parser, "a chunk has no size");
	parser->left = size;
	parser->state = size ? HTTP_CHUNK_DATA : HTTP_TRAILERS;
	return true;
}

/* One whole line, without its end. */
static bool
take_line(struct http_parser *parser)
{
	size_t kept = parser->line_len < HTTP_LINE_MAX ? parser->line_len : HTTP_LINE_MAX - 1;

	if (kept > 0 && parser->line[kept - 1] == '\r' && kept == parser->line_len)
		kept--;
	parser->line[kept] = '\0';
	if (memchr(parser->line, '\0', kept))
		return broken(parser, "there is a zero byte in the header");
	switch (parser->state)
	{
		case HTTP_STATUS_LINE: return parse_status_line(parser);
		case HTTP_HEADERS: return kept ? parse_header(parser) : end_of_headers(parser);
		case HTTP_CHUNK_SIZE: return parse_chunk_size(parser);
		case HTTP_CHUNK_END:
			if (kept)
				return broken(parser, "a chunk is longer than its size");
			parser->state = HTTP_CHUNK_SIZE;
			return true;
		case HTTP_TRAILERS:
			if (kept == 0)
				parser->state = HTTP_DONE;
			return true;
		default: return broken(parser, "internal: a line in a state without lines");
	}
}

/* Bytes up to the end of a line, or all of them. */
static bool
feed_line(struct http_parser *parser, const uint8_t **data, size_t *len)
{
	while (*len > 0)
	{
		uint8_t c = **data;
		bool ok;

		(*data)++;
		(*len)--;
		/* The ceiling is on the head, the trailers, or one chunk line: each starts at 0. */
		if (++parser->head_bytes > HTTP_HEAD_MAX)
			return broken(parser, "the header is larger than 64 KiB");
		if (c != '\n')
		{
			if (parser->line_len < HTTP_LINE_MAX - 1)
				parser->line[parser->line_len] = (char) c;
			parser->line_len++;
			continue;
		}
		ok = take_line(parser);
		parser->line_len = 0;
		if (parser->state == HTTP_CHUNK_SIZE || parser->state == HTTP_CHUNK_DATA ||
		    parser->state == HTTP_CHUNK_END)
			parser->head_bytes = 0;
		return ok;
	}
	return true;
}

static void
feed_body(struct http_parser *parser, const uint8_t **data, size_t *len)
{
	size_t n = *len;

	if (parser->state != HTTP_BODY_CLOSE && n > parser->left)
		n = (size_t) parser->left;
	if (parser->on_body)
		parser->on_body(*data, n, parser->arg);
	parser->body_bytes += n;
	*data += n;
	*len -= n;
	if (parser->state == HTTP_BODY_CLOSE)
		return;
	parser->left -= n;
	if (parser->left == 0)
		parser->state = parser->state == HTTP_BODY_LENGTH ? HTTP_DONE : HTTP_CHUNK_END;
}

bool
http_parser_feed(struct http_parser *parser, const uint8_t *data, size_t len)
{
	while (len > 0 && parser->state != HTTP_DONE && parser->state != HTTP_BROKEN)
	{
		if (parser->state == HTTP_BODY_LENGTH || parser->state == HTTP_BODY_CLOSE ||
		    parser->state == HTTP_CHUNK_DATA)
			feed_body(parser, &data, &len);
		else
			feed_line(parser, &data, &len);
	}
	return parser->state != HTTP_BROKEN;
}

bool
http_parser_end(struct http_parser *parser)
{
	if (parser->state == HTTP_BODY_CLOSE)
		parser->state = HTTP_DONE;
	if (parser->state == HTTP_DONE)
		return true;
	if (parser->state != HTTP_BROKEN)
		broken(parser, parser->head_done ? "the body was cut short" : "the header was cut short");
	return false;
}
