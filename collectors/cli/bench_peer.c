/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_peer.c -- other people's programs beside ours in a benchmark.
 */
#include "cli/bench_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/proc.h"
#include "cli/util.h"

#define WAIT_MS    10000
#define OUTPUT_MAX (8 * 1024 * 1024)

const char *const peer_blackbox_names[] = {"/usr/bin/prometheus-blackbox-exporter",
                                           "/usr/bin/blackbox_exporter", NULL};

const char *
peer_installed(const char *const *names)
{
	for (; *names; names++)
		if (access(*names, X_OK) == 0)
			return *names;
	return NULL;
}

const char *
peer_agent(void)
{
	char self[PATH_MAX] = {0};

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		util_fail(EXIT_CANNOT, "bench: could not find the own program: is /proc mounted?");
	*strrchr(self, '/') = '\0';
	return util_fmt("%s/probectl-agent", self);
}

pid_t
peer_launch(const char *const *argv, const char *output)
{
	pid_t pid = fork();

	if (pid < 0)
		util_fail(EXIT_CANNOT, "bench: cannot start a process: %s", strerror(errno));
	if (pid == 0)
	{
		int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600),
		    in = open("/dev/null", O_RDONLY);

		dup2(in, 0);
		dup2(out, 1);
		dup2(out, 2);
		execv(argv[0], (char *const *) argv);
		_exit(127);
	}
	return pid;
}

struct peer_outcome
peer_run(const char *const *argv, const char *folder)
{
	const char *path = util_fmt("%s/output", folder);
	struct peer_outcome outcome = {0};
	struct rusage usage;
	int64_t began = util_now_ms();
	int status;
	pid_t pid = peer_launch(argv, path);

	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			util_fail(EXIT_CANNOT, "bench: %s: %s", argv[0], strerror(errno));
	outcome.seconds = (double) (util_now_ms() - began) / 1000;
	outcome.cpu_us = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	                 (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	if (!util_read(path, OUTPUT_MAX, &outcome.output, NULL))
		util_fail(EXIT_CANNOT, "bench: cannot read %s", path);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		util_fail(EXIT_CANNOT, "bench: %s failed: %s", argv[0], proc_last_line(outcome.output));
	return outcome;
}

int
peer_dial(uint16_t port)
{
	struct sockaddr_in to = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *) &to, sizeof(to)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

uint16_t
peer_free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &at, sizeof(at)) != 0 ||
	    getsockname(fd, (struct sockaddr *) &at, &size) != 0)
		util_fail(EXIT_CANNOT, "no free port on loopback: %s", strerror(errno));
	close(fd);
	return ntohs(at.sin_port);
}

void
peer_wait(uint16_t port, const char *what)
{
	int64_t until = util_now_ms() + WAIT_MS;
	int fd;

	while ((fd = peer_dial(port)) < 0)
	{
		if (util_now_ms() > until)
			util_fail(EXIT_CANNOT, "bench: %s does not listen", what);
		util_pause_ms(20);
	}
	close(fd);
}

/* ---- blackbox_exporter ---- */

const char *
peer_blackbox_probe(uint16_t port, const char *module, const char *target)
{
	const char *request = util_fmt("GET /probe?module=%s&target=%s HTTP/1.0\r\n\r\n", module,
	                               target);
	static char answer[32768];
	size_t len = 0;
	ssize_t n = 0;
	int fd = peer_dial(port);

	if (fd < 0 || write(fd, request, strlen(request)) < 0)
		n = -1;
	while (n >= 0 && len + 1 < sizeof(answer) &&
	       (n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t) n;
	if (fd >= 0)
		close(fd);
	answer[len] = '\0';
	return strstr(answer, "\nprobe_success 1") ? answer : NULL;
}

struct peer_blackbox
peer_blackbox_start(const char *program, const char *folder, const char *modules)
{
	struct peer_blackbox blackbox = {.port = peer_free_port()};
	const char *conf = util_fmt("%s/blackbox.yml", folder);
	const char *argv[] = {program, util_fmt("--config.file=%s", conf),
	                      util_fmt("--web.listen-address=127.0.0.1:%u", blackbox.port),
	                      "--log.level=error", NULL};
	struct util_error err;
	int64_t rss;

	if (!util_write(conf, modules, strlen(modules), 0600, getuid(), getgid(), &err))
		util_fail(EXIT_CANNOT, "bench: %s", err.text);
	blackbox.pid = peer_launch(argv, util_fmt("%s/blackbox.log", folder));
	peer_wait(blackbox.port, "blackbox_exporter");
	proc_usage(blackbox.pid, &rss, &blackbox.cpu_us);
	return blackbox;
}

double
peer_blackbox_stop(struct peer_blackbox *blackbox)
{
	int64_t rss, cpu_us = blackbox->cpu_us;

	proc_usage(blackbox->pid, &rss, &cpu_us);
	kill(blackbox->pid, SIGKILL);
	waitpid(blackbox->pid, NULL, 0);
	return (double) (cpu_us - blackbox->cpu_us);
}
