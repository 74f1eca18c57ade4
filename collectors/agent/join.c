/* SPDX-License-Identifier: PostgreSQL
 *
 * join.c -- see join.h. The token file goes when the identity is durable, not before: an
 * answer that is lost on the way is asked for again with the same key.
 */
#include "agent/join.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <event2/event.h>

#include "agent/probe.h"
#include "agent/resolver.h"
#include "agent/settings.h"
#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"

struct join
{
	struct event_base *base;
	struct resolver *resolver;
	const struct settings *settings;
	struct resolver_query *query;
	struct enroll *enroll;
	struct event *retry;
	struct backoff backoff;
	char *token;
	char host[256];
	uint16_t port;
	unsigned attempt;
	join_done done;
	void *arg;
};

static void
join_end(struct join *j, const char *why_not)
{
	join_done done = j->done;
	void *arg = j->arg;

	join_free(j);
	done(why_not, arg);
}

static void
join_again(struct join *j, const char *why)
{
	struct timeval delay;
	uint32_t random = 0;
	int64_t ms;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t) clock_mono_nano();
	ms = backoff_down(&j->backoff, clock_mono_nano(), random);
	log_warning("enroll", j->settings->enroll_server, "%s; next attempt in %" PRId64 " ms", why,
	            ms);
	j->attempt++;
	delay = clock_timeval(ms * NANO_PER_MS);
	event_add(j->retry, &delay);
}

static void
enrolled(enum enroll_outcome outcome, const char *text, void *arg)
{
	struct join *j = arg;
	const char *file = j->settings->enroll_token_file;

	j->enroll = NULL;
	switch (outcome)
	{
		case ENROLL_DONE:
			log_info("enroll", j->settings->enroll_server, "enrolled as %s", text);
			if (file && unlink(file) != 0 && errno != ENOENT)
				log_warning("enroll", file, "the used join token cannot be removed: %s",
				            strerror(errno));
			join_end(j, NULL);
			break;
		case ENROLL_REFUSED: join_end(j, text); break;
		case ENROLL_RETRY: join_again(j, text); break;
	}
}

static void
resolved(const struct resolver_answer *answer, void *arg)
{
	struct join *j = arg;
	const struct enroll_options options = {
	    .dir = j->settings->identity_dir,
	    .host = j->host,
	    .port = j->port,
	    .ca_file = j->settings->enroll_ca_file,
	    .token = j->token,
	    .hostname = settings_hostname(j->settings),
	};
	struct resolver_address address;
	char err[512];

	j->query = NULL;
	if (answer->error != ERROR_NONE || answer->count == 0)
	{
		join_again(j, answer->message);
		return;
	}
	address = answer->addresses[j->attempt % answer->count];
	probe_set_port(&address.addr, j->port);
	j->enroll = enroll_start(j->base, &options, (struct sockaddr *) &address.addr, address.len,
	                         enrolled, j, err, sizeof(err));
	if (!j->enroll)
		join_again(j, err);
}

static void
attempt_start(evutil_socket_t fd, short what, void *arg)
{
	struct join *j = arg;

	j->query = resolver_resolve(j->resolver, j->host, RESOLVER_ANY, resolved, j);
	if (!j->query)
		join_again(j, "out of memory for a look-up");
}

struct join *
join_start(struct event_base *base, struct resolver *resolver, const struct settings *settings,
           join_done done, void *arg, char *err, size_t errlen)
{
	const struct timeval now = {0};
	struct join *j;
	char *token;

	if (!settings->enroll_server)
	{
		snprintf(err, errlen,
		         "no identity in %s: set enroll.server, enroll.ca_file and a join token to enrol",
		         settings->identity_dir);
		return NULL;
	}
	token = enroll_token(settings->enroll_token_file, err, errlen);
	if (!token)
		return NULL;
	j = mem_alloc(sizeof(*j));
	j->base = base;
	j->resolver = resolver;
	j->settings = settings;
	j->token = token;
	j->done = done;
	j->arg = arg;
	/* settings_check has seen the URL. */
	enroll_url_parse(settings->enroll_server, j->host, sizeof(j->host), &j->port);
	backoff_init(&j->backoff, 1000, 30000, 60000);
	j->retry = evtimer_new(base, attempt_start, j);
	if (!j->retry)
		log_fatal("enroll", NULL, "out of memory for a timer");
	event_add(j->retry, &now);
	return j;
}

void
join_free(struct join *j)
{
	if (!j)
		return;
	if (j->query)
		resolver_cancel(j->query);
	enroll_cancel(j->enroll);
	event_free(j->retry);
	crypto_wipe(j->token);
	free(j->token);
	free(j);
}
