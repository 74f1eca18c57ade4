/* SPDX-License-Identifier: PostgreSQL
 *
 * main.c -- probectl-ingest: takes what producers send and hands it to the database, or to
 * Kafka, from where another process of this program takes it to the database (role consume).
 *
 * Two threads. This one runs the event loop: database connections (db.c), signals, status
 * socket. The other one runs gRPC (server.c). The process keeps no state: whatever was not
 * acknowledged is still with its producer, so it may die at any moment.
 *
 * Stopping: no new calls, the database answers what it has, every call ends; what takes
 * longer than STOP_MS is cut off.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "ingest/bus.h"
#include "ingest/consume.h"
#include "ingest/db.h"
#include "ingest/server.h"
#include "ingest/stats.h"
#include "lib/conf.h"
#include "lib/log.h"
#include "lib/metrics.h"

/* How long a stop waits for the database, and then for gRPC. */
#define STOP_MS     3000
#define STOP_CUT_MS 1000

enum role
{
	ROLE_SERVE,
	ROLE_CONSUME,
};

static const char *const role_names[] = {"serve", "consume", NULL};

struct settings
{
	int role;
	struct bus_settings bus;
	char *listen, *database, *cert_file, *key_file, *ca_file, *status_socket;
	int64_t connections, message_bytes, memory_bytes, streams;
	int log_level;
};

#define KEY(field) offsetof(struct settings, field)
#define BUS(field) offsetof(struct settings, bus.field)

static const struct conf_key keys[] = {
    {"role", CONF_ENUM, KEY(role), .def = "serve", .choices = role_names,
     .help = "serve agents, or consume what other processes put on the bus"},
    {"listen", CONF_STRING, KEY(listen), .def = "127.0.0.1:9443", .flags = CONF_REQUIRED,
     .help = "address and port to listen on"},
    {"database", CONF_STRING, KEY(database), .def = "dbname=probectl user=probectl_ingest",
     .flags = CONF_REQUIRED | CONF_SECRET, .help = "libpq connection string or URI"},
    {"connections", CONF_INT, KEY(connections), .def = "4", .min = 1, .max = 64,
     .help = "connections to the database"},
    {"tls.cert_file", CONF_STRING, KEY(cert_file),
     .help = "certificate of this server and its intermediates, PEM"},
    {"tls.key_file", CONF_STRING, KEY(key_file), .help = "its private key, PEM"},
    {"tls.ca_file", CONF_STRING, KEY(ca_file),
     .help = "certificates that agents are verified with, PEM"},
    {"limits.message_bytes", CONF_BYTES, KEY(message_bytes), .def = "4 MiB", .min = 65536,
     .max = 64 * 1024 * 1024, .help = "largest message of a producer"},
    {"limits.memory_bytes", CONF_BYTES, KEY(memory_bytes), .def = "256 MiB", .min = 8 * 1024 * 1024,
     .max = INT64_C(1) << 40,
     .help = "batches held until they are committed; beyond it, producers wait"},
    {"limits.streams", CONF_INT, KEY(streams), .def = "10000", .min = 1, .max = 1000000,
     .help = "streams of results that may be open"},
    {"bus.mode", CONF_ENUM, BUS(mode), .def = "memory", .choices = bus_mode_names,
     .help = "memory: batches go to the database; kafka: to a broker"},
    {"bus.brokers", CONF_STRING, BUS(brokers), .help = "brokers to start with, host:port,..."},
    {"bus.tls", CONF_BOOL, BUS(tls), .def = "true",
     .help = "TLS to the brokers; false is for a machine by itself"},
    {"bus.ca_file", CONF_STRING, BUS(ca_file),
     .help = "certificates that brokers are verified with, PEM; unset: the system's"},
    {"bus.cert_file", CONF_STRING, BUS(cert_file), .help = "client certificate for brokers, PEM"},
    {"bus.key_file", CONF_STRING, BUS(key_file), .help = "its private key, PEM"},
    {"bus.sasl", CONF_ENUM, BUS(sasl), .def = "none", .choices = bus_sasl_names,
     .help = "how to sign in to the brokers"},
    {"bus.username", CONF_STRING, BUS(username), .help = "name to sign in with"},
    {"bus.password_file", CONF_STRING, BUS(password_file),
     .help = "file whose first line is the password"},
    {"bus.seal_key_file", CONF_STRING, BUS(seal_key_file),
     .help = "file with a secret of all ingest processes that records are sealed with"},
    {"bus.group", CONF_STRING, BUS(group), .def = "probectl",
     .help = "consumers of one group share the partitions"},
    {"bus.partitions", CONF_INT, BUS(partitions), .def = "12", .min = 1, .max = 10000,
     .help = "partitions of a topic that are used; the same everywhere"},
    {"bus.buckets", CONF_INT, BUS(buckets), .def = "8", .min = 1, .max = 10000,
     .help = "keys of a tenant, over which its agents are spread; the same everywhere"},
    {"bus.create_topics", CONF_BOOL, BUS(create_topics), .def = "true",
     .help = "make topics that are missing"},
    {"bus.replication", CONF_INT, BUS(replication), .def = "0", .min = 0, .max = 100,
     .help = "copies of such topics; 0: as the cluster has it"},
    {"bus.timeout", CONF_DURATION, BUS(timeout_ms), .def = "30s", .min = 1000, .max = 600000,
     .help = "until a batch that no broker took is given back to its agent"},
    {"bus.session_timeout", CONF_DURATION, BUS(session_ms), .def = "10s", .min = 1000,
     .max = 300000, .help = "until the partitions of a silent consumer go to others"},
    {"status_socket", CONF_STRING, KEY(status_socket),
     .help = "Unix socket that serves GET /metrics"},
    CONF_KEY_LOG_LEVEL(KEY(log_level)),
};

static struct
{
	struct settings settings;
	struct conf conf;
	bool checking; /* --check-config was given */
	struct event_base *base;
	struct db *db;
	struct bus *bus;           /* bus.mode kafka */
	struct consumer *consumer; /* role consume */
	struct event *stop_timer, *stopped;
	int stopped_fd;
	bool stopping, cut;
} self;

/* A consumer listens to nobody. */
static bool
tls_given(const struct settings *settings, struct conf_error *error)
{
	const struct
	{
		const char *name, *value;
	} files[] = {{"tls.cert_file", settings->cert_file},
	             {"tls.key_file", settings->key_file},
	             {"tls.ca_file", settings->ca_file}};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (files[i].value == NULL || files[i].value[0] == '\0')
			return conf_fail(error, 0, "%s is not set", files[i].name);
	return true;
}

/* Files and the database are looked at for --check-config only: a process that starts handles
 * them by itself, with another exit code. */
static bool
settings_check(const void *arg, struct conf_error *error)
{
	const struct settings *settings = arg;
	char text[400];

	if (!db_conninfo_check(settings->database, text, sizeof(text)))
		return conf_fail(error, 0, "database: %s", text);
	if (settings->role == ROLE_CONSUME && settings->bus.mode != BUS_KAFKA)
		return conf_fail(error, 0, "role: there is nothing to consume when bus.mode is memory");
	if (settings->role == ROLE_SERVE && !tls_given(settings, error))
		return false;
	if (!kafka_check(&settings->bus, self.checking, text, sizeof(text)))
		return conf_fail(error, 0, "%s", text);
	if (!self.checking)
		return true;
	if (settings->role == ROLE_SERVE && !server_check_files(settings->cert_file, settings->key_file,
	                                                        settings->ca_file, text, sizeof(text)))
		return conf_fail(error, 0, "%s", text);
	if (db_probe(settings->database, text, sizeof(text)) != NULL)
		fprintf(stderr,
		        "probectl-ingest: note: the database does not answer (%s); a running process keeps "
		        "trying\n",
		        text);
	return true;
}

static const struct conf_spec spec = {
    .process = "ingest",
    .summary = "take results from agents over gRPC and commit them to the database",
    .keys = keys,
    .key_count = sizeof(keys) / sizeof(keys[0]),
    .size = sizeof(struct settings),
    .check = settings_check,
};

/* ---- stopping ---- */

static void
stop_timeout(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval cut = {STOP_CUT_MS / 1000, STOP_CUT_MS % 1000 * 1000};

	if (self.cut)
	{
		log_error("ingest", NULL, "gRPC does not end its calls; leaving without it");
		_exit(0); /* nothing unacknowledged is lost: it is with the producers */
	}
	self.cut = true;
	log_warning("ingest", NULL, "the database did not answer in time, cutting off");
	db_abort(self.db);
	if (self.bus != NULL)
		bus_abort(self.bus);
	if (self.consumer == NULL)
		server_cancel();
	event_add(self.stop_timer, &cut);
}

static void work_stopped(void);

static void
stop_signal(evutil_socket_t signal, short what, void *arg)
{
	static const struct timeval wait = {STOP_MS / 1000, STOP_MS % 1000 * 1000};

	if (self.stopping)
		return;
	self.stopping = true;
	log_info("ingest", NULL, "stopping");
	event_add(self.stop_timer, &wait);
	if (self.consumer != NULL)
		consume_stop(self.consumer, work_stopped);
	else
		server_stop();
}

/* On the thread of gRPC, or on the loop's. */
static void
work_stopped(void)
{
	static const uint64_t one = 1;

	if (write(self.stopped_fd, &one, sizeof(one)) < 0)
		log_error("ingest", NULL, "cannot tell the event loop to end");
}

static void
stop_finished(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(self.base);
}

static void
reload_signal(evutil_socket_t signal, short what, void *arg)
{
	char err[600];

	if (!conf_reload(&self.conf, err, sizeof(err)))
		log_error("ingest", NULL, "settings not reloaded: %s", err);
	else if (self.consumer == NULL && !server_reload(err, sizeof(err)))
		log_error("ingest", NULL, "certificates not reloaded: %s", err);
	else
		log_info("ingest", NULL, "settings and certificates reloaded");
	log_set_level((enum log_level) self.settings.log_level);
}

/* ---- start ---- */

static void
signal_add(int number, event_callback_fn handler)
{
	struct event *event = evsignal_new(self.base, number, handler, NULL);

	if (event == NULL || event_add(event, NULL) != 0)
		log_fatal("ingest", NULL, "cannot handle signal %d", number);
}

static void
loop_create(void)
{
	self.base = event_base_new();
	if (self.base == NULL)
		log_fatal("ingest", NULL, "cannot make an event loop");
	signal(SIGPIPE, SIG_IGN);
	signal_add(SIGTERM, stop_signal);
	signal_add(SIGINT, stop_signal);
	signal_add(SIGHUP, reload_signal);
	self.stop_timer = event_new(self.base, -1, 0, stop_timeout, NULL);
	self.stopped_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	self.stopped = event_new(self.base, self.stopped_fd, EV_READ, stop_finished, NULL);
	if (self.stop_timer == NULL || self.stopped_fd < 0 || self.stopped == NULL ||
	    event_add(self.stopped, NULL) != 0)
		log_fatal("ingest", NULL, "cannot make its events");
}

/* A connected agent is one descriptor. */
static void
limit_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < (rlim_t) self.settings.streams + 64)
		log_warning("ingest", NULL,
		            "limits.streams is %lld but the process may open %llu files; raise LimitNOFILE",
		            (long long) self.settings.streams, (unsigned long long) limit.rlim_cur);
}

/* Consumers hear nothing of revocations: each record enters by itself. */
static void
notified_nobody(const char *payload)
{
}

static void
serve_start(void)
{
	struct server_settings server = {.stopped = work_stopped};
	char err[600];

	server.listen = self.settings.listen;
	server.cert_file = self.settings.cert_file;
	server.key_file = self.settings.key_file;
	server.ca_file = self.settings.ca_file;
	server.message_bytes = self.settings.message_bytes;
	server.memory_bytes = self.settings.memory_bytes;
	server.streams = self.settings.streams;
	if (!server_start(&server, err, sizeof(err)))
		log_fatal("ingest", NULL, "%s", err);
}

static void
work_start(void)
{
	struct db_settings db = {.notified = server_notified};

	if (self.settings.role == ROLE_CONSUME)
		db.notified = notified_nobody;
	else
		serve_start();
	db.conninfo = self.settings.database;
	db.connections = (int) self.settings.connections;
	self.db = db_start(self.base, &db);
	self.settings.bus.record_bytes = self.settings.message_bytes;
	if (self.settings.bus.mode == BUS_KAFKA)
		self.bus = bus_start(self.base, &self.settings.bus, self.db);
	if (self.settings.role == ROLE_CONSUME)
	{
		self.consumer = consume_start(self.base, &self.settings.bus, self.bus, self.db,
		                              self.settings.memory_bytes);
		log_info("ingest", NULL, "consuming from %s", self.settings.bus.brokers);
		return;
	}
	server_run(self.db, self.bus);
	log_info("ingest", NULL, "serving on %s", self.settings.listen);
}

int
main(int argc, char **argv)
{
	struct metrics_server *status = NULL;
	char err[600];

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--check-config") == 0)
			self.checking = true;
	conf_start(&self.conf, &spec, &self.settings, argc, argv);
	log_set_level((enum log_level) self.settings.log_level);
	metrics_init("ingest");
	stats_start();
	limit_files();
	loop_create();
	if (self.settings.status_socket != NULL && self.settings.status_socket[0] != '\0')
	{
		status = metrics_serve(self.base, self.settings.status_socket, err, sizeof(err));
		if (status == NULL)
			log_fatal("ingest", NULL, "%s", err);
	}
	work_start();

	event_base_dispatch(self.base);

	if (self.consumer == NULL)
		server_join();
	consume_free(self.consumer);
	bus_free(self.bus);
	db_free(self.db);
	metrics_stop(status);
	log_info("ingest", NULL, "stopped");
	conf_free(&self.conf);
	return 0;
}
