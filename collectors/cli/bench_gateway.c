/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_gateway.c -- how many reads a second the gateway serves: the newest results of
 * a tenant over TLS, on connections that are kept, each with one request under way.
 *
 * Credential, permission, tenant binding, row-level security and JSON are all in the path,
 * as for a page that polls. A private instance gets a board to read: tests on
 * loopback and an agent that runs them. Every answer is checked for its status and its length.
 * The load comes from the same machine and its share of the processor is part of the figure.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "cli/bench.h"
#include "cli/fetch.h"
#include "cli/proc.h"
#include "cli/services.h"
#include "cli/util.h"

#define CLIENTS         16
#define SECONDS_DEFAULT 10
#define WARM_UP_MS      1000
#define SAMPLES_MAX     4000000 /* latencies kept; the run ends when they are full */
#define HEAD_MAX        16384
#define READ_SIZE       65536
#define TESTS           20
#define INTERVAL        2 /* seconds */
#define BOARD_WAIT_MS   60000
#define PATH            "/v1/results/latest?limit=50"

struct client
{
	int fd;
	SSL *ssl;
	int64_t sent_ns;
	char head[HEAD_MAX]; /* of the answer being read */
	size_t head_len;
	bool in_body;
	size_t left; /* bytes of the body still to come */
};

struct load
{
	struct client clients[CLIENTS];
	char request[2048];
	size_t request_len;
	int epoll;
	int64_t measure_from; /* ns */
	int64_t end;
	float *latency_ms;
	size_t count;
	size_t body_bytes;
};

static int64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static const char *
tls_error(void)
{
	const char *text = ERR_reason_error_string(ERR_get_error());

	return text ? text : strerror(errno);
}

/* "https://host:port" -> a connected socket. */
static int
dial(const char *url, char *host, size_t host_size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char port[16];
	int fd, one = 1, rc;

	if (strncmp(url, "https://", 8) != 0 ||
	    !util_host_port(url + 8, host, host_size, port, sizeof(port)))
		util_fail(EXIT_USAGE, "bench gateway: %s is not https://host:port", url);
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc != 0)
		util_fail(EXIT_CANNOT, "bench gateway: %s: %s", host, gai_strerror(rc));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0)
		util_fail(EXIT_CANNOT, "bench gateway: cannot connect to %s: %s", url, strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(found);
	return fd;
}

/* Connects and completes the handshake before anything is measured. */
static void
client_open(struct load *load, struct client *c, SSL_CTX *ctx, const char *url)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	char host[256];

	c->fd = dial(url, host, sizeof(host));
	c->ssl = SSL_new(ctx);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1 || SSL_set1_host(c->ssl, host) != 1 ||
	    SSL_set_tlsext_host_name(c->ssl, host) != 1)
		util_fail(EXIT_CANNOT, "bench gateway: TLS: %s", tls_error());
	if (SSL_connect(c->ssl) != 1)
		util_fail(EXIT_CANNOT, "bench gateway: handshake with %s failed: %s", url, tls_error());
	if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0 ||
	    epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		util_fail(EXIT_CANNOT, "bench gateway: %s", strerror(errno));
}

/* A request is smaller than an empty socket's buffer: it leaves in one piece. */
static void
client_send(struct load *load, struct client *c)
{
	c->head_len = 0;
	c->in_body = false;
	c->sent_ns = now_ns();
	if (SSL_write(c->ssl, load->request, (int) load->request_len) != (int) load->request_len)
		util_fail(EXIT_CANNOT, "bench gateway: sending failed: %s", tls_error());
}

static void
client_answered(struct load *load, struct client *c)
{
	int64_t now = now_ns();

	if (c->sent_ns >= load->measure_from && now < load->end && load->count < SAMPLES_MAX)
		load->latency_ms[load->count++] = (float) ((double) (now - c->sent_ns) / 1e6);
	if (now < load->end && load->count < SAMPLES_MAX)
		client_send(load, c);
}

/* Takes bytes into the head; when it is complete, what follows is body. */
static void
client_head(struct load *load, struct client *c, const char *data, size_t len)
{
	const char *end, *length;
	size_t body;

	if (c->head_len + len >= HEAD_MAX)
		len = HEAD_MAX - 1 - c->head_len;
	memcpy(c->head + c->head_len, data, len);
	c->head_len += len;
	c->head[c->head_len] = '\0';
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
	{
		if (c->head_len == HEAD_MAX - 1)
			util_fail(EXIT_CANNOT, "bench gateway: the head of an answer is too large");
		return;
	}
	length = strcasestr(c->head, "\r\nContent-Length: ");
	if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || !length || length > end)
		util_fail(EXIT_CANNOT, "bench gateway: " PATH " answered \"%.*s\"",
		          (int) strcspn(c->head, "\r"), c->head);
	body = strtoul(length + 18, NULL, 10);
	load->body_bytes = body;
	c->in_body = true;
	c->left = body;
}

static void
client_data(struct load *load, struct client *c, const char *data, size_t len)
{
	while (len > 0)
	{
		size_t used = len;

		if (!c->in_body)
		{
			size_t before = c->head_len;

			client_head(load, c, data, len);
			if (!c->in_body)
				return;
			used = (size_t) (strstr(c->head, "\r\n\r\n") + 4 - c->head) - before;
		}
		else
		{
			used = len < c->left ? len : c->left;
			c->left -= used;
		}
		data += used;
		len -= used;
		if (c->in_body && c->left == 0)
		{
			if (len > 0)
				util_fail(EXIT_CANNOT, "bench gateway: an answer is longer than it says");
			client_answered(load, c);
			return;
		}
	}
}

static void
client_read(struct load *load, struct client *c)
{
	static char data[READ_SIZE];

	for (;;)
	{
		size_t n;

		if (SSL_read_ex(c->ssl, data, sizeof(data), &n) == 1)
		{
			client_data(load, c, data, n);
			continue;
		}
		if (SSL_get_error(c->ssl, 0) != SSL_ERROR_WANT_READ)
			util_fail(EXIT_CANNOT, "bench gateway: the connection ended: %s", tls_error());
		return;
	}
}

static int
compare_float(const void *a, const void *b)
{
	float x = *(const float *) a, y = *(const float *) b;

	return (x > y) - (x < y);
}

static void
load_open(struct load *load, const struct fetch_target *target)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int n;

	if (!ctx || SSL_CTX_load_verify_locations(ctx, target->ca, NULL) != 1)
		util_fail(EXIT_CANNOT, "bench gateway: cannot load %s: %s", target->ca, tls_error());
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_read_ahead(ctx, 1);
	n = snprintf(load->request, sizeof(load->request),
	             "GET " PATH " HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n",
	             target->url + 8, target->token);
	if (n < 0 || (size_t) n >= sizeof(load->request))
		util_fail(EXIT_USAGE, "bench gateway: the token is too long");
	load->request_len = (size_t) n;
	load->latency_ms = calloc(SAMPLES_MAX, sizeof(float));
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!load->latency_ms || load->epoll < 0)
		util_fail(EXIT_CANNOT, "bench gateway: %s", strerror(errno));
	for (int i = 0; i < CLIENTS; i++)
		client_open(load, &load->clients[i], ctx, target->url);
	SSL_CTX_free(ctx);
}

static void
load_run(struct load *load, int64_t seconds)
{
	struct epoll_event events[CLIENTS];
	int64_t began = now_ns();

	load->measure_from = began + (int64_t) WARM_UP_MS * 1000000;
	load->end = load->measure_from + seconds * 1000000000;
	for (int i = 0; i < CLIENTS; i++)
		client_send(load, &load->clients[i]);
	while (now_ns() < load->end && load->count < SAMPLES_MAX)
	{
		int n = epoll_wait(load->epoll, events, CLIENTS, 1000);

		for (int i = 0; i < n; i++)
			client_read(load, events[i].data.ptr);
	}
	if (load->count == 0)
		util_fail(EXIT_CANNOT, "bench gateway: no answer within %lld s", (long long) seconds);
	if (now_ns() < load->end) /* the table of latencies is full */
		load->end = now_ns();
}

static void
load_close(struct load *load)
{
	for (int i = 0; i < CLIENTS; i++)
	{
		SSL_free(load->clients[i].ssl);
		close(load->clients[i].fd);
	}
	close(load->epoll);
	free(load->latency_ms);
	free(load);
}

/* ---- something to read ---- */

static void
board_tests(const struct fetch_target *target, const char *to)
{
	for (int i = 0; i < TESTS; i++)
	{
		json_t *test = json_pack("{s:s, s:s, s:s, s:i, s:i}", "name", util_fmt("board %d", i),
		                         "type", "tcp", "target", to, "interval_seconds", INTERVAL,
		                         "timeout_seconds", 1);
		char *text = json_dumps(test, JSON_COMPACT);
		struct fetch_answer answer = fetch_call(target, "POST", "/v1/tests", text, 10000);

		free(text);
		json_decref(test);
		if (answer.status != 201)
			util_fail(EXIT_CANNOT, "bench gateway: could not add a test: %s",
			          fetch_message(&answer));
	}
}

static size_t
board_items(const struct fetch_target *target)
{
	struct fetch_answer answer = fetch_call(target, "GET", PATH, NULL, 10000);
	json_t *board = json_loads(answer.body, 0, NULL);
	size_t items = json_array_size(json_object_get(board, "items"));

	json_decref(board);
	if (answer.status != 200)
		util_fail(EXIT_CANNOT, "bench gateway: " PATH ": %s", fetch_message(&answer));
	return items;
}

/* Tests, an agent that runs them, and patience until each has a result. */
static void
board_make(const struct bench_env *env, const struct fetch_target *target)
{
	const char *argv[] = {"/proc/self/exe", "enroll", "--home", env->home->named,
	                      "--local",        "bench",  NULL};
	int64_t until = util_now_ms() + BOARD_WAIT_MS;
	struct util_error err;

	board_tests(target, services_reach(home_text(env->home, "gateway_listen")));
	if (!proc_run(argv, NULL, NULL, &err))
		util_fail(EXIT_CANNOT, "bench gateway: %s", err.text);
	while (board_items(target) < TESTS)
	{
		if (util_now_ms() > until)
			util_fail(EXIT_CANNOT, "bench gateway: no results of the agent within %d s",
			          BOARD_WAIT_MS / 1000);
		util_pause_ms(200);
	}
}

static void
run(const struct bench_env *env, json_t *out)
{
	struct fetch_target target = fetch_target_home(env->home);
	int64_t seconds = env->seconds ? env->seconds : SECONDS_DEFAULT;
	struct load *load = calloc(1, sizeof(*load));
	double measured;

	if (!load)
		util_fail(EXIT_CANNOT, "bench gateway: %s", strerror(errno));
	if (env->private)
		board_make(env, &target);
	load_open(load, &target);
	fprintf(stderr, "bench: %d connections for %lld s\n", CLIENTS, (long long) seconds);
	load_run(load, seconds);

	measured = (double) (load->end - load->measure_from) / 1e9;
	qsort(load->latency_ms, load->count, sizeof(float), compare_float);
	json_object_set_new(out, "requests_per_s", json_real((double) load->count / measured));
	json_object_set_new(out, "p50_ms", json_real((double) load->latency_ms[load->count / 2]));
	json_object_set_new(out, "p99_ms",
	                    json_real((double) load->latency_ms[load->count * 99 / 100]));
	json_object_set_new(out, "max_ms", json_real((double) load->latency_ms[load->count - 1]));
	json_object_set_new(out, "requests", json_integer((json_int_t) load->count));
	json_object_set_new(out, "connections", json_integer(CLIENTS));
	json_object_set_new(out, "items", json_integer((json_int_t) board_items(&target)));
	json_object_set_new(out, "body_bytes", json_integer((json_int_t) load->body_bytes));
	json_object_set_new(out, "seconds", json_real(measured));
	load_close(load);
}

const struct bench bench_gateway = {
    .name = "gateway",
    .summary = "tenant-bound reads a second over TLS, and their latency",
    .run = run,
};
