/* checkpointer.h: the thread that writes collected rows to LMDB, so that whoever applies need not wait for the disk.
 *
 *   apply: checkpointer_batch() -> fill it, over many blocks -> checkpointer_write() -> ... checkpointer_busy() until it is written
 *
 * Retries      A batch that cannot be written (a full disk) is kept and tried again: later ones build on it.
 * Threads      The collecting calls belong to one thread; checkpointer_counters() is for any.
 */
#ifndef ASSAY_ENGINE_CHECKPOINTER_H
#define ASSAY_ENGINE_CHECKPOINTER_H

#include "engine/store.h"

struct checkpointer;

struct checkpointer_counters {
    uint64_t lsn;     /* first lsn that the store does not include */
    uint64_t written; /* since the start */
    uint64_t us_last; /* that the last one took */
};

/* lsn: what the store includes already. */
MUST_USE enum status checkpointer_open(struct store *store, uint64_t lsn, struct checkpointer **out_checkpointer);
/* Not while it is busy: settle first. NULL is fine. */
void checkpointer_close(struct checkpointer *checkpointer);

/* True while the last batch is not written. */
bool checkpointer_busy(struct checkpointer *checkpointer);
/* To be filled with store_batch_add(); only while it is not busy. */
struct store_batch *checkpointer_batch(struct checkpointer *checkpointer);
/* Hands the batch over: with it the store includes everything below lsn. */
void checkpointer_write(struct checkpointer *checkpointer, uint64_t lsn);
/* For the end: waits until the batch at hand is written, or one more try has failed: then false, and no later batch may
 * follow. The log has it all, so the next start only reads more. */
bool checkpointer_settle(struct checkpointer *checkpointer);
void checkpointer_counters(const struct checkpointer *checkpointer, struct checkpointer_counters *out_counters);

#endif
