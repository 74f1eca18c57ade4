/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_spool.c -- store and forward on real files: how fast records go in, with the agent's group
 * fsync, whether taking them out costs more when more of them wait, and what three days without a link
 * at 100 tests a minute take on disk, with a clock that is only told to go on.
 *
 * The records are results as agents send them: icmp, tcp and http of 100 tests, each with an identifier,
 * times and values of its own. Needs no instance.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/util.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/spool.h"
#include "probectl/result/v1/result.pb-c.h"

#define APPENDS         200000
#define SYNC_EVERY      2500 /* 50 ms at the rate that is aimed at */
#define SHALLOW         10000
#define TESTS           100
#define OFFLINE_HOURS   72
#define OFFLINE_RECORDS (OFFLINE_HOURS * 60 * TESTS)
#define OFFLINE_BYTES   (64 << 20)
#define START           INT64_C(1800000000000000000)
#define RECORD_MAX      2048
#define METRICS_MAX     12
#define ATTRIBUTES_MAX  8

/* ---- results ---- */

struct kind
{
	const char *type, *transport, *protocol, *target;
	const char *metrics[METRICS_MAX];
	const char *attributes[ATTRIBUTES_MAX]; /* name, value, name, value */
};

static const struct kind kinds[] = {
    {"icmp",
     "icmp",
     "",
     "host%d.example.net",
     {"loss.ratio", "packets.sent", "packets.received", "rtt.min.ms", "rtt.avg.ms", "rtt.max.ms",
      "rtt.stddev.ms", "jitter.ms", "packets.duplicated", "packets.reordered"},
     {"network.peer.address", "192.0.2.%d"}},
    {"tcp",
     "tcp",
     "",
     "host%d.example.net",
     {"loss.ratio", "packets.sent", "packets.received", "connect.min.ms", "connect.avg.ms",
      "connect.max.ms", "connect.stddev.ms", "jitter.ms"},
     {"network.peer.address", "192.0.2.%d", "network.peer.port", "443"}},
    {"http",
     "tcp",
     "http",
     "host%d.example.net",
     {"http.dns.ms", "http.connect.ms", "http.tls.ms", "http.ttfb.ms", "http.transfer.ms",
      "http.total.ms", "http.status", "http.content.bytes", "http.redirects"},
     {"http.request.method", "GET", "http.response.status_code", "200", "network.peer.address",
      "192.0.2.%d", "url.full", "https://host%d.example.net/health"}},
};

static uint64_t
random_next(void)
{
	static uint64_t state = 88172645463325252ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* A value as a canary rounds it: times to the microsecond, counts whole. */
static double
value_of(const char *metric)
{
	size_t len = strlen(metric);

	if (len > 3 && strcmp(metric + len - 3, ".ms") == 0)
		return (double) (random_next() % 40000) / 1000.0;
	return strcmp(metric, "http.status") == 0 ? 200 : strstr(metric, "packets.sent") ? 5 : 0;
}

static size_t
result_make(unsigned number, int64_t at, uint8_t out[RECORD_MAX])
{
	const struct kind *k = &kinds[number % TESTS % 3];
	Probectl__Result__V1__Result r = PROBECTL__RESULT__V1__RESULT__INIT;
	Probectl__Result__V1__Result__MetricsEntry metrics[METRICS_MAX], *metric_list[METRICS_MAX];
	Probectl__Result__V1__Result__AttributesEntry attributes[ATTRIBUTES_MAX],
	    *attribute_list[ATTRIBUTES_MAX];
	char target[64], values[ATTRIBUTES_MAX][64], id[37], test_id[37];
	unsigned test = number % TESTS;

	for (size_t i = 0; i < METRICS_MAX && k->metrics[i]; i++)
	{
		probectl__result__v1__result__metrics_entry__init(&metrics[i]);
		metrics[i].key = (char *) k->metrics[i];
		metrics[i].value = value_of(k->metrics[i]);
		metric_list[r.n_metrics++] = &metrics[i];
	}
	for (size_t i = 0; i + 1 < ATTRIBUTES_MAX && k->attributes[i]; i += 2)
	{
		snprintf(values[i], sizeof(values[i]), k->attributes[i + 1], test);
		probectl__result__v1__result__attributes_entry__init(&attributes[i]);
		attributes[i].key = (char *) k->attributes[i];
		attributes[i].value = values[i];
		attribute_list[r.n_attributes++] = &attributes[i];
	}
	snprintf(target, sizeof(target), k->target, test);
	snprintf(id, sizeof(id), "%08x-%04x-7%03x-8%03x-%012llx", (unsigned) (at >> 36),
	         (unsigned) (at >> 20) & 0xffff, (unsigned) random_next() & 0xfff,
	         (unsigned) random_next() & 0xfff,
	         (unsigned long long) (random_next() & 0xffffffffffffULL));
	snprintf(test_id, sizeof(test_id), "%08x-7e57-4000-8000-%012x", test * 0x9e3779b9u,
	         test * 0x85ebca6bu);
	r.metrics = metric_list;
	r.attributes = attribute_list;
	r.canary_type = (char *) k->type;
	r.network_transport = (char *) k->transport;
	r.network_protocol_name = (char *) k->protocol;
	r.server_address = target;
	r.server_port = number % 3 ? 443 : 0;
	r.success = true;
	r.start_time_unix_nano = at - (int64_t) (random_next() % 30000000);
	r.duration_nano = (int64_t) (random_next() % 30000000);
	r.result_id = id;
	r.test_id = test_id;
	if (probectl__result__v1__result__get_packed_size(&r) > RECORD_MAX)
		util_fail(EXIT_CANNOT, "bench spool: a record is too long");
	return probectl__result__v1__result__pack(&r, out);
}

/* ---- files ---- */

static uint64_t disk_bytes;

static int
add_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	disk_bytes += (uint64_t) st->st_blocks * 512;
	return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static struct spool *
open_in(const char *dir, const struct spool_limits *limits)
{
	char err[512];
	struct spool *s = spool_open(dir, limits, err, sizeof(err));

	if (!s)
		util_fail(EXIT_CANNOT, "bench spool: %s", err);
	return s;
}

static void
append(struct spool *s, const uint8_t *record, size_t len, int64_t at)
{
	if (!spool_append(s, record, len, at, NULL))
		util_fail(EXIT_CANNOT, "bench spool: a record is lost: %s", strerror(errno));
}

static void
sync_all(struct spool *s)
{
	if (!spool_sync(s))
		util_fail(EXIT_CANNOT, "bench spool: fsync: %s", strerror(errno));
}

/* Takes out and acknowledges at most so many, as the agent does; how many there were. */
static uint64_t
drain(struct spool *s, uint64_t most)
{
	struct spool_batch b;
	uint64_t count = 0;

	spool_batch_init(&b);
	while (count < most && spool_read(s, 500, 128 * 1024, &b))
	{
		spool_ack(s, b.epoch, b.first + b.count - 1);
		count += b.count;
	}
	spool_batch_free(&b);
	return count;
}

/* ---- the parts ---- */

static void
fill(struct spool *s, unsigned records, const uint8_t (*ready)[RECORD_MAX], const size_t *lens)
{
	for (unsigned i = 0; i < records; i++)
	{
		append(s, ready[i % TESTS], lens[i % TESTS], clock_unix_nano());
		if (i % SYNC_EVERY == SYNC_EVERY - 1)
			sync_all(s);
	}
	sync_all(s);
}

static void
measure_rates(const char *dir, json_t *out)
{
	const struct spool_limits limits = {.max_records = 10000000, .max_bytes = UINT64_C(1) << 30};
	static uint8_t ready[TESTS][RECORD_MAX];
	size_t lens[TESTS], bytes = 0;
	struct spool *s = open_in(dir, &limits);
	double from, deep;

	for (unsigned i = 0; i < TESTS; i++)
		bytes += lens[i] = result_make(i, clock_unix_nano(), ready[i]);
	from = bench_now_s();
	fill(s, APPENDS, ready, lens);
	json_object_set_new(out, "appended_per_s", json_real(APPENDS / (bench_now_s() - from)));
	json_object_set_new(out, "record_bytes", json_real((double) bytes / TESTS));
	/* The first of many, then as many when there are no more. */
	from = bench_now_s();
	drain(s, SHALLOW);
	deep = bench_now_s() - from;
	drain(s, UINT64_MAX);
	fill(s, SHALLOW, ready, lens);
	from = bench_now_s();
	drain(s, UINT64_MAX);
	json_object_set_new(out, "drained_per_s", json_real(SHALLOW / (bench_now_s() - from)));
	json_object_set_new(out, "drain_depth_ratio", json_real(deep / (bench_now_s() - from)));
	spool_close(s);
}

/* Three days at 100 tests a minute; each record is synced with those of the same second. */
static void
measure_offline(const char *dir, json_t *out)
{
	const struct spool_limits limits = {.max_records = 1000000,
	                                    .max_bytes = OFFLINE_BYTES,
	                                    .max_age_nano = 168 * 3600 * NANO_PER_SECOND};
	int64_t step = 60 * NANO_PER_SECOND / TESTS;
	uint8_t record[RECORD_MAX];
	struct spool_stats stats;
	struct spool *s;
	uint64_t lost = 0;
	double from;

	clock_virtual(START, START);
	s = open_in(dir, &limits);
	for (unsigned i = 0; i < OFFLINE_RECORDS; i++)
	{
		clock_advance(step);
		append(s, record, result_make(i, clock_unix_nano(), record), clock_unix_nano());
		if (i % (SYNC_EVERY / 5) == 0)
			sync_all(s);
	}
	sync_all(s);
	disk_bytes = 0;
	nftw(dir, add_one, 8, FTW_PHYS);
	json_object_set_new(out, "offline_hours", json_integer(OFFLINE_HOURS));
	json_object_set_new(out, "offline_records", json_integer(OFFLINE_RECORDS));
	json_object_set_new(out, "offline_mb", json_real((double) disk_bytes / (1 << 20)));
	/* As after a kill: the files are read, then everything is sent. */
	spool_close(s);
	from = bench_now_s();
	s = open_in(dir, &limits);
	json_object_set_new(out, "offline_open_ms", json_real((bench_now_s() - from) * 1e3));
	from = bench_now_s();
	json_object_set_new(out, "offline_lost",
	                    json_integer(OFFLINE_RECORDS - (json_int_t) drain(s, UINT64_MAX)));
	json_object_set_new(out, "offline_drained_per_s",
	                    json_real(OFFLINE_RECORDS / (bench_now_s() - from)));
	spool_stats(s, &stats);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		lost += stats.dropped[i];
	json_object_set_new(out, "offline_dropped", json_integer((json_int_t) lost));
	spool_close(s);
}

static void
run(const struct bench_env *env, json_t *out)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = util_fmt("%s/pctl-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");

	if (!mkdtemp(dir))
		util_fail(EXIT_CANNOT, "could not make %s: %s", dir, strerror(errno));
	log_set_level(LOG_LEVEL_ERROR);
	measure_rates(util_fmt("%s/rates", dir), out);
	fprintf(stderr, "bench: %d hours without a link\n", OFFLINE_HOURS);
	measure_offline(util_fmt("%s/offline", dir), out);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const struct bench bench_spool = {
    .name = "spool",
    .summary = "store and forward: records in, records out, three days without a link",
    .alone = true,
    .run = run,
};
