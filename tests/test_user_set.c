/* test_user_set.c: sets of users against a plain list.
 *
 * Goal    After any changes a set holds who it should, counts them, and shares with the set before what did not change.
 * Method  Seeded random changes over a few thousand ids, compared with an array of flags; prints against known answers.
 */
#include "engine/user_set.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define IDS 3000

static uint64_t seed_state = 7;

static uint32_t pick(uint32_t below)
{
    seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(seed_state >> 33) % below;
}

static struct user_print print_at(uint32_t id)
{
    char text[32];
    snprintf(text, sizeof(text), "user-%u", id);
    return user_print_of(bytes_of_text(text));
}

static int print_compare(const void *a, const void *b)
{
    return user_print_order(*(const struct user_print *)a, *(const struct user_print *)b);
}

/* XXH3_128bits() of the published library 0.8: xxhsum -H2. */
Test(user_set, prints_are_xxh3)
{
    const struct user_print print = user_print_of(bytes_of_text("user-123"));
    cr_assert_eq(print.high, 0x476f8f158678a469ull);
    cr_assert_eq(print.low, 0xff5557a41f98b187ull);
}

Test(user_set, holds_who_it_should_after_any_changes)
{
    static bool members[IDS];
    static struct user_print users[IDS];
    struct user_set *set = NULL;
    for (int round = 0; round < 200; round++) {
        const enum user_set_operation operation = set == NULL || pick(10) == 0 ? USER_SET_REPLACE
                                                  : pick(2) == 0               ? USER_SET_ADD
                                                                               : USER_SET_REMOVE;
        const uint32_t share = 1 + pick(100);
        uint32_t count = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            const bool is_named = pick(100) < share;
            members[i] = operation == USER_SET_REPLACE ? is_named : is_named ? operation == USER_SET_ADD : members[i];
            if (is_named) {
                users[count++] = print_at(i);
            }
        }
        qsort(users, count, sizeof(users[0]), print_compare);
        const struct user_set_change change = {
            .name = bytes_of_text("s"), .operation = operation, .users = users, .count = count, .at_us = round + 1};
        struct user_set *next = NULL;
        cr_assert_eq(user_set_apply(set, &change, &next), STATUS_OK);
        user_set_unref(set);
        set = next;
        uint64_t total = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            cr_assert_eq(user_set_has(set, print_at(i)), members[i], "round %d, user %u", round, i);
            total += members[i] ? 1 : 0;
        }
        cr_assert_eq(set->users, total);
        cr_assert_eq(set->version, round + 1);
        cr_assert(set->created_at_us == 1 && set->updated_at_us == round + 1);
    }
    user_set_unref(set);
}

Test(user_set, shares_what_does_not_change)
{
    static struct user_print users[IDS];
    for (uint32_t i = 0; i < IDS; i++) {
        users[i] = print_at(i);
    }
    qsort(users, IDS, sizeof(users[0]), print_compare);
    struct user_set_change change = {
        .name = bytes_of_text("s"), .operation = USER_SET_REPLACE, .users = users, .count = IDS, .at_us = 1};
    struct user_set *first = NULL;
    struct user_set *same = NULL;
    struct user_set *one_less = NULL;
    cr_assert_eq(user_set_apply(NULL, &change, &first), STATUS_OK);
    cr_assert_eq(user_set_apply(first, &change, &same), STATUS_OK);
    change.operation = USER_SET_REMOVE;
    change.count = 1;
    cr_assert_eq(user_set_apply(first, &change, &one_less), STATUS_OK);
    uint32_t changed = 0;
    for (uint32_t i = 0; i < USER_SET_BUCKETS; i++) {
        cr_assert_eq(first->buckets[i], same->buckets[i]);
        changed += first->buckets[i] != one_less->buckets[i] ? 1 : 0;
    }
    cr_assert_eq(changed, 1);
    user_set_unref(first);
    user_set_unref(same);
    cr_assert(user_set_has(one_less, users[1]) && !user_set_has(one_less, users[0]));
    user_set_unref(one_less);
}

Test(user_set, refuses_rows_that_are_none)
{
    struct user_set *set = NULL;
    cr_assert_eq(user_set_make(bytes_of_text("s"), &set), STATUS_OK);
    struct user_print users[] = {{5ull << 56, 1}, {5ull << 56, 1}};
    cr_expect_eq(user_set_fill(set, 5, users, 2), STATUS_DAMAGED, "twice");
    cr_expect_eq(user_set_fill(set, 4, users, 1), STATUS_DAMAGED, "another bucket's");
    cr_expect_eq(user_set_fill(set, 5, users, 0), STATUS_DAMAGED, "no row at all");
    cr_expect_eq(user_set_fill(set, 5, users, 1), STATUS_OK);
    cr_expect_eq(user_set_fill(set, 5, users, 1), STATUS_DAMAGED, "again");
    user_set_unref(set);
}
