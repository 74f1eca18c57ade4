/* SPDX-License-Identifier: PostgreSQL
 *
 * spool.h -- append-only store and forward, shared by every producer.
 *
 * What is measured is appended here first and leaves only when the control plane has
 * acknowledged it. Files, all in one directory held by one process (a lock):
 *
 *   <number>.seg   header and records, never changed after it is written, deleted when it is
 *                  acknowledged as a whole; one that waits is packed in the meantime
 *   cursor         what is acknowledged, and which numbers may have been used
 *   quarantine/    damaged bytes and refused batches, bounded, for a person to look at
 *
 * Numbers. A record has a local number, which grows for ever and never repeats in this
 * directory. On the wire it is number - base in the current epoch, so raising the epoch is one
 * write of the cursor and renumbers what is left from 1 without touching a record.
 *
 * Invariants
 *  - A number is used only below a limit that was made durable before; after a crash
 *    numbering goes on above that limit. So a number that was ever sent is never given to another
 *    record, whatever became of the segment files. The price is a gap, which is allowed.
 *  - A record is durable here (synced) or elsewhere (acknowledged) within the time its owner gives
 *    it, whichever is first. It may be sent before: a power cut loses the bytes and never the number,
 *    so that what the other side took of them stays unique.
 *  - An acknowledgement moves the cursor, in place and unsynced: losing it repeats records,
 *    which the other side trims.
 *  - Everything that is lost is counted by reason.
 *  - A segment of a newer version of this program is set aside as it is, and its header, which
 *    stays readable, still bounds numbering. Going back to an older program loses what it cannot
 *    read and nothing else.
 */
#ifndef PCTL_LIB_SPOOL_H
#define PCTL_LIB_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"

struct spool;

#define SPOOL_RECORD_MAX (512 * 1024)

/* Why records were lost. spool_drop_names gives the words. */
enum spool_drop
{
	SPOOL_DROP_RECORDS,   /* oldest, over max_records */
	SPOOL_DROP_BYTES,     /* oldest, over max_bytes */
	SPOOL_DROP_AGE,       /* older than max_age */
	SPOOL_DROP_CORRUPT,   /* damaged on disk; in quarantine/ */
	SPOOL_DROP_TOO_LARGE, /* never appended: over SPOOL_RECORD_MAX */
	SPOOL_DROP_DISK,      /* never appended: the disk is full or failing */
	SPOOL_DROP_REFUSED,   /* the control plane cannot read them; in quarantine/ */
	SPOOL_DROP_FULL,      /* never appended: the policy keeps what is there */
	SPOOL_DROP_NEWER,     /* of a newer version of this program; in quarantine/ */
	SPOOL_DROP_COUNT,
};

extern const char *const spool_drop_names[SPOOL_DROP_COUNT];

/* What a spool that is full gives up. */
enum spool_policy
{
	SPOOL_GIVE_OLDEST,   /* the oldest record for each new one */
	SPOOL_GIVE_NEWEST,   /* the new one: what is there stays */
	SPOOL_GIVE_ORDINARY, /* a new one that is not important, from SPOOL_ORDINARY_PERCENT on; for an
	                      * important one the oldest */
};

/* Of max_records and max_bytes: the rest is kept for important records. */
#define SPOOL_ORDINARY_PERCENT 80

struct spool_limits
{
	uint64_t max_records;
	uint64_t max_bytes;   /* of segment files; whole segments go, a 16th at a time */
	int64_t max_age_nano; /* 0 = no limit */
	enum spool_policy policy;
};

/* Opens or makes the directory. NULL with a sentence in err. */
struct spool *spool_open(const char *dir, const struct spool_limits *limits, char *err,
                         size_t errlen);

/* Syncs, marks a clean end and frees. */
void spool_close(struct spool *s);

/* Appends one record with its time; *number, if wanted, is its sequence number on the wire now. On
 * failure errno is set (ENOBUFS: the policy), the loss is counted and the spool is as before. */
bool spool_append(struct spool *s, const void *data, size_t len, int64_t unix_nano,
                  uint64_t *number);

/* The same for a record that SPOOL_GIVE_ORDINARY is to keep before others. */
bool spool_append_important(struct spool *s, const void *data, size_t len, int64_t unix_nano,
                            uint64_t *number);

/* Makes everything appended durable and ready to send. Cheap when nothing is new or all of it is
 * acknowledged. */
bool spool_sync(struct spool *s);

/* Something waits here that is not durable. What was acknowledged is so elsewhere. */
bool spool_dirty(const struct spool *s);

/* Makes everything appended ready to send, durable or not: its number is never given again. */
void spool_offer(struct spool *s);

/* ---- reading ---- */

struct spool_record
{
	const uint8_t *data;
	size_t len;
	int64_t unix_nano;
};

struct spool_batch
{
	uint64_t epoch;
	uint64_t first; /* record i has the number first + i */
	size_t count;
	size_t bytes; /* of all records */
	struct spool_record *records;
	struct buf store; /* what records point into */
	size_t records_cap;
};

void spool_batch_init(struct spool_batch *b);
void spool_batch_free(struct spool_batch *b);

/* The next records that are ready and have not been read since the last rewind: at least one if
 * there is one, at most max_records and about max_bytes, numbered without a gap. False: none. */
bool spool_read(struct spool *s, size_t max_records, size_t max_bytes, struct spool_batch *batch);

/* Back to the oldest unacknowledged record. */
void spool_rewind(struct spool *s);

/* Everything up to number is durable elsewhere. False when the epoch is not ours or the number was
 * never given out; nothing changes then. */
bool spool_ack(struct spool *s, uint64_t epoch, uint64_t number);

/* As spool_ack, for a batch that was refused: its bytes go to quarantine/, its records are
 * counted as lost. */
bool spool_refuse(struct spool *s, const struct spool_batch *batch, const void *wire, size_t len);

/* ---- epoch ---- */

uint64_t spool_epoch(const struct spool *s);

/* Number of the newest record in this epoch; 0 = none. */
uint64_t spool_last(const struct spool *s);

/* A new epoch above min: what is left is numbered anew from 1. */
bool spool_raise_epoch(struct spool *s, uint64_t min);

/* ---- state ---- */

struct spool_stats
{
	uint64_t records;                   /* unacknowledged */
	uint64_t bytes;                     /* about, of their segments */
	int64_t oldest_unix_nano;           /* 0 = none */
	uint64_t appended;                  /* since open */
	uint64_t acked;                     /* since open */
	uint64_t dropped[SPOOL_DROP_COUNT]; /* since the directory was made */
	uint64_t sync_failures;
};

void spool_stats(struct spool *s, struct spool_stats *stats);

/* ---- record framing, sans I/O ---- */

struct spool_frame
{
	uint64_t number;
	int64_t unix_nano;
	const uint8_t *data;
	size_t len;
	size_t size; /* of the whole frame */
};

enum spool_frame_status
{
	SPOOL_FRAME_OK,
	SPOOL_FRAME_SHORT, /* more bytes may make it whole; size says how many at least */
	SPOOL_FRAME_BAD,
};

enum spool_frame_status spool_frame_parse(const uint8_t *data, size_t len, struct spool_frame *f);
bool spool_frame_put(struct buf *out, uint64_t number, int64_t unix_nano, const void *data,
                     size_t len);

/* Offset of the next whole, valid frame numbered above after, from 1 on; len if there is none. */
size_t spool_frame_resync(const uint8_t *data, size_t len, uint64_t after);

/* ---- packing of whole frames, sans I/O ---- */

/* Frames one behind the other, made small, added to out. False: not only frames, or no memory. */
bool spool_pack(const uint8_t *frames, size_t len, struct buf *out);

/* Adds the frames of the next whole block to out; returns how many bytes are done with, of which
 * *skipped before it were damaged. Nothing is added when all the rest was. */
size_t spool_unpack(const uint8_t *data, size_t len, struct buf *out, size_t *skipped);

#endif
