/* SPDX-License-Identifier: PostgreSQL
 *
 * resolvconf.c -- what the hosts file and resolv.conf say.
 *
 * Both are lines of words; one splitter serves them. The numbers of the options are
 * clamped to the ceilings of resolv.conf(5), so that a typing error cannot make a look-up last
 * for an hour.
 */
#include "agent/resolvconf.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/probe.h"
#include "agent/dnswire.h"

#define WORD_MAX 256

struct words
{
	const char *at, *end;
};

/* The next word of a line; a comment ends it. False at the end of the line. Words that are too
 * long for anything meaningful are passed over. */
static bool
next_word(struct words *words, char word[WORD_MAX])
{
	for (;;)
	{
		const char *start;
		size_t len;

		while (words->at < words->end && isspace((unsigned char) *words->at))
			words->at++;
		if (words->at == words->end || *words->at == '#' || *words->at == ';')
			return false;
		start = words->at;
		while (words->at < words->end && !isspace((unsigned char) *words->at) && *words->at != '#')
			words->at++;
		len = (size_t) (words->at - start);
		if (len >= WORD_MAX || memchr(start, '\0', len))
			continue;
		memcpy(word, start, len);
		word[len] = '\0';
		return true;
	}
}

static bool
next_line(const char **text, size_t *len, struct words *words)
{
	const char *newline;

	if (*len == 0)
		return false;
	newline = memchr(*text, '\n', *len);
	words->at = *text;
	words->end = newline ? newline : *text + *len;
	*len -= (size_t) (words->end - *text);
	*text = words->end;
	if (newline)
	{
		(*text)++;
		(*len)--;
	}
	return true;
}

static void
add_server(struct resolvconf *conf, const char *word, uint16_t port)
{
	struct resolver_address *server = &conf->servers[conf->server_count];

	if (conf->server_count == RESOLVCONF_SERVERS_MAX || !resolver_literal(word, server))
		return;
	probe_set_port(&server->addr, port);
	conf->server_count++;
}

static void
set_search(struct resolvconf *conf, struct words *words, size_t max)
{
	char word[WORD_MAX];
	struct dns_name name;

	conf->search_count = 0;
	while (conf->search_count < max && next_word(words, word))
	{
		size_t len = strlen(word);

		if (len > 0 && word[len - 1] == '.')
			word[--len] = '\0';
		if (dns_name_parse(word, &name))
			memcpy(conf->search[conf->search_count++], word, len + 1);
	}
}

static void
set_option(struct resolvconf *conf, const char *word)
{
	const struct
	{
		const char *prefix;
		unsigned *value;
		unsigned min, max;
	} options[] = {{"ndots:", &conf->ndots, 0, RESOLVCONF_NDOTS_MAX},
	               {"timeout:", &conf->timeout, 1, RESOLVCONF_TIMEOUT_MAX},
	               {"attempts:", &conf->attempts, 1, RESOLVCONF_ATTEMPTS_MAX}};

	if (strcmp(word, "rotate") == 0)
		conf->rotate = true;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
	{
		size_t len = strlen(options[i].prefix);
		unsigned long value;

		if (strncmp(word, options[i].prefix, len) != 0 || !isdigit((unsigned char) word[len]))
			continue;
		value = strtoul(word + len, NULL, 10);
		value = value < options[i].min ? options[i].min : value;
		*options[i].value = (unsigned) (value > options[i].max ? options[i].max : value);
	}
}

void
resolvconf_parse(struct resolvconf *conf, const char *text, size_t len, uint16_t port)
{
	struct words words;
	char word[WORD_MAX];

	memset(conf, 0, sizeof(*conf));
	conf->ndots = 1;
	conf->timeout = 5;
	conf->attempts = 2;
	while (next_line(&text, &len, &words))
	{
		if (!next_word(&words, word))
			continue;
		if (strcmp(word, "nameserver") == 0)
		{
			if (next_word(&words, word))
				add_server(conf, word, port);
		}
		else if (strcmp(word, "search") == 0)
			set_search(conf, &words, RESOLVCONF_SEARCH_MAX);
		else if (strcmp(word, "domain") == 0)
			set_search(conf, &words, 1);
		else if (strcmp(word, "options") == 0)
			while (next_word(&words, word))
				set_option(conf, word);
	}
	if (conf->server_count == 0)
		add_server(conf, "127.0.0.1", port);
}

static bool
hosts_add(struct hosts *hosts, size_t *room, const struct resolver_address *address, char *word)
{
	if (hosts->count == *room)
	{
		size_t more = *room ? *room * 2 : 16;
		struct hosts_entry *grown = reallocarray(hosts->entries, more, sizeof(*grown));

		if (grown == NULL)
			return false;
		hosts->entries = grown;
		*room = more;
	}
	for (char *p = word; *p; p++)
		*p = (char) tolower((unsigned char) *p);
	hosts->entries[hosts->count].address = *address;
	hosts->entries[hosts->count].name = strdup(word);
	if (hosts->entries[hosts->count].name == NULL)
		return false;
	hosts->count++;
	return true;
}

bool
hosts_parse(struct hosts *hosts, const char *text, size_t len)
{
	struct resolver_address address;
	struct words words;
	char word[WORD_MAX];
	size_t room = 0;

	memset(hosts, 0, sizeof(*hosts));
	while (next_line(&text, &len, &words))
	{
		if (!next_word(&words, word) || !resolver_literal(word, &address))
			continue;
		while (next_word(&words, word))
			if (!hosts_add(hosts, &room, &address, word))
			{
				hosts_free(hosts);
				return false;
			}
	}
	return true;
}

void
hosts_free(struct hosts *hosts)
{
	for (size_t i = 0; i < hosts->count; i++)
		free(hosts->entries[i].name);
	free(hosts->entries);
	memset(hosts, 0, sizeof(*hosts));
}
