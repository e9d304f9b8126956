/* test_stats.c: engine/stats.c and engine/dist.cc against independent answers and against laws they must obey.
 *
 * Goal    every number of the module right to 1e-9, at every extreme, and no two numbers that contradict each other.
 * Method  tests/data/stats_cases.csv (made by tests/oracle/stats_cases.py with mpmath, scipy and statsmodels); numbers
 *         printed in papers; invariants over seeded random arms; simulated experiments in which nothing happens.
 */
#include "engine/dist.h"
#include "engine/stats.h"

#include <criterion/criterion.h>
#include <criterion/logging.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TOLERANCE      1e-9
#define CELLS_MAX      512
#define LINE_MAX_BYTES 16384

/* ---- The cases file ---- */

struct row {
    int line;
    size_t count;
    size_t next;
    char *cells[CELLS_MAX];
};

struct cases {
    FILE *file;
    const char *kind;
    int line;
    int found;
    double worst;
    char text[LINE_MAX_BYTES];
};

static struct cases cases_open(const char *kind)
{
    struct cases cases = {.kind = kind};
    cases.file = fopen(ASSAY_SOURCE_DIR "/tests/data/stats_cases.csv", "r");
    cr_assert_not_null(cases.file, "the cases file is missing");
    return cases;
}

/* The next row of the kind, positioned after its first cell. */
static bool cases_next(struct cases *cases, struct row *out_row)
{
    while (fgets(cases->text, sizeof(cases->text), cases->file) != NULL) {
        cases->line++;
        cases->text[strcspn(cases->text, "\n")] = '\0';
        *out_row = (struct row){.line = cases->line, .next = 1};
        char *rest = cases->text;
        for (char *cell; (cell = strsep(&rest, ",")) != NULL;) {
            cr_assert(out_row->count < CELLS_MAX);
            out_row->cells[out_row->count++] = cell;
        }
        if (strcmp(out_row->cells[0], cases->kind) == 0) {
            cases->found++;
            return true;
        }
    }
    return false;
}

static void cases_close(struct cases *cases, int found_min)
{
    fclose(cases->file);
    cr_assert(cases->found >= found_min, "only %d cases of %s", cases->found, cases->kind);
    cr_log_info("%s: %d cases, worst relative error %.1e", cases->kind, cases->found, cases->worst);
}

static const char *cell_text(struct row *row)
{
    cr_assert(row->next < row->count, "line %d is short", row->line);
    return row->cells[row->next++];
}

static double cell_double(struct row *row)
{
    const char *text = cell_text(row);
    char *end;
    double value = strtod(text, &end);
    cr_assert(end != text && *end == '\0', "line %d: %s", row->line, text);
    return value;
}

static int128 cell_integer(struct row *row)
{
    const char *text = cell_text(row);
    bool negative = *text == '-';
    uint128 value = 0;
    for (const char *digit = text + (negative ? 1 : 0); *digit != '\0'; digit++) {
        cr_assert(*digit >= '0' && *digit <= '9', "line %d: %s", row->line, text);
        value = value * 10 + (uint128)(*digit - '0');
    }
    return (int128)(negative ? -value : value);
}

static enum stats_kind cell_kind(struct row *row)
{
    const char *text = cell_text(row);
    cr_assert(strcmp(text, "mean") == 0 || strcmp(text, "proportion") == 0, "line %d", row->line);
    return strcmp(text, "mean") == 0 ? STATS_MEAN : STATS_PROPORTION;
}

static struct stats_arm cell_arm(struct row *row)
{
    struct stats_arm arm;
    arm.users = (uint64_t)cell_integer(row);
    arm.sum = cell_integer(row);
    arm.sum_square = (uint128)cell_integer(row);
    return arm;
}

static bool near(double got, double want, double absolute)
{
    if (isnan(want) || isnan(got)) {
        return isnan(want) && isnan(got);
    }
    /* Below the normal range a double has fewer digits. */
    return fabs(got - want) <= TOLERANCE * fabs(want) + absolute + 1e-315;
}

/* The row's next cell against what the code says. `absolute` is for numbers whose 0 is no special place: logarithms. */
static void expect(struct cases *cases, struct row *row, const char *what, double got,
                   double absolute)
{
    double want = cell_double(row);
    cr_expect(near(got, want, absolute), "line %d: %s is %.17g, not %.17g", row->line, what, got,
              want);
    if (fabs(want) > 1e-300 && isfinite(want) && absolute < 1e-300) {
        cases->worst = fmax(cases->worst, fabs(got - want) / fabs(want));
    }
}

static void expect_text(struct row *row, const char *what, const char *got)
{
    const char *want = cell_text(row);
    cr_expect_str_eq(got, want, "line %d: %s is %s, not %s", row->line, what, got, want);
}

/* ---- Independent answers ---- */

static double distribution(const char *name, double x, double degrees, int line)
{
    static const struct {
        const char *name;
        double (*one)(double);
        double (*two)(double, double);
    } functions[] = {
        {"normal_upper",        dist_normal_upper,    NULL                    },
        {"normal_ln_upper",     dist_normal_ln_upper, NULL                    },
        {"normal_density",      dist_normal_density,  NULL                    },
        {"normal_loss",         dist_normal_loss,     NULL                    },
        {"normal_quantile",     dist_normal_quantile, NULL                    },
        {"t_upper",             NULL,                 dist_t_upper            },
        {"t_ln_upper",          NULL,                 dist_t_ln_upper         },
        {"t_quantile_upper",    NULL,                 dist_t_quantile_upper   },
        {"chi_square_upper",    NULL,                 dist_chi_square_upper   },
        {"chi_square_ln_upper", NULL,                 dist_chi_square_ln_upper},
        {"ln_gamma",            dist_ln_gamma,        NULL                    },
        {"ln1p_minus",          dist_ln1p_minus,      NULL                    },
    };

    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return functions[i].one != NULL ? functions[i].one(x) : functions[i].two(x, degrees);
        }
    }
    cr_assert_fail("line %d: no function %s", line, name);
    return NAN;
}

Test(stats, distributions_match_fifty_digit_references)
{
    struct cases cases = cases_open("dist");
    struct row row;
    while (cases_next(&cases, &row)) {
        const char *name = cell_text(&row);
        double x = cell_double(&row);
        double degrees = cell_double(&row);
        expect(&cases, &row, name, distribution(name, x, degrees, row.line), 0.0);
    }
    cases_close(&cases, 700);
    cr_expect(cases.worst < 1e-12, "the header promises 1e-12, this is %g", cases.worst);
}

Test(stats, one_arm_matches_the_oracle)
{
    struct cases cases = cases_open("arm");
    struct row row;
    while (cases_next(&cases, &row)) {
        enum stats_kind kind = cell_kind(&row);
        struct stats_arm arm = cell_arm(&row);
        struct stats_estimate got = stats_estimate_arm(kind, &arm, cell_double(&row));
        expect_text(&row, "state", stats_state_name(got.state));
        expect(&cases, &row, "value", got.value, 0.0);
        expect(&cases, &row, "std_dev", got.std_dev, 0.0);
        expect(&cases, &row, "std_error", got.std_error, 0.0);
        expect(&cases, &row, "lower", got.interval.lower, 0.0);
        expect(&cases, &row, "upper", got.interval.upper, 0.0);
    }
    cases_close(&cases, 200);
}

static void expect_comparison(struct cases *cases, struct row *row,
                              const struct stats_comparison *got)
{
    const double log_floor = 1e-13;
    expect_text(row, "state", stats_state_name(got->state));
    expect(cases, row, "difference", got->difference, 0.0);
    expect(cases, row, "difference_std_error", got->difference_std_error, 0.0);
    expect(cases, row, "degrees_of_freedom", got->degrees_of_freedom, 0.0);
    expect(cases, row, "difference lower", got->difference_interval.lower, 0.0);
    expect(cases, row, "difference upper", got->difference_interval.upper, 0.0);
    expect(cases, row, "welch lower", got->welch_interval.lower, 0.0);
    expect(cases, row, "welch upper", got->welch_interval.upper, 0.0);
    expect(cases, row, "statistic", got->statistic, 0.0);
    expect(cases, row, "p_value", got->p_value, 0.0);
    expect(cases, row, "ln_p_value", got->ln_p_value, log_floor);
    expect_text(row, "lift_state", stats_state_name(got->lift_state));
    expect(cases, row, "lift", got->lift, 0.0);
    expect(cases, row, "lift lower", got->lift_interval.lower, 0.0);
    expect(cases, row, "lift upper", got->lift_interval.upper, 0.0);
    expect(cases, row, "sequential_half_width", got->sequential_half_width, 0.0);
    expect(cases, row, "sequential_p_value", got->sequential_p_value, 0.0);
    expect(cases, row, "sequential_ln_e", got->sequential_ln_e, log_floor);
    expect(cases, row, "chance_to_win", got->chance_to_win, 0.0);
    expect(cases, row, "expected_loss", got->expected_loss, 0.0);
    expect(cases, row, "credible lower", got->credible_interval.lower, 0.0);
    expect(cases, row, "credible upper", got->credible_interval.upper, 0.0);
    expect(cases, row, "minimum_detectable_effect", got->minimum_detectable_effect, 0.0);
    expect_text(row, "interval_method", got->interval_method);
}

Test(stats, comparisons_match_the_oracle)
{
    struct cases cases = cases_open("compare");
    struct row row;
    while (cases_next(&cases, &row)) {
        enum stats_kind kind = cell_kind(&row);
        struct stats_arm control = cell_arm(&row);
        struct stats_arm treatment = cell_arm(&row);
        struct stats_options options;
        options.confidence_level = cell_double(&row);
        options.sequential_total = cell_double(&row);
        options.prior_lift_std_dev = cell_double(&row);
        options.power = cell_double(&row);
        struct stats_comparison got = stats_compare(kind, &control, &treatment, &options);
        expect_comparison(&cases, &row, &got);
    }
    cases_close(&cases, 150);
}

Test(stats, sample_ratios_match_the_oracle)
{
    struct cases cases = cases_open("srm");
    struct row row;
    while (cases_next(&cases, &row)) {
        uint64_t users[64];
        double weights[64];
        size_t arms = (size_t)cell_integer(&row);
        cr_assert(arms <= COUNT_OF(users));
        for (size_t i = 0; i < arms; i++) {
            users[i] = (uint64_t)cell_integer(&row);
        }
        for (size_t i = 0; i < arms; i++) {
            weights[i] = cell_double(&row);
        }
        struct stats_srm got = stats_sample_ratio(users, weights, arms);
        expect_text(&row, "state", stats_state_name(got.state));
        expect(&cases, &row, "chi_square", got.chi_square, 1e-20);
        expect(&cases, &row, "degrees_of_freedom", got.degrees_of_freedom, 0.0);
        expect(&cases, &row, "p_value", got.p_value, 0.0);
        expect(&cases, &row, "ln_p_value", got.ln_p_value, 1e-13);
        expect(&cases, &row, "sequential_p_value", got.sequential_p_value, 0.0);
        expect(&cases, &row, "sequential_ln_bayes_factor", got.sequential_ln_bayes_factor, 1e-12);
        expect(&cases, &row, "ok", got.ok ? 1.0 : 0.0, 0.0);
    }
    cases_close(&cases, 25);
}

Test(stats, adjusted_families_match_the_oracle)
{
    struct cases cases = cases_open("adjust");
    struct row row;
    while (cases_next(&cases, &row)) {
        double p_values[64];
        double adjusted[64];
        size_t scratch[64];
        size_t count = (size_t)cell_integer(&row);
        cr_assert(count <= COUNT_OF(p_values));
        for (size_t i = 0; i < count; i++) {
            p_values[i] = cell_double(&row);
        }
        stats_adjust(STATS_CORRECTION_HOLM, p_values, count, scratch, adjusted);
        for (size_t i = 0; i < count; i++) {
            expect(&cases, &row, "holm", adjusted[i], 0.0);
        }
        stats_adjust(STATS_CORRECTION_BH, p_values, count, scratch, p_values); /* in place */
        for (size_t i = 0; i < count; i++) {
            expect(&cases, &row, "bh", p_values[i], 0.0);
        }
    }
    cases_close(&cases, 15);
}

Test(stats, sample_sizes_match_the_oracle)
{
    struct cases cases = cases_open("size");
    struct row row;
    while (cases_next(&cases, &row)) {
        struct stats_power_question question = {.kind = cell_kind(&row)};
        question.baseline = cell_double(&row);
        question.std_dev = cell_double(&row);
        question.effect = cell_double(&row);
        question.power = cell_double(&row);
        question.alpha = cell_double(&row);
        question.variants = (uint32_t)cell_integer(&row);
        uint64_t users = 0;
        cr_assert_eq(stats_sample_size(&question, &users), STATUS_OK, "line %d", row.line);
        expect(&cases, &row, "users", (double)users, 0.0);
    }
    cases_close(&cases, 30);
}

/* ---- Numbers from print ---- */

static bool rounds_to(double got, double printed, double unit)
{
    return fabs(got - printed) <= 0.5000001 * unit;
}

Test(stats, wilson_intervals_are_those_of_newcombe_1998)
{
    static const struct {
        uint64_t users;
        int converted;
        double lower;
        double upper;
    } printed[] = {
        {263, 81, 0.2553, 0.3662},
        {148, 15, 0.0624, 0.1605},
        {20,  0,  0.0,    0.1611},
        {29,  1,  0.0061, 0.1718},
    };

    for (size_t i = 0; i < COUNT_OF(printed); i++) {
        struct stats_arm arm = {.users = printed[i].users, .sum = printed[i].converted};
        struct stats_estimate got = stats_estimate_arm(STATS_PROPORTION, &arm, 0.95);
        cr_expect(rounds_to(got.interval.lower, printed[i].lower, 1e-4), "%g", got.interval.lower);
        cr_expect(rounds_to(got.interval.upper, printed[i].upper, 1e-4), "%g", got.interval.upper);
    }
}

Test(stats, newcombe_interval_is_that_of_newcombe_1998)
{
    struct stats_options options = stats_options_default();
    struct stats_arm control = {.users = 10, .sum = 3};
    struct stats_arm treatment = {.users = 10, .sum = 9};
    struct stats_comparison got = stats_compare(STATS_PROPORTION, &control, &treatment, &options);
    cr_expect_str_eq(got.interval_method, "newcombe");
    cr_expect(rounds_to(got.difference_interval.lower, 0.1705, 1e-4));
    cr_expect(rounds_to(got.difference_interval.upper, 0.8090, 1e-4));
}

Test(stats, sample_ratio_is_that_of_the_textbook)
{
    /* Kohavi, Tang, Xu: Trustworthy Online Controlled Experiments (2020), the first example of a mismatch. */
    uint64_t users[] = {821588, 815482};
    double weights[] = {0.5, 0.5};
    struct stats_srm got = stats_sample_ratio(users, weights, 2);
    cr_expect(rounds_to(got.p_value, 1.8e-6, 1e-7), "%g", got.p_value);
    cr_expect(!got.ok);
}

/* ---- Laws ---- */

static uint64_t random_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double random_unit(uint64_t *state)
{
    return ((double)(random_next(state) >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return random_next(state) % limit;
}

/* Users with revenue: a share of them 0, the others between `low` and `low` + 2^20 millionths. */
static struct stats_arm random_mean_arm(uint64_t *state, uint64_t users)
{
    struct stats_arm arm = {.users = users};
    uint64_t zeros = random_below(state, 8);
    int64_t low = (int64_t)random_below(state, 5000000) - 1000000;
    for (uint64_t i = 0; i < users; i++) {
        int64_t value = low + (int64_t)random_below(state, 1 << 20);
        value = random_below(state, 8) < zeros ? 0 : value;
        arm.sum += value;
        arm.sum_square += (uint128)((int128)value * value);
    }
    return arm;
}

static struct stats_arm random_proportion_arm(uint64_t *state, uint64_t users)
{
    return (struct stats_arm){.users = users, .sum = (int128)random_below(state, users + 1)};
}

struct pair {
    enum stats_kind kind;
    struct stats_arm control;
    struct stats_arm treatment;
};

static struct pair random_pair(uint64_t *state)
{
    struct pair pair;
    uint64_t users = 2 + random_below(state, (uint64_t)1 << random_below(state, 9));
    uint64_t others = 2 + random_below(state, (uint64_t)1 << random_below(state, 9));
    pair.kind = random_below(state, 2) != 0 ? STATS_PROPORTION : STATS_MEAN;
    if (pair.kind == STATS_PROPORTION) {
        pair.control = random_proportion_arm(state, users);
        pair.treatment = random_proportion_arm(state, others);
    } else {
        pair.control = random_mean_arm(state, users);
        pair.treatment = random_mean_arm(state, others);
    }
    return pair;
}

static bool excludes_zero(struct interval interval)
{
    return interval.lower > 0.0 || interval.upper < 0.0;
}

#define RANDOM_PAIRS 3000

Test(stats, swapping_the_arms_changes_only_the_sign)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 1;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct pair pair = random_pair(&state);
        struct stats_comparison one =
            stats_compare(pair.kind, &pair.control, &pair.treatment, &options);
        struct stats_comparison two =
            stats_compare(pair.kind, &pair.treatment, &pair.control, &options);
        cr_expect_eq(one.state, two.state);
        cr_expect(near(one.difference, -two.difference, 0.0));
        cr_expect(near(one.statistic, -two.statistic, 0.0));
        cr_expect(near(one.p_value, two.p_value, 0.0));
        cr_expect(near(one.sequential_p_value, two.sequential_p_value, 0.0));
        cr_expect(near(one.difference_interval.lower, -two.difference_interval.upper, 1e-15));
    }
}

Test(stats, the_unit_of_money_does_not_matter)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 2;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct stats_arm arms[2] = {random_mean_arm(&state, 2 + random_below(&state, 300)),
                                    random_mean_arm(&state, 2 + random_below(&state, 300))};
        struct stats_comparison one = stats_compare(STATS_MEAN, &arms[0], &arms[1], &options);
        uint64_t factor = 2 + random_below(&state, 100000);
        for (size_t arm = 0; arm < 2; arm++) {
            arms[arm].sum *= (int128)factor;
            arms[arm].sum_square *= (uint128)factor * factor;
        }
        struct stats_comparison two = stats_compare(STATS_MEAN, &arms[0], &arms[1], &options);
        cr_expect(near(two.difference, one.difference * (double)factor, 0.0));
        cr_expect(near(two.p_value, one.p_value, 0.0));
        cr_expect(near(two.lift, one.lift, 0.0));
        cr_expect(near(two.lift_interval.lower, one.lift_interval.lower, 1e-12));
        cr_expect(near(two.lift_interval.upper, one.lift_interval.upper, 1e-12));
        cr_expect(near(two.chance_to_win, one.chance_to_win, 0.0));
    }
}

Test(stats, users_without_events_dilute_the_mean_and_nothing_else)
{
    uint64_t state = 3;
    for (int i = 0; i < 300; i++) {
        struct stats_arm arm = random_mean_arm(&state, 2 + random_below(&state, 300));
        struct stats_estimate one = stats_estimate_arm(STATS_MEAN, &arm, 0.95);
        double users = (double)arm.users;
        double square = one.std_dev * one.std_dev * (users - 1.0) + users * one.value * one.value;
        arm.users += 1 + random_below(&state, 1000);
        struct stats_estimate two = stats_estimate_arm(STATS_MEAN, &arm, 0.95);
        double more = (double)arm.users;
        double square_more =
            two.std_dev * two.std_dev * (more - 1.0) + more * two.value * two.value;
        cr_expect(near(two.value * more, one.value * users, 0.0));
        cr_expect(near(square_more, square, 0.0));
    }
}

Test(stats, intervals_and_p_values_never_contradict_each_other)
{
    static const double levels[] = {0.5, 0.8, 0.9, 0.95, 0.99, 0.9999};
    uint64_t state = 4;
    int rejected = 0;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct pair pair = random_pair(&state);
        struct stats_options options = stats_options_default();
        options.confidence_level = levels[i % (int)COUNT_OF(levels)];
        options.sequential_total = 1000.0;
        struct stats_comparison got =
            stats_compare(pair.kind, &pair.control, &pair.treatment, &options);
        double alpha = 1.0 - options.confidence_level;
        if (got.state != STATS_OK || near(got.p_value, alpha, 0.0)) {
            continue;
        }
        bool reject = got.p_value <= alpha;
        rejected += reject ? 1 : 0;
        cr_expect_eq(reject, excludes_zero(got.welch_interval));
        if (got.lift_state == STATS_OK) {
            cr_expect_eq(reject, excludes_zero(got.lift_interval));
            cr_expect(got.lift_interval.lower <= got.lift && got.lift <= got.lift_interval.upper);
        }
        cr_expect_eq(got.sequential_p_value <= alpha, excludes_zero(got.sequential_interval));
    }
    cr_expect(rejected > RANDOM_PAIRS / 10 && rejected < RANDOM_PAIRS * 9 / 10, "%d", rejected);
}

Test(stats, undefined_is_said_and_defined_is_finite)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 5;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct pair pair = random_pair(&state);
        struct stats_comparison got =
            stats_compare(pair.kind, &pair.control, &pair.treatment, &options);
        bool tested = got.state == STATS_OK;
        cr_expect_eq(tested,
                     isfinite(got.p_value) && isfinite(got.statistic) && isfinite(got.ln_p_value));
        cr_expect_eq(tested,
                     isfinite(got.sequential_p_value) && isfinite(got.sequential_interval.lower));
        cr_expect_eq(got.lift_state == STATS_OK, isfinite(got.lift_interval.lower) != 0);
        cr_expect_eq(got.lift_state == STATS_OK, isfinite(got.lift_interval.upper) != 0);
        if (tested) {
            cr_expect(got.p_value >= 0.0 && got.p_value <= 1.0 && got.ln_p_value <= 0.0);
            cr_expect(got.difference_interval.lower <= got.difference);
            cr_expect(got.difference_interval.upper >= got.difference);
        }
    }
}

Test(stats, a_proportion_is_the_mean_of_zeros_and_ones)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 6;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct stats_arm counts[2] = {random_proportion_arm(&state, 2 + random_below(&state, 500)),
                                      random_proportion_arm(&state, 2 + random_below(&state, 500))};
        struct stats_arm money[2];
        for (size_t arm = 0; arm < 2; arm++) {
            money[arm] =
                (struct stats_arm){.users = counts[arm].users,
                                   .sum = counts[arm].sum * 1000000,
                                   .sum_square = (uint128)counts[arm].sum * 1000000000000u};
        }
        struct stats_comparison one =
            stats_compare(STATS_PROPORTION, &counts[0], &counts[1], &options);
        struct stats_comparison two = stats_compare(STATS_MEAN, &money[0], &money[1], &options);
        cr_expect_eq(one.state, two.state);
        cr_expect(near(one.p_value, two.p_value, 0.0));
        cr_expect(near(one.difference_std_error, two.difference_std_error, 0.0));
        cr_expect(near(one.welch_interval.lower, two.welch_interval.lower, 1e-15));
        cr_expect(near(one.lift_interval.upper, two.lift_interval.upper, 1e-12));
    }
}

Test(stats, looking_often_costs_something_at_every_look)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 7;
    int compared = 0;
    for (int i = 0; i < RANDOM_PAIRS; i++) {
        struct stats_arm arms[2];
        for (size_t arm = 0; arm < 2; arm++) {
            uint64_t users = 100 + random_below(&state, 3000);
            arms[arm] = (struct stats_arm){
                .users = users, .sum = (int128)(users * (20 + random_below(&state, 6)) / 100)};
        }
        struct stats_comparison got = stats_compare(STATS_PROPORTION, &arms[0], &arms[1], &options);
        /* The sequence is asymptotic: far out, the t tail of few users is heavier than its normal one. */
        if (got.sequential_ready && fabs(got.statistic) < 8.0) {
            compared++;
            cr_expect(got.sequential_p_value >= got.p_value);
            cr_expect(got.sequential_interval.lower <= got.welch_interval.lower);
        }
    }
    cr_expect(compared > RANDOM_PAIRS / 2, "%d", compared);
}

Test(stats, corrections_are_ordered_and_blind_to_the_order_of_input)
{
    uint64_t state = 8;
    for (int i = 0; i < 500; i++) {
        double raw[40];
        double holm[40];
        double bh[40];
        double none[40];
        double turned[40];
        size_t scratch[40];
        size_t count = 1 + (size_t)random_below(&state, 40);
        for (size_t k = 0; k < count; k++) {
            raw[k] = pow(random_unit(&state), 4.0);
        }
        stats_adjust(STATS_CORRECTION_NONE, raw, count, scratch, none);
        stats_adjust(STATS_CORRECTION_HOLM, raw, count, scratch, holm);
        stats_adjust(STATS_CORRECTION_BH, raw, count, scratch, bh);
        for (size_t k = 0; k < count; k++) {
            turned[k] = raw[count - 1 - k];
        }
        stats_adjust(STATS_CORRECTION_HOLM, turned, count, scratch, turned);
        for (size_t k = 0; k < count; k++) {
            cr_expect(holm[k] >= bh[k] && bh[k] >= raw[k] && none[k] == raw[k]);
            cr_expect(holm[k] <= 1.0 && turned[count - 1 - k] == holm[k]);
        }
    }
}

Test(stats, closed_arms_and_the_scale_of_weights_do_not_matter_to_the_sample_ratio)
{
    uint64_t users[] = {5020, 9, 2480, 2510};
    double weights[] = {0.5, 0.0, 0.25, 0.25};
    uint64_t open_users[] = {2510, 5020, 2480};
    double open_weights[] = {7.0, 14.0, 7.0};
    struct stats_srm one = stats_sample_ratio(users, weights, 4);
    struct stats_srm two = stats_sample_ratio(open_users, open_weights, 3);
    cr_expect(near(one.p_value, two.p_value, 0.0));
    cr_expect(near(one.sequential_ln_bayes_factor, two.sequential_ln_bayes_factor, 1e-12));
    cr_expect(near(one.degrees_of_freedom, 2.0, 0.0));
}

Test(stats, the_bayes_factor_is_the_product_of_its_predictions)
{
    /* Each user in turn: the alternative predicts arm i with (prior_i + seen_i) / (prior + seen). */
    uint64_t state = 9;
    double weights[] = {0.2, 0.3, 0.5};
    uint64_t users[3] = {0};
    double sum = 0.0;
    for (int seen = 0; seen < 20000; seen++) {
        size_t arm = (size_t)random_below(&state, 3);
        double prior = 10000.0 * weights[arm];
        sum += log((prior + (double)users[arm]) / (10000.0 + seen)) - log(weights[arm]);
        users[arm]++;
    }
    struct stats_srm got = stats_sample_ratio(users, weights, 3);
    cr_expect(near(got.sequential_ln_bayes_factor, sum, 1e-8), "%g %g",
              got.sequential_ln_bayes_factor, sum);
}

Test(stats, the_sample_size_is_the_smallest_that_has_the_power)
{
    struct stats_power_question question = {.kind = STATS_PROPORTION,
                                            .baseline = 0.1,
                                            .effect = 0.1,
                                            .power = 0.8,
                                            .alpha = 0.05,
                                            .variants = 2};
    uint64_t users = 0;
    cr_assert_eq(stats_sample_size(&question, &users), STATUS_OK);
    double variances = 0.1 * 0.9 + 0.11 * 0.89;
    for (uint64_t less = 0; less < 2; less++) {
        double z = 0.01 / sqrt(variances / (double)(users - less));
        double power = dist_normal_upper(-dist_normal_quantile(0.025) - z);
        cr_expect_eq(power >= 0.8, less == 0, "%g", power);
    }
}

Test(stats, the_detectable_effect_would_be_detected)
{
    /* A lift of exactly the detectable effect lies k standard errors, under itself, from 0. */
    struct stats_options options = stats_options_default();
    struct stats_arm control = {.users = 20000, .sum = 1000};
    struct stats_arm treatment = {.users = 10000, .sum = 520};
    struct stats_comparison got = stats_compare(STATS_PROPORTION, &control, &treatment, &options);
    double lift = got.minimum_detectable_effect;
    double relative = 0.05 * 0.95 / (0.05 * 0.05) * 20000.0 / 19999.0;
    double error = sqrt(relative / 20000 * (1 + lift) * (1 + lift) + relative / 10000);
    double k = dist_normal_quantile(0.975) + dist_normal_quantile(0.8);
    cr_expect(near(lift / error, k, 0.0));
}

/* ---- Edges ---- */

Test(stats, sums_that_no_users_have_are_refused)
{
    struct stats_options options = stats_options_default();
    struct stats_arm good = {.users = 3, .sum = 6, .sum_square = 14};
    struct stats_arm bad[] = {
        {.users = 3, .sum = 6, .sum_square = 11                       }, /* below S^2 / n */
        {.users = 3, .sum = 6, .sum_square = STATS_SUM_SQUARE_OVERFLOW},
        {.users = 0, .sum = 1, .sum_square = 1                        },
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        cr_expect_eq(stats_estimate_arm(STATS_MEAN, &bad[i], 0.95).state, STATS_OVERFLOW);
        struct stats_comparison got = stats_compare(STATS_MEAN, &good, &bad[i], &options);
        cr_expect_eq(got.state, STATS_OVERFLOW);
        cr_expect_eq(got.lift_state, STATS_OVERFLOW);
        cr_expect(isnan(got.p_value) && isnan(got.difference) && isnan(got.lift));
    }
    struct stats_arm more = {.users = 3, .sum = 4};
    struct stats_arm less = {.users = 3, .sum = -1};
    cr_expect_eq(stats_estimate_arm(STATS_PROPORTION, &more, 0.95).state, STATS_OVERFLOW);
    cr_expect_eq(stats_estimate_arm(STATS_PROPORTION, &less, 0.95).state, STATS_OVERFLOW);
}

Test(stats, impossible_power_questions_are_refused)
{
    const struct stats_power_question good = {.kind = STATS_PROPORTION,
                                              .baseline = 0.1,
                                              .effect = 0.1,
                                              .power = 0.8,
                                              .alpha = 0.05,
                                              .variants = 2};
    struct stats_power_question bad[] = {good, good, good, good, good, good, good, good, good};
    bad[0].baseline = 0.0;
    bad[1].effect = 9.0; /* a proportion of 1 */
    bad[2].effect = 0.0;
    bad[3].power = 1.0;
    bad[4].alpha = 0.0;
    bad[5].variants = 1;
    bad[6].kind = STATS_MEAN; /* no std_dev */
    bad[7].effect = NAN;
    bad[8].power = 1e-6;
    uint64_t users = 77;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        cr_expect_eq(stats_sample_size(&bad[i], &users), STATUS_INVALID, "question %zu", i);
    }
    struct stats_power_question huge = good;
    huge.effect = 1e-9;
    cr_expect_eq(stats_sample_size(&huge, &users), STATUS_TOO_LARGE);
    cr_expect_eq(users, 77, "untouched on failure");
}

Test(stats, distributions_answer_outside_their_domain_too)
{
    cr_expect(isnan(dist_normal_upper(NAN)) && isnan(dist_normal_ln_upper(NAN)) &&
              isnan(dist_normal_loss(NAN)));
    cr_expect(isnan(dist_t_upper(NAN, 5)) && isnan(dist_t_upper(1, NAN)) &&
              isnan(dist_t_upper(1, 0)));
    cr_expect(isnan(dist_t_ln_upper(1, -1)) && isnan(dist_t_quantile_upper(0.5, 0)));
    cr_expect(isnan(dist_t_quantile_upper(0, 5)) && isnan(dist_t_quantile_upper(NAN, 5)));
    cr_expect(isnan(dist_chi_square_upper(-1, 5)) && isnan(dist_chi_square_ln_upper(1, 0)));
    cr_expect(isnan(dist_normal_quantile(-0.1)) && isnan(dist_normal_quantile(NAN)));
    cr_expect(isnan(dist_ln_gamma(0)) && isnan(dist_ln_gamma(-1.5)) && isnan(dist_ln_gamma(NAN)));
    cr_expect_eq(dist_normal_upper(INFINITY), 0.0);
    cr_expect_eq(dist_normal_upper(-INFINITY), 1.0);
    cr_expect_eq(dist_normal_ln_upper(INFINITY), -INFINITY);
    cr_expect_eq(dist_normal_loss(INFINITY), 0.0);
    cr_expect_eq(dist_t_upper(INFINITY, 5), 0.0);
    cr_expect_eq(dist_t_upper(-INFINITY, 5), 1.0);
    cr_expect_eq(dist_t_ln_upper(INFINITY, 5), -INFINITY);
    cr_expect_eq(dist_chi_square_upper(INFINITY, 5), 0.0);
    cr_expect_eq(dist_chi_square_ln_upper(INFINITY, 5), -INFINITY);
}

/* ---- Experiments in which nothing happens ---- */

#define NULL_EXPERIMENTS 600
#define NULL_LOOKS       50

Test(stats, with_no_effect_peeking_fools_the_fixed_test_and_not_the_sequence)
{
    struct stats_options options = stats_options_default();
    uint64_t state = 10;
    int fooled_fixed = 0;
    int fooled_sequence = 0;
    double final_p_values[NULL_EXPERIMENTS];
    for (int experiment = 0; experiment < NULL_EXPERIMENTS; experiment++) {
        struct stats_arm arms[2] = {{0}};
        bool fixed = false;
        bool sequence = false;
        for (int look = 0; look < NULL_LOOKS; look++) {
            for (int user = 0; user < 400; user++) {
                arms[user & 1].users++;
                arms[user & 1].sum += random_unit(&state) < 0.08 ? 1 : 0;
            }
            struct stats_comparison got =
                stats_compare(STATS_PROPORTION, &arms[0], &arms[1], &options);
            fixed = fixed || got.p_value <= 0.05;
            sequence = sequence || (got.sequential_ready && got.sequential_p_value <= 0.05);
            final_p_values[experiment] = got.p_value;
        }
        fooled_fixed += fixed ? 1 : 0;
        fooled_sequence += sequence ? 1 : 0;
    }
    cr_expect(fooled_fixed > NULL_EXPERIMENTS / 5, "%d", fooled_fixed);
    cr_expect(fooled_sequence <= NULL_EXPERIMENTS / 20, "%d", fooled_sequence);
    /* One look at the end: the p-values are uniform (Kolmogorov-Smirnov, critical value of 0.001). */
    double distance = 0.0;
    for (int i = 0; i < NULL_EXPERIMENTS; i++) {
        int below = 0;
        for (int k = 0; k < NULL_EXPERIMENTS; k++) {
            below += final_p_values[k] <= final_p_values[i] ? 1 : 0;
        }
        distance = fmax(distance, fabs((double)below / NULL_EXPERIMENTS - final_p_values[i]));
    }
    cr_expect(distance < 1.95 / sqrt(NULL_EXPERIMENTS), "%g", distance);
}
