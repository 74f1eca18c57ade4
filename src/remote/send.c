/* SPDX-License-Identifier: PostgreSQL
 *
 * send.c -- the worker that sends samples of probes to the targets operators have set.
 *
 * Each target is a queue of its own: a position in the ledger that moves when the receiver has acknowledged, in the transaction
 * that counts what became of the samples. At most one request of a target is under way, all of them in one curl multi handle,
 * so a target that hangs delays nobody else. No transaction is open while a request is.
 *
 *            samples            2xx: sent, 4xx: rejected; position moves
 *   IDLE ------------> FLIGHT --------------------------------------------> IDLE
 *                         |  network, 429, 5xx, anything else: position stays
 *                         +----------> RETRYING (until retry_at) ---------> IDLE
 *
 * Delivery is at least once: killed after the receiver has taken a request and before that is committed, the worker
 * sends the same samples again, which the receiver takes for the same. RETRYING is in the row, so a restart waits as well.
 *
 * curl resolves names in threads of its own. Signals are blocked while it may start one, so that they are only ever handled
 * by the thread that PostgreSQL knows.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "core/clock.h"
#include "core/guc.h"
#include "core/spi.h"
#include "core/uuid7.h"
#include "core/worker.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "remote/batch.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "tenant/context.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define IDLE_MS      2000 /* without any target */
#define POLL_MS      200  /* at most, before the server's signals are looked at */
#define RETRY_MIN_MS 500
#define CONNECT_MS   10000
#define REQUEST_MS   30000
#define AFTER_MAX_S  3600 /* of Retry-After */
#define REPLY_MAX    200  /* bytes of an answer that are read */
#define SECRET_MAX   4096
#define FLIGHTS_MAX  64 /* requests under way; further targets wait for a place */

typedef enum Outcome
{
	OUTCOME_SENT,
	OUTCOME_REJECTED, /* the receiver will never take it */
	OUTCOME_RETRY
} Outcome;

/* A request under way. */
typedef struct Flight
{
	pg_uuid_t tenant, target;
	char name[64];
	int32 failures; /* before this attempt */
	RemoteBatch batch;
	CURL *easy; /* NULL: the place is free */
	struct curl_slist *headers;
	char reply[REPLY_MAX + 1];
	size_t reply_len;
	char error[CURL_ERROR_SIZE];
} Flight;

/* A row of remote_target with its queue. */
typedef struct Target
{
	pg_uuid_t id;
	char *name, *url, *secret_file, *user_name, *ca_file;
	int32 batch_samples;
	TimestampTz expired_before;
	RemotePosition position;
	int32 failures;
} Target;

static CURLM *multi = NULL;
static Flight flights[FLIGHTS_MAX];
static int flying = 0;
static TimestampTz looked_at = 0;

static PctlPlan senders_read = {
    "SELECT sending_tenant FROM probectl_internal.remote_sender", 0, {0}};
static PctlPlan targets_read = {
    "SELECT t.target_id, t.name, t.url, t.secret_file, t.user_name, t.ca_file, t.batch_samples,"
    "       $2 - t.backlog, q.next_xid, q.next_row, q.failures"
    "  FROM probectl.remote_target t JOIN probectl.remote_queue q"
    "    ON q.tenant_id = t.tenant_id AND q.target_id = t.target_id"
    "  JOIN probectl.tenant n ON n.tenant_id = t.tenant_id AND n.status = 'active'"
    " WHERE t.tenant_id = $1 AND t.enabled AND q.retry_at <= $2 ORDER BY t.target_id",
    2,
    {UUIDOID, TIMESTAMPTZOID}};
static PctlPlan queue_move = {
    "UPDATE probectl.remote_queue SET next_xid = $3, next_row = $4, sent = sent + $5, rejected = "
    "rejected + $6, expired = expired + $7, unregistered = unregistered + $8, requests = requests "
    "+ $9, failures = 0, retry_at = '-infinity', last_status = coalesce($10, last_status),"
    " last_error = coalesce($11, last_error), last_sent_at = coalesce($12, last_sent_at),"
    " behind_since = $13 WHERE tenant_id = $1 AND target_id = $2",
    13,
    {UUIDOID, UUIDOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT4OID,
     TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
static PctlPlan queue_skip = {
    "UPDATE probectl.remote_queue SET next_xid = $3, next_row = $4, expired = expired + $5,"
    " unregistered = unregistered + $6, behind_since = $7 WHERE tenant_id = $1 AND target_id = $2",
    7,
    {UUIDOID, UUIDOID, INT8OID, INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}};
static PctlPlan queue_retry = {
    "UPDATE probectl.remote_queue SET requests = requests + 1, retries = retries + 1, failures = "
    "failures + 1, retry_at = $3, last_status = $4, last_error = $5, behind_since = $6"
    " WHERE tenant_id = $1 AND target_id = $2",
    6,
    {UUIDOID, UUIDOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TIMESTAMPTZOID}};

/* ---- transactions ---- */

static PctlTrusted trusted;

static void
tenant_begin(const pg_uuid_t *tenant)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pctl_context_bind_tenant(tenant);
	pctl_trusted_begin(&trusted);
	SPI_connect();
}

static void
tenant_end(void)
{
	SPI_finish();
	pctl_trusted_end(&trusted);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* ---- requests ---- */

static Flight *
flight_of(const pg_uuid_t *target)
{
	for (int i = 0; i < FLIGHTS_MAX; i++)
		if (flights[i].easy != NULL && memcmp(&flights[i].target, target, UUID_LEN) == 0)
			return &flights[i];
	return NULL;
}

static Flight *
flight_free_place(void)
{
	for (int i = 0; i < FLIGHTS_MAX; i++)
		if (flights[i].easy == NULL)
			return &flights[i];
	return NULL;
}

static void
flight_end(Flight *flight)
{
	if (flight->easy != NULL)
	{
		(void) curl_multi_remove_handle(multi, flight->easy);
		curl_easy_cleanup(flight->easy);
		flying--;
	}
	curl_slist_free_all(flight->headers);
	free(flight->batch.body);
	memset(flight, 0, sizeof(*flight));
}

/* The beginning of an answer, for the log and the queue's last_error. */
static size_t
reply_take(char *data, size_t size, size_t count, void *arg)
{
	Flight *flight = arg;
	size_t len = Min(size * count, REPLY_MAX - flight->reply_len);

	memcpy(flight->reply + flight->reply_len, data, len);
	flight->reply_len += len;
	return size * count;
}

/* The first line of a file. False with a sentence part in error. */
static bool
secret_read(const char *path, char secret[SECRET_MAX], char *error, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, secret, SECRET_MAX - 1);

	if (len < 0)
		snprintf(error, size, "secret_file cannot be read: %m");
	if (fd >= 0)
		close(fd);
	if (len < 0)
		return false;
	secret[len] = '\0';
	secret[strcspn(secret, "\r\n")] = '\0';
	if (secret[0] == '\0')
		snprintf(error, size, "secret_file is empty");
	return secret[0] != '\0';
}

static bool
header_add(Flight *flight, const char *line)
{
	struct curl_slist *list = curl_slist_append(flight->headers, line);

	if (list != NULL)
		flight->headers = list;
	return list != NULL;
}

/* Token or password. False with a sentence part in flight->error. */
static bool
credential_set(Flight *flight, const Target *target)
{
	char secret[SECRET_MAX], line[SECRET_MAX + 32];
	bool ok = true;

	if (target->secret_file == NULL)
		return true;
	if (!secret_read(target->secret_file, secret, flight->error, sizeof(flight->error)))
		return false;
	if (target->user_name != NULL)
		ok = curl_easy_setopt(flight->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK &&
		     curl_easy_setopt(flight->easy, CURLOPT_USERNAME, target->user_name) == CURLE_OK &&
		     curl_easy_setopt(flight->easy, CURLOPT_PASSWORD, secret) == CURLE_OK;
	else
	{
		snprintf(line, sizeof(line), "Authorization: Bearer %s", secret);
		ok = header_add(flight, line);
	}
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(line, sizeof(line));
	if (!ok)
		snprintf(flight->error, sizeof(flight->error), "out of memory");
	return ok;
}

/* False when curl does not take an option. */
static bool
options_set(Flight *flight, const Target *target)
{
	CURL *easy = flight->easy;
	CURLcode rc = curl_easy_setopt(easy, CURLOPT_URL, target->url);

	rc |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	rc |= curl_easy_setopt(easy, CURLOPT_PROXY, "");
	rc |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	rc |= curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (target->ca_file != NULL)
		rc |= curl_easy_setopt(easy, CURLOPT_CAINFO, target->ca_file);
	rc |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	rc |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_MS);
	rc |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) REQUEST_MS);
	rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) flight->batch.len);
	rc |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, flight->batch.body);
	rc |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, flight->headers);
	rc |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, flight->error);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, reply_take);
	rc |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, flight);
	rc |= curl_easy_setopt(easy, CURLOPT_PRIVATE, flight);
	return rc == CURLE_OK;
}

static void
multi_open(void)
{
	if (multi != NULL)
		return;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (multi = curl_multi_init()) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory for requests")));
}

/* Begins a request. False with a sentence part in flight->error; then it is as if it had been tried. */
static bool
flight_begin(Flight *flight, const Target *target)
{
	static const char *const lines[] = {
	    "Content-Type: application/x-protobuf", "Content-Encoding: snappy",
	    "X-Prometheus-Remote-Write-Version: 0.1.0", "User-Agent: probectl", "Expect:"};
	bool ok = true;

	multi_open();
	flight->easy = curl_easy_init();
	if (flight->easy == NULL)
	{
		snprintf(flight->error, sizeof(flight->error), "out of memory");
		return false;
	}
	flying++;
	for (size_t i = 0; ok && i < lengthof(lines); i++)
		ok = header_add(flight, lines[i]);
	if (!credential_set(flight, target))
		return false;
	if (ok && options_set(flight, target) && curl_multi_add_handle(multi, flight->easy) == CURLM_OK)
		return true;
	snprintf(flight->error, sizeof(flight->error), "the request could not be made");
	return false;
}

/* ---- outcomes ---- */

/* An error in one line of visible characters. */
static char *
error_line(const Flight *flight, long status)
{
	const char *text = status > 0 ? flight->reply : flight->error;
	char *line = psprintf("%.*s", (int) strcspn(text, "\r\n"), text);

	for (char *c = line; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (status > 0)
		return psprintf("%ld%s%s", status, line[0] != '\0' ? " " : "", line);
	return line[0] != '\0' ? line : pstrdup("no answer");
}

static Datum
time_or_null(TimestampTz at, char *null)
{
	*null = at == DT_NOEND ? 'n' : ' ';
	return TimestampTzGetDatum(at);
}

static char *
tenant_text(const Flight *flight)
{
	char *text = palloc(PCTL_UUID_TEXT_LEN + 1);

	pctl_uuid_text(&flight->tenant, text);
	return text;
}

/* The receiver has it, or will never take it: the position moves. */
static void
flight_done(const Flight *flight, Outcome outcome, long status)
{
	const RemoteBatch *batch = &flight->batch;
	bool sent = outcome == OUTCOME_SENT;
	char *error = sent ? pstrdup("") : error_line(flight, status);
	char nulls[14] = "             ";
	Datum args[13] = {UUIDPGetDatum(&flight->tenant),
	                  UUIDPGetDatum(&flight->target),
	                  Int64GetDatum(batch->next.xid),
	                  Int64GetDatum(batch->next.row),
	                  Int64GetDatum(sent ? batch->samples : 0),
	                  Int64GetDatum(sent ? 0 : batch->samples),
	                  Int64GetDatum(batch->expired),
	                  Int64GetDatum(batch->unregistered),
	                  Int64GetDatum(1),
	                  Int32GetDatum((int32) status),
	                  CStringGetTextDatum(error),
	                  TimestampTzGetDatum(pctl_now())};

	nulls[11] = sent ? ' ' : 'n';
	args[12] = time_or_null(batch->behind, &nulls[12]);
	pctl_plan_run(&queue_move, args, nulls, false, 0);
	if (!sent)
		ereport(LOG, (errmsg("remote write: target \"%s\" of tenant %s refused " INT64_FORMAT
		                     " samples, which are dropped: %s",
		                     flight->name, tenant_text(flight), batch->samples, error)));
	else if (flight->failures > 0)
		ereport(LOG, (errmsg("remote write: target \"%s\" of tenant %s takes samples again",
		                     flight->name, tenant_text(flight))));
}

/* Pause before the next attempt in milliseconds: doubling, a quarter of it by chance, what the receiver asks for at least. */
static int64
retry_pause(const Flight *flight)
{
	int64 pause = (int64) RETRY_MIN_MS << Min(flight->failures, 20);
	curl_off_t after = 0;

	pause = Min(pause, pctl_remote_retry_max * INT64CONST(1000));
	pause = pause - pause / 4 +
	        (int64) pg_prng_uint64_range(&pg_global_prng_state, 0, (uint64) pause / 4);
	if (flight->easy != NULL &&
	    curl_easy_getinfo(flight->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
		pause = Max(pause, Min((int64) after, AFTER_MAX_S) * 1000);
	return pause;
}

/* It may work later: everything stays as it is but the time of the next attempt. */
static void
flight_retry(const Flight *flight, long status)
{
	char *error = error_line(flight, status);
	char nulls[7] = "      ";
	Datum args[6] = {
	    UUIDPGetDatum(&flight->tenant),
	    UUIDPGetDatum(&flight->target),
	    TimestampTzGetDatum(TimestampTzPlusMilliseconds(pctl_now(), retry_pause(flight))),
	    Int32GetDatum((int32) status),
	    CStringGetTextDatum(error),
	    TimestampTzGetDatum(flight->batch.oldest)};

	nulls[3] = status > 0 ? ' ' : 'n';
	pctl_plan_run(&queue_retry, args, nulls, false, 0);
	if (flight->failures == 0)
		ereport(LOG, (errmsg("remote write: target \"%s\" of tenant %s does not take samples, "
		                     "trying again: %s",
		                     flight->name, tenant_text(flight), error)));
}

/* By class: what a receiver calls the sender's fault is not sent again, save that it asks to be slower. */
static Outcome
outcome_of(CURLcode code, long status)
{
	if (code != CURLE_OK)
		return OUTCOME_RETRY;
	if (status >= 200 && status < 300)
		return OUTCOME_SENT;
	return status >= 400 && status < 500 && status != 429 ? OUTCOME_REJECTED : OUTCOME_RETRY;
}

static void
flight_landed(Flight *flight, CURLcode code)
{
	Outcome outcome;
	long status = 0;

	(void) curl_easy_getinfo(flight->easy, CURLINFO_RESPONSE_CODE, &status);
	if (code != CURLE_OK)
	{
		status = 0;
		if (flight->error[0] == '\0')
			strlcpy(flight->error, curl_easy_strerror(code), sizeof(flight->error));
	}
	outcome = outcome_of(code, status);
	tenant_begin(&flight->tenant);
	if (outcome == OUTCOME_RETRY)
		flight_retry(flight, status);
	else
		flight_done(flight, outcome, status);
	tenant_end();
	flight_end(flight);
}

/* Moves what is under way; true when something landed. */
static bool
flights_move(void)
{
	bool landed = false;
	CURLMsg *message;
	int running, left;

	if (flying == 0)
		return false;
	sigprocmask(SIG_SETMASK, &BlockSig, NULL);
	(void) curl_multi_perform(multi, &running);
	sigprocmask(SIG_SETMASK, &UnBlockSig, NULL);
	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		Flight *flight = NULL;
		CURLcode code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void) curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &flight);
		flight_landed(flight, code);
		landed = true;
	}
	return landed;
}

/* ---- queues ---- */

static char *
text_or_null(uint64 row, int column)
{
	bool null;
	Datum value = pctl_spi_value(row, column, &null);

	return null ? NULL : TextDatumGetCString(value);
}

static Target *
targets_load(const pg_uuid_t *tenant, TimestampTz now, uint64 *count)
{
	Datum args[2] = {UUIDPGetDatum(tenant), TimestampTzGetDatum(now)};
	Target *targets;

	*count = pctl_plan_run(&targets_read, args, NULL, true, 0);
	targets = palloc(Max(*count, 1) * sizeof(*targets));
	for (uint64 i = 0; i < *count; i++)
		targets[i] = (Target){.id = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL)),
		                      .name = text_or_null(i, 2),
		                      .url = text_or_null(i, 3),
		                      .secret_file = text_or_null(i, 4),
		                      .user_name = text_or_null(i, 5),
		                      .ca_file = text_or_null(i, 6),
		                      .batch_samples = DatumGetInt32(pctl_spi_value(i, 7, NULL)),
		                      .expired_before = DatumGetTimestampTz(pctl_spi_value(i, 8, NULL)),
		                      .position = {.xid = DatumGetInt64(pctl_spi_value(i, 9, NULL)),
		                                   .row = DatumGetInt64(pctl_spi_value(i, 10, NULL))},
		                      .failures = DatumGetInt32(pctl_spi_value(i, 11, NULL))};
	return targets;
}

/* Past what is not going to be sent. */
static void
position_skip(const pg_uuid_t *tenant, const Target *target, RemotePosition to, int64 expired,
              int64 unregistered, TimestampTz behind)
{
	char nulls[8] = "       ";
	Datum args[7] = {UUIDPGetDatum(tenant),      UUIDPGetDatum(&target->id),
	                 Int64GetDatum(to.xid),      Int64GetDatum(to.row),
	                 Int64GetDatum(expired),     Int64GetDatum(unregistered),
	                 TimestampTzGetDatum(behind)};

	args[6] = time_or_null(behind, &nulls[6]);
	pctl_plan_run(&queue_skip, args, nulls, false, 0);
}

/* Sends what is next for a target, if there is something. True when the queue moved without a request: there may be more. */
static bool
target_serve(const pg_uuid_t *tenant, const Target *target)
{
	Flight *flight = flight_free_place();
	RemoteBatch batch;

	if (flight == NULL || flight_of(&target->id) != NULL)
		return false;
	pctl_remote_batch(&batch, tenant, target->position, target->batch_samples,
	                  target->expired_before);
	if (batch.leading_expired > 0)
		ereport(LOG, (errmsg("remote write: " INT64_FORMAT " samples for target \"%s\" waited for "
		                     "longer than its backlog and are dropped",
		                     batch.leading_expired, target->name)));
	if (batch.body == NULL)
	{
		bool moved = batch.next.xid != target->position.xid ||
		             batch.next.row != target->position.row;

		if (moved)
			position_skip(tenant, target, batch.next, batch.expired, batch.unregistered,
			              batch.behind);
		return moved && batch.behind != DT_NOEND;
	}
	if (batch.leading_expired > 0)
	{
		position_skip(tenant, target, batch.past_expired, batch.leading_expired, 0, batch.oldest);
		batch.expired -= batch.leading_expired;
	}
	*flight = (Flight){
	    .tenant = *tenant, .target = target->id, .failures = target->failures, .batch = batch};
	strlcpy(flight->name, target->name, sizeof(flight->name));
	if (!flight_begin(flight, target))
	{
		flight_retry(flight, 0);
		flight_end(flight);
	}
	return false;
}

static bool
tenant_serve(const pg_uuid_t *tenant)
{
	bool more = false;
	Target *targets;
	uint64 count;

	tenant_begin(tenant);
	targets = targets_load(tenant, pctl_now(), &count);
	for (uint64 i = 0; i < count; i++)
		more |= target_serve(tenant, &targets[i]);
	tenant_end();
	return more;
}

/* Tenants that have targets, in the given context. */
static pg_uuid_t *
senders_load(MemoryContext context, uint64 *count)
{
	pg_uuid_t *tenants;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	*count = pctl_plan_run(&senders_read, NULL, NULL, true, 0);
	tenants = MemoryContextAlloc(context, Max(*count, 1) * sizeof(*tenants));
	for (uint64 i = 0; i < *count; i++)
		tenants[i] = *DatumGetUUIDP(pctl_spi_value(i, 1, NULL));
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return tenants;
}

/* One pass of the remote worker. */
long
pctl_remote_pass(void)
{
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext context;
	pg_uuid_t *tenants;
	bool more = false;
	uint64 count;

	if (flying > 0)
	{
		(void) curl_multi_poll(multi, NULL, 0, Min(POLL_MS, pctl_remote_interval), NULL);
		if (!PostmasterIsAlive())
			proc_exit(1);
		/* A target that has landed may have more; the others are looked at in their time. */
		if (!flights_move() && now < TimestampTzPlusMilliseconds(looked_at, pctl_remote_interval))
			return 1;
	}
	pgstat_report_activity(STATE_RUNNING, "sending samples");
	looked_at = now;
	context = AllocSetContextCreate(TopMemoryContext, "probectl remote pass",
	                                ALLOCSET_DEFAULT_SIZES);
	tenants = senders_load(context, &count);
	for (uint64 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		more |= tenant_serve(&tenants[i]);
	}
	MemoryContextDelete(context);
	(void) flights_move();
	if (more || flying > 0)
		return 1;
	return count > 0 ? pctl_remote_interval : IDLE_MS;
}
