/* offline.h: the data directory of a stopped server, opened to be read: for replay, verify and dump.
 *
 * Opening takes DIR/lock, as a server does, so that neither runs into the other. Nothing else in the directory is written,
 * except that LMDB touches its own lock file while the store is read.
 */
#ifndef ASSAY_TOOLS_OFFLINE_H
#define ASSAY_TOOLS_OFFLINE_H

#include "engine/base.h"
#include "engine/format.h"
#include "engine/io.h"
#include "engine/replay.h"
#include "engine/state.h"
#include "tools/terminal.h"

#define OFFLINE_PATH 4096
#define OFFLINE_LOG  "log"

struct offline {
    char path[OFFLINE_PATH];
    char store_path[OFFLINE_PATH];
    struct io *io;
    struct log_history history;
    uint64_t *segments; /* their first lsns, ascending */
    uint32_t segment_count;
    uint32_t segment_capacity;
    bool out_of_memory;
    struct segment_header first; /* of the oldest segment: says whose log this is */
};

/* STATUS_LOCKED while a server uses the directory; STATUS_NOT_FOUND where there is no log in it. */
MUST_USE enum status offline_open(const char *path, struct error *error,
                                  struct offline **out_offline);
/* The same without the lock, also while a server writes to it: of the log what is there now can be read, nothing else. */
MUST_USE enum status offline_open_shared(const char *path, struct error *error, struct offline **out_offline);
void offline_close(struct offline *offline); /* NULL is fine */

/* An empty state of this store. It must not outlive `offline`. */
MUST_USE enum status offline_state(struct offline *offline, struct error *error,
                                   struct state **out_state);
/* Applies the log from state_next_lsn() on, with progress in records; total: 0 where not known. */
MUST_USE enum status offline_replay(struct offline *offline, struct state *state, const char *what,
                                    uint64_t total, struct error *error);
/* The checkpoint in DIR/store. STATUS_NOT_FOUND where there is none; STATUS_DAMAGED where it cannot be used. */
MUST_USE enum status offline_load_store(struct offline *offline, struct state *state,
                                        struct error *error);

/* 1 for damage, 3 for everything else that is not good. */
enum exit_code offline_exit(enum status status);

#endif
