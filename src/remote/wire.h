/* SPDX-License-Identifier: PostgreSQL
 *
 * wire.h -- prometheus.WriteRequest, read without copying and written. Pure C.
 *
 * The messages are those of remote write 1.0:
 *
 *   WriteRequest  1 TimeSeries, repeated; 3 MetricMetadata, repeated: not kept
 *   TimeSeries    1 Label, repeated; 2 Sample, repeated; 3 Exemplar and 4 Histogram, repeated: counted, not kept
 *   Label         1 name, 2 value
 *   Sample        1 value (double), 2 milliseconds since 1970 (int64)
 *
 * A value is handed on as the bits it came with: a staleness marker is a NaN that only its bits tell from another.
 */
#ifndef PCTL_REMOTE_WIRE_H
#define PCTL_REMOTE_WIRE_H

#include "core/limits.h"
#include "core/pb.h"

typedef struct RemoteSample
{
	int64_t ms; /* since 1970 */
	double value;
} RemoteSample;

typedef struct RemoteLabel
{
	PbSlice name, value;
} RemoteLabel;

/* One TimeSeries. */
typedef struct RemoteSeries
{
	PbSlice bytes; /* the whole message */
	PbSlice
	    labels; /* from its first label to its last, or the whole where something stands between: equal bytes are equal labels */
	uint32_t samples, exemplars, histograms;
	RemoteSample last; /* of the samples: all there is where there is one */
} RemoteSeries;

/* What the labels of a series say. */
typedef struct RemoteLabels
{
	PbSlice name;
	uint32_t count;    /* without the name */
	uint32_t reserved; /* named an identity: left out */
	RemoteLabel label
	    [PCTL_REMOTE_LABELS_MAX]; /* ascending by name; empty values are left out, as they mean no label */
} RemoteLabels;

/* Next TimeSeries of a request, checked down to its samples. False at the end or on an error (then r->bad). */
bool remote_series_next(PbReader *request, RemoteSeries *series);

/* Its samples, in the order they came; out has room for series->samples. Only for one that remote_series_next gave. */
void remote_samples(const RemoteSeries *series, RemoteSample *out);

/* NULL when they are good, else what is wrong in a few words. */
const char *remote_labels(const RemoteSeries *series, RemoteLabels *out);

/* Labels that name who or what a sample is of: that is known from the credential. */
bool remote_label_is_reserved(PbSlice name);

/* Appends a TimeSeries to a request. Labels ascend by name, __name__ among them; samples by time. The writer has room or is
 * full afterwards. scratch: room for one TimeSeries. */
void remote_write_series(PbWriter *request, PbWriter *scratch, const RemoteLabel *labels,
                         uint32_t label_count, const RemoteSample *samples, uint32_t count);

#endif
