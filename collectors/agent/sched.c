/* SPDX-License-Identifier: PostgreSQL
 *
 * sched.c -- see sched.h. A binary heap by due time; a test is in it exactly while it is
 * configured, running or not.
 */
#include "agent/sched.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
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
	int64_t phase;    /* of the interval, ns */
	size_t at;        /* in the heap */
	bool kept;        /* during sched_set */
	uint64_t skipped; /* ticks since the last result */
	/* of the run that goes on */
	int64_t late, lag;        /* ns: its start, the loop at its worst */
	int64_t began, processor; /* when, and what was used by then */
	const char *held;         /* the budget it waited for */
};

struct sched
{
	struct canary_env *env;
	char agent_id[37];
	struct sched_limits limits;
	double tokens; /* packets that may leave now; below 0 after a run larger than a second's */
	int64_t filled;
	int64_t held_at[2]; /* when each budget last held somebody back */
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

/* Who held a run back that was due at the given time; NULL = the loop came late. */
static const char *
held_since(const struct sched *s, int64_t due)
{
	static const char *const words[] = {"concurrency", "packets"};

	for (int i = 0; i < 2; i++)
		if (s->held_at[i] >= due)
			return words[i];
	return NULL;
}

/* The share of a core that the agent used since the run began, in percent; 0 when it was too
 * short to say. */
static int
processor_percent(const struct item *item, int64_t now)
{
	const struct sched *s = item->sched;
	int64_t wall = now - item->began;

	if (!s->ops->processor || wall < SCHED_CPU_MS * NANO_PER_MS)
		return 0;
	return (int) ((s->ops->processor(s->arg) - item->processor) * 100 / wall);
}

/* What the agent may have done to the run; false = nothing. packet: ns, the most that one left
 * after its slot. */
static bool
interference(const struct item *item, int64_t packet, int64_t now, char *text, size_t len)
{
	int percent = processor_percent(item, now);
	struct buf out = BUF_INIT(len);

	if (item->late > SCHED_JITTER_MS * NANO_PER_MS)
		buf_printf(&out, "started %" PRId64 " ms late (%s), ", item->late / NANO_PER_MS,
		           item->held ? item->held : "loop");
	if (packet >= SCHED_LAG_MS * NANO_PER_MS)
		buf_printf(&out, "packet left %" PRId64 " ms late, ", packet / NANO_PER_MS);
	if (item->lag >= SCHED_LAG_MS * NANO_PER_MS)
		buf_printf(&out, "loop held up %" PRId64 " ms, ", item->lag / NANO_PER_MS);
	if (percent >= SCHED_CPU_PERCENT)
		buf_printf(&out, "processor %d %%, ", percent);
	snprintf(text, len, "%.*s", (int) (out.len > 2 ? out.len - 2 : 0), (const char *) out.data);
	buf_free(&out);
	return *text != '\0';
}

/* A run that leaves, in whatever way. */
static void
run_over(struct item *item)
{
	item->run = NULL;
	item->sched->stats.running--;
	item->sched->stats.watched -= !item->test->ops->paced;
}

static void
run_done(const struct result *result, void *arg)
{
	static struct result noted; /* large, and one thread */
	struct item *item = arg;
	struct sched *s = item->sched;
	char text[160];

	run_over(item);
	if (interference(item, result->packet_late_nano, clock_mono_nano(), text, sizeof(text)) ||
	    item->skipped > 0)
	{
		noted = *result;
		if (*text)
		{
			s->stats.disturbed++;
			result_note(&noted, "probectl.run.interference", text);
		}
		if (item->skipped > 0)
		{
			snprintf(text, sizeof(text), "%" PRIu64, item->skipped);
			result_note(&noted, "probectl.run.ticks_skipped", text);
		}
		item->skipped = 0;
		result = &noted;
	}
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
item_start(struct sched *s, struct item *item, int64_t now)
{
	const struct test *test = item->test;

	s->stats.runs++;
	item->late = now - item->due;
	item->held = held_since(s, item->due);
	item->lag = 0;
	item->began = now;
	item->processor = s->ops->processor ? s->ops->processor(s->arg) : 0;
	if (s->stats.latest < item->late)
		s->stats.latest = item->late;
	if (!test->ops)
	{
		report_problem(s, item, ERROR_CONFIG, test->problem);
		return;
	}
	item->run = test->ops->start(s->env, &test->spec, test->cmd, run_done, item);
	if (item->run)
	{
		s->stats.running++;
		s->stats.watched += !test->ops->paced;
	}
	else
		report_problem(s, item, ERROR_LOCAL_FAULT, "the run could not be started: out of memory");
}

/* ---- budgets ---- */

static void
tokens_fill(struct sched *s, int64_t now)
{
	double rate = s->limits.packets_per_second;

	s->tokens += (double) (now - s->filled) / NANO_PER_SECOND * rate;
	if (s->tokens > rate || s->filled == 0)
		s->tokens = rate;
	s->filled = now;
}

/* Whether the run must wait for packets; a run that sends more than a second's worth goes when
 * there is a whole second's, and the debt holds back those behind it. */
static bool
packets_short(const struct sched *s, const struct item *item)
{
	double rate = s->limits.packets_per_second, need = item->test->packets;

	return rate > 0 && s->tokens < (need < rate ? need : rate);
}

/* When it need not wait any more, rounded up. */
static int64_t
packets_at(const struct sched *s, const struct item *item)
{
	double rate = s->limits.packets_per_second, need = item->test->packets;

	if (!packets_short(s, item))
		return 0;
	return s->filled +
	       (int64_t) (((need < rate ? need : rate) - s->tokens) / rate * NANO_PER_SECOND) + 1;
}

/* Notes that the first of the heap, which is due, waits for a budget. */
static bool
hold(struct sched *s, int which, int64_t now)
{
	s->stats.held++;
	s->held_at[which] = now;
	return true;
}

static bool
held_back(struct sched *s, struct item *item, int64_t now)
{
	if (s->stats.running >= s->limits.concurrency)
		return hold(s, 0, now);
	if (s->limits.packets_per_second == 0)
		return false;
	tokens_fill(s, now);
	if (packets_short(s, item))
		return hold(s, 1, now);
	s->tokens -= item->test->packets;
	return false;
}

/* ---- the pass ---- */

/* When the item is next, after a tick at which it ran or was found running. */
static void
item_next(struct sched *s, struct item *item, int64_t now)
{
	int64_t interval = interval_of(item);
	/* The first run is off the phase: leave at least half an interval before the next. */
	int64_t next = next_on_phase(item, item->due + interval / 2 - 1);

	if (next <= now)
	{
		int64_t on = next_on_phase(item, now);
		uint64_t missed = (uint64_t) ((on - next) / interval);

		s->stats.missed += missed;
		item->skipped += missed;
		next = on;
	}
	item->due = next;
}

void
sched_run(struct sched *s, int64_t now)
{
	while (s->count > 0 && s->heap[0]->due <= now)
	{
		struct item *item = s->heap[0];

		if (item->run)
		{
			s->stats.overrun++;
			item->skipped++;
		}
		else if (held_back(s, item, now))
			return; /* goes on when a run ends, or when packets may leave again */
		else
			item_start(s, item, now);
		item_next(s, item, now);
		heap_down(s, 0);
	}
}

int64_t
sched_due(const struct sched *s)
{
	int64_t packets;

	if (s->count == 0)
		return INT64_MAX;
	if (s->heap[0]->run)
		return s->heap[0]->due;
	if (s->stats.running >= s->limits.concurrency)
		return INT64_MAX;
	packets = packets_at(s, s->heap[0]);
	return s->heap[0]->due > packets ? s->heap[0]->due : packets;
}

void
sched_pulse(struct sched *s, int64_t lag)
{
	if (lag < SCHED_LAG_MS * NANO_PER_MS)
		return;
	for (size_t i = 0; i < s->count; i++)
		if (s->heap[i]->run && s->heap[i]->lag < lag)
			s->heap[i]->lag = lag;
}

/* ---- the set of tests ---- */

static void
item_free(struct item *item)
{
	if (item->run)
	{
		item->test->ops->cancel(item->run);
		run_over(item);
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
sched_new(struct canary_env *env, const char *agent_id, const struct sched_limits *limits,
          const struct sched_ops *ops, void *arg)
{
	struct sched *s = mem_alloc(sizeof(*s));

	s->env = env;
	s->limits = *limits;
	s->held_at[0] = s->held_at[1] = INT64_MIN;
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
