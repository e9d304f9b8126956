/* event_log.h: the durable, ordered record of everything that happened.
 *
 * A log is a directory of segments (bytes: format.h). A record is appended to the open segment, never changed, and known
 * by its lsn. A sealed segment is immutable.
 *
 * Durability   A commit is done only once its records are on the device; commits are done in lsn order.
 * Grouping     Natural group commit: whatever was appended while the last flush was in flight is the next block: one
 *              write and one flush a block, no timer. A commit's frame is never split.
 * After crash  Every acknowledged record, then perhaps an unacknowledged tail. What is cut, and what is refused, says
 *              recovery_table in event_log_read.c. Cut bytes are kept aside in <log>/quarantine/.
 * Failure      A failed write or flush poisons the log for good: every commit in flight or later gets
 *              STATUS_UNAVAILABLE; whether those in flight are in the log, the next start decides. A full disk
 *              (STATUS_NO_SPACE) fails only the commits that found no room, and the log goes on when there is some.
 * Segments     are pre-written with zeros by event_log_prepare(), which a background thread calls, so that a commit
 *              changes no file metadata; without it the writer makes them itself, which is slow. A segment rolls when
 *              full, and at the first poll after midnight UTC if it has blocks of an earlier day.
 * Threads      One writer thread owns a struct event_log and its struct io. event_log_prepare() may run in another
 *              thread with an io of its own. Readers need only the directory.
 * Memory       LOG_BLOCK_BUFFERS block buffers, taken at open. A commit and its bytes stay the caller's.
 */
#ifndef ASSAY_ENGINE_EVENT_LOG_H
#define ASSAY_ENGINE_EVENT_LOG_H

#include "engine/base.h"
#include "engine/format.h"
#include "engine/io.h"

struct event_log;

/* The unit of acknowledgement. Caller-owned; must not move or change until handed back by event_log_poll(). */
struct commit {
    struct bytes records;      /* whole encoded records: one frame, at most LIMIT_FRAME, else STATUS_TOO_LARGE */
    uint32_t record_count;     /* at least 1 */
    enum status status;        /* out */
    uint64_t first_lsn;        /* out, when status is STATUS_OK */
    struct commit *next;       /* the log's while in flight; the list's in a durable_block */
};

/* A block that became durable, with the commits in it. The payload stays readable until event_log_release(). */
struct durable_block {
    uint64_t first_lsn;
    uint64_t end_lsn;
    struct bytes payload;
    struct commit *commits; /* in lsn order, status set */
    uint32_t buffer;        /* for event_log_release(), which is due for every block, failed ones too */
};

struct event_log_options {
    struct io *io;          /* of the writer thread */
    const char *directory;  /* "log", relative to the io's root */
    uint64_t segment_size;  /* of new segments: a multiple of LOG_BLOCK_ALIGN; 0: LOG_SEGMENT_SIZE */
    uint32_t block_size;    /* largest block with its header, likewise; 0: LOG_BLOCK_SIZE. Tests make it small */
    uint64_t applied_lsn;   /* the checkpoint's position (first lsn not in it; 0: none): the log must reach it */
};

/* What event_log_open() found. */
struct event_log_recovery {
    uint64_t first_lsn;     /* the oldest that is there: 1 unless segments were dropped */
    uint64_t end_lsn;       /* the first lsn not yet written */
    uint64_t cut_bytes;     /* of an unacknowledged tail, quarantined */
    uint32_t segments;
    struct uuid store_id;
    uint64_t hash_seed;
};

/* Recovers the directory (made if missing) and opens it for appending. Everything recovered is synced before this
 * returns. STATUS_DAMAGED with file and offset in error where acknowledged data may be gone, and then nothing in the
 * directory was changed. STATUS_UNSUPPORTED for a log of a newer assay. */
MUST_USE enum status event_log_open(const struct event_log_options *options, struct error *error,
                                    struct event_log_recovery *out_recovery, struct event_log **out_log);

/* Queues a commit. It is handed back, done or failed, by a later event_log_poll(). Never blocks, never fails itself:
 * failures come back in commit->status. */
void event_log_append(struct event_log *log, struct commit *commit);

/* Starts the next block if none is in flight, then waits up to timeout_us (0: not at all, negative: without end) for the
 * one in flight; with none in flight it returns at once (nothing is queued, or no buffer is free). STATUS_OK with
 * *out_done true and a block handed over; or false where nothing became durable. Failed commits are handed over in a
 * block with an empty payload (first_lsn == end_lsn). STATUS_UNAVAILABLE once poisoned and all commits are handed back. */
MUST_USE enum status event_log_poll(struct event_log *log, int64_t timeout_us, bool *out_done,
                                    struct durable_block *out_block);

/* Gives a handed-over block's buffer back. Writer thread only. */
void event_log_release(struct event_log *log, uint32_t buffer);

/* True while commits are queued or in flight. */
bool event_log_busy(const struct event_log *log);
/* False once poisoned. */
bool event_log_healthy(const struct event_log *log);
/* Why it is poisoned, for a person; NULL while it is not. */
const char *event_log_failure(const struct event_log *log);
/* Poisons the log: its owner knows of a failure that the disk does not tell. What is in flight or queued goes
 * back as unavailable. Writer thread. */
void event_log_fail(struct event_log *log, const char *why);
/* The open segment's file below the io's root; NULL while there is none. Valid until the next call. */
const char *event_log_segment_path(const struct event_log *log);
/* True when a new prepared segment is wanted: call event_log_prepare() soon (and not at once again after it failed). */
bool event_log_wants_segment(const struct event_log *log);

/* True where the open segment has less room than the largest block, and the next one is not there yet: if that cannot be
 * made, commits will soon fail. */
bool event_log_is_short(const struct event_log *log);

/* Pre-writes the next segment file; segment_size as in the options of the open log. Any thread, with its own io; one at a
 * time. A failure leaves nothing behind. */
MUST_USE enum status event_log_prepare(struct io *io, const char *directory, uint64_t segment_size);
/* Tells the log that event_log_prepare() succeeded. Writer thread. */
void event_log_prepared(struct event_log *log);

/* Seals nothing, waits for what is in flight. Commits not yet handed back stay so. NULL is fine. */
void event_log_close(struct event_log *log);

/* Reading. One reader serves start-up, backfill, replay, verify and dump. It never writes. It reads what is durable: of
 * a log that is being written, up to end_lsn as the writer published it. */
struct log_reader;

struct log_reader_options {
    struct io *io;          /* of the reading thread */
    const char *directory;
    uint64_t from_lsn;      /* 1: from the start; 0: from the oldest there is (retention drops whole segments). The block
                             * that holds it is handed out whole, from its first record */
    uint64_t end_lsn;       /* stop before it; 0: at the end of the log (a torn tail is the end) */
    bool buffered;          /* through the page cache (offline tools), else O_DIRECT */
};

struct log_block {
    struct block_header header;
    struct bytes payload;   /* valid until the next call */
    const char *segment;    /* file name, for messages */
};

/* STATUS_NOT_FOUND where the log begins after from_lsn, or there is no such directory. */
MUST_USE enum status log_reader_open(const struct log_reader_options *options, struct error *error,
                                     struct log_reader **out_reader);
/* STATUS_END after the last block; STATUS_DAMAGED names file and offset, also where the log ends before from_lsn or
 * end_lsn. A block handed out has its checks done: its records are all there, of known kinds, in order. */
MUST_USE enum status log_reader_next(struct log_reader *reader, struct error *error, struct log_block *out_block);
void log_reader_close(struct log_reader *reader);

/* Walks all records from from_lsn on. visit returns STATUS_OK to go on; anything else ends the walk and is returned. */
MUST_USE enum status log_scan(const struct log_reader_options *options, struct error *error,
                              enum status (*visit)(void *context, const struct record *record), void *context);

#endif
