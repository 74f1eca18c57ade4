/* SPDX-License-Identifier: PostgreSQL
 *
 * rig.h -- one run of one canary, as the tests of the canaries drive it.
 *
 * A run goes through the same table and the same loop as in the agent. The result is copied,
 * because it is valid only during the call that delivers it. A server of a test is a
 * forked child on a listening socket made by the parent: it is ready before it is asked.
 */
#ifndef TEST_UNIT_RIG_H
#define TEST_UNIT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <event2/event.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/canary.h"
#include "agent/guard.h"
#include "agent/resolver.h"

struct rig
{
	struct event_base *base;
	struct canary_env env;
	struct result result;
	int calls;
	struct test_param params[16];
	struct test_spec spec;
	char target[TEST_TARGET_MAX + 1];
	char err[256];
	bool
	    guarded; /* the target guard is as for anybody's test; else lifted, for targets are on loopback */
};

static inline void
rig_open(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));
	rig->base = event_base_new();
	assert_non_null(rig->base);
	rig->env.base = rig->base;
	rig->env.icmp4_fd = rig->env.icmp6_fd = -1;
	rig->env.resolver = resolver_new(rig->base, NULL);
	assert_non_null(rig->env.resolver);
	canary_env_open(&rig->env);
}

static inline void
rig_close(struct rig *rig)
{
	canary_env_close(&rig->env);
	resolver_free(rig->env.resolver);
	event_base_free(rig->base);
}

static inline void
rig_done(const struct result *result, void *arg)
{
	struct rig *rig = arg;

	rig->result = *result;
	rig->calls++;
	event_base_loopbreak(rig->base);
}

/* params: "key", "value", ..., NULL; NULL for none. */
static inline void
rig_spec(struct rig *rig, const char *type, const char *target, uint32_t timeout_ms,
         const char *const *params)
{
	memset(&rig->spec, 0, sizeof(rig->spec));
	snprintf(rig->spec.test_id, sizeof(rig->spec.test_id), "00000000-0000-4000-8000-000000000001");
	snprintf(rig->spec.type, sizeof(rig->spec.type), "%s", type);
	snprintf(rig->target, sizeof(rig->target), "%s", target);
	rig->spec.target = rig->target;
	rig->spec.interval_ms = 60000;
	rig->spec.timeout_ms = timeout_ms;
	rig->spec.params = rig->params;
	for (size_t i = 0; params && params[2 * i]; i++)
	{
		rig->params[i].key = (char *) params[2 * i];
		rig->params[i].value = (char *) params[2 * i + 1];
		rig->spec.param_count++;
	}
	if (!rig->guarded)
	{
		rig->params[rig->spec.param_count].key = GUARD_PARAM;
		rig->params[rig->spec.param_count++].value = "true";
	}
}

/* False with rig->err when the parameters are refused. */
static inline bool
rig_run(struct rig *rig, const char *type, const char *target, uint32_t timeout_ms,
        const char *const *params)
{
	const struct canary_ops *ops = canary_find(type);
	void *cmd = NULL;

	assert_non_null(ops);
	rig_spec(rig, type, target, timeout_ms, params);
	rig->err[0] = '\0';
	rig->calls = 0;
	if (!ops->cmd_parse(&rig->spec, &cmd, rig->err, sizeof(rig->err)))
		return false;
	assert_non_null(ops->start(&rig->env, &rig->spec, cmd, rig_done, rig));
	assert_int_equal(rig->calls, 0); /* never from inside start */
	event_base_dispatch(rig->base);
	assert_int_equal(rig->calls, 1);
	ops->cmd_free(cmd);
	return true;
}

/* NaN when it is not there. */
static inline double
rig_metric(const struct rig *rig, const char *name)
{
	for (size_t i = 0; i < rig->result.metric_count; i++)
		if (strcmp(rig->result.metrics[i].name, name) == 0)
			return rig->result.metrics[i].value;
	return NAN;
}

/* "" when it is not there. */
static inline const char *
rig_attribute(const struct rig *rig, const char *name)
{
	for (size_t i = 0; i < rig->result.attribute_count; i++)
		if (strcmp(rig->result.attributes[i].name, name) == 0)
			return rig->result.attributes[i].value;
	return "";
}

static inline void
rig_expect(const struct rig *rig, const char *error_type)
{
	if (strcmp(error_type_name(rig->result.error_type), error_type) != 0)
		print_error("error: %s\n", rig->result.error);
	assert_string_equal(error_type_name(rig->result.error_type), error_type);
	assert_int_equal(rig->result.success, error_type[0] == '\0');
}

/* A listening TCP socket on 127.0.0.1 (or ::1) and its port. */
static inline int
rig_listen(int family, int backlog, uint16_t *port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *addr = family == AF_INET ? (void *) &in4 : (void *) &in6;
	socklen_t len = family == AF_INET ? sizeof(in4) : sizeof(in6);
	int fd = socket(family, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, addr, len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, addr, &len), 0);
	*port = ntohs(family == AF_INET ? in4.sin_port : in6.sin6_port);
	return fd;
}

/* Runs serve(fd, arg) in a child that is ended by rig_stop. */
static inline pid_t
rig_fork(int fd, void (*serve)(int fd, void *arg), void *arg)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
	{
		alarm(60); /* outlives no test */
		signal(SIGPIPE, SIG_IGN);
		serve(fd, arg);
		_exit(0);
	}
	return pid;
}

static inline void
rig_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

#endif
