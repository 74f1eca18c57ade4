/* SPDX-License-Identifier: PostgreSQL
 *
 * server.h -- the gRPC side as seen from the rest of the process.
 *
 * The server runs on a thread of its own. The functions below may be called from
 * any thread after server_start, and only until server_join.
 */
#ifndef PCTL_INGEST_SERVER_H
#define PCTL_INGEST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus;
struct db;
struct db_request;

struct server_settings
{
	const char *listen;
	const char *cert_file, *key_file, *ca_file;
	int64_t message_bytes, memory_bytes, streams;
	void (*stopped)(void); /* the last call ended after server_stop; any thread */
};

/* Binds the address; serves only after server_run. False with a sentence in err. */
bool server_start(const struct server_settings *settings, char *err, size_t errlen);
void server_run(struct db *db, struct bus *bus); /* bus NULL: batches go to the database */

/* A request was answered. This is db_request.complete. */
void server_mail(struct db_request *request);

/* A notification of the database, "<tenant> <kind>"; NULL: some may have been missed. */
void server_notified(const char *payload);

/* Takes the certificate files anew for the connections to come. False: they are unusable and
 * the old ones stay. */
bool server_reload(char *err, size_t errlen);

/* Stops taking calls, lets the database answer, ends every call; `stopped` follows. */
void server_stop(void);

/* Cancels what is left. */
void server_cancel(void);

void server_join(void);

/* Reads the three files and checks that they belong together; also for --check-config. */
bool server_check_files(const char *cert, const char *key, const char *ca, char *err,
                        size_t errlen);

#endif
