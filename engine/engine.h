/* engine.h: the whole of assay below HTTP: one data directory, opened once, written and asked from many threads.
 *
 * A write is a frame of encoded records. It is durable, then applied to the state, then handed back, in that order; so
 * whatever was acknowledged is in every later answer.
 *
 *   caller --engine_submit--> committer thread --durable block--> apply thread --port--> caller
 *                                   |                                  |
 *                               event log                    state, checkpoints to LMDB
 *
 * Threads      engine_submit(), the find functions and the counters are for any thread. A port belongs to one thread.
 * Directory    DIR/log (the truth), DIR/store (LMDB, a fold of it that may be deleted), DIR/lock.
 * Overload     Queues are bounded: STATUS_BUSY, and nothing was taken.
 * Failure      After a failed write or flush every submission is answered STATUS_UNAVAILABLE and engine_healthy() is
 *              false: the program should end; a restart re-verifies.
 */
#ifndef ASSAY_ENGINE_ENGINE_H
#define ASSAY_ENGINE_ENGINE_H

#include "engine/base.h"
#include "engine/catalog.h"
#include "engine/event_log.h"
#include "engine/inbox.h"
#include "engine/state.h"
#include "engine/tally.h"

struct engine;
struct engine_port;

struct engine_options {
    const char *directory;       /* made, mode 0700, where missing */
    enum io_backend io_backend;
    uint64_t segment_size;       /* 0: LOG_SEGMENT_SIZE */
    uint32_t checkpoint_seconds; /* 0: 5 */
};

struct engine_info {
    const char *io_backend; /* "uring" or "sync" */
    bool created;           /* the directory was empty */
    uint64_t cut_bytes;     /* of an unacknowledged tail */
    uint64_t replayed;      /* records applied at start-up beyond the checkpoint */
    bool rebuilt;           /* the store was missing or unusable, and was rebuilt from the log */
};

MUST_USE enum status engine_open(const struct engine_options *options, struct error *error,
                                 struct engine_info *out_info, struct engine **out_engine);
/* Waits for what is in flight, checkpoints, closes. NULL is fine. */
void engine_close(struct engine *engine);

enum engine_request_kind {
    ENGINE_WRITE,
    ENGINE_READ,
    ENGINE_SCAN,
    ENGINE_INTERNAL, /* the engine's own messages between its threads */
};

/* A write or a read. Caller-owned; must not move or change until its port hands it back. */
struct engine_request {
    struct inbox_node node; /* the engine's while in flight */
    enum engine_request_kind kind;
    struct commit commit;  /* ENGINE_WRITE: records and record_count in; status and first_lsn out */
    uint8_t *outcomes;     /* ENGINE_WRITE: one enum outcome a record, out; NULL where not wanted */
    /* ENGINE_READ: run on the apply thread between blocks; must be quick and must not write. */
    void (*read)(const struct state *state, void *context);
    /* ENGINE_SCAN: run on the scanner's thread, with a log that may be read with log_scan() from any lsn on up to what was
     * applied. Others wait behind it, so it should stop after some LIMIT_SCAN_BYTES. NULL: the log cannot be read. */
    void (*scan)(const struct log_reader_options *log, void *context);
    void *context;
    struct engine_port *port;
    struct engine_request *next; /* out: of the list that engine_port_take() hands over */
};

/* STATUS_OK: it will be handed back through request->port. STATUS_BUSY, STATUS_UNAVAILABLE: it was not taken. */
MUST_USE enum status engine_submit(struct engine *engine, struct engine_request *request);

/* Where finished requests come back. The file descriptor is an eventfd that is readable when some are there. */
MUST_USE enum status engine_port_open(struct engine *engine, struct engine_port **out_port);
int engine_port_fd(const struct engine_port *port);
/* All finished ones, oldest first, linked by next. NULL where none are. Clears the eventfd. */
struct engine_request *engine_port_take(struct engine_port *port);
void engine_port_close(struct engine_port *port);
/* engine_submit() and wait for it: for start-up, tools and tests. The port must have nothing else in flight. */
MUST_USE enum status engine_call(struct engine *engine, struct engine_request *request);

/* A reference to the newest applied definitions. Give it back with catalog_unref(). */
const struct catalog *engine_catalog(const struct engine *engine);
/* Its generation, cheaply: has it changed since? */
uint64_t engine_catalog_generation(const struct engine *engine);

/* A stored assignment, straight from memory; lock-free. False where there is none (yet). */
bool engine_find_assignment(const struct engine *engine, uint32_t experiment_index, struct version_range versions,
                            struct bytes user_id, struct assignment_view *out_assignment);

bool engine_healthy(const struct engine *engine);
/* Why it is not, for a person; NULL while it is. */
const char *engine_failure(const struct engine *engine);
/* False where writes would be refused now: poisoned, full disk, or full queues. */
bool engine_can_write(const struct engine *engine);
/* May this write be submitted? As engine_can_write(); but where a block found no room although the next segment could be
 * made, one write a second is let through: the try that finds out whether there is room again. (Else the preparer finds out,
 * without any write.) */
bool engine_admit_write(struct engine *engine);
bool engine_disk_full(const struct engine *engine);
int64_t engine_now_us(const struct engine *engine); /* wall clock that never goes back in this process */
void engine_random(struct engine *engine, void *buffer, size_t size); /* cryptographic; any thread */

/* Counters for /metrics and /status. Each is read atomically; together they are no snapshot. */
struct engine_counters {
    uint64_t durable_lsn; /* first lsn not yet durable */
    uint64_t applied_lsn; /* first lsn not yet applied */
    uint64_t checkpoint_lsn;
    uint64_t blocks;
    uint64_t block_bytes;
    uint64_t flush_us_total;
    uint64_t events_applied;
    uint64_t events_duplicate;
    uint64_t assignments;
    uint64_t users;
    uint64_t commits_queued;
    uint64_t commit_bytes_queued;
    uint64_t checkpoints;
    uint64_t checkpoint_us_last;
    struct tally_view flush_us;      /* of blocks: how long the write and flush took; unit TALLY_UNIT_US */
    struct tally_view block_records; /* of blocks; unit 1 */
    struct tally_view apply_us;      /* of blocks: from durable to applied; unit TALLY_UNIT_US */
};

void engine_counters(const struct engine *engine, struct engine_counters *out_counters);
struct uuid engine_store_id(const struct engine *engine);

#endif
