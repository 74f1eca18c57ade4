/* SPDX-License-Identifier: PostgreSQL
 *
 * remote.h -- POST /v1/prometheus/write: remote write 1.0 of Prometheus.
 */
#ifndef PCTL_GATEWAY_REMOTE_H
#define PCTL_GATEWAY_REMOTE_H

struct conn;

/* Takes a request and answers it: 204, 400 (do not send it again), 401, 403, 415, 429 and 503 (send it again). */
void remote_write(struct conn *c);

#endif
