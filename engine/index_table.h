/* index_table.h: from a 64-bit hash to the numbers of the elements that have it: the lookup behind users and event ids.
 *
 * The table stores 32 bits of the hash and a 32-bit number in one 8-byte slot; the caller compares the real keys. It is
 * split into shards by hash, so that growing one copies a 64th of the whole (160,000 slots at ten million).
 *
 * Cost         one cache miss a lookup; 8 bytes a slot, at most 60 % full.
 * Threads      One writer; in a shared table any number of readers at the same time, without locks. A slot is published
 *              with a release store after the element is complete. A shared table's outgrown parts are kept until the end,
 *              because a reader may still be in one: together they are smaller than the current ones.
 */
#ifndef ASSAY_ENGINE_INDEX_TABLE_H
#define ASSAY_ENGINE_INDEX_TABLE_H

#include <stdatomic.h>

#include "engine/base.h"

#define INDEX_SHARDS 64u
#define INDEX_NONE   UINT32_MAX

/* One shard's table. Apart from its slots: those begin on a huge page, and sixty-four headers at the same place of as many
 * pages would fight for one set of the cache. */
struct index_slots {
    _Atomic uint64_t *slots; /* hash tag << 32 | number + 1; 0 is free */
    uint32_t mask;
    struct index_slots *outgrown; /* the table that this one replaced */
};

struct index_table {
    struct index_slots *_Atomic shards[INDEX_SHARDS];
    uint32_t counts[INDEX_SHARDS]; /* the writer's */
    bool shared;                   /* read by other threads than the writer's */
};

struct index_probe {
    const struct index_slots *slots;
    uint32_t tag;
    uint32_t at;
};

MUST_USE enum status index_table_init(struct index_table *table, bool shared);
void index_table_deinit(struct index_table *table); /* a zeroed one is fine */
/* The key must not be in the table yet. number < UINT32_MAX. */
MUST_USE enum status index_table_insert(struct index_table *table, uint64_t hash, uint32_t number);
uint64_t index_table_memory(const struct index_table *table);

static inline struct index_probe index_probe_start(const struct index_table *table, uint64_t hash)
{
    struct index_probe probe;
    probe.slots = atomic_load_explicit(&table->shards[hash % INDEX_SHARDS], memory_order_acquire);
    probe.tag = (uint32_t)(hash >> 32);
    probe.at = probe.tag & probe.slots->mask;
    return probe;
}

/* The next number whose tag matches, or INDEX_NONE. */
static inline uint32_t index_probe_next(struct index_probe *probe)
{
    for (;;) {
        const uint64_t slot = atomic_load_explicit(&probe->slots->slots[probe->at], memory_order_acquire);
        if (slot == 0) {
            return INDEX_NONE;
        }
        probe->at = (probe->at + 1) & probe->slots->mask;
        if ((uint32_t)(slot >> 32) == probe->tag) {
            return (uint32_t)slot - 1;
        }
    }
}

/* The first number whose tag matches, without going on: a good guess of what a lookup will find. INDEX_NONE mostly means
 * that the key is new. */
static inline uint32_t index_guess(const struct index_table *table, uint64_t hash)
{
    struct index_probe probe = index_probe_start(table, hash);
    return index_probe_next(&probe);
}

/* Asks the processor to fetch the slot, for a lookup a little later. */
static inline void index_prefetch(const struct index_table *table, uint64_t hash)
{
    const struct index_probe probe = index_probe_start(table, hash);
    __builtin_prefetch((const void *)(uintptr_t)&probe.slots->slots[probe.at]);
}

#endif
