/* SPDX-License-Identifier: PostgreSQL
 *
 * http.h -- the parts of the http canary.
 *
 * A run is a row of hops: one request and its answer each, on a connection of its own. Redirects
 * are followed hop by hop; the phases that are reported are those of the last hop,
 * and what the earlier ones took is reported as one number.
 */
#ifndef PCTL_AGENT_HTTP_H
#define PCTL_AGENT_HTTP_H

#include "agent/http/parse.h"
#include "agent/http/tls.h"
#include "agent/http/url.h"
#include "agent/probe.h"
#include "lib/buf.h"

#define HTTP_REDIRECTS_MAX      10
#define HTTP_EXPECT_MAX         16
#define HTTP_MATCH_MAX          256
#define HTTP_REQUEST_BODY_MAX   (64 * 1024)
#define HTTP_BODY_BYTES_MIN     1
#define HTTP_BODY_BYTES_DEFAULT (10 * 1024 * 1024)
#define HTTP_BODY_BYTES_MAX     (1024 * 1024 * 1024)

struct http_range
{
	unsigned low, high;
};

struct http_cmd
{
	struct http_url url;
	char method[8];
	const char *body; /* of the request; in the test's own params */
	size_t body_len;
	char content_type[128];
	struct http_range expect[HTTP_EXPECT_MAX];
	size_t expect_count;
	char expect_text[64];
	bool follow_redirects;
	char body_match[HTTP_MATCH_MAX];
	size_t body_match_len;
	uint16_t
	    match_next[HTTP_MATCH_MAX]; /* Knuth, Morris and Pratt: where to go on after a mismatch */
	uint32_t max_body_bytes;
	char ca_file[256];
	enum resolver_family family;
};

enum http_phase
{
	HTTP_PHASE_RESOLVE, /* -> CONNECT */
	HTTP_PHASE_CONNECT, /* -> TLS, SEND; CONNECT again with the next address */
	HTTP_PHASE_TLS,     /* -> SEND */
	HTTP_PHASE_SEND,    /* -> WAIT */
	HTTP_PHASE_WAIT,    /* for the first byte -> RECEIVE */
	HTTP_PHASE_RECEIVE, /* -> RESOLVE of the next hop, or the end */
};

/* Monotonic nanoseconds; 0 while it has not happened. */
struct http_times
{
	int64_t began, resolved, connecting, connected, secured, sent, first_byte, finished;
};

struct canary_run
{
	struct probe probe;
	const struct http_cmd *cmd;
	/* The hop under way. */
	struct http_url url;
	const char *method;
	bool with_body;
	enum http_phase phase;
	struct http_times times;
	struct resolver_answer answer;
	size_t address;
	int fd;
	struct event event;
	struct tls *tls;
	struct tls_seen *seen; /* NULL without TLS */
	struct buf request;
	size_t request_sent;
	struct http_parser parser;
	/* Of the whole run. */
	unsigned redirects;
	size_t match_at;
	bool matched, body_limited;
};

/* cmd.c */
bool http_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
bool http_expected(const struct http_cmd *cmd, unsigned status);

/* result.c: verdict on a complete answer; metrics and attributes of whatever was reached. */
void http_judge(struct canary_run *run);
void http_result(struct canary_run *run, struct result *result);

#endif
