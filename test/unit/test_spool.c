/* SPDX-License-Identifier: PostgreSQL
 *
 * test_spool.c -- store and forward through crashes, damage, full disks and bounds.
 *
 * The rule that everything here comes back to: a record that was appended and not
 * acknowledged comes out once, with its content; a number that was ever given out is never
 * given to another record of the same epoch.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "lib/crc32c.h"
#include "lib/files.h"
#include "lib/log.h"
#include "lib/spool.h"

#define NOW INT64_C(1800000000000000000)

static const struct spool_limits wide = {.max_records = 1000000, .max_bytes = 64 << 20};

static struct spool *
open_with(const char *dir, const struct spool_limits *limits)
{
	char err[512];
	struct spool *s = spool_open(dir, limits, err, sizeof(err));

	if (!s)
		fail_msg("%s", err);
	return s;
}

static struct spool *
open_wide(const char *dir)
{
	return open_with(dir, &wide);
}

/* What kill -9 leaves: descriptors closed, nothing else done. */
static void
crash(struct spool *s)
{
	/* The struct is not freed: a dead process frees nothing. Its lock goes with its descriptors,
	 * which a fork takes away for us. */
	(void) s;
}

static uint64_t
append(struct spool *s, unsigned value)
{
	char text[64];
	uint64_t number = 0;

	snprintf(text, sizeof(text), "record %u", value);
	assert_true(spool_append(s, text, strlen(text), clock_unix_nano(), &number));
	return number;
}

/* What a result looks like on the wire: of its 400 bytes few are its own. */
static size_t
result_like(unsigned value, char text[512])
{
	uint32_t noise = value * UINT32_C(2654435761);

	return (size_t) snprintf(
	    text, 512,
	    "record %u target host%u.example.net loss.ratio packets.sent packets.received rtt.min.ms "
	    "%08x rtt.avg.ms %08x rtt.max.ms %08x rtt.stddev.ms jitter.ms packets.duplicated "
	    "packets.reordered network.peer.address 192.0.2.%u probectl.icmp.mode batch result "
	    "01a2004a-%04x-7%03x-8%03x-%08x0000 test 00000000-0000-4000-8000-%012u",
	    value, value % 100, noise, noise ^ 0x5bd1e995, noise * 3, value % 100, noise >> 16,
	    noise & 0xfff, noise >> 20, noise * 7, value % 100);
}

/* Everything that is ready, in order, as a list of the values appended; checks the numbering. */
struct drained
{
	unsigned values[20000];
	uint64_t numbers[20000];
	size_t count;
	size_t batches;
};

static struct drained *
drain(struct spool *s, size_t max_records)
{
	struct drained *d = calloc(1, sizeof(*d));
	struct spool_batch b;

	spool_batch_init(&b);
	spool_sync(s);
	while (spool_read(s, max_records, 1 << 20, &b))
	{
		assert_true(b.count <= max_records);
		assert_true(b.epoch == spool_epoch(s));
		for (size_t i = 0; i < b.count; i++)
		{
			char text[512] = "";

			assert_true(b.records[i].len < sizeof(text));
			memcpy(text, b.records[i].data, b.records[i].len);
			assert_int_equal(sscanf(text, "record %u", &d->values[d->count]), 1);
			d->numbers[d->count] = b.first + i;
			if (d->count > 0)
				assert_true(d->numbers[d->count] > d->numbers[d->count - 1]);
			d->count++;
		}
		d->batches++;
	}
	spool_batch_free(&b);
	return d;
}

static uint64_t
dropped(struct spool *s, enum spool_drop why)
{
	struct spool_stats stats;

	spool_stats(s, &stats);
	return stats.dropped[why];
}

static uint64_t
waiting(struct spool *s)
{
	struct spool_stats stats;

	spool_stats(s, &stats);
	return stats.records;
}

/* ---- the ordinary life ---- */

static void
numbers_start_at_1_and_go_on_after_a_clean_close(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct drained *d;
	uint64_t epoch = spool_epoch(s);

	assert_true(epoch > 0);
	assert_int_equal(spool_last(s), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(append(s, i), i + 1);
	spool_close(s);
	s = open_wide(dir);
	assert_true(spool_epoch(s) == epoch);
	assert_int_equal(spool_last(s), 10);
	assert_int_equal(append(s, 10), 11);
	d = drain(s, 4);
	assert_int_equal(d->count, 11);
	assert_int_equal(d->batches, 3);
	for (unsigned i = 0; i < 11; i++)
	{
		assert_int_equal(d->values[i], i);
		assert_int_equal(d->numbers[i], i + 1);
	}
	free(d);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
offered_records_need_no_sync_once_acknowledged(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct spool_batch b;

	spool_batch_init(&b);
	append(s, 1);
	append(s, 2);
	assert_false(spool_read(s, 10, 1000, &b));
	spool_offer(s);
	append(s, 3);
	assert_true(spool_read(s, 10, 1000, &b));
	assert_int_equal(b.count, 2);
	assert_false(spool_read(s, 10, 1000, &b));
	assert_true(spool_dirty(s));
	assert_true(spool_ack(s, spool_epoch(s), 2));
	assert_true(spool_dirty(s)); /* the third waits */
	spool_offer(s);
	assert_true(spool_read(s, 10, 1000, &b));
	assert_int_equal(b.first, 3);
	assert_true(spool_ack(s, spool_epoch(s), 3));
	assert_false(spool_dirty(s));
	append(s, 4);
	assert_true(spool_dirty(s));
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

/* The files as they were at the last sync, but for the cursor's limit, which was durable before. */
static void
a_power_cut_after_an_offer_loses_bytes_and_no_number(void **state)
{
	char *dir = unit_dir(), path[PATH_MAX];
	pid_t pid = fork();
	struct stat kept;
	struct spool *s;
	uint64_t number;
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
	{
		s = open_wide(dir);
		append(s, 1);
		spool_sync(s);
		append(s, 2);
		append(s, 3);
		spool_offer(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	snprintf(path, sizeof(path), "%s/%020d.seg", dir, 1);
	assert_int_equal(stat(path, &kept), 0);
	/* Three records of one length behind the header of 64. */
	assert_int_equal(truncate(path, 64 + (kept.st_size - 64) / 3), 0);
	s = open_wide(dir);
	assert_int_equal(waiting(s), 1);
	/* The control plane has all three, and the fourth is none of them. */
	assert_true(spool_ack(s, spool_epoch(s), 3));
	assert_int_equal(waiting(s), 0);
	assert_true(spool_append(s, "x", 1, NOW, &number));
	assert_true(number > 3);
	assert_int_equal(dropped(s, SPOOL_DROP_CORRUPT), 0);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
only_synced_records_are_offered(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct spool_batch b;

	spool_batch_init(&b);
	append(s, 1);
	assert_true(spool_dirty(s));
	assert_false(spool_read(s, 10, 1000, &b));
	assert_true(spool_sync(s));
	assert_false(spool_dirty(s));
	append(s, 2);
	assert_true(spool_read(s, 10, 1000, &b));
	assert_int_equal(b.count, 1);
	assert_false(spool_read(s, 10, 1000, &b));
	assert_true(spool_sync(s));
	assert_true(spool_read(s, 10, 1000, &b));
	assert_int_equal(b.first, 2);
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
acknowledged_records_are_gone_for_good(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	uint64_t epoch = spool_epoch(s);
	struct drained *d;

	for (unsigned i = 0; i < 100; i++)
		append(s, i);
	free(drain(s, 1000));
	assert_true(spool_ack(s, epoch, 60));
	assert_int_equal(waiting(s), 40);
	assert_true(spool_ack(s, epoch, 10)); /* an old one changes nothing */
	assert_int_equal(waiting(s), 40);
	assert_false(spool_ack(s, epoch, 101)); /* never given out */
	assert_false(spool_ack(s, epoch, UINT64_MAX));
	assert_false(spool_ack(s, epoch + 1, 60));
	assert_int_equal(waiting(s), 40);
	spool_close(s);
	s = open_wide(dir);
	d = drain(s, 1000);
	assert_int_equal(d->count, 40);
	assert_int_equal(d->numbers[0], 61);
	assert_int_equal(d->values[0], 60);
	free(d);
	assert_true(spool_ack(s, epoch, 100));
	assert_int_equal(waiting(s), 0);
	spool_rewind(s);
	d = drain(s, 1000);
	assert_int_equal(d->count, 0);
	free(d);
	assert_int_equal(append(s, 7), 101);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
rewind_offers_the_unacknowledged_again(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct drained *d;

	for (unsigned i = 0; i < 20; i++)
		append(s, i);
	free(drain(s, 7));
	spool_ack(s, spool_epoch(s), 5);
	spool_rewind(s);
	d = drain(s, 7);
	assert_int_equal(d->count, 15);
	assert_int_equal(d->numbers[0], 6);
	free(d);
	spool_close(s);
	unit_dir_remove(dir);
}

/* Segments are deleted whole; what is on disk stays about what is waiting. */
static void
disk_use_follows_the_backlog(void **state)
{
	char *dir = unit_dir(), payload[1000] = {0}, command[256];
	struct spool *s = open_wide(dir);
	struct spool_batch b;
	uint64_t files = 0;
	FILE *p;

	spool_batch_init(&b);
	for (int round = 0; round < 20; round++)
	{
		for (int i = 0; i < 400; i++)
			assert_true(spool_append(s, payload, sizeof(payload), NOW, NULL));
		spool_sync(s);
		while (spool_read(s, 500, 1 << 20, &b))
			assert_true(spool_ack(s, b.epoch, b.first + b.count - 1));
	}
	spool_batch_free(&b);
	spool_close(s);
	snprintf(command, sizeof(command), "du -k -c '%s'/*.seg 2>/dev/null | tail -1", dir);
	p = popen(command, "r");
	assert_non_null(p);
	assert_true(fscanf(p, "%" SCNu64, &files) <= 1);
	pclose(p);
	assert_true(files <= 1100); /* of the 8,000 KiB that went through */
	unit_dir_remove(dir);
}

static void
two_processes_do_not_share(void **state)
{
	char *dir = unit_dir(), err[512] = "";
	struct spool *s = open_wide(dir);

	assert_null(spool_open(dir, &wide, err, sizeof(err)));
	assert_non_null(strstr(err, "in use by another process"));
	spool_close(s);
	unit_dir_remove(dir);
}

/* ---- epochs ---- */

static void
a_raised_epoch_numbers_the_rest_from_1(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	uint64_t old = spool_epoch(s), raised;
	struct drained *d;

	for (unsigned i = 0; i < 30; i++)
		append(s, i);
	free(drain(s, 1000));
	spool_ack(s, old, 12);
	assert_true(spool_raise_epoch(s, old + 1000000000000));
	raised = spool_epoch(s);
	assert_true(raised > old + 1000000000000);
	assert_int_equal(spool_last(s), 18);
	assert_false(spool_ack(s, old, 20));
	assert_int_equal(append(s, 30), 19);
	spool_close(s);
	s = open_wide(dir);
	assert_true(spool_epoch(s) == raised);
	d = drain(s, 1000);
	assert_int_equal(d->count, 19);
	assert_int_equal(d->numbers[0], 1);
	assert_int_equal(d->values[0], 12);
	assert_int_equal(d->numbers[18], 19);
	free(d);
	assert_true(spool_ack(s, raised, 19));
	assert_int_equal(waiting(s), 0);
	assert_false(spool_raise_epoch(s, UINT64_MAX));
	spool_close(s);
	unit_dir_remove(dir);
}

/* ---- bounds ---- */

static void
the_oldest_go_when_there_are_too_many(void **state)
{
	const struct spool_limits limits = {.max_records = 100, .max_bytes = 64 << 20};
	char *dir = unit_dir();
	struct spool *s = open_with(dir, &limits);
	struct drained *d;

	for (unsigned i = 0; i < 250; i++)
		append(s, i);
	assert_int_equal(waiting(s), 100);
	assert_int_equal(dropped(s, SPOOL_DROP_RECORDS), 150);
	d = drain(s, 1000);
	assert_int_equal(d->count, 100);
	assert_int_equal(d->values[0], 150);
	assert_int_equal(d->numbers[99], 250);
	free(d);
	spool_close(s);
	s = open_with(dir, &limits);
	assert_int_equal(waiting(s), 100);
	assert_int_equal(dropped(s, SPOOL_DROP_RECORDS), 150); /* counted for ever, not again */
	spool_close(s);
	unit_dir_remove(dir);
}

static void
the_oldest_go_when_they_take_too_much_room(void **state)
{
	const struct spool_limits limits = {.max_records = 1000000, .max_bytes = 1 << 20};
	char *dir = unit_dir(), payload[1000] = {0};
	struct spool *s = open_with(dir, &limits);
	struct spool_stats stats;
	uint64_t last = 0;

	for (int i = 0; i < 5000; i++)
		assert_true(spool_append(s, payload, sizeof(payload), NOW, &last));
	spool_stats(s, &stats);
	assert_true(stats.bytes <= 1 << 20);
	assert_true(stats.bytes > 800 << 10); /* not more than the bound asks for */
	assert_int_equal(stats.records + stats.dropped[SPOOL_DROP_BYTES], 5000);
	assert_int_equal(last, 5000);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
the_old_go_when_they_are_too_old(void **state)
{
	const struct spool_limits limits = {
	    .max_records = 1000, .max_bytes = 1 << 20, .max_age_nano = 3600 * NANO_PER_SECOND};
	char *dir = unit_dir();
	struct spool *s;
	struct drained *d;

	clock_virtual(NOW, 1);
	s = open_with(dir, &limits);
	append(s, 1);
	append(s, 2);
	clock_advance(3000 * NANO_PER_SECOND);
	append(s, 3);
	clock_advance(1000 * NANO_PER_SECOND);
	spool_sync(s);
	spool_rewind(s);
	d = drain(s, 10);
	assert_int_equal(d->count, 1);
	assert_int_equal(d->values[0], 3);
	free(d);
	assert_int_equal(dropped(s, SPOOL_DROP_AGE), 2);
	assert_int_equal(waiting(s), 1);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
too_large_is_refused_and_counted(void **state)
{
	char *dir = unit_dir(), *large = calloc(1, SPOOL_RECORD_MAX + 1);
	struct spool *s = open_wide(dir);
	struct spool_batch b;

	assert_false(spool_append(s, large, SPOOL_RECORD_MAX + 1, NOW, NULL));
	assert_int_equal(errno, EMSGSIZE);
	assert_int_equal(dropped(s, SPOOL_DROP_TOO_LARGE), 1);
	assert_true(spool_append(s, large, SPOOL_RECORD_MAX, NOW, NULL));
	assert_true(spool_append(s, "", 0, NOW, NULL));
	spool_sync(s);
	spool_batch_init(&b);
	assert_true(spool_read(s, 10, 1000, &b)); /* one at least, however large */
	assert_int_equal(b.count, 1);
	assert_int_equal(b.bytes, SPOOL_RECORD_MAX);
	assert_true(spool_read(s, 10, 1000, &b));
	assert_int_equal(b.records[0].len, 0);
	spool_batch_free(&b);
	spool_close(s);
	free(large);
	unit_dir_remove(dir);
}

static size_t
first_and_last(struct spool *s, unsigned *first, unsigned *last)
{
	struct drained *d = drain(s, 1000);
	size_t count = d->count;

	*first = count ? d->values[0] : 0;
	*last = count ? d->values[count - 1] : 0;
	free(d);
	return count;
}

static void
the_newest_go_when_the_policy_says_so(void **state)
{
	const struct spool_limits limits = {
	    .max_records = 100, .max_bytes = 64 << 20, .policy = SPOOL_GIVE_NEWEST};
	char *dir = unit_dir(), text[64];
	struct spool *s = open_with(dir, &limits);
	unsigned first, last;

	for (unsigned i = 0; i < 100; i++)
		append(s, i);
	for (unsigned i = 100; i < 250; i++)
	{
		snprintf(text, sizeof(text), "record %u", i);
		assert_false(spool_append(s, text, strlen(text), NOW, NULL));
		assert_int_equal(errno, ENOBUFS);
	}
	assert_int_equal(dropped(s, SPOOL_DROP_FULL), 150);
	assert_int_equal(dropped(s, SPOOL_DROP_RECORDS), 0);
	assert_int_equal(first_and_last(s, &first, &last), 100);
	assert_int_equal(first, 0);
	assert_int_equal(last, 99);
	/* What is acknowledged makes room. */
	assert_true(spool_ack(s, spool_epoch(s), 10));
	append(s, 250);
	assert_int_equal(waiting(s), 91);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
bytes_bound_the_newest_too(void **state)
{
	const struct spool_limits limits = {
	    .max_records = 1000000, .max_bytes = 1 << 20, .policy = SPOOL_GIVE_NEWEST};
	char *dir = unit_dir(), payload[1000] = {0};
	struct spool *s = open_with(dir, &limits);
	struct spool_stats stats;
	uint64_t ok = 0;

	for (int i = 0; i < 5000; i++)
		ok += spool_append(s, payload, sizeof(payload), NOW, NULL);
	spool_stats(s, &stats);
	assert_true(stats.bytes <= 1 << 20 && stats.bytes > 950 << 10);
	assert_int_equal(stats.records, ok);
	assert_int_equal(stats.dropped[SPOOL_DROP_FULL], 5000 - ok);
	assert_int_equal(stats.dropped[SPOOL_DROP_BYTES], 0);
	spool_close(s);
	unit_dir_remove(dir);
}

/* Ordinary records fill four fifths and push nothing out; important ones always find room. */
static void
the_ordinary_make_no_room_for_themselves(void **state)
{
	const struct spool_limits limits = {
	    .max_records = 100, .max_bytes = 64 << 20, .policy = SPOOL_GIVE_ORDINARY};
	char *dir = unit_dir(), text[64];
	struct spool *s = open_with(dir, &limits);
	size_t important = 0, ordinary = 0;
	struct drained *d;

	for (unsigned i = 0; i < 90; i++)
	{
		snprintf(text, sizeof(text), "record %u", i);
		assert_int_equal(spool_append(s, text, strlen(text), NOW, NULL), i < 80);
	}
	for (unsigned i = 1000; i < 1060; i++)
	{
		snprintf(text, sizeof(text), "record %u", i);
		assert_true(spool_append_important(s, text, strlen(text), NOW, NULL));
		snprintf(text, sizeof(text), "record %u", i - 900);
		assert_false(spool_append(s, text, strlen(text), NOW, NULL));
	}
	assert_int_equal(waiting(s), 100);
	assert_int_equal(dropped(s, SPOOL_DROP_FULL), 10 + 60);
	assert_int_equal(dropped(s, SPOOL_DROP_RECORDS), 40); /* the oldest, for the last 40 */
	d = drain(s, 1000);
	for (size_t i = 0; i < d->count; i++)
		d->values[i] >= 1000 ? important++ : ordinary++;
	free(d);
	assert_int_equal(important, 60);
	assert_int_equal(ordinary, 40);
	spool_close(s);
	unit_dir_remove(dir);
}

/* ---- damage ---- */

/* Makes a spool with n records in a child that dies without closing it. */
static void
make_crashed(const char *dir, unsigned n, uint64_t ack)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
	{
		struct spool *s = open_wide(dir);

		for (unsigned i = 0; i < n; i++)
			append(s, i);
		spool_sync(s);
		if (ack)
			spool_ack(s, spool_epoch(s), ack);
		crash(s);
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
}

static void
segment_file(const char *dir, char path[512])
{
	snprintf(path, 512, "%s/%020d.seg", dir, 1);
}

static void
copy_dir(const char *from, const char *to)
{
	char command[1024];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -r '%s' '%s'", to, from, to);
	assert_int_equal(system(command), 0);
}

static size_t
file_size(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (size_t) st.st_size;
}

/* After damage: the values that come out are some of 0..n-1, in order; new records get numbers
 * above every number that was given out before. Returns how many came out. */
static size_t
check_survivors(const char *dir, unsigned n)
{
	struct spool *s = open_wide(dir);
	struct drained *d;
	size_t count;
	uint64_t fresh;

	fresh = append(s, 1000000);
	assert_true(fresh > n);
	d = drain(s, 1000);
	assert_true(d->count >= 1);
	assert_int_equal(d->values[d->count - 1], 1000000);
	for (size_t i = 0; i + 1 < d->count; i++)
	{
		assert_true(d->values[i] < n);
		assert_int_equal(d->numbers[i], d->values[i] + 1);
	}
	count = d->count - 1;
	free(d);
	assert_true(spool_ack(s, spool_epoch(s), fresh));
	assert_int_equal(waiting(s), 0);
	spool_close(s);
	return count;
}

static void
cut_at_every_offset(void **state)
{
	const unsigned n = 6;
	char *base = unit_dir(), dir[256], origin[256], path[512];
	size_t size, whole;

	snprintf(origin, sizeof(origin), "%s/origin", base);
	snprintf(dir, sizeof(dir), "%s/copy", base);
	make_crashed(origin, n, 0);
	segment_file(origin, path);
	size = file_size(path);
	for (size_t cut = 0; cut <= size; cut++)
	{
		copy_dir(origin, dir);
		segment_file(dir, path);
		assert_int_equal(truncate(path, (off_t) cut), 0);
		whole = cut < 64 ? 0 : (cut - 64) / (28 + strlen("record 0"));
		assert_int_equal(check_survivors(dir, n), whole);
	}
	unit_dir_remove(base);
}

static void
flip_at_every_offset(void **state)
{
	const unsigned n = 6;
	char *base = unit_dir(), dir[256], origin[256], path[512];
	size_t size;

	snprintf(origin, sizeof(origin), "%s/origin", base);
	snprintf(dir, sizeof(dir), "%s/copy", base);
	make_crashed(origin, n, 0);
	segment_file(origin, path);
	size = file_size(path);
	for (size_t at = 0; at < size; at++)
	{
		uint8_t byte;
		int fd;

		copy_dir(origin, dir);
		segment_file(dir, path);
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, (off_t) at), 1);
		byte ^= 0x55;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
		close(fd);
		/* Damage costs the record it is in and no other. */
		assert_int_equal(check_survivors(dir, n), at < 64 ? n : n - 1);
	}
	unit_dir_remove(base);
}

static void
damage_is_counted_once_and_kept(void **state)
{
	char *dir = unit_dir(), path[512], command[512];
	struct spool *s;
	int fd;

	make_crashed(dir, 6, 0);
	segment_file(dir, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "XXXX", 4, 64 + 36 * 2 + 30), 4);
	close(fd);
	for (int i = 0; i < 3; i++)
	{
		s = open_wide(dir);
		assert_int_equal(dropped(s, SPOOL_DROP_CORRUPT), 1);
		assert_int_equal(waiting(s), 5);
		spool_close(s);
	}
	snprintf(command, sizeof(command), "test $(ls '%s'/quarantine | wc -l) -eq 1", dir);
	assert_int_equal(system(command), 0);
	unit_dir_remove(dir);
}

/* Damage that comes after the scan at start is found when the record is read. */
static void
damage_while_running_is_skipped(void **state)
{
	char *dir = unit_dir(), path[512];
	struct spool *s = open_wide(dir);
	struct drained *d;
	int fd;

	for (unsigned i = 0; i < 6; i++)
		append(s, i);
	spool_sync(s);
	segment_file(dir, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "XXXX", 4, 64 + 36 * 2 + 30), 4);
	close(fd);
	d = drain(s, 100);
	assert_int_equal(d->count, 5);
	assert_int_equal(d->batches, 2); /* the gap starts a new one */
	assert_int_equal(dropped(s, SPOOL_DROP_CORRUPT), 1);
	free(d);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
every_damage_to_the_cursor_keeps_numbers_apart(void **state)
{
	char *base = unit_dir(), dir[256], origin[256], path[512];

	snprintf(origin, sizeof(origin), "%s/origin", base);
	snprintf(dir, sizeof(dir), "%s/copy", base);
	make_crashed(origin, 6, 3);
	for (int at = 0; at <= 1024; at += 16)
	{
		struct spool *s;
		struct drained *d;
		uint64_t fresh;
		uint8_t noise[16] = "................";
		int fd;

		copy_dir(origin, dir);
		snprintf(path, sizeof(path), "%s/cursor", dir);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (at < 1024)
			assert_int_equal(pwrite(fd, noise, 16, at), 16);
		else
			assert_int_equal(ftruncate(fd, 0), 0); /* all of it */
		close(fd);
		s = open_wide(dir);
		fresh = append(s, 99);
		assert_true(fresh > 6);
		d = drain(s, 100);
		/* The acknowledgement may be lost, the records may not. */
		assert_in_range(d->count, 4, 7);
		assert_int_equal(d->values[d->count - 2], 5);
		assert_int_equal(d->numbers[d->count - 2], 6);
		free(d);
		spool_close(s);
	}
	unit_dir_remove(base);
}

/* The last segment and, if asked for, the cursor are of a version that is not known here. */
static void
make_newer(const char *dir, bool cursor)
{
	uint8_t header[64], slot[512];
	uint32_t version = 99, crc;
	char path[512];
	int fd;

	segment_file(dir, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	memcpy(header + 8, &version, 4);
	crc = crc32c(0, header, sizeof(header) - 4);
	memcpy(header + 60, &crc, 4);
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, "a format of its own", 19, 64), 19);
	close(fd);
	if (!cursor)
		return;
	snprintf(path, sizeof(path), "%s/cursor", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	for (int at = 0; at <= 512; at += 512)
	{
		assert_int_equal(pread(fd, slot, sizeof(slot), at), sizeof(slot));
		memcpy(slot + 4, &version, 4);
		crc = crc32c(0, slot, sizeof(slot) - 4);
		memcpy(slot + 508, &crc, 4);
		assert_int_equal(pwrite(fd, slot, sizeof(slot), at), sizeof(slot));
	}
	close(fd);
}

/* An older program in place of a newer one: what it cannot read is set aside whole, and no number
 * is given out again. */
static void
going_back_to_an_older_version_goes_on(void **state)
{
	for (int cursor = 0; cursor < 2; cursor++)
	{
		char *dir = unit_dir(), path[512];
		struct spool *s;
		struct drained *d;
		uint64_t epoch, fresh;
		size_t size;

		make_crashed(dir, 6, 0);
		s = open_wide(dir);
		epoch = spool_epoch(s);
		spool_close(s);
		segment_file(dir, path);
		size = file_size(path);
		make_newer(dir, cursor);
		s = open_wide(dir);
		assert_true(spool_epoch(s) == epoch);
		assert_int_equal(waiting(s), 0);
		assert_int_equal(dropped(s, SPOOL_DROP_NEWER), 1);
		assert_int_equal(dropped(s, SPOOL_DROP_CORRUPT), 0);
		fresh = append(s, 99);
		assert_true(fresh > 6);
		d = drain(s, 100);
		assert_int_equal(d->count, 1);
		assert_int_equal(d->values[0], 99);
		free(d);
		spool_close(s);
		snprintf(path, sizeof(path), "%s/quarantine/%020d.seg", dir, 1);
		assert_int_equal(file_size(path), size);
		s = open_wide(dir);
		assert_int_equal(waiting(s), 1);
		assert_int_equal(dropped(s, SPOOL_DROP_NEWER), 1);
		spool_close(s);
		unit_dir_remove(dir);
	}
}

static void
a_refused_batch_is_kept_aside(void **state)
{
	char *dir = unit_dir(), path[512];
	struct spool *s = open_wide(dir);
	struct spool_batch b;

	for (unsigned i = 0; i < 10; i++)
		append(s, i);
	spool_sync(s);
	spool_batch_init(&b);
	assert_true(spool_read(s, 4, 1000, &b));
	assert_true(spool_refuse(s, &b, "wire bytes", 10));
	assert_int_equal(dropped(s, SPOOL_DROP_REFUSED), 4);
	assert_int_equal(waiting(s), 6);
	snprintf(path, sizeof(path), "%s/quarantine/batch-%" PRIu64 "-1.pb", dir, b.epoch);
	assert_int_equal(file_size(path), 10);
	assert_true(spool_read(s, 100, 1000, &b));
	assert_int_equal(b.first, 5);
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

/* ---- packed segments ---- */

/* So many results, a second apart, that nobody took. */
static void
append_slowly(struct spool *s, unsigned from, unsigned count)
{
	char text[512];

	for (unsigned i = from; i < from + count; i++)
	{
		size_t len = result_like(i, text);

		assert_true(spool_append(s, text, len, NOW + i * NANO_PER_SECOND, NULL));
	}
	assert_true(spool_sync(s));
}

static void
check_all(struct spool *s, unsigned count)
{
	struct drained *d = drain(s, 100);

	assert_int_equal(d->count, count);
	for (unsigned i = 0; i < count; i++)
	{
		assert_int_equal(d->values[i], i);
		assert_int_equal(d->numbers[i], i + 1);
	}
	free(d);
}

static void
what_waits_is_made_small(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct spool_stats stats;

	append_slowly(s, 0, 5000);
	spool_stats(s, &stats);
	assert_int_equal(stats.records, 5000);
	assert_true(stats.bytes < 5000 * 150); /* of more than 300 each */
	assert_true(stats.oldest_unix_nano >= NOW && stats.oldest_unix_nano < NOW + NANO_PER_SECOND);
	check_all(s, 5000);
	spool_rewind(s);
	check_all(s, 5000);
	/* After a start as well, and new records go behind. */
	spool_close(s);
	s = open_wide(dir);
	check_all(s, 5000);
	append_slowly(s, 5000, 1000);
	spool_rewind(s);
	assert_true(spool_ack(s, spool_epoch(s), 1234));
	spool_rewind(s);
	spool_stats(s, &stats);
	assert_int_equal(stats.records, 6000 - 1234);
	assert_true(spool_ack(s, spool_epoch(s), spool_last(s)));
	spool_stats(s, &stats);
	assert_int_equal(stats.records, 0);
	assert_int_equal(stats.dropped[SPOOL_DROP_CORRUPT], 0);
	spool_close(s);
	unit_dir_remove(dir);
}

/* A reader in the middle of a segment that is packed under it goes on where it was. */
static void
packing_does_not_disturb_a_reader(void **state)
{
	char *dir = unit_dir();
	struct spool *s = open_wide(dir);
	struct spool_batch b;
	uint64_t want = 1;

	spool_batch_init(&b);
	for (unsigned i = 0; i < 4000; i += 100)
	{
		append_slowly(s, i, 100);
		/* Less than comes in: the reader is always inside of something. */
		assert_true(spool_read(s, 37, 1 << 20, &b));
		assert_true(b.first == want);
		want += b.count;
	}
	while (spool_read(s, 37, 1 << 20, &b))
	{
		assert_true(b.first == want);
		want += b.count;
	}
	assert_int_equal(want, 4001);
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

/* A tenth of three days at 100 tests a minute, in a tenth of 64 MB. */
static void
three_days_fit(void **state)
{
	const struct spool_limits limits = {.max_records = 100000,
	                                    .max_bytes = (64 << 20) / 10,
	                                    .max_age_nano = 168 * 3600 * NANO_PER_SECOND};
	const unsigned count = 72 * 60 * 100 / 10;
	char *dir = unit_dir(), text[512];
	struct spool *s = open_with(dir, &limits);
	struct spool_stats stats;
	struct spool_batch b;
	uint64_t want = 1;
	int64_t at = clock_unix_nano() - 72 * 360 * NANO_PER_SECOND;

	for (unsigned i = 0; i < count; i++, at += 600 * NANO_PER_MS)
		assert_true(spool_append(s, text, result_like(i, text), at, NULL));
	spool_stats(s, &stats);
	assert_int_equal(stats.records, count);
	for (int i = 0; i < SPOOL_DROP_COUNT; i++)
		assert_int_equal(stats.dropped[i], 0);
	spool_sync(s);
	spool_batch_init(&b);
	for (; spool_read(s, 500, 1 << 17, &b); want += b.count)
	{
		assert_true(b.first == want);
		assert_true(spool_ack(s, b.epoch, b.first + b.count - 1));
	}
	assert_int_equal(want, count + 1);
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

/* What a process left that was killed while it packed. */
static void
half_written_files_are_tidied(void **state)
{
	char *dir = unit_dir(), path[512];

	spool_close(open_wide(dir));
	snprintf(path, sizeof(path), "%s/%020d.seg.4711.tmp", dir, 1);
	unit_write(path, "half", 4);
	spool_close(open_wide(dir));
	assert_int_equal(access(path, F_OK), -1);
	unit_dir_remove(dir);
}

/* A burst is not packed: it is gone in a moment. */
static void
a_burst_is_left_as_it_is(void **state)
{
	char *dir = unit_dir(), text[512];
	struct spool *s = open_wide(dir);
	struct spool_stats stats;
	size_t bytes = 0;

	for (unsigned i = 0; i < 5000; i++)
	{
		size_t len = result_like(i, text);

		assert_true(spool_append(s, text, len, NOW + i * NANO_PER_MS, NULL));
		bytes += len;
	}
	spool_stats(s, &stats);
	assert_true(stats.bytes > bytes);
	spool_sync(s);
	check_all(s, 5000);
	spool_close(s);
	unit_dir_remove(dir);
}

/* Damage in a packed segment costs the block it is in; what follows comes out. */
static void
damage_to_a_packed_segment_costs_one_block(void **state)
{
	char *base = unit_dir(), dir[256], origin[256], path[512];
	struct spool *s;
	size_t size;

	snprintf(origin, sizeof(origin), "%s/origin", base);
	snprintf(dir, sizeof(dir), "%s/copy", base);
	s = open_wide(origin);
	append_slowly(s, 0, 1000); /* one segment, packed, of several blocks, and one more */
	spool_close(s);
	segment_file(origin, path);
	size = file_size(path);
	assert_true(size < 150 * 1024);
	for (size_t at = 0; at < size; at += 997)
	{
		struct drained *d;
		uint8_t byte;
		int fd;

		copy_dir(origin, dir);
		segment_file(dir, path);
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, (off_t) at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
		close(fd);
		s = open_wide(dir);
		d = drain(s, 100);
		/* 64 KiB of records, or nothing when only the header is hit. */
		assert_true(at < 64 ? d->count == 1000 : d->count >= 800 && d->count < 1000);
		assert_int_equal(d->values[d->count - 1], 999);
		for (size_t i = 0; i < d->count; i++)
			assert_int_equal(d->numbers[i], d->values[i] + 1);
		free(d);
		assert_true(dropped(s, SPOOL_DROP_CORRUPT) >= 1);
		spool_close(s);
	}
	unit_dir_remove(base);
}

/* ---- kill -9 ---- */

/* What the child tells before it does it, and after. Both ends are pipes, so nothing that was
 * told is lost with the child. */
struct event
{
	char kind; /* a: appended, s: sent, k: acknowledged */
	uint64_t epoch, number;
	unsigned value;
};

static void
tell(int fd, char kind, uint64_t epoch, uint64_t number, unsigned value)
{
	struct event e = {kind, epoch, number, value};

	if (write(fd, &e, sizeof(e)) != sizeof(e))
		_exit(3);
}

/* Appends, sends and acknowledges as fast as it can until it is killed. */
static void
churn(const char *dir, int fd, unsigned value)
{
	const struct spool_limits limits = {.max_records = 1000000, .max_bytes = 8 << 20};
	char err[512], text[64];
	struct spool *s = spool_open(dir, &limits, err, sizeof(err));
	struct spool_batch b;

	if (!s)
		_exit(4);
	spool_batch_init(&b);
	spool_rewind(s);
	for (unsigned round = 0;; round++)
	{
		for (unsigned i = 0; i < 1 + round % 5; i++)
		{
			uint64_t number;

			snprintf(text, sizeof(text), "record %u", value);
			if (!spool_append(s, text, strlen(text), NOW, &number))
				_exit(5);
			tell(fd, 'a', spool_epoch(s), number, value++);
		}
		if (round % 3 == 0)
			spool_sync(s);
		while (spool_read(s, 3, 1000, &b))
		{
			for (size_t i = 0; i < b.count; i++)
			{
				unsigned v = 0;

				memcpy(text, b.records[i].data, b.records[i].len);
				text[b.records[i].len] = '\0';
				if (sscanf(text, "record %u", &v) != 1)
					_exit(6);
				tell(fd, 's', b.epoch, b.first + i, v);
			}
			if (round % 2 == 0)
			{
				tell(fd, 'k', b.epoch, b.first + b.count - 1, 0);
				if (!spool_ack(s, b.epoch, b.first + b.count - 1))
					_exit(7);
			}
		}
		if (round % 50 == 49)
			spool_rewind(s);
	}
}

static void
killed_at_any_moment(void **state)
{
	static unsigned value_of[2000000]; /* number -> value + 1 */
	static uint8_t given[2000000];     /* value -> bit 1 appended, 2 acknowledged, 4 sent */
	char *dir = unit_dir();
	unsigned value = 0;
	struct spool *s;
	struct drained *d;
	uint64_t epoch = 0, acked = 0;

	for (int round = 0; round < 25; round++)
	{
		int fds[2], status;
		struct event e;
		pid_t pid;
		unsigned seen = 0, want = 50 + (unsigned) round * 61 % 400;

		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
		{
			close(fds[0]);
			churn(dir, fds[1], value);
		}
		close(fds[1]);
		while (read(fds[0], &e, sizeof(e)) == sizeof(e))
		{
			if (++seen == want)
				kill(pid, SIGKILL);
			assert_true(e.number < 2000000 && e.value < 2000000);
			if (!epoch)
				epoch = e.epoch;
			assert_true(e.epoch == epoch);
			if (e.kind == 'k')
				acked = e.number > acked ? e.number : acked;
			else
			{
				/* One number, one record, for ever. */
				assert_true(value_of[e.number] == 0 || value_of[e.number] == e.value + 1);
				value_of[e.number] = e.value + 1;
				given[e.value] |= e.kind == 'a' ? 1 : 4;
				if (e.value >= value)
					value = e.value + 1;
			}
		}
		close(fds[0]);
		assert_true(waitpid(pid, &status, 0) == pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		/* The last append may be on disk although it was not told: its value is used up. */
		value++;
	}
	for (uint64_t n = 1; n <= acked; n++)
		if (value_of[n])
			given[value_of[n] - 1] |= 2;
	s = open_wide(dir);
	spool_rewind(s);
	d = drain(s, 1000);
	for (size_t i = 0; i < d->count; i++)
	{
		assert_true(value_of[d->numbers[i]] == 0 || value_of[d->numbers[i]] == d->values[i] + 1);
		given[d->values[i]] |= 2;
	}
	/* Whatever was appended was acknowledged or is still there. */
	for (unsigned v = 0; v < value; v++)
		if (given[v] & 1)
			assert_true(given[v] & 2);
	free(d);
	spool_close(s);
	unit_dir_remove(dir);
}

/* ---- full disk ---- */

static void
a_full_disk_costs_the_new_record_only(void **state)
{
	char *dir = unit_dir();
	struct rlimit limit;
	pid_t pid = fork();
	int status;

	if (pid == 0)
	{
		struct spool *s = open_wide(dir);
		struct spool_stats stats;
		char payload[200] = "record 77 and a long tail";
		unsigned ok = 0, failed = 0;

		/* Files may not grow past 8 KiB: a short write, then EFBIG. */
		signal(SIGXFSZ, SIG_IGN);
		limit.rlim_cur = 8192;
		limit.rlim_max = RLIM_INFINITY;
		setrlimit(RLIMIT_FSIZE, &limit);
		for (int i = 0; i < 100; i++)
			spool_append(s, payload, sizeof(payload), NOW, NULL) ? ok++ : failed++;
		if (ok < 30 || failed < 30)
			_exit(10);
		spool_stats(s, &stats);
		if (stats.dropped[SPOOL_DROP_DISK] != failed || stats.records != ok)
			_exit(11);
		limit.rlim_cur = RLIM_INFINITY;
		setrlimit(RLIMIT_FSIZE, &limit);
		/* Room again: it goes on where it was. */
		for (int i = 0; i < 10; i++)
			if (!spool_append(s, payload, sizeof(payload), NOW, NULL))
				_exit(12);
		spool_close(s);
		s = open_wide(dir);
		spool_stats(s, &stats);
		if (stats.records != ok + 10 || stats.dropped[SPOOL_DROP_CORRUPT] != 0)
			_exit(13);
		spool_close(s);
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	assert_int_equal(status, 0);
	unit_dir_remove(dir);
}

/* Deleted segments are really gone: a full disk has room again once everything left. */
static void
a_drained_spool_frees_its_blocks(void **state)
{
	char *dir = unit_dir(), payload[1000] = {0}, command[256];
	struct spool *s = open_wide(dir);
	struct spool_batch b;

	for (int i = 0; i < 200; i++)
		assert_true(spool_append(s, payload, sizeof(payload), NOW, NULL));
	spool_sync(s);
	spool_batch_init(&b);
	while (spool_read(s, 50, 1 << 20, &b))
		assert_true(spool_ack(s, b.epoch, b.first + b.count - 1));
	snprintf(command, sizeof(command), "! ls -l /proc/%d/fd | grep -q '%s.*deleted'", getpid(),
	         dir);
	assert_int_equal(system(command), 0);
	spool_batch_free(&b);
	spool_close(s);
	unit_dir_remove(dir);
}

static void
an_unusable_directory_is_one_clear_sentence(void **state)
{
	char *dir = unit_dir(), path[512], err[512];

	snprintf(path, sizeof(path), "%s/file", dir);
	unit_write(path, "x", 1);
	assert_null(spool_open(path, &wide, err, sizeof(err)));
	assert_non_null(strstr(err, "Not a directory"));
	unit_dir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_start_at_1_and_go_on_after_a_clean_close),
	    cmocka_unit_test(only_synced_records_are_offered),
	    cmocka_unit_test(offered_records_need_no_sync_once_acknowledged),
	    cmocka_unit_test(a_power_cut_after_an_offer_loses_bytes_and_no_number),
	    cmocka_unit_test(acknowledged_records_are_gone_for_good),
	    cmocka_unit_test(rewind_offers_the_unacknowledged_again),
	    cmocka_unit_test(disk_use_follows_the_backlog),
	    cmocka_unit_test(two_processes_do_not_share),
	    cmocka_unit_test(a_raised_epoch_numbers_the_rest_from_1),
	    cmocka_unit_test(the_oldest_go_when_there_are_too_many),
	    cmocka_unit_test(the_oldest_go_when_they_take_too_much_room),
	    cmocka_unit_test(the_newest_go_when_the_policy_says_so),
	    cmocka_unit_test(bytes_bound_the_newest_too),
	    cmocka_unit_test(the_ordinary_make_no_room_for_themselves),
	    cmocka_unit_test(going_back_to_an_older_version_goes_on),
	    cmocka_unit_test(what_waits_is_made_small),
	    cmocka_unit_test(packing_does_not_disturb_a_reader),
	    cmocka_unit_test(three_days_fit),
	    cmocka_unit_test(half_written_files_are_tidied),
	    cmocka_unit_test(a_burst_is_left_as_it_is),
	    cmocka_unit_test(damage_to_a_packed_segment_costs_one_block),
	    cmocka_unit_test(too_large_is_refused_and_counted),
	    cmocka_unit_test(cut_at_every_offset),
	    cmocka_unit_test(flip_at_every_offset),
	    cmocka_unit_test(damage_is_counted_once_and_kept),
	    cmocka_unit_test(damage_while_running_is_skipped),
	    cmocka_unit_test(every_damage_to_the_cursor_keeps_numbers_apart),
	    cmocka_unit_test(a_refused_batch_is_kept_aside),
	    cmocka_unit_test(killed_at_any_moment),
	    cmocka_unit_test(a_full_disk_costs_the_new_record_only),
	    cmocka_unit_test(a_drained_spool_frees_its_blocks),
	    cmocka_unit_test(an_unusable_directory_is_one_clear_sentence),
	    cmocka_unit_test(the_old_go_when_they_are_too_old), /* last: time stands still after it */
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
