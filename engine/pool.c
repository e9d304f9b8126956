/* pool.c: chunks behind a fixed directory. */
#include "engine/pool.h"

#include <stdlib.h>
#include <sys/mman.h>

enum status pool_init(struct pool *pool, size_t element_size)
{
    *pool = (struct pool){.element_size = element_size};
    while (element_size << (pool->shift + 1) <= POOL_CHUNK_BYTES) {
        pool->shift++;
    }
    pool->chunks = calloc(POOL_CHUNKS, sizeof(*pool->chunks));
    return pool->chunks != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static uint32_t chunks_used(const struct pool *pool)
{
    return (uint32_t)(round_up(pool->count, 1ull << pool->shift) >> pool->shift);
}

void pool_deinit(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->slab_count; i++) {
        free(pool->slabs[i]);
    }
    free(pool->slabs);
    free(pool->chunks);
    *pool = (struct pool){0};
}

/* Takes more memory: little for a small pool, whole huge pages for one that has grown, so that a page fault comes every
 * 2 MiB and lookups need few entries of the TLB. */
static enum status slab_take(struct pool *pool, size_t chunk_size)
{
    const bool grown = (uint64_t)chunks_used(pool) * chunk_size >= POOL_SLAB_BYTES && chunk_size < POOL_SLAB_BYTES;
    const size_t size = grown ? POOL_SLAB_BYTES : chunk_size;
    uint8_t **slabs = realloc(pool->slabs, (pool->slab_count + 1ull) * sizeof(*slabs));
    if (slabs == NULL) {
        return STATUS_NO_MEMORY;
    }
    pool->slabs = slabs;
    /* Cache lines matter: an element of 64 bytes must not straddle two. */
    if (posix_memalign((void **)&pool->slab, grown ? POOL_SLAB_BYTES : 64, size) != 0) {
        return STATUS_NO_MEMORY;
    }
    if (grown) {
        (void)madvise(pool->slab, size, MADV_HUGEPAGE); /* a hint; without it everything still works */
    }
    memset(pool->slab, 0, size);
    slabs[pool->slab_count++] = pool->slab;
    pool->slab_left = size;
    return STATUS_OK;
}

enum status pool_append(struct pool *pool, uint32_t *out_index)
{
    const uint32_t chunk = pool->count >> pool->shift;
    if (chunk >= POOL_CHUNKS) {
        return STATUS_TOO_LARGE;
    }
    if (pool->chunks[chunk] == NULL) {
        const size_t chunk_size = round_up(pool->element_size << pool->shift, 64);
        const enum status status = pool->slab_left >= chunk_size ? STATUS_OK : slab_take(pool, chunk_size);
        if (status != STATUS_OK) {
            return status;
        }
        pool->chunks[chunk] = pool->slab;
        pool->slab += chunk_size;
        pool->slab_left -= chunk_size;
    }
    *out_index = pool->count++;
    return STATUS_OK;
}

uint64_t pool_memory(const struct pool *pool)
{
    return ((uint64_t)chunks_used(pool) << pool->shift) * pool->element_size + pool->slab_left;
}
