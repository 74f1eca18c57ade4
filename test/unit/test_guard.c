/* SPDX-License-Identifier: PostgreSQL
 *
 * test_guard.c -- which addresses are refused, at both ends of every prefix, and that a refused one is
 * not dialled: not as a target, not by a name, not behind a redirect.
 */
#include "rig.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

static const char *
judged(const char *text)
{
	struct resolver_address address;

	if (!resolver_literal(text, &address))
		fail_msg("%s is no address", text);
	return guard_refuses(&address.addr);
}

static void
refused_addresses(void **state)
{
	static const struct
	{
		const char *address, *word;
	} cases[] = {
	    {"0.0.0.0", "unspecified"},
	    {"0.255.255.255", "unspecified"},
	    {"10.0.0.0", "private"},
	    {"10.255.255.255", "private"},
	    {"100.64.0.0", "carrier"},
	    {"100.127.255.255", "carrier"},
	    {"127.0.0.0", "loopback"},
	    {"127.0.0.1", "loopback"},
	    {"127.255.255.255", "loopback"},
	    {"169.254.0.0", "link-local"},
	    {"169.254.169.253", "link-local"},
	    {"169.254.169.254", "metadata"},
	    {"169.254.255.255", "link-local"},
	    {"100.100.100.200", "metadata"},
	    {"168.63.129.16", "metadata"},
	    {"192.0.0.192", "metadata"},
	    {"172.16.0.0", "private"},
	    {"172.31.255.255", "private"},
	    {"192.0.0.0", "protocol"},
	    {"192.0.0.255", "protocol"},
	    {"192.168.0.0", "private"},
	    {"192.168.255.255", "private"},
	    {"198.18.0.0", "benchmarks"},
	    {"198.19.255.255", "benchmarks"},
	    {"224.0.0.0", "multicast"},
	    {"239.255.255.255", "multicast"},
	    {"240.0.0.0", "reserved"},
	    {"255.255.255.255", "broadcast"},
	    {"::", "unspecified"},
	    {"::1", "loopback"},
	    {"64:ff9b:1::", "NAT64"},
	    {"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64"},
	    {"100::", "discard"},
	    {"fc00::", "private"},
	    {"fd00:ec2::253", "private"},
	    {"fd00:ec2::254", "metadata"},
	    {"fd20:ce::254", "metadata"},
	    {"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"},
	    {"fe80::", "link-local"},
	    {"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"},
	    {"fec0::1", "site-local"},
	    {"feff::1", "site-local"},
	    {"ff00::", "multicast"},
	    {"ff02::1", "multicast"},
	    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
	    /* IPv4 inside of IPv6 */
	    {"::ffff:127.0.0.1", "loopback"},
	    {"::ffff:169.254.169.254", "metadata"},
	    {"::ffff:0:10.1.2.3", "private"},
	    {"::127.0.0.1", "loopback"},
	    {"::192.168.1.1", "private"},
	    {"64:ff9b::10.0.0.1", "private"},
	    {"64:ff9b::a9fe:a9fe", "metadata"},
	    {"2002:7f00:1::", "loopback"},
	    {"2002:a9fe:a9fe:1::5", "metadata"},
	    {"2002:c0a8:101::1", "private"},
	    /* Teredo: the client's 127.0.0.1 inverted; the server's 10.0.0.1 as it is */
	    {"2001:0:808:808:0:0:80ff:fffe", "loopback"},
	    {"2001:0:a00:1::f7f7:f7f7", "private"},
	    /* ISATAP */
	    {"2001:db8::5efe:192.168.0.1", "private"},
	    {"2001:db8::200:5efe:127.0.0.1", "loopback"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *what = judged(cases[i].address);

		if (what == NULL || strstr(what, cases[i].word) == NULL)
			fail_msg("%s: %s", cases[i].address, what ? what : "allowed");
	}
}

/* One beyond each end. */
static void
allowed_addresses(void **state)
{
	static const char *const cases[] = {"1.0.0.0",
	                                    "9.255.255.255",
	                                    "11.0.0.0",
	                                    "100.63.255.255",
	                                    "100.128.0.0",
	                                    "126.255.255.255",
	                                    "128.0.0.0",
	                                    "169.253.255.255",
	                                    "169.255.0.0",
	                                    "172.15.255.255",
	                                    "172.32.0.0",
	                                    "191.255.255.255",
	                                    "192.0.1.0",
	                                    "192.0.2.1",
	                                    "192.167.255.255",
	                                    "192.169.0.0",
	                                    "198.17.255.255",
	                                    "198.20.0.0",
	                                    "203.0.113.7",
	                                    "223.255.255.255",
	                                    "168.63.129.15",
	                                    "8.8.8.8",
	                                    "2001:4860:4860::8888",
	                                    "2001:db8::1",
	                                    "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff",
	                                    "64:ff9b::8.8.8.8",
	                                    "100:0:0:1::",
	                                    "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	                                    "fe00::1",
	                                    "fe7f::1",
	                                    "::ffff:8.8.8.8",
	                                    "::8.8.8.8",
	                                    "2002:808:808::1",
	                                    "2001:0:808:808::f7f7:f7f7",
	                                    "2001:db8::5efe:8.8.8.8",
	                                    "2001:db8:0:0:1:5efe:7f00:1"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (judged(cases[i]))
			fail_msg("%s: %s", cases[i], judged(cases[i]));
}

static void
no_internet_address(void **state)
{
	struct sockaddr_storage unix_address = {.ss_family = AF_UNIX};

	assert_non_null(guard_refuses(&unix_address));
}

/* A listener on address, its port in *port. */
static int
listener(const char *address, uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	inet_pton(AF_INET, address, &in.sin_addr);
	if (bind(fd, (struct sockaddr *) &in, sizeof(in)) != 0 || listen(fd, 8) != 0 ||
	    getsockname(fd, (struct sockaddr *) &in, &len) != 0)
		return -1;
	*port = ntohs(in.sin_port);
	return fd;
}

static void
assert_denied(const struct rig *rig, const char *word)
{
	assert_false(rig->result.success);
	assert_int_equal(rig->result.error_type, ERROR_GUARD_DENIED);
	assert_non_null(strstr(rig->result.error, word));
	assert_non_null(strstr(rig->result.error, GUARD_PARAM));
}

static void
nothing_is_dialled(void **state)
{
	static const char *const off[] = {GUARD_PARAM, "false", NULL};
	struct rig rig;
	uint16_t port;
	int fd = listener("127.0.0.1", &port);
	char target[64];

	assert_true(fd >= 0);
	rig_open(&rig);
	rig.guarded = true;
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 1000, NULL));
	assert_denied(&rig, "127.0.0.1 is a loopback address");
	assert_true(rig_run(&rig, "tcp", target, 1000, off));
	assert_denied(&rig, "loopback");
	snprintf(target, sizeof(target), "localhost:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 1000, NULL));
	assert_denied(&rig, "loopback");
	snprintf(target, sizeof(target), "http://localhost:%u/", port);
	assert_true(rig_run(&rig, "http", target, 1000, NULL));
	assert_denied(&rig, "loopback");
	assert_true(rig_run(&rig, "http", "http://169.254.169.254/latest/meta-data/", 1000, NULL));
	assert_denied(&rig, "metadata");
	{
		const char *params[] = {"server", target, "transport", "tcp", NULL};

		snprintf(target, sizeof(target), "127.0.0.1:%u", port);
		assert_true(rig_run(&rig, "dns", "example.net", 1000, params));
		assert_denied(&rig, "loopback");
	}
	assert_int_equal(accept(fd, NULL, NULL), -1); /* nobody came */
	if (rig.env.icmp4_fd >= 0)
	{
		assert_true(rig_run(&rig, "icmp", "127.0.0.1", 1000, NULL));
		assert_denied(&rig, "loopback");
	}
	rig.guarded = false;
	snprintf(target, sizeof(target), "127.0.0.1:%u", port);
	assert_true(rig_run(&rig, "tcp", target, 1000, NULL));
	assert_true(rig.result.success);
	assert_true(accept(fd, NULL, NULL) >= 0);
	close(fd);
	rig_close(&rig);
}

static void
parameter_is_a_truth(void **state)
{
	static const char *const wrong[] = {GUARD_PARAM, "yes", NULL};
	struct rig rig;

	rig_open(&rig);
	rig.guarded = true;
	assert_false(rig_run(&rig, "tcp", "192.0.2.1:80", 1000, wrong));
	assert_non_null(strstr(rig.err, GUARD_PARAM));
	rig_close(&rig);
}

/* ---- redirects, in a network of their own with a public address ---- */

static bool
address_add(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	struct sockaddr_in *in = (struct sockaddr_in *) &request.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool ok = ioctl(fd, SIOCGIFFLAGS, &request) == 0;

	request.ifr_flags |= IFF_UP;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "lo:1");
	in->sin_family = AF_INET;
	inet_pton(AF_INET, "203.0.113.1", &in->sin_addr);
	ok = ok && ioctl(fd, SIOCSIFADDR, &request) == 0;
	close(fd);
	return ok;
}

/* Answers every request with a redirect to the same port on 127.0.0.1. */
static void
serve(int fd, uint16_t port)
{
	char request[2048], answer[256];

	for (;;)
	{
		int peer = accept(fd, NULL, NULL);

		if (peer < 0)
			_exit(1);
		if (read(peer, request, sizeof(request)) > 0)
		{
			int n = snprintf(answer, sizeof(answer),
			                 "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/\r\n"
			                 "Content-Length: 0\r\n\r\n",
			                 port);

			if (write(peer, answer, (size_t) n) != n)
				_exit(1);
		}
		close(peer);
	}
}

/* 0, or the line that failed. */
static int
redirected(void)
{
	struct rig rig;
	uint16_t outer, inner;
	int fd, inside;
	char url[64];
	pid_t server;

	if (unshare(CLONE_NEWNET) != 0 || !address_add())
		return 77;
	fd = listener("203.0.113.1", &outer);
	inside = listener("127.0.0.1", &inner);
	if (fd < 0 || inside < 0 || fcntl(fd, F_SETFL, 0) != 0)
		return 1;
	server = fork();
	if (server == 0)
		serve(fd, inner);
	rig_open(&rig);
	rig.guarded = true;
	snprintf(url, sizeof(url), "http://203.0.113.1:%u/", outer);
	if (!rig_run(&rig, "http", url, 3000, NULL))
		return 2;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	if (rig.result.error_type != ERROR_GUARD_DENIED ||
	    !strstr(rig.result.error, "127.0.0.1 is a loop"))
		return 3;
	return accept(inside, NULL, NULL) == -1 ? 0 : 4;
}

static void
redirect_is_judged_again(void **state)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(redirected());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* only root may have a network of its own */
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refused_addresses),    cmocka_unit_test(allowed_addresses),
	    cmocka_unit_test(no_internet_address),  cmocka_unit_test(nothing_is_dialled),
	    cmocka_unit_test(parameter_is_a_truth), cmocka_unit_test(redirect_is_judged_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
