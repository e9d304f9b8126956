/* test_results.c: from sums to verdicts and JSON. The numbers themselves are test_stats.c's; here it is which sums go where,
 * what is withheld, and that no number is ever made up. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "api/results.h"
#include "engine/timestamp.h"

#define NOW_US 1767261600000000ll /* 2026-01-01T10:00:00Z */
#define ARMS   3u
#define KINDS  2u

/* An experiment of three arms with a proportion and a mean, and sums to play with. */
struct world {
    struct arena arena;
    struct variant variants[ARMS];
    struct experiment experiment;
    struct metric metrics[KINDS];
    const struct metric *metric_list[KINDS];
    struct metric_sums sums[ARMS][KINDS];
    struct variant_sums variant_sums[ARMS];
    int64_t caps[KINDS];
    struct results_data data;
    struct results_question question;
    struct results results;
};

static struct bytes text(const char *words)
{
    return bytes_of_text(words);
}

static void world_init(struct world *world)
{
    static const char *const names[] = {"control", "blue", "green"};
    memset(world, 0, sizeof(*world));
    arena_init(&world->arena, 65536);
    for (uint32_t i = 0; i < ARMS; i++) {
        world->variants[i].name = text(names[i]);
        world->variants[i].weight = i == 0 ? 0.5 : 0.25;
        world->variants[i].is_control = i == 0;
        world->variant_sums[i].users = i == 0 ? 10000 : 5000;
        world->variant_sums[i].metrics = world->sums[i];
        /* Half the users converted, each with one event of 2.00 on average. */
        uint64_t active = world->variant_sums[i].users / 2;
        world->sums[i][0] = (struct metric_sums){.active = active, .events = active};
        world->sums[i][1] = (struct metric_sums){
            .active = active,
            .events = active * 2,
            .sum = (int128)active * 4 * METRIC_UNIT,
            .sum_square = (uint128)active * 16 * METRIC_UNIT * METRIC_UNIT,
        };
    }
    world->experiment = (struct experiment){
        .version = 3,
        .status = EXPERIMENT_COMPLETED,
        .variants = world->variants,
        .variant_count = ARMS,
        .created_at_us = NOW_US - 4 * MICROSECONDS_PER_DAY,
        .started_at_us = NOW_US - 3 * MICROSECONDS_PER_DAY,
        .generation = 1,
    };
    world->metrics[0] = (struct metric){.name = text("conversion_rate"),
                                        .type = METRIC_PROPORTION,
                                        .event_type = text("conversion")};
    world->metrics[1] = (struct metric){
        .name = text("revenue"), .type = METRIC_MEAN, .event_type = text("purchase")};
    for (uint32_t i = 0; i < KINDS; i++) {
        world->metric_list[i] = &world->metrics[i];
        world->caps[i] = CAP_NONE;
    }
    world->data = (struct results_data){
        .lsn = 124,
        .experiment_version = 3,
        .variants = world->variant_sums,
        .caps = world->caps,
        .variant_count = ARMS,
        .events_counted = 7,
        .events_duplicate = 1,
        .events_before_assignment = 2,
        .events_filtered = 3,
    };
    world->question = (struct results_question){
        .family_factor = 1.0,
        .experiment = &world->experiment,
        .metrics = world->metric_list,
        .metric_count = KINDS,
        .data = &world->data,
        .now_us = NOW_US,
        .start_day = INT32_MIN,
        .end_day = INT32_MAX,
        .confidence_level = 0.95,
        .test = RESULTS_TEST_WELCH,
        .correction = STATS_CORRECTION_NONE,
    };
}

static const struct results *world_compute(struct world *world)
{
    for (uint32_t i = 0; i < ARMS * KINDS; i++) {
        world->sums[i / KINDS][i % KINDS].users = world->variant_sums[i / KINDS].users;
    }
    cr_assert_eq(results_compute(&world->question, &world->arena, &world->results), STATUS_OK);
    return &world->results;
}

static const char *world_json(struct world *world)
{
    struct json_writer writer = json_writer_in(&world->arena);
    results_write(world_compute(world), &writer);
    cr_assert(!writer.failed);
    return arena_copy(&world->arena, bytes_of(writer.text, writer.size));
}

static bool warns_of(const struct results *results, const char *word)
{
    for (uint32_t i = 0; i < results->warning_count; i++) {
        if (strstr(results->warnings[i], word) != NULL) {
            return true;
        }
    }
    return false;
}

Test(results, equal_arms_are_not_significant)
{
    struct world world;
    world_init(&world);
    const struct results *results = world_compute(&world);
    cr_assert_eq(results->status, RESULTS_NOT_SIGNIFICANT);
    cr_assert_eq(results->total_users, 20000);
    cr_assert_eq(results->duration_days, 4);
    cr_assert(!results->srm_failed);
    cr_assert_eq(results->warning_count, 0);
    cr_assert_float_eq(results_cell(results, 0, 0)->estimate.value, 0.5, 1e-12);
    cr_assert_float_eq(results_cell(results, 1, 1)->estimate.value, 2.0, 1e-12);
    cr_assert_eq(results_cell(results, 1, 0)->count, 2500);
    cr_assert_eq(results_cell(results, 1, 1)->count, 5000);
    cr_assert(!results_cell(results, 0, 0)->is_compared);
    cr_assert_float_eq(results_cell(results, 1, 0)->comparison.p_value, 1.0, 1e-9);
    arena_deinit(&world.arena);
}

Test(results, the_best_treatment_of_the_first_metric_is_the_verdict)
{
    struct world world;
    world_init(&world);
    world.sums[1][0].active = 2550;
    world.sums[2][0].active = 2800;
    const struct results *results = world_compute(&world);
    cr_assert_eq(results->status, RESULTS_SIGNIFICANT);
    cr_assert_eq(results->best_variant, 2);
    cr_assert_eq(results->best_p, results_cell(results, 2, 0)->comparison.p_value);
    cr_assert_lt(results->best_p, 1e-6);
    arena_deinit(&world.arena);
}

Test(results, a_mismatch_of_the_sample_ratio_withholds_the_verdict)
{
    struct world world;
    world_init(&world);
    world.sums[2][0].active = 2800;
    world.variant_sums[2].users = 5600;
    const struct results *results = world_compute(&world);
    cr_assert_eq(results->status, RESULTS_SRM);
    cr_assert(warns_of(results, "Sample ratio mismatch"));
    cr_assert(strstr(world_json(&world), "\"statistical_significance\":null") != NULL);
    /* Where the weights were changed on the way, today's say nothing of the users so far. */
    world.question.weights_changed = true;
    results = world_compute(&world);
    cr_assert_neq(results->status, RESULTS_SRM);
    cr_assert(isnan(results->srm.p_value));
    cr_assert(warns_of(results, "weights were changed"));
    arena_deinit(&world.arena);
}

Test(results, no_users_is_insufficient_data_and_no_number)
{
    struct world world;
    world_init(&world);
    for (uint32_t i = 0; i < ARMS; i++) {
        world.variant_sums[i].users = 0;
        memset(world.sums[i], 0, sizeof(world.sums[i]));
    }
    const struct results *results = world_compute(&world);
    cr_assert_eq(results->status, RESULTS_INSUFFICIENT_DATA);
    cr_assert(!results->has_best);
    cr_assert(warns_of(results, "No users"));
    const char *json = world_json(&world);
    cr_assert(strstr(json, "\"status\":\"insufficient_data\"") != NULL);
    cr_assert(strstr(json, "\"value\":null") != NULL);
    cr_assert(strstr(json, "\"state\":\"no_data\"") != NULL);
    cr_assert(strstr(json, "nan") == NULL);
    arena_deinit(&world.arena);
}

Test(results, overflow_gives_nulls_and_a_warning)
{
    struct world world;
    world_init(&world);
    world.sums[0][1].overflow = true;
    const struct results *results = world_compute(&world);
    cr_assert_eq(results_cell(results, 0, 1)->state, STATS_OVERFLOW);
    cr_assert(isnan(results_cell(results, 0, 1)->estimate.value));
    cr_assert_eq(results_cell(results, 1, 1)->state, STATS_OK);
    cr_assert_eq(results_cell(results, 1, 1)->comparison.state, STATS_OVERFLOW);
    cr_assert(isnan(results_cell(results, 1, 1)->p_adjusted));
    cr_assert(isnan(results_cell(results, 1, 1)->bayesian_p));
    cr_assert(warns_of(results, "revenue"));
    cr_assert(strstr(world_json(&world), "\"state\":\"overflow\"") != NULL);
    arena_deinit(&world.arena);
}

Test(results, tests_judge_by_their_own_numbers)
{
    struct world world;
    world_init(&world);
    world.sums[2][0].active = 2610; /* clear to one look, not to many */
    world.question.metric_count = 1;
    cr_assert_eq(world_compute(&world)->status, RESULTS_SIGNIFICANT);
    world.question.test = RESULTS_TEST_SEQUENTIAL;
    cr_assert_eq(world_compute(&world)->status, RESULTS_NOT_SIGNIFICANT);
    cr_assert_eq(world.results.best_p,
                 results_cell(&world.results, 2, 0)->comparison.sequential_p_value);
    world.question.test = RESULTS_TEST_BAYESIAN;
    double chance = results_cell(world_compute(&world), 2, 0)->comparison.chance_to_win;
    cr_assert_float_eq(world.results.best_p, 2 * (1 - chance), 1e-12);
    arena_deinit(&world.arena);
}

Test(results, correction_is_over_metrics_and_treatments)
{
    struct world world;
    world_init(&world);
    world.sums[1][0].active = 2590;
    world.sums[2][0].active = 2630;
    double raw = results_cell(world_compute(&world), 2, 0)->p_adjusted;
    cr_assert_eq(raw, results_cell(&world.results, 2, 0)->comparison.p_value);
    world.question.correction = STATS_CORRECTION_HOLM;
    cr_assert_float_eq(results_cell(world_compute(&world), 2, 0)->p_adjusted, 4 * raw, 1e-12);
    cr_assert(isnan(results_cell(&world.results, 0, 0)->p_adjusted));
    world.question.correction = STATS_CORRECTION_BH;
    cr_assert_leq(results_cell(world_compute(&world), 2, 0)->p_adjusted, 4 * raw);
    arena_deinit(&world.arena);
}

Test(results, few_users_and_few_conversions_are_warned_of)
{
    struct world world;
    world_init(&world);
    for (uint32_t i = 0; i < ARMS; i++) {
        world.variant_sums[i].users = i == 0 ? 20 : 10;
        world.sums[i][0].active = i == 0 ? 3 : 2;
    }
    world.question.metric_count = 1;
    world.question.test = RESULTS_TEST_SEQUENTIAL;
    const struct results *results = world_compute(&world);
    cr_assert_eq(results->status, RESULTS_INSUFFICIENT_DATA);
    cr_assert(warns_of(results, "has 10 users"));
    cr_assert(warns_of(results, "fewer than 10 users with the event"));
    cr_assert(warns_of(results, "too little data for a verdict"));
    arena_deinit(&world.arena);
}

Test(results, duration_counts_days_inclusively)
{
    struct world world;
    world_init(&world);
    cr_assert_eq(day_parse(text("2024-01-01"), &world.question.start_day), STATUS_OK);
    cr_assert_eq(day_parse(text("2024-01-31"), &world.question.end_day), STATUS_OK);
    cr_assert_eq(world_compute(&world)->duration_days, 31);
    world.question.end_day = world.question.start_day;
    cr_assert_eq(world_compute(&world)->duration_days, 1);
    arena_deinit(&world.arena);
}

Test(results, json_has_the_shape_of_the_contract)
{
    static const char *const parts[] = {
        "{\"experiment_id\":\"00000000-0000-0000-0000-000000000000\"",
        "\"as_of\":{\"lsn\":123,\"time\":\"2026-01-01T10:00:00.000Z\",\"experiment_version\":3,\"generation\":1,"
        "\"complete\":true}",
        "\"summary\":{\"total_users\":20000,\"duration_days\":4,\"status\":\"not_significant\"",
        "\"srm\":{\"p_value\":1",
        "\"events_counted\":7,\"events_excluded\":{\"duplicate\":1,\"before_assignment\":2,"
        "\"filtered\":3}",
        "\"name\":\"control\",\"is_control\":true",
        "\"metrics\":{\"conversion_rate\":{\"value\":0.5,\"confidence_interval\":[",
        "\"sample_size\":10000,\"count\":5000,\"std_error\":",
        "\"vs_control\":{\"absolute\":{\"value\":0",
        "\"relative\":{\"value\":0",
        "\"p_value_adjusted\":1",
        "\"sequential\":{\"p_value\":1",
        "\"bayesian\":{\"chance_to_win\":0.5",
        "\"minimum_detectable_effect\":",
        "\"sum\":20000",
        "\"statistical_significance\":{\"metric\":\"conversion_rate\"",
        "\"warnings\":[]}",
    };
    struct world world;
    world_init(&world);
    const char *json = world_json(&world);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        cr_assert(strstr(json, parts[i]) != NULL, "%s in %s", parts[i], json);
    }
    cr_assert(strstr(json, "time_series") == NULL);
    char *padded = arena_take_zeroed(&world.arena, strlen(json) + JSON_PADDING);
    memcpy(padded, json, strlen(json));
    struct json_reader reader = json_reader_on(padded, strlen(json));
    cr_assert(json_skip(&reader, &world.arena));
    arena_deinit(&world.arena);
}

Test(results, series_gives_each_day_and_the_sum_so_far)
{
    struct world world;
    world_init(&world);
    struct metric_sums on_day[KINDS] = {
        {.users = 100, .active = 10,            .events = 12                 },
        {.users = 100, .active = 10,
         .events = 12,
         .sum = 30 * METRIC_UNIT,
         .sum_square = (uint128)900 * METRIC_UNIT * METRIC_UNIT},
    };
    struct metric_sums cumulative[KINDS] = {
        {.users = 100, .active = 20,            .events = 24                  },
        {.users = 100, .active = 20,
         .events = 24,
         .sum = 50 * METRIC_UNIT,
         .sum_square = (uint128)1700 * METRIC_UNIT * METRIC_UNIT},
    };
    struct day_sums day = {.day = day_of(NOW_US),
                           .users = 40,
                           .users_total = 100,
                           .on_day = on_day,
                           .cumulative = cumulative};
    for (uint32_t i = 0; i < ARMS; i++) {
        world.variant_sums[i].days = &day;
    }
    world.data.day_count = 1;
    world.data.first_day = day.day;
    world.question.series = true;
    const char *json = world_json(&world);
    cr_assert(strstr(json, "\"time_series\":[{\"date\":\"2026-01-01\",\"users\":40,\"metrics\":{"
                           "\"conversion_rate\":"
                           "{\"value\":0.1,\"count\":10,\"cumulative\":{\"value\":0.2,") != NULL,
              "%s", json);
    cr_assert(
        strstr(
            json,
            "\"revenue\":{\"value\":0.3,\"count\":12,\"sum\":30,\"cumulative\":{\"value\":0.5,") !=
            NULL,
        "%s", json);
    arena_deinit(&world.arena);
}
