/* SPDX-License-Identifier: PostgreSQL
 *
 * a2a.h -- the parts of the a2a canary.
 *
 * A target with a port is a STAMP reflector, of whatever make. A target without one is another agent of the
 * tenant: the control plane has told it to answer, and us where it does and with which token (meet.h). A run has a
 * socket and an SSID of its own, so that numbers start at 0 at both ends.
 */
#ifndef PCTL_AGENT_A2A_A2A_H
#define PCTL_AGENT_A2A_A2A_H

#include "agent/a2a/meet.h"
#include "agent/a2a/track.h"
#include "agent/pace.h"
#include "agent/probe.h"

#define A2A_COUNT_MIN        1
#define A2A_COUNT_DEFAULT    10
#define A2A_COUNT_MAX        TRACK_COUNT_MAX
#define A2A_PAYLOAD_MIN      A2A_BASE
#define A2A_PAYLOAD_DEFAULT  88 /* room for both TLVs and an empty padding */
#define A2A_PAYLOAD_MAX      A2A_PACKET_MAX
#define A2A_DSCP_MAX         63
#define A2A_INTERVAL_MIN     1
#define A2A_INTERVAL_DEFAULT 100
#define A2A_INTERVAL_MAX     10000

struct a2a_cmd
{
	char host[256];
	uint32_t port; /* 0: the target is an agent */
	uint32_t count, payload_bytes, dscp, interval_ms;
	enum resolver_family family;
	bool continuous; /* packets are spread over the whole timeout */
};

struct canary_run
{
	struct probe probe;
	const struct a2a_cmd *cmd;
	struct meet_waiter waiter;   /* until the peer can be asked */
	struct meet_session session; /* session_id "" when the target is a reflector */
	struct resolver_address peer;
	int fd;
	struct event reader;
	struct pace pace;
	uint32_t next; /* number of the next packet */
	uint16_t ssid;
	bool follow_up;
	struct a2a_estimate estimate;
	uint32_t datagrams;                /* sent: the number the kernel gives the next one */
	uint32_t numbers[TRACK_COUNT_MAX]; /* of packets, by that of their datagram */
	enum error_type error_type; /* the first that was seen: the cause when nothing is answered */
	char error[RESULT_ERROR_MAX];
	struct track track;
};

/* cmd.c */
bool a2a_cmd_parse(const struct test_spec *spec, void **cmd, char *err, size_t errlen);

/* result.c */
void a2a_result(struct canary_run *run, struct result *result);

#endif
