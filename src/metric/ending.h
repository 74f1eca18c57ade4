/* SPDX-License-Identifier: PostgreSQL
 *
 * ending.h -- markers where series end.
 */
#ifndef PCTL_METRIC_ENDING_H
#define PCTL_METRIC_ENDING_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* For series that had ended and have later samples, the last of each at the time given: those whose test and agent are there
 * and active go on, the others end again. Inside SPI, trusted. */
void metric_ending_ask(const pg_uuid_t *tenant, TimestampTz now, Datum *series, Datum *last,
                       int count);

#endif
