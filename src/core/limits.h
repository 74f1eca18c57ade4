/* SPDX-License-Identifier: PostgreSQL
 *
 * limits.h -- every ceiling on input that reaches the server, in one place.
 *
 * Wire ceilings match docs/81-contracts.md; a producer that stays inside the contract never
 * meets them.
 */
#ifndef PCTL_LIMITS_H
#define PCTL_LIMITS_H

#define PCTL_BATCH_BYTES_MAX    (4 * 1024 * 1024) /* one gRPC message */
#define PCTL_BATCH_RECORDS_MAX  10000
#define PCTL_RECORD_BYTES_MAX   (64 * 1024)
#define PCTL_RESULT_METRICS_MAX 128
#define PCTL_RESULT_ATTRS_MAX   128
#define PCTL_KEY_BYTES_MAX      128   /* name of a metric or an attribute */
#define PCTL_VALUE_BYTES_MAX    16384 /* attribute value, error message */
#define PCTL_TARGET_BYTES_MAX   1024
#define PCTL_DEAD_LETTER_BYTES  4096 /* of a bad record kept for the operator */
#define PCTL_SPARK_POINTS       30
#define PCTL_FUTURE_SECONDS_MAX 300 /* a clock further ahead is clamped */

/* Remote write (remote/). A sender cuts what it has into requests of some thousand samples. */
#define PCTL_REMOTE_BYTES_MAX       (16 * 1024 * 1024) /* of a request, decompressed */
#define PCTL_REMOTE_SAMPLES_MAX     500000
#define PCTL_REMOTE_LABELS_MAX      64  /* of a series, with its name */
#define PCTL_REMOTE_NAME_BYTES_MAX  200 /* name of a series: metric_series has no room for more */
#define PCTL_REMOTE_LABEL_BYTES_MAX 2048

#endif
