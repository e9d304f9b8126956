/* pool.h: elements of one size, numbered from 0, that never move.
 *
 * Memory comes in chunks of a power of two elements; a fixed directory points at them, so an index is a stable name and
 * costs 4 bytes to store. Elements start zeroed. Nothing is given back before pool_deinit().
 *
 * Threads      One writer appends. Another thread may read an element once it got its index through a release store.
 */
#ifndef ASSAY_ENGINE_POOL_H
#define ASSAY_ENGINE_POOL_H

#include "engine/base.h"

#define POOL_CHUNK_BYTES (256u * 1024) /* a chunk is at most this, and at least one element */
#define POOL_SLAB_BYTES  (2048u * 1024) /* what a grown pool takes at a time: a huge page */
#define POOL_CHUNKS      (1u << 18)    /* of 64-byte elements: a billion */

struct pool {
    uint8_t **chunks; /* [POOL_CHUNKS], touched as used */
    size_t element_size;
    uint32_t shift; /* 2^shift elements a chunk */
    uint32_t count;
    uint8_t **slabs; /* what the chunks were cut from, to be freed */
    uint32_t slab_count;
    uint8_t *slab; /* the rest of the last one */
    size_t slab_left;
};

MUST_USE enum status pool_init(struct pool *pool, size_t element_size);
void pool_deinit(struct pool *pool); /* a zeroed one is fine */
/* Appends a zeroed element. STATUS_NO_MEMORY, STATUS_TOO_LARGE. */
MUST_USE enum status pool_append(struct pool *pool, uint32_t *out_index);
uint64_t pool_memory(const struct pool *pool);

static inline void *pool_at(const struct pool *pool, uint32_t index)
{
    const uint32_t within = index & ((1u << pool->shift) - 1);
    return pool->chunks[index >> pool->shift] + within * pool->element_size;
}

#endif
