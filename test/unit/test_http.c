/* SPDX-License-Identifier: PostgreSQL
 *
 * test_http.c -- URLs, responses in pieces, and whole runs against real servers.
 *
 * The servers are forked children with canned answers, plain and over TLS; the certificates are
 * made here: valid, expired, not yet valid, of another name, of an unknown CA.
 */
#include "mint.h"
#include "rig.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/http/parse.h"
#include "agent/http/url.h"

/* ---- URLs ---- */

static void
test_url(void **state)
{
	static const struct
	{
		const char *in, *out; /* NULL: refused */
	} cases[] = {
	    {"http://example.net", "http://example.net/"},
	    {"HTTP://example.net:80/a?b=c#d", "http://example.net/a?b=c"},
	    {"https://example.net:443/", "https://example.net/"},
	    {"https://example.net:80", "https://example.net:80/"},
	    {"http://[2001:db8::1]:8080/x", "http://[2001:db8::1]:8080/x"},
	    {"http://example.net?q", "http://example.net/?q"},
	    {"http://example.net:/", "http://example.net/"},
	    {"ftp://example.net/", NULL},
	    {"example.net", NULL},
	    {"http://", NULL},
	    {"http://user:secret@example.net/", NULL},
	    {"http://2001:db8::1/", NULL},
	    {"http://example.net:99999/", NULL},
	    {"http://exam ple.net/", NULL},
	    {"http://example.net/a b", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct http_url url;
		char err[256] = "", text[HTTP_URL_MAX];
		bool ok = http_url_parse(cases[i].in, &url, err, sizeof(err));

		if (ok != (cases[i].out != NULL))
			print_error("%s\n", cases[i].in);
		assert_int_equal(ok, cases[i].out != NULL);
		if (!ok)
		{
			assert_int_equal(strncmp(err, "target:", 7), 0);
			continue;
		}
		http_url_text(&url, text, sizeof(text));
		assert_string_equal(text, cases[i].out);
	}
}

/* RFC 3986 section 5.4, as far as paths go. */
static void
test_url_resolve(void **state)
{
	static const struct
	{
		const char *location, *out;
	} cases[] = {
	    {"g", "http://a/b/c/g"},
	    {"./g", "http://a/b/c/g"},
	    {"g/", "http://a/b/c/g/"},
	    {"/g", "http://a/g"},
	    {"//g", "http://g/"},
	    {"?y", "http://a/b/c/d;p?y"},
	    {"g?y", "http://a/b/c/g?y"},
	    {"#s", "http://a/b/c/d;p?q"},
	    {"g#s", "http://a/b/c/g"},
	    {"", "http://a/b/c/d;p?q"},
	    {".", "http://a/b/c/"},
	    {"./", "http://a/b/c/"},
	    {"..", "http://a/b/"},
	    {"../g", "http://a/b/g"},
	    {"../..", "http://a/"},
	    {"../../g", "http://a/g"},
	    {"../../../g", "http://a/g"},
	    {"/./g", "http://a/g"},
	    {"/../g", "http://a/g"},
	    {"g;x=1/../y", "http://a/b/c/y"},
	    {"https://other:8443/x y", "https://other:8443/x%20y"},
	    {"ftp://a/", NULL},
	    {"javascript:x", NULL},
	    {"http://u@h/", NULL},
	};
	struct http_url base, url;
	char err[256], text[HTTP_URL_MAX];

	assert_true(http_url_parse("http://a/b/c/d;p?q", &base, err, sizeof(err)));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		bool ok = http_url_resolve(&base, cases[i].location, &url, err, sizeof(err));

		assert_int_equal(ok, cases[i].out != NULL);
		if (!ok)
			continue;
		http_url_text(&url, text, sizeof(text));
		assert_string_equal(text, cases[i].out);
	}
}

/* ---- responses ---- */

struct collected
{
	char body[256];
	size_t len;
};

static void
collect(const uint8_t *data, size_t len, void *arg)
{
	struct collected *c = arg;

	assert_true(c->len + len < sizeof(c->body));
	memcpy(c->body + c->len, data, len);
	c->len += len;
}

static const struct response
{
	const char *text;
	bool head;
	enum http_parse_state state; /* after the end of the stream */
	unsigned status;
	const char *body;
} responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, HTTP_DONE, 200, "hello"},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, HTTP_DONE, 200, ""},
    {"HTTP/1.0 200 OK\r\n\r\nuntil the end", false, HTTP_DONE, 200, "until the end"},
    {"HTTP/1.1 200 OK\nContent-Length:5\n\nhello", false, HTTP_DONE, 200, "hello"},
    {"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n "
     "world\r\n0\r\nT: 1\r\n\r\n",
     false, HTTP_DONE, 200, "hello world"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: "
     "chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
     false, HTTP_DONE, 200, "a"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nxyz", false, HTTP_DONE,
     200, "xyz"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 404 "
     "No\r\nContent-Length: "
     "1\r\n\r\nx",
     false, HTTP_DONE, 404, "x"},
    {"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", false, HTTP_DONE, 204, ""},
    {"HTTP/1.1 304 No\r\n\r\n", false, HTTP_DONE, 304, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, HTTP_DONE, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", false, HTTP_DONE,
     200, "hello"},
    {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\nx", false, HTTP_DONE, 200, "x"},
    /* cut short */
    {"", false, HTTP_BROKEN, 0, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", false, HTTP_BROKEN, 200, "hell"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false, HTTP_BROKEN, 200,
     "hello"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", false, HTTP_BROKEN,
     200, "hello"},
    /* malformed */
    {"SSH-2.0-OpenSSH_9.2\r\n", false, HTTP_BROKEN, 0, ""},
    {"HTTP/2 200\r\n\r\n", false, HTTP_BROKEN, 0, ""},
    {"HTTP/1.1 20 OK\r\n\r\n", false, HTTP_BROKEN, 0, ""},
    {"HTTP/1.1 2000 OK\r\n\r\n", false, HTTP_BROKEN, 0, ""},
    {"HTTP/1.1 099 OK\r\n\r\n", false, HTTP_BROKEN, 99, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", false, HTTP_BROKEN,
     200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\n folded first\r\n\r\n", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", false, HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", false, HTTP_BROKEN,
     200, "hello"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", false,
     HTTP_BROKEN, 200, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", false, HTTP_BROKEN, 200, ""},
};

/* Every response in pieces of every size from one byte to all: the outcome is the same. */
static void
test_responses_in_pieces(void **state)
{
	for (size_t i = 0; i < sizeof(responses) / sizeof(responses[0]); i++)
	{
		const struct response *r = &responses[i];
		size_t len = strlen(r->text);

		for (size_t piece = 1; piece <= len + 1; piece++)
		{
			struct http_parser parser;
			struct collected c = {.len = 0};
			bool ok = true;

			http_parser_init(&parser, r->head, collect, &c);
			for (size_t at = 0; at < len && ok; at += piece)
				ok = http_parser_feed(&parser, (const uint8_t *) r->text + at,
				                      len - at < piece ? len - at : piece);
			http_parser_end(&parser);
			if (parser.state != r->state || parser.status != r->status)
				print_error("response %zu in pieces of %zu: state %d, status %u\n", i, piece,
				            (int) parser.state, parser.status);
			assert_int_equal(parser.state, r->state);
			assert_int_equal(parser.status, r->status);
			c.body[c.len] = '\0';
			assert_string_equal(c.body, r->body);
			assert_int_equal(parser.body_bytes, c.len);
			assert_true(parser.state == HTTP_DONE || parser.reason != NULL);
		}
	}
}

static void
feed_text(struct http_parser *parser, const char *text)
{
	http_parser_feed(parser, (const uint8_t *) text, strlen(text));
}

static void
test_head_has_ceilings(void **state)
{
	struct http_parser parser;

	http_parser_init(&parser, false, NULL, NULL);
	feed_text(&parser, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < HTTP_HEADERS_MAX + 1 && parser.state != HTTP_BROKEN; i++)
		feed_text(&parser, "A: b\r\n");
	assert_int_equal(parser.state, HTTP_BROKEN);

	http_parser_init(&parser, false, NULL, NULL);
	feed_text(&parser, "HTTP/1.1 200 OK\r\nA: ");
	for (int i = 0; i < HTTP_HEAD_MAX && parser.state != HTTP_BROKEN; i++)
		feed_text(&parser, "x");
	assert_int_equal(parser.state, HTTP_BROKEN);

	http_parser_init(&parser, false, NULL, NULL);
	for (int i = 0; i < HTTP_INTERIM_MAX + 1 && parser.state != HTTP_BROKEN; i++)
		feed_text(&parser, "HTTP/1.1 100 Continue\r\n\r\n");
	assert_int_equal(parser.state, HTTP_BROKEN);

	/* a long header of no interest is no obstacle, a long Location is no redirect */
	http_parser_init(&parser, false, NULL, NULL);
	feed_text(&parser, "HTTP/1.1 302 OK\r\nContent-Security-Policy: ");
	for (int i = 0; i < 3 * HTTP_LINE_MAX; i++)
		feed_text(&parser, "x");
	feed_text(&parser, "\r\nLocation: /");
	for (int i = 0; i < HTTP_LOCATION_MAX; i++)
		feed_text(&parser, "y");
	feed_text(&parser, "\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(parser.state, HTTP_DONE);
	assert_true(parser.has_location);
	assert_true(parser.location_cut);
}

/* ---- parameters ---- */

static void
test_parameters(void **state)
{
	static const struct
	{
		const char *target, *key, *value, *complaint;
	} cases[] = {
	    {"ftp://x/", NULL, NULL, "http:// or https://"},
	    {"http://x/", "method", "TRACE", "GET, HEAD, POST"},
	    {"http://x/", "http_version", "3", "any, 1.1 or 2"},
	    {"http://x/", "headers", "X", "Name: value"},
	    {"http://x/", "headers", "X y: z", "Name: value"},
	    {"http://x/", "headers", "X: a\nY: b", "Name: value"},
	    {"http://x/", "headers", "X: a,,Y: b", "Name: value"},
	    {"http://x/", "headers", "host: elsewhere", "set by the agent"},
	    {"http://x/", "headers", "Content-Length: 5", "set by the agent"},
	    {"http://x/", "expect_header", "a b", "expect_header"},
	    {"http://x/", "expect_header", "!a=b", "expect_header"},
	    {"http://x/", "expect_header", "a,,b", "expect_header"},
	    {"http://x/", "body", "x", "method to POST"},
	    {"http://x/", "expect_status", "", "expect_status"},
	    {"http://x/", "expect_status", "2x", "expect_status"},
	    {"http://x/", "expect_status", "200-", "expect_status"},
	    {"http://x/", "expect_status", "300-200", "expect_status"},
	    {"http://x/", "expect_status", "200,,201", "expect_status"},
	    {"http://x/", "expect_status", "200 201", "expect_status"},
	    {"http://x/", "follow_redirects", "1", "true or false"},
	    {"http://x/", "max_body_bytes", "0", "max_body_bytes"},
	    {"http://x/", "ca_file", "relative.pem", "absolute path"},
	    {"http://x/", "content_type", "a\r\nX: y", "content_type"},
	    {"http://x/", "insecure", "true", "unknown"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		assert_false(rig_run(&rig, "http", cases[i].target, 1000, params));
		if (strstr(rig.err, cases[i].complaint) == NULL)
			print_error("case %zu: %s\n", i, rig.err);
		assert_non_null(strstr(rig.err, cases[i].complaint));
	}
	rig_close(&rig);
}

/* ---- plain servers ---- */

/* Reads a request (with its body, when the length says so) into buf. */
static void
read_request(int fd, char *buf, size_t size)
{
	size_t len = 0;

	while (len + 1 < size)
	{
		ssize_t n = read(fd, buf + len, size - 1 - len);
		char *end, *length;

		if (n <= 0)
			break;
		len += (size_t) n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		length = strstr(buf, "Content-Length: ");
		if (end && (length == NULL || strlen(end + 4) >= strtoul(length + 16, NULL, 10)))
			break;
	}
	buf[len] = '\0';
}

/* The path of the request chooses the answer. */
static void
answer(int fd, const char *request)
{
	static const struct
	{
		const char *start, *answer;
	} pages[] = {
	    {"GET /ok ", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
	    {"HEAD /ok ", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"},
	    {"GET /error ", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"},
	    {"GET /short ", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"},
	    {"GET /chunk ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nneed\r\n"},
	    {"GET /garbage ", "220 mail.example.net ESMTP\r\n"},
	    {"GET /empty ", ""},
	    {"GET /half ", "HTTP/1.1 200 OK\r\nConte"},
	    {"GET /loop ", "HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n"},
	    {"GET /hop ", "HTTP/1.1 301 Moved\r\nLocation: hop2\r\nContent-Length: 9\r\n\r\nmoved..."},
	    {"GET /hop2 ", "HTTP/1.1 307 Moved\r\nLocation: ok\r\n\r\n"},
	    {"GET /odd ", "HTTP/1.1 302 Found\r\nLocation: gopher://x/\r\n\r\n"},
	    {"POST /form ", "HTTP/1.1 303 See\r\nLocation: /ok\r\n\r\n"},
	    {"GET /big ", NULL},
	};
	char line[600];

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
	{
		if (strncmp(request, pages[i].start, strlen(pages[i].start)) != 0)
			continue;
		if (pages[i].answer && write(fd, pages[i].answer, strlen(pages[i].answer)) >= 0)
			return;
		memset(line, 'x', sizeof(line));
		dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n");
		for (int k = 0; k < 1000 && write(fd, line, sizeof(line)) > 0; k++)
			;
		return;
	}
	if (strncmp(request, "POST /echo ", 11) == 0 || strncmp(request, "GET /echo ", 10) == 0)
		dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(request), request);
	else if (strncmp(request, "GET /hang ", 10) == 0)
		for (;;)
			pause();
	else if (strncmp(request, "GET /stall ", 11) == 0)
	{
		dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
		for (;;)
			pause();
	}
	else if (strncmp(request, "GET /reset ", 11) == 0)
	{
		struct linger hard = {1, 0};

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
}

static void
serve_plain(int fd, void *arg)
{
	static char request[8192];

	for (;;)
	{
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			continue;
		read_request(c, request, sizeof(request));
		answer(c, request);
		close(c);
	}
}

static struct
{
	pid_t pid;
	uint16_t port;
} plain;

static int
plain_setup(void **state)
{
	int fd = rig_listen(AF_INET, 16, &plain.port);

	plain.pid = rig_fork(fd, serve_plain, NULL);
	close(fd);
	return 0;
}

static int
plain_teardown(void **state)
{
	rig_stop(plain.pid);
	return 0;
}

static void
fetch(struct rig *rig, const char *path, uint32_t timeout_ms, const char *const *params)
{
	char url[128];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", plain.port, path);
	assert_true(rig_run(rig, "http", url, timeout_ms, params));
}

static void
test_waterfall(void **state)
{
	struct rig rig;
	double sum;

	rig_open(&rig);
	fetch(&rig, "/ok", 2000, NULL);
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "http.status") == 200);
	assert_true(rig_metric(&rig, "http.content.bytes") == 5);
	assert_true(rig_metric(&rig, "http.redirects") == 0);
	assert_true(isnan(rig_metric(&rig, "http.tls.ms")));
	sum = rig_metric(&rig, "http.dns.ms") + rig_metric(&rig, "http.connect.ms") +
	      rig_metric(&rig, "http.ttfb.ms") + rig_metric(&rig, "http.transfer.ms");
	assert_true(sum > 0);
	assert_true(sum <= rig_metric(&rig, "http.total.ms") + 0.01);
	assert_string_equal(rig_attribute(&rig, "http.request.method"), "GET");
	assert_string_equal(rig_attribute(&rig, "http.response.status_code"), "200");
	assert_string_equal(rig_attribute(&rig, "network.protocol.version"), "1.1");
	assert_string_equal(rig_attribute(&rig, "network.peer.address"), "127.0.0.1");
	assert_string_equal(rig.result.network_protocol_name, "http");
	rig_close(&rig);
}

static void
test_verdicts(void **state)
{
	static const struct
	{
		const char *path, *key, *value, *error_type;
	} cases[] = {
	    {"/ok", "method", "HEAD", ""},
	    {"/ok", "expect_status", "200", ""},
	    {"/ok", "expect_status", "404, 2xx", ""},
	    {"/ok", "expect_status", "300-399", "http_status"},
	    {"/error", NULL, NULL, "http_status"},
	    {"/error", "expect_status", "503", ""},
	    {"/ok", "body_match", "hell", ""},
	    {"/ok", "body_match", "hells", "http_body"},
	    {"/big", "body_match", "xxxxxxxxxxxxxxxx", ""},
	    {"/big", "max_body_bytes", "1000", ""},
	    {"/short", NULL, NULL, "http_body"},
	    {"/chunk", NULL, NULL, "http_body"},
	    {"/half", NULL, NULL, "http_status"},
	    {"/garbage", NULL, NULL, "http_status"},
	    {"/empty", NULL, NULL, "reset"},
	    {"/reset", NULL, NULL, "reset"},
	    {"/loop", NULL, NULL, "http_status"},
	    {"/loop", "follow_redirects", "false", ""},
	    {"/odd", NULL, NULL, "http_status"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *params[] = {cases[i].key, cases[i].value, NULL};

		fetch(&rig, cases[i].path, 3000, params);
		if (strcmp(error_type_name(rig.result.error_type), cases[i].error_type) != 0)
			print_error("case %zu: %s\n", i, rig.result.error);
		rig_expect(&rig, cases[i].error_type);
	}
	rig_close(&rig);
}

static void
test_redirects(void **state)
{
	static const char *const post[] = {"method", "POST", "body", "a=b", NULL};
	struct rig rig;
	char url[128];

	rig_open(&rig);
	fetch(&rig, "/hop", 3000, NULL);
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "http.redirects") == 2);
	assert_true(rig_metric(&rig, "http.redirect.ms") > 0);
	assert_true(rig_metric(&rig, "http.content.bytes") == 5);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/ok", plain.port);
	assert_string_equal(rig_attribute(&rig, "url.full"), url);
	fetch(&rig, "/form", 3000, post);
	rig_expect(&rig, "");
	assert_string_equal(rig_attribute(&rig, "http.request.method"), "GET");
	fetch(&rig, "/loop", 3000, NULL);
	assert_true(rig_metric(&rig, "http.redirects") == 10);
	rig_close(&rig);
}

/* The server sends back what it was sent. */
static void
test_request_on_the_wire(void **state)
{
	static const char *const matches[] = {
	    "POST /echo HTTP/1.1\r\n", "\r\nUser-Agent: probectl-agent/",
	    "\r\nContent-Type: application/json\r\n", "\r\nContent-Length: 7\r\n", "\r\n\r\n{\"a\":1}"};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]); i++)
	{
		const char *params[] = {"method",     "POST",         "body",
		                        "{\"a\":1}",  "content_type", "application/json",
		                        "body_match", matches[i],     NULL};

		fetch(&rig, "/echo", 2000, params);
		rig_expect(&rig, "");
	}
	rig_close(&rig);
}

static void
test_body_limit(void **state)
{
	static const char *const params[] = {"max_body_bytes", "100000", NULL};
	struct rig rig;

	rig_open(&rig);
	fetch(&rig, "/big", 3000, params);
	rig_expect(&rig, "");
	assert_string_equal(rig_attribute(&rig, "probectl.http.body_limit_reached"), "true");
	assert_true(rig_metric(&rig, "http.content.bytes") >= 100000);
	assert_true(rig_metric(&rig, "http.content.bytes") < 100000 + 16384);
	fetch(&rig, "/big", 3000, NULL);
	assert_true(rig_metric(&rig, "http.content.bytes") == 600000);
	assert_true(rig_metric(&rig, "http.throughput.kbps") > 0);
	rig_close(&rig);
}

static void
test_timeouts(void **state)
{
	uint16_t port;
	int fd = rig_listen(AF_INET, 1, &port);
	struct rig rig;
	char url[64];

	/* accepted by the kernel, never answered */
	rig_open(&rig);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	assert_true(rig_run(&rig, "http", url, 200, NULL));
	rig_expect(&rig, "read_timeout");
	assert_true(rig.result.duration_nano >= 200 * 1000000LL);
	assert_true(rig.result.duration_nano < 1500 * 1000000LL);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", port);
	assert_true(rig_run(&rig, "http", url, 200, NULL));
	rig_expect(&rig, "read_timeout");
	assert_non_null(strstr(rig.result.error, "TLS handshake"));
	rig_close(&rig);
	close(fd);
}

/* A full accept queue drops SYNs: nothing comes back, as behind a packet filter. */
static void
test_connect_timeout(void **state)
{
	struct rig rig;
	uint16_t port;
	int fd = rig_listen(AF_INET, 0, &port), fill[4];
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	char url[64];

	for (int i = 0; i < 4; i++)
	{
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *) &to, sizeof(to));
	}
	rig_open(&rig);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	assert_true(rig_run(&rig, "http", url, 200, NULL));
	rig_expect(&rig, "connect_timeout");
	assert_true(isnan(rig_metric(&rig, "http.connect.ms")));
	rig_close(&rig);
	for (int i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
}

/* A body that stops half-way is not a success. */
static void
test_stalled_body(void **state)
{
	struct rig rig;
	uint16_t port;
	int fd = rig_listen(AF_INET, 4, &port);
	pid_t pid = rig_fork(fd, serve_plain, NULL);
	char url[64];

	close(fd);
	rig_open(&rig);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/stall", port);
	assert_true(rig_run(&rig, "http", url, 200, NULL));
	rig_expect(&rig, "read_timeout");
	assert_true(rig_metric(&rig, "http.content.bytes") == 3);
	rig_close(&rig);
	rig_stop(pid);
}

static void
test_refused(void **state)
{
	struct rig rig;
	uint16_t port;
	char url[64];

	close(rig_listen(AF_INET, 1, &port));
	rig_open(&rig);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	assert_true(rig_run(&rig, "http", url, 1000, NULL));
	rig_expect(&rig, "connect_refused");
	assert_true(isnan(rig_metric(&rig, "http.connect.ms")));
	rig_close(&rig);
}

/* ---- TLS ---- */

struct tls_server
{
	const struct identity *identity;
	int version; /* the only one it speaks; 0: any */
};

static void
serve_tls(int fd, void *arg)
{
	const struct tls_server *server = arg;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	static const char page[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret";
	char request[4096];

	SSL_CTX_use_certificate(ctx, server->identity->certificate);
	SSL_CTX_use_PrivateKey(ctx, server->identity->key);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
	SSL_CTX_set_min_proto_version(ctx, server->version ? server->version : TLS1_VERSION);
	SSL_CTX_set_max_proto_version(ctx, server->version);
	for (;;)
	{
		int c = accept(fd, NULL, NULL);
		SSL *ssl = SSL_new(ctx);

		SSL_set_fd(ssl, c);
		if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof(request)) > 0)
		{
			SSL_write(ssl, page, sizeof(page) - 1);
			SSL_shutdown(ssl);
		}
		SSL_free(ssl);
		close(c);
	}
}

static void
fetch_tls(struct rig *rig, const struct identity *identity, int version, const char *host,
          const char *ca_file)
{
	const char *params[] = {"ca_file", ca_file, "body_match", "secret", NULL};
	struct tls_server server = {identity, version};
	uint16_t port;
	int fd = rig_listen(AF_INET, 4, &port);
	pid_t pid = rig_fork(fd, serve_tls, &server);
	char url[128];

	close(fd);
	snprintf(url, sizeof(url), "https://%s:%u/", host, port);
	assert_true(rig_run(rig, "http", url, 5000, params));
	rig_stop(pid);
}

static struct
{
	struct identity ca;
	char file[64];
} trust;

static int
trust_setup(void **state)
{
	FILE *out;
	int fd;

	trust.ca = mint("Test CA", NULL, -10, 10, NULL);
	snprintf(trust.file, sizeof(trust.file), "/tmp/probectl-test-ca-XXXXXX");
	fd = mkstemp(trust.file);
	out = fdopen(fd, "w");
	PEM_write_X509(out, trust.ca.certificate);
	fclose(out);
	return 0;
}

static int
trust_teardown(void **state)
{
	unlink(trust.file);
	identity_free(&trust.ca);
	return 0;
}

static void
test_tls_good(void **state)
{
	struct identity leaf = mint("Gr\xc3\xb6\xc3\x9f"
	                            "e",
	                            "DNS:localhost,IP:127.0.0.1", -1, 9, &trust.ca);
	struct rig rig;

	rig_open(&rig);
	fetch_tls(&rig, &leaf, 0, "127.0.0.1", trust.file);
	rig_expect(&rig, "");
	assert_true(rig_metric(&rig, "http.tls.ms") > 0);
	assert_true(fabs(rig_metric(&rig, "http.tls.cert_expiry_days") - 9) < 0.01);
	assert_string_equal(rig_attribute(&rig, "tls.protocol.version"), "1.3");
	assert_string_equal(rig_attribute(&rig, "probectl.tls.server.subject"), "CN=Gr\xc3\xb6\xc3\x9f"
	                                                                        "e");
	assert_string_equal(rig_attribute(&rig, "probectl.tls.server.issuer"), "CN=Test CA");
	assert_string_equal(rig_attribute(&rig, "probectl.tls.server.san"), "localhost,127.0.0.1");
	assert_string_equal(rig_attribute(&rig, "probectl.tls.server.verified"), "true");
	assert_int_equal(strlen(rig_attribute(&rig, "probectl.tls.server.not_after")), 20);
	fetch_tls(&rig, &leaf, 0, "localhost", trust.file);
	rig_expect(&rig, "");
	rig_close(&rig);
	identity_free(&leaf);
}

/* What was seen before is known again, and nothing else is. */
static void
test_tls_again(void **state)
{
	struct identity impostor_ca = mint("Test CA", NULL, -10, 10, NULL);
	struct identity leaf = mint("leaf", "DNS:localhost", -1, 9, &trust.ca);
	struct identity impostor = mint("leaf", "DNS:localhost", -1, 9, &impostor_ca);
	struct rig rig;

	rig_open(&rig);
	for (int i = 0; i < 3; i++)
	{
		fetch_tls(&rig, &leaf, 0, "localhost", trust.file);
		rig_expect(&rig, "");
		assert_string_equal(rig_attribute(&rig, "probectl.tls.server.verified"), "true");
		fetch_tls(&rig, &impostor, 0, "localhost", trust.file);
		rig_expect(&rig, "tls_unknown_ca");
		fetch_tls(&rig, &leaf, 0, "127.0.0.1", trust.file);
		rig_expect(&rig, "tls_name_mismatch");
	}
	rig_close(&rig);
	identity_free(&leaf);
	identity_free(&impostor);
	identity_free(&impostor_ca);
}

/* CA certificates as a directory of links by hash, as the system has them. */
static void
test_tls_ca_directory(void **state)
{
	struct identity leaf = mint("x", "DNS:localhost", -1, 9, &trust.ca);
	char dir[] = "/tmp/probectl-test-ca-XXXXXX", file[64];
	struct rig rig;

	assert_non_null(mkdtemp(dir));
	rig_open(&rig);
	fetch_tls(&rig, &leaf, 0, "localhost", dir);
	rig_expect(&rig, "tls_unknown_ca");
	snprintf(file, sizeof(file), "%s/%08lx.0", dir, X509_subject_name_hash(trust.ca.certificate));
	assert_int_equal(symlink(trust.file, file), 0);
	fetch_tls(&rig, &leaf, 0, "localhost", dir);
	rig_expect(&rig, "");
	rig_close(&rig);
	unlink(file);
	rmdir(dir);
	identity_free(&leaf);
}

/* The posture of old servers can be seen. */
static void
test_tls_versions(void **state)
{
	static const struct
	{
		int version;
		const char *name;
	} cases[] = {{TLS1_VERSION, "1.0"}, {TLS1_1_VERSION, "1.1"}, {TLS1_2_VERSION, "1.2"}};
	struct identity leaf = mint("x", "DNS:localhost", -1, 9, &trust.ca);
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < 3; i++)
	{
		fetch_tls(&rig, &leaf, cases[i].version, "localhost", trust.file);
		rig_expect(&rig, "");
		assert_string_equal(rig_attribute(&rig, "tls.protocol.version"), cases[i].name);
	}
	rig_close(&rig);
	identity_free(&leaf);
}

/* Each thing that can be wrong with a certificate has its class, and the certificate is shown. */
static void
test_tls_bad_certificates(void **state)
{
	struct identity other = mint("Other CA", NULL, -10, 10, NULL);
	const struct
	{
		const char *san;
		long from, to;
		const struct identity *issuer;
		const char *error_type;
	} cases[] = {
	    {"DNS:localhost", -9, -1, &trust.ca, "tls_expired"},
	    {"DNS:localhost", 1, 9, &trust.ca, "tls_not_yet_valid"},
	    {"DNS:elsewhere.example", -1, 9, &trust.ca, "tls_name_mismatch"},
	    {"IP:127.0.0.2", -1, 9, &trust.ca, "tls_name_mismatch"},
	    {"DNS:localhost", -1, 9, &other, "tls_unknown_ca"},
	    /* nobody vouches for a name of an unknown CA */
	    {"DNS:elsewhere.example", -1, 9, &other, "tls_unknown_ca"},
	    {"DNS:localhost", -9, -1, &other, "tls_expired"},
	};
	struct rig rig;

	rig_open(&rig);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		struct identity leaf = mint("leaf", cases[i].san, cases[i].from, cases[i].to,
		                            cases[i].issuer);

		fetch_tls(&rig, &leaf, 0, "localhost", trust.file);
		rig_expect(&rig, cases[i].error_type);
		assert_string_equal(rig_attribute(&rig, "probectl.tls.server.subject"), "CN=leaf");
		assert_string_equal(rig_attribute(&rig, "probectl.tls.server.verified"), "false");
		assert_true(fabs(rig_metric(&rig, "http.tls.cert_expiry_days") - (double) cases[i].to) <
		            0.01);
		/* nothing was asked of such a server */
		assert_true(isnan(rig_metric(&rig, "http.status")));
		identity_free(&leaf);
	}
	rig_close(&rig);
	identity_free(&other);
}

static void
test_tls_not_spoken(void **state)
{
	struct rig rig;
	char url[64];

	rig_open(&rig);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", plain.port);
	assert_true(rig_run(&rig, "http", url, 2000, (const char *[]){"ca_file", trust.file, NULL}));
	assert_int_equal(rig.result.success, false);
	assert_true(rig.result.error_type == ERROR_TLS_HANDSHAKE ||
	            rig.result.error_type == ERROR_READ_TIMEOUT);
	assert_true(
	    rig_run(&rig, "http", url, 2000, (const char *[]){"ca_file", "/nonexistent/ca.pem", NULL}));
	rig_expect(&rig, "local_fault");
	assert_non_null(strstr(rig.result.error, "ca_file"));
	rig_close(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_url),
	    cmocka_unit_test(test_url_resolve),
	    cmocka_unit_test(test_responses_in_pieces),
	    cmocka_unit_test(test_head_has_ceilings),
	    cmocka_unit_test(test_parameters),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_timeouts),
	    cmocka_unit_test(test_connect_timeout),
	    cmocka_unit_test(test_stalled_body),
	    cmocka_unit_test_setup_teardown(test_waterfall, plain_setup, plain_teardown),
	    cmocka_unit_test_setup_teardown(test_verdicts, plain_setup, plain_teardown),
	    cmocka_unit_test_setup_teardown(test_redirects, plain_setup, plain_teardown),
	    cmocka_unit_test_setup_teardown(test_request_on_the_wire, plain_setup, plain_teardown),
	    cmocka_unit_test_setup_teardown(test_body_limit, plain_setup, plain_teardown),
	    cmocka_unit_test_setup_teardown(test_tls_good, trust_setup, trust_teardown),
	    cmocka_unit_test_setup_teardown(test_tls_again, trust_setup, trust_teardown),
	    cmocka_unit_test_setup_teardown(test_tls_ca_directory, trust_setup, trust_teardown),
	    cmocka_unit_test_setup_teardown(test_tls_versions, trust_setup, trust_teardown),
	    cmocka_unit_test_setup_teardown(test_tls_bad_certificates, trust_setup, trust_teardown),
	};
	const struct CMUnitTest mixed[] = {
	    cmocka_unit_test_setup_teardown(test_tls_not_spoken, plain_setup, plain_teardown),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	failed = cmocka_run_group_tests_name("http", tests, NULL, NULL);
	return failed +
	       cmocka_run_group_tests_name("http without TLS", mixed, trust_setup, trust_teardown);
}
