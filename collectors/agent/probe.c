/* SPDX-License-Identifier: PostgreSQL
 *
 * probe.c -- parameters, targets, clocks and verdicts shared by the canaries.
 *
 * Two clocks are used on purpose: the wall clock says when a run started, the monotonic
 * one how long things took, so that a stepped clock never makes a latency.
 */
#include "agent/probe.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/guard.h"
#include "agent/icmp/wire.h"
#include "agent/stats.h"
#include "lib/clock.h"

static const struct
{
	int error;
	enum error_type type;
	const char *text;
} errno_table[] = {
    {ECONNREFUSED, ERROR_CONNECT_REFUSED, "connection refused"},
    {ETIMEDOUT, ERROR_CONNECT_TIMEOUT, "no answer"},
    {ENETUNREACH, ERROR_NET_UNREACHABLE, "network unreachable"},
    {EHOSTUNREACH, ERROR_HOST_UNREACHABLE, "host unreachable"},
    {EHOSTDOWN, ERROR_HOST_UNREACHABLE, "host down"},
    {ENONET, ERROR_HOST_UNREACHABLE, "no such machine on the network"},
    {ENOPROTOOPT, ERROR_HOST_UNREACHABLE, "protocol unreachable"},
    {ECONNRESET, ERROR_RESET, "connection reset by the peer"},
    {EPIPE, ERROR_RESET, "connection closed by the peer"},
    {EACCES, ERROR_ADMIN_PROHIBITED, "administratively prohibited"},
    {EMSGSIZE, ERROR_LOCAL_FAULT, "packet larger than the interface allows; lower payload_bytes"},
    {EPERM, ERROR_LOCAL_FAULT, "refused by this host's own packet filter"},
    {EMFILE, ERROR_LOCAL_FAULT, "too many open files; raise LimitNOFILE"},
    {ENFILE, ERROR_LOCAL_FAULT, "too many open files on this host; raise fs.file-max"},
    {EADDRNOTAVAIL, ERROR_LOCAL_FAULT,
     "no free local port or no local address; widen net.ipv4.ip_local_port_range"},
};

int64_t
probe_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
probe_now_unix(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
probe_spacing(const struct probe *probe, int64_t now, uint32_t count, uint32_t interval_ms)
{
	int64_t half = (probe->start + (int64_t) probe->spec->timeout_ms * 1000000 - now) / 2;
	int64_t spacing = (int64_t) interval_ms * 1000000;

	if (count > 1 && half > 0 && spacing * (count - 1) > half)
		spacing = half / (count - 1);
	return spacing;
}

void
probe_left(struct probe *probe, int64_t slot, const struct stamp_times *times)
{
	int64_t waited = times->stamped ? times->stamped - times->sent_unix : 0;
	int64_t late;

	late = times->sent - slot + waited;
	if (late <= probe->late && waited >= 0)
		return;
	/* More than passed by the other clock: the wall clock was stepped. */
	if (waited < 0 || waited > probe_now() - times->sent)
		late -= waited;
	if (probe->late < late)
		probe->late = late;
}

double
probe_ms(int64_t from, int64_t to)
{
	return stats_round((double) (to - from) / 1e6, 3);
}

static bool
check_host(const char *host, char *err, size_t errlen)
{
	if (host[0] == '\0')
	{
		snprintf(err, errlen, "target: the host is missing");
		return false;
	}
	for (const char *p = host; *p; p++)
	{
		if (isalnum((unsigned char) *p) || strchr("-._:%", *p))
			continue;
		snprintf(err, errlen,
		         "target: a host consists of letters, digits, '.', '-' and '_'; write an "
		         "internationalised name in its xn-- form");
		return false;
	}
	return true;
}

static bool
parse_port(const char *text, uint32_t *port, char *err, size_t errlen)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (!isdigit((unsigned char) text[0]) || *end != '\0' || value < 1 || value > 65535)
	{
		snprintf(err, errlen, "target: the port must be a number from 1 to 65535");
		return false;
	}
	*port = (uint32_t) value;
	return true;
}

/* A second colon without brackets makes it an IPv6 address without a port. */
bool
probe_target_parse(const char *text, struct probe_target *target, char *err, size_t errlen)
{
	const char *host = text, *end, *port = NULL;

	target->port = 0;
	if (text[0] == '[')
	{
		host = text + 1;
		end = strchr(host, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
		{
			snprintf(err, errlen, "target: write an IPv6 address with a port as [address]:port");
			return false;
		}
		if (end[1] == ':')
			port = end + 2;
	}
	else
	{
		end = strchr(text, ':');
		if (end && strchr(end + 1, ':') == NULL)
			port = end + 1;
		else
			end = text + strlen(text);
	}
	if ((size_t) (end - host) >= sizeof(target->host))
	{
		snprintf(err, errlen, "target: the host is longer than %zu characters",
		         sizeof(target->host) - 1);
		return false;
	}
	memcpy(target->host, host, end - host);
	target->host[end - host] = '\0';
	if (!check_host(target->host, err, errlen))
		return false;
	return port == NULL || parse_port(port, &target->port, err, errlen);
}

const char *
probe_param(const struct test_spec *spec, const char *key)
{
	for (size_t i = 0; i < spec->param_count; i++)
		if (strcmp(spec->params[i].key, key) == 0)
			return spec->params[i].value;
	return NULL;
}

bool
probe_param_uint(const struct test_spec *spec, const char *key, uint32_t min, uint32_t max,
                 uint32_t *value, char *err, size_t errlen)
{
	const char *text = probe_param(spec, key);
	unsigned long parsed;
	char *end;

	if (text == NULL)
		return true;
	errno = 0;
	parsed = strtoul(text, &end, 10);
	if (!isdigit((unsigned char) text[0]) || *end != '\0' || errno || parsed < min || parsed > max)
	{
		snprintf(err, errlen, "param %s: must be a whole number from %u to %u, not \"%.40s\"", key,
		         min, max, text);
		return false;
	}
	*value = (uint32_t) parsed;
	return true;
}

bool
probe_param_bool(const struct test_spec *spec, const char *key, bool *value, char *err,
                 size_t errlen)
{
	const char *text = probe_param(spec, key);

	if (text == NULL)
		return true;
	if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
	{
		snprintf(err, errlen, "param %s: must be true or false, not \"%.40s\"", key, text);
		return false;
	}
	*value = text[0] == 't';
	return true;
}

bool
probe_param_family(const struct test_spec *spec, enum resolver_family *value, char *err,
                   size_t errlen)
{
	const char *text = probe_param(spec, "ip_version");

	if (text == NULL || strcmp(text, "any") == 0)
		*value = RESOLVER_ANY;
	else if (strcmp(text, "4") == 0)
		*value = RESOLVER_IPV4;
	else if (strcmp(text, "6") == 0)
		*value = RESOLVER_IPV6;
	else
	{
		snprintf(err, errlen, "param ip_version: must be any, 4 or 6, not \"%.40s\"", text);
		return false;
	}
	return true;
}

bool
probe_params_known(const struct test_spec *spec, const char *const *known, char *err, size_t errlen)
{
	bool lifted;

	if (!probe_param_bool(spec, GUARD_PARAM, &lifted, err, errlen))
		return false;
	for (size_t i = 0; i < spec->param_count; i++)
	{
		size_t used, k = 0;

		if (strcmp(spec->params[i].key, GUARD_PARAM) == 0)
			continue;
		while (known[k] && strcmp(known[k], spec->params[i].key) != 0)
			k++;
		if (known[k])
			continue;
		snprintf(err, errlen, "param %.40s: unknown; %s knows", spec->params[i].key, spec->type);
		for (k = 0; known[k]; k++)
		{
			used = strlen(err);
			snprintf(err + used, errlen - used, " %s,", known[k]);
		}
		used = strlen(err);
		snprintf(err + used, errlen - used, " %s", GUARD_PARAM);
		return false;
	}
	return true;
}

void
probe_init(struct probe *probe, struct canary_env *env, const struct test_spec *spec,
           canary_done done, void *arg, event_callback_fn on_limit, void *run)
{
	struct timeval tv = clock_timeval(spec->timeout_ms * NANO_PER_MS);
	/* Runs have few different limits: those of one length are a queue, not a heap of thousands. */
	const struct timeval *common = event_base_init_common_timeout(env->base, &tv);

	probe->env = env;
	probe->spec = spec;
	probe->done = done;
	probe->arg = arg;
	probe->start_unix = probe_now_unix();
	probe->start = probe_now();
	result_id_make(probe->result_id, probe->start_unix);
	evtimer_assign(&probe->limit, env->base, on_limit, run);
	/* Timers count from when the loop last looked at its clock: a turn that took long would shorten the limit. */
	event_base_update_cache_time(env->base);
	evtimer_add(&probe->limit, common ? common : &tv);
}

void
probe_end_soon(struct probe *probe)
{
	struct timeval tv = {0, 0};

	evtimer_add(&probe->limit, &tv);
}

void
probe_stop(struct probe *probe)
{
	evtimer_del(&probe->limit);
	if (probe->query)
		resolver_cancel(probe->query);
	probe->query = NULL;
}

void
probe_fail(struct probe *probe, enum error_type type, const char *fmt, ...)
{
	va_list args;

	if (probe->error_type != ERROR_NONE)
		return;
	probe->error_type = type;
	va_start(args, fmt);
	vsnprintf(probe->error, sizeof(probe->error), fmt, args);
	va_end(args);
}

enum error_type
probe_errno_type(int error)
{
	for (size_t i = 0; i < sizeof(errno_table) / sizeof(errno_table[0]); i++)
		if (errno_table[i].error == error)
			return errno_table[i].type;
	return ERROR_LOCAL_FAULT;
}

void
probe_fail_errno(struct probe *probe, int error, const char *what)
{
	const char *text = strerror(error);

	for (size_t i = 0; i < sizeof(errno_table) / sizeof(errno_table[0]); i++)
		if (errno_table[i].error == error)
			text = errno_table[i].text;
	probe_fail(probe, probe_errno_type(error), "%s: %s", what, text);
}

void
probe_fail_local(struct probe *probe, int error, const char *what)
{
	if (error == ENETUNREACH || error == ENETDOWN)
		probe_fail(probe, ERROR_LOCAL_FAULT,
		           "%s: this host has no way there: is its interface down, or a route missing?",
		           what);
	else
		probe_fail_errno(probe, error, what);
}

void
probe_icmp_keep(int fd, int family, bool keep)
{
	int on = keep;

	setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
	           family == AF_INET ? IP_RECVERR : IPV6_RECVERR, &on, sizeof(on));
}

int
probe_connect_error(int fd)
{
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof(peer);
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		return errno;
	if (error == 0 && getpeername(fd, (struct sockaddr *) &peer, &peer_len) != 0)
		return EHOSTUNREACH;
	return error;
}

/* False when it was none: a reset, silence, or this host. */
static bool
icmp_kept(int fd, struct icmp_seen *seen, struct sockaddr_storage *from)
{
	union stamp_control control;
	uint8_t quoted[64];
	struct iovec vector = {quoted, sizeof(quoted)};
	struct msghdr message = {.msg_iov = &vector,
	                         .msg_iovlen = 1,
	                         .msg_control = &control,
	                         .msg_controllen = sizeof(control)};

	return fd >= 0 && recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0 &&
	       icmp_queued(&message, seen, from);
}

void
probe_fail_socket(struct probe *probe, int fd, int error, const char *what,
                  char from[PROBE_ADDRESS_TEXT])
{
	struct sockaddr_storage who;
	struct icmp_seen seen;

	from[0] = '\0';
	if (!icmp_kept(fd, &seen, &who) || seen.os_error == ECONNREFUSED)
	{
		probe_fail_errno(probe, error, what);
		return;
	}
	probe_address_text(&who, from, PROBE_ADDRESS_TEXT);
	probe_fail(probe, seen.error, "%s: %s, says %s", what, seen.text, from);
}

void
probe_result(const struct probe *probe, struct result *result, const char *type)
{
	/* The attributes are most of it, and those that are set are all that is read. */
	memset(result, 0, offsetof(struct result, attributes));
	snprintf(result->test_id, sizeof(result->test_id), "%s", probe->spec->test_id);
	snprintf(result->result_id, sizeof(result->result_id), "%s", probe->result_id);
	result->type = type;
	result->network_transport = "";
	result->network_protocol_name = "";
	result->start_unix_nano = probe->start_unix;
	result->duration_nano = probe_now() - probe->start;
	result->packet_late_nano = probe->late;
	result->success = true;
	if (probe->error_type != ERROR_NONE)
		result_fail(result, probe->error_type, "%s", probe->error);
}

void
probe_address_text(const struct sockaddr_storage *addr, char *buf, size_t len)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *) addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) addr;
	size_t used;

	buf[0] = '\0';
	if (addr->ss_family == AF_INET)
		inet_ntop(AF_INET, &in4->sin_addr, buf, (socklen_t) len);
	else if (addr->ss_family == AF_INET6)
	{
		inet_ntop(AF_INET6, &in6->sin6_addr, buf, (socklen_t) len);
		used = strlen(buf);
		if (in6->sin6_scope_id)
			snprintf(buf + used, len - used, "%%%u", in6->sin6_scope_id);
	}
}

void
probe_set_port(struct sockaddr_storage *addr, uint32_t port)
{
	if (addr->ss_family == AF_INET)
		((struct sockaddr_in *) addr)->sin_port = htons((uint16_t) port);
	else
		((struct sockaddr_in6 *) addr)->sin6_port = htons((uint16_t) port);
}

uint32_t
probe_overflow(int fd)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(info);

	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}

void
probe_result_overflow(uint32_t packets, struct result *result)
{
	if (packets > 0)
		result_metric(result, "packets.overflow", packets);
}

/* The upper six bits of the TOS byte or traffic class (RFC 2474 section 3). */
int
probe_set_dscp(int fd, int family, uint32_t dscp)
{
	int tos = (int) dscp << 2;

	if (dscp == 0)
		return 0;
	if (family == AF_INET)
		return setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	return setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
}
