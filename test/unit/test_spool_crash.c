/* SPDX-License-Identifier: PostgreSQL
 *
 * test_spool_crash.c -- a thousand kill -9 at random moments: nothing is lost, nothing arrives twice.
 *
 * A child is the producer: it appends, syncs or offers, sends and acknowledges on a spool in real files, until a
 * timer of the kernel kills it, wherever it is then. The parent is the control plane: it keeps what
 * it is sent, trims what it has by number as the database does, and acknowledges; an acknowledgement
 * that the child does not live to read is lost. What counts as appended stands in shared memory, written by
 * the child after spool_append returned. The points are drawn from a fixed seed.
 */
#include "unit.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/spool.h"

#define KILLS       1000
#define VALUES_MAX  2000000
#define LIFE_MIN_US 200
#define LIFE_MAX_US 9000
#define BACKLOG     300 /* the producer waits for the control plane from here on */
#define RECORD_MAX                                                                                 \
	1500 /* bytes; segments of 64 KiB end often, and are packed, as their records are a
                          * second apart */
#define BATCH    20
#define INFLIGHT 4

/* What outlives the child. */
struct shared
{
	uint32_t next;             /* value that no child has tried yet */
	uint64_t epoch, committed; /* of the control plane, for the child's next start */
	volatile uint8_t appended[VALUES_MAX];
};

struct packet
{
	uint64_t epoch, first;
	uint32_t count;
	uint32_t values[BATCH];
};

static struct shared *shared;
static uint8_t stored[VALUES_MAX];
static uint64_t repeated;

static const struct spool_limits limits = {.max_records = 1000000, .max_bytes = 1 << 20};

/* ---- the producer ---- */

static size_t
record_make(uint32_t value, char record[RECORD_MAX])
{
	size_t len = 12 + value * UINT32_C(2654435761) % (RECORD_MAX - 12);

	snprintf(record, RECORD_MAX, "%011" PRIu32, value);
	memset(record + 11, 'a' + (int) (value % 26), len - 11);
	return len;
}

/* The value, after everything else in the record was found to be as it was made. */
static uint32_t
record_value(const struct spool_record *r)
{
	char want[RECORD_MAX], digits[12] = "";
	uint32_t value;

	memcpy(digits, r->data, 11);
	value = (uint32_t) strtoul(digits, NULL, 10);
	if (r->len != record_make(value, want) || memcmp(r->data, want, r->len) != 0)
		_exit(20);
	return value;
}

static bool
send_batch(int link, struct spool *s, struct spool_batch *b)
{
	struct packet p = {0};

	if (!spool_read(s, BATCH, 8000, b))
		return false;
	p.epoch = b->epoch;
	p.first = b->first;
	p.count = (uint32_t) b->count;
	for (size_t i = 0; i < b->count; i++)
		p.values[i] = record_value(&b->records[i]);
	if (send(link, &p, sizeof(p), 0) != sizeof(p))
		_exit(21);
	return true;
}

static void
take_ack(int link, struct spool *s, int flags)
{
	uint64_t ack[2];

	while (recv(link, ack, sizeof(ack), flags) == sizeof(ack))
	{
		if (!spool_ack(s, ack[0], ack[1]))
			_exit(22);
		flags = MSG_DONTWAIT;
	}
}

static void
die_in(unsigned microseconds)
{
	struct sigevent kill_me = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
	struct itimerspec when = {.it_value.tv_nsec = (long) microseconds * 1000};
	timer_t timer;

	if (timer_create(CLOCK_MONOTONIC, &kill_me, &timer) != 0 ||
	    timer_settime(timer, 0, &when, NULL) != 0)
		_exit(23);
}

static void
produce(const char *dir, int link, unsigned life_us)
{
	uint32_t value = shared->next;
	char err[512], record[RECORD_MAX];
	struct spool *s;
	struct spool_batch b;
	struct spool_stats stats;
	unsigned flying = 0;

	die_in(life_us);
	s = spool_open(dir, &limits, err, sizeof(err));
	if (!s)
		_exit(24);
	/* Register: what is committed there is forgotten here. Every third child does not ask, so that
	 * what the one before sent comes again. */
	if (value % 3 > 0 && shared->epoch == spool_epoch(s) &&
	    !spool_ack(s, shared->epoch, shared->committed))
		_exit(25);
	spool_rewind(s);
	spool_batch_init(&b);
	for (;;)
	{
		spool_stats(s, &stats);
		for (unsigned i = 0; stats.records < BACKLOG && i < 1 + value % 7; i++)
		{
			/* Whatever becomes of it, no later child uses the value again. */
			shared->next = value + 1;
			if (value >= VALUES_MAX ||
			    !spool_append(s, record, record_make(value, record), value * NANO_PER_SECOND, NULL))
				_exit(26);
			shared->appended[value++] = 1;
		}
		if (value % 3 == 0 || stats.records >= BACKLOG)
			spool_sync(s);
		else if (value % 3 == 1)
			spool_offer(s);
		while (flying < INFLIGHT && send_batch(link, s, &b))
			flying++;
		if (flying == INFLIGHT || stats.records >= BACKLOG)
		{
			take_ack(link, s, flying > 0 ? 0 : MSG_DONTWAIT);
			flying = 0;
		}
	}
}

/* ---- the control plane ---- */

static void
store(const struct packet *p)
{
	if (shared->epoch == 0)
		shared->epoch = p->epoch;
	assert_true(p->epoch == shared->epoch);
	for (uint32_t i = 0; i < p->count; i++)
	{
		if (p->first + i <= shared->committed)
		{
			repeated++; /* known by its number: trimmed */
			assert_int_equal(stored[p->values[i]], 1);
			continue;
		}
		assert_true(p->values[i] < VALUES_MAX);
		assert_int_equal(stored[p->values[i]], 0); /* never twice */
		stored[p->values[i]] = 1;
		shared->committed = p->first + i;
	}
}

static void
serve(int link)
{
	struct packet p;

	while (recv(link, &p, sizeof(p), 0) == sizeof(p))
	{
		uint64_t ack[2];

		store(&p);
		ack[0] = shared->epoch;
		ack[1] = shared->committed;
		send(link, ack, sizeof(ack), MSG_NOSIGNAL);
	}
}

static void
one_life(const char *dir, unsigned life_us)
{
	int link[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
	{
		close(link[0]);
		produce(dir, link[1], life_us);
	}
	close(link[1]);
	serve(link[0]);
	close(link[0]);
	assert_true(waitpid(pid, &status, 0) == pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("the producer ended by itself: status %d", status);
}

static void
a_thousand_kills_lose_and_repeat_nothing(void **state)
{
	char *dir, err[512];
	uint64_t random = 20261121, lost = 0, count = 0, gone[SPOOL_DROP_COUNT];
	struct spool_batch b;
	struct spool_stats stats;
	struct spool *s;

	/* A kill leaves what the kernel holds, in memory as on a disk, and on a slow disk few lives get anywhere. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	dir = unit_dir();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	for (int i = 0; i < KILLS; i++)
	{
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		one_life(dir, LIFE_MIN_US + (unsigned) (random >> 33) % (LIFE_MAX_US - LIFE_MIN_US));
	}
	/* What is left comes out once. */
	s = spool_open(dir, &limits, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	assert_true(spool_ack(s, shared->epoch, shared->committed));
	spool_rewind(s);
	spool_batch_init(&b);
	while (spool_read(s, BATCH, 8000, &b))
	{
		struct packet p = {b.epoch, b.first, (uint32_t) b.count, {0}};

		for (size_t i = 0; i < b.count; i++)
			p.values[i] = record_value(&b.records[i]);
		store(&p);
	}
	spool_batch_free(&b);
	spool_stats(s, &stats);
	memcpy(gone, stats.dropped, sizeof(gone));
	spool_close(s);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		if (gone[i] &&
		    i != SPOOL_DROP_CORRUPT) /* torn ends of records that were not appended yet */
			fail_msg("dropped as %s: %" PRIu64, spool_drop_names[i], gone[i]);
	/* One that is there although nobody was told is no loss. */
	for (uint32_t v = 0; v < VALUES_MAX; v++)
	{
		count += stored[v];
		lost += shared->appended[v] && !stored[v];
	}
	print_message("%d kills, %" PRIu64 " records stored, %" PRIu64 " sent again and trimmed\n",
	              KILLS, count, repeated);
	assert_int_equal(lost, 0);
	assert_true(count > KILLS && repeated > 0);
	munmap(shared, sizeof(*shared));
	unit_dir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_thousand_kills_lose_and_repeat_nothing),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("spool_crash", tests, NULL, NULL);
}
