/* SPDX-License-Identifier: PostgreSQL
 *
 * gateway.h -- what the modules of the gateway share: settings, counters, the clock.
 *
 * One thread, one libevent loop. The modules, from the socket inwards: conn (TLS
 * connections and HTTP framing), api (what a request means), db (the pipelined
 * connection pool), ctl (routes, readiness, LISTEN), events (event streams), site (web files).
 * No business rule lives here: a route, a permission, a limit of a tenant is the
 * database's.
 */
#ifndef PCTL_GATEWAY_GATEWAY_H
#define PCTL_GATEWAY_GATEWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/metrics.h"

struct event_base;

#define CONNECTIONS_DEFAULT "4"
#define CONNECTIONS_MIN     1
#define CONNECTIONS_MAX     64
#define BODY_BYTES_DEFAULT  "1MiB"
#define BODY_BYTES_MAX      (64 << 20)
#define STREAMS_DEFAULT     "1000"
#define CLIENTS_DEFAULT     "10000"
#define QUEUE_DEFAULT       "1024"

enum access_log
{
	ACCESS_OFF,
	ACCESS_ERRORS, /* status 500 and above, and slow requests */
	ACCESS_ALL
};

struct settings
{
	char *listen;
	char *database;
	int64_t connections;
	char *cert_file;
	char *key_file;
	char *web_root;
	char *public_url;
	char *status_socket;
	int64_t body_bytes;
	int64_t streams;
	int64_t clients;
	int64_t queue;
	int64_t request_ms; /* deadline of one request, queue included */
	int64_t slow_ms;    /* from here on a request is logged */
	int64_t startup_ms; /* how long the first contact with the database may take */
	int64_t drain_ms;
	int log_level;
	int access_log;
};

extern struct settings gw_settings;
extern struct event_base *gw_base;
extern bool gw_draining; /* SIGTERM was received: nothing new is begun */

/* Counters; the rows stand in main.c. */
enum gw_metric
{
	GW_REQ_2XX,
	GW_REQ_3XX,
	GW_REQ_4XX,
	GW_REQ_5XX,
	GW_REFUSED_QUEUE,
	GW_REFUSED_DATABASE,
	GW_REFUSED_DEADLINE,
	GW_REFUSED_THROTTLE,
	GW_REFUSED_CLIENTS,
	GW_CLIENTS_ACCEPTED,
	GW_CLIENTS_TLS_FAILED,
	GW_CLIENTS_TIMEOUT,
	GW_CLIENTS_OPEN,
	GW_STREAMS_OPEN,
	GW_STREAMS_SLOW,
	GW_STREAMS_REVOKED,
	GW_EVENTS_NOTIFIED,
	GW_EVENTS_SENT,
	GW_EVENTS_COALESCED,
	GW_DB_RECONNECTS,
	GW_DB_CONNECTED,
	GW_DB_QUEUED,
	GW_REQ_NANOSECONDS,
	GW_METRICS
};

extern struct metric gw_metrics[GW_METRICS];

#define gw_count(which) metric_add(&gw_metrics[which], 1)

/* Monotonic clock, read once per turn of the loop would be too coarse for latencies. */
int64_t gw_now_ms(void);
int64_t gw_now_ns(void);

/* A random number that need not be secret (request ids, jitter). */
uint64_t gw_random(void);

#endif
