/* SPDX-License-Identifier: PostgreSQL
 *
 * events.c -- event streams, separated by tenant.
 *
 * Streams hang on a hub, one per tenant, found by the tenant's text in a hash table. A kind
 * is sent at once when the tenant has not had it for 1/EVENTS_PER_SECOND s, otherwise
 * remembered and sent when that time is over: thousands of notifications become a few
 * events, and the last one is never lost. Kinds are learned from notifications, up to a limit.
 */
#include "gateway/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "gateway/conn.h"
#include "gateway/db.h"
#include "gateway/gateway.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/mem.h"

#define TENANT_LEN     36
#define KINDS_MAX      32
#define KIND_LEN_MAX   32
#define HUB_BUCKETS    1024
#define EVENT_GAP_MS   (1000 / EVENTS_PER_SECOND)
#define FLUSH_MS       20   /* how often remembered events are looked at */
#define CHECK_AGAIN_MS 1000 /* after a check without an answer */

struct stream
{
	TAILQ_ENTRY(stream) link;
	struct conn *conn;
	struct hub *hub;
	int64_t checked_at;
	int64_t comment_at;
	bool checking;
	char token[];
};

struct hub
{
	LIST_ENTRY(hub) link;
	LIST_ENTRY(hub) pending_link;
	bool pending;
	char tenant[TENANT_LEN + 1];
	TAILQ_HEAD(, stream) streams;
	int64_t sent_at[KINDS_MAX];
	bool waits[KINDS_MAX];
};

/* A re-check of one credential; it outlives the streams that asked. */
struct check
{
	char tenant[TENANT_LEN + 1];
	char token[];
};

LIST_HEAD(hub_list, hub);

static struct hub_list hubs[HUB_BUCKETS];
static struct hub_list pending_hubs;
static struct event *flush_ev;
static char kinds[KINDS_MAX][KIND_LEN_MAX + 1] = {"result", "test", "agent"};
static int kind_count = 3;
static size_t stream_count;
static bool degraded;

static struct hub_list *
hub_bucket(const char *tenant)
{
	return &hubs[hash_text(tenant) % HUB_BUCKETS];
}

static struct hub *
hub_find(const char *tenant)
{
	struct hub *h;

	LIST_FOREACH (h, hub_bucket(tenant), link)
		if (strcmp(h->tenant, tenant) == 0)
			return h;
	return NULL;
}

static struct hub *
hub_get(const char *tenant)
{
	struct hub *h = hub_find(tenant);

	if (h != NULL)
		return h;
	h = mem_alloc(sizeof *h);
	snprintf(h->tenant, sizeof h->tenant, "%s", tenant);
	TAILQ_INIT(&h->streams);
	LIST_INSERT_HEAD(hub_bucket(tenant), h, link);
	return h;
}

static void
hub_pending(struct hub *h, bool pending)
{
	if (h->pending == pending)
		return;
	h->pending = pending;
	if (pending)
		LIST_INSERT_HEAD(&pending_hubs, h, pending_link);
	else
		LIST_REMOVE(h, pending_link);
}

/* The connection of a stream ended. */
static void
stream_closed(struct conn *c)
{
	struct stream *s = c->owner;
	struct hub *h = s->hub;

	c->owner = NULL;
	TAILQ_REMOVE(&h->streams, s, link);
	stream_count--;
	metric_set(&gw_metrics[GW_STREAMS_OPEN], (int64_t) stream_count);
	explicit_bzero(s->token, strlen(s->token));
	free(s);
}

size_t
events_count(void)
{
	return stream_count;
}

void
events_subscribe(struct conn *c, const char *tenant, const char *token)
{
	static const char hello[] = "retry: 2000\n: open\n\n";
	static const char ill[] = "event: degraded\ndata: {}\n\n";
	struct stream *s = mem_alloc(sizeof *s + strlen(token) + 1);
	int64_t now = gw_now_ms();

	memcpy(s->token, token, strlen(token) + 1);
	s->conn = c;
	s->hub = hub_get(tenant);
	s->checked_at = now;
	s->comment_at = now + EVENTS_COMMENT_MS;
	TAILQ_INSERT_TAIL(&s->hub->streams, s, link);
	stream_count++;
	metric_set(&gw_metrics[GW_STREAMS_OPEN], (int64_t) stream_count);
	c->owner = s;
	c->on_close = stream_closed;
	conn_stream_begin(c);
	if (conn_stream_put(c, hello, sizeof hello - 1) && degraded)
		conn_stream_put(c, ill, sizeof ill - 1);
}

/* To every stream of a hub. A stream that cannot take it closes itself. */
static void
hub_send(struct hub *h, const char *kind)
{
	char frame[KIND_LEN_MAX + 32];
	int len = snprintf(frame, sizeof frame, "event: %s\ndata: {}\n\n", kind);
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&h->streams); s != NULL; s = next)
	{
		next = TAILQ_NEXT(s, link);
		if (conn_stream_put(s->conn, frame, (size_t) len))
			gw_count(GW_EVENTS_SENT);
	}
}

static void
all_send(const char *kind)
{
	struct hub *h;

	for (int i = 0; i < HUB_BUCKETS; i++)
		LIST_FOREACH (h, &hubs[i], link)
			hub_send(h, kind);
}

/* The number of a kind, learned when it is new; -1 when it is no kind. */
static int
kind_number(const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < kind_count; i++)
		if (strcmp(kinds[i], name) == 0)
			return i;
	if (len == 0 || len > KIND_LEN_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz_") != len ||
	    kind_count == KINDS_MAX)
		return -1;
	memcpy(kinds[kind_count], name, len + 1);
	return kind_count++;
}

static void
flush_arm(void)
{
	struct timeval tv = {.tv_usec = FLUSH_MS * 1000};

	if (!evtimer_pending(flush_ev, NULL))
		evtimer_add(flush_ev, &tv);
}

/* Sends what was remembered and whose time has come. */
static void
flush_event(evutil_socket_t fd, short what, void *arg)
{
	int64_t now = gw_now_ms();
	struct hub *h, *next;

	for (h = LIST_FIRST(&pending_hubs); h != NULL; h = next)
	{
		bool left = false;

		next = LIST_NEXT(h, pending_link);
		for (int k = 0; k < kind_count; k++)
		{
			if (!h->waits[k])
				continue;
			if (now - h->sent_at[k] < EVENT_GAP_MS)
			{
				left = true;
				continue;
			}
			h->waits[k] = false;
			h->sent_at[k] = now;
			hub_send(h, kinds[k]);
		}
		if (!left)
			hub_pending(h, false);
	}
	if (!LIST_EMPTY(&pending_hubs))
		flush_arm();
}

void
events_notified(const char *payload)
{
	char tenant[TENANT_LEN + 1];
	int64_t now = gw_now_ms();
	struct hub *h;
	int k;

	gw_count(GW_EVENTS_NOTIFIED);
	if (strlen(payload) < TENANT_LEN + 2 || payload[TENANT_LEN] != ' ' ||
	    (k = kind_number(payload + TENANT_LEN + 1)) < 0)
	{
		log_limited(LOG_LEVEL_WARNING, "events", NULL,
		            "notification is not a tenant and a kind: \"%.80s\"", payload);
		return;
	}
	memcpy(tenant, payload, TENANT_LEN);
	tenant[TENANT_LEN] = '\0';
	h = hub_find(tenant);
	if (h == NULL)
		return;
	if (now - h->sent_at[k] < EVENT_GAP_MS)
	{
		if (h->waits[k])
			gw_count(GW_EVENTS_COALESCED);
		h->waits[k] = true;
		hub_pending(h, true);
		flush_arm();
		return;
	}
	h->sent_at[k] = now;
	hub_send(h, kinds[k]);
}

void
events_degraded(void)
{
	if (degraded)
		return;
	degraded = true;
	all_send("degraded");
}

void
events_restored(void)
{
	if (!degraded)
		return;
	degraded = false;
	all_send("restored");
	for (int k = 0; k < kind_count; k++)
		all_send(kinds[k]);
}

/* ---- the credential behind a stream ------------------------------------------------ */

/* All streams of one credential share one check. */
static void
check_done(void *arg, enum db_fate fate, PGresult *res)
{
	struct check *check = arg;
	struct hub *h = hub_find(check->tenant);
	bool good = fate == DB_ANSWERED && PQntuples(res) == 1 && !PQgetisnull(res, 0, 0) &&
	            strcmp(PQgetvalue(res, 0, 0), check->tenant) == 0;
	bool ended = fate == DB_REFUSED || (fate == DB_ANSWERED && !good);
	int64_t now = gw_now_ms();
	struct stream *s, *next;

	for (s = h != NULL ? TAILQ_FIRST(&h->streams) : NULL; s != NULL; s = next)
	{
		next = TAILQ_NEXT(s, link);
		if (!s->checking || strcmp(s->token, check->token) != 0)
			continue;
		s->checking = false;
		s->checked_at = good ? now : now - EVENTS_RECHECK_MS + CHECK_AGAIN_MS;
		if (ended)
		{
			gw_count(GW_STREAMS_REVOKED);
			conn_close(s->conn);
		}
	}
	explicit_bzero(check->token, strlen(check->token));
	free(check);
}

static void
check_begin(struct hub *h, const struct stream *first)
{
	struct check *check = mem_alloc(sizeof *check + strlen(first->token) + 1);
	struct db_request r = {.statement = DB_TENANT, .done = check_done, .arg = check};
	struct stream *s;

	memcpy(check->tenant, h->tenant, sizeof check->tenant);
	memcpy(check->token, first->token, strlen(first->token) + 1);
	TAILQ_FOREACH (s, &h->streams, link)
		if (strcmp(s->token, check->token) == 0)
			s->checking = true;
	r.token = check->token;
	db_submit(&r);
}

/* The first stream of a hub whose credential is due; each check marks its whole group. */
static const struct stream *
hub_due(const struct hub *h, int64_t now)
{
	struct stream *s;

	TAILQ_FOREACH (s, &h->streams, link)
		if (!s->checking && now - s->checked_at >= EVENTS_RECHECK_MS)
			return s;
	return NULL;
}

static void
hub_tick(struct hub *h, int64_t now)
{
	static const char comment[] = ": still here\n\n";
	const struct stream *due;
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&h->streams); s != NULL; s = next)
	{
		next = TAILQ_NEXT(s, link);
		if (now < s->comment_at)
			continue;
		s->comment_at = now + EVENTS_COMMENT_MS;
		conn_stream_put(s->conn, comment, sizeof comment - 1);
	}
	while ((due = hub_due(h, now)) != NULL)
		check_begin(h, due);
}

void
events_tick(int64_t now_ms)
{
	struct hub *h, *next;

	if (stream_count == 0 && LIST_EMPTY(&pending_hubs))
		return;
	for (int i = 0; i < HUB_BUCKETS; i++)
		for (h = LIST_FIRST(&hubs[i]); h != NULL; h = next)
		{
			next = LIST_NEXT(h, link);
			hub_tick(h, now_ms);
			/* Kept while events wait, so that a reconnect cannot outrun the limit. */
			if (TAILQ_EMPTY(&h->streams) && !h->pending)
			{
				LIST_REMOVE(h, link);
				free(h);
			}
		}
}

void
events_start(void)
{
	flush_ev = evtimer_new(gw_base, flush_event, NULL);
	if (flush_ev == NULL)
		log_fatal("events", NULL, "out of memory for a timer");
}

void
events_stop(void)
{
	struct hub *h;

	for (int i = 0; i < HUB_BUCKETS; i++)
		while ((h = LIST_FIRST(&hubs[i])) != NULL)
		{
			struct stream *s;

			while ((s = TAILQ_FIRST(&h->streams)) != NULL)
				conn_close(s->conn);
			LIST_REMOVE(h, link);
			free(h);
		}
	if (flush_ev != NULL)
		event_free(flush_ev);
	flush_ev = NULL;
}
