/* workload.h: a process on a simulated disk that does what assay does with its log, one letter an operation.
 *
 * A session is one process: a log, the state folded from it, and checkpoints of the state. It tells the model what it
 * submitted and what it was told. A session can end in the middle (a crash, by the explorer) and another begin on the
 * disk that is left.
 *
 * Words        A workload is a text of letters, those of workload_operations. What each letter's facts are depends on the
 *              seed and on the facts before it, so a text and a seed are a whole run.
 */
#ifndef ASSAY_TORTURE_WORKLOAD_H
#define ASSAY_TORTURE_WORKLOAD_H

#include "engine/event_log.h"
#include "engine/replay.h"
#include "tests/support/io_sim.h"
#include "tests/torture/checkpoint.h"
#include "tests/torture/model.h"

#define TORTURE_DIRECTORY    "log"
#define TORTURE_BLOCK_SIZE   (3u * LOG_BLOCK_ALIGN)
#define TORTURE_SEGMENT_SIZE (8u * LOG_BLOCK_ALIGN) /* header, six pages of blocks, footer */
#define TORTURE_TIME_US      1767225600000000ll     /* 2026-01-01T00:00:00Z */
#define FRAME_FACTS          4u

struct frame; /* a commit with its bytes and facts */

/* The log of a disk as a state's history. */
struct disk_history {
    struct io *io;
};

struct history disk_history_of(struct disk_history *history);

struct session {
    struct io_sim *disk;
    struct io *io;       /* of the log's thread */
    struct io *other_io; /* of the threads that read the log and write checkpoints */
    struct event_log *log;
    struct event_log_recovery recovery;
    struct state *state;
    struct disk_history history;
    struct model *model;
    struct frame *frames;
    uint32_t frames_used;            /* that wait for an answer */
    const struct snapshot *snapshot; /* the last that was committed */
    uint64_t random;
    struct error error;
    struct trouble trouble;
    bool refusals_are_fine; /* faults are about: a frame may be refused, the log may be poisoned */
    uint32_t refused;       /* frames, for want of room */
    uint32_t unavailable;   /* frames, because the log was poisoned */

    /* Called once what was said to be durable is. NULL is fine. */
    void (*settled)(void *context, struct session *session);
    void *context;
};

struct workload_operation {
    char letter;
    const char *name;
    bool (*run)(struct session *session);
};

extern const struct workload_operation workload_operations[];
extern const size_t workload_operation_count;

/* Makes the file of checkpoints too, where it is missing. */
struct session *session_make(struct io_sim *disk, struct model *model, uint64_t seed);
void session_free(struct session *session); /* NULL is fine */
/* Recovers the log and the state: the start of a process. What the log turns out to hold is the model's from then on. */
MUST_USE enum status session_open(struct session *session);
void session_close(struct session *session);
/* The first start on an empty disk, and the definitions that all else needs. */
bool session_begin(struct session *session);
/* One operation. False where the session was told something that cannot be: see trouble. */
bool session_run(struct session *session, char letter);
/* Submits one small event and waits for the answer. */
bool session_append_one(struct session *session);

#endif
