/* log_fixture.h: a small log on a simulated disk, whose records tell their lsn.
 *
 * The record that is to get lsn n is an event of user "u<n>", so that a scan shows at once what is missing, double or out
 * of place. Blocks are at most 4 pages and segments 16, so that everything happens soon.
 */
#ifndef ASSAY_TESTS_LOG_FIXTURE_H
#define ASSAY_TESTS_LOG_FIXTURE_H

#include "engine/event_log.h"
#include "tests/support/io_sim.h"

#define FIXTURE_DIRECTORY    "log"
#define FIXTURE_BLOCK_SIZE   (4u * LOG_BLOCK_ALIGN)
#define FIXTURE_SEGMENT_SIZE (16u * LOG_BLOCK_ALIGN)
#define FIXTURE_TIME_US      1767225600000000ll /* 2026-01-01T00:00:00Z, the clock of a new disk */

struct log_fixture {
    struct io_sim *disk;
    struct io *io;
    struct event_log *log; /* NULL: not open */
    struct event_log_recovery recovery;
    struct error error;
};

/* A new disk; the log is not open yet. */
struct log_fixture fixture_make(uint64_t seed);
/* On a disk that exists; takes it over. */
struct log_fixture fixture_on(struct io_sim *disk);
void fixture_free(struct log_fixture *fixture);

MUST_USE enum status fixture_open(struct log_fixture *fixture, uint64_t applied_lsn);
void fixture_close(struct log_fixture *fixture);

/* A commit with its bytes. */
struct fixture_commit {
    struct commit commit; /* first */
    uint8_t bytes[FIXTURE_BLOCK_SIZE];
};

/* Fills a commit with `count` events, of which the first is to get `first_lsn`, padded to `size` bytes altogether (0: as
 * small as they are). */
void fixture_fill(struct fixture_commit *commit, uint64_t first_lsn, uint32_t count, size_t size);
/* Appends one commit and waits for it. */
enum status fixture_commit(struct log_fixture *fixture, uint64_t first_lsn, uint32_t count,
                           size_t size);
/* Whole pages, one block each: appends `blocks` commits of one event that fills `pages` pages. Returns the next lsn. */
uint64_t fixture_blocks(struct log_fixture *fixture, uint64_t first_lsn, uint32_t blocks,
                        uint32_t pages);

/* Scans [from_lsn, end_lsn), 0 as in log_reader_options; every record must tell its lsn, in order, without gaps.
 * *out_next_lsn: behind the last one. */
MUST_USE enum status fixture_scan(struct log_fixture *fixture, uint64_t from_lsn, uint64_t end_lsn,
                                  uint64_t *out_next_lsn);

/* The name of the segment that starts at this lsn, with its directory. Overwritten by the next call. */
const char *fixture_segment(uint64_t first_lsn);
/* Entries of the log directory whose names end like this. */
uint32_t fixture_count(struct log_fixture *fixture, const char *directory, const char *suffix);

#endif
