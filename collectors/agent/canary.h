/* SPDX-License-Identifier: PostgreSQL
 *
 * canary.h -- what a canary is to the agent: a row in a table.
 *
 * A canary is one folder (icmp/, tcp/, udp/, http/, dns/, a2a/) with the same files: cmd.c parses
 * the parameters of a test, run.c drives one run on the event loop, result.c turns
 * what was seen into metrics and attributes. A run never blocks the loop and
 * always ends: with a result, by its timeout at the latest. Single threaded.
 */
#ifndef PCTL_AGENT_CANARY_H
#define PCTL_AGENT_CANARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/result.h"

struct event_base;
struct icmp_engine;
struct meet;
struct resolver;

#define TEST_TARGET_MAX 1023 /* bytes */

/* A test as configured, whatever it came from. Owned by the scheduler. */
struct test_spec
{
	char test_id[37];     /* lower-case UUID text */
	char name[128];       /* may be empty */
	char type[32];        /* canary type */
	char *target;         /* as the canary defines it, at most TEST_TARGET_MAX */
	uint32_t interval_ms; /* 1,000 .. 86,400,000 */
	uint32_t timeout_ms;  /* 100 .. 60,000, at most the interval */
	struct test_param
	{
		char *key;
		char *value;
	} * params; /* sorted by key */
	size_t param_count;
};

/* What a run may use of the agent. One for the whole process. */
struct canary_env
{
	struct event_base *base;
	struct resolver *resolver; /* hosts and resolv.conf, no NSS */
	int icmp4_fd, icmp6_fd;    /* raw or ping sockets opened before privileges fell; -1 */
	bool icmp4_raw, icmp6_raw;
	uint16_t icmp_mark;       /* in every echo request of this process */
	int icmp_errno;           /* why an fd is -1 */
	struct icmp_engine *icmp; /* NULL until the first icmp run; canary_env_close frees it */
	struct meet *meet;        /* sessions with other agents; NULL without a control plane */
};

/* Opens what needs privileges (raw ICMP sockets, ping sockets where raw ones are refused), to be
 * called before they are dropped. Never fails: icmp_errno says what is missing, and a run
 * that needs it ends as a local_fault. base and resolver stay as they are. */
void canary_env_open(struct canary_env *env);

/* Closes the sockets and frees what canaries keep between runs. No run may be left. */
void canary_env_close(struct canary_env *env);

struct canary_run; /* private to the canary */

/* Called exactly once a run, from the loop. The result belongs to the callee's caller:
 * valid during the call only. */
typedef void (*canary_done)(const struct result *result, void *arg);

struct canary_ops
{
	const char *type;    /* canary_type on the wire */
	const char *summary; /* one line for --help */

	/* Packets leave at planned times, and the result says how late one was. The times of their
	 * answers are the kernel's, so that nothing else has to look how late the loop is. */
	bool paced;

	/* Checks target and params. On failure false, with a sentence in err that names the
	 * parameter; on success *cmd holds the parsed form, freed by cmd_free. */
	bool (*cmd_parse)(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
	void (*cmd_free)(void *cmd);

	/* Starts one run; done is called later, never from inside start. NULL when memory is
	 * out. A canary's own fault is a result with error_type "local_fault". */
	struct canary_run *(*start)(struct canary_env *env, const struct test_spec *spec,
	                            const void *cmd, canary_done done, void *arg);

	/* Abandons a run: done is not called. */
	void (*cancel)(struct canary_run *run);
};

extern const struct canary_ops canary_icmp;
extern const struct canary_ops canary_tcp;
extern const struct canary_ops canary_udp;
extern const struct canary_ops canary_http;
extern const struct canary_ops canary_dns;
extern const struct canary_ops canary_a2a;

/* NULL when there is no such type. */
const struct canary_ops *canary_find(const char *type);

/* For --help and --once: every row of the table, NULL-terminated. */
extern const struct canary_ops *const canary_table[];

#endif
