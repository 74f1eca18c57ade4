/* SPDX-License-Identifier: PostgreSQL
 *
 * kafka.h -- what the producing and the consuming side of the bus share: settings, topics, and
 * how librdkafka is reached from the event loop.
 */
#ifndef PCTL_INGEST_KAFKA_H
#define PCTL_INGEST_KAFKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>
#include <librdkafka/rdkafka.h>

enum bus_mode
{
	BUS_MEMORY, /* straight to the database */
	BUS_KAFKA,
};

enum bus_sasl
{
	BUS_SASL_NONE,
	BUS_SASL_PLAIN,
	BUS_SASL_SCRAM_256,
	BUS_SASL_SCRAM_512,
};

/* Choices of the settings, in the order of the enums. */
extern const char *const bus_mode_names[], *const bus_sasl_names[];

struct bus_settings
{
	int mode, sasl; /* enum bus_mode, enum bus_sasl */
	char *brokers, *ca_file, *cert_file, *key_file, *username, *password_file, *group;
	char *seal_key_file;
	bool tls, create_topics;
	int64_t partitions, buckets, replication; /* 0 copies: as the cluster has it */
	int64_t timeout_ms;                       /* until a batch that no broker took is given back */
	int64_t session_ms;                       /* until a consumer that says nothing has died */
	int64_t record_bytes;                     /* largest value */
};

struct kafka_topic
{
	const char *plane, *name;
};

#define KAFKA_TOPICS      6
#define KAFKA_DEAD_LETTER "probectl.dead_letter"

extern const struct kafka_topic kafka_topics[KAFKA_TOPICS];

/* NULL: no such plane. */
const struct kafka_topic *kafka_topic_of_plane(const char *plane);

/* True when the settings fit together; a sentence in err otherwise. With files: they are read, too. */
bool kafka_check(const struct bus_settings *settings, bool files, char *err, size_t errlen);

/* Brokers, TLS, SASL, log. NULL with a sentence in err. */
rd_kafka_conf_t *kafka_conf(const struct bus_settings *settings, char *err, size_t errlen);

/* Sets one; a value librdkafka does not take is a bug and ends the process. */
void kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value);
void kafka_set_number(rd_kafka_conf_t *conf, const char *name, int64_t value);

/* Calls back on the loop's thread whenever something was put into an empty queue, which must
 * then be emptied. */
struct kafka_wake
{
	int fd;
	struct event *event;
	void (*ready)(void *arg);
	void *arg;
};
void kafka_wake_start(struct kafka_wake *wake, struct event_base *base, void (*ready)(void *arg),
                      void *arg);
void kafka_wake_add(struct kafka_wake *wake, rd_kafka_queue_t *queue);
void kafka_wake_stop(struct kafka_wake *wake);

#endif
