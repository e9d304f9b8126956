/* index_table.c: growing the shards of an index table. */
#include "engine/index_table.h"

#include <stdlib.h>
#include <sys/mman.h>

#define FIRST_SLOTS 16u
#define HUGE_PAGE   (2048u * 1024)

/* A large table is looked up all over: in huge pages that costs a cache miss, in small ones a walk of the page tables
 * as well. */
static struct index_slots *slots_make(uint32_t count)
{
    const size_t size = (size_t)count * sizeof(_Atomic uint64_t);
    const bool large = size >= HUGE_PAGE;
    struct index_slots *slots = calloc(1, sizeof(*slots));
    void *memory = NULL;
    if (slots == NULL || posix_memalign(&memory, large ? HUGE_PAGE : 64, size) != 0) {
        free(slots);
        return NULL;
    }
    if (large) {
        (void)madvise(memory, size, MADV_HUGEPAGE); /* a hint */
    }
    memset(memory, 0, size);
    slots->slots = memory;
    slots->mask = count - 1;
    return slots;
}

static void slots_free(struct index_slots *slots)
{
    free((void *)(uintptr_t)slots->slots);
    free(slots);
}

static void slots_put(struct index_slots *slots, uint64_t value)
{
    uint32_t at = (uint32_t)(value >> 32) & slots->mask;
    while (atomic_load_explicit(&slots->slots[at], memory_order_relaxed) != 0) {
        at = (at + 1) & slots->mask;
    }
    atomic_store_explicit(&slots->slots[at], value, memory_order_release);
}

enum status index_table_init(struct index_table *table, bool shared)
{
    memset(table, 0, sizeof(*table));
    table->shared = shared;
    for (uint32_t i = 0; i < INDEX_SHARDS; i++) {
        struct index_slots *slots = slots_make(FIRST_SLOTS);
        if (slots == NULL) {
            index_table_deinit(table);
            return STATUS_NO_MEMORY;
        }
        atomic_init(&table->shards[i], slots);
    }
    return STATUS_OK;
}

void index_table_deinit(struct index_table *table)
{
    for (uint32_t i = 0; i < INDEX_SHARDS; i++) {
        struct index_slots *slots = atomic_load_explicit(&table->shards[i], memory_order_relaxed);
        while (slots != NULL) {
            struct index_slots *outgrown = slots->outgrown;
            slots_free(slots);
            slots = outgrown;
        }
    }
    memset(table, 0, sizeof(*table));
}

static enum status shard_grow(struct index_table *table, uint32_t shard)
{
    struct index_slots *old = atomic_load_explicit(&table->shards[shard], memory_order_relaxed);
    struct index_slots *grown = slots_make((old->mask + 1) * 2);
    if (grown == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i <= old->mask; i++) {
        const uint64_t value = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
        if (value != 0) {
            slots_put(grown, value);
        }
    }
    grown->outgrown = table->shared ? old : NULL;
    atomic_store_explicit(&table->shards[shard], grown, memory_order_release);
    if (!table->shared) {
        slots_free(old);
    }
    return STATUS_OK;
}

enum status index_table_insert(struct index_table *table, uint64_t hash, uint32_t number)
{
    assert(number < INDEX_NONE);
    const uint32_t shard = (uint32_t)(hash % INDEX_SHARDS);
    struct index_slots *slots = atomic_load_explicit(&table->shards[shard], memory_order_relaxed);
    if ((table->counts[shard] + 1) * 5ull > (slots->mask + 1) * 3ull) {
        const enum status status = shard_grow(table, shard);
        if (status != STATUS_OK) {
            return status;
        }
        slots = atomic_load_explicit(&table->shards[shard], memory_order_relaxed);
    }
    slots_put(slots, (hash >> 32) << 32 | (uint64_t)(number + 1));
    table->counts[shard]++;
    return STATUS_OK;
}

uint64_t index_table_memory(const struct index_table *table)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < INDEX_SHARDS; i++) {
        const struct index_slots *slots = atomic_load_explicit(&table->shards[i], memory_order_relaxed);
        for (; slots != NULL; slots = slots->outgrown) {
            bytes += (slots->mask + 1ull) * sizeof(slots->slots[0]);
        }
    }
    return bytes;
}
