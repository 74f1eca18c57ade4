/* SPDX-License-Identifier: PostgreSQL
 *
 * icmp.h -- the parts of the icmp canary, and how they share one socket.
 *
 * Every run of a family uses the same socket, opened before privileges were dropped. The engine
 * reads it with one event and finds the run a packet belongs to:
 *
 *   identifier = the run, where the socket is raw; sequence = number of the packet, as ping has it
 *   token      = mark of the process (16 bits) | secret of the run (16) | its identifier (16) | number of the packet (16)
 *
 * The kernel leaves what has another mark out of a raw socket (filter.h).
 *
 * A reply is found by its token. An error is found by it too if it quotes that much, else by the
 * identifier, or by the destination (ping sockets, where the kernel chooses the identifier).
 */
#ifndef PCTL_AGENT_ICMP_H
#define PCTL_AGENT_ICMP_H

#include <sys/queue.h>

#include "agent/icmp/wire.h"
#include "agent/pace.h"
#include "agent/probe.h"
#include "agent/stamp.h"
#include "agent/stats.h"

#define ICMP_COUNT_MIN        1
#define ICMP_COUNT_DEFAULT    5
#define ICMP_COUNT_MAX        1000
#define ICMP_PAYLOAD_DEFAULT  56
#define ICMP_DSCP_MAX         63
#define ICMP_INTERVAL_MIN     1
#define ICMP_INTERVAL_DEFAULT 200
#define ICMP_INTERVAL_MAX     10000
#define ICMP_CHAINS           16384 /* of the hash table; a power of two */

_Static_assert(ICMP_COUNT_MAX <= 65536, "the sequence of a packet must be its number");
_Static_assert(ICMP_COUNT_MAX <= STATS_PROBES_MAX, "the statistics must take every packet");

struct icmp_cmd
{
	char host[256];
	uint32_t count, payload_bytes, dscp, interval_ms;
	enum resolver_family family;
	bool df;
};

enum icmp_packet_state
{
	ICMP_WAITING,
	ICMP_ANSWERED,
	ICMP_FAILED /* an error message came, or it could not be sent */
};

struct icmp_packet
{
	struct stamp_times times;
	enum icmp_packet_state state;
};

struct canary_run
{
	struct probe probe;
	const struct icmp_cmd *cmd;
	/* What finding the run of a packet looks at lies together. */
	LIST_ENTRY(canary_run) by_id; /* while registered */
	uint16_t id, secret;
	bool registered;
	uint32_t next;        /* number of the next packet */
	uint32_t outstanding; /* sent, neither answered nor failed */
	struct resolver_address peer;
	struct pace pace;
	struct stats stats;
	enum stamp_kind stamps;
	uint32_t overflow; /* of the socket, which all runs share, when this one began */
	/* The first error that was seen; it is the cause when nothing was answered. */
	enum error_type error_type;
	char error[RESULT_ERROR_MAX];
	char error_from[64];
	uint32_t mtu;
	struct icmp_packet packets[]; /* cmd->count */
};

/* engine.c */
void icmp_open(struct canary_env *env);
void icmp_close(struct canary_env *env);
bool icmp_engine_ready(struct canary_env *env); /* false when memory is out */
int icmp_engine_fd(const struct canary_env *env, int family);
bool icmp_engine_raw(const struct canary_env *env, int family);
void icmp_engine_add(struct canary_env *env, struct canary_run *run);
void icmp_engine_remove(struct canary_run *run);
/* 0 or an errno. Stamps the packet right before it goes. */
int icmp_engine_send(struct canary_env *env, struct canary_run *run, uint32_t number);

/* run.c, called by the engine. at is the kernel's send time, received its receive time or 0. */
void icmp_run_stamped(struct canary_run *run, uint32_t number, int64_t at);
void icmp_run_reply(struct canary_run *run, uint32_t number, int64_t received);
void icmp_run_problem(struct canary_run *run, uint32_t number, const struct icmp_seen *seen,
                      const struct sockaddr_storage *from);

/* cmd.c */
bool icmp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);

/* result.c */
void icmp_result(struct canary_run *run, struct result *result);

#endif
