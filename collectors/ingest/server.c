/* SPDX-License-Identifier: PostgreSQL
 *
 * server.c -- the gRPC server: its one thread, its mail box, its start and its end.
 *
 * One thread takes completions from one queue and owns every call. Other threads reach it by
 * mail: answered requests and events are put into a locked box, and the thread is woken by an
 * empty batch on a call of a lame channel. A batch without operations completes at once, which makes
 * it the one way of gRPC's C API to post a tag to a queue.
 */
#include "ingest/server.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include "ingest/call.h"
#include "ingest/tls.h"
#include "lib/log.h"
#include "lib/mem.h"

/* Calls gRPC may hand over before the thread asks for more. */
#define SERVER_ACCEPTS 64

/* Streams of one connection: an agent has one of results, one pull and now and then a
 * small call; the rest is for calls that are ending. */
#define SERVER_CONNECTION_STREAMS 16

/* Events of the database that wait for the thread; beyond that all tenants are taken as
 * changed, which is correct and costs a question per waiting agent. */
#define SERVER_EVENTS_MAX 64

struct server_accept
{
	struct tag tag;
	grpc_call *call;
	grpc_call_details details;
	grpc_metadata_array metadata;
};

/* Tenants of which something was told. */
struct server_events
{
	uint8_t tenants[SERVER_EVENTS_MAX][16];
	int count;
	bool all;
};

static struct
{
	struct server server;
	struct server_settings settings;
	grpc_channel *lame;
	grpc_call *wake_call;
	struct tag wake_tag, shutdown_tag;
	pthread_t thread;
	struct server_accept accepts[SERVER_ACCEPTS];
	bool shut_down, told;

	/* The mail box: everything below belongs to the lock. */
	pthread_mutex_t lock;
	struct db_request *answered, **answered_tail;
	struct server_events tests, revoked;
	bool stop, cancel, woken;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- mail ---- */

/* Caller holds the lock. */
static void
mail_wake(void)
{
	if (self.woken)
		return;
	self.woken = true;
	grpc_call_start_batch(self.wake_call, NULL, 0, &self.wake_tag, NULL);
}

void
server_mail(struct db_request *request)
{
	pthread_mutex_lock(&self.lock);
	request->next = NULL;
	*self.answered_tail = request;
	self.answered_tail = &request->next;
	mail_wake();
	pthread_mutex_unlock(&self.lock);
}

/* ---- events ---- */

/* Caller holds the lock. */
static void
events_add(struct server_events *events, const uint8_t tenant[16])
{
	int i;

	for (i = 0; i < events->count; i++)
		if (memcmp(events->tenants[i], tenant, 16) == 0)
			return;
	if (i == SERVER_EVENTS_MAX)
		events->all = true;
	else
		memcpy(events->tenants[events->count++], tenant, 16);
}

/* Caller holds the lock. */
static void
events_take(struct server_events *from, struct server_events *to)
{
	to->count = from->count;
	to->all = from->all;
	memcpy(to->tenants, from->tenants, sizeof(from->tenants[0]) * (size_t) from->count);
	from->count = 0;
	from->all = false;
}

static void
events_tell(const struct server_events *events,
            void (*tell)(struct server *server, const uint8_t tenant[16]))
{
	if (events->all)
		tell(&self.server, NULL);
	else
		for (int i = 0; i < events->count; i++)
			tell(&self.server, events->tenants[i]);
}

/* "<uuid> test", "<uuid> a2a": its tests, or sessions between its agents, changed; "<uuid> revoked": an agent of it, or all, may have lost its
 * right. The other kinds do not matter here. */
void
server_notified(const char *payload)
{
	uint8_t tenant[16];
	const char *kind = NULL;

	if (payload != NULL && strlen(payload) > SPIFFE_UUID_LEN &&
	    spiffe_uuid_parse(payload, SPIFFE_UUID_LEN, tenant))
		kind = payload + SPIFFE_UUID_LEN;
	pthread_mutex_lock(&self.lock);
	if (payload == NULL)
		self.tests.all = self.revoked.all = true;
	else if (kind != NULL && (strcmp(kind, " test") == 0 || strcmp(kind, " a2a") == 0))
		events_add(&self.tests, tenant);
	else if (kind != NULL && strcmp(kind, " revoked") == 0)
		events_add(&self.revoked, tenant);
	if (self.tests.all || self.tests.count || self.revoked.all || self.revoked.count)
		mail_wake();
	pthread_mutex_unlock(&self.lock);
}

static void
mail_flag(bool *flag)
{
	pthread_mutex_lock(&self.lock);
	*flag = true;
	mail_wake();
	pthread_mutex_unlock(&self.lock);
}

void
server_stop(void)
{
	mail_flag(&self.stop);
}

void
server_cancel(void)
{
	mail_flag(&self.cancel);
}

static void
server_stop_now(struct server *server)
{
	struct call *call, *next;

	if (server->stopping)
		return;
	server->stopping = true;
	grpc_server_shutdown_and_notify(server->grpc, server->queue, &self.shutdown_tag);
	for (call = TAILQ_FIRST(&server->calls); call != NULL; call = next)
	{
		next = TAILQ_NEXT(call, all);
		if (!call->over && call->method != NULL && call->method->stop != NULL)
			call->method->stop(call);
	}
}

static void
mail_done(struct tag *tag, bool ok)
{
	struct server *server = &self.server;
	struct db_request *answered, *next;
	struct server_events tests, revoked;
	bool stop, cancel;

	pthread_mutex_lock(&self.lock);
	self.woken = false;
	answered = self.answered;
	self.answered = NULL;
	self.answered_tail = &self.answered;
	events_take(&self.tests, &tests);
	events_take(&self.revoked, &revoked);
	stop = self.stop;
	cancel = self.cancel;
	pthread_mutex_unlock(&self.lock);

	for (; answered != NULL; answered = next)
	{
		next = answered->next;
		call_answered(answered->owner, answered);
	}
	events_tell(&revoked, entry_event);
	events_tell(&tests, pull_event);
	if (stop)
		server_stop_now(server);
	if (cancel)
		grpc_server_cancel_all_calls(server->grpc);
}

/* ---- calls ---- */

static void
accept_next(struct server_accept *accept)
{
	grpc_call_details_init(&accept->details);
	grpc_metadata_array_init(&accept->metadata);
	accept->call = NULL;
	grpc_server_request_call(self.server.grpc, &accept->call, &accept->details, &accept->metadata,
	                         self.server.queue, self.server.queue, &accept->tag);
}

static void
accept_done(struct tag *tag, bool ok)
{
	struct server_accept *accept = (struct server_accept *) tag;

	if (ok && accept->call != NULL)
		call_start(&self.server, accept->call, &accept->details.method);
	grpc_slice_unref(accept->details.method);
	grpc_slice_unref(accept->details.host);
	grpc_metadata_array_destroy(&accept->metadata);
	if (ok && !self.server.stopping)
		accept_next(accept);
}

static void
shutdown_done(struct tag *tag, bool ok)
{
	self.shut_down = true;
}

static void *
server_thread(void *arg)
{
	struct server *server = &self.server;
	int64_t next_tick = 0;

	for (;;)
	{
		gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
		                                     gpr_time_from_millis(1000, GPR_TIMESPAN));
		grpc_event event = grpc_completion_queue_next(server->queue, deadline, NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			break;
		if (event.type == GRPC_OP_COMPLETE)
		{
			struct tag *tag = event.tag;

			tag->done(tag, event.success != 0);
		}
		if (call_now_ms() >= next_tick)
		{
			pull_tick(server);
			entry_tick(server);
			next_tick = call_now_ms() + 1000;
		}
		if (self.shut_down && server->call_count == 0 && !self.told)
		{
			self.told = true;
			self.settings.stopped();
		}
	}
	return NULL;
}

/* ---- start ---- */

static grpc_arg
arg_int(const char *key, int64_t value)
{
	grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *) key};

	arg.value.integer = value > INT32_MAX ? INT32_MAX : (int) value;
	return arg;
}

static grpc_server *
server_create(const struct server_settings *settings)
{
	grpc_resource_quota *quota = grpc_resource_quota_create("ingest");
	grpc_server *server;
	grpc_arg args[] = {
	    arg_int(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, settings->message_bytes),
	    arg_int(GRPC_ARG_MAX_CONCURRENT_STREAMS, SERVER_CONNECTION_STREAMS),
	    /* A second process on the port must fail, not share it. */
	    arg_int(GRPC_ARG_ALLOW_REUSEPORT, 0),
	    /* Window probing makes gRPC buffer 10 times as much and is no faster here. */
	    arg_int(GRPC_ARG_HTTP2_BDP_PROBE, 0),
	    arg_int(GRPC_ARG_MAX_METADATA_SIZE, 8192),
	    arg_int(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000),
	    /* A peer that vanished is noticed within 80 s; agents may ping every 10 s. */
	    arg_int(GRPC_ARG_KEEPALIVE_TIME_MS, 60000),
	    arg_int(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
	    arg_int(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
	    arg_int(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 9000),
	    /* No compression: a message must not grow after its size was checked. */
	    arg_int(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
	    arg_int(GRPC_ARG_ENABLE_CHANNELZ, 0),
	    /* What goes out is small; a full TLS record of buffer for each agent is not needed. */
	    arg_int(GRPC_ARG_TSI_MAX_FRAME_SIZE, 4096),
	    {.type = GRPC_ARG_POINTER,
	     .key = (char *) GRPC_ARG_RESOURCE_QUOTA,
	     .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
	};
	grpc_channel_args channel_args = {sizeof(args) / sizeof(args[0]), args};

	grpc_resource_quota_resize(quota, (size_t) settings->memory_bytes);
	server = grpc_server_create(&channel_args, NULL);
	grpc_resource_quota_unref(quota);
	return server;
}

bool
server_check_files(const char *cert, const char *key, const char *ca, char *err, size_t errlen)
{
	return tls_load(cert, key, ca, err, errlen);
}

bool
server_reload(char *err, size_t errlen)
{
	return tls_load(self.settings.cert_file, self.settings.key_file, self.settings.ca_file, err,
	                errlen);
}

static void
server_wake_create(void)
{
	grpc_slice path = grpc_slice_from_static_string("/wake");

	self.lame = grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "wake");
	self.wake_call = grpc_channel_create_call(self.lame, NULL, GRPC_PROPAGATE_DEFAULTS,
	                                          self.server.queue, path, NULL,
	                                          gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	self.wake_tag.done = mail_done;
	self.shutdown_tag.done = shutdown_done;
	self.answered_tail = &self.answered;
}

/* Debian builds Abseil, whose locks gRPC takes, as for debugging: each lock is entered into a graph that is searched for
 * cycles, an eighth of what ingest costs with thousands of streams. It is turned off by a C++ function
 * without a C one beside it; where it is not found the search goes on. */
static void
server_locks_unwatched(void)
{
	void *found = dlsym(RTLD_DEFAULT,
	                    "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE");
	void (*mode_set)(int mode);

	memcpy(&mode_set, &found, sizeof(mode_set));
	if (mode_set != NULL)
		mode_set(0); /* OnDeadlockCycle::kIgnore */
}

bool
server_start(const struct server_settings *settings, char *err, size_t errlen)
{
	struct server *server = &self.server;
	grpc_server_credentials *credentials;
	int port;

	self.settings = *settings;
	server_locks_unwatched();
	if (!tls_load(settings->cert_file, settings->key_file, settings->ca_file, err, errlen))
		return false;
	tls_init();
	TAILQ_INIT(&server->calls);
	TAILQ_INIT(&server->starved);
	TAILQ_INIT(&server->waiters);
	TAILQ_INIT(&server->suspects);
	server->stream_max = settings->streams;
	server->memory_max = settings->memory_bytes;
	server->queue = grpc_completion_queue_create_for_next(NULL);
	server->grpc = server_create(settings);
	grpc_server_register_completion_queue(server->grpc, server->queue, NULL);
	server_wake_create();

	credentials = tls_credentials();
	port = grpc_server_add_http2_port(server->grpc, settings->listen, credentials);
	grpc_server_credentials_release(credentials);
	if (port <= 0)
	{
		snprintf(err, errlen,
		         "cannot listen on %s (%s): stop the process that has the port or set `listen` to "
		         "another one",
		         settings->listen, tls_last_error());
		return false;
	}
	return true;
}

void
server_run(struct db *db, struct bus *bus)
{
	self.server.db = db;
	self.server.bus = bus;
	grpc_server_start(self.server.grpc);
	for (int i = 0; i < SERVER_ACCEPTS; i++)
	{
		self.accepts[i].tag.done = accept_done;
		accept_next(&self.accepts[i]);
	}
	if (pthread_create(&self.thread, NULL, server_thread, NULL) != 0)
		log_fatal("grpc", NULL, "cannot start its thread");
}

/* The order matters: every tag must have come back before the queue is shut down, and the
 * queue must be drained before the server is destroyed. */
void
server_join(void)
{
	grpc_call_unref(self.wake_call);
	grpc_channel_destroy(self.lame);
	grpc_completion_queue_shutdown(self.server.queue);
	pthread_join(self.thread, NULL);
	grpc_server_destroy(self.server.grpc);
	grpc_completion_queue_destroy(self.server.queue);
	tls_shutdown();
}
