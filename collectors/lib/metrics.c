/* SPDX-License-Identifier: PostgreSQL
 *
 * metrics.c -- registry, OpenMetrics text and the status socket.
 *
 * The HTTP spoken here is the smallest that curl --unix-socket and a scraper need: one
 * request a connection, then close. It is written on bufferevents rather than on evhttp so
 * that the agent, which has nothing else to do with HTTP servers, stays small. Connections
 * are bounded in number, bytes and time: the socket is readable by a group, not trusted.
 */
#include "lib/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "lib/buf.h"
#include "lib/mem.h"

#define METRICS_TABLES_MAX      32
#define METRICS_TEXT_MAX        (1024 * 1024)
#define METRICS_REQUEST_MAX     8192
#define METRICS_CONNECTIONS_MAX 16
#define METRICS_TIMEOUT_SECONDS 5

struct connection
{
	LIST_ENTRY(connection) entry;
	struct metrics_server *server;
	struct bufferevent *bev;
};

struct metrics_server
{
	LIST_HEAD(connections, connection) open;
	struct event_base *base;
	struct evconnlistener *listener;
	char path[sizeof(((struct sockaddr_un *) 0)->sun_path)];
	int connections;
	struct event *stop; /* thread variant only */
	int stop_fd;
	bool threaded;
	pthread_t thread;
};

static int64_t read_rss(void);
static int64_t read_cpu(void);

enum
{
	ROW_START,
	ROW_BACKLOG,
	ROW_LAST_RESULT,
	ROW_RSS,
	ROW_CPU,
	ROW_COUNT,
};

static struct metric standard[ROW_COUNT] = {
    [ROW_START] = {.name = "probectl_process_start_time_seconds",
                   .kind = METRIC_KIND_GAUGE,
                   .divisor = 1000000000,
                   .help = "Unix time at which the process started."},
    [ROW_BACKLOG] = METRIC_GAUGE("probectl_backlog", NULL,
                                 "Items accepted but not yet durable or sent."),
    [ROW_LAST_RESULT] = {.name = "probectl_last_result_timestamp_seconds",
                         .kind = METRIC_KIND_GAUGE,
                         .divisor = 1000000000,
                         .help = "Unix time of the newest result handled; 0 before the first."},
    [ROW_RSS] = {.name = "probectl_process_resident_memory_bytes",
                 .kind = METRIC_KIND_GAUGE,
                 .read = read_rss,
                 .help = "Resident memory."},
    [ROW_CPU] = {.name = "probectl_process_cpu_seconds_total",
                 .kind = METRIC_KIND_COUNTER,
                 .divisor = 1000000,
                 .read = read_cpu,
                 .help = "User and system CPU time used."},
};

static const char *metrics_process = "unknown";

static struct metrics_table
{
	struct metric *rows;
	size_t count;
} tables[METRICS_TABLES_MAX];
static size_t table_count;

/* ---- registry ---- */

void
metrics_init(const char *process)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	metrics_process = process;
	metric_set(&standard[ROW_START], (int64_t) now.tv_sec * 1000000000 + now.tv_nsec);
	table_count = 0;
	metrics_register(standard, ROW_COUNT);
}

void
metrics_register(struct metric *rows, size_t count)
{
	if (table_count == METRICS_TABLES_MAX)
		abort();
	tables[table_count].rows = rows;
	tables[table_count++].count = count;
}

void
metrics_backlog(int64_t items)
{
	metric_set(&standard[ROW_BACKLOG], items);
}

void
metrics_backlog_add(int64_t items)
{
	metric_add(&standard[ROW_BACKLOG], items);
}

void
metrics_last_result(int64_t unix_nano)
{
	metric_set(&standard[ROW_LAST_RESULT], unix_nano);
}

static int64_t
read_rss(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%*s %ld", &pages) != 1)
		pages = 0;
	fclose(f);
	return (int64_t) pages * sysconf(_SC_PAGESIZE);
}

static int64_t
read_cpu(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (int64_t) (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + use.ru_utime.tv_usec +
	       use.ru_stime.tv_usec;
}

/* ---- text ---- */

static void
render_family(struct buf *out, const struct metric *m)
{
	size_t len = strlen(m->name);

	/* OpenMetrics: the family of a counter has no _total, its samples have. */
	if (m->kind == METRIC_KIND_COUNTER && len > 6 && strcmp(m->name + len - 6, "_total") == 0)
		len -= 6;
	buf_printf(out, "# TYPE %.*s %s\n", (int) len, m->name,
	           m->kind == METRIC_KIND_COUNTER ? "counter" : "gauge");
	buf_printf(out, "# HELP %.*s %s\n", (int) len, m->name, m->help);
}

static void
render_sample(struct buf *out, const struct metric *m)
{
	int64_t value = m->read ? m->read() : metric_get(m);

	buf_put_str(out, m->name);
	if (m->labels)
		buf_printf(out, "{%s}", m->labels);
	if (m->divisor > 1)
		buf_printf(out, " %.6f\n", (double) value / (double) m->divisor);
	else
		buf_printf(out, " %lld\n", (long long) value);
}

bool
metrics_render(struct buf *out)
{
	buf_printf(out, "# TYPE probectl_build info\n# HELP probectl_build What runs here.\n");
	buf_printf(out, "probectl_build_info{process=\"%s\",version=\"%s\"} 1\n", metrics_process,
	           PROBECTL_VERSION);
	for (size_t t = 0; t < table_count; t++)
	{
		const struct metric *rows = tables[t].rows;

		for (size_t i = 0; i < tables[t].count; i++)
		{
			if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
				render_family(out, &rows[i]);
			render_sample(out, &rows[i]);
		}
	}
	return buf_put_str(out, "# EOF\n");
}

/* ---- socket ---- */

static void
connection_free(struct connection *c)
{
	LIST_REMOVE(c, entry);
	c->server->connections--;
	bufferevent_free(c->bev);
	free(c);
}

static void
connection_event(struct bufferevent *bev, short what, void *arg)
{
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
		connection_free(arg);
}

static void
connection_written(struct bufferevent *bev, void *arg)
{
	if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		connection_free(arg);
}

static void
connection_answer(struct connection *c, const char *status, const char *type, const void *body,
                  size_t len)
{
	struct evbuffer *out = bufferevent_get_output(c->bev);

	bufferevent_disable(c->bev, EV_READ);
	bufferevent_setcb(c->bev, NULL, connection_written, connection_event, c);
	evbuffer_add_printf(out,
	                    "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
	                    "Connection: close\r\n\r\n",
	                    status, type, len);
	evbuffer_add(out, body, len);
}

static void
connection_read(struct bufferevent *bev, void *arg)
{
	static const char text[] = "text/plain; charset=utf-8";
	static const char nothing[] = "only GET /metrics is served here\n";
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t have = evbuffer_get_length(in);
	char line[64];
	ssize_t n;

	if (evbuffer_search(in, "\r\n\r\n", 4, NULL).pos < 0)
	{
		if (have >= METRICS_REQUEST_MAX)
			connection_free(arg);
		return;
	}
	n = evbuffer_copyout(in, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	evbuffer_drain(in, have);
	if (strncmp(line, "GET /metrics ", 13) != 0 && strncmp(line, "GET /metrics?", 13) != 0)
	{
		connection_answer(arg, "404 Not Found", text, nothing, sizeof(nothing) - 1);
		return;
	}

	struct buf out = BUF_INIT(METRICS_TEXT_MAX);

	if (metrics_render(&out))
		connection_answer(arg, "200 OK",
		                  "application/openmetrics-text; version=1.0.0; charset=utf-8", out.data,
		                  out.len);
	else
		connection_answer(arg, "500 Internal Server Error", text, "", 0);
	buf_free(&out);
}

static void
server_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa, int len,
              void *arg)
{
	struct metrics_server *server = arg;
	const struct timeval limit = {.tv_sec = METRICS_TIMEOUT_SECONDS};
	struct bufferevent *bev = NULL;
	struct connection *c;

	if (server->connections < METRICS_CONNECTIONS_MAX)
		bev = bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
	{
		close(fd);
		return;
	}
	c = mem_alloc(sizeof(*c));
	c->server = server;
	c->bev = bev;
	LIST_INSERT_HEAD(&server->open, c, entry);
	server->connections++;
	bufferevent_setcb(bev, connection_read, NULL, connection_event, c);
	bufferevent_setwatermark(bev, EV_READ, 0, METRICS_REQUEST_MAX);
	bufferevent_set_timeouts(bev, &limit, &limit);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

/* A listening socket at path, or -1. A socket nobody answers at is what a killed process
 * left behind. */
static int
socket_listen(const struct sockaddr_un *addr, char *err, size_t errlen)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const struct sockaddr *sa = (const struct sockaddr *) addr;
	struct stat st;

	if (fd < 0)
	{
		snprintf(err, errlen, "status socket %s: %s", addr->sun_path, strerror(errno));
		return -1;
	}
	if (lstat(addr->sun_path, &st) == 0)
	{
		if (!S_ISSOCK(st.st_mode))
		{
			snprintf(err, errlen, "status socket %s: a file that is not a socket is in the way",
			         addr->sun_path);
			goto fail;
		}
		if (connect(fd, sa, sizeof(*addr)) == 0 || errno == EAGAIN)
		{
			snprintf(err, errlen, "status socket %s: another process is serving it; stop it first",
			         addr->sun_path);
			goto fail;
		}
		unlink(addr->sun_path);
	}
	if (bind(fd, sa, sizeof(*addr)) != 0 || chmod(addr->sun_path, 0660) != 0 ||
	    listen(fd, METRICS_CONNECTIONS_MAX) != 0)
	{
		snprintf(err, errlen, "status socket %s: %s", addr->sun_path, strerror(errno));
		goto fail;
	}
	return fd;

fail:
	close(fd);
	return -1;
}

struct metrics_server *
metrics_serve(struct event_base *base, const char *path, char *err, size_t errlen)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct metrics_server *server;
	int fd;

	if (strlen(path) >= sizeof(addr.sun_path))
	{
		snprintf(err, errlen, "status socket %s: the path is longer than %zu bytes", path,
		         sizeof(addr.sun_path) - 1);
		return NULL;
	}
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket_listen(&addr, err, errlen);
	if (fd < 0)
		return NULL;
	server = mem_alloc(sizeof(*server));
	server->base = base;
	server->stop_fd = -1;
	memcpy(server->path, addr.sun_path, sizeof(server->path));
	server->listener = evconnlistener_new(base, server_accept, server,
	                                      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!server->listener)
	{
		snprintf(err, errlen, "status socket %s: cannot listen", path);
		close(fd);
		unlink(path);
		free(server);
		return NULL;
	}
	return server;
}

/* ---- thread variant ---- */

static void
thread_stop(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(arg);
}

static void *
thread_main(void *arg)
{
	struct metrics_server *server = arg;

	event_base_dispatch(server->base);
	return NULL;
}

struct metrics_server *
metrics_serve_thread(const char *path, char *err, size_t errlen)
{
	struct event_base *base = event_base_new();
	struct metrics_server *server = base ? metrics_serve(base, path, err, errlen) : NULL;

	if (!server)
	{
		if (base)
			event_base_free(base);
		else
			snprintf(err, errlen, "status socket %s: cannot make an event loop", path);
		return NULL;
	}
	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->stop = event_new(base, server->stop_fd, EV_READ, thread_stop, base);
	if (server->stop_fd < 0 || !server->stop || event_add(server->stop, NULL) != 0 ||
	    pthread_create(&server->thread, NULL, thread_main, server) != 0)
	{
		snprintf(err, errlen, "status socket %s: cannot start its thread", path);
		metrics_stop(server);
		event_base_free(base);
		return NULL;
	}
	server->threaded = true;
	return server;
}

void
metrics_stop(struct metrics_server *server)
{
	struct event_base *own = NULL;

	if (!server)
		return;
	if (server->threaded)
	{
		eventfd_write(server->stop_fd, 1);
		pthread_join(server->thread, NULL);
		own = server->base;
	}
	while (!LIST_EMPTY(&server->open))
		connection_free(LIST_FIRST(&server->open));
	evconnlistener_free(server->listener);
	unlink(server->path);
	if (server->stop)
		event_free(server->stop);
	if (server->stop_fd >= 0)
		close(server->stop_fd);
	if (own)
		event_base_free(own);
	free(server);
}
