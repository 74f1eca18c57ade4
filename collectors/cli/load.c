/* SPDX-License-Identifier: PostgreSQL
 *
 * load.c -- see load.h.
 *
 * A request is { batch: { epoch, first_seq, records... } }: the head is encoded for each batch,
 * the records are one block of bytes in which two places of each record are written over: the last
 * twelve digits of its identifier and its start time, whose varint has nine bytes until 2262.
 */
#include "cli/load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <event2/event.h>

#include "lib/buf.h"
#include "lib/crypto.h"
#include "lib/grpc.h"
#include "lib/mem.h"
#include "probectl/agent/v1/agent.pb-c.h"
#include "probectl/result/v1/result.pb-c.h"

#define LOAD_PATH        "/probectl.agent.v1.AgentService/StreamResults"
#define LOAD_TARGETS     20      /* series of an agent */
#define LOAD_SAMPLES_MAX 4000000 /* acknowledgements that are timed */
#define LOAD_CONNECT_MS  30000
#define LOAD_CONNECTING  100   /* handshakes at once: all of a thousand would time each other out */
#define LOAD_DRAIN_MS    15000 /* for what is under way at the end */
#define LOAD_TICK_MS     5     /* pace of a limited rate */
#define LOAD_WATCH_NS    INT64_C(10000000000)
#define LOAD_SETTLE_NS   INT64_C(10000000000) /* new agents register their series first */
#define LOAD_ID_TAIL     12                   /* digits of an identifier that are counted up */
#define LOAD_TIME_BYTES  9
#define LOAD_ID_MARK     "0198c1f0-0000-7000-8000-"

struct load;

struct producer
{
	struct load *load;
	struct load_agent *agent;
	struct ssl_ctx_st *ctx;
	struct grpc_conn *conn;
	struct grpc_call *call;
	uint64_t next_seq, number;
	int64_t sent_ns[LOAD_WINDOW]; /* of what is under way, oldest first */
	int under_way;
	bool up, ended;
};

struct load
{
	const struct load_plan *plan;
	struct event_base *base;
	struct event *tick;
	struct producer *producers;
	struct sockaddr_in addr;
	struct grpc_options options;
	char host[64];
	int batch;        /* records of one */
	int opened, ups;  /* connections begun, and there */
	uint8_t *records; /* of a batch, with their tags and lengths */
	size_t records_len, record_bytes;
	size_t *id_at, *time_at;
	float *samples;               /* ms, in the order they came */
	size_t sample_count, settled; /* the first of them past LOAD_SETTLE_NS */
	int64_t start_ns, stop_ns;    /* of the measurement; 0 = not yet */
	int64_t watched_ns;
	uint64_t allowed, sent; /* records, with a limited rate */
	int turn;
	bool draining;
	char *err;
	size_t errlen;
	bool failed;
};

static int64_t
load_now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
load_fail(struct load *load, const char *what, const char *why)
{
	if (!load->failed)
		snprintf(load->err, load->errlen, "%s: %s", what, why);
	load->failed = true;
	event_base_loopbreak(load->base);
}

static void
load_watch(const struct load *load)
{
	if (load->plan->watch != NULL)
		load->plan->watch(load->plan->watch_arg);
}

/* ---- records ---- */

static size_t
varint_put(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		to[n++] = (uint8_t) (value | 0x80);
	to[n++] = (uint8_t) value;
	return n;
}

/* A run of ping as the agent reports it. */
static size_t
record_pack(int i, int64_t start, uint8_t *to)
{
	static char *metric_names[] = {"rtt.min.ms", "rtt.avg.ms",    "rtt.max.ms",
	                               "loss.ratio", "rtt.stddev.ms", "jitter.ms"};
	Probectl__Result__V1__Result__MetricsEntry entries[6], *metrics[6];
	Probectl__Result__V1__Result__AttributesEntry
	    attribute = PROBECTL__RESULT__V1__RESULT__ATTRIBUTES_ENTRY__INIT,
	    *attributes[1] = {&attribute};
	Probectl__Result__V1__Result result = PROBECTL__RESULT__V1__RESULT__INIT;
	char address[32], id[64];

	snprintf(address, sizeof(address), "192.0.2.%d", i % LOAD_TARGETS + 1);
	snprintf(id, sizeof(id), LOAD_ID_MARK "%012d", i);
	for (int m = 0; m < 6; m++)
	{
		entries[m] = (Probectl__Result__V1__Result__MetricsEntry)
		    PROBECTL__RESULT__V1__RESULT__METRICS_ENTRY__INIT;
		entries[m].key = metric_names[m];
		entries[m].value = 1.25 + 0.37 * m + i;
		metrics[m] = &entries[m];
	}
	attribute.key = "network.peer.address";
	attribute.value = address;
	result.canary_type = "icmp";
	result.server_address = address;
	result.network_transport = "icmp";
	result.success = true;
	result.start_time_unix_nano = start;
	result.duration_nano = 4012345678;
	result.metrics = metrics;
	result.n_metrics = 6;
	result.attributes = attributes;
	result.n_attributes = 1;
	result.result_id = id;
	return probectl__result__v1__result__pack(&result, to);
}

static void
records_make(struct load *load)
{
	int64_t start = load_now_ns(CLOCK_REALTIME);
	uint8_t record[2048], mark[1 + LOAD_TIME_BYTES] = {10 << 3};
	size_t at = 0;

	load->records = mem_alloc((size_t) load->batch * (sizeof(record) + 4));
	load->id_at = mem_array((size_t) load->batch, sizeof(size_t));
	load->time_at = mem_array((size_t) load->batch, sizeof(size_t));
	varint_put(mark + 1, (uint64_t) start);
	for (int i = 0; i < load->batch; i++)
	{
		size_t len = record_pack(i, start, record);
		const uint8_t *id = memmem(record, len, LOAD_ID_MARK, strlen(LOAD_ID_MARK));
		const uint8_t *time = memmem(record, len, mark, sizeof(mark));

		load->record_bytes = len;
		load->records[at++] = 3 << 3 | 2;
		at += varint_put(load->records + at, len);
		load->id_at[i] = at + (size_t) (id - record) + strlen(LOAD_ID_MARK);
		load->time_at[i] = at + (size_t) (time - record) + 1;
		memcpy(load->records + at, record, len);
		at += len;
	}
	load->records_len = at;
}

/* New identifiers and times. number is of the batch, different for all of all producers. */
static void
records_renew(struct load *load, uint64_t number)
{
	static const char hex[] = "0123456789abcdef";
	int64_t now = load_now_ns(CLOCK_REALTIME);

	for (uint64_t i = 0; i < (uint64_t) load->batch; i++)
	{
		uint64_t id = number * (uint64_t) load->batch + i;

		for (int digit = LOAD_ID_TAIL; digit-- > 0; id >>= 4)
			load->records[load->id_at[i] + (size_t) digit] = (uint8_t) hex[id & 15];
		varint_put(load->records + load->time_at[i], (uint64_t) (now + (int64_t) i));
	}
}

/* ---- a producer ---- */

static bool
producer_may_send(const struct producer *p)
{
	const struct load *load = p->load;

	return p->up && !load->draining && p->under_way < LOAD_WINDOW &&
	       (load->plan->rate == 0 || load->sent + (uint64_t) load->batch <= load->allowed);
}

static void
producer_send(struct producer *p)
{
	struct load *load = p->load;
	uint8_t head[32], outer[16];
	size_t head_len = 0, outer_len = 0;
	struct buf message = BUF_INIT(4 * 1024 * 1024);

	head[head_len++] = 1 << 3;
	head_len += varint_put(head + head_len, p->agent->epoch);
	head[head_len++] = 2 << 3;
	head_len += varint_put(head + head_len, p->next_seq);
	outer[outer_len++] = 4 << 3 | 2;
	outer_len += varint_put(outer + outer_len, head_len + load->records_len);
	records_renew(load, p->number);
	buf_put(&message, outer, outer_len);
	buf_put(&message, head, head_len);
	buf_put(&message, load->records, load->records_len);
	p->sent_ns[p->under_way++] = load_now_ns(CLOCK_MONOTONIC);
	p->next_seq += (uint64_t) load->batch;
	p->number += (uint64_t) load->plan->agent_count;
	load->sent += (uint64_t) load->batch;
	if (message.failed || !grpc_send(p->call, message.data, message.len, false))
		load_fail(load, "producer", "a batch could not be sent");
	buf_free(&message);
}

static void
load_drained(struct load *load)
{
	if (!load->draining)
		return;
	for (int i = 0; i < load->plan->agent_count; i++)
		if (load->producers[i].under_way > 0)
			return;
	event_base_loopbreak(load->base);
}

static void
producer_ack(void *arg, const uint8_t *data, size_t len)
{
	struct producer *p = arg;
	struct load *load = p->load;
	Probectl__Agent__V1__StreamResultsResponse *ack =
	    probectl__agent__v1__stream_results_response__unpack(NULL, len, data);
	int64_t now = load_now_ns(CLOCK_MONOTONIC);

	if (ack == NULL || p->under_way == 0)
	{
		load_fail(load, "ingest", "an acknowledgement that is none");
		return;
	}
	p->agent->acked = ack->committed_seq;
	p->agent->repeated += ack->duplicate;
	probectl__agent__v1__stream_results_response__free_unpacked(ack, NULL);
	if (now - load->start_ns < LOAD_SETTLE_NS)
		load->settled = load->sample_count + 1;
	if (load->sample_count < LOAD_SAMPLES_MAX)
		load->samples[load->sample_count++] = (float) ((double) (now - p->sent_ns[0]) / 1e6);
	memmove(p->sent_ns, p->sent_ns + 1, sizeof(p->sent_ns[0]) * (size_t) --p->under_way);
	while (load->plan->rate == 0 && producer_may_send(p) && !load->failed)
		producer_send(p);
	load_drained(load);
}

static void
producer_closed(void *arg, int status, const char *message)
{
	struct producer *p = arg;
	char what[64];

	p->call = NULL;
	snprintf(what, sizeof(what), "ingest ended a stream (%s)", grpc_status_name(status));
	load_fail(p->load, what, message != NULL ? message : "");
}

static const struct grpc_call_ops producer_call_ops = {producer_ack, producer_closed};

static bool load_connect(struct load *load);

/* Measuring starts when the last one is connected. */
static void
producer_up(void *arg)
{
	struct producer *p = arg;
	struct load *load = p->load;
	static const struct timeval tick = {0, LOAD_TICK_MS * 1000};

	p->call = grpc_call(p->conn, LOAD_PATH, 0, &producer_call_ops, p);
	if (p->call == NULL)
	{
		load_fail(load, "producer", "a stream could not be opened");
		return;
	}
	p->up = true;
	load->ups++;
	if (!load_connect(load))
		load->failed = true, event_base_loopbreak(load->base);
	if (load->ups < load->plan->agent_count)
		return;
	load->start_ns = load->watched_ns = load_now_ns(CLOCK_MONOTONIC);
	event_add(load->tick, &tick);
	load_watch(load);
	for (int i = 0; i < load->plan->agent_count; i++)
		while (producer_may_send(&load->producers[i]) && !load->failed)
			producer_send(&load->producers[i]);
}

static void
producer_down(void *arg, const char *why)
{
	struct producer *p = arg;

	p->call = NULL;
	load_fail(p->load, "a producer lost its connection", why);
}

static const struct grpc_conn_ops producer_conn_ops = {producer_up, producer_down};

/* ---- the run ---- */

/* In turn, so that every agent sends as often as the next. */
static struct producer *
load_turn(const struct load *load)
{
	int stride = load->plan->stride > 0 ? load->plan->stride : 1;
	int leaps = load->plan->agent_count / stride;

	return &load->producers[load->turn % leaps * stride + load->turn / leaps];
}

static void
load_tick(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;
	const struct load_plan *plan = load->plan;
	int64_t spent = load_now_ns(CLOCK_MONOTONIC) - load->start_ns;
	struct timeval drain = {LOAD_DRAIN_MS / 1000, 0};

	if (load->draining)
		return;
	if (spent >= plan->seconds * 1000000000)
	{
		load->draining = true;
		load->stop_ns = load->start_ns + spent;
		event_base_loopexit(load->base, &drain);
		load_drained(load);
		return;
	}
	load->allowed = (uint64_t) ((double) spent / 1e9 * (double) plan->rate);
	for (int i = 0; i < plan->agent_count && !load->failed; i++)
	{
		struct producer *p = load_turn(load);

		if (plan->rate > 0 && load->sent + (uint64_t) load->batch > load->allowed)
			break;
		if (producer_may_send(p))
			producer_send(p);
		load->turn = (load->turn + 1) % plan->agent_count;
	}
	if (load->start_ns + spent - load->watched_ns >= LOAD_WATCH_NS)
	{
		load->watched_ns += LOAD_WATCH_NS;
		load_watch(load);
	}
}

static bool
load_address(const char *listen, char *host, size_t hostlen, struct sockaddr_in *addr)
{
	const char *colon = strrchr(listen, ':');

	if (colon == NULL || (size_t) (colon - listen) >= hostlen)
		return false;
	memcpy(host, listen, (size_t) (colon - listen));
	host[colon - listen] = '\0';
	addr->sin_family = AF_INET;
	addr->sin_port = htons((uint16_t) strtoul(colon + 1, NULL, 10));
	return inet_pton(AF_INET, host, &addr->sin_addr) == 1;
}

/* As many more connections as may shake hands at once. */
static bool
load_connect(struct load *load)
{
	const struct load_plan *plan = load->plan;

	while (load->opened < plan->agent_count && load->opened - load->ups < LOAD_CONNECTING)
	{
		int i = load->opened++;
		struct producer *p = &load->producers[i];
		struct crypto_client want = {.ca_file = plan->ca_file,
		                             .cert_file = plan->agents[i].cert_file,
		                             .key_file = plan->agents[i].key_file,
		                             .min13 = true,
		                             .alpn = "h2"};

		p->load = load;
		p->agent = &plan->agents[i];
		p->next_seq = 1;
		p->number = plan->first_batch + (uint64_t) i;
		p->ctx = crypto_client_ctx(&want, load->err, load->errlen);
		if (p->ctx == NULL)
			return false;
		p->conn = grpc_connect(load->base, p->ctx, (struct sockaddr *) &load->addr,
		                       sizeof(load->addr), &load->options, &producer_conn_ops, p, load->err,
		                       load->errlen);
		if (p->conn == NULL)
			return false;
	}
	return true;
}

static bool
load_open(struct load *load)
{
	load->options = (struct grpc_options){.host = load->host,
	                                      .connect_ms = LOAD_CONNECT_MS,
	                                      .keepalive_ms = 60000,
	                                      .keepalive_wait_ms = 20000,
	                                      .message_max = 65536};
	if (load_address(load->plan->listen, load->host, sizeof(load->host), &load->addr))
		return load_connect(load);
	snprintf(load->err, load->errlen, "%s is no numeric IPv4 HOST:PORT", load->plan->listen);
	return false;
}

static int
compare_float(const void *a, const void *b)
{
	float x = *(const float *) a, y = *(const float *) b;

	return (x > y) - (x < y);
}

/* Of sorted samples. */
static double
quantile(const float *samples, size_t count, double q)
{
	size_t at = (size_t) (q * (double) count);

	if (count == 0)
		return 0;
	return samples[at < count ? at : count - 1];
}

/* Sorts them: those of the settled time first, which are the last. */
static void
load_latencies(struct load *load, struct load_figures *figures)
{
	size_t count = load->sample_count;

	if (count > load->settled)
	{
		qsort(load->samples + load->settled, count - load->settled, sizeof(float), compare_float);
		figures->settled_ack_ms_p95 = quantile(load->samples + load->settled, count - load->settled,
		                                       0.95);
	}
	qsort(load->samples, count, sizeof(float), compare_float);
	figures->ack_ms_p50 = quantile(load->samples, count, 0.5);
	figures->ack_ms_p95 = quantile(load->samples, count, 0.95);
	figures->ack_ms_p99 = quantile(load->samples, count, 0.99);
}

/* The rate is over the time until the last acknowledgement: what is under way counts with the time
 * it took. */
static void
load_result(struct load *load, struct load_figures *figures)
{
	int64_t end = load_now_ns(CLOCK_MONOTONIC);
	struct rusage usage;

	load_watch(load);
	*figures = (struct load_figures){.record_bytes = load->record_bytes};
	load_latencies(load, figures);
	for (int i = 0; i < load->plan->agent_count; i++)
		figures->results += load->plan->agents[i].acked;
	figures->seconds = (double) (end - load->start_ns) / 1e9;
	figures->results_per_s = (double) figures->results / figures->seconds;
	getrusage(RUSAGE_SELF, &usage);
	figures->cpu_seconds = (double) usage.ru_utime.tv_sec + (double) usage.ru_stime.tv_sec +
	                       (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void
load_free(struct load *load)
{
	for (int i = 0; i < load->plan->agent_count; i++)
	{
		if (load->producers[i].conn != NULL)
			grpc_close(load->producers[i].conn);
		crypto_ctx_free(load->producers[i].ctx);
	}
	if (load->tick != NULL)
		event_free(load->tick);
	event_base_free(load->base);
	free(load->producers);
	free(load->records);
	free(load->id_at);
	free(load->time_at);
	free(load->samples);
}

bool
load_run(const struct load_plan *plan, struct load_figures *figures, char *err, size_t errlen)
{
	struct load load = {.plan = plan, .err = err, .errlen = errlen};

	signal(SIGPIPE, SIG_IGN); /* a connection that ingest closes is told, not the end */
	load.batch = plan->batch > 0 && plan->batch < LOAD_BATCH_RECORDS ? plan->batch
	                                                                 : LOAD_BATCH_RECORDS;
	load.base = event_base_new();
	load.tick = load.base ? event_new(load.base, -1, EV_PERSIST, load_tick, &load) : NULL;
	load.producers = mem_array((size_t) plan->agent_count, sizeof(struct producer));
	load.samples = mem_array(LOAD_SAMPLES_MAX, sizeof(float));
	records_make(&load);
	if (load.tick == NULL)
		load_fail(&load, "producers", "no event loop");
	else if (!load_open(&load))
		load.failed = true;
	else
		event_base_dispatch(load.base);
	if (!load.failed && load.stop_ns == 0)
		load_fail(&load, "producers", "they were never all connected");
	if (!load.failed)
		load_result(&load, figures);
	load_free(&load);
	return !load.failed;
}
