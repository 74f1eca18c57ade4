/* SPDX-License-Identifier: PostgreSQL
 *
 * bus.c -- the producing side of the bus.
 *
 *     down -> cluster known -> layout agreed with the database -> topics there -> ready
 *
 * Order is what keeps the high-water mark of a producer honest, so a stream has one batch on
 * the bus at a time (stream.c), all batches of an agent go to one partition, and every process
 * agrees with the database on how agents are spread. The producer is idempotent and waits for all in-sync
 * replicas. What no broker takes in bus.timeout is given back: the agent still has it.
 *
 * bus_submit runs on the thread of gRPC; the answers come on the loop's.
 */
#include "ingest/bus.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/stats.h"
#include "lib/log.h"
#include "lib/mem.h"

#define BUS_OPENING_MS   200
#define BUS_TOPICS_MS    10000
#define BUS_QUEUE_MAX    1000000 /* more than there are streams */
#define BUS_QUEUE_KBYTES 2097151

enum bus_state
{
	BUS_CONNECTING, /* -> AGREEING */
	BUS_AGREEING,   /* asks the database -> CREATING, CONNECTING */
	BUS_CREATING,   /* topics -> OPEN, CREATING */
	BUS_OPEN,
};

struct bus
{
	struct bus_settings settings;
	struct db *db;
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	struct kafka_wake wake;
	struct event *timer;
	struct record_sealer sealer;
	char *cluster;
	enum bus_state state;
	bool waiting, away_logged, disagreed;
	struct db_request layout;
	char partitions_text[24], buckets_text[24];
	_Atomic bool ready, aborted;
};

/* What a delivery report points to: one of the two. */
struct delivery
{
	struct db_request *request;
	void (*done)(void *arg, bool ok);
	void *arg;
};

/* ---- delivery ---- */

static const struct
{
	rd_kafka_resp_err_t error;
	enum stat counter;
	enum db_code code;
	const char *message;
} failures[] = {
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, STAT_BUS_FAILED_TOO_LARGE, DB_BAD_INPUT,
     "the batch is larger than the bus takes"},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, STAT_BUS_FAILED_TIMEOUT, DB_UNAVAILABLE,
     "no broker took the batch in time, send again"},
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, STAT_BUS_FAILED_QUEUE, DB_UNAVAILABLE,
     "the bus is behind, send again"},
    {RD_KAFKA_RESP_ERR_NO_ERROR, STAT_BUS_FAILED_OTHER, DB_UNAVAILABLE,
     "the bus did not take the batch, send again"}, /* any other */
};

static void
request_failed(struct db_request *request, rd_kafka_resp_err_t error)
{
	size_t i = 0;

	while (failures[i].error != error && failures[i].error != RD_KAFKA_RESP_ERR_NO_ERROR)
		i++;
	stat_add(failures[i].counter, 1);
	log_limited(LOG_LEVEL_WARNING, "bus", NULL, "a batch was not taken: %s",
	            rd_kafka_err2str(error));
	request->code = failures[i].code;
	snprintf(request->message, sizeof(request->message), "%s", failures[i].message);
	request->complete(request);
}

static void
request_refused(struct db_request *request, const char *text)
{
	request->code = DB_BAD_INPUT;
	snprintf(request->message, sizeof(request->message), "%s", text);
	request->complete(request);
}

static void
delivery_report(const rd_kafka_message_t *message)
{
	struct delivery *delivery = message->_private;
	struct db_request *request = delivery->request;

	if (request == NULL)
		delivery->done(delivery->arg, message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
	else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		request_failed(request, message->err);
	else
	{
		stat_add(STAT_BUS_PRODUCED, 1);
		request->done = 1;
		request->code = DB_OK;
		request->complete(request);
	}
	free(delivery);
}

/* Headers belong to librdkafka when this succeeds. */
static rd_kafka_resp_err_t
produce(struct bus *bus, const char *topic, int partition, const char *key, const void *value,
        size_t len, rd_kafka_headers_t *headers, const struct delivery *what)
{
	struct delivery *delivery = mem_alloc(sizeof(*delivery));
	rd_kafka_resp_err_t error;

	*delivery = *what;
	error = rd_kafka_producev(bus->kafka, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
	                          RD_KAFKA_V_KEY(key, key ? strlen(key) : 0),
	                          RD_KAFKA_V_VALUE((void *) value, len), RD_KAFKA_V_HEADERS(headers),
	                          RD_KAFKA_V_OPAQUE(delivery), RD_KAFKA_V_END);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_headers_destroy(headers);
		free(delivery);
	}
	return error;
}

static void
headers_identity(rd_kafka_headers_t *headers, const struct record *record)
{
	const char *values[] = {
	    [RECORD_TENANT] = record->tenant,
	    [RECORD_AGENT] = record->agent,
	    [RECORD_SERIAL] = record->serial,
	    [RECORD_PLANE] = record->plane,
	};

	for (int i = 0; i < RECORD_SEAL; i++)
		rd_kafka_header_add(headers, record_header_names[i], -1, values[i], -1);
}

void
bus_submit(struct bus *bus, struct db_request *request)
{
	struct db_item *item = &request->items[0];
	const char *plane = item->values[0];
	const struct kafka_topic *topic = kafka_topic_of_plane(plane);
	struct wire_envelope envelope;
	struct record record = {0};
	uint8_t seal[RECORD_SEAL_BYTES];
	char key[RECORD_KEY_MAX];
	rd_kafka_headers_t *headers;
	rd_kafka_resp_err_t error;
	const char *wrong = topic == NULL ? "there is no such plane"
	                                  : wire_envelope_parse(item->values[1],
	                                                        (size_t) item->lengths[1], &envelope);

	request->done = 0;
	request->fault = false;
	request->message[0] = '\0';
	item->result = NULL;
	if (wrong != NULL)
	{
		request_refused(request, wrong);
		return;
	}
	if (!bus->ready || bus->aborted)
	{
		stat_add(STAT_BUS_FAILED_NOT_READY, 1);
		request->code = DB_UNAVAILABLE;
		snprintf(request->message, sizeof(request->message), "the bus is not ready, send again");
		request->complete(request);
		return;
	}
	item->ack = (struct db_ack){.epoch = envelope.epoch,
	                            .committed_seq = envelope.first_seq + envelope.count - 1,
	                            .stored = envelope.count};
	snprintf(record.tenant, sizeof(record.tenant), "%s", request->tenant);
	snprintf(record.agent, sizeof(record.agent), "%s", request->agent);
	snprintf(record.serial, sizeof(record.serial), "%s", request->serial);
	snprintf(record.plane, sizeof(record.plane), "%s", plane);
	headers = rd_kafka_headers_new(RECORD_HEADERS);
	headers_identity(headers, &record);
	if (bus->sealer.len > 0)
	{
		record_seal(&bus->sealer, &record, topic->name, item->values[1], (size_t) item->lengths[1],
		            seal);
		rd_kafka_header_add(headers, record_header_names[RECORD_SEAL], -1, seal, sizeof(seal));
	}
	record_key(&record, (int) bus->settings.buckets, key);
	error = produce(bus, topic->name, record_partition(key, (int) bus->settings.partitions), key,
	                item->values[1], (size_t) item->lengths[1], headers,
	                &(struct delivery){.request = request});
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		request_failed(request, error);
}

void
bus_dead_letter(struct bus *bus, const struct bus_letter *letter)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(RECORD_HEADERS + 4);
	char partition[12], offset[24];

	snprintf(partition, sizeof(partition), "%d", letter->partition);
	snprintf(offset, sizeof(offset), "%lld", (long long) letter->offset);
	if (letter->who != NULL)
		headers_identity(headers, letter->who);
	rd_kafka_header_add(headers, "probectl.reason", -1, letter->reason, -1);
	rd_kafka_header_add(headers, "probectl.detail", -1, letter->detail, -1);
	rd_kafka_header_add(headers, "probectl.topic", -1, letter->topic, -1);
	rd_kafka_header_add(headers, "probectl.partition", -1, partition, -1);
	rd_kafka_header_add(headers, "probectl.offset", -1, offset, -1);
	if (bus->aborted ||
	    produce(bus, KAFKA_DEAD_LETTER, RD_KAFKA_PARTITION_UA,
	            letter->who ? letter->who->tenant : NULL, letter->value, letter->len, headers,
	            &(struct delivery){.done = letter->done, .arg = letter->arg}) !=
	        RD_KAFKA_RESP_ERR_NO_ERROR)
		letter->done(letter->arg, false);
}

/* ---- opening ---- */

static void
bus_opened(struct bus *bus)
{
	bus->state = BUS_OPEN;
	bus->ready = true;
	event_del(bus->timer);
	metric_set(&stats[STAT_BUS_READY], 1);
	log_info("bus", bus->cluster, "connected to %s, %lld partitions a topic, %lld buckets a tenant",
	         bus->settings.brokers, (long long) bus->settings.partitions,
	         (long long) bus->settings.buckets);
}

static void
topics_create(struct bus *bus)
{
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(bus->kafka,
	                                                             RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_NewTopic_t *topics[KAFKA_TOPICS + 1];
	char size[24], err[256];

	snprintf(size, sizeof(size), "%lld", (long long) bus->settings.record_bytes + 65536);
	for (int i = 0; i <= KAFKA_TOPICS; i++)
	{
		const char *name = i < KAFKA_TOPICS ? kafka_topics[i].name : KAFKA_DEAD_LETTER;

		topics[i] = rd_kafka_NewTopic_new(
		    name, (int) bus->settings.partitions,
		    bus->settings.replication ? (int) bus->settings.replication : -1, err, sizeof(err));
		if (topics[i] == NULL)
			log_fatal("bus", NULL, "%s: %s", name, err);
		rd_kafka_NewTopic_set_config(topics[i], "max.message.bytes", size);
	}
	rd_kafka_AdminOptions_set_request_timeout(options, BUS_TOPICS_MS, err, sizeof(err));
	rd_kafka_CreateTopics(bus->kafka, topics, KAFKA_TOPICS + 1, options, bus->queue);
	rd_kafka_NewTopic_destroy_array(topics, KAFKA_TOPICS + 1);
	rd_kafka_AdminOptions_destroy(options);
	bus->waiting = true;
}

static void
topics_created(struct bus *bus, rd_kafka_event_t *event)
{
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
	const rd_kafka_topic_result_t **topics;
	size_t count;

	bus->waiting = false;
	if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		log_limited(LOG_LEVEL_WARNING, "bus", NULL, "cannot create topics: %s",
		            rd_kafka_event_error_string(event));
		return; /* the timer tries again */
	}
	topics = rd_kafka_CreateTopics_result_topics(result, &count);
	for (size_t i = 0; i < count; i++)
	{
		rd_kafka_resp_err_t error = rd_kafka_topic_result_error(topics[i]);

		if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
			log_warning("bus", rd_kafka_topic_result_name(topics[i]),
			            "not created: %s; create it, or set bus.create_topics to false",
			            rd_kafka_topic_result_error_string(topics[i]));
	}
	bus_opened(bus);
}

/* Answer of the database, on the loop's thread. */
static void
layout_answered(struct db_request *request)
{
	struct bus *bus = request->owner;

	bus->waiting = false;
	PQclear(request->items[0].result);
	request->items[0].result = NULL;
	if (request->code == DB_OK)
		bus->state = bus->settings.create_topics ? BUS_CREATING : BUS_OPEN;
	else if (request->code == DB_CONFLICT)
		log_limited(LOG_LEVEL_ERROR, "bus", NULL,
		            "bus.partitions or bus.buckets: %s; no batch is taken until that is settled",
		            request->message);
	if (bus->state == BUS_OPEN)
		bus_opened(bus);
}

static void
layout_ask(struct bus *bus)
{
	struct db_request *request = &bus->layout;

	*request = (struct db_request){
	    .item_count = 1,
	    .owner = bus,
	    .complete = layout_answered,
	    .items[0] = {.statement = DB_BUS_LAYOUT,
	                 .values = {bus->cluster, bus->partitions_text, bus->buckets_text}}};
	bus->waiting = true;
	db_submit(bus->db, request);
}

static void
bus_timer(evutil_socket_t fd, short what, void *arg)
{
	struct bus *bus = arg;

	if (bus->waiting || bus->aborted)
		return;
	if (bus->state == BUS_CONNECTING)
	{
		bus->cluster = rd_kafka_clusterid(bus->kafka, 0);
		if (bus->cluster != NULL)
			bus->state = BUS_AGREEING;
	}
	if (bus->state == BUS_AGREEING && db_ready(bus->db) > 0)
		layout_ask(bus);
	else if (bus->state == BUS_CREATING)
		topics_create(bus);
}

/* ---- events ---- */

static void
bus_error(struct bus *bus, rd_kafka_event_t *event)
{
	rd_kafka_resp_err_t error = rd_kafka_event_error(event);
	char text[256];

	if (error == RD_KAFKA_RESP_ERR__FATAL)
	{
		/* Sequence numbers of this producer are worth nothing any more; a new one starts afresh, and
		 * what was not acknowledged is with the agents. */
		error = rd_kafka_fatal_error(bus->kafka, text, sizeof(text));
		log_fatal("bus", NULL, "the producer cannot go on: %s", text);
	}
	log_limited(LOG_LEVEL_WARNING, "bus", NULL, "%s", rd_kafka_event_error_string(event));
}

static void
bus_event(struct bus *bus, rd_kafka_event_t *event)
{
	const rd_kafka_message_t *message;

	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_DR:
			while ((message = rd_kafka_event_message_next(event)) != NULL)
				delivery_report(message);
			break;
		case RD_KAFKA_EVENT_CREATETOPICS_RESULT: topics_created(bus, event); break;
		case RD_KAFKA_EVENT_ERROR: bus_error(bus, event); break;
		default: break;
	}
	rd_kafka_event_destroy(event);
}

static void
bus_events(void *arg)
{
	struct bus *bus = arg;
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(bus->queue, 0)) != NULL)
		bus_event(bus, event);
}

/* ---- life ---- */

static rd_kafka_t *
bus_producer(const struct bus_settings *settings)
{
	char err[512];
	rd_kafka_conf_t *conf = kafka_conf(settings, err, sizeof(err));
	rd_kafka_t *kafka;

	if (conf == NULL)
		log_fatal("bus", NULL, "%s", err);
	kafka_set(conf, "enable.idempotence", "true"); /* and with it acks=all */
	kafka_set(conf, "linger.ms", "2");
	kafka_set(conf, "compression.type", "lz4");
	kafka_set_number(conf, "message.timeout.ms", settings->timeout_ms);
	kafka_set_number(conf, "queue.buffering.max.messages", BUS_QUEUE_MAX);
	kafka_set_number(conf, "queue.buffering.max.kbytes", BUS_QUEUE_KBYTES);
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
	if (kafka == NULL)
		log_fatal("bus", NULL, "%s", err);
	return kafka;
}

struct bus *
bus_start(struct event_base *base, const struct bus_settings *settings, struct db *db)
{
	static const struct timeval opening = {0, BUS_OPENING_MS * 1000};
	struct bus *bus = mem_alloc(sizeof(*bus));
	char err[512];

	bus->settings = *settings;
	bus->db = db;
	snprintf(bus->partitions_text, sizeof(bus->partitions_text), "%lld",
	         (long long) settings->partitions);
	snprintf(bus->buckets_text, sizeof(bus->buckets_text), "%lld", (long long) settings->buckets);
	if (settings->seal_key_file != NULL && settings->seal_key_file[0] != '\0' &&
	    !record_sealer_read(&bus->sealer, settings->seal_key_file, err, sizeof(err)))
		log_fatal("bus", NULL, "%s", err);
	if (!settings->tls)
		log_warning("bus", NULL, "bus.tls is false: results cross the network in clear");
	bus->kafka = bus_producer(settings);
	bus->queue = rd_kafka_queue_get_main(bus->kafka);
	kafka_wake_start(&bus->wake, base, bus_events, bus);
	kafka_wake_add(&bus->wake, bus->queue);
	bus->timer = event_new(base, -1, EV_PERSIST, bus_timer, bus);
	if (bus->timer == NULL || event_add(bus->timer, &opening) != 0)
		log_fatal("bus", NULL, "cannot make its events");
	bus_events(bus); /* what came before the wake-up was set */
	return bus;
}

bool
bus_ready(struct bus *bus)
{
	return bus->ready;
}

const char *
bus_cluster(struct bus *bus)
{
	return bus->cluster;
}

const struct record_sealer *
bus_sealer(struct bus *bus)
{
	return &bus->sealer;
}

void
bus_abort(struct bus *bus)
{
	bus->aborted = true;
	rd_kafka_purge(bus->kafka, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	bus_events(bus);
}

void
bus_free(struct bus *bus)
{
	if (bus == NULL)
		return;
	bus_abort(bus);
	kafka_wake_stop(&bus->wake);
	event_free(bus->timer);
	rd_kafka_queue_destroy(bus->queue);
	rd_kafka_destroy(bus->kafka);
	free(bus->cluster);
	explicit_bzero(&bus->sealer, sizeof(bus->sealer));
	free(bus);
}
