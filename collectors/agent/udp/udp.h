/* SPDX-License-Identifier: PostgreSQL
 *
 * udp.h -- the parts of the udp canary.
 *
 * Every round has a socket of its own, connected to the peer: nobody else's packets come in, and ICMP
 * errors about ours do. They come on the error queue with the packet they are about, so that a
 * refusal costs the packet it is for and not the round.
 */
#ifndef PCTL_AGENT_UDP_H
#define PCTL_AGENT_UDP_H

#include "agent/pace.h"
#include "agent/probe.h"
#include "agent/stamp.h"
#include "agent/stats.h"
#include "agent/udp/frame.h"

#define UDP_COUNT_MIN        1
#define UDP_COUNT_DEFAULT    5
#define UDP_COUNT_MAX        1000
#define UDP_PAYLOAD_DEFAULT  56
#define UDP_DSCP_MAX         63
#define UDP_INTERVAL_MIN     1
#define UDP_INTERVAL_DEFAULT 200
#define UDP_INTERVAL_MAX     10000

_Static_assert(UDP_COUNT_MAX <= STATS_PROBES_MAX, "the statistics must take every packet");

struct udp_cmd
{
	char host[256];
	uint32_t port, count, payload_bytes, dscp, interval_ms;
	enum resolver_family family;
};

enum udp_packet_state
{
	UDP_WAITING,
	UDP_ANSWERED,
	UDP_FAILED /* an error message came, or it could not be sent */
};

enum udp_responder
{
	UDP_NOBODY,
	UDP_PLAIN, /* returned our request: a plain echo service */
	UDP_OURS   /* answered: probectl-agent --echo */
};

struct udp_packet
{
	struct stamp_times times;
	enum udp_packet_state state;
};

struct canary_run
{
	struct probe probe;
	const struct udp_cmd *cmd;
	struct resolver_address peer;
	int fd; /* -1 until the name is resolved */
	struct event reader;
	struct pace pace;
	uint64_t token;
	uint32_t next;        /* number of the next packet */
	uint32_t outstanding; /* sent, neither answered nor failed */
	struct stats stats;
	enum stamp_kind stamps;
	enum udp_responder responder;
	/* The first error that was seen; it is the cause when nothing was answered. */
	enum error_type error_type;
	char error[RESULT_ERROR_MAX];
	char error_from[64];
	struct udp_packet packets[]; /* cmd->count */
};

bool udp_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);
void udp_result(struct canary_run *run, struct result *result);

#endif
