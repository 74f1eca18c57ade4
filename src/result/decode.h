/* SPDX-License-Identifier: PostgreSQL
 *
 * decode.h -- probectl.result.v1.Result, read without copying. Pure C.
 *
 * Everything a stored row relies on is checked here: text is UTF-8 without U+0000, identifiers are
 * UUIDs, numbers are finite and in range, counts are under their ceilings. Identity fields are
 * not even kept: who sent a record is known from its certificate.
 */
#ifndef PCTL_RESULT_DECODE_H
#define PCTL_RESULT_DECODE_H

#include "core/limits.h"
#include "core/pb.h"

typedef struct ResultMetric
{
	PbSlice name;
	double value;
} ResultMetric;

typedef struct ResultAttribute
{
	PbSlice name;
	PbSlice value;
} ResultAttribute;

typedef struct ResultRecord
{
	PbSlice canary_type; /* [a-z0-9_.-]{1,32} */
	PbSlice server_address;
	uint32_t server_port; /* 0 .. 65535 */
	PbSlice network_transport;
	PbSlice network_protocol_name;
	bool success;
	PbSlice error_message;
	PbSlice error_type;
	int64_t start_unix_nano; /* 0: not given */
	int64_t duration_nano;   /* never negative */
	bool has_result_id, has_test_id;
	uint8_t result_id[16];
	uint8_t test_id[16];
	uint32_t metric_count;
	ResultMetric metrics[PCTL_RESULT_METRICS_MAX];
	uint32_t attribute_count;
	uint32_t identity_attributes; /* named an identity: dropped, counted */
	ResultAttribute attributes[PCTL_RESULT_ATTRS_MAX];
} ResultRecord;

/* NULL when the record is good, else the reason in one word, as dead_letter.reason holds it. */
const char *result_decode(ResultRecord *out, PbSlice record);

/* The value of a metric; false when the record has none of that name. */
bool result_metric_find(const ResultRecord *record, const char *name, double *value);

/* True for attribute keys that name a tenant or an agent. */
bool result_attribute_is_identity(PbSlice name);

#endif
