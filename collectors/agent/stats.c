/* SPDX-License-Identifier: PostgreSQL
 *
 * stats.c -- loss, spread and jitter of a round of probes.
 *
 * The variance is computed by Welford's recurrence: sums of squares lose every digit that
 * matters when round-trip times are large and close together (a satellite link).
 * The deviation is that of the population, for a round is all there is, not a sample of it.
 */
#include "agent/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct stats_names stats_rtt = {"rtt.min.ms", "rtt.avg.ms", "rtt.max.ms", "rtt.stddev.ms",
                                      "rtt.median.ms"};
const struct stats_names stats_connect = {"connect.min.ms", "connect.avg.ms", "connect.max.ms",
                                          "connect.stddev.ms", "connect.median.ms"};

void
stats_init(struct stats *stats)
{
	memset(stats, 0, sizeof(*stats));
}

void
stats_sent(struct stats *stats)
{
	stats->sent++;
}

bool
stats_received(struct stats *stats, uint32_t seq, double ms)
{
	double delta;

	if (seq >= STATS_PROBES_MAX)
		return false;
	if (stats->seen[seq])
	{
		stats->duplicates++;
		return false;
	}
	stats->seen[seq] = true;
	if (stats->received == 0)
		stats->min = stats->max = ms;
	else
	{
		stats->min = fmin(stats->min, ms);
		stats->max = fmax(stats->max, ms);
		stats->jitter_sum += fabs(ms - stats->last);
		if (seq < stats->highest)
			stats->reordered++;
	}
	if (seq > stats->highest)
		stats->highest = seq;
	stats->ms[stats->received++] = (float) ms;
	delta = ms - stats->mean;
	stats->mean += delta / stats->received;
	stats->m2 += delta * (ms - stats->mean);
	stats->last = ms;
	return true;
}

/* Half away from zero, as numeric does in the database. */
double
stats_round(double value, int decimals)
{
	double scale = pow(10, decimals);

	return round(value * scale) / scale;
}

double
stats_loss(const struct stats *stats)
{
	if (stats->sent == 0)
		return 0;
	return stats_round(1.0 - (double) stats->received / stats->sent, 4);
}

double
stats_stddev(const struct stats *stats)
{
	if (stats->received == 0)
		return 0;
	return stats_round(sqrt(fmax(stats->m2, 0) / stats->received), 3);
}

static int
by_value(const void *a, const void *b)
{
	float left = *(const float *) a, right = *(const float *) b;

	return (left > right) - (left < right);
}

double
stats_median(const struct stats *stats)
{
	float sorted[STATS_PROBES_MAX];
	uint32_t n = stats->received;

	if (n == 0)
		return 0;
	memcpy(sorted, stats->ms, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	return stats_round(((double) sorted[(n - 1) / 2] + sorted[n / 2]) / 2, 3);
}

double
stats_jitter(const struct stats *stats)
{
	if (stats->received < 2)
		return 0;
	return stats_round(stats->jitter_sum / (stats->received - 1), 3);
}

void
stats_emit(const struct stats *stats, const struct stats_names *names, struct result *result)
{
	result_metric(result, "loss.ratio", stats_loss(stats));
	result_metric(result, "packets.sent", stats->sent);
	result_metric(result, "packets.received", stats->received);
	if (stats->received == 0)
		return;
	result_metric(result, names->min, stats_round(stats->min, 3));
	result_metric(result, names->avg, stats_round(stats->mean, 3));
	result_metric(result, names->max, stats_round(stats->max, 3));
	result_metric(result, names->stddev, stats_stddev(stats));
	result_metric(result, names->median, stats_median(stats));
	result_metric(result, "jitter.ms", stats_jitter(stats));
}

void
stats_emit_packets(const struct stats *stats, const struct stats_names *names,
                   struct result *result)
{
	stats_emit(stats, names, result);
	result_metric(result, "packets.duplicates", stats->duplicates);
	result_metric(result, "packets.reordered", stats->reordered);
}
