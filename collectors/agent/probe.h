/* SPDX-License-Identifier: PostgreSQL
 *
 * probe.h -- what every run of every canary has: a start, a limit, a verdict, an end.
 *
 * A canary embeds struct probe at the head of its run. The large struct result is not part
 * of it: results are built on the stack when a run ends, so that waiting runs stay small.
 */
#ifndef PCTL_AGENT_PROBE_H
#define PCTL_AGENT_PROBE_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "agent/canary.h"
#include "agent/resolver.h"
#include "agent/result.h"
#include "agent/stamp.h"

/* Nanoseconds of the monotonic clock; of the wall clock since 1970. */
int64_t probe_now(void);
int64_t probe_now_unix(void);

/* A host and a port as a target names them. */
struct probe_target
{
	char host[256]; /* name or literal address, without brackets */
	uint32_t port;  /* 0: none given */
};

/* "name", "name:port", "192.0.2.1:80", "[2001:db8::1]:443", "2001:db8::1". */
bool probe_target_parse(const char *text, struct probe_target *target, char *err, size_t errlen);

/* Value of a parameter; NULL when it is not set. */
const char *probe_param(const struct test_spec *spec, const char *key);

/* Leave *value as it is when the parameter is not set. */
bool probe_param_uint(const struct test_spec *spec, const char *key, uint32_t min, uint32_t max,
                      uint32_t *value, char *err, size_t errlen);
bool probe_param_bool(const struct test_spec *spec, const char *key, bool *value, char *err,
                      size_t errlen);
bool probe_param_family(const struct test_spec *spec, enum resolver_family *value, char *err,
                        size_t errlen);

/* Every parameter must be in the NULL-terminated list, or be that of the guard (agent/guard.h), which
 * every type has; the message names the stranger and the list. */
bool probe_params_known(const struct test_spec *spec, const char *const *known, char *err,
                        size_t errlen);

/* Room for the text of an address. */
#define PROBE_ADDRESS_TEXT 64

struct probe
{
	struct canary_env *env;
	const struct test_spec *spec; /* outlives the run */
	int64_t late;                 /* ns, the most that a packet left after its slot */
	canary_done done;
	void *arg;
	struct event limit; /* the run's timeout; zero at the start of runs that end at once */
	struct resolver_query *query; /* while the name is looked up */
	int64_t start_unix;
	int64_t start;
	int64_t dns_done; /* monotonic; 0 until the name is resolved */
	char result_id[37];
	enum error_type error_type;
	char error[RESULT_ERROR_MAX];
};

/* on_limit is called at the timeout, with the run as its argument. */
void probe_init(struct probe *probe, struct canary_env *env, const struct test_spec *spec,
                canary_done done, void *arg, event_callback_fn on_limit, void *run);

/* Makes the limit fall due in the next turn of the loop: a run that failed in its start. */
void probe_end_soon(struct probe *probe);

/* Stops timers and the look-up. */
void probe_stop(struct probe *probe);

/* The first cause wins. */
void probe_fail(struct probe *probe, enum error_type type, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The failure of a system call on the way to a peer; what is "connect to 192.0.2.1" or the like. */
void probe_fail_errno(struct probe *probe, int error, const char *what);
enum error_type probe_errno_type(int error);

/* The same for a call that sends and fails at once, before the network could have answered: that there is
 * no way to the peer is then the fault of this host. */
void probe_fail_local(struct probe *probe, int error, const char *what);

/* A socket whose peer is fixed: from now on ICMP errors about what it sent are kept, and end a connection that stands. */
void probe_icmp_keep(int fd, int family, bool keep);

/* 0 when the connection that was begun stands, else the errno: a socket that keeps ICMP errors is also ready for one that the
 * kernel did not take as final. */
int probe_connect_error(int fd);

/* The failure of a socket that keeps them: what an ICMP error says and who sent it, whose address is put into from; else, or
 * when the port is closed, the errno, and from is empty. */
void probe_fail_socket(struct probe *probe, int fd, int error, const char *what,
                       char from[PROBE_ADDRESS_TEXT]);

/* Identity, times and verdict. The caller adds the rest and calls probe->done. */
void probe_result(const struct probe *probe, struct result *result, const char *type);

/* Nanoseconds between the packets of a round: interval_ms, or less, so that all of them go in half of what is left of the
 * timeout at `now`. The look-up may have eaten of it; the other half is for the last answer. */
int64_t probe_spacing(const struct probe *probe, int64_t now, uint32_t count, uint32_t interval_ms);

/* A packet left: its slot (agent/pace.h), and what is known so far of when. */
void probe_left(struct probe *probe, int64_t slot, const struct stamp_times *times);

/* Milliseconds from one probe_now() to another, three decimals. */
double probe_ms(int64_t from, int64_t to);

/* "192.0.2.1", "2001:db8::1" or "fe80::1%2". */
void probe_address_text(const struct sockaddr_storage *addr, char *buf, size_t len);
void probe_set_port(struct sockaddr_storage *addr, uint32_t port);

/* Packets a socket got and had no room for so far. */
uint32_t probe_overflow(int fd);

/* The metric packets.overflow of so many, when there were any: answers came and were lost by this host, so
 * that a loss may be its own. */
void probe_result_overflow(uint32_t packets, struct result *result);

/* Sets the DSCP (0..63) of a socket; 0 leaves it alone. */
int probe_set_dscp(int fd, int family, uint32_t dscp);

#endif
