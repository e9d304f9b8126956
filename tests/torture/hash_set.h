/* hash_set.h: 64-bit keys, each with what was found out about it.
 */
#ifndef ASSAY_TORTURE_HASH_SET_H
#define ASSAY_TORTURE_HASH_SET_H

#include "engine/base.h"

struct hash_item {
    uint64_t key; /* 0: free */
    uint64_t end_lsn;
    uint64_t chain;
};

/* All zeros is an empty one. */
struct hash_set {
    struct hash_item *items;
    size_t capacity;
    size_t count;
};

/* NULL where the key is not in the set. Valid until the next insertion. */
const struct hash_item *hash_set_find(const struct hash_set *set, uint64_t key);
/* False where the key was there already. */
bool hash_set_insert(struct hash_set *set, struct hash_item item);
void hash_set_clear(struct hash_set *set); /* keeps the memory */
void hash_set_deinit(struct hash_set *set);

#endif
