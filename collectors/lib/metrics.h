/* SPDX-License-Identifier: PostgreSQL
 *
 * metrics.h -- counters and gauges of a process, and the socket they are read from.
 *
 * A module keeps a static table of rows and registers it once; any thread may bump a
 * row. The rows every process has (docs/81-contracts.md section 2) are here. Rows of one family
 * (same name, other labels) stand next to each other in their table. Names of counters end
 * in _total. No tenant is ever a label.
 *
 *   enum { RESULTS_STORED, RESULTS_REFUSED, ROWS };
 *   static struct metric rows[ROWS] = {
 *       [RESULTS_STORED] = METRIC_COUNTER("probectl_x_results_total", "reason=\"stored\"", "Results by fate."),
 *       ...
 *   };
 *   metrics_register(rows, ROWS);
 *   metric_add(&rows[RESULTS_STORED], 1);
 */
#ifndef PCTL_LIB_METRICS_H
#define PCTL_LIB_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct event_base;
struct metrics_server;

enum metric_kind
{
	METRIC_KIND_COUNTER,
	METRIC_KIND_GAUGE,
};

struct metric
{
	const char *name;
	const char *labels; /* name="value",... without braces; NULL = none */
	enum metric_kind kind;
	const char *help;
	int64_t divisor;       /* shown value = value / divisor; 0 = 1 */
	int64_t (*read)(void); /* computed when read instead of value; may be NULL */
	_Atomic int64_t value;
};

#define METRIC_COUNTER(n, l, h)                                                                    \
	{                                                                                              \
		.name = (n), .labels = (l), .kind = METRIC_KIND_COUNTER, .help = (h)                       \
	}
#define METRIC_GAUGE(n, l, h)                                                                      \
	{                                                                                              \
		.name = (n), .labels = (l), .kind = METRIC_KIND_GAUGE, .help = (h)                         \
	}

static inline void
metric_add(struct metric *m, int64_t n)
{
	atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

static inline void
metric_set(struct metric *m, int64_t v)
{
	atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

static inline int64_t
metric_get(const struct metric *m)
{
	return atomic_load_explicit(&m->value, memory_order_relaxed);
}

/* First of all: name of the process as in its settings ("ingest"); sets the start time. */
void metrics_init(const char *process);

/* The table must live as long as the process. At start, from one thread. */
void metrics_register(struct metric *rows, size_t count);

/* probectl_backlog and probectl_last_result_timestamp_seconds. */
void metrics_backlog(int64_t items);
void metrics_backlog_add(int64_t items);
void metrics_last_result(int64_t unix_nano);

/* OpenMetrics text of every registered row. */
bool metrics_render(struct buf *out);

/* Serves GET /metrics over HTTP on the Unix socket path. A stale socket is removed; a live
 * one is an error. NULL with a sentence in err on failure. */
struct metrics_server *metrics_serve(struct event_base *base, const char *path, char *err,
                                     size_t errlen);

/* The same on a thread of its own, for a process without an event loop. */
struct metrics_server *metrics_serve_thread(const char *path, char *err, size_t errlen);

/* Closes and unlinks the socket (and joins the thread). NULL is ignored. */
void metrics_stop(struct metrics_server *server);

#endif
