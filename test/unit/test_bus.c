/* SPDX-License-Identifier: PostgreSQL
 *
 * test_bus.c -- both sides of the bus against librdkafka's cluster in the process, whose brokers can be told
 * to fail. The database is a table of this file: it answers as a test wants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "ingest/bus.h"
#include "ingest/consume.h"
#include "ingest/stats.h"

#include <librdkafka/rdkafka_mock.h> /* behind what it needs */

#define RESULTS    "probectl.network.results"
#define PARTITIONS 3
#define PRODUCE    0 /* ApiKey */
#define WAIT_S     30

static const char tenant[] = "00112233-4455-6677-8899-aabbccddeeff";
static const char batch[] = "\x08\x07\x10\x01\x1a\x01\x61\x1a\x01\x62"; /* epoch 7, 1 .. 2 */

/* ---- the database ---- */

/* Answers, in order, to items with a place; then all is well. */
struct answer
{
	enum db_code code;
	bool fault;
};

static struct
{
	struct answer answers[16];
	int answer_count;
	int64_t next[PARTITIONS];
	int fence[PARTITIONS];
	int stored[256]; /* by the last byte of the agent's id */
	int refused, passed, fenced;
	enum db_code layout;
} database;

static PGresult *
row(int columns, const int64_t *values)
{
	PGresult *result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc attributes[5] = {{.name = (char *) "n"},
	                              {.name = (char *) "n"},
	                              {.name = (char *) "n"},
	                              {.name = (char *) "n"},
	                              {.name = (char *) "n"}};
	char text[24];

	PQsetResultAttrs(result, columns, attributes);
	for (int i = 0; i < columns; i++)
	{
		snprintf(text, sizeof(text), "%lld", (long long) values[i]);
		PQsetvalue(result, 0, i, text, (int) strlen(text));
	}
	return result;
}

static enum db_code
item_run(struct db_request *request, struct db_item *item)
{
	const struct db_place *place = item->place;
	int partition = item->statement == DB_BUS_CLAIM ? atoi(item->values[2]) : 0;

	if (item->statement == DB_BUS_LAYOUT)
		return database.layout;
	if (item->statement == DB_BUS_CLAIM)
	{
		if (strcmp(item->values[1], RESULTS) == 0)
			item->result = row(2,
			                   (int64_t[]){database.next[partition], ++database.fence[partition]});
		else
			item->result = row(2, (int64_t[]){0, 1});
		return DB_OK;
	}
	assert_non_null(place);
	if (database.answer_count > 0)
	{
		struct answer answer = database.answers[0];

		memmove(database.answers, database.answers + 1, sizeof(answer) * 15);
		database.answer_count--;
		request->fault = answer.fault;
		if (answer.code != DB_OK)
			return answer.code;
	}
	if (place->fence != database.fence[place->partition] ||
	    place->from != database.next[place->partition])
	{
		database.fenced++;
		return DB_FENCED;
	}
	database.next[place->partition] = place->to;
	if (item->statement == DB_INGEST)
		database.stored[strtol(item->who[1] + 34, NULL, 16)]++;
	else
		*(item->statement == DB_REFUSED ? &database.refused : &database.passed) += 1;
	item->result = row(5, (int64_t[]){7, 2, 2, 0, 0});
	return DB_OK;
}

void
db_submit(struct db *db, struct db_request *request)
{
	request->done = 0;
	request->fault = false;
	request->code = DB_OK;
	for (int i = 0; i < request->item_count && request->code == DB_OK; i++)
	{
		request->items[i].result = NULL;
		request->code = item_run(request, &request->items[i]);
		if (request->code == DB_OK)
			request->done++;
	}
	request->complete(request);
}

int
db_ready(struct db *db)
{
	return 1;
}

/* ---- the rig ---- */

struct rig
{
	rd_kafka_t *host; /* of the cluster */
	rd_kafka_mock_cluster_t *cluster;
	struct event_base *base;
	struct bus_settings settings;
	struct bus *bus;
	struct consumer *consumer;
	int completed;
};

static struct rig *rig;

static void
turn(void)
{
	static const struct timeval pause = {0, 20000};

	event_base_loopexit(rig->base, &pause);
	event_base_dispatch(rig->base);
}

/* Runs the loop until the condition holds. */
#define UNTIL(condition)                                                                           \
	do                                                                                             \
	{                                                                                              \
		for (int turns_ = 0; !(condition); turns_++)                                               \
		{                                                                                          \
			if (turns_ > WAIT_S * 50)                                                              \
				fail_msg("not within %d s: %s", WAIT_S, #condition);                               \
			turn();                                                                                \
		}                                                                                          \
	} while (0)

static int
rig_open(void **state)
{
	char err[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	struct bus_settings *settings;

	memset(&database, 0, sizeof(database));
	for (int i = 0; i < STATS; i++)
		stats[i].value = 0;
	rig = calloc(1, sizeof(*rig));
	rig->host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
	rig->cluster = rd_kafka_mock_cluster_new(rig->host, 1);
	for (int i = 0; i < KAFKA_TOPICS; i++)
		rd_kafka_mock_topic_create(rig->cluster, kafka_topics[i].name, PARTITIONS, 1);
	rd_kafka_mock_topic_create(rig->cluster, KAFKA_DEAD_LETTER, 1, 1);
	rig->base = event_base_new();
	settings = &rig->settings;
	*settings = (struct bus_settings){
	    .mode = BUS_KAFKA,
	    .group = (char *) "unit",
	    .brokers = (char *) rd_kafka_mock_cluster_bootstraps(rig->cluster),
	    .partitions = PARTITIONS,
	    .buckets = 2,
	    .timeout_ms = 20000,
	    .session_ms = 6000,
	    .record_bytes = 1 << 20};
	return 0;
}

static void
bus_open(void)
{
	rig->bus = bus_start(rig->base, &rig->settings, NULL);
	UNTIL(bus_ready(rig->bus));
}

static bool stopped;

static void
consumer_stopped(void)
{
	stopped = true;
}

/* As the process does it: what is under way is answered, or cut off. */
static int
rig_close(void **state)
{
	stopped = rig->consumer == NULL;
	if (rig->consumer != NULL)
		consume_stop(rig->consumer, consumer_stopped);
	if (!stopped)
		bus_abort(rig->bus);
	UNTIL(stopped);
	consume_free(rig->consumer);
	bus_free(rig->bus);
	event_base_free(rig->base);
	rd_kafka_mock_cluster_destroy(rig->cluster);
	rd_kafka_destroy(rig->host);
	free(rig);
	return 0;
}

static void
completed(struct db_request *request)
{
	rig->completed++;
}

/* An agent's batch; the agent's number is the end of its id. */
struct sent
{
	struct db_request request;
	char agent[37];
};

static void
send_plane(struct sent *sent, int agent, const char *plane, const void *data, size_t len)
{
	snprintf(sent->agent, sizeof(sent->agent), "00000000-0000-4000-8000-0000000000%02x", agent);
	sent->request = (struct db_request){.tenant = tenant,
	                                    .agent = sent->agent,
	                                    .serial = "1f",
	                                    .item_count = 1,
	                                    .complete = completed};
	sent->request.items[0] = (struct db_item){
	    .statement = DB_INGEST, .values = {plane, data}, .lengths = {0, (int) len}};
	bus_submit(rig->bus, &sent->request);
}

static void
submit(struct sent *sent, int agent)
{
	send_plane(sent, agent, "network", batch, sizeof(batch) - 1);
}

/* ---- producing ---- */

static void
test_taken(void **state)
{
	struct sent sent[20];

	bus_open();
	for (int i = 0; i < 20; i++)
		submit(&sent[i], i);
	UNTIL(rig->completed == 20);
	for (int i = 0; i < 20; i++)
	{
		const struct db_ack *ack = &sent[i].request.items[0].ack;

		assert_int_equal(sent[i].request.code, DB_OK);
		assert_int_equal(sent[i].request.done, 1);
		assert_null(sent[i].request.items[0].result);
		assert_true(ack->epoch == 7 && ack->committed_seq == 2 && ack->stored == 2);
	}
	assert_int_equal(metric_get(&stats[STAT_BUS_PRODUCED]), 20);
}

static void
test_refused_before_the_bus(void **state)
{
	struct sent sent;

	bus_open();
	send_plane(&sent, 1, "network", "\xff", 1);
	assert_int_equal(sent.request.code, DB_BAD_INPUT);
	send_plane(&sent, 1, "nosuch", batch, sizeof(batch) - 1);
	assert_int_equal(sent.request.code, DB_BAD_INPUT);
	assert_int_equal(rig->completed, 2);
	assert_int_equal(sent.request.done, 0);
}

static void
test_not_ready_without_agreement(void **state)
{
	struct sent sent;

	database.layout = DB_CONFLICT;
	rig->bus = bus_start(rig->base, &rig->settings, NULL);
	UNTIL(bus_cluster(rig->bus) != NULL);
	submit(&sent, 1);
	assert_int_equal(sent.request.code, DB_UNAVAILABLE);
	database.layout = DB_OK;
	UNTIL(bus_ready(rig->bus));
	submit(&sent, 1);
	UNTIL(rig->completed == 2);
	assert_int_equal(sent.request.code, DB_OK);
}

/* An answer that does not come is no answer: nothing completes before the brokers are back. */
static void
test_waits_for_the_broker(void **state)
{
	struct sent sent;

	bus_open();
	rd_kafka_mock_broker_set_down(rig->cluster, 1);
	submit(&sent, 1);
	for (int i = 0; i < 25; i++)
		turn();
	assert_int_equal(rig->completed, 0);
	rd_kafka_mock_broker_set_up(rig->cluster, 1);
	UNTIL(rig->completed == 1);
	assert_int_equal(sent.request.code, DB_OK);
}

static void
test_given_back_in_the_end(void **state)
{
	struct sent sent;

	rig->settings.timeout_ms = 1000;
	bus_open();
	rd_kafka_mock_broker_set_down(rig->cluster, 1);
	submit(&sent, 1);
	UNTIL(rig->completed == 1);
	assert_int_equal(sent.request.code, DB_UNAVAILABLE);
	assert_int_equal(sent.request.done, 0);
	assert_int_equal(metric_get(&stats[STAT_BUS_FAILED_TIMEOUT]), 1);
}

static void
test_a_record_too_large_is_the_agents_fault(void **state)
{
	struct sent sent;

	bus_open();
	rd_kafka_mock_push_request_errors(rig->cluster, PRODUCE, 1,
	                                  RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
	submit(&sent, 1);
	UNTIL(rig->completed == 1);
	assert_int_equal(sent.request.code, DB_BAD_INPUT);
	assert_int_equal(metric_get(&stats[STAT_BUS_FAILED_TOO_LARGE]), 1);
}

static void
test_abort_answers(void **state)
{
	struct sent sent;

	bus_open();
	rd_kafka_mock_broker_set_down(rig->cluster, 1);
	submit(&sent, 1);
	bus_abort(rig->bus);
	UNTIL(rig->completed == 1);
	assert_int_equal(sent.request.code, DB_UNAVAILABLE);
	submit(&sent, 2);
	assert_int_equal(rig->completed, 2);
	assert_int_equal(sent.request.code, DB_UNAVAILABLE);
}

/* ---- from one end to the other ---- */

static void
consumer_open(void)
{
	rig->consumer = consume_start(rig->base, &rig->settings, rig->bus, NULL, 64 << 20);
}

static int
stored(int agents)
{
	int count = 0;

	for (int i = 0; i < agents; i++)
		count += database.stored[i];
	return count;
}

/* `each` batches of every agent, one behind the other. */
static void
send_all(int agents, int each)
{
	for (int n = 0; n < each; n++)
	{
		struct sent *sent = calloc((size_t) agents, sizeof(*sent));
		int before = rig->completed;

		for (int i = 0; i < agents; i++)
			submit(&sent[i], i);
		UNTIL(rig->completed == before + agents);
		for (int i = 0; i < agents; i++)
			assert_int_equal(sent[i].request.code, DB_OK);
		free(sent);
	}
}

static void
test_stored_once(void **state)
{
	bus_open();
	send_all(10, 3);
	consumer_open();
	UNTIL(stored(10) == 30);
	send_all(10, 2);
	UNTIL(stored(10) == 50);
	for (int i = 0; i < 10; i++)
		assert_int_equal(database.stored[i], 5);
	assert_int_equal(database.next[0] + database.next[1] + database.next[2], 50);
	assert_int_equal(database.fenced, 0);
}

/* Retries of the producer, with answers lost on the way. */
static void
test_produced_once_over_errors(void **state)
{
	bus_open();
	rd_kafka_mock_push_request_errors(
	    rig->cluster, PRODUCE, 3, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
	    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
	send_all(10, 2);
	consumer_open();
	UNTIL(stored(10) == 20);
	assert_int_equal(database.next[0] + database.next[1] + database.next[2], 20);
}

static void
test_starts_where_the_database_is(void **state)
{
	bus_open();
	send_all(1, 10);
	for (int i = 0; i < PARTITIONS; i++)
		database.next[i] = 4;
	consumer_open();
	UNTIL(stored(1) == 6);
	assert_int_equal(database.fenced, 0);
}

/* No record is passed over while its letter cannot be written. */
static void
test_waits_until_the_letter_is_written(void **state)
{
	rig->settings.timeout_ms = 1000;
	bus_open();
	database.answers[0] = (struct answer){DB_BAD_INPUT, false};
	database.answer_count = 1;
	send_all(1, 2);
	rd_kafka_mock_topic_set_error(rig->cluster, KAFKA_DEAD_LETTER,
	                              RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
	consumer_open();
	UNTIL(database.answer_count == 0);
	for (int i = 0; i < 25; i++)
		turn();
	assert_int_equal(stored(1) + database.refused + database.passed, 0);
}

static void
test_tries_again_while_the_database_is_away(void **state)
{
	for (int i = 0; i < 4; i++)
		database.answers[i] = (struct answer){i == 2 ? DB_QUOTA : DB_UNAVAILABLE, false};
	database.answer_count = 4;
	send_all(1, 3);
	UNTIL(stored(1) == 3);
	assert_int_equal(database.refused + database.passed, 0);
	assert_int_equal(metric_get(&stats[STAT_BUS_HELD]), 1);
}

/* One bad record in the middle: those around it are stored, it is a letter, and nothing is passed over. */
static void
test_refused_becomes_a_letter(void **state)
{
	static const struct
	{
		enum db_code code;
		enum stat counter;
		bool table;
	} cases[] = {
	    {DB_UNAUTHENTICATED, STAT_DEAD_IDENTITY, true}, {DB_NOT_PERMITTED, STAT_DEAD_TENANT, true},
	    {DB_BAD_INPUT, STAT_DEAD_BAD_BATCH, true},      {DB_CONFLICT, STAT_DEAD_OLD_EPOCH, false},
	    {DB_NOT_FOUND, STAT_DEAD_NOT_FOUND, true},
	};
	int expected = 0, tabled = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		database.answers[0] = (struct answer){DB_OK, false};
		database.answers[1] = (struct answer){cases[i].code, false};
		database.answer_count = 2;
		send_all(1, 4);
		expected += 3;
		tabled += cases[i].table;
		UNTIL(stored(1) == expected && metric_get(&stats[cases[i].counter]) == 1);
		assert_int_equal(database.refused, tabled);
		assert_int_equal(database.refused + database.passed, (int) i + 1);
	}
}

static void
test_poison_does_not_block_for_ever(void **state)
{
	for (int i = 0; i < 5; i++)
		database.answers[i] = (struct answer){DB_UNAVAILABLE, true};
	database.answer_count = 5;
	send_all(1, 2);
	UNTIL(stored(1) == 1 && database.refused == 1);
	assert_int_equal(metric_get(&stats[STAT_DEAD_FAULT]), 1);
}

/* What the table does not take is passed, because the topic has it. */
static void
test_a_letter_the_table_refuses(void **state)
{
	database.answers[0] = (struct answer){DB_BAD_INPUT, false};
	database.answers[1] = (struct answer){DB_BAD_INPUT, false};
	database.answer_count = 2;
	send_all(1, 2);
	UNTIL(stored(1) == 1 && database.passed == 1);
	assert_int_equal(database.refused, 0);
}

static void
test_passed_over(void **state)
{
	send_all(1, 1);
	UNTIL(stored(1) == 1);
	for (int i = 0; i < PARTITIONS; i++)
		database.fence[i]++; /* another one claimed them */
	send_all(1, 1);
	UNTIL(database.fenced == 1);
	assert_int_equal(stored(1), 1);
	UNTIL(stored(1) == 2); /* claimed again, for the group gave them to nobody else */
	assert_int_equal(metric_get(&stats[STAT_BUS_FENCED]), 1);
}

/* These share a consumer that runs: to join a group takes seconds. */
static int
running_open(void **state)
{
	rig_open(state);
	bus_open();
	consumer_open();
	UNTIL(metric_get(&stats[STAT_BUS_REBALANCES]) == 1);
	return 0;
}

static int
running_next(void **state)
{
	memset(database.stored, 0, sizeof(database.stored));
	database.refused = database.passed = database.fenced = 0;
	for (int i = STAT_BUS_FAILED_TIMEOUT; i < STAT_BUS_READY; i++)
		metric_set(&stats[i], 0);
	return 0;
}

#define BUS_TEST(name)     cmocka_unit_test_setup_teardown(name, rig_open, rig_close)
#define RUNNING_TEST(name) cmocka_unit_test_setup(name, running_next)

int
main(void)
{
	const struct CMUnitTest own[] = {
	    BUS_TEST(test_taken),
	    BUS_TEST(test_refused_before_the_bus),
	    BUS_TEST(test_not_ready_without_agreement),
	    BUS_TEST(test_waits_for_the_broker),
	    BUS_TEST(test_given_back_in_the_end),
	    BUS_TEST(test_a_record_too_large_is_the_agents_fault),
	    BUS_TEST(test_abort_answers),
	    BUS_TEST(test_stored_once),
	    BUS_TEST(test_produced_once_over_errors),
	    BUS_TEST(test_starts_where_the_database_is),
	    BUS_TEST(test_waits_until_the_letter_is_written),
	};
	const struct CMUnitTest running[] = {
	    RUNNING_TEST(test_tries_again_while_the_database_is_away),
	    RUNNING_TEST(test_refused_becomes_a_letter),
	    RUNNING_TEST(test_poison_does_not_block_for_ever),
	    RUNNING_TEST(test_a_letter_the_table_refuses),
	    RUNNING_TEST(test_passed_over),
	};

	return cmocka_run_group_tests_name("bus", own, NULL, NULL) +
	       cmocka_run_group_tests_name("bus, consumer", running, running_open, rig_close);
}
