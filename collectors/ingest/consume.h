/* SPDX-License-Identifier: PostgreSQL
 *
 * consume.h -- the consuming role: records of the bus to the database, each once.
 */
#ifndef PCTL_INGEST_CONSUME_H
#define PCTL_INGEST_CONSUME_H

#include "ingest/bus.h"

struct consumer;

/* Joins the group as soon as the bus is ready. memory_bytes bounds what is fetched ahead. */
struct consumer *consume_start(struct event_base *base, const struct bus_settings *settings,
                               struct bus *bus, struct db *db, int64_t memory_bytes);

/* Takes nothing new; `stopped` is called, on the loop's thread, when the database has answered. */
void consume_stop(struct consumer *consumer, void (*stopped)(void));

/* Leaves the group, so that others go on at once. */
void consume_free(struct consumer *consumer);

#endif
