/* event_log_internal.h: what the three parts of the log share; nobody else includes it but their tests.
 *
 * event_log_read.c walks segments, for the reader and for event_log_recover.c, which makes a directory fit to be appended
 * to; event_log.c appends from where that says the log ends.
 *
 * Names in a log directory
 *   00000000000000000001.seg   a segment: the digits are its first lsn. The last one may be unsealed, all others are sealed
 *   next.tmp                   a segment to be, pre-written by event_log_prepare(); no part of the log
 *   roll.tmp                   the same, made by the writer itself when next.tmp was not ready
 *   quarantine/                torn tails that recovery cut: <first lsn>-<offset>.bin
 */
#ifndef ASSAY_ENGINE_EVENT_LOG_INTERNAL_H
#define ASSAY_ENGINE_EVENT_LOG_INTERNAL_H

#include "engine/event_log.h"

#define LOG_NAME_NEXT       "next.tmp"
#define LOG_NAME_ROLL       "roll.tmp"
#define LOG_NAME_QUARANTINE "quarantine"

#define LOG_DIRECTORY_MAX 128u /* bytes in the log directory's name */
#define LOG_PATH_SIZE     256u

struct log_path {
    char text[LOG_PATH_SIZE];
};

struct log_path log_path_make(const char *directory, const char *name);

/* "cannot VERB PATH: REASON"; returns status. */
enum status log_trouble(struct error *error, const struct io *io, enum status status,
                        const char *verb, const char *path);

/* What is to be seen at the place where a block should start. */
struct recovery_evidence {
    bool header_ok; /* it decodes, with this segment's salt */
    bool
        position_ok; /* it names this offset, the next lsn and the block before it, and fits the segment */
    bool body_ok; /* the payload has its check, the padding is zero */
    bool vouched; /* someone knows that records from the next lsn on were durable */
    bool zeros;   /* from here to the end of the file nothing was ever written */
};

enum recovery_answer {
    ANSWER_ANY,
    ANSWER_YES,
    ANSWER_NO,
};

enum recovery_action {
    RECOVERY_KEEP,
    RECOVERY_END,
    RECOVERY_CUT,
    RECOVERY_STOP,
};

struct recovery_row {
    enum recovery_answer header_ok;
    enum recovery_answer position_ok;
    enum recovery_answer body_ok;
    enum recovery_answer vouched;
    enum recovery_answer zeros;
    enum recovery_action action;
    const char *meaning;
};

#define RECOVERY_ROWS 7
extern const struct recovery_row recovery_table[RECOVERY_ROWS];

bool recovery_row_matches(const struct recovery_row *row, const struct recovery_evidence *evidence);
/* The one row that matches. */
const struct recovery_row *recovery_decide(const struct recovery_evidence *evidence);

/* The segments of a directory, oldest first. */
struct segment_list {
    uint64_t *first_lsns;
    size_t count;
    size_t capacity;
    bool out_of_memory;
};

/* To be freed even on failure. */
MUST_USE enum status segment_list_read(struct io *io, const char *directory, struct error *error,
                                       struct segment_list *list);

#define LOG_READ_PIECE ((size_t)2 * 1024 * 1024) /* what one read asks for at least */

/* A walk through one segment, and the window of it that is in memory. */
struct segment_scan {
    struct io *io;
    uint8_t *window;        /* aligned; kept from segment to segment */
    size_t window_capacity; /* grows to what the largest block so far needed */
    uint64_t window_offset;
    size_t window_size;

    int file; /* -1: no segment is open */
    bool sealed;
    char name[SEGMENT_NAME_SIZE];
    struct log_path path;
    struct segment_header header;
    struct segment_footer footer; /* where sealed */

    uint64_t vouched_lsn; /* records below it were durable */
    const char *voucher;  /* who says so */

    uint64_t offset; /* where the next block should be, and what it should carry */
    uint64_t next_lsn;
    uint64_t chain;
    uint64_t torn_size; /* after STATUS_END: bytes from offset on that are to be cut */
};

void segment_scan_init(struct segment_scan *scan, struct io *io);
/* Opens the segment of this lsn, and checks that it goes on where `before` ended (NULL: there is nothing to compare). */
MUST_USE enum status segment_scan_open(struct segment_scan *scan, const char *directory,
                                       uint64_t first_lsn, unsigned flags,
                                       const struct segment_scan *before, struct error *error);
/* Someone knows that the records below this lsn were durable. */
void segment_vouch(struct segment_scan *scan, uint64_t lsn, const char *voucher);
/* The next block; the body of one that ends at or below skip_lsn is not read. STATUS_END where the segment ends, or where
 * a torn block was never acknowledged (torn_size is not 0 then); STATUS_DAMAGED where acknowledged records are gone. */
MUST_USE enum status segment_scan_next(struct segment_scan *scan, uint64_t skip_lsn,
                                       struct error *error, struct log_block *out_block);
void segment_scan_close(struct segment_scan *scan);  /* the file */
void segment_scan_deinit(struct segment_scan *scan); /* the file and the window */

/* Brings [offset, offset + size) of the file into the window. */
MUST_USE enum status segment_window_at(struct segment_scan *scan, uint64_t offset, size_t size,
                                       struct error *error, const uint8_t **out_bytes);
/* Makes room for `size` bytes; what is in the window stays. */
MUST_USE enum status segment_window_reserve(struct segment_scan *scan, size_t size,
                                            struct error *error);
/* Bad records within a good block: not the disk's doing, so it says where to look. */
enum status segment_records_trouble(const struct segment_scan *scan, const struct log_block *block,
                                    enum status status, struct error *error);

/* Where appending goes on. */
struct log_tail {
    uint32_t segments; /* 0: an empty directory, and nothing below is set but file */
    uint64_t first_lsn; /* of the first segment */
    int file;          /* of the last segment, open for writing; moved to the caller; -1: none */
    bool sealed;       /* the last segment takes no more: a new one is due */
    uint64_t offset;   /* where the next block goes */
    int64_t written_first_us; /* of its blocks; 0 where it has none */
    int64_t written_last_us;
    uint64_t cut_bytes;
    uint64_t last_offset; /* of what was written last: the last block, or a sealed segment's footer */
    uint64_t last_size;   /* 0: only the header */
    struct segment_header header;
    struct segment_footer footer; /* of the blocks so far */
};

/* Checks the whole directory, cuts a torn tail, removes files that are not yet part of the log, and makes sure that
 * what it found is on the device. */
MUST_USE enum status log_recover(const struct event_log_options *options, struct error *error,
                                 struct log_tail *out_tail);

#endif
