/* SPDX-License-Identifier: PostgreSQL
 *
 * bus.h -- batches to Kafka: taken like a request to the database, answered when the broker
 * has written them to all in-sync replicas.
 *
 * The batch is not copied: its bytes must stay until the request is complete.
 */
#ifndef PCTL_INGEST_BUS_H
#define PCTL_INGEST_BUS_H

#include "ingest/db.h"
#include "ingest/kafka.h"
#include "ingest/record.h"

struct bus;

/* Ends the process when librdkafka does not take the settings. */
struct bus *bus_start(struct event_base *base, const struct bus_settings *settings, struct db *db);

/* Whether cluster, layout and topics are known to be in order. Any thread. */
bool bus_ready(struct bus *bus);

/* Id of the cluster; NULL until ready. */
const char *bus_cluster(struct bus *bus);

/* Puts items[0], a DB_INGEST, on the bus. Any thread; complete is called on the same thread when it cannot be
 * taken, else on the loop's. Only items[0].ack is filled: what the database will make of the batch is not
 * known yet. */
void bus_submit(struct bus *bus, struct db_request *request);

/* A record that could not be stored, to the dead-letter topic, with where it came from and why. */
struct bus_letter
{
	const struct record *who; /* NULL: its headers were no identity */
	const char *topic, *reason, *detail;
	int partition;
	int64_t offset;
	const void *value; /* must stay until done */
	size_t len;
	void (*done)(void *arg, bool ok);
	void *arg;
};
void bus_dead_letter(struct bus *bus, const struct bus_letter *letter);

/* Seals and their check: the key of the settings. */
const struct record_sealer *bus_sealer(struct bus *bus);

/* Answers what waits for a broker with DB_UNAVAILABLE and takes no more. */
void bus_abort(struct bus *bus);

void bus_free(struct bus *bus);

#endif
