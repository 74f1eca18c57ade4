/* SPDX-License-Identifier: PostgreSQL
 *
 * forward.c -- see forward.h; the link rules are those of docs/81-contracts.md section 5.
 */
#include "agent/forward.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>

#include "agent/canary.h"
#include "agent/probe.h"
#include "agent/resolver.h"
#include "agent/settings.h"
#include "lib/backoff.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/grpc.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "lib/spool.h"
#include "probectl/agent/v1/agent.pb-c.h"
#include "probectl/stream/v1/batch.pb-c.h"

#define SERVICE         "/probectl.agent.v1.AgentService/"
#define CONNECT_MS      10000
#define UNARY_MS        10000
#define ACK_MS          30000 /* no acknowledgement for so long: the link is given up */
#define KEEPALIVE_MS    40000
#define KEEPALIVE_WAIT  10000
#define PULL_SECONDS    25
#define PULL_RETRY_MS   5000
#define PULL_SPACING_MS 1000
#define MEET_RETRY_MS   600000
#define BACKOFF_MIN_MS  1000
#define BACKOFF_MAX_MS  30000
#define HEALTHY_MS      60000
#define RESTARTS_MAX    3 /* of the stream on one connection, without progress */
#define MESSAGE_MAX     (4 * 1024 * 1024)

/* WAITING -> RESOLVING -> CONNECTING -> REGISTERING -> STREAMING; each may fall to WAITING,
 * STREAMING to REGISTERING. */
enum forward_state
{
	FORWARD_WAITING,
	FORWARD_RESOLVING,
	FORWARD_CONNECTING,
	FORWARD_REGISTERING,
	FORWARD_STREAMING,
};

/* A call with one message each way. */
struct unary
{
	struct forward *f;
	struct grpc_call *call; /* NULL = none in progress */
	struct buf answer;
	void (*done)(struct forward *f, int status, const char *text, const struct buf *answer);
};

struct flight
{
	uint64_t first;
	size_t count;
};

struct forward
{
	struct forward_options o;
	enum forward_state state;
	struct ssl_ctx_st *ctx;
	char host[256];
	uint16_t port;
	unsigned attempt;
	struct backoff backoff;
	struct event *retry, *heartbeat, *pull_timer, *meet_timer, *ack_timer;
	struct resolver_query *query;
	struct grpc_conn *conn;
	struct grpc_call *stream;
	struct unary registering, beating, pulling, meeting, calling;
	forward_answer answer; /* to calling */
	void *answer_arg;
	bool renewing;                           /* connect again when nothing is unacknowledged */
	struct flight flights[FORWARD_INFLIGHT]; /* oldest first */
	size_t flying;
	unsigned restarts;
	struct spool_batch batch;
	int64_t heartbeat_ms;
	int64_t asked; /* monotonic ns at which Register or Heartbeat left */
	int64_t pulled, met;
	int64_t skew; /* ns the control plane's clock is ahead */
};

enum
{
	ROW_CONNECTED,
	ROW_CONNECTS,
	ROW_SENT,
	ROW_ACKED,
	ROW_REFUSED,
	ROW_SKEW,
	ROW_COUNT,
};

static struct metric rows[ROW_COUNT] = {
    [ROW_CONNECTED] = METRIC_GAUGE("probectl_agent_connected", NULL,
                                   "1 while registered with the control plane."),
    [ROW_CONNECTS] = METRIC_COUNTER("probectl_agent_connects_total", NULL,
                                    "Attempts to reach the control plane."),
    [ROW_SENT] = METRIC_COUNTER("probectl_agent_records_sent_total", NULL,
                                "Records sent, repetitions included."),
    [ROW_ACKED] = METRIC_COUNTER("probectl_agent_batches_acked_total", NULL,
                                 "Batches acknowledged."),
    [ROW_REFUSED] = METRIC_COUNTER("probectl_agent_batches_refused_total", NULL,
                                   "Batches the control plane could not read."),
    [ROW_SKEW] = {.name = "probectl_agent_clock_skew_seconds",
                  .kind = METRIC_KIND_GAUGE,
                  .divisor = 1000000000,
                  .help = "How far the control plane's clock is ahead of ours."},
};

static void register_start(struct forward *f);
static void stream_pump(struct forward *f);
static void pull_start(struct forward *f);
static void meet_start(struct forward *f);
static void link_lost(struct forward *f, const char *why);

void
forward_metrics(void)
{
	metrics_register(rows, ROW_COUNT);
}

static void
arm(struct event *timer, int64_t ms)
{
	struct timeval delay = clock_timeval(ms * NANO_PER_MS);

	event_add(timer, &delay);
}

/* ---- unary calls ---- */

static void
unary_message(void *arg, const uint8_t *data, size_t len)
{
	struct unary *u = arg;

	buf_reset(&u->answer);
	buf_put(&u->answer, data, len);
}

static void
unary_closed(void *arg, int status, const char *text)
{
	struct unary *u = arg;
	struct buf answer = u->answer;

	/* The next call of this kind may start in done. */
	u->call = NULL;
	buf_init(&u->answer, MESSAGE_MAX);
	u->done(u->f, status, text, &answer);
	buf_free(&answer);
}

static bool
unary_start_packed(struct forward *f, struct unary *u, const char *path, const uint8_t *bytes,
                   size_t len, int timeout_ms)
{
	static const struct grpc_call_ops ops = {unary_message, unary_closed};

	u->call = grpc_call(f->conn, path, timeout_ms, &ops, u);
	return u->call && grpc_send(u->call, bytes, len, true);
}

static bool
unary_start(struct forward *f, struct unary *u, const char *path, const ProtobufCMessage *message,
            int timeout_ms)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = mem_alloc(len);
	bool ok;

	protobuf_c_message_pack(message, bytes);
	ok = unary_start_packed(f, u, path, bytes, len, timeout_ms);
	free(bytes);
	return ok;
}

/* ---- connection ---- */

static void
link_close_all(struct forward *f)
{
	struct unary *all[] = {&f->registering, &f->beating, &f->pulling, &f->meeting, &f->calling};
	bool called = f->calling.call != NULL;

	f->renewing = false;
	grpc_close(f->conn);
	f->conn = NULL;
	f->stream = NULL;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
	{
		all[i]->call = NULL;
		buf_free(&all[i]->answer);
	}
	if (f->query)
		resolver_cancel(f->query);
	f->query = NULL;
	event_del(f->heartbeat);
	event_del(f->pull_timer);
	event_del(f->meet_timer);
	event_del(f->ack_timer);
	f->flying = 0;
	metric_set(&rows[ROW_CONNECTED], 0);
	if (called)
		f->answer(GRPC_UNAVAILABLE, "the link was lost", NULL, 0, f->answer_arg);
}

/* With what is new: no failure, so no backoff. */
static void
link_renew(struct forward *f)
{
	link_close_all(f);
	f->state = FORWARD_WAITING;
	arm(f->retry, 0);
}

static void
link_lost(struct forward *f, const char *why)
{
	uint32_t random = 0;
	int64_t delay;

	if (f->state == FORWARD_WAITING)
		return;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t) clock_mono_nano();
	delay = backoff_down(&f->backoff, clock_mono_nano(), random);
	log_warning("forward", f->o.settings->grpc_addr, "%s; next attempt in %" PRId64 " ms", why,
	            delay);
	link_close_all(f);
	f->state = FORWARD_WAITING;
	f->attempt++;
	arm(f->retry, delay);
}

static void
conn_up(void *arg)
{
	register_start(arg);
}

static void
conn_down(void *arg, const char *why)
{
	link_lost(arg, why);
}

static void
connect_to(struct forward *f, const struct resolver_answer *answer)
{
	static const struct grpc_conn_ops ops = {conn_up, conn_down};
	const struct grpc_options options = {
	    .host = f->host,
	    .connect_ms = CONNECT_MS,
	    .keepalive_ms = KEEPALIVE_MS,
	    .keepalive_wait_ms = KEEPALIVE_WAIT,
	    .message_max = MESSAGE_MAX,
	};
	struct resolver_address address = answer->addresses[f->attempt % answer->count];
	char err[256];

	probe_set_port(&address.addr, f->port);
	f->state = FORWARD_CONNECTING;
	f->conn = grpc_connect(f->o.base, f->ctx, (struct sockaddr *) &address.addr, address.len,
	                       &options, &ops, f, err, sizeof(err));
	if (!f->conn)
		link_lost(f, err);
}

static void
resolved(const struct resolver_answer *answer, void *arg)
{
	struct forward *f = arg;

	f->query = NULL;
	if (answer->error != ERROR_NONE || answer->count == 0)
		link_lost(f, answer->message);
	else
		connect_to(f, answer);
}

static void
attempt_start(evutil_socket_t fd, short what, void *arg)
{
	struct forward *f = arg;

	metric_add(&rows[ROW_CONNECTS], 1);
	f->state = FORWARD_RESOLVING;
	f->query = resolver_resolve(f->o.resolver, f->host, RESOLVER_ANY, resolved, f);
	if (!f->query)
		link_lost(f, "out of memory for a look-up");
}

/* ---- Register ---- */

/* Puts spool and control plane on the same epoch; what is committed there is forgotten here. */
static bool
epoch_agree(struct forward *f, uint64_t epoch, uint64_t committed)
{
	struct spool *spool = f->o.spool;

	if (epoch < spool_epoch(spool))
		return true; /* the first batch opens ours */
	if (epoch == spool_epoch(spool) && committed <= spool_last(spool))
	{
		spool_ack(spool, epoch, committed);
		return true;
	}
	/* The control plane knows more than this spool: it was lost or copied. */
	log_warning("forward", f->o.settings->grpc_addr,
	            "the control plane is at epoch %" PRIu64 " record %" PRIu64
	            ", this spool at epoch %" PRIu64 " record %" PRIu64 ": taking a new epoch",
	            epoch, committed, spool_epoch(spool), spool_last(spool));
	return spool_raise_epoch(spool, epoch);
}

static void
clock_compare(struct forward *f, int64_t server_time)
{
	int64_t half = (clock_mono_nano() - f->asked) / 2;

	if (server_time <= 0)
		return;
	f->skew = server_time - (clock_unix_nano() - half);
	metric_set(&rows[ROW_SKEW], f->skew);
}

static void
stream_message(void *arg, const uint8_t *data, size_t len)
{
	struct forward *f = arg;
	Probectl__Agent__V1__StreamResultsResponse *ack =
	    probectl__agent__v1__stream_results_response__unpack(NULL, len, data);
	size_t done = 0;

	if (!ack)
	{
		link_lost(f, "the control plane sent an acknowledgement that cannot be read");
		return;
	}
	if (!spool_ack(f->o.spool, ack->epoch, ack->committed_seq))
		log_limited(LOG_LEVEL_WARNING, "forward", f->o.settings->grpc_addr,
		            "acknowledgement of epoch %" PRIu64 " record %" PRIu64
		            " is not about this spool",
		            ack->epoch, ack->committed_seq);
	else
		while (done < f->flying &&
		       f->flights[done].first + f->flights[done].count - 1 <= ack->committed_seq)
			done++;
	probectl__agent__v1__stream_results_response__free_unpacked(ack, NULL);
	if (done > 0)
	{
		metric_add(&rows[ROW_ACKED], (int64_t) done);
		f->flying -= done;
		memmove(f->flights, f->flights + done, f->flying * sizeof(f->flights[0]));
		f->restarts = 0;
		if (f->flying > 0)
			arm(f->ack_timer, ACK_MS);
		else
			event_del(f->ack_timer);
		f->o.ops->progress(f->o.arg);
	}
	stream_pump(f);
}

/* Marshals the batch in f into a StreamResultsRequest; free the result. */
static uint8_t *
batch_pack(struct forward *f, size_t *len)
{
	Probectl__Stream__V1__Batch batch = PROBECTL__STREAM__V1__BATCH__INIT;
	Probectl__Agent__V1__StreamResultsRequest request =
	    PROBECTL__AGENT__V1__STREAM_RESULTS_REQUEST__INIT;
	uint8_t *bytes;

	batch.epoch = f->batch.epoch;
	batch.first_seq = f->batch.first;
	batch.n_records = f->batch.count;
	batch.records = mem_array(f->batch.count, sizeof(*batch.records));
	for (size_t i = 0; i < f->batch.count; i++)
	{
		batch.records[i].data = (uint8_t *) f->batch.records[i].data;
		batch.records[i].len = f->batch.records[i].len;
	}
	request.batch.len = probectl__stream__v1__batch__get_packed_size(&batch);
	request.batch.data = mem_alloc(request.batch.len);
	probectl__stream__v1__batch__pack(&batch, request.batch.data);
	free(batch.records);
	*len = probectl__agent__v1__stream_results_request__get_packed_size(&request);
	bytes = mem_alloc(*len);
	probectl__agent__v1__stream_results_request__pack(&request, bytes);
	free(request.batch.data);
	return bytes;
}

/* The batch that was refused is read again as it was sent, kept for a person, and passed over. */
static void
flight_refuse(struct forward *f)
{
	struct flight flight = f->flights[0];
	uint8_t *bytes;
	size_t len;

	metric_add(&rows[ROW_REFUSED], 1);
	spool_rewind(f->o.spool);
	if (!spool_read(f->o.spool, flight.count, SIZE_MAX, &f->batch) ||
	    f->batch.first != flight.first || f->batch.count != flight.count)
		return;
	bytes = batch_pack(f, &len);
	if (spool_refuse(f->o.spool, &f->batch, bytes, len))
		log_error("forward", f->o.settings->grpc_addr,
		          "batch of %zu records from %" PRIu64 " refused and put into quarantine",
		          flight.count, flight.first);
	free(bytes);
	f->o.ops->progress(f->o.arg);
}

static void
stream_closed(void *arg, int status, const char *text)
{
	struct forward *f = arg;
	bool again = (status == GRPC_INVALID_ARGUMENT && f->flying > 0) ||
	             status == GRPC_FAILED_PRECONDITION;
	char why[400];

	f->stream = NULL;
	event_del(f->ack_timer);
	snprintf(why, sizeof(why), "results: %s%s%s", grpc_status_name(status), *text ? ": " : "",
	         text);
	if (status == GRPC_INVALID_ARGUMENT && f->flying > 0)
		flight_refuse(f);
	if (!again || ++f->restarts > RESTARTS_MAX)
	{
		link_lost(f, why);
		return;
	}
	log_warning("forward", f->o.settings->grpc_addr, "%s; registering again", why);
	event_del(f->heartbeat);
	register_start(f);
}

static void
stream_pump(struct forward *f)
{
	bool idle = f->flying == 0;

	if (f->renewing && idle)
	{
		link_renew(f);
		return;
	}
	while (f->state == FORWARD_STREAMING && !f->renewing && f->flying < FORWARD_INFLIGHT &&
	       spool_read(f->o.spool, FORWARD_BATCH_RECORDS, FORWARD_BATCH_BYTES, &f->batch))
	{
		size_t len;
		uint8_t *bytes = batch_pack(f, &len);
		bool sent = grpc_send(f->stream, bytes, len, false);

		free(bytes);
		if (!sent)
		{
			link_lost(f, "the connection does not take more");
			return;
		}
		metric_add(&rows[ROW_SENT], (int64_t) f->batch.count);
		f->flights[f->flying++] = (struct flight){f->batch.first, f->batch.count};
	}
	/* An idle agent keeps no buffers. */
	spool_batch_free(&f->batch);
	if (idle && f->flying > 0)
		arm(f->ack_timer, ACK_MS);
}

static void
ack_overdue(evutil_socket_t fd, short what, void *arg)
{
	link_lost(arg, "no acknowledgement in time");
}

static void
registered(struct forward *f, int status, const char *text, const struct buf *answer)
{
	static const struct grpc_call_ops ops = {stream_message, stream_closed};
	Probectl__Agent__V1__RegisterResponse *r;
	char why[400];
	bool agreed;

	snprintf(why, sizeof(why), "register: %s%s%s", grpc_status_name(status), *text ? ": " : "",
	         text);
	r = status == GRPC_OK
	        ? probectl__agent__v1__register_response__unpack(NULL, answer->len, answer->data)
	        : NULL;
	if (!r)
	{
		link_lost(f, status == GRPC_OK ? "register: the answer cannot be read" : why);
		return;
	}
	clock_compare(f, r->server_time_unix_nano);
	f->heartbeat_ms = r->heartbeat_interval_seconds > 0
	                      ? (int64_t) r->heartbeat_interval_seconds * 1000
	                      : f->o.settings->heartbeat_interval;
	agreed = epoch_agree(f, r->stream_epoch, r->committed_seq);
	log_info("forward", f->o.settings->grpc_addr,
	         "registered with control plane %s, epoch %" PRIu64, r->control_version,
	         spool_epoch(f->o.spool));
	probectl__agent__v1__register_response__free_unpacked(r, NULL);
	f->stream = agreed ? grpc_call(f->conn, SERVICE "StreamResults", 0, &ops, f) : NULL;
	if (!f->stream)
	{
		link_lost(f, agreed ? "the stream cannot be opened" : "the spool cannot take a new epoch");
		return;
	}
	backoff_up(&f->backoff, clock_mono_nano());
	metric_set(&rows[ROW_CONNECTED], 1);
	f->state = FORWARD_STREAMING;
	f->flying = 0;
	spool_rewind(f->o.spool);
	arm(f->heartbeat, f->heartbeat_ms);
	if (!f->pulling.call)
		pull_start(f);
	if (!f->meeting.call)
		meet_start(f);
	stream_pump(f);
	f->o.ops->progress(f->o.arg);
	f->o.ops->linked(f->o.arg);
}

static void
register_start(struct forward *f)
{
	Probectl__Agent__V1__RegisterRequest request = PROBECTL__AGENT__V1__REGISTER_REQUEST__INIT;
	const struct settings *s = f->o.settings;
	Probectl__Agent__V1__RegisterRequest__LabelsEntry *labels, **label_list;
	char *capabilities[32];
	bool ok;

	f->state = FORWARD_REGISTERING;
	request.hostname = (char *) settings_hostname(s);
	request.agent_version = (char *) PROBECTL_VERSION;
	request.capabilities = capabilities;
	for (size_t i = 0; canary_table[i] && i < 32; i++)
		capabilities[request.n_capabilities++] = (char *) canary_table[i]->type;
	labels = mem_array(s->label_count, sizeof(*labels));
	label_list = mem_array(s->label_count, sizeof(*label_list));
	for (size_t i = 0; i < s->label_count; i++)
	{
		probectl__agent__v1__register_request__labels_entry__init(&labels[i]);
		labels[i].key = s->labels[i].key;
		labels[i].value = s->labels[i].value;
		label_list[i] = &labels[i];
	}
	request.labels = label_list;
	request.n_labels = s->label_count;
	f->asked = clock_mono_nano();
	ok = unary_start(f, &f->registering, SERVICE "Register", &request.base, UNARY_MS);
	free(labels);
	free(label_list);
	if (!ok)
		link_lost(f, "the connection takes no call");
}

/* ---- Heartbeat ---- */

static void
beaten(struct forward *f, int status, const char *text, const struct buf *answer)
{
	Probectl__Agent__V1__HeartbeatResponse *r;
	char why[400];

	if (status != GRPC_OK)
	{
		snprintf(why, sizeof(why), "heartbeat: %s%s%s", grpc_status_name(status), *text ? ": " : "",
		         text);
		/* A slow database is not a dead link: only silence is. */
		if (status == GRPC_DEADLINE_EXCEEDED || status == GRPC_UNAUTHENTICATED)
			link_lost(f, why);
		else if (f->state == FORWARD_STREAMING)
		{
			log_limited(LOG_LEVEL_WARNING, "forward", f->o.settings->grpc_addr, "%s", why);
			arm(f->heartbeat, f->heartbeat_ms);
		}
		return;
	}
	r = probectl__agent__v1__heartbeat_response__unpack(NULL, answer->len, answer->data);
	if (r)
	{
		clock_compare(f, r->server_time_unix_nano);
		if (r->heartbeat_interval_seconds > 0)
			f->heartbeat_ms = (int64_t) r->heartbeat_interval_seconds * 1000;
		probectl__agent__v1__heartbeat_response__free_unpacked(r, NULL);
	}
	if (f->state == FORWARD_STREAMING)
		arm(f->heartbeat, f->heartbeat_ms);
}

static void
beat(evutil_socket_t fd, short what, void *arg)
{
	struct forward *f = arg;
	Probectl__Agent__V1__HeartbeatRequest request = PROBECTL__AGENT__V1__HEARTBEAT_REQUEST__INIT;
	Probectl__Agent__V1__HeartbeatRequest__DroppedEntry dropped[SPOOL_DROP_COUNT];
	Probectl__Agent__V1__HeartbeatRequest__DroppedEntry *dropped_list[SPOOL_DROP_COUNT];
	struct forward_report report = {.tests_problem = ""};
	struct spool_stats stats;

	if (f->beating.call)
		return;
	spool_stats(f->o.spool, &stats);
	f->o.ops->report(&report, f->o.arg);
	request.agent_id = (char *) f->o.identity->agent_id;
	request.config_epoch = report.revision;
	request.tests_problem = (char *) report.tests_problem;
	request.tests_refused = report.tests_refused;
	request.ticks_skipped = report.ticks_skipped;
	request.runs_disturbed = report.runs_disturbed;
	request.spool_records = stats.records;
	request.spool_bytes = stats.bytes;
	request.oldest_unix_nano = stats.oldest_unix_nano;
	request.agent_version = (char *) PROBECTL_VERSION;
	request.clock_skew_nano = f->skew;
	request.dropped = dropped_list;
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
	{
		if (stats.dropped[i] == 0)
			continue;
		probectl__agent__v1__heartbeat_request__dropped_entry__init(&dropped[i]);
		dropped[i].key = (char *) spool_drop_names[i];
		dropped[i].value = stats.dropped[i];
		dropped_list[request.n_dropped++] = &dropped[i];
	}
	f->asked = clock_mono_nano();
	if (!unary_start(f, &f->beating, SERVICE "Heartbeat", &request.base, UNARY_MS))
		link_lost(f, "the connection takes no call");
}

/* ---- PullTests ---- */

static void
pulled(struct forward *f, int status, const char *text, const struct buf *answer)
{
	Probectl__Agent__V1__PullTestsResponse *r = NULL;
	int64_t took = (clock_mono_nano() - f->pulled) / NANO_PER_MS, wait = 0;

	if (status == GRPC_OK)
		r = probectl__agent__v1__pull_tests_response__unpack(NULL, answer->len, answer->data);
	if (!r)
	{
		log_limited(LOG_LEVEL_WARNING, "forward", f->o.settings->grpc_addr, "tests: %s%s%s",
		            grpc_status_name(status), *text ? ": " : "", text);
		wait = PULL_RETRY_MS;
	}
	else if (r->unchanged || r->bundle.len == 0)
		wait = took < PULL_SPACING_MS ? PULL_SPACING_MS - took : 0;
	else if (!f->o.ops->tests(answer->data, answer->len, f->o.arg))
		wait = PULL_RETRY_MS;
	if (r)
		probectl__agent__v1__pull_tests_response__free_unpacked(r, NULL);
	if (f->conn)
		arm(f->pull_timer, wait);
}

static void
pull_start(struct forward *f)
{
	Probectl__Agent__V1__PullTestsRequest request = PROBECTL__AGENT__V1__PULL_TESTS_REQUEST__INIT;
	struct forward_report report = {0};

	if (!f->o.settings->tests_from_control)
		return;
	f->o.ops->report(&report, f->o.arg);
	request.known_revision = report.revision;
	request.wait_seconds = PULL_SECONDS;
	f->pulled = clock_mono_nano();
	if (!unary_start(f, &f->pulling, SERVICE "PullTests", &request.base,
	                 PULL_SECONDS * 1000 + UNARY_MS))
		link_lost(f, "the connection takes no call");
}

static void
pull_again(evutil_socket_t fd, short what, void *arg)
{
	struct forward *f = arg;

	if (!f->pulling.call)
		pull_start(f);
}

/* ---- Meet ---- */

static void
met(struct forward *f, int status, const char *text, const struct buf *answer)
{
	int64_t took = (clock_mono_nano() - f->met) / NANO_PER_MS, wait = -1;

	if (status == GRPC_OK)
		wait = f->o.ops->met(answer->data, answer->len, f->o.arg);
	else
		log_limited(LOG_LEVEL_WARNING, "forward", f->o.settings->grpc_addr, "sessions: %s%s%s",
		            grpc_status_name(status), *text ? ": " : "", text);
	/* A control plane that knows no sessions will know none soon. */
	if (status == GRPC_UNIMPLEMENTED)
		wait = MEET_RETRY_MS;
	else if (wait < 0)
		wait = PULL_RETRY_MS;
	else
		wait = wait > took ? wait - took : 0;
	if (f->conn)
		arm(f->meet_timer, wait);
}

static void
meet_start(struct forward *f)
{
	struct sockaddr_storage addr;
	char address[64] = "";
	uint8_t *bytes;
	size_t len;
	bool ok;

	if (!f->o.ops->meet)
		return;
	if (grpc_address(f->conn, &addr))
		probe_address_text(&addr, address, sizeof(address));
	bytes = f->o.ops->meet(PULL_SECONDS, address, &len, f->o.arg);
	f->met = clock_mono_nano();
	ok = unary_start_packed(f, &f->meeting, SERVICE "Meet", bytes, len,
	                        PULL_SECONDS * 1000 + UNARY_MS);
	free(bytes);
	if (!ok)
		link_lost(f, "the connection takes no call");
}

static void
meet_again(evutil_socket_t fd, short what, void *arg)
{
	struct forward *f = arg;

	if (!f->meeting.call)
		meet_start(f);
}

/* ---- other calls ---- */

static void
called(struct forward *f, int status, const char *text, const struct buf *answer)
{
	f->answer(status, text, answer->data, answer->len, f->answer_arg);
}

bool
forward_call(struct forward *f, const char *method, const ProtobufCMessage *message,
             forward_answer done, void *arg)
{
	char path[128];

	if (f->state != FORWARD_STREAMING || f->renewing || f->calling.call)
		return false;
	snprintf(path, sizeof(path), "%s%s", SERVICE, method);
	f->answer = done;
	f->answer_arg = arg;
	if (unary_start(f, &f->calling, path, message, UNARY_MS))
		return true;
	if (f->calling.call)
		grpc_cancel(f->calling.call);
	f->calling.call = NULL;
	return false;
}

/* ---- identity ---- */

static struct ssl_ctx_st *
context_new(const struct identity *identity, char *err, size_t errlen)
{
	const struct crypto_client client = {
	    .ca_file = identity->ca_file,
	    .cert_file = identity->cert_file,
	    .key_file = identity->key_file,
	    .min13 = true,
	    .alpn = "h2",
	};

	return crypto_client_ctx(&client, err, errlen);
}

bool
forward_identity(struct forward *f, char *err, size_t errlen)
{
	struct ssl_ctx_st *ctx = context_new(f->o.identity, err, errlen);

	if (!ctx)
		return false;
	crypto_ctx_free(f->ctx); /* a connection holds its own reference */
	f->ctx = ctx;
	if (f->state == FORWARD_STREAMING && f->flying > 0)
		f->renewing = true; /* the last acknowledgement, or its absence, ends the link */
	else if (f->state != FORWARD_WAITING)
		link_renew(f);
	else
		arm(f->retry, 0); /* what failed with the old one need not fail with this one */
	return true;
}

/* ---- interface ---- */

void
forward_kick(struct forward *f)
{
	if (f->state == FORWARD_STREAMING)
		stream_pump(f);
}

static void
unary_init(struct forward *f, struct unary *u,
           void (*done)(struct forward *, int, const char *, const struct buf *))
{
	u->f = f;
	u->done = done;
	buf_init(&u->answer, MESSAGE_MAX);
}

struct forward *
forward_new(const struct forward_options *o, char *err, size_t errlen)
{
	struct forward *f = mem_alloc(sizeof(*f));

	f->o = *o;
	backoff_init(&f->backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS, HEALTHY_MS);
	unary_init(f, &f->registering, registered);
	unary_init(f, &f->beating, beaten);
	unary_init(f, &f->pulling, pulled);
	unary_init(f, &f->meeting, met);
	unary_init(f, &f->calling, called);
	spool_batch_init(&f->batch);
	f->retry = evtimer_new(o->base, attempt_start, f);
	f->heartbeat = evtimer_new(o->base, beat, f);
	f->pull_timer = evtimer_new(o->base, pull_again, f);
	f->meet_timer = evtimer_new(o->base, meet_again, f);
	f->ack_timer = evtimer_new(o->base, ack_overdue, f);
	if (!f->retry || !f->heartbeat || !f->pull_timer || !f->meet_timer || !f->ack_timer)
		log_fatal("forward", NULL, "out of memory for timers");
	/* settings_check has seen the address. */
	settings_host_port(o->settings->grpc_addr, f->host, sizeof(f->host), &f->port);
	f->ctx = context_new(o->identity, err, errlen);
	if (!f->ctx)
	{
		forward_free(f);
		return NULL;
	}
	arm(f->retry, 0);
	return f;
}

void
forward_free(struct forward *f)
{
	if (!f)
		return;
	if (f->calling.call)
		grpc_cancel(f->calling.call);
	f->calling.call = NULL;
	link_close_all(f);
	event_free(f->retry);
	event_free(f->heartbeat);
	event_free(f->pull_timer);
	event_free(f->meet_timer);
	event_free(f->ack_timer);
	spool_batch_free(&f->batch);
	crypto_ctx_free(f->ctx);
	free(f);
}
