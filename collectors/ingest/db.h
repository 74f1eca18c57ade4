/* SPDX-License-Identifier: PostgreSQL
 *
 * db.h -- what the ingest process asks of the database, and how it is answered.
 *
 * A request is a list of items executed strictly in order, each its own transaction
 * BEGIN; enter_agent; statement; COMMIT. An item that fails stops the request: the items
 * behind it are not executed. That is what keeps the high-water mark of a producer honest:
 * were batch k+1 committed after batch k failed, k would look like a duplicate for ever.
 * An item counts as done only when the result of its COMMIT arrived.
 *
 * db_submit may be called by any thread and takes the request over until the complete
 * callback, which runs on the loop's thread.
 */
#ifndef PCTL_INGEST_DB_H
#define PCTL_INGEST_DB_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>
#include <libpq-fe.h>

#define DB_ITEMS_MAX  4
#define DB_PARAMS_MAX 6

enum db_statement
{
	DB_ENTER_ONLY,   /* the identity check alone */
	DB_INGEST,       /* plane text, batch bytea */
	DB_REGISTER,     /* hostname, version, capabilities text[], labels jsonb */
	DB_HEARTBEAT,    /* status jsonb */
	DB_TESTS,        /* known revision; answers in binary */
	DB_MEET,         /* known revision, report jsonb, observed address; answers in binary */
	DB_ROTATE_START, /* serial */
	DB_ROTATE,       /* serial, csr, challenge, proof bytea */
	/* The bus; these do not enter as an agent. */
	DB_REFUSED,    /* tenant, agent, serial, plane, batch bytea, reason */
	DB_BUS_LAYOUT, /* cluster, partitions, buckets */
	DB_BUS_CLAIM,  /* cluster, topic, partition */
	DB_BUS_PASS,   /* nothing: only db_item.place is moved */
	DB_GROUP, /* tenant, agents text[], serials text[], planes text[], batches bytea[]: group.h */
	DB_STATEMENTS,
};

/* Outcome of a request. The PCnnn codes of docs/81-contracts.md section 3; everything else
 * that goes wrong is DB_UNAVAILABLE. */
enum db_code
{
	DB_OK,
	DB_UNAUTHENTICATED, /* PC401 */
	DB_NOT_PERMITTED,   /* PC403 */
	DB_NOT_FOUND,       /* PC404 */
	DB_CONFLICT,        /* PC409 */
	DB_BAD_INPUT,       /* PC422 */
	DB_QUOTA,           /* PC429 */
	DB_FENCED,          /* PC412: another consumer has the partition */
	DB_UNAVAILABLE,     /* lost, down, or a fault of ours: try again */
	DB_CODES,
};

/* Where a record of the bus stood: moved from `from` to `to` in the transaction of its item. */
struct db_place
{
	const char *cluster, *topic;
	int partition;
	int64_t fence, from, to;
};

/* What an acknowledgement says of a batch. */
struct db_ack
{
	uint64_t epoch, committed_seq, stored, duplicate, dead_lettered;
};

struct db_item
{
	enum db_statement statement;
	const char *who[3];           /* tenant, agent, serial; the first NULL: those of the request */
	const struct db_place *place; /* NULL: not from the bus */
	struct db_ack ack;            /* of a batch that the bus took: there is no result then */
	const char *values[DB_PARAMS_MAX]; /* text, or bytes for a bytea parameter */
	int lengths[DB_PARAMS_MAX];        /* of bytes; text is NUL-terminated */
	PGresult *result;                  /* one row; PQclear is the owner's */
};

struct db_request
{
	struct db_request *next;
	const char *tenant, *agent, *serial; /* who enters; valid until complete */
	bool bulk; /* batches: queued apart, so that they do not delay the small calls */
	int item_count;
	struct db_item items[DB_ITEMS_MAX];

	/* Filled before complete is called. */
	int done;          /* items committed, from the front */
	enum db_code code; /* of items[done] when done < item_count, else DB_OK */
	bool fault;        /* DB_UNAVAILABLE, but the same item will fail the same way again */
	char message[256]; /* may be shown to the producer */

	void (*complete)(struct db_request *request);
	void *owner;

	/* Private to db.c, group.c and line.c. */
	int step;
	bool failed;
	bool refused; /* the server said why, as opposed to being lost */
	bool alone;   /* was in a group that was refused */
	bool small;   /* it, or the group, came from the queue of small batches */
	struct group *group;
	int64_t queued_at, sent_at; /* monotonic ms */
};

struct db_settings
{
	const char *conninfo;
	int connections;
	void (*notified)(const char *payload); /* NULL: notifications may have been missed */
};

struct db;

struct db *db_start(struct event_base *base, const struct db_settings *settings);

void db_submit(struct db *db, struct db_request *request);

/* Connections that can take requests now. Any thread. */
int db_ready(struct db *db);

/* Answers everything that waits or is in flight with DB_UNAVAILABLE and takes no more. */
void db_abort(struct db *db);

void db_free(struct db *db);

/* Whether libpq understands the string; a sentence in err otherwise. */
bool db_conninfo_check(const char *conninfo, char *err, size_t errlen);

/* One blocking round trip, for --check-config: NULL, or why the database cannot be used. */
const char *db_probe(const char *conninfo, char *err, size_t errlen);

#endif
