/* test_arena.c: pieces are aligned, apart and large enough; what is given back is used again. */
#include "engine/arena.h"

#include <criterion/criterion.h>

/* Asked by the address sanitizer, which else takes a huge request for a mistake. */
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

Test(arena, pieces_are_aligned_and_do_not_overlap)
{
    struct arena arena;
    arena_init(&arena, 100);
    uint8_t *pieces[200];
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        pieces[i] = arena_take(&arena, i);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, i);
    }
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        for (size_t k = 0; k < i; k++) {
            cr_assert_eq(pieces[i][k], (uint8_t)i, "piece %zu was written over at %zu", i, k);
        }
    }
    arena_deinit(&arena);
}

Test(arena, empty_pieces_have_addresses_of_their_own)
{
    struct arena arena;
    arena_init(&arena, 64);
    void *first = arena_take(&arena, 0);
    void *second = arena_take(&arena, 0);
    cr_assert_not_null(first);
    cr_assert_neq(first, second);
    arena_deinit(&arena);
}

Test(arena, zeroed_pieces_are_zero_even_when_used_again)
{
    struct arena arena;
    arena_init(&arena, 64);
    memset(arena_take(&arena, 48), 0xff, 48);
    arena_reset(&arena, SIZE_MAX);
    const uint8_t *again = arena_take_zeroed(&arena, 48);
    for (size_t i = 0; i < 48; i++) {
        cr_assert_eq(again[i], 0);
    }
    arena_deinit(&arena);
}

/* Takes pieces that need many chunks, one of them large, and returns the sum of the addresses. */
static uintptr_t take_a_request(struct arena *arena)
{
    uintptr_t sum = 0;
    for (size_t i = 0; i < 100; i++) {
        sum += (uintptr_t)arena_take(arena, i == 50 ? 5000 : 40);
    }
    return sum;
}

Test(arena, reuses_its_chunks_after_a_reset)
{
    struct arena arena;
    arena_init(&arena, 512);
    uintptr_t first = take_a_request(&arena);
    for (int i = 0; i < 10; i++) {
        arena_reset(&arena, SIZE_MAX);
        cr_assert_eq(take_a_request(&arena), first, "new memory was taken");
    }
    arena_deinit(&arena);
}

Test(arena, reset_gives_back_what_is_beyond_the_size_to_keep)
{
    struct arena arena;
    arena_init(&arena, 512);
    take_a_request(&arena);
    arena_reset(&arena, 1024);
    cr_assert_not_null(arena.first);
    arena_reset(&arena, 511);
    cr_assert_null(arena.first);
    cr_assert_not_null(arena_take(&arena, 1), "it can be used on");
    arena_deinit(&arena);
    cr_assert_null(arena.first);
}

Test(arena, rewind_forgets_what_came_after_the_mark)
{
    struct arena arena;
    arena_init(&arena, 128);
    struct arena_mark empty = arena_mark(&arena);
    char *kept = arena_copy(&arena, bytes_of_text("kept"));
    struct arena_mark mark = arena_mark(&arena);
    void *taken = arena_take(&arena, 32);
    for (int i = 0; i < 20; i++) {
        cr_assert_not_null(arena_take(&arena, 100));
    }
    arena_rewind(&arena, mark);
    cr_assert_str_eq(kept, "kept");
    cr_assert_eq(arena_take(&arena, 32), taken);
    arena_rewind(&arena, empty);
    cr_assert_eq((char *)arena_take(&arena, 5), kept);
    arena_deinit(&arena);
}

static char ended[16];
static size_t ended_size;

static void note_end(void *object)
{
    ended[ended_size++] = *(const char *)object;
}

static void add_end(struct arena *arena, const char *letter)
{
    char *object = arena_copy(arena, bytes_of_text(letter));
    cr_assert(arena_at_end(arena, note_end, object));
}

Test(arena, ends_what_it_cannot_hold_once_and_the_last_first)
{
    struct arena arena;
    arena_init(&arena, 64);
    add_end(&arena, "a");
    struct arena_mark mark = arena_mark(&arena);
    add_end(&arena, "b");
    cr_assert_not_null(arena_take(&arena, 1000));
    add_end(&arena, "c");
    cr_assert_str_eq(ended, "");
    arena_rewind(&arena, mark);
    cr_assert_str_eq(ended, "cb");
    add_end(&arena, "d");
    arena_reset(&arena, SIZE_MAX);
    cr_assert_str_eq(ended, "cbda");
    add_end(&arena, "e");
    arena_deinit(&arena);
    arena_deinit(&arena);
    cr_assert_str_eq(ended, "cbdae");
}

Test(arena, copies_end_with_a_nul)
{
    struct arena arena;
    arena_init(&arena, 16);
    const char *copy = arena_copy(&arena, bytes_of("abcdef", 3));
    cr_assert_str_eq(copy, "abc");
    cr_assert_str_eq(arena_copy(&arena, bytes_of(NULL, 0)), "");
    arena_deinit(&arena);
}

Test(arena, formats_texts_of_any_length)
{
    struct arena arena;
    arena_init(&arena, 16);
    cr_assert_str_eq(arena_format(&arena, "%s is %d", "six", 6), "six is 6");
    const char *text = arena_format(&arena, "%*d", 5000, 1);
    cr_assert_eq(strlen(text), 5000);
    arena_deinit(&arena);
}

Test(arena, says_null_when_memory_is_out)
{
    struct arena arena;
    arena_init(&arena, 64);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX - 16, SIZE_MAX - 64,
                                   SIZE_MAX / 2};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        cr_assert_null(arena_take(&arena, sizes[i]));
        cr_assert_null(arena_take_zeroed(&arena, sizes[i]));
    }
    cr_assert_not_null(arena_take(&arena, 64), "a request that failed harms no other");
    arena_deinit(&arena);
}

Test(arena, deinit_takes_null_and_what_was_never_used)
{
    struct arena arena;
    arena_deinit(NULL);
    arena_init(&arena, 64);
    arena_deinit(&arena);
    struct arena zero = {0};
    arena_deinit(&zero);
}
