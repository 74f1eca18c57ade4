/* SPDX-License-Identifier: PostgreSQL
 *
 * load.h -- producers for a measurement: N agents, each with its own certificate,
 * connection and stream, that deliver batches of results as fast as they are
 * acknowledged, or at a given rate.
 *
 * It is the agent's gRPC client, so what is measured is the whole way. The records are made
 * once; only their identifiers and times are written anew for each batch, so that the
 * producers cost little on the machine they share with what they measure.
 */
#ifndef PCTL_CLI_LOAD_H
#define PCTL_CLI_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_BATCH_RECORDS 100
#define LOAD_WINDOW        4 /* batches unacknowledged, as an agent has it */

struct load_agent
{
	const char *key_file;
	const char *cert_file;
	uint64_t epoch;    /* of its stream; the next run needs a higher one */
	uint64_t acked;    /* out: records acknowledged */
	uint64_t repeated; /* out: records the server had already */
};

struct load_plan
{
	const char *listen; /* HOST:PORT of ingest, numeric */
	const char *ca_file;
	struct load_agent *agents;
	int agent_count;
	int64_t seconds;      /* of sending; what is under way is waited for afterwards */
	uint64_t first_batch; /* its number: different for runs whose results meet in one table */
	int64_t rate;         /* results a second of all agents; 0 = no limit */
	int stride;           /* with a rate: agents from one that sends to the next; 0 = 1 */
	int batch;            /* records, at most and by default LOAD_BATCH_RECORDS */
	/* When the measurement begins, every ten seconds of it, and at its end; may be NULL. */
	void (*watch)(void *arg);
	void *watch_arg;
};

struct load_figures
{
	uint64_t results; /* acknowledged while it was measured */
	double seconds;
	double results_per_s;
	double ack_ms_p50, ack_ms_p95, ack_ms_p99;
	double settled_ack_ms_p95; /* of what came after the first ten seconds; 0 when nothing did */
	size_t record_bytes;
	double cpu_seconds; /* of the producers */
};

/* False with a sentence in err. Blocks; uses an event loop of its own. */
bool load_run(const struct load_plan *plan, struct load_figures *figures, char *err, size_t errlen);

#endif
