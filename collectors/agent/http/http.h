/* SPDX-License-Identifier: PostgreSQL
 *
 * http.h -- the parts of the http canary.
 *
 * A run is a row of hops: one request and its answer each, on a connection of its own. Redirects
 * are followed hop by hop; the phases that are metrics are those of the last hop, and what the
 * earlier ones took is one number. With redirects every hop has a line of its own, too.
 */
#ifndef PCTL_AGENT_HTTP_H
#define PCTL_AGENT_HTTP_H

#include "agent/http/h2.h"
#include "agent/http/parse.h"
#include "agent/http/tls.h"
#include "agent/http/url.h"
#include "agent/probe.h"
#include "lib/buf.h"

#define HTTP_REDIRECTS_MAX      10
#define HTTP_HEADERS_SENT_MAX   16
#define HTTP_RULES_MAX          16
#define HTTP_LIST_MAX           4096 /* bytes of a parameter that is a list */
#define HTTP_EXPECT_MAX         16
#define HTTP_MATCH_MAX          256
#define HTTP_TYPE_MAX           128
#define HTTP_CA_FILE_MAX        256
#define HTTP_REQUEST_BODY_MAX   (64 * 1024)
#define HTTP_BODY_BYTES_MIN     1
#define HTTP_BODY_BYTES_DEFAULT (10 * 1024 * 1024)
#define HTTP_BODY_BYTES_MAX     (1024 * 1024 * 1024)

struct http_range
{
	unsigned low, high;
};

/* What must be true of a header of the last answer. */
struct http_rule
{
	enum http_rule_kind
	{
		HTTP_RULE_THERE,    /* "name" */
		HTTP_RULE_ABSENT,   /* "!name" */
		HTTP_RULE_IS,       /* "name=value", to the byte */
		HTTP_RULE_CONTAINS, /* "name~text" */
	} kind;
	const char *name, *value;
};

enum http_version
{
	HTTP_VERSION_ANY, /* HTTP/2 where the server chooses it (ALPN), else 1.1 */
	HTTP_VERSION_1,
	HTTP_VERSION_2, /* without TLS by prior knowledge */
};

/* There may be thousands: texts are the test's own params, and what few tests have is allocated. */
struct http_cmd
{
	struct http_url *url; /* no longer than its path (http_url_copy) */
	char method[8];
	enum http_version version;
	struct h2_header *headers; /* to the target's own host only; up to HTTP_HEADERS_SENT_MAX */
	size_t header_count;
	struct http_rule *rules; /* up to HTTP_RULES_MAX */
	size_t rule_count;
	char *header_text, *rule_text; /* what those two point into */
	bool with_body;                /* the method has one, which may be empty */
	const char *body;              /* of the request */
	size_t body_len;
	const char *content_type;
	struct http_range expect[HTTP_EXPECT_MAX];
	size_t expect_count;
	const char *expect_text;
	bool follow_redirects;
	const char *body_match;
	size_t body_match_len;
	uint16_t *match_next; /* Knuth, Morris and Pratt: where to go on after a mismatch */
	uint32_t max_body_bytes;
	const char *ca_file;
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
	bool http2;            /* what the hop speaks */
	struct h2 *h2;         /* NULL with HTTP/1.x, and before the request */
	struct buf request;    /* what is to be written */
	size_t request_sent;
	struct http_parser parser;
	uint32_t rules_met; /* bit i: a header fits rule i, for HTTP_RULE_ABSENT as well */
	/* Of the whole run. */
	unsigned redirects;
	char *hops[HTTP_REDIRECTS_MAX]; /* a line of each that is over */
	size_t match_at;
	bool matched, body_limited;
};

/* cmd.c */
bool http_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
void http_cmd_free(void *cmd);
bool http_expected(const struct http_cmd *cmd, unsigned status);

/* rules.c: lists of headers and of rules. */
bool http_headers_parse(struct http_cmd *cmd, const char *text, char *err, size_t errlen);
bool http_rules_parse(struct http_cmd *cmd, const char *text, char *err, size_t errlen);
/* Notes which rules a header of the answer fits. */
void http_rules_see(struct canary_run *run, const char *name, const char *value);
/* The first rule that is not kept, in words; false when all are. */
bool http_rules_broken(const struct canary_run *run, char *words, size_t len);

/* result.c: verdict on a complete answer; metrics and attributes of whatever was reached. */
void http_judge(struct canary_run *run);
void http_result(struct canary_run *run, struct result *result);

/* The hop under way, or just over, in one line: status, address, milliseconds of each phase, URL. */
void http_hop_text(const struct canary_run *run, char *buf, size_t len);

#endif
