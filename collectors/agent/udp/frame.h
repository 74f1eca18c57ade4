/* SPDX-License-Identifier: PostgreSQL
 *
 * frame.h -- what the udp canary sends and its responder answers.
 *
 *      0  "pcE1"                 protocol and version
 *      4  kind | three zeros     0 request, 1 answer
 *      8  token, 64 bits         secret of the round
 *     16  number, 32 bits        of the packet in the round
 *     20  a fixed pattern up to the length that was asked for
 *
 * An answer has the length of its request and differs in kind alone, so a plain echo service (RFC 862)
 * is as good a peer: it returns a request, which nobody but its sender takes for an answer.
 */
#ifndef PCTL_AGENT_UDP_FRAME_H
#define PCTL_AGENT_UDP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MIN 20
#define FRAME_MAX 65000

enum frame_kind
{
	FRAME_REQUEST = 0,
	FRAME_ANSWER = 1
};

struct frame
{
	enum frame_kind kind;
	uint64_t token;
	uint32_t number;
};

/* len bytes, FRAME_MIN .. FRAME_MAX. */
void frame_write(uint8_t *p, size_t len, const struct frame *frame);

/* False when it is no frame. */
bool frame_read(const uint8_t *data, size_t len, struct frame *frame);

/* The frame in a copy of a packet that starts with the headers of the layers below (agent/stamp.h). */
bool frame_find(const uint8_t *data, size_t len, struct frame *frame);

/* Makes an answer of a request, in place. */
void frame_turn(uint8_t *p);

#endif
