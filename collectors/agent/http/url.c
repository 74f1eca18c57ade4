/* SPDX-License-Identifier: PostgreSQL
 *
 * url.c -- http and https URLs.
 *
 * A reference is split into scheme, authority, path and query and then put together with
 * its base (RFC 3986 section 5.2); the fragment never leaves the client.
 */
#include "agent/http/url.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/probe.h"

static uint32_t
default_port(bool tls)
{
	return tls ? 443 : 80;
}

/* "http://" or "https://" at the start of text: their length, else 0. */
static size_t
scheme_length(const char *text, bool *tls)
{
	*tls = strncasecmp(text, "https://", 8) == 0;
	if (*tls)
		return 8;
	return strncasecmp(text, "http://", 7) == 0 ? 7 : 0;
}

static bool
parse_authority(const char *text, size_t len, struct http_url *url, char *err, size_t errlen)
{
	struct probe_target target;
	char authority[300];

	if (len >= sizeof(authority))
	{
		snprintf(err, errlen, "target: the host of the URL is too long");
		return false;
	}
	memcpy(authority, text, len);
	authority[len] = '\0';
	if (strchr(authority, '@'))
	{
		snprintf(err, errlen, "target: a URL must not hold a user name or password");
		return false;
	}
	/* "host:" means the default port. */
	if (len > 0 && authority[len - 1] == ':')
		authority[len - 1] = '\0';
	if (strchr(authority, ':') != strrchr(authority, ':') && authority[0] != '[')
	{
		snprintf(err, errlen, "target: write an IPv6 address in a URL in brackets");
		return false;
	}
	if (!probe_target_parse(authority, &target, err, errlen))
		return false;
	snprintf(url->host, sizeof(url->host), "%s", target.host);
	url->port = target.port ? target.port : default_port(url->tls);
	return true;
}

/* Copies path and query; what may not stand in a request line is percent-encoded. */
static bool
copy_path(const char *text, size_t len, struct http_url *url, char *err, size_t errlen)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	if (len == 0 || text[0] != '/')
		url->path[n++] = '/';
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];
		bool plain = c > 0x20 && c < 0x7f && c != '"' && c != '<' && c != '>';

		if (n + 4 > sizeof(url->path))
		{
			snprintf(err, errlen, "target: path and query of the URL are longer than %d bytes",
			         HTTP_PATH_MAX - 4);
			return false;
		}
		if (plain)
			url->path[n++] = (char) c;
		else
		{
			url->path[n++] = '%';
			url->path[n++] = hex[c >> 4];
			url->path[n++] = hex[c & 15];
		}
	}
	url->path[n] = '\0';
	return true;
}

static bool
parse_absolute(const char *text, struct http_url *url, char *err, size_t errlen)
{
	size_t scheme = scheme_length(text, &url->tls), authority;

	if (scheme == 0)
	{
		snprintf(err, errlen, "target: must be a URL that starts with http:// or https://");
		return false;
	}
	text += scheme;
	authority = strcspn(text, "/?#");
	return parse_authority(text, authority, url, err, errlen) &&
	       copy_path(text + authority, strcspn(text + authority, "#"), url, err, errlen);
}

struct http_url *
http_url_keep(const struct http_url *url)
{
	size_t len = offsetof(struct http_url, path) + strlen(url->path) + 1;
	struct http_url *kept = malloc(len);

	if (kept)
		memcpy(kept, url, len);
	return kept;
}

void
http_url_copy(struct http_url *to, const struct http_url *kept)
{
	memcpy(to, kept, offsetof(struct http_url, path) + strlen(kept->path) + 1);
}

bool
http_url_parse(const char *text, struct http_url *url, char *err, size_t errlen)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f)
		{
			snprintf(err, errlen,
			         "target: write spaces and non-ASCII characters of a URL as %%XX, a host "
			         "name in its xn-- form");
			return false;
		}
	return parse_absolute(text, url, err, errlen);
}

/* RFC 3986 section 5.2.4 on the path alone, in place; it starts with '/'. */
static void
remove_dots(char *path)
{
	char *in = path, *out = path;

	while (*in)
	{
		size_t segment = 1 + strcspn(in + 1, "/"); /* with its leading slash */
		bool last = in[segment] == '\0';

		if (segment == 2 && in[1] == '.')
		{
			if (last)
				*out++ = '/';
		}
		else if (segment == 3 && in[1] == '.' && in[2] == '.')
		{
			while (out > path && *--out != '/')
				;
			if (last)
				*out++ = '/';
		}
		else
		{
			memmove(out, in, segment);
			out += segment;
		}
		in += segment;
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

/* Joins a relative path with the directory of the base's. */
static bool
merge_path(const struct http_url *base, const char *text, struct http_url *url, char *err,
           size_t errlen)
{
	char joined[3 * HTTP_PATH_MAX], query[HTTP_PATH_MAX] = "";
	size_t base_path = strcspn(base->path, "?"), len = strcspn(text, "#"),
	       path = strcspn(text, "?#");
	size_t directory = base_path;

	if (len >= HTTP_PATH_MAX) /* then joined holds the base's directory, this path and its query */
	{
		snprintf(err, errlen, "the redirect leads to a path that is too long");
		return false;
	}
	snprintf(query, sizeof(query), "%.*s", (int) (len - path), text + path);
	if (path == 0) /* nothing but a query, or nothing at all: the path stays */
	{
		if (len == 0)
			snprintf(joined, sizeof(joined), "%s", base->path);
		else
			snprintf(joined, sizeof(joined), "%.*s%s", (int) base_path, base->path, query);
		return copy_path(joined, strlen(joined), url, err, errlen);
	}
	while (directory > 0 && base->path[directory - 1] != '/')
		directory--;
	if (text[0] == '/')
		directory = 0;
	snprintf(joined, sizeof(joined), "%.*s%.*s", (int) directory, base->path, (int) path, text);
	remove_dots(joined);
	len = strlen(joined);
	snprintf(joined + len, sizeof(joined) - len, "%s", query); /* both are below HTTP_PATH_MAX */
	return copy_path(joined, strlen(joined), url, err, errlen);
}

bool
http_url_resolve(const struct http_url *base, const char *location, struct http_url *url, char *err,
                 size_t errlen)
{
	char absolute[HTTP_URL_MAX];
	size_t scheme = strspn(location, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.");
	bool tls;

	if (scheme_length(location, &tls))
		return parse_absolute(location, url, err, errlen);
	if (location[scheme] == ':' && scheme > 0)
	{
		snprintf(err, errlen, "the redirect leads to a scheme other than http and https");
		return false;
	}
	*url = *base;
	if (location[0] == '/' && location[1] == '/')
	{
		snprintf(absolute, sizeof(absolute), "%s:%s", base->tls ? "https" : "http", location);
		return parse_absolute(absolute, url, err, errlen);
	}
	return merge_path(base, location, url, err, errlen);
}

void
http_url_host(const struct http_url *url, char *buf, size_t len)
{
	bool v6 = strchr(url->host, ':') != NULL;
	char port[24] = "";

	if (url->port != default_port(url->tls))
		snprintf(port, sizeof(port), ":%u", url->port);
	snprintf(buf, len, "%s%s%s%s", v6 ? "[" : "", url->host, v6 ? "]" : "", port);
}

void
http_url_text(const struct http_url *url, char *buf, size_t len)
{
	char host[300];

	http_url_host(url, host, sizeof(host));
	snprintf(buf, len, "%s://%s%s", url->tls ? "https" : "http", host, url->path);
}
