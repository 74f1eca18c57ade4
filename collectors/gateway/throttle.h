/* SPDX-License-Identifier: PostgreSQL
 *
 * throttle.h -- slows guessing of sign-in codes and enrolment tokens, per peer address.
 *
 * Only failures count: THROTTLE_FAILURES of them within THROTTLE_WINDOW_MS close the door
 * until the oldest is that old. IPv6 peers count by their /64, which is what one
 * subscriber holds. The table is bounded: a full one forgets the address that was quiet longest.
 */
#ifndef PCTL_GATEWAY_THROTTLE_H
#define PCTL_GATEWAY_THROTTLE_H

#include <stdint.h>
#include <sys/socket.h>

#define THROTTLE_FAILURES  5
#define THROTTLE_WINDOW_MS 60000
#define THROTTLE_PEERS_MAX 4096
#define THROTTLE_BURST     64 /* attempts under way at once from a peer without failures */

struct throttle;

struct throttle *throttle_new(void);
void throttle_free(struct throttle *t);

/* 0: the attempt may go on and must be ended by throttle_end. Otherwise the seconds to wait. */
int throttle_begin(struct throttle *t, const struct sockaddr *peer, int64_t now_ms);
void throttle_end(struct throttle *t, const struct sockaddr *peer, int failed, int64_t now_ms);

#endif
