/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_udp_frame.c -- whatever arrives at the udp canary and at its responder.
 *
 * Held: what is read as a frame is the frame that its fields write; turning a request changes its kind
 * alone; a frame in a copy of a packet is found where it stands, or an earlier one is.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/udp/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t written[FRAME_MAX];
	struct frame frame, found, turned;

	if (size > FRAME_MAX)
		return 0;
	hold(!frame_read(data, size, &frame) || frame_find(data, size, &found));
	if (!frame_find(data, size, &found))
		return 0;
	hold(size >= FRAME_MIN);
	if (!frame_read(data, size, &frame))
		return 0;
	hold(found.token == frame.token && found.number == frame.number && found.kind == frame.kind);
	frame_write(written, size, &frame);
	hold(memcmp(written, data, FRAME_MIN) == 0);
	frame_turn(written);
	hold(frame_read(written, size, &turned) && turned.kind == FRAME_ANSWER);
	hold(turned.token == frame.token && turned.number == frame.number);
	return 0;
}
