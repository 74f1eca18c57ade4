/* SPDX-License-Identifier: PostgreSQL
 *
 * consume.c -- records of the bus to the database, each once, in the order of their partition.
 *
 *     claiming --fence, offset--> running --taken from us--> gone
 *                                   |  ^
 *                             fenced (PC412)
 *
 * Kafka's group says who works on a partition, but the database decides who may store: to claim a
 * partition is to get a number above those of all owners before, and a transaction that stores
 * records moves the offset only with the newest number, from where it left it. So one who was
 * slow in a rebalance stores nothing. The offsets that are committed to Kafka are for its
 * tools only.
 *
 * A partition has one request in the database at a time: up to DB_ITEMS_MAX records, each its own
 * transaction. What fails for good becomes a dead letter: topic first, then, with the offset, the table. Nothing
 * is passed over before that. Everything here runs on the thread of the event loop.
 */
#include "ingest/consume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "ingest/stats.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/mem.h"

#define CONSUME_TICK_MS     500
#define CONSUME_BACKOFF_MIN 100
#define CONSUME_BACKOFF_MAX 5000
#define CONSUME_RECLAIM_MS  5000
#define CONSUME_FAULTS_MAX  5 /* times a record may fail for no fault of the database's state */

/* What is fetched ahead for one partition. */
#define CONSUME_AHEAD_MIN_KB 256
#define CONSUME_AHEAD_MAX_KB 65536

enum part_state
{
	PART_CLAIMING,
	PART_RUNNING,
	PART_FENCED, /* claims anew after CONSUME_RECLAIM_MS, if it is still ours */
	PART_GONE,   /* freed when nothing is under way */
};

enum dead_reason
{
	DEAD_NO_IDENTITY,
	DEAD_BAD_SEAL,
	DEAD_WRONG_TOPIC,
	DEAD_IDENTITY,
	DEAD_TENANT,
	DEAD_NOT_FOUND,
	DEAD_OLD_EPOCH,
	DEAD_BAD_BATCH,
	DEAD_FAULT,
};

/* In the table goes what has an identity the database knows, and cannot be there already. */
static const struct
{
	const char *name;
	enum stat counter;
	bool table;
} dead_reasons[] = {
    [DEAD_NO_IDENTITY] = {"no_identity", STAT_DEAD_NO_IDENTITY, false},
    [DEAD_BAD_SEAL] = {"bad_seal", STAT_DEAD_BAD_SEAL, false},
    [DEAD_WRONG_TOPIC] = {"wrong_topic", STAT_DEAD_WRONG_TOPIC, false},
    [DEAD_IDENTITY] = {"identity_refused", STAT_DEAD_IDENTITY, true},
    [DEAD_TENANT] = {"tenant_not_active", STAT_DEAD_TENANT, true},
    [DEAD_NOT_FOUND] = {"not_found", STAT_DEAD_NOT_FOUND, true},
    [DEAD_OLD_EPOCH] = {"old_epoch", STAT_DEAD_OLD_EPOCH, false},
    [DEAD_BAD_BATCH] = {"bad_batch", STAT_DEAD_BAD_BATCH, true},
    [DEAD_FAULT] = {"fault", STAT_DEAD_FAULT, true},
};

struct part
{
	TAILQ_ENTRY(part) all;
	struct consumer *consumer;
	const char *topic; /* of kafka_topics */
	int partition;
	enum part_state state;
	rd_kafka_queue_t *queue; /* while assigned */
	int64_t fence, next;     /* as the database has them */
	rd_kafka_message_t *pending[DB_ITEMS_MAX];
	struct record who[DB_ITEMS_MAX];
	struct db_place places[DB_ITEMS_MAX];
	int count; /* of pending */
	struct db_request request;
	bool asking, lettering;
	struct event *timer;
	void (*later)(struct part *part); /* what the timer does */
	int backoff_ms, faults;
	char text[12]; /* the partition, for the claim */
	struct
	{
		enum dead_reason reason;
		char detail[256];
		bool pass; /* the table does not take it: the topic has it */
	} dead;
};

TAILQ_HEAD(part_list, part);

struct consumer
{
	struct event_base *base;
	struct bus_settings settings;
	struct bus *bus;
	struct db *db;
	rd_kafka_t *kafka;
	rd_kafka_queue_t *queue;
	struct kafka_wake wake;
	struct event *tick;
	struct part_list parts;
	rd_kafka_topic_partition_list_t *assigning; /* waits for the claims of its partitions */
	bool subscribed, stopping;
	void (*stopped)(void);
};

static void part_pump(struct part *part);
static void assign_maybe(struct consumer *consumer);

/* ---- partitions ---- */

static struct part *
part_find(struct consumer *consumer, const char *topic, int partition)
{
	struct part *part;

	TAILQ_FOREACH (part, &consumer->parts, all)
		if (part->state != PART_GONE && part->partition == partition &&
		    strcmp(part->topic, topic) == 0)
			return part;
	return NULL;
}

static void
part_drop(struct part *part)
{
	for (int i = 0; i < part->count; i++)
		rd_kafka_message_destroy(part->pending[i]);
	part->count = 0;
}

/* Ends the process's stop when this was the last. */
static void
part_settled(struct part *part)
{
	struct consumer *consumer = part->consumer;

	if (part->asking || part->lettering)
		return;
	if (part->state == PART_GONE)
	{
		part_drop(part);
		event_free(part->timer);
		TAILQ_REMOVE(&consumer->parts, part, all);
		free(part);
	}
	if (!consumer->stopping || consumer->stopped == NULL)
		return;
	TAILQ_FOREACH (part, &consumer->parts, all)
		if (part->asking || part->lettering)
			return;
	consumer->stopped();
	consumer->stopped = NULL;
}

static void
part_later(struct part *part, int ms, void (*later)(struct part *part))
{
	struct timeval wait = clock_timeval(ms * NANO_PER_MS);

	part->later = later;
	event_add(part->timer, &wait);
}

static void
part_backoff(struct part *part, void (*later)(struct part *part))
{
	part_later(part, part->backoff_ms, later);
	part->backoff_ms *= 2;
	if (part->backoff_ms > CONSUME_BACKOFF_MAX)
		part->backoff_ms = CONSUME_BACKOFF_MAX;
}

static void
part_timer(evutil_socket_t fd, short what, void *arg)
{
	struct part *part = arg;

	if (part->state != PART_GONE && !part->consumer->stopping)
		part->later(part);
}

static void
part_gone(struct part *part)
{
	part->state = PART_GONE;
	event_del(part->timer);
	if (part->queue != NULL)
		rd_kafka_queue_destroy(part->queue);
	part->queue = NULL;
	part_settled(part);
}

static void
part_ask(struct part *part, void (*complete)(struct db_request *request))
{
	part->request.owner = part;
	part->request.complete = complete;
	part->asking = true;
	db_submit(part->consumer->db, &part->request);
}

/* ---- claims ---- */

static void part_claim(struct part *part);

static void
part_claimed(struct db_request *request)
{
	struct part *part = request->owner;
	PGresult *result = request->items[0].result;

	part->asking = false;
	if (part->state == PART_GONE || part->consumer->stopping)
		; /* somebody else's by now */
	else if (request->code == DB_OK)
	{
		part->next = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		part->fence = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
		part->state = PART_RUNNING;
		part->backoff_ms = CONSUME_BACKOFF_MIN;
		assign_maybe(part->consumer);
	}
	else
		part_backoff(part, part_claim);
	PQclear(result);
	part_settled(part);
}

static void
part_claim(struct part *part)
{
	part->state = PART_CLAIMING;
	snprintf(part->text, sizeof(part->text), "%d", part->partition);
	part->request = (struct db_request){
	    .item_count = 1,
	    .items[0] = {.statement = DB_BUS_CLAIM,
	                 .values = {bus_cluster(part->consumer->bus), part->topic, part->text}}};
	part_ask(part, part_claimed);
}

/* Another consumer claimed it: what was fetched is that one's. While the group still gives it to
 * us, it is claimed again after a while. */
static void
part_again(struct part *part)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	struct consumer *consumer = part->consumer;

	if (consumer->assigning != NULL)
	{
		rd_kafka_topic_partition_list_destroy(list);
		part_later(part, CONSUME_RECLAIM_MS, part_again);
		return;
	}
	rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
	rd_kafka_queue_destroy(part->queue);
	part->queue = NULL;
	rd_kafka_error_destroy(rd_kafka_incremental_unassign(consumer->kafka, list));
	consumer->assigning = list;
	part_claim(part);
}

static void
part_fenced(struct part *part)
{
	stat_add(STAT_BUS_FENCED, 1);
	log_warning("bus", part->topic, "partition %d belongs to another consumer; nothing was stored",
	            part->partition);
	part_drop(part);
	part->state = PART_FENCED;
	part_later(part, CONSUME_RECLAIM_MS, part_again);
}

/* The first `count` of pending are in the database, and the offset with them. */
static void
part_forget(struct part *part, int count)
{
	rd_kafka_topic_partition_list_t *list;

	if (count == 0)
		return;
	part->next = part->places[count - 1].to;
	for (int i = 0; i < count; i++)
		rd_kafka_message_destroy(part->pending[i]);
	part->count -= count;
	memmove(part->pending, part->pending + count, sizeof(part->pending[0]) * (size_t) part->count);
	memmove(part->places, part->places + count, sizeof(part->places[0]) * (size_t) part->count);
	memmove(part->who, part->who + count, sizeof(part->who[0]) * (size_t) part->count);
	part->backoff_ms = CONSUME_BACKOFF_MIN;

	list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset = part->next;
	rd_kafka_offsets_store(part->consumer->kafka, list);
	rd_kafka_topic_partition_list_destroy(list);
}

static void
part_stored(struct part *part, int count)
{
	part_forget(part, count);
	part->faults = 0;
	part_pump(part);
}

/* ---- dead letters ---- */

static void dead_send(struct part *part);
static void dead_table(struct part *part);

static void
dead_sent(void *arg, bool ok)
{
	struct part *part = arg;

	part->lettering = false;
	if (part->state == PART_RUNNING && !part->consumer->stopping)
	{
		if (ok)
			dead_table(part);
		else
			part_backoff(part, dead_send);
	}
	part_settled(part);
}

/* To the topic. Done again after a crash in between: its place tells the copies apart. */
static void
dead_send(struct part *part)
{
	const rd_kafka_message_t *message = part->pending[0];
	struct bus_letter letter = {.who = record_whole(&part->who[0]) ? &part->who[0] : NULL,
	                            .topic = part->topic,
	                            .partition = part->partition,
	                            .offset = message->offset,
	                            .reason = dead_reasons[part->dead.reason].name,
	                            .detail = part->dead.detail,
	                            .value = message->payload,
	                            .len = message->len,
	                            .done = dead_sent,
	                            .arg = part};

	part->lettering = true;
	bus_dead_letter(part->consumer->bus, &letter);
}

static void
dead_stored(struct db_request *request)
{
	struct part *part = request->owner;
	enum db_code code = request->code;

	part->asking = false;
	PQclear(request->items[0].result);
	if (part->state == PART_GONE)
		;
	else if (code == DB_OK)
	{
		stat_add(dead_reasons[part->dead.reason].counter, 1);
		log_limited(LOG_LEVEL_WARNING, "bus", part->topic,
		            "dead letter, partition %d offset %lld, %s: %s", part->partition,
		            (long long) part->pending[0]->offset, dead_reasons[part->dead.reason].name,
		            part->dead.detail);
		part_stored(part, 1);
	}
	else if (code == DB_FENCED)
		part_fenced(part);
	else if (code == DB_UNAVAILABLE && !request->fault)
		part_backoff(part, dead_table);
	else
	{
		/* The batch is none, or its agent does not exist: what there is stands in the topic. */
		part->dead.pass = true;
		dead_table(part);
	}
	part_settled(part);
}

static void
dead_table(struct part *part)
{
	const rd_kafka_message_t *message = part->pending[0];
	const struct record *who = &part->who[0];
	struct db_item *item = &part->request.items[0];

	part->request = (struct db_request){.item_count = 1};
	item->statement = DB_BUS_PASS;
	item->place = &part->places[0];
	if (dead_reasons[part->dead.reason].table && !part->dead.pass)
	{
		item->statement = DB_REFUSED;
		item->values[0] = who->tenant;
		item->values[1] = who->agent;
		item->values[2] = who->serial;
		item->values[3] = who->plane;
		item->values[4] = message->payload;
		item->lengths[4] = (int) message->len;
		item->values[5] = dead_reasons[part->dead.reason].name;
	}
	part_ask(part, dead_stored);
}

static void
part_dead(struct part *part, enum dead_reason reason, const char *detail)
{
	part->dead.reason = reason;
	part->dead.pass = false;
	snprintf(part->dead.detail, sizeof(part->dead.detail), "%s", detail);
	dead_send(part);
}

/* ---- records ---- */

static void
part_refused(struct part *part)
{
	static const enum dead_reason reasons[DB_CODES] = {
	    [DB_UNAUTHENTICATED] = DEAD_IDENTITY, [DB_NOT_PERMITTED] = DEAD_TENANT,
	    [DB_NOT_FOUND] = DEAD_NOT_FOUND,      [DB_CONFLICT] = DEAD_OLD_EPOCH,
	    [DB_BAD_INPUT] = DEAD_BAD_BATCH,      [DB_UNAVAILABLE] = DEAD_FAULT,
	};
	const struct db_request *request = &part->request;

	if (request->code == DB_FENCED)
		part_fenced(part);
	else if (request->code == DB_QUOTA)
	{
		stat_add(STAT_BUS_HELD, 1);
		part_backoff(part, part_pump);
	}
	else if (request->code == DB_UNAVAILABLE &&
	         !(request->fault && ++part->faults >= CONSUME_FAULTS_MAX))
		part_backoff(part, part_pump);
	else
		part_dead(part, reasons[request->code], request->message);
}

static void
part_committed(const PGresult *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	metrics_last_result((int64_t) now.tv_sec * 1000000000 + now.tv_nsec);
	stat_add(STAT_BATCHES_COMMITTED, 1);
	stat_add(STAT_RECORDS_COMMITTED, strtoll(PQgetvalue(result, 0, 2), NULL, 10));
	stat_add(STAT_RECORDS_DUPLICATE, strtoll(PQgetvalue(result, 0, 3), NULL, 10));
	stat_add(STAT_RECORDS_DEAD_LETTERED, strtoll(PQgetvalue(result, 0, 4), NULL, 10));
}

static void
part_answered(struct db_request *request)
{
	struct part *part = request->owner;

	part->asking = false;
	for (int i = 0; i < request->item_count; i++)
	{
		if (i < request->done)
			part_committed(request->items[i].result);
		PQclear(request->items[i].result);
	}
	if (part->state != PART_GONE)
	{
		int asked = request->item_count;

		if (request->done > 0)
			part->faults = 0;
		if (request->done < asked)
		{
			part_forget(part, request->done);
			part_refused(part);
		}
		else
			part_stored(part, request->done);
	}
	part_settled(part);
}

/* Takes what was fetched, in order. A gap or a step back means that the log is not the one it was:
 * said aloud, and the marks of the streams see to it that nothing counts twice. */
static void
part_take(struct part *part)
{
	int64_t next = part->next;
	ssize_t count;

	if (part->count > 0)
		return; /* what failed before is tried again, from its place */
	count = rd_kafka_consume_batch_queue(part->queue, 0, part->pending, DB_ITEMS_MAX);
	part->count = count > 0 ? (int) count : 0;
	for (int i = 0; i < part->count;)
	{
		rd_kafka_message_t *message = part->pending[i];

		if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			i++;
			continue;
		}
		log_limited(LOG_LEVEL_WARNING, "bus", part->topic, "partition %d: %s", part->partition,
		            rd_kafka_message_errstr(message));
		rd_kafka_message_destroy(message);
		memmove(part->pending + i, part->pending + i + 1,
		        sizeof(part->pending[0]) * (size_t) (--part->count - i));
	}
	for (int i = 0; i < part->count; i++)
	{
		int64_t offset = part->pending[i]->offset;

		if (offset != next)
		{
			stat_add(STAT_BUS_GAPS, 1);
			log_error("bus", part->topic, "partition %d goes on at offset %lld, not at %lld: %s",
			          part->partition, (long long) offset, (long long) next,
			          offset > next ? "records were removed before they were stored"
			                        : "the topic was made anew");
		}
		part->places[i] = (struct db_place){.cluster = bus_cluster(part->consumer->bus),
		                                    .topic = part->topic,
		                                    .partition = part->partition,
		                                    .fence = part->fence,
		                                    .from = next,
		                                    .to = offset + 1};
		next = offset + 1;
	}
}

/* Reads the identity of pending[i]; false when the record has none that counts. */
static bool
part_identify(struct part *part, int i, enum dead_reason *reason)
{
	const rd_kafka_message_t *message = part->pending[i];
	struct record *record = &part->who[i];
	rd_kafka_headers_t *headers;
	const struct kafka_topic *topic;
	const char *name;
	const void *value;
	size_t len;

	*record = (struct record){0};
	if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
		for (size_t n = 0;
		     rd_kafka_header_get_all(headers, n, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR;
		     n++)
			record_take(record, name, value, len);
	if (!record_whole(record))
	{
		*reason = DEAD_NO_IDENTITY;
		return false;
	}
	topic = kafka_topic_of_plane(record->plane);
	if (topic == NULL || topic->name != part->topic)
	{
		*reason = DEAD_WRONG_TOPIC;
		return false;
	}
	*reason = DEAD_BAD_SEAL;
	return record_sealed(bus_sealer(part->consumer->bus), record, part->topic, message->payload,
	                     message->len);
}

static const char *const unidentified[] = {
    [DEAD_NO_IDENTITY] = "the headers do not name tenant, agent, serial and plane",
    [DEAD_BAD_SEAL] = "the seal is missing or not that of this record",
    [DEAD_WRONG_TOPIC] = "the plane is not that of the topic",
};

static void
part_pump(struct part *part)
{
	struct db_request *request = &part->request;
	enum dead_reason reason = DEAD_NO_IDENTITY;
	int good = 0;

	if (part->state != PART_RUNNING || part->queue == NULL || part->asking || part->lettering ||
	    part->consumer->stopping || event_pending(part->timer, EV_TIMEOUT, NULL))
		return;
	part_take(part);
	while (good < part->count && part_identify(part, good, &reason))
		good++;
	if (part->count > 0 && good == 0)
	{
		part_dead(part, reason, unidentified[reason]);
		return;
	}
	if (good == 0)
		return;
	*request = (struct db_request){.bulk = true, .item_count = good};
	for (int i = 0; i < good; i++)
	{
		struct db_item *item = &request->items[i];

		item->statement = DB_INGEST;
		item->place = &part->places[i];
		item->who[0] = part->who[i].tenant;
		item->who[1] = part->who[i].agent;
		item->who[2] = part->who[i].serial;
		item->values[0] = part->who[i].plane;
		item->values[1] = part->pending[i]->payload;
		item->lengths[1] = (int) part->pending[i]->len;
	}
	part_ask(part, part_answered);
}

/* ---- the group ---- */

/* Every partition of the list is claimed: fetch from where the database is. */
static void
assign_maybe(struct consumer *consumer)
{
	rd_kafka_topic_partition_list_t *list = consumer->assigning;
	rd_kafka_error_t *error;
	struct part *part;

	if (list == NULL)
		return;
	for (int i = 0; i < list->cnt; i++)
	{
		part = part_find(consumer, list->elems[i].topic, list->elems[i].partition);
		if (part != NULL && part->state != PART_RUNNING)
			return;
		if (part != NULL)
			list->elems[i].offset = part->next;
	}
	for (int i = 0; i < list->cnt; i++)
	{
		part = part_find(consumer, list->elems[i].topic, list->elems[i].partition);
		if (part == NULL)
			continue;
		/* A queue of its own: a partition that waits holds no other one up. */
		part->queue = rd_kafka_queue_get_partition(consumer->kafka, part->topic, part->partition);
		if (part->queue == NULL)
			log_fatal("bus", part->topic, "partition %d has no queue", part->partition);
		rd_kafka_queue_forward(part->queue, NULL);
		kafka_wake_add(&consumer->wake, part->queue);
	}
	consumer->assigning = NULL;
	error = rd_kafka_incremental_assign(consumer->kafka, list);
	if (error != NULL)
		log_fatal("bus", NULL, "cannot take partitions: %s", rd_kafka_error_string(error));
	log_info("bus", NULL, "%d partitions more", list->cnt);
	rd_kafka_topic_partition_list_destroy(list);
	TAILQ_FOREACH (part, &consumer->parts, all)
		part_pump(part);
}

/* The name as kafka_topics has it. */
static const char *
topic_known(const char *name)
{
	for (int i = 0; i < KAFKA_TOPICS; i++)
		if (strcmp(kafka_topics[i].name, name) == 0)
			return kafka_topics[i].name;
	return NULL;
}

static void
group_give(struct consumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
	struct part *part;

	consumer->assigning = rd_kafka_topic_partition_list_copy(list);
	for (int i = 0; i < list->cnt; i++)
	{
		const char *topic = topic_known(list->elems[i].topic);

		if (topic == NULL)
			continue;
		part = mem_alloc(sizeof(*part));
		part->consumer = consumer;
		part->topic = topic;
		part->partition = list->elems[i].partition;
		part->state = PART_CLAIMING;
		part->backoff_ms = CONSUME_BACKOFF_MIN;
		part->timer = event_new(consumer->base, -1, 0, part_timer, part);
		if (part->timer == NULL)
			log_fatal("bus", NULL, "out of memory");
		TAILQ_INSERT_TAIL(&consumer->parts, part, all);
	}
	for (int i = 0; i < list->cnt; i++)
	{
		part = part_find(consumer, list->elems[i].topic, list->elems[i].partition);
		if (part != NULL && !part->asking)
			part_claim(part);
	}
	assign_maybe(consumer); /* an empty list */
}

static void
group_take(struct consumer *consumer, rd_kafka_topic_partition_list_t *list)
{
	for (int i = 0; i < list->cnt; i++)
	{
		struct part *part = part_find(consumer, list->elems[i].topic, list->elems[i].partition);

		if (part != NULL)
			part_gone(part);
	}
	if (consumer->assigning != NULL)
	{
		rd_kafka_topic_partition_list_destroy(consumer->assigning);
		consumer->assigning = NULL;
	}
	rd_kafka_error_destroy(rd_kafka_incremental_unassign(consumer->kafka, list));
	log_info("bus", NULL, "%d partitions fewer", list->cnt);
}

static void
group_changed(rd_kafka_t *kafka, rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t *list,
              void *arg)
{
	struct consumer *consumer = arg;

	stat_add(STAT_BUS_REBALANCES, 1);
	if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !consumer->stopping)
		group_give(consumer, list);
	else if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
		rd_kafka_error_destroy(rd_kafka_incremental_assign(kafka, list));
	else
		group_take(consumer, list);
}

/* ---- the loop ---- */

static void
consume_events(void *arg)
{
	struct consumer *consumer = arg;
	rd_kafka_message_t *message;
	struct part *part;

	while ((message = rd_kafka_consumer_poll(consumer->kafka, 0)) != NULL)
	{
		if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
			log_limited(LOG_LEVEL_WARNING, "bus", NULL, "%s", rd_kafka_message_errstr(message));
		rd_kafka_message_destroy(message);
	}
	TAILQ_FOREACH (part, &consumer->parts, all)
		part_pump(part);
}

static void
consume_subscribe(struct consumer *consumer)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(KAFKA_TOPICS);
	rd_kafka_resp_err_t error;

	for (int i = 0; i < KAFKA_TOPICS; i++)
		rd_kafka_topic_partition_list_add(list, kafka_topics[i].name, RD_KAFKA_PARTITION_UA);
	error = rd_kafka_subscribe(consumer->kafka, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
		log_fatal("bus", NULL, "cannot join the group: %s", rd_kafka_err2str(error));
	consumer->subscribed = true;
}

/* What is in the partitions behind the offsets that are stored. */
static void
consume_measure(struct consumer *consumer)
{
	int64_t lag = 0, low, high, count = 0;
	struct part *part;

	TAILQ_FOREACH (part, &consumer->parts, all)
	{
		if (part->state != PART_RUNNING)
			continue;
		count++;
		if (rd_kafka_get_watermark_offsets(consumer->kafka, part->topic, part->partition, &low,
		                                   &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		    high > part->next)
			lag += high - part->next;
	}
	metric_set(&stats[STAT_BUS_LAG], lag);
	metric_set(&stats[STAT_BUS_PARTITIONS], count);
	metrics_backlog(lag);
}

static void
consume_tick(evutil_socket_t fd, short what, void *arg)
{
	struct consumer *consumer = arg;

	if (consumer->stopping)
		return;
	if (!consumer->subscribed && bus_ready(consumer->bus))
		consume_subscribe(consumer);
	consume_events(consumer); /* and the group hears that we live */
	consume_measure(consumer);
}

/* ---- life ---- */

static rd_kafka_t *
consume_client(struct consumer *consumer, int64_t memory_bytes)
{
	const struct bus_settings *settings = &consumer->settings;
	int64_t ahead = memory_bytes / 2 / settings->partitions / 1024;
	char err[512];
	rd_kafka_conf_t *conf = kafka_conf(settings, err, sizeof(err));
	rd_kafka_t *kafka;

	if (conf == NULL)
		log_fatal("bus", NULL, "%s", err);
	ahead = ahead < CONSUME_AHEAD_MIN_KB ? CONSUME_AHEAD_MIN_KB : ahead;
	ahead = ahead > CONSUME_AHEAD_MAX_KB ? CONSUME_AHEAD_MAX_KB : ahead;
	kafka_set(conf, "group.id", settings->group);
	kafka_set(conf, "partition.assignment.strategy", "cooperative-sticky");
	kafka_set(conf, "auto.offset.reset", "earliest");
	kafka_set(conf, "enable.auto.offset.store", "false");
	kafka_set(conf, "topic.metadata.refresh.interval.ms", "10000");
	kafka_set(conf, "fetch.wait.max.ms", "100");
	kafka_set_number(conf, "session.timeout.ms", settings->session_ms);
	kafka_set_number(conf, "heartbeat.interval.ms", settings->session_ms / 4);
	kafka_set_number(conf, "queued.max.messages.kbytes", ahead);
	rd_kafka_conf_set_rebalance_cb(conf, group_changed);
	rd_kafka_conf_set_opaque(conf, consumer);
	kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, err, sizeof(err));
	if (kafka == NULL)
		log_fatal("bus", NULL, "%s", err);
	rd_kafka_poll_set_consumer(kafka);
	return kafka;
}

struct consumer *
consume_start(struct event_base *base, const struct bus_settings *settings, struct bus *bus,
              struct db *db, int64_t memory_bytes)
{
	static const struct timeval tick = {0, CONSUME_TICK_MS * 1000};
	struct consumer *consumer = mem_alloc(sizeof(*consumer));

	consumer->base = base;
	consumer->settings = *settings;
	consumer->bus = bus;
	consumer->db = db;
	TAILQ_INIT(&consumer->parts);
	consumer->kafka = consume_client(consumer, memory_bytes);
	consumer->queue = rd_kafka_queue_get_consumer(consumer->kafka);
	kafka_wake_start(&consumer->wake, base, consume_events, consumer);
	kafka_wake_add(&consumer->wake, consumer->queue);
	consumer->tick = event_new(base, -1, EV_PERSIST, consume_tick, consumer);
	if (consumer->tick == NULL || event_add(consumer->tick, &tick) != 0)
		log_fatal("bus", NULL, "cannot make its events");
	return consumer;
}

void
consume_stop(struct consumer *consumer, void (*stopped)(void))
{
	struct part *part;

	consumer->stopping = true;
	consumer->stopped = stopped;
	TAILQ_FOREACH (part, &consumer->parts, all)
		if (part->asking || part->lettering)
			return;
	consumer->stopped = NULL;
	stopped();
}

void
consume_free(struct consumer *consumer)
{
	struct part *part, *next;

	if (consumer == NULL)
		return;
	consumer->stopping = true;
	kafka_wake_stop(&consumer->wake);
	event_free(consumer->tick);
	for (part = TAILQ_FIRST(&consumer->parts); part != NULL; part = next)
	{
		next = TAILQ_NEXT(part, all);
		part_gone(part);
	}
	rd_kafka_queue_destroy(consumer->queue);
	rd_kafka_consumer_close(consumer->kafka);
	rd_kafka_destroy(consumer->kafka);
	if (consumer->assigning != NULL)
		rd_kafka_topic_partition_list_destroy(consumer->assigning);
	free(consumer);
}
