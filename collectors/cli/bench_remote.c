/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_remote.c -- remote write in: the same requests to the gateway here and, where they are installed, to Debian's Prometheus and
 * VictoriaMetrics, one after the other.
 *
 * Requests are made and compressed before the clock runs. Two shapes, because they cost differently: a scrape (each
 * series once in a request, as it comes while all is well) and a backlog (each series many times, as it comes after the receiver
 * was away). CPU time is that of all processes of the receiver, from before the first request to two seconds after the last
 * answer, so that some of what it does at leisure counts too. What waits for longer does not: compaction here (`bench metric` has it),
 * blocks and merges there. The gateway speaks TLS and commits before it answers; the others are asked on loopback in the clear, as they come.
 */
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/db.h"
#include "cli/fetch.h"
#include "cli/proc.h"
#include "cli/super.h"
#include "cli/util.h"

#define SERIES       50000
#define SENDERS      4 /* connections; each has its own series, so that their samples come in order */
#define ROWS_DEFAULT 3000000
#define ROWS_MIN     (SERIES * 2)
#define SCRAPE_MS    15000
#define SETTLE_MS    2000
#define START_MS     30000
#define REQUEST_MS   120000
#define RECEIVERS    3
#define LABEL_ROOM   512 /* bytes of a series' name and labels on the wire, at most */
#define SAMPLE_ROOM  24

struct shape
{
	const char *name;
	int samples; /* of a series in a request */
	int series;  /* in a request */
};

/* Before anything is measured each series is made known: as a sender starts, in small requests. */
static const struct shape first_shape = {"first", 1, 500};

static const struct shape shapes[] = {
    {"scrape", 1, 2500},
    {"backlog", 20, 500},
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

struct request
{
	char *body;
	size_t len;
};

/* What one connection sends, in order. */
struct sender
{
	struct request *requests;
	size_t count, next;
	CURL *easy;
};

/* Who is measured. */
struct receiver
{
	const char *name;
	const char *program; /* NULL: the instance here */
	char *url, *ca, *token;
	pid_t pids[2]; /* roots of its processes; 0 = none */
	char *dir;
	bool ok;
};

struct figures
{
	double seconds, cpu_seconds;
	int64_t samples, again;
};

/* ---- requests ---- */

static uint64_t
random_next(void)
{
	static uint64_t state = 88172645463325252ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned char *
varint_put(unsigned char *at, uint64_t n)
{
	for (; n >= 128; n >>= 7)
		*at++ = (unsigned char) (n | 128);
	*at++ = (unsigned char) n;
	return at;
}

static unsigned char *
bytes_put(unsigned char *at, int tag, const void *data, size_t len)
{
	*at++ = (unsigned char) (tag << 3 | 2);
	at = varint_put(at, len);
	memcpy(at, data, len);
	return at + len;
}

static unsigned char *
label_put(unsigned char *at, const char *name, const char *value)
{
	unsigned char inner[LABEL_ROOM], *end = bytes_put(inner, 1, name, strlen(name));

	end = bytes_put(end, 2, value, strlen(value));
	return bytes_put(at, 1, inner, (size_t) (end - inner));
}

static unsigned char *
sample_put(unsigned char *at, int64_t ms, double value)
{
	unsigned char inner[SAMPLE_ROOM], *end = inner;

	*end++ = 1 << 3 | 1;
	memcpy(end, &value, 8);
	end += 8;
	*end++ = 2 << 3;
	end = varint_put(end, (uint64_t) ms);
	return bytes_put(at, 2, inner, (size_t) (end - inner));
}

/* A node's exporter: some hundred series of each of many machines. */
static unsigned char *
series_put(unsigned char *at, unsigned char *scratch, const char *set, int number, int64_t first_ms,
           int samples)
{
	unsigned char *end = scratch;
	char text[64];

	snprintf(text, sizeof(text), "bench_%s_node_metric_%d_total", set, number % 250);
	end = label_put(end, "__name__", text);
	snprintf(text, sizeof(text), "cpu%d", number % 16);
	end = label_put(end, "cpu", text);
	snprintf(text, sizeof(text), "host-%d.example.net:9100", number / 250);
	end = label_put(end, "instance", text);
	end = label_put(end, "job", "node-exporter");
	end = label_put(end, "mode", number % 2 ? "idle" : "system");
	for (int i = 0; i < samples; i++)
		end = sample_put(end, first_ms + (int64_t) i * SCRAPE_MS + (int64_t) (random_next() % 20),
		                 (double) (random_next() % 1000000) / 1000);
	return bytes_put(at, 1, scratch, (size_t) (end - scratch));
}

static struct request
request_make(const struct shape *shape, const char *set, int first_series, int64_t first_ms)
{
	size_t one = LABEL_ROOM + (size_t) shape->samples * SAMPLE_ROOM, len;
	unsigned char *raw = malloc((size_t) shape->series * one), *at = raw;
	unsigned char *scratch = malloc(one);
	struct request r;

	if (!raw || !scratch)
		util_fail(EXIT_CANNOT, "bench remote-write: out of memory");
	for (int i = 0; i < shape->series; i++)
		at = series_put(at, scratch, set, first_series + i, first_ms, shape->samples);
	len = (size_t) (at - raw);
	r.len = snappy_max_compressed_length(len);
	r.body = malloc(r.len);
	if (!r.body || snappy_compress((const char *) raw, len, r.body, &r.len) != SNAPPY_OK)
		util_fail(EXIT_CANNOT, "bench remote-write: a request could not be compressed");
	free(raw);
	free(scratch);
	return r;
}

/* Rounds of all series, oldest first, ending now. */
static void
requests_make(struct sender *senders, const struct shape *shape, const char *set, int rounds,
              int64_t start)
{
	int mine = SERIES / SENDERS, calls = mine / shape->series;

	for (int s = 0; s < SENDERS; s++)
	{
		struct sender *sender = &senders[s];

		*sender = (struct sender){.count = (size_t) rounds * (size_t) calls};
		sender->requests = calloc(sender->count, sizeof(struct request));
		if (!sender->requests)
			util_fail(EXIT_CANNOT, "bench remote-write: out of memory");
		for (int round = 0; round < rounds; round++)
			for (int call = 0; call < calls; call++)
				sender->requests[round * calls + call] = request_make(
				    shape, set, s * mine + call * shape->series,
				    start + (int64_t) round * shape->samples * SCRAPE_MS);
	}
}

static void
requests_free(struct sender *senders)
{
	for (int s = 0; s < SENDERS; s++)
	{
		for (size_t i = 0; i < senders[s].count; i++)
			free(senders[s].requests[i].body);
		free(senders[s].requests);
	}
}

/* ---- processes ---- */

/* Adds CPU time (us) of a process, of its children that are gone, and of those that live. */
static int64_t
tree_cpu(pid_t root)
{
	int64_t ticks = 0, sum = 0;
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
	{
		pid_t pid = (pid_t) strtol(entry->d_name, NULL, 10);
		long long u, s, cu, cs;
		char *text, *at;
		int parent;

		if (pid <= 0 || !util_read(util_fmt("/proc/%d/stat", pid), 4096, &text, NULL))
			continue;
		at = strrchr(text, ')');
		if (at && sscanf(at + 2, "%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld %lld %lld",
		                 &parent, &u, &s, &cu, &cs) == 5)
		{
			if (pid == root)
				ticks = u + s + cu + cs;
			else if (parent == root)
				sum += tree_cpu(pid);
		}
		free(text);
	}
	if (dir)
		closedir(dir);
	return sum + ticks * 1000000 / sysconf(_SC_CLK_TCK);
}

static double
receiver_cpu(const struct receiver *r)
{
	return (double) (tree_cpu(r->pids[0]) + (r->pids[1] > 0 ? tree_cpu(r->pids[1]) : 0)) / 1e6;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static size_t
drop(char *data, size_t size, size_t count, void *arg)
{
	return size * count;
}

/* True when GET of the path answers 200. */
static bool
peer_answers(const struct receiver *r, const char *path)
{
	CURL *easy = curl_easy_init();
	long status = 0;

	if (!easy)
		util_fail(EXIT_CANNOT, "bench remote-write: out of memory");
	curl_easy_setopt(easy, CURLOPT_URL, util_fmt("%s%s", r->url, path));
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 2000L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (curl_easy_perform(easy) == CURLE_OK)
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(easy);
	return status == 200;
}

/* Starts a peer on a free port, with its data in a folder of its own. False when it is not installed. */
static bool
peer_start(struct receiver *r, const char *const *argv, const char *ready)
{
	int64_t until = util_now_ms() + START_MS;
	pid_t pid = fork();
	int status;

	if (pid == 0)
	{
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it ends with the measuring, however that ends */
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *) argv);
		_exit(127);
	}
	r->pids[0] = pid;
	while (pid > 0 && !peer_answers(r, ready))
	{
		if (waitpid(pid, &status, WNOHANG) == pid || util_now_ms() > until)
		{
			fprintf(stderr, "bench: %s does not run here: left out\n", r->program);
			return false;
		}
		util_pause_ms(50);
	}
	return pid > 0;
}

static void
peer_stop(struct receiver *r)
{
	if (r->pids[0] > 0 && kill(r->pids[0], SIGKILL) == 0)
		(void) waitpid(r->pids[0], NULL, 0);
	if (r->dir)
		nftw(r->dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static void
peer_prepare(struct receiver *r, const char *const *argv, const char *ready)
{
	r->ok = peer_start(r, argv, ready);
	if (!r->ok)
		peer_stop(r);
}

static char *
peer_dir(void)
{
	char dir[] = "/tmp/pctl-bench-peer-XXXXXX";

	if (!mkdtemp(dir))
		util_fail(EXIT_CANNOT, "could not make %s: %s", dir, strerror(errno));
	return util_dup(dir);
}

static void
prometheus_start(struct receiver *r)
{
	char *listen = bench_free_listen(), *config;
	struct util_error err;

	r->dir = peer_dir();
	r->url = util_fmt("http://%s", listen);
	config = util_fmt("%s/prometheus.yml", r->dir);
	if (!util_write(config, "{}\n", 3, 0600, (uid_t) -1, (gid_t) -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	peer_prepare(r,
	             (const char *[]){r->program, util_fmt("--config.file=%s", config),
	                              util_fmt("--storage.tsdb.path=%s/data", r->dir),
	                              util_fmt("--web.listen-address=%s", listen),
	                              "--web.enable-remote-write-receiver", NULL},
	             "/-/ready");
}

static void
victoria_start(struct receiver *r)
{
	char *listen = bench_free_listen();

	r->dir = peer_dir();
	r->url = util_fmt("http://%s", listen);
	peer_prepare(r,
	             (const char *[]){r->program, util_fmt("-storageDataPath=%s/data", r->dir),
	                              util_fmt("-httpListenAddr=%s", listen), NULL},
	             "/health");
}

static pid_t
pid_of(const struct home *home, const char *name)
{
	json_t *state = super_state(home);
	struct proc_id id;
	bool ok = proc_from_json(json_object_get(super_child(state, name), "process"), &id) &&
	          proc_alive(&id);

	json_decref(state);
	if (!ok)
		util_fail(EXIT_CANNOT, "bench remote-write: %s does not run", name);
	return id.pid;
}

/* The instance here: no limit on series for the length of the run. */
static void
own_start(struct receiver *r, const struct home *home)
{
	struct fetch_target target = fetch_target_home(home);

	r->url = target.url;
	r->ca = target.ca;
	r->token = target.token;
	r->pids[0] = pid_of(home, "postgres");
	r->pids[1] = pid_of(home, "gateway");
	r->ok = true;
}

/* ---- sending ---- */

/* Puts the next request under way; false when there is none. */
static bool
sender_next(CURLM *multi, struct sender *sender)
{
	const struct request *r;

	if (sender->next == sender->count)
		return false;
	r = &sender->requests[sender->next++];
	curl_easy_setopt(sender->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) r->len);
	curl_easy_setopt(sender->easy, CURLOPT_POSTFIELDS, r->body);
	return curl_multi_add_handle(multi, sender->easy) == CURLM_OK;
}

static void
sender_open(struct sender *sender, const struct receiver *r, struct curl_slist *headers)
{
	CURL *easy = curl_easy_init();

	if (!easy)
		util_fail(EXIT_CANNOT, "bench remote-write: out of memory");
	sender->easy = easy;
	sender->next = 0;
	curl_easy_setopt(
	    easy, CURLOPT_URL,
	    util_fmt("%s%s", r->url, r->program ? "/api/v1/write" : "/v1/prometheus/write"));
	if (r->ca)
		curl_easy_setopt(easy, CURLOPT_CAINFO, r->ca);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, drop);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) REQUEST_MS);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, sender);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
}

/* True when it is to be sent again: the receiver is busy, as a sender would take it. */
static bool
answer_is_busy(CURL *easy, CURLcode code, const struct receiver *r)
{
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK && (status == 503 || status == 504))
		return true;
	if (code != CURLE_OK || status / 100 != 2)
		util_fail(EXIT_CANNOT, "bench remote-write: %s answered %ld: %s", r->name, status,
		          curl_easy_strerror(code));
	return false;
}

/* Sends everything until it is answered 2xx; any other answer ends the process. Number of requests sent again. */
static int64_t
send_all(struct sender *senders, const struct receiver *r)
{
	CURLM *multi = curl_multi_init();
	struct curl_slist *headers = NULL;
	int under_way = 0, running, left;
	int64_t again = 0;
	CURLMsg *message;

	headers = curl_slist_append(headers, "Content-Type: application/x-protobuf");
	headers = curl_slist_append(headers, "Content-Encoding: snappy");
	headers = curl_slist_append(headers, "X-Prometheus-Remote-Write-Version: 0.1.0");
	headers = curl_slist_append(headers, "Expect:");
	if (r->token)
		headers = curl_slist_append(headers, util_fmt("Authorization: Bearer %s", r->token));
	for (int s = 0; s < SENDERS; s++)
	{
		sender_open(&senders[s], r, headers);
		under_way += sender_next(multi, &senders[s]);
	}
	while (under_way > 0)
	{
		curl_multi_perform(multi, &running);
		while ((message = curl_multi_info_read(multi, &left)) != NULL)
		{
			CURL *easy = message->easy_handle;
			struct sender *sender;

			if (message->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &sender);
			if (answer_is_busy(easy, message->data.result, r))
			{
				sender->next--;
				again++;
			}
			curl_multi_remove_handle(multi, easy);
			under_way -= !sender_next(multi, sender);
		}
		if (running > 0)
			curl_multi_poll(multi, NULL, 0, 100, NULL);
	}
	for (int s = 0; s < SENDERS; s++)
		curl_easy_cleanup(senders[s].easy);
	curl_slist_free_all(headers);
	curl_multi_cleanup(multi);
	return again;
}

/* Makes the series known, then sends the samples. */
static struct figures
measure(struct sender *senders, const struct receiver *r, const struct shape *shape, int rounds)
{
	int64_t start = util_wall_ms() - (int64_t) rounds * shape->samples * SCRAPE_MS, began;
	struct sender first[SENDERS];
	struct figures f = {.samples = (int64_t) rounds * shape->samples * SERIES};
	double cpu;

	requests_make(first, &first_shape, shape->name, 1, start - SCRAPE_MS);
	(void) send_all(first, r);
	requests_free(first);
	requests_make(senders, shape, shape->name, rounds, start);
	cpu = receiver_cpu(r);
	began = util_now_ms();
	f.again = send_all(senders, r);
	f.seconds = (double) (util_now_ms() - began) / 1000;
	util_pause_ms(SETTLE_MS);
	f.cpu_seconds = receiver_cpu(r) - cpu;
	requests_free(senders);
	return f;
}

/* ---- figures ---- */

static void
report(json_t *out, const struct receiver *r, const struct shape *shape, const struct figures *f)
{
	/* Of a scrape, and of the instance here, the names are bare. */
	const char *before = r->program ? util_fmt("%s_", r->name) : "";
	const char *after = shape == shapes ? "" : util_fmt("_%s", shape->name);

	json_object_set_new(out, util_fmt("%ssamples_per_s%s", before, after),
	                    json_real((double) f->samples / f->seconds));
	json_object_set_new(out, util_fmt("%sus_per_sample%s", before, after),
	                    json_real(f->cpu_seconds * 1e6 / (double) f->samples));
	json_object_set_new(out, util_fmt("%ssent_again%s", before, after), json_integer(f->again));
}

/* What was acknowledged is there. */
static void
own_check(PGconn *conn, const struct shape *shape, int64_t samples)
{
	const char *counted;

	/* There are no statistics yet: it would compare all with all. */
	db_run(conn, "SET enable_nestloop = off");
	counted = db_value(
	    conn,
	    util_fmt(
	        "SELECT (SELECT coalesce(sum(h.samples), 0) FROM (SELECT r.tenant_id, c.series_id, "
	        "sum(c.samples) AS samples FROM probectl.metric_hot r, LATERAL "
	        "probectl_internal.metric_hot_content(r.data) c GROUP BY 1, 2) h JOIN "
	        "probectl.metric_series s USING (tenant_id, series_id) WHERE s.name LIKE "
	        "'bench_%s_%%') + (SELECT coalesce(sum(c.samples), 0) FROM probectl.metric_chunk c "
	        "JOIN probectl.metric_series s USING (tenant_id, series_id) WHERE c.level = 0 AND "
	        "s.name LIKE 'bench_%s_%%')",
	        shape->name, shape->name),
	    0, NULL);

	/* A request that was sent again may be there twice until it is compacted. */
	if (!counted || strtoll(counted, NULL, 10) < samples)
		util_fail(EXIT_CANNOT, "bench remote-write: %lld samples were acknowledged, %s are there",
		          (long long) samples, counted ? counted : "none");
}

static void
shape_run(const struct shape *shape, int64_t rows, struct receiver *receivers, PGconn *conn,
          json_t *out)
{
	int rounds = (int) (rows / SERIES / shape->samples);
	struct sender senders[SENDERS];

	rounds = rounds > 0 ? rounds : 1;
	for (int i = 0; i < RECEIVERS; i++)
	{
		struct figures f;

		if (i == 1)
			prometheus_start(&receivers[i]);
		else if (i == 2)
			victoria_start(&receivers[i]);
		if (!receivers[i].ok)
			continue;
		fprintf(stderr, "bench: %s: %d rounds of %d series to %s\n", shape->name, rounds, SERIES,
		        receivers[i].name);
		f = measure(senders, &receivers[i], shape, rounds);
		report(out, &receivers[i], shape, &f);
		if (i > 0)
			peer_stop(&receivers[i]);
	}
	own_check(conn, shape, (int64_t) (rounds * shape->samples + 1) * SERIES);
}

static void
run(const struct bench_env *env, json_t *out)
{
	int64_t rows = env->rows ? env->rows : ROWS_DEFAULT;
	struct receiver receivers[RECEIVERS] = {
	    {.name = "probectl"},
	    {.name = "prometheus", .program = "prometheus"},
	    {.name = "victoria_metrics", .program = "victoria-metrics"},
	};
	PGconn *conn = db_connect(env->home, HOME_DATABASE);

	if (rows < ROWS_MIN)
		util_fail(EXIT_USAGE, "bench remote-write: --rows is at least %d", ROWS_MIN);
	if (!env->private)
		util_fail(EXIT_USAGE, "bench remote-write: on a private instance only, it fills a tenant");
	db_run(conn, "SELECT probectl.tenant_set_quota(tenant_id, 'series', NULL) FROM probectl.tenant "
	             "WHERE slug = '" HOME_TENANT "'");
	own_start(&receivers[0], env->home);
	for (size_t i = 0; i < SHAPES; i++)
		shape_run(&shapes[i], rows, receivers, conn, out);
	PQfinish(conn);
	json_object_set_new(out, "series", json_integer(SERIES));
	json_object_set_new(out, "samples", json_integer((json_int_t) rows));
}

const struct bench bench_remote = {
    .name = "remote-write",
    .summary = "samples by remote write, beside Prometheus and VictoriaMetrics",
    .run = run,
};
