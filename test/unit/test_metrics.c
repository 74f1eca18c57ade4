/* SPDX-License-Identifier: PostgreSQL
 *
 * test_metrics.c -- the text of the status socket, and the socket itself.
 */
#include "unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/buf.h"
#include "lib/metrics.h"

static int64_t
forty_two(void)
{
	return 42;
}

static struct metric rows[] = {
    METRIC_COUNTER("probectl_unit_things_total", "reason=\"a\"", "Things."),
    METRIC_COUNTER("probectl_unit_things_total", "reason=\"b\"", "Things."),
    {.name = "probectl_unit_wait_seconds",
     .kind = METRIC_KIND_GAUGE,
     .divisor = 1000,
     .help = "Wait."},
    {.name = "probectl_unit_answer",
     .kind = METRIC_KIND_GAUGE,
     .read = forty_two,
     .help = "Answer."},
};

static int
setup(void **state)
{
	metrics_init("unit");
	metrics_register(rows, sizeof(rows) / sizeof(rows[0]));
	return 0;
}

static void
text_is_openmetrics(void **state)
{
	struct buf out = BUF_INIT(1 << 20);
	const char *text;

	metric_add(&rows[0], 2);
	metric_add(&rows[1], 3);
	metric_set(&rows[2], 1500);
	metrics_backlog(7);
	assert_true(metrics_render(&out));
	text = buf_cstr(&out);
	assert_non_null(
	    strstr(text, "probectl_build_info{process=\"unit\",version=\"" PROBECTL_VERSION "\"} 1\n"));
	/* One heading a family, without _total; the samples with it. */
	assert_non_null(strstr(text, "# TYPE probectl_unit_things counter\n"
	                             "# HELP probectl_unit_things Things.\n"
	                             "probectl_unit_things_total{reason=\"a\"} 2\n"
	                             "probectl_unit_things_total{reason=\"b\"} 3\n"));
	assert_non_null(strstr(text, "probectl_unit_wait_seconds 1.500000\n"));
	assert_non_null(strstr(text, "probectl_unit_answer 42\n"));
	assert_non_null(strstr(text, "\nprobectl_backlog 7\n"));
	assert_non_null(strstr(text, "probectl_process_start_time_seconds 1"));
	assert_string_equal(text + out.len - 6, "# EOF\n");
	buf_free(&out);
}

/* Sends a request, reads to the end. */
static void
ask(const char *path, const char *request, char *answer, size_t len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t at = 0;
	ssize_t n;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	while ((n = read(fd, answer + at, len - 1 - at)) > 0)
		at += (size_t) n;
	answer[at] = '\0';
	close(fd);
}

static void
the_socket_answers(void **state)
{
	char *dir = unit_dir(), path[256], err[256] = "", answer[65536];
	struct metrics_server *server;
	struct stat st;

	snprintf(path, sizeof(path), "%s/s.sock", dir);
	server = metrics_serve_thread(path, err, sizeof(err));
	if (!server)
		fail_msg("%s", err);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	for (int i = 0; i < 3; i++)
	{
		ask(path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", answer, sizeof(answer));
		assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
		assert_non_null(strstr(answer, "application/openmetrics-text; version=1.0.0"));
		assert_non_null(strstr(answer, "# EOF\n"));
	}
	ask(path, "POST /metrics HTTP/1.1\r\n\r\n", answer, sizeof(answer));
	assert_memory_equal(answer, "HTTP/1.1 404", 12);
	ask(path, "GET /etc/passwd HTTP/1.1\r\n\r\n", answer, sizeof(answer));
	assert_memory_equal(answer, "HTTP/1.1 404", 12);
	/* Served by somebody alive: not taken over. */
	assert_null(metrics_serve_thread(path, err, sizeof(err)));
	assert_non_null(strstr(err, "another process is serving it"));
	metrics_stop(server);
	assert_int_not_equal(access(path, F_OK), 0);
	unit_dir_remove(dir);
}

static void
a_stale_socket_is_replaced_and_a_file_is_not(void **state)
{
	char *dir = unit_dir(), path[256], err[256] = "";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct metrics_server *server;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(path, sizeof(path), "%s/s.sock", dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	close(fd); /* as a killed process leaves it */
	server = metrics_serve_thread(path, err, sizeof(err));
	if (!server)
		fail_msg("%s", err);
	metrics_stop(server);
	unit_write(path, "precious", 8);
	assert_null(metrics_serve_thread(path, err, sizeof(err)));
	assert_non_null(strstr(err, "not a socket"));
	assert_int_equal(access(path, F_OK), 0);
	assert_null(metrics_serve_thread(
	    "/a/very/long/path/that/no/socket/address/can/hold/because/it/has/more/bytes/than/"
	    "sun_path/has/room/for/in/linux",
	    err, sizeof(err)));
	assert_non_null(strstr(err, "longer than"));
	unit_dir_remove(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_is_openmetrics),
	    cmocka_unit_test(the_socket_answers),
	    cmocka_unit_test(a_stale_socket_is_replaced_and_a_file_is_not),
	};

	return cmocka_run_group_tests_name("metrics", tests, setup, NULL);
}
