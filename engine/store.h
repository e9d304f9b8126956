/* store.h: the checkpoint of the state in LMDB: a set of rows, written in transactions that carry the log position they
 * include.
 *
 * The store is a fold of the log and may be thrown away at any time: whoever finds it missing, damaged or of another
 * store removes it and replays the log. LMDB runs with its default sync flags, one writer, and no transaction is held
 * open between calls. Each value carries an XXH3-64 of its table, key and bytes, because LMDB has no checksums; and a row
 * of digests (rows of each table, and the sum of their checksums) says whether any row is missing.
 *
 * Threads      One at a time.
 */
#ifndef ASSAY_ENGINE_STORE_H
#define ASSAY_ENGINE_STORE_H

#include "engine/base.h"
#include "engine/state.h"

struct store;

/* Reads the whole store in another process: LMDB believes the pages it reads, and damaged ones can end whoever does.
 * STATUS_OK where there is none yet. STATUS_DAMAGED where opening it here could not be survived or trusted. Call it before
 * store_open(), while the process has no other threads that matter. */
MUST_USE enum status store_probe(const char *path, struct error *error);
/* Opens the LMDB environment in `path` (made, mode 0700, where missing). STATUS_DAMAGED: remove it with store_remove(). */
MUST_USE enum status store_open(const char *path, struct error *error, struct store **out_store);
void store_close(struct store *store); /* NULL is fine */
/* Deletes the environment's files. */
MUST_USE enum status store_remove(const char *path, struct error *error);

/* The log position of the checkpoint (first lsn not in it); 0 where the store is empty. */
MUST_USE enum status store_position(struct store *store, struct error *error, uint64_t *out_next_lsn);
/* Visits all rows in table and key order. STATUS_DAMAGED where a checksum or the structure is wrong. */
MUST_USE enum status store_load(struct store *store, state_row_visit *visit, void *context, struct error *error);

/* Rows collected for one transaction. */
struct store_batch {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* A state_row_visit: appends the row. context: struct store_batch. */
enum status store_batch_add(void *context, enum state_table table, struct bytes key, struct bytes value);
void store_batch_deinit(struct store_batch *batch);
/* Writes the batch in one transaction, durable when this returns. A cell, or a row of a set
 * of users, whose value is a msgpack nil is deleted.
 * STATUS_NO_SPACE, STATUS_IO: nothing of it was written; it may be tried again. */
MUST_USE enum status store_write(struct store *store, const struct store_batch *batch, struct error *error);

#endif
