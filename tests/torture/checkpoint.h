/* checkpoint.h: the store of checkpoints, reduced to what its transactions promise.
 *
 * A transaction is atomic, and durable when the commit returns. So a checkpoint is one record in one sector of a file of
 * the simulated disk: a crash leaves the old one or the new one. The record names a snapshot, a whole set of rows, and
 * the snapshots themselves lie in this process's memory, for as long as it lives: no crash can tear them, as no crash
 * tears the pages of a committed transaction.
 */
#ifndef ASSAY_TORTURE_CHECKPOINT_H
#define ASSAY_TORTURE_CHECKPOINT_H

#include "engine/io.h"
#include "engine/state.h"
#include "tests/support/io_sim.h"

/* A set of rows in table and key order. Immutable once made. */
struct snapshot;

/* The rows of `base` (NULL: none) with those that changed in the state. Equal sets are one snapshot. */
const struct snapshot *snapshot_take(const struct snapshot *base, struct state *state);
/* The first lsn not in it, as its own rows say. */
uint64_t snapshot_next_lsn(const struct snapshot *snapshot);
uint64_t snapshot_digest(const struct snapshot *snapshot);
/* Loads all rows into an empty state. */
MUST_USE enum status snapshot_load(const struct snapshot *snapshot, struct state *state);
void snapshots_free(void);

/* Makes the file. */
MUST_USE enum status checkpoint_prepare(struct io *io);
/* Commits in one write. */
MUST_USE enum status checkpoint_commit(struct io *io, const struct snapshot *snapshot);
/* What the disk has; NULL: no checkpoint. */
const struct snapshot *checkpoint_read(const struct io_sim *disk);

/* Of all rows of a state: equal states have equal digests. */
uint64_t state_digest(struct state *state);

#endif
