/* pool.c: chunks behind a fixed directory. */
#include "engine/pool.h"

#include <stdlib.h>

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
    if (pool->chunks != NULL) {
        const uint32_t used = chunks_used(pool);
        for (uint32_t i = 0; i < used; i++) {
            free(pool->chunks[i]);
        }
        free(pool->chunks);
    }
    *pool = (struct pool){0};
}

enum status pool_append(struct pool *pool, uint32_t *out_index)
{
    const uint32_t chunk = pool->count >> pool->shift;
    if (chunk >= POOL_CHUNKS) {
        return STATUS_TOO_LARGE;
    }
    if (pool->chunks[chunk] == NULL) {
        uint8_t *memory = NULL;
        /* Cache lines matter: an element of 64 bytes must not straddle two. */
        if (posix_memalign((void **)&memory, 64, pool->element_size << pool->shift) != 0) {
            return STATUS_NO_MEMORY;
        }
        memset(memory, 0, pool->element_size << pool->shift);
        pool->chunks[chunk] = memory;
    }
    *out_index = pool->count++;
    return STATUS_OK;
}

uint64_t pool_memory(const struct pool *pool)
{
    return ((uint64_t)chunks_used(pool) << pool->shift) * pool->element_size;
}
