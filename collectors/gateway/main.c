/* SPDX-License-Identifier: PostgreSQL
 *
 * main.c -- probectl-gateway: settings, signals, start and end.
 *
 * Order of the start: settings and certificate (exit 2), port (exit 1), then the
 * database, which may take limits.startup to answer for the first time (exit 1). Once it
 * has answered, its absence is a state, not an end: requests are answered 503 meanwhile.
 */
#include "gateway/gateway.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>
#include <libpq-fe.h>

#include "gateway/api.h"
#include "gateway/conn.h"
#include "gateway/ctl.h"
#include "gateway/db.h"
#include "gateway/events.h"
#include "gateway/site.h"
#include "gateway/tls.h"
#include "lib/conf.h"
#include "lib/log.h"

#define TICK_MS 100

struct settings gw_settings;
struct event_base *gw_base;
bool gw_draining;

static const char *const access_names[] = {"off", "errors", "all", NULL};

#define AT(member) offsetof(struct settings, member)

static const struct conf_key keys[] = {
    {"listen", CONF_STRING, AT(listen), .def = "127.0.0.1:8443", .flags = CONF_REQUIRED,
     .help = "address and port to serve HTTPS on"},
    {"database", CONF_STRING, AT(database), .flags = CONF_REQUIRED,
     .help = "libpq connection string of the database, as probectl_gateway"},
    {"connections", CONF_INT, AT(connections), .def = CONNECTIONS_DEFAULT, .min = CONNECTIONS_MIN,
     .max = CONNECTIONS_MAX, .help = "connections to the database for requests"},
    {"tls.cert_file", CONF_STRING, AT(cert_file), .flags = CONF_REQUIRED,
     .help = "PEM file of the server's certificate chain; read again on SIGHUP"},
    {"tls.key_file", CONF_STRING, AT(key_file), .flags = CONF_REQUIRED,
     .help = "PEM file of its key; read again on SIGHUP"},
    {"web_root", CONF_STRING, AT(web_root),
     .help = "folder of the built web files; read again on SIGHUP; empty serves none"},
    {"public_url", CONF_STRING, AT(public_url),
     .help = "https://host[:port] under which browsers reach the gateway, if not directly"},
    {"limits.body_bytes", CONF_BYTES, AT(body_bytes), .def = BODY_BYTES_DEFAULT, .min = 1024,
     .max = BODY_BYTES_MAX, .help = "largest body of a request"},
    {"limits.streams", CONF_INT, AT(streams), .def = STREAMS_DEFAULT, .min = 1, .max = 100000,
     .help = "event streams open at once"},
    {"limits.clients", CONF_INT, AT(clients), .def = CLIENTS_DEFAULT, .min = 8, .max = 1000000,
     .help = "client connections open at once"},
    {"limits.queue", CONF_INT, AT(queue), .def = QUEUE_DEFAULT, .min = 1, .max = 100000,
     .help = "requests that may wait for the database; beyond it 503"},
    {"limits.request", CONF_DURATION, AT(request_ms), .def = "10s", .min = 100, .max = 600000,
     .help = "longest time for one request, waiting included"},
    {"limits.startup", CONF_DURATION, AT(startup_ms), .def = "10s", .min = 100, .max = 600000,
     .help = "longest time until the database answers for the first time"},
    {"limits.drain", CONF_DURATION, AT(drain_ms), .def = "5s", .min = 0, .max = 600000,
     .help = "longest time for requests under way after SIGTERM"},
    {"log.access", CONF_ENUM, AT(access_log), .def = "errors", .choices = access_names,
     .flags = CONF_RELOADABLE, .help = "requests that are logged: none, failed and slow, or all"},
    {"log.slow", CONF_DURATION, AT(slow_ms), .def = "500ms", .min = 1, .max = 600000,
     .flags = CONF_RELOADABLE, .help = "from this duration on a request counts as slow"},
    CONF_KEY_LOG_LEVEL(AT(log_level)),
    {"status_socket", CONF_STRING, AT(status_socket),
     .help = "Unix socket that serves GET /metrics; empty serves none"},
};

static bool
check_settings(const void *settings, struct conf_error *err)
{
	const struct settings *s = settings;
	struct sockaddr_storage addr;
	int len = sizeof addr;
	char text[400], *message = NULL;
	PQconninfoOption *parsed;
	struct tls_ctx *tls;

	if (evutil_parse_sockaddr_port(s->listen, (struct sockaddr *) &addr, &len) != 0)
		return conf_fail(err, 0, "listen: \"%s\" is not an address and port such as 127.0.0.1:8443",
		                 s->listen);
	parsed = PQconninfoParse(s->database, &message);
	if (parsed == NULL)
	{
		conf_fail(err, 0, "database: %s", db_message(message, text, sizeof text));
		PQfreemem(message);
		return false;
	}
	PQconninfoFree(parsed);
	if (s->public_url != NULL && s->public_url[0] != '\0' && !api_is_origin(s->public_url))
		return conf_fail(err, 0, "public_url: \"%s\" is not https://host[:port]", s->public_url);
	tls = tls_ctx_load(s->cert_file, s->key_file, text, sizeof text);
	if (tls == NULL)
		return conf_fail(err, 0, "%s", text);
	tls_ctx_free(tls);
	return true;
}

static const struct conf_spec spec = {
    .process = "gateway",
    .summary = "serves the API, the event streams and the web files over HTTPS",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .size = sizeof(struct settings),
    .check = check_settings,
};

#define REQUESTS(status, label)                                                                    \
	[status] = METRIC_COUNTER("probectl_gateway_requests_total", "reason=\"" label "\"",           \
	                          "Requests answered, by class of status.")
#define REFUSED(row, label)                                                                        \
	[row] = METRIC_COUNTER("probectl_gateway_refused_total", "reason=\"" label "\"",               \
	                       "Requests and clients turned away, by reason.")
#define CLIENTS(row, label)                                                                        \
	[row] = METRIC_COUNTER("probectl_gateway_clients_total", "reason=\"" label "\"",               \
	                       "Client connections, by what happened.")
#define STREAMS(row, label)                                                                        \
	[row] = METRIC_COUNTER("probectl_gateway_streams_ended_total", "reason=\"" label "\"",         \
	                       "Event streams ended by the gateway, by reason.")
#define EVENTS(row, label)                                                                         \
	[row] = METRIC_COUNTER("probectl_gateway_events_total", "reason=\"" label "\"",                \
	                       "Notifications received, events sent, notifications merged.")

struct metric gw_metrics[GW_METRICS] = {
    REQUESTS(GW_REQ_2XX, "2xx"),
    REQUESTS(GW_REQ_3XX, "3xx"),
    REQUESTS(GW_REQ_4XX, "4xx"),
    REQUESTS(GW_REQ_5XX, "5xx"),
    REFUSED(GW_REFUSED_QUEUE, "queue"),
    REFUSED(GW_REFUSED_DATABASE, "database"),
    REFUSED(GW_REFUSED_DEADLINE, "deadline"),
    REFUSED(GW_REFUSED_THROTTLE, "throttle"),
    REFUSED(GW_REFUSED_CLIENTS, "clients"),
    CLIENTS(GW_CLIENTS_ACCEPTED, "accepted"),
    CLIENTS(GW_CLIENTS_TLS_FAILED, "tls"),
    CLIENTS(GW_CLIENTS_TIMEOUT, "timeout"),
    [GW_CLIENTS_OPEN] = METRIC_GAUGE("probectl_gateway_clients", NULL, "Client connections open."),
    [GW_STREAMS_OPEN] = METRIC_GAUGE("probectl_gateway_streams", NULL, "Event streams open."),
    STREAMS(GW_STREAMS_SLOW, "slow"),
    STREAMS(GW_STREAMS_REVOKED, "credential"),
    EVENTS(GW_EVENTS_NOTIFIED, "notified"),
    EVENTS(GW_EVENTS_SENT, "sent"),
    EVENTS(GW_EVENTS_COALESCED, "coalesced"),
    [GW_DB_RECONNECTS] = METRIC_COUNTER("probectl_gateway_database_failures_total", NULL,
                                        "Database connections lost or not made."),
    [GW_DB_CONNECTED] = METRIC_GAUGE("probectl_gateway_database_connections", NULL,
                                     "Database connections ready."),
    [GW_DB_QUEUED] = METRIC_GAUGE("probectl_gateway_queue", NULL,
                                  "Requests that wait for a connection."),
    [GW_REQ_NANOSECONDS] = {.name = "probectl_gateway_request_milliseconds_total",
                            .kind = METRIC_KIND_COUNTER,
                            .help = "Time from a request's head to its answer, summed.",
                            .divisor = 1000000},
};

int64_t
gw_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
gw_now_ms(void)
{
	return gw_now_ns() / 1000000;
}

uint64_t
gw_random(void)
{
	uint64_t v;

	evutil_secure_rng_get_bytes(&v, sizeof v);
	return v;
}

static struct conf conf;
static int64_t started_ms, drain_until_ms;

/* Certificates and web files are taken over only when they are good. */
static void
reload(evutil_socket_t signo, short what, void *arg)
{
	char err[400];
	struct tls_ctx *tls;
	struct site *site;

	if (!conf_reload(&conf, err, sizeof err))
		log_error("main", NULL, "settings not reloaded: %s", err);
	log_set_level((enum log_level) gw_settings.log_level);
	tls = tls_ctx_load(gw_settings.cert_file, gw_settings.key_file, err, sizeof err);
	if (tls != NULL)
		conn_set_tls(tls);
	else
		log_error("main", NULL, "certificate not reloaded: %s", err);
	site = site_load(gw_settings.web_root, err, sizeof err);
	if (site != NULL)
		api_set_site(site);
	else
		log_error("main", NULL, "web files not reloaded: %s", err);
	ctl_reload();
	log_info("main", NULL, "reloaded");
}

static void
terminate(evutil_socket_t signo, short what, void *arg)
{
	if (gw_draining)
	{
		event_base_loopbreak(gw_base);
		return;
	}
	gw_draining = true;
	drain_until_ms = gw_now_ms() + gw_settings.drain_ms;
	log_info("main", NULL, "shutting down, %zu requests under way", db_pending());
	conn_listen_stop();
	conn_drain();
}

static void
check_start(int64_t now)
{
	static bool answered;
	bool fatal;
	const char *error = ctl_last_error(&fatal);

	/* Without its workers it is not ready, but it is the right one. */
	answered = answered || (ctl_ever_ready() && db_ready_count() > 0);
	if (answered)
		return;
	if (fatal)
		log_fatal(
		    "main", NULL,
		    "the database lacks what the gateway needs: %s; run CREATE EXTENSION probectl there "
		    "and log in as probectl_gateway",
		    error);
	if (now - started_ms > gw_settings.startup_ms)
		log_fatal("main", NULL, "no database after %lld ms: %s; start it or change `database`",
		          (long long) gw_settings.startup_ms,
		          error[0] != '\0' ? error : "no connection for requests");
}

static void
tick(evutil_socket_t fd, short what, void *arg)
{
	int64_t now = gw_now_ms();

	db_tick(now);
	ctl_tick(now);
	events_tick(now);
	conn_tick(now);
	check_start(now);
	if (gw_draining && (conn_count() == 0 || now > drain_until_ms))
		event_base_loopbreak(gw_base);
}

/* Every client and every file needs a descriptor. */
static void
raise_limits(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	if ((int64_t) lim.rlim_cur < gw_settings.clients + gw_settings.connections + 32)
		log_warning("main", NULL, "only %llu file descriptors for limits.clients %lld",
		            (unsigned long long) lim.rlim_cur, (long long) gw_settings.clients);
}

static void
on_signal(int signo, event_callback_fn callback)
{
	struct event *ev = evsignal_new(gw_base, signo, callback, NULL);

	if (ev == NULL || event_add(ev, NULL) != 0)
		log_fatal("main", NULL, "cannot watch signal %d", signo);
}

static void
start(struct metrics_server **status)
{
	struct timeval every = {.tv_usec = TICK_MS * 1000};
	struct event *ticker;
	struct site *site;
	char err[400];

	conn_set_tls(tls_ctx_load(gw_settings.cert_file, gw_settings.key_file, err, sizeof err));
	site = site_load(gw_settings.web_root, err, sizeof err);
	if (site == NULL)
		log_fatal("main", NULL, "%s", err);
	api_start();
	api_set_site(site);
	events_start();
	if (!conn_listen(gw_settings.listen, err, sizeof err))
		log_fatal("main", NULL, "%s", err);
	if (gw_settings.status_socket != NULL && gw_settings.status_socket[0] != '\0')
	{
		*status = metrics_serve(gw_base, gw_settings.status_socket, err, sizeof err);
		if (*status == NULL)
			log_fatal("main", NULL, "status_socket: %s", err);
	}
	log_info("main", gw_settings.listen, "serving HTTPS, %zu web files", site_count(site));

	started_ms = gw_now_ms();
	ctl_start(gw_settings.database);
	db_start(gw_settings.database, (int) gw_settings.connections);
	on_signal(SIGTERM, terminate);
	on_signal(SIGINT, terminate);
	on_signal(SIGHUP, reload);
	ticker = event_new(gw_base, -1, EV_PERSIST, tick, NULL);
	if (ticker == NULL || event_add(ticker, &every) != 0)
		log_fatal("main", NULL, "out of memory for a timer");
}

int
main(int argc, char **argv)
{
	struct metrics_server *status = NULL;

	conf_start(&conf, &spec, &gw_settings, argc, argv);
	log_set_level((enum log_level) gw_settings.log_level);
	signal(SIGPIPE, SIG_IGN);
	raise_limits();
	metrics_init("gateway");
	metrics_register(gw_metrics, GW_METRICS);
	gw_base = event_base_new();
	if (gw_base == NULL)
		log_fatal("main", NULL, "cannot make an event loop");

	start(&status);
	event_base_dispatch(gw_base);

	conn_listen_stop();
	conn_stop();
	events_stop();
	db_stop();
	ctl_stop();
	api_stop();
	conn_set_tls(NULL);
	metrics_stop(status);
	conf_free(&conf);
	log_info("main", NULL, "stopped");
	return 0;
}
