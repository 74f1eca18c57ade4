/* SPDX-License-Identifier: PostgreSQL
 *
 * test_base.c -- the small parts of the library: arena, UUIDs, files, log lines.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/arena.h"
#include "lib/buf.h"
#include "lib/files.h"
#include "lib/log.h"
#include "lib/uuid.h"

static void
an_arena_ends_at_its_ceiling(void **state)
{
	struct arena a;
	size_t total = 0;
	void *p;

	arena_init(&a, 1024, 8192);
	for (int round = 0; round < 3; round++)
	{
		for (total = 0; (p = arena_alloc(&a, 100)); total += 100)
		{
			assert_int_equal((uintptr_t) p % sizeof(void *), 0);
			memset(p, 0xaa, 100);
		}
		assert_in_range(total, 6000, 8192);
		arena_reset(&a);
	}
	assert_null(arena_alloc(&a, 8193));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 5000)); /* larger than a block */
	assert_string_equal(arena_strdup(&a, "text"), "text");
	arena_free(&a);
}

static void
uuids_are_what_they_say(void **state)
{
	uint8_t a[UUID_BYTES], b[UUID_BYTES];
	char text[UUID_TEXT], last[UUID_TEXT] = "";

	uuid_v4_text(text);
	assert_int_equal(text[14], '4');
	assert_non_null(strchr("89ab", text[19]));
	for (int i = 0; i < 5; i++)
	{
		uuid_v7_text(text);
		assert_int_equal(text[14], '7');
		assert_true(strncmp(text, last, 13) >= 0); /* time does not go back */
		memcpy(last, text, sizeof(last));
	}
	uuid_from_name(a, "name", 4);
	uuid_from_name(b, "name", 4);
	assert_memory_equal(a, b, UUID_BYTES);
	uuid_from_name(b, "nama", 4);
	assert_memory_not_equal(a, b, UUID_BYTES);
	assert_true(uuid_parse("0123ABCD-4567-489a-9cde-f00000000000", a));
	uuid_print(a, text);
	assert_string_equal(text, "0123abcd-4567-489a-9cde-f00000000000");
	assert_false(uuid_parse("", a));
	assert_false(uuid_parse("0123abcd-4567-489a-9cde-f0000000000", a));
	assert_false(uuid_parse("0123abcd-4567-489a-9cde-f000000000000", a));
	assert_false(uuid_parse("0123abcd04567-489a-9cde-f00000000000", a));
	assert_false(uuid_parse("0123abcg-4567-489a-9cde-f00000000000", a));
}

static void
files_are_whole_or_as_before(void **state)
{
	char *dir = unit_dir(), path[256], other[256], link[256], target[64] = "";
	struct buf text = BUF_INIT(10), small = BUF_INIT(4);
	struct stat st;

	snprintf(path, sizeof(path), "%s/a/b/c", dir);
	assert_true(files_mkdirs(path, 0700));
	assert_true(files_mkdirs(path, 0700));
	snprintf(path, sizeof(path), "%s/a/b/c/file", dir);
	assert_true(files_write(path, "first", 5, 0640));
	assert_true(files_write(path, "second", 6, 0600));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(files_read(path, &text));
	assert_string_equal(buf_cstr(&text), "second");
	assert_false(files_read(path, &small));
	assert_int_equal(errno, EFBIG);
	assert_false(files_write("/nonexistent/file", "x", 1, 0600));
	assert_int_equal(errno, ENOENT);
	snprintf(other, sizeof(other), "%s/file", path);
	assert_false(files_mkdirs(other, 0700));
	assert_int_equal(errno, ENOTDIR);
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_true(files_symlink("one", link));
	assert_true(files_symlink("two", link));
	assert_int_equal(readlink(link, target, sizeof(target) - 1), 3);
	assert_string_equal(target, "two");
	buf_free(&text);
	buf_free(&small);
	unit_dir_remove(dir);
}

/* One line, whatever is in the message. */
static void
a_message_cannot_forge_a_line(void **state)
{
	char *dir = unit_dir(), path[256];
	struct buf text = BUF_INIT(65536);
	int kept = dup(STDERR_FILENO), fd;
	char *line;

	snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	dup2(fd, STDERR_FILENO);
	errno = ENOSPC;
	log_warning("unit", "peer\n1", "said \"%s\"", "x\n2026-01-01T00:00:00Z error main: forged");
	assert_int_equal(errno, ENOSPC);
	log_debug("unit", NULL, "not shown");
	for (int i = 0; i < 100; i++)
		log_limited(LOG_LEVEL_ERROR, "unit", NULL, "again %d", i);
	dup2(kept, STDERR_FILENO);
	assert_true(files_read(path, &text));
	line = (char *) buf_cstr(&text);
	assert_non_null(strstr(line, "Z warning unit peer\\x0a1: said \"x\\x0a2026"));
	assert_null(strstr(line, "not shown"));
	assert_non_null(strstr(line, "again 0"));
	assert_null(strstr(line, "again 1")); /* one of the hundred */
	line = strchr(line, '\n');
	assert_non_null(line);
	assert_null(strchr(strchr(line + 1, '\n') + 1, '\n'));
	close(kept);
	close(fd);
	buf_free(&text);
	unit_dir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_arena_ends_at_its_ceiling),
	    cmocka_unit_test(uuids_are_what_they_say),
	    cmocka_unit_test(files_are_whole_or_as_before),
	    cmocka_unit_test(a_message_cannot_forge_a_line),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
