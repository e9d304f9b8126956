/* user_set.h: named sets of users (clients call them segments of users), for targeting: who is in one, and the next one
 * after a change.
 *
 * Of a user a set knows the print, the 128-bit XXH3 of the id, seed 0; two users of one print are not met with. A set is an
 * immutable value in 256 buckets by the print's first byte, each a sorted array. A change copies the buckets that it
 * touches and shares the others with the set before.
 *
 * Cost         16 bytes a user; a lookup is a binary search in one bucket.
 * Threads      Immutable; references are atomic. One thread makes changes.
 */
#ifndef ASSAY_ENGINE_USER_SET_H
#define ASSAY_ENGINE_USER_SET_H

#include <stdatomic.h>

#include "engine/base.h"
#include "engine/format.h"
#include "engine/limits.h"

#define USER_SET_BUCKETS 256u

struct user_bucket {
    atomic_uint references;
    uint32_t count;
    struct user_print prints[]; /* ascending */
};

struct user_set {
    char name_text[LIMIT_KEY];
    size_t name_size;
    uint32_t version; /* how often it was changed, and 1 */
    uint64_t users;
    struct uuid author; /* of the last change */
    int64_t created_at_us;
    int64_t updated_at_us;
    struct user_bucket *buckets[USER_SET_BUCKETS]; /* NULL: empty */
    atomic_uint references;
};

static inline struct bytes user_set_name(const struct user_set *set)
{
    return bytes_of(set->name_text, set->name_size);
}

struct user_print user_print_of(struct bytes user_id);
bool user_set_has(const struct user_set *set, struct user_print print);

/* users: ascending, without repetitions. */
struct user_set_change {
    struct bytes name;
    struct uuid author;
    enum user_set_operation operation; /* all but USER_SET_DROP */
    const struct user_print *users;
    size_t count;
    int64_t at_us;
};

/* The set after the change, with one reference. base: NULL for a new set. */
MUST_USE enum status user_set_apply(const struct user_set *base, const struct user_set_change *change,
                                    struct user_set **out_set);
/* For loading: an empty set, and one bucket of it. STATUS_DAMAGED where the prints do not belong there or do not ascend. */
MUST_USE enum status user_set_make(struct bytes name, struct user_set **out_set);
MUST_USE enum status user_set_fill(struct user_set *set, uint32_t bucket, const struct user_print *users, uint32_t count);

const struct user_set *user_set_ref(const struct user_set *set);
void user_set_unref(const struct user_set *set); /* NULL is fine */

/* Sets by name. */
struct user_sets {
    const struct user_set **items;
    uint32_t count;
};

/* Where the set is, or would be. *out_found says which. */
uint32_t user_sets_place(const struct user_sets *sets, struct bytes name, bool *out_found);
/* NULL where there is none; sets may be NULL. */
const struct user_set *user_sets_find(const struct user_sets *sets, struct bytes name);
uint64_t user_sets_users(const struct user_sets *sets);

#endif
