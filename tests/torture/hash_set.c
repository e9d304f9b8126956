/* hash_set.c: open addressing; the keys are hashes already. */
#include "tests/torture/hash_set.h"

#include <stdlib.h>

static size_t place_of(const struct hash_set *set, uint64_t key)
{
    size_t at = (size_t)key & (set->capacity - 1);
    while (set->items[at].key != 0 && set->items[at].key != key) {
        at = (at + 1) & (set->capacity - 1);
    }
    return at;
}

static uint64_t key_of(uint64_t key)
{
    return key != 0 ? key : 1;
}

const struct hash_item *hash_set_find(const struct hash_set *set, uint64_t key)
{
    if (set->capacity == 0) {
        return NULL;
    }
    const struct hash_item *item = &set->items[place_of(set, key_of(key))];
    return item->key != 0 ? item : NULL;
}

static void set_grow(struct hash_set *set)
{
    struct hash_set grown = {.capacity = set->capacity == 0 ? 1024 : set->capacity * 2,
                             .count = set->count};
    grown.items = calloc(grown.capacity, sizeof(*grown.items));
    assert(grown.items != NULL);
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->items[i].key != 0) {
            grown.items[place_of(&grown, set->items[i].key)] = set->items[i];
        }
    }
    free(set->items);
    *set = grown;
}

bool hash_set_insert(struct hash_set *set, struct hash_item item)
{
    item.key = key_of(item.key);
    if (set->count * 2 >= set->capacity) {
        set_grow(set);
    }
    struct hash_item *place = &set->items[place_of(set, item.key)];
    if (place->key != 0) {
        return false;
    }
    *place = item;
    set->count++;
    return true;
}

void hash_set_clear(struct hash_set *set)
{
    if (set->count > 0) {
        memset(set->items, 0, set->capacity * sizeof(*set->items));
    }
    set->count = 0;
}

void hash_set_deinit(struct hash_set *set)
{
    free(set->items);
    *set = (struct hash_set){0};
}
