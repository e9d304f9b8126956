/* erasure.h: users whose data was erased: the definition that says so, and the list of them.
 *
 * An erasure is a definition of kind RECORD_ERASURE, version 1, its id the receipt. It names the user by hashes, not by id. What
 * lies before it in the log and is the user's counts for nothing from then on; whoever comes with the same id afterwards is a new
 * person. Applying it is in state_erase.c.
 *
 * Cost         56 bytes an erasure in each catalog; a look-up is one hash of the id and a binary search.
 * Threads      Lists do not change; any thread.
 */
#ifndef ASSAY_ENGINE_ERASURE_H
#define ASSAY_ENGINE_ERASURE_H

#include <stdatomic.h>

#include "engine/base.h"
#include "engine/format.h"

struct erasure {
    struct uuid receipt;
    struct uuid author;      /* token id */
    struct user_print user;  /* of the id */
    uint64_t user_hash;      /* user_hash() of it */
    int64_t erased_at_us;
    uint64_t lsn;            /* of the record; only what lies before it is erased */
};

/* The document: {"user": bin, "user_hash": uint, "erased_at": int}. The writer must take ERASURE_DOCUMENT_MAX bytes. */
#define ERASURE_DOCUMENT_MAX 96u
void erasure_encode(const struct erasure *erasure, struct pack_writer *writer);
/* Fills all but the lsn. STATUS_DAMAGED. */
MUST_USE enum status erasure_decode(const struct definition *definition, struct erasure *out_erasure);

struct erasures {
    atomic_uint references;
    uint32_t count;
    struct erasure items[]; /* by user, then lsn */
};

/* One more, with one reference. base: NULL for none. NULL when memory is out. */
struct erasures *erasures_with(const struct erasures *base, const struct erasure *erasure);
struct erasures *erasures_ref(const struct erasures *erasures); /* NULL is fine; so below */
void erasures_unref(struct erasures *erasures);
/* The lsn of the user's last erasure: what lies before it is erased. 0: never was. */
uint64_t erasures_find_user(const struct erasures *erasures, struct bytes user_id);
/* By receipt, or NULL. Goes through the whole list. */
const struct erasure *erasures_find(const struct erasures *erasures, const struct uuid *receipt);

#endif
