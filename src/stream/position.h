/* SPDX-License-Identifier: PostgreSQL
 *
 * position.h -- how far streams are stored: rows of probectl.stream_position, locked, moved, written.
 */
#ifndef PCTL_STREAM_POSITION_H
#define PCTL_STREAM_POSITION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/uuid.h"

#define POSITION_COUNTS 5 /* received, stored, duplicate, malformed, dead_lettered */

/* A stream's: as it was locked, and what is to be written. */
typedef struct Position
{
	pg_uuid_t agent;
	const char *plane;
	int64 epoch, committed;
	int64 counts[POSITION_COUNTS]; /* to be added */
	TupleTableSlot *row;           /* as it was locked */
} Position;

typedef struct PositionList PositionList;

/* Locks those of the streams (agent and plane of each are read; some may be the same), in order of agent and
 * plane, so that two lists that share streams wait for each other and do not deadlock. Those that are not there are
 * made. Inside SPI; everything lives in the context of the call. */
PositionList *positions_open(const pg_uuid_t *tenant, TimestampTz now, const Position *streams,
                             int count);

/* The stream's own, to be moved. */
Position *position_of(PositionList *list, const pg_uuid_t *agent, const char *plane);

/* Writes all of them. */
void positions_close(PositionList *list);

#endif
