/* SPDX-License-Identifier: PostgreSQL
 *
 * stats.h -- what a round of probes adds up to.
 *
 * One statistics core for every canary that sends numbered probes, so that loss, spread
 * and jitter mean the same in each of them. It does no I/O and reads no clock: a round is
 * told what was sent and what came back, in the order in which it came back.
 */
#ifndef PCTL_AGENT_STATS_H
#define PCTL_AGENT_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/result.h"

#define STATS_PROBES_MAX 1024

/* Names of the metrics of one measured quantity, string literals. */
struct stats_names
{
	const char *min, *avg, *max, *stddev, *median;
};

extern const struct stats_names stats_rtt;     /* rtt.min.ms ... */
extern const struct stats_names stats_connect; /* connect.min.ms ... */

struct stats
{
	uint32_t sent;
	uint32_t received; /* distinct probes that were answered */
	uint32_t duplicates;
	uint32_t reordered; /* answered after a later probe was */
	double min, max;    /* milliseconds, like all of the below */
	double mean, m2;    /* Welford: running mean and sum of squared distances from it */
	double last;        /* previous answer, for the jitter */
	double jitter_sum;  /* of |difference| of consecutive answers */
	uint32_t highest;   /* highest sequence number answered */
	bool seen[STATS_PROBES_MAX];
	float ms[STATS_PROBES_MAX]; /* of the answers, for the median: 24 bits hold 1 us in 16 s */
};

void stats_init(struct stats *stats);
void stats_sent(struct stats *stats);

/* Probe seq (from 0, below STATS_PROBES_MAX) was answered after ms. False when it had been
 * answered before: a duplicate, which changes no time. */
bool stats_received(struct stats *stats, uint32_t seq, double ms);

double stats_loss(const struct stats *stats);   /* 0..1, four decimals; 0 when nothing was sent */
double stats_stddev(const struct stats *stats); /* population, three decimals */
double stats_median(const struct stats *stats); /* three decimals; the mean of the middle two */
double stats_jitter(const struct stats *stats); /* three decimals; 0 with fewer than two answers */

/* Adds loss.ratio, packets.sent and packets.received, and, where there was an answer, the
 * times under the given names and jitter.ms. */
void stats_emit(const struct stats *stats, const struct stats_names *names, struct result *result);

/* As above, and packets.duplicates and packets.reordered. */
void stats_emit_packets(const struct stats *stats, const struct stats_names *names,
                        struct result *result);

double stats_round(double value, int decimals);

#endif
