/* arena.c: chunks in a list, filled in order; see arena.h for the promises. */
#include "engine/arena.h"

#include <stdio.h>
#include <stdlib.h>

#define ARENA_ALIGN 16u

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

struct arena_end {
    struct arena_end *next;
    void (*end)(void *object);
    void *object;
};

/* Under the address sanitizer, memory that nobody has taken (or that was given back) is out of
 * bounds, as it would be with malloc. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_IS_GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_IS_GUARDED 1
#endif
#endif

#ifdef ARENA_IS_GUARDED
#include <sanitizer/asan_interface.h>

/* Not inlined: the compiler would take the call for a read of memory that malloc() just gave. */
__attribute__((noinline)) static void forbid(uint8_t *data, size_t size)
{
    __asan_poison_memory_region(data, size);
}

static void allow(uint8_t *data, size_t size)
{
    __asan_unpoison_memory_region(data, size);
}

#else

static void forbid(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
}

static void allow(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
}

#endif

void arena_init(struct arena *arena, size_t chunk_size)
{
    *arena = (struct arena){.chunk_size = chunk_size};
}

static void chunk_free(struct arena_chunk *chunk)
{
    allow(chunk->data, chunk->size);
    free(chunk);
}

/* Makes a chunk with room for size bytes the current one: the next of the list where it is large
 * enough (it was kept by a reset or a rewind), else a new one put in before it. */
static bool chunk_advance(struct arena *arena, size_t size)
{
    struct arena_chunk *current = arena->current;
    struct arena_chunk *next = current != NULL ? current->next : arena->first;
    if (next == NULL || next->size < size) {
        size_t chunk_size = size > arena->chunk_size ? size : arena->chunk_size;
        if (chunk_size > SIZE_MAX - sizeof(struct arena_chunk)) {
            return false;
        }
        struct arena_chunk *chunk = malloc(sizeof(*chunk) + chunk_size);
        if (chunk == NULL) {
            return false;
        }
        chunk->size = chunk_size;
        chunk->next = next;
        forbid(chunk->data, chunk->size);
        *(current != NULL ? &current->next : &arena->first) = chunk;
        next = chunk;
    }
    arena->current = next;
    arena->used = 0;
    return true;
}

void *arena_take(struct arena *arena, size_t size)
{
    if (UNLIKELY(size > SIZE_MAX - ARENA_ALIGN)) {
        return NULL;
    }
    /* Nothing asked for still gets an address of its own. */
    size_t whole = size != 0 ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    bool fits = arena->current != NULL && whole <= arena->current->size - arena->used;
    if (UNLIKELY(!fits) && !chunk_advance(arena, whole)) {
        return NULL;
    }
    uint8_t *taken = arena->current->data + arena->used;
    arena->used += whole;
    allow(taken, size);
    return taken;
}

void *arena_take_zeroed(struct arena *arena, size_t size)
{
    void *taken = arena_take(arena, size);
    if (taken != NULL) {
        memset(taken, 0, size);
    }
    return taken;
}

char *arena_copy(struct arena *arena, struct bytes bytes)
{
    char *copy = bytes.size < SIZE_MAX ? arena_take(arena, bytes.size + 1) : NULL;
    if (copy == NULL) {
        return NULL;
    }
    if (bytes.size != 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    copy[bytes.size] = '\0';
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): version 14 misses the va_start() above
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = size >= 0 ? arena_take(arena, (size_t)size + 1) : NULL;
    if (text == NULL) {
        return NULL;
    }
    va_start(arguments, format);
    (void)vsnprintf(text, (size_t)size + 1, format, arguments);
    va_end(arguments);
    return text;
}

bool arena_at_end(struct arena *arena, void (*end)(void *object), void *object)
{
    struct arena_end *added = arena_take(arena, sizeof(*added));
    if (added == NULL) {
        return false;
    }
    *added = (struct arena_end){arena->ends, end, object};
    arena->ends = added;
    return true;
}

/* Ends what was added since `until`. The list lies in the arena, so this comes before anything is given back. */
static void ends_run(struct arena *arena, const struct arena_end *until)
{
    while (arena->ends != until) {
        const struct arena_end *last = arena->ends;
        arena->ends = last->next;
        last->end(last->object);
    }
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){arena->current, arena->used, arena->ends};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    struct arena_chunk *marked = mark.current;
    ends_run(arena, mark.ends);
    if (marked != NULL) {
        forbid(marked->data + mark.used, marked->size - mark.used);
    }
    /* The chunks begun since then: mostly none, so that a rewind costs nothing. */
    struct arena_chunk *chunk = marked;
    while (chunk != arena->current) {
        chunk = chunk != NULL ? chunk->next : arena->first;
        forbid(chunk->data, chunk->size);
    }
    arena->current = marked;
    arena->used = mark.used;
}

void arena_reset(struct arena *arena, size_t keep_size)
{
    ends_run(arena, NULL);
    size_t kept = 0;
    struct arena_chunk **link = &arena->first;
    while (*link != NULL) {
        struct arena_chunk *chunk = *link;
        if (chunk->size <= keep_size - kept) {
            kept += chunk->size;
            forbid(chunk->data, chunk->size);
            link = &chunk->next;
        } else {
            *link = chunk->next;
            chunk_free(chunk);
        }
    }
    arena->current = NULL;
    arena->used = 0;
}

void arena_deinit(struct arena *arena)
{
    if (arena != NULL) {
        arena_reset(arena, 0);
    }
}
