/* arena.h: memory with one lifetime: taken piece by piece, given back all at once.
 *
 * A request has one; so has a decoded definition. Chunks are kept over arena_reset(), so a reused arena stops calling
 * malloc after its first requests. Threads: one owner. Out of memory: NULL, never an abort.
 */
#ifndef ASSAY_ENGINE_ARENA_H
#define ASSAY_ENGINE_ARENA_H

#include "engine/base.h"

struct arena_chunk;
struct arena_end;

struct arena {
    struct arena_chunk *first;
    struct arena_chunk *current;
    size_t used;       /* of the current chunk */
    size_t chunk_size; /* the least size of a new chunk */
    struct arena_end *ends; /* what arena_at_end() was told, the last first */
};

void arena_init(struct arena *arena, size_t chunk_size);
/* `size` bytes, aligned to 16. NULL when memory is out. */
void *arena_take(struct arena *arena, size_t size);
void *arena_take_zeroed(struct arena *arena, size_t size);
/* A copy of `bytes` with a NUL behind it. NULL when memory is out. */
char *arena_copy(struct arena *arena, struct bytes bytes);
char *arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
/* For what an arena cannot hold itself: end(object) is called once, when the arena is reset, rewound to a mark from before
 * this, or deinitialised; the last first. False when memory is out: then it never is. */
MUST_USE bool arena_at_end(struct arena *arena, void (*end)(void *object), void *object);
/* A place to come back to: arena_rewind() forgets whatever was taken since its mark, and keeps the chunks. Marks nest; a
 * reset ends them all. For a callee that wants scratch space and leaves nothing in it. */
struct arena_mark {
    struct arena_chunk *current;
    size_t used;
    struct arena_end *ends;
};

struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);
/* Forgets everything taken; keeps up to `keep_size` bytes of chunks for the next use. */
void arena_reset(struct arena *arena, size_t keep_size);
void arena_deinit(struct arena *arena);

#endif
