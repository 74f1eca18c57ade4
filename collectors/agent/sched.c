/* SPDX-License-Identifier: PostgreSQL
 *
 * sched.c -- see sched.h. A binary heap by due time; a test is in it exactly while it is
 * configured, running or not.
 */
#include "agent/sched.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crc32c.h"
#include "lib/mem.h"
#include "lib/uuid.h"

struct item
{
	struct test *test;
	struct sched *sched;
	struct canary_run *run; /* NULL = idle */
	int64_t due;
	int64_t phase; /* of the interval, ns */
	size_t at;     /* in the heap */
	bool kept;     /* during sched_set */
};

struct sched
{
	struct canary_env *env;
	char agent_id[37];
	size_t concurrency;
	const struct sched_ops *ops;
	void *arg;
	struct item **heap;
	size_t count;
	struct sched_stats stats;
};

/* ---- heap ---- */

static void
heap_place(struct sched *s, size_t at, struct item *item)
{
	s->heap[at] = item;
	item->at = at;
}

static void
heap_down(struct sched *s, size_t at)
{
	struct item *item = s->heap[at];

	for (;;)
	{
		size_t child = 2 * at + 1;

		if (child + 1 < s->count && s->heap[child + 1]->due < s->heap[child]->due)
			child++;
		if (child >= s->count || s->heap[child]->due >= item->due)
			break;
		heap_place(s, at, s->heap[child]);
		at = child;
	}
	heap_place(s, at, item);
}

/* ---- time ---- */

static int64_t
interval_of(const struct item *item)
{
	return (int64_t) item->test->spec.interval_ms * NANO_PER_MS;
}

/* 0 .. 2^32-1, the same for the same agent and test on every start. */
static uint32_t
item_hash(const struct sched *s, const struct item *item)
{
	uint32_t crc = crc32c(0, s->agent_id, strlen(s->agent_id));

	return crc32c(crc, item->test->spec.test_id, strlen(item->test->spec.test_id));
}

/* The first moment after t that lies on the item's phase. */
static int64_t
next_on_phase(const struct item *item, int64_t t)
{
	int64_t interval = interval_of(item);
	int64_t since = (t - item->phase) % interval;

	if (since < 0)
		since += interval;
	return t - since + interval;
}

static void
item_first(struct sched *s, struct item *item, int64_t now, size_t fresh)
{
	int64_t window = SCHED_FIRST_MS, interval = item->test->spec.interval_ms;
	uint64_t hash = item_hash(s, item);

	if (window < (int64_t) fresh * SCHED_FIRST_EACH_MS)
		window = (int64_t) fresh * SCHED_FIRST_EACH_MS;
	if (window > interval)
		window = interval;
	item->phase = (int64_t) (hash * (uint64_t) interval >> 32) * NANO_PER_MS;
	item->due = now + (int64_t) (hash * (uint64_t) window >> 32) * NANO_PER_MS;
}

/* ---- runs ---- */

static void
run_done(const struct result *result, void *arg)
{
	struct item *item = arg;
	struct sched *s = item->sched;

	item->run = NULL;
	s->stats.running--;
	s->ops->result(result, s->arg);
	s->ops->changed(s->arg);
}

/* A test that cannot run says so each time it comes round. */
static void
report_problem(struct sched *s, const struct item *item, enum error_type type, const char *problem)
{
	struct result *r = mem_alloc(sizeof(*r));

	memcpy(r->test_id, item->test->spec.test_id, sizeof(r->test_id));
	uuid_v7_text(r->result_id);
	r->type = item->test->spec.type;
	r->network_transport = r->network_protocol_name = "";
	memccpy(r->server_address, item->test->spec.target, '\0', sizeof(r->server_address) - 1);
	r->start_unix_nano = clock_unix_nano();
	result_fail(r, type, "%s", problem);
	s->ops->result(r, s->arg);
	free(r);
}

static void
item_start(struct sched *s, struct item *item)
{
	const struct test *test = item->test;

	s->stats.runs++;
	if (!test->ops)
	{
		report_problem(s, item, ERROR_CONFIG, test->problem);
		return;
	}
	item->run = test->ops->start(s->env, &test->spec, test->cmd, run_done, item);
	if (item->run)
		s->stats.running++;
	else
		report_problem(s, item, ERROR_LOCAL_FAULT, "the run could not be started: out of memory");
}

void
sched_run(struct sched *s, int64_t now)
{
	while (s->count > 0 && s->heap[0]->due <= now)
	{
		struct item *item = s->heap[0];
		int64_t interval = interval_of(item), next;

		if (item->run)
			s->stats.overrun++;
		else if (s->stats.running >= s->concurrency)
			return; /* goes on when a run ends */
		else
			item_start(s, item);
		/* The first run is off the phase: leave at least half an interval before the next. */
		next = next_on_phase(item, item->due + interval / 2 - 1);
		if (next <= now)
		{
			int64_t on = next_on_phase(item, now);

			s->stats.missed += (uint64_t) ((on - next) / interval);
			next = on;
		}
		item->due = next;
		heap_down(s, 0);
	}
}

int64_t
sched_due(const struct sched *s)
{
	if (s->count == 0)
		return INT64_MAX;
	if (s->stats.running >= s->concurrency && !s->heap[0]->run)
		return INT64_MAX;
	return s->heap[0]->due;
}

/* ---- the set of tests ---- */

static void
item_free(struct item *item)
{
	if (item->run)
	{
		item->test->ops->cancel(item->run);
		item->sched->stats.running--;
	}
	test_destroy(item->test);
	free(item);
}

static int
compare_items(const void *a, const void *b)
{
	return strcmp((*(struct item *const *) a)->test->spec.test_id,
	              (*(struct item *const *) b)->test->spec.test_id);
}

/* The old item of that id, found in a list sorted by id. */
static struct item *
item_find(struct item **sorted, size_t count, const char *test_id)
{
	size_t low = 0, high = count;

	while (low < high)
	{
		size_t middle = (low + high) / 2;
		int order = strcmp(sorted[middle]->test->spec.test_id, test_id);

		if (order == 0)
			return sorted[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

void
sched_set(struct sched *s, struct test_list *tests, int64_t now)
{
	struct item **old = s->heap;
	size_t old_count = s->count, fresh = 0;

	if (old_count > 1)
		qsort(old, old_count, sizeof(*old), compare_items);
	s->heap = mem_array(tests->count, sizeof(*s->heap));
	s->count = 0;
	for (size_t i = 0; i < tests->count; i++)
	{
		struct test *test = tests->items[i];
		struct item *item = item_find(old, old_count, test->spec.test_id);

		if (item && item->kept)
		{
			test_destroy(test); /* the same test twice: once is enough */
			continue;
		}
		if (item && test_equal(item->test, test))
		{
			item->kept = true;
			test_destroy(test);
		}
		else
		{
			item = mem_alloc(sizeof(*item));
			item->sched = s;
			item->test = test;
			fresh++;
		}
		s->heap[s->count++] = item;
	}
	for (size_t i = 0; i < old_count; i++)
		if (!old[i]->kept)
			item_free(old[i]);
	free(old);
	for (size_t i = 0; i < s->count; i++)
	{
		struct item *item = s->heap[i];

		if (!item->kept)
			item_first(s, item, now, fresh);
		item->kept = false;
		heap_place(s, i, item);
	}
	for (size_t i = s->count / 2; i-- > 0;)
		heap_down(s, i);
	free(tests->items);
	tests->items = NULL;
	tests->count = 0;
	s->ops->changed(s->arg);
}

struct sched *
sched_new(struct canary_env *env, const char *agent_id, size_t concurrency,
          const struct sched_ops *ops, void *arg)
{
	struct sched *s = mem_alloc(sizeof(*s));

	s->env = env;
	s->concurrency = concurrency;
	s->ops = ops;
	s->arg = arg;
	memccpy(s->agent_id, agent_id, '\0', sizeof(s->agent_id) - 1);
	return s;
}

void
sched_free(struct sched *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->count; i++)
		item_free(s->heap[i]);
	free(s->heap);
	free(s);
}

void
sched_stats(const struct sched *s, struct sched_stats *stats)
{
	*stats = s->stats;
	stats->tests = s->count;
}
