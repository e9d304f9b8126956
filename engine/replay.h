/* replay.h: the loop that folds a log into a state: start-up, `assay replay` and `assay verify` are this and nothing else.
 *
 * Threads      The caller's; the io is the calling thread's.
 */
#ifndef ASSAY_ENGINE_REPLAY_H
#define ASSAY_ENGINE_REPLAY_H

#include "engine/base.h"
#include "engine/event_log.h"
#include "engine/state.h"

struct replay_progress {
    uint64_t next_lsn;
    uint64_t records; /* applied in this call */
    uint64_t bytes;   /* of blocks read */
};

struct replay_options {
    struct io *io;
    const char *directory; /* of the log, relative to the io's root */
    uint64_t end_lsn;      /* stop before it; 0: the end of the log */
    bool buffered;
    /* Called after each block; NULL is fine. */
    void (*progress)(void *context, const struct replay_progress *progress);
    void *progress_context;
};

/* Applies everything from state_next_lsn() on, and settles. */
MUST_USE enum status replay_log(const struct replay_options *options, struct state *state, struct error *error,
                                struct replay_progress *out_progress);

/* Applies the records of one block from lsn `from` on, and settles. outcomes: one a record of the block, or NULL. */
MUST_USE enum status replay_block(struct state *state, uint64_t first_lsn, struct bytes payload, uint8_t *outcomes);

/* A struct history over a log directory: each scan opens the log anew, so it may be used from any one thread at a time.
 * `root` and `directory` must live as long as it does. */
struct log_history {
    const char *root;
    const char *directory;
    enum io_backend backend;
    struct error error; /* of the last scan that failed */
};

struct history log_history_of(struct log_history *history);

#endif
