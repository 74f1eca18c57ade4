/* SPDX-License-Identifier: PostgreSQL
 *
 * sketch.h -- how values are spread, in bounded space, mergeable: for quantiles over roll-ups. Pure C.
 *
 * Values fall into bins whose bounds grow by the factor gamma, so a bin says its values to within a relative error of
 * (gamma - 1) / (gamma + 1): SKETCH_ERROR at first. When there would be more than SKETCH_BINS_MAX bins, each two neighbours
 * become one and gamma its square, so the error about doubles, for all quantiles alike and never silently:
 * sketch_error() is the bound that holds. (DDSketch, collapsed uniformly.) With 1 % at first, the bins hold values that
 * span a factor of about 24 with 1 %, 600 with 2 %, 360,000 with 4 %.
 */
#ifndef PCTL_METRIC_SKETCH_H
#define PCTL_METRIC_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKETCH_ERROR    0.01
#define SKETCH_BINS_MAX 160
/* collapses, number of bins, and for each bin how far it is from the one before and how many it holds. */
#define SKETCH_BYTES_MAX (1 + 2 + SKETCH_BINS_MAX * (3 + 10))

typedef struct Sketch
{
	uint32_t collapses; /* gamma was squared so often */
	uint32_t bins;
	int32_t key[SKETCH_BINS_MAX]; /* ascending, as the values are */
	uint64_t count[SKETCH_BINS_MAX];
} Sketch;

/* No NaN. What is nearer to 0 than 1e-300 counts as 0, what is infinite as the greatest number. */
void sketch_add(Sketch *sketch, double value, uint64_t count);
void sketch_merge(Sketch *into, const Sketch *from);

uint64_t sketch_count(const Sketch *sketch);

/* Linear between the two nearest ranks, as of samples, each of which is off by sketch_error() of itself at most; q from
 * 0 to 1, of at least one value. */
double sketch_quantile(const Sketch *sketch, double q);
double sketch_error(const Sketch *sketch);

/* Bytes written to out, which has room for SKETCH_BYTES_MAX. */
size_t sketch_encode(uint8_t *out, const Sketch *sketch);
/* False when the bytes are no sketch; then the content is void. */
bool sketch_decode(Sketch *sketch, const void *data, size_t len);

#endif
