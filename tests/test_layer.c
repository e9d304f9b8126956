/* test_layer.c: slices of a layer.
 *
 * Goal    No two experiments that hold a slice overlap, slices never move, what does not fit is refused with the largest gap,
 *         and a user gets at most one experiment of a layer.
 * Method  Catalogs built definition by definition; then 20,000 users against three experiments of one layer.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "engine/assign.h"
#include "engine/layer.h"
#include "tests/support/fold.h"

static const struct experiment *experiment_in(const struct catalog *catalog, uint32_t at)
{
    return catalog->experiments[at]->current;
}

static void log_sliced(struct fold_log *log, const struct catalog *catalog, int number, const char *layer, double size)
{
    char json[256];
    (void)snprintf(json, sizeof(json),
                   "{\"name\":\"experiment %d\",\"variants\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"metrics\":[],"
                   "\"layer\":\"%s\",\"traffic_allocation\":%g}",
                   number, layer, size);
    struct uuid id = {{0}};
    id.bytes[0] = (uint8_t)(number + 1);
    fold_log_experiment_in(log, json, &id, catalog);
}

Test(layer, slices_lie_side_by_side_and_refuse_what_does_not_fit)
{
    struct fold_log log;
    fold_log_init(&log);
    struct state *state = fold_state(&log);
    static const double sizes[] = {0.5, 0.3, 0.2};
    static const double starts[] = {0, 0.5, 0.8};
    for (int i = 0; i < 3; i++) {
        const struct catalog *catalog = state_catalog(state);
        log_sliced(&log, catalog, i, "checkout", sizes[i]);
        catalog_unref(catalog);
        fold_apply(&log, state, log.next_lsn, 10);
    }
    const struct catalog *catalog = state_catalog(state);
    cr_assert_eq(catalog->experiment_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(fabs(experiment_in(catalog, i)->layer_start - starts[i]) < 1e-9);
        cr_assert(layer_fits(catalog, experiment_in(catalog, i)));
    }
    struct experiment wanted = *experiment_in(catalog, 0);
    wanted.id.bytes[0] = 99;
    wanted.traffic_allocation = 0.01;
    double start = 0;
    double largest = 1;
    cr_assert_eq(layer_place(catalog, &wanted, &start, &largest), STATUS_TOO_LARGE);
    cr_assert(largest < 1e-9);
    wanted.layer = bytes_of_text("another");
    cr_assert_eq(layer_place(catalog, &wanted, &start, &largest), STATUS_OK);
    cr_assert(start < 1e-9);
    catalog_unref(catalog);
    state_close(state);
    fold_log_deinit(&log);
}

Test(layer, the_fold_refuses_overlapping_slices)
{
    struct fold_log log;
    fold_log_init(&log);
    struct state *state = fold_state(&log);
    const struct catalog *empty = state_catalog(state);
    log_sliced(&log, empty, 0, "checkout", 0.6);
    log_sliced(&log, empty, 1, "checkout", 0.6); /* placed against the same catalog, as two racing requests would */
    catalog_unref(empty);
    fold_apply(&log, state, log.next_lsn, 10);
    const struct catalog *catalog = state_catalog(state);
    cr_assert_eq(catalog->experiment_count, 1, "the second record must have no effect");
    catalog_unref(catalog);
    state_close(state);
    fold_log_deinit(&log);
}

Test(layer, a_user_is_in_one_experiment_at_most)
{
    struct fold_log log;
    fold_log_init(&log);
    struct state *state = fold_state(&log);
    for (int i = 0; i < 3; i++) {
        const struct catalog *catalog = state_catalog(state);
        log_sliced(&log, catalog, i, "checkout", 0.25);
        catalog_unref(catalog);
        fold_apply(&log, state, log.next_lsn, 10);
    }
    const struct catalog *catalog = state_catalog(state);
    int counts[3] = {0};
    for (int user = 0; user < 20000; user++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "user-%d", user);
        int inside = 0;
        for (uint32_t i = 0; i < 3; i++) {
            const struct assign_result result =
                assign_user(experiment_in(catalog, i), &(struct targeting_subject){.user_id = bytes_of_text(id)},
                            INT64_C(1800000000000000));
            cr_assert(result.reason == ASSIGN_SPLIT || result.reason == ASSIGN_LAYER);
            inside += result.reason == ASSIGN_SPLIT;
            counts[i] += result.reason == ASSIGN_SPLIT;
        }
        cr_assert_leq(inside, 1);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(counts[i] > 4700 && counts[i] < 5300, "a quarter of the users each, not %d", counts[i]);
    }
    catalog_unref(catalog);
    state_close(state);
    fold_log_deinit(&log);
}

Test(layer, a_user_left_outside_by_a_shrunken_slice_is_not_taken_by_the_next)
{
    struct fold_log log;
    fold_log_init(&log);
    struct state *state = fold_state(&log);
    for (int i = 0; i < 2; i++) {
        const struct catalog *catalog = state_catalog(state);
        log_sliced(&log, catalog, i, "checkout", 0.5);
        catalog_unref(catalog);
        fold_apply(&log, state, log.next_lsn, 10);
    }
    for (int i = 0; i < 2; i++) { /* the records that two requests would write, whatever their slices say */
        struct assignment assignment = {.user_id = bytes_of_text("user-1"),
                                        .experiment_version = 1,
                                        .assigned_at_us = INT64_C(1704067200000000)};
        assignment.experiment_id.bytes[0] = (uint8_t)(i + 1);
        fold_log_assignment(&log, &assignment);
    }
    fold_apply(&log, state, log.next_lsn, 10);
    struct assignment_view view;
    cr_assert(state_find_assignment(state, 0, (struct version_range){1, UINT32_MAX}, bytes_of_text("user-1"), &view));
    cr_assert_not(state_find_assignment(state, 1, (struct version_range){1, UINT32_MAX}, bytes_of_text("user-1"), &view));
    state_close(state);
    fold_log_deinit(&log);
}
