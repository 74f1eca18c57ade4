/* SPDX-License-Identifier: PostgreSQL
 *
 * url.h -- http and https URLs (RFC 3986), as far as a request needs them.
 *
 * Configured URLs are held to the letter, for a mistake in them is a mistake of ours to
 * report; what a server sends in Location is taken as browsers take it.
 */
#ifndef PCTL_AGENT_HTTP_URL_H
#define PCTL_AGENT_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_PATH_MAX 2048
#define HTTP_URL_MAX  (HTTP_PATH_MAX + 300)

struct http_url
{
	bool tls;
	char host[256];           /* name or literal address, without brackets */
	uint32_t port;            /* never 0 */
	char path[HTTP_PATH_MAX]; /* with the query, starts with '/' */
};

/* A copy that is only as long as its path; free it. NULL when memory is out. */
struct http_url *http_url_keep(const struct http_url *url);
void http_url_copy(struct http_url *to, const struct http_url *kept);

bool http_url_parse(const char *text, struct http_url *url, char *err, size_t errlen);

/* Where a Location header leads from base. */
bool http_url_resolve(const struct http_url *base, const char *location, struct http_url *url,
                      char *err, size_t errlen);

/* "https://host[:port]/path", the port when it is not the scheme's own. */
void http_url_text(const struct http_url *url, char *buf, size_t len);

/* "host[:port]" as the Host header has it. */
void http_url_host(const struct http_url *url, char *buf, size_t len);

#endif
