/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_a2a.c -- whatever arrives at a reflector or comes back to a sender.
 *
 * Input: one byte (1: the token is known; 2: there is something to follow up), then a packet. Held: what is read as a
 * request is answered with exactly as many octets, the answer is read as a reply to it, TLVs that are no
 * follow-up come back octet for octet but for their flags, and reading never changes with what stands behind a packet.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/a2a/wire.h"

#define WHEN INT64_C(1795299200500000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
hold(int condition)
{
	if (!condition)
		abort();
}

static void
reflect(const uint8_t *data, size_t size, const struct a2a_request *request, uint8_t how)
{
	struct a2a_reflection reflection = {.sequence = request->sequence + 3,
	                                    .t2 = WHEN + 1000,
	                                    .estimate = {true, how & 4, 5000},
	                                    .ttl = how,
	                                    .follow_sequence = 77,
	                                    .follow_at = how & 2 ? WHEN - 1000 : 0};
	struct buf out = BUF_INIT(A2A_PACKET_MAX);
	struct a2a_request again;
	struct a2a_reply reply;

	hold(a2a_reply_write(&out, data, size, request, &reflection, how & 1));
	hold(a2a_reply_stamp(&out, WHEN + 2000, reflection.estimate.ptp));
	hold(out.len == size);
	hold(!a2a_request_read(out.data, out.len, WHEN + 3000, &again)); /* nobody answers an answer */
	hold(a2a_reply_read(out.data, out.len, WHEN, &reply));
	hold(reply.sequence == reflection.sequence && reply.sender_sequence == request->sequence &&
	     reply.raw_t1 == request->raw_t1);
	hold(reply.t2 == WHEN + 1000 && reply.t3 == WHEN + 2000 && reply.ttl == how &&
	     reply.ssid == request->ssid);
	hold((reply.follow_method != A2A_METHOD_NONE) ==
	     (request->follow_up && reflection.follow_at > 0));
	hold(reply.follow_method == A2A_METHOD_NONE || reply.follow_at == reflection.follow_at);
	if (!request->follow_up && size >= A2A_BASE + A2A_TLV_HEADER)
	{
		size_t length = (size_t) data[A2A_BASE + 2] << 8 | data[A2A_BASE + 3];
		size_t rest = size - A2A_BASE - A2A_TLV_HEADER;

		hold(memcmp(out.data + A2A_BASE + 1, data + A2A_BASE + 1, 3) == 0);
		hold(memcmp(out.data + size - rest, data + size - rest, length < rest ? length : rest) ==
		     0);
	}
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct a2a_estimate estimate;
	struct a2a_request request;
	struct a2a_reply reply;

	if (size < 1)
		return 0;
	if (a2a_reply_read(data + 1, size - 1, WHEN, &reply))
		hold(size - 1 >= A2A_BASE && (reply.follow_method == A2A_METHOD_NONE ||
		                              size - 1 >= A2A_BASE + A2A_TLV_HEADER + A2A_FOLLOW_BYTES));
	if (!a2a_request_read(data + 1, size - 1, WHEN, &request))
	{
		hold(size - 1 < A2A_BASE || size - 1 > A2A_PACKET_MAX || data[1 + 13] == 0 ||
		     memcmp(data + 1 + 16, "\0\0\0\0", 4) != 0);
		return 0;
	}
	hold(request.token == NULL ||
	     (request.token > data && request.token + A2A_TOKEN_BYTES <= data + size));
	estimate = a2a_estimate_read(request.raw_estimate);
	hold(estimate.nano >= 0);
	if (estimate.nano < INT64_C(60000000000) && estimate.nano > 0)
	{
		struct a2a_estimate again = a2a_estimate_read(a2a_estimate_write(&estimate));

		hold(again.nano >= estimate.nano && again.synchronized == estimate.synchronized &&
		     again.ptp == estimate.ptp);
	}
	reflect(data + 1, size - 1, &request, data[0]);
	return 0;
}
