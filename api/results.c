/* results.c: see results.h for what is computed; results_json.c writes it. */
#include "api/results.h"

#include <math.h>
#include <stdio.h>

#include "engine/limits.h"
#include "engine/timestamp.h"

/* Below so many users in an arm, or in a sequential comparison as a whole, nothing is decided or it is warned: the
 * intervals rest on large samples. */
#define USERS_FEW            100u
#define VERDICT_USERS_MIN 30u /* in each of the two arms, for the tests that are no sequence */
/* Below so many conversions or non-conversions in an arm the normal approximation is poor. */
#define CONVERSIONS_FEW 10u

static const char *const test_names[] = {
    [RESULTS_TEST_WELCH] = "welch",
    [RESULTS_TEST_SEQUENTIAL] = "sequential",
    [RESULTS_TEST_BAYESIAN] = "bayesian",
};

const char *results_test_name(enum results_test test)
{
    return test_names[test];
}

static const char *const status_names[] = {
    [RESULTS_INSUFFICIENT_DATA] = "insufficient_data",
    [RESULTS_NOT_SIGNIFICANT] = "not_significant",
    [RESULTS_SIGNIFICANT] = "significant",
    [RESULTS_SRM] = "srm",
};

const char *results_status_name(enum results_status status)
{
    return status_names[status];
}

static struct results_cell *cell_at(const struct results *results, uint32_t variant,
                                    uint32_t metric)
{
    assert(variant < results->question->data->variant_count);
    assert(metric < results->question->metric_count);
    return &results->cells[(size_t)variant * results->question->metric_count + metric];
}

const struct results_cell *results_cell(const struct results *results, uint32_t variant,
                                        uint32_t metric)
{
    return cell_at(results, variant, metric);
}

/* Cells. */

enum stats_kind results_kind(const struct metric *metric)
{
    static const enum stats_kind kinds[] = {
        [METRIC_PROPORTION] = STATS_PROPORTION,
        [METRIC_MEAN] = STATS_MEAN,
        [METRIC_RATIO] = STATS_RATIO,
        [METRIC_RETENTION] = STATS_PROPORTION,
        [METRIC_QUANTILE] = STATS_QUANTILE,
    };
    return kinds[metric->type];
}

struct stats_arm results_arm(const struct metric *metric, const struct metric_sums *sums)
{
    if (results_kind(metric) == STATS_PROPORTION) {
        return (struct stats_arm){.users = sums->users, .sum = (int128)sums->active};
    }
    return (struct stats_arm){.users = sums->users,
                              .sum = sums->sum,
                              .sum_square = sums->sum_square,
                              .other_sum = sums->other_sum,
                              .other_square = sums->other_square,
                              .product = sums->product,
                              .probability = metric->quantile,
                              .quantile = sums->quantile,
                              .quantile_lower = sums->quantile_lower,
                              .quantile_upper = sums->quantile_upper};
}

/* A proportion counts users, so sums beyond 128 bits do not concern it. Missing events do, where they are kept one by one. */
static bool is_overflow(const struct metric *metric, const struct metric_sums *sums)
{
    return sums->overflow && (results_kind(metric) != STATS_PROPORTION || metric_keeps_events(metric));
}

static struct stats_estimate estimate_none(enum stats_state state)
{
    return (struct stats_estimate){
        .state = state,
        .value = NAN,
        .std_dev = NAN,
        .std_error = NAN,
        .interval = {NAN, NAN},
    };
}

static struct stats_comparison comparison_none(enum stats_state state)
{
    const struct interval none = {NAN, NAN};
    return (struct stats_comparison){
        .state = state,
        .difference = NAN,
        .difference_std_error = NAN,
        .degrees_of_freedom = NAN,
        .difference_interval = none,
        .statistic = NAN,
        .p_value = NAN,
        .ln_p_value = NAN,
        .z_p_value = NAN,
        .lift_state = state,
        .lift = NAN,
        .lift_interval = none,
        .sequential_half_width = NAN,
        .sequential_interval = none,
        .sequential_p_value = NAN,
        .sequential_ln_e = NAN,
        .chance_to_win = NAN,
        .expected_loss = NAN,
        .credible_interval = none,
        .minimum_detectable_effect = NAN,
    };
}

static void cell_compare(const struct results *results, const struct metric *metric,
                         const struct variant_sums *control, const struct variant_sums *treatment,
                         uint32_t index, struct results_cell *cell)
{
    struct stats_options options = stats_options_default();
    options.confidence_level = results->question->confidence_level;
    const struct metric_sums *base = &control->metrics[index];
    const struct metric_sums *sums = &treatment->metrics[index];
    cell->is_compared = true;
    if (is_overflow(metric, base) || is_overflow(metric, sums)) {
        cell->comparison = comparison_none(STATS_OVERFLOW);
    } else {
        struct stats_arm control_arm = results_arm(metric, base);
        struct stats_arm treatment_arm = results_arm(metric, sums);
        cell->comparison = stats_compare(results_kind(metric), &control_arm, &treatment_arm, &options);
    }
    double chance = cell->comparison.chance_to_win;
    cell->bayesian_p = 2.0 * fmin(chance, 1.0 - chance);
    if (isnan(chance)) {
        cell->bayesian_p = NAN; /* fmin() passes over a NaN beside a number */
    }
}

static void cell_fill(const struct results *results, uint32_t variant, uint32_t index)
{
    const struct results_question *question = results->question;
    const struct metric *metric = question->metrics[index];
    const struct variant_sums *sums = &question->data->variants[variant];
    const struct metric_sums *own = &sums->metrics[index];
    struct results_cell *cell = cell_at(results, variant, index);
    *cell = (struct results_cell){
        .users = own->users,
        .count = results_kind(metric) == STATS_PROPORTION ? own->active : own->events,
        .sum = own->sum,
        .cap = question->data->caps[index],
        .capped = own->capped,
        .comparison = comparison_none(STATS_NO_DATA),
        .p_adjusted = NAN,
        .sequential_p_adjusted = NAN,
        .bayesian_p = NAN,
    };
    if (is_overflow(metric, own)) {
        cell->estimate = estimate_none(STATS_OVERFLOW);
    } else {
        struct stats_arm arm = results_arm(metric, own);
        cell->estimate = stats_estimate_arm(results_kind(metric), &arm, question->confidence_level);
    }
    cell->state = cell->estimate.state;
    if (variant != question->experiment->control) {
        cell_compare(results, metric, &question->data->variants[question->experiment->control],
                     sums, index, cell);
    }
}

/* Puts adjusted comparisons of one metric in the place of the plain ones. */
static void cuped_metric(struct results *results, uint32_t index, struct stats_arm *arms)
{
    const struct results_question *question = results->question;
    const uint32_t control = question->experiment->control;
    struct stats_options options = stats_options_default();
    options.confidence_level = question->confidence_level;
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        const struct variant_sums *sums = &question->data->variants[i];
        if (is_overflow(question->metrics[index], &sums->metrics[index])) {
            return;
        }
        arms[i] = (struct stats_arm){.users = sums->metrics[index].users,
                                     .sum = sums->metrics[index].sum,
                                     .sum_square = sums->metrics[index].sum_square,
                                     .other_sum = sums->metrics[index].other_sum,
                                     .other_square = sums->metrics[index].other_square,
                                     .product = sums->metrics[index].product};
    }
    struct stats_cuped *cuped = &results->cuped[index];
    if (stats_cuped_of(arms, question->data->variant_count, control, cuped) != STATS_OK || !(fabs(cuped->slope) > 0.0)) {
        return;
    }
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        struct results_cell *cell = cell_at(results, i, index);
        cell->is_adjusted = true;
        cell->adjusted = stats_estimate_cuped(&arms[i], cuped, question->confidence_level);
        if (cell->is_compared) {
            cell->comparison = stats_compare_cuped(&arms[control], &arms[i], cuped, &options);
            const double chance = cell->comparison.chance_to_win;
            cell->bayesian_p = isnan(chance) ? chance : 2.0 * fmin(chance, 1.0 - chance);
        }
    }
}

static bool is_adjustable(const struct metric *metric)
{
    return metric->type == METRIC_MEAN || metric->type == METRIC_PROPORTION;
}

static enum status cuped_apply(struct results *results)
{
    const struct results_question *question = results->question;
    if (question->cuped_days == 0) {
        return STATUS_OK;
    }
    struct stats_arm *arms = arena_take(results->arena, question->data->variant_count * sizeof(*arms) + 1);
    results->cuped = arena_take_zeroed(results->arena, question->metric_count * sizeof(*results->cuped) + 1);
    if (arms == NULL || results->cuped == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < question->metric_count; i++) {
        if (is_adjustable(question->metrics[i])) {
            cuped_metric(results, i, arms);
        }
    }
    return STATUS_OK;
}

/* A margin is relative to the control's value; the intervals are of the difference. */
static enum results_guardrail guardrail_of(const struct results *results, const struct metric *metric, const struct results_cell *control,
                                           const struct results_cell *cell)
{
    const bool is_sequential = results->question->test == RESULTS_TEST_SEQUENTIAL;
    const struct interval *interval = is_sequential ? &cell->comparison.sequential_interval : &cell->comparison.difference_interval;
    const double margin = metric->guardrail_margin * fabs(control->estimate.value);
    const bool is_ready = cell->comparison.sequential_ready || !is_sequential;
    if (!is_ready || isnan(interval->lower) || isnan(interval->upper) || isnan(margin)) {
        return RESULTS_GUARDRAIL_UNDECIDED;
    }
    const double worst = metric->direction == METRIC_INCREASE ? interval->lower : -interval->upper;
    const double best = metric->direction == METRIC_INCREASE ? interval->upper : -interval->lower;
    if (best < -margin) {
        return RESULTS_GUARDRAIL_BREACHED;
    }
    return worst > -margin ? RESULTS_GUARDRAIL_OK : RESULTS_GUARDRAIL_UNDECIDED;
}

static void judge_guardrails(struct results *results)
{
    const struct results_question *question = results->question;
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        for (uint32_t j = 0; j < question->metric_count; j++) {
            struct results_cell *cell = cell_at(results, i, j);
            if (cell->is_compared && question->metrics[j]->is_guardrail) {
                cell->guardrail_margin = question->metrics[j]->guardrail_margin;
                cell->guardrail = guardrail_of(results, question->metrics[j], cell_at(results, question->experiment->control, j), cell);
            }
        }
    }
}

/* Of a question that is asked of several parts of the users, the family is all of them: each part gets its share of the error. */
static double family_p(const struct results_question *question, double adjusted)
{
    const double p = question->correction == STATS_CORRECTION_NONE ? adjusted : adjusted * question->family_factor;
    return p > 1.0 ? 1.0 : p; /* NaN stays */
}

/* The family: every treatment in every metric asked for. */
static enum status adjust(struct results *results)
{
    const struct results_question *question = results->question;
    size_t cells = (size_t)question->data->variant_count * question->metric_count;
    double *fixed = arena_take(results->arena, cells * sizeof(double));
    double *sequential = arena_take(results->arena, cells * sizeof(double));
    double *adjusted = arena_take(results->arena, cells * sizeof(double));
    size_t *scratch = arena_take(results->arena, cells * sizeof(size_t));
    if (fixed == NULL || sequential == NULL || adjusted == NULL || scratch == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* The controls' cells hold NaN, which leaves the family. */
    for (size_t i = 0; i < cells; i++) {
        const struct results_cell *cell = &results->cells[i];
        fixed[i] = cell->comparison.p_value;
        sequential[i] = cell->comparison.sequential_p_value;
    }
    stats_adjust(question->correction, fixed, cells, scratch, adjusted);
    for (size_t i = 0; i < cells; i++) {
        results->cells[i].p_adjusted = family_p(question, adjusted[i]);
    }
    stats_adjust(question->correction, sequential, cells, scratch, adjusted);
    for (size_t i = 0; i < cells; i++) {
        results->cells[i].sequential_p_adjusted = family_p(question, adjusted[i]);
    }
    return STATUS_OK;
}

/* Health and verdict. */

static enum status judge_sample_ratio(struct results *results)
{
    const struct results_question *question = results->question;
    uint32_t arms = question->data->variant_count;
    uint64_t *users = arena_take(results->arena, arms * sizeof(*users));
    double *weights = arena_take(results->arena, arms * sizeof(*weights));
    if (users == NULL || weights == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < arms; i++) {
        users[i] = question->data->variants[i].users;
        weights[i] = question->experiment->variants[i].weight;
        results->total_users += users[i];
    }
    results->srm = stats_sample_ratio(users, weights, arms);
    if (question->weights_changed) {
        results->srm.p_value = NAN;
        results->srm.sequential_p_value = NAN;
        results->srm.chi_square = NAN;
    }
    results->srm_failed =
        !question->weights_changed && results->srm.state == STATS_OK && !results->srm.ok;
    return STATUS_OK;
}

/* The p-value that the question's test judges by, raw and adjusted. There is no correction of posterior tails. */
static double verdict_p(const struct results *results, const struct results_cell *cell,
                        double *out_adjusted)
{
    switch (results->question->test) {
    case RESULTS_TEST_WELCH:
        *out_adjusted = cell->p_adjusted;
        return cell->comparison.p_value;
    case RESULTS_TEST_SEQUENTIAL:
        *out_adjusted = cell->sequential_p_adjusted;
        return cell->comparison.sequential_p_value;
    case RESULTS_TEST_BAYESIAN:
        break;
    }
    *out_adjusted = cell->bayesian_p;
    return cell->bayesian_p;
}

/* Is a comparison large enough to be decided by this test? */
static bool is_decidable(const struct results *results, const struct results_cell *cell)
{
    const struct results_question *question = results->question;
    const uint64_t control = question->data->variants[question->experiment->control].users;
    return question->test == RESULTS_TEST_SEQUENTIAL
               ? cell->comparison.sequential_ready
               : cell->users >= VERDICT_USERS_MIN && control >= VERDICT_USERS_MIN;
}

static void judge(struct results *results)
{
    const struct results_question *question = results->question;
    bool is_decided = false;
    for (uint32_t i = 0; question->metric_count > 0 && i < question->data->variant_count; i++) {
        const struct results_cell *cell = cell_at(results, i, 0);
        double adjusted = NAN;
        double p = verdict_p(results, cell, &adjusted);
        if (!cell->is_compared || isnan(p) || (results->has_best && p >= results->best_p)) {
            continue;
        }
        results->has_best = true;
        results->best_variant = i;
        results->best_p = p;
        results->best_p_adjusted = adjusted;
        is_decided = is_decidable(results, cell);
    }
    if (results->srm_failed) {
        results->status = RESULTS_SRM;
    } else if (!results->has_best || !is_decided) {
        results->status = RESULTS_INSUFFICIENT_DATA;
    } else {
        bool is_significant = results->best_p_adjusted <= 1.0 - question->confidence_level;
        results->status = is_significant ? RESULTS_SIGNIFICANT : RESULTS_NOT_SIGNIFICANT;
    }
}

/* From the first to the last day asked for, or else of the experiment so far; both inclusive. */
static int64_t duration_days(const struct results_question *question)
{
    const struct experiment *experiment = question->experiment;
    const struct results_data *data = question->data;
    int64_t start_us =
        experiment->started_at_us != 0 ? experiment->started_at_us : experiment->created_at_us;
    start_us = experiment->randomized_at_us > start_us ? experiment->randomized_at_us : start_us;
    int64_t end_us = experiment->ended_at_us != 0 ? experiment->ended_at_us : question->now_us;
    int32_t first = day_of(start_us);
    int32_t last = day_of(end_us);
    if (data->day_count > 0) {
        /* Imported assignments, and events after the end, are older or newer. */
        int32_t data_last = data->first_day + (int32_t)data->day_count - 1;
        first = data->first_day < first ? data->first_day : first;
        last = data_last > last ? data_last : last;
    }
    if (question->start_day != INT32_MIN) {
        first = question->start_day;
    }
    if (question->end_day != INT32_MAX) {
        last = question->end_day;
    }
    return last < first ? 0 : (int64_t)last - first + 1;
}

/* Warnings. */

static PRINTF_LIKE(2, 3) void warn(struct results *results, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    assert(size >= 0);
    const char *copy = arena_copy(results->arena, bytes_of_text(text));
    if (copy != NULL && results->warning_count < results->warning_capacity) {
        results->warnings[results->warning_count++] = copy;
    }
}

static void warn_of_users(struct results *results)
{
    const struct results_question *question = results->question;
    const struct experiment *experiment = question->experiment;
    uint32_t fewest = UINT32_MAX;
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        uint64_t users = question->data->variants[i].users;
        bool is_open = experiment->variants[i].weight > 0.0 || users > 0;
        if (is_open && (fewest == UINT32_MAX || users < question->data->variants[fewest].users)) {
            fewest = i;
        }
    }
    if (results->total_users == 0) {
        warn(results, "No users have been assigned yet.");
    } else if (fewest != UINT32_MAX && question->data->variants[fewest].users < USERS_FEW) {
        warn(results,
             "Variant \"%.*s\" has %llu users: intervals and p-values rest on large samples and "
             "are rough below %u users a variant.",
             (int)experiment->variants[fewest].name.size,
             (const char *)experiment->variants[fewest].name.data,
             (unsigned long long)question->data->variants[fewest].users, USERS_FEW);
    }
}

static void warn_of_sample_ratio(struct results *results)
{
    if (results->srm_failed) {
        warn(results,
             "Sample ratio mismatch (p = %.3g): the users are not split as the weights say, so the "
             "variants cannot be compared and the verdict is withheld. Look for lost, repeated or "
             "imported assignments first.",
             results->srm.p_value);
    }
    if (results->question->weights_changed && results->total_users > 0) {
        warn(results,
             "The weights were changed while users were being assigned: the sample ratio is not "
             "judged, and users who came at different times are mixed unequally.");
    }
}

static bool has_few_conversions(const struct results *results, uint32_t metric)
{
    for (uint32_t i = 0; i < results->question->data->variant_count; i++) {
        const struct results_cell *cell = cell_at(results, i, metric);
        uint64_t rest = cell->users - (cell->count < cell->users ? cell->count : cell->users);
        if (cell->users > 0 && (cell->count < CONVERSIONS_FEW || rest < CONVERSIONS_FEW)) {
            return true;
        }
    }
    return false;
}

static void warn_of_metric(struct results *results, uint32_t index)
{
    const struct metric *metric = results->question->metrics[index];
    int size = (int)metric->name.size;
    const char *name = (const char *)metric->name.data;
    uint64_t count = 0;
    bool overflow = false;
    for (uint32_t i = 0; i < results->question->data->variant_count; i++) {
        count += cell_at(results, i, index)->count;
        overflow = overflow || cell_at(results, i, index)->state == STATS_OVERFLOW;
    }
    if (overflow) {
        warn(results, "%.*s: the values add up beyond what can be counted exactly; no numbers.",
             size, name);
    }
    if (metric->archived) {
        warn(results, "%.*s is archived: it is still counted, but new experiments cannot name it.", size, name);
    }
    if (results->total_users > 0 && count == 0 && metric->type == METRIC_RATIO) {
        warn(results, "%.*s: no event of its denominator, %.*s, was counted in this range.", size, name,
             (int)metric->denominator.size, (const char *)metric->denominator.data);
    } else if (metric->type == METRIC_RETENTION && results->total_users > 0 && count == 0) {
        warn(results, "%.*s: no user has come back yet whose %u days are over.", size, name, metric->to_day);
    } else if (results->total_users > 0 && count == 0) {
        warn(results, "%.*s: no event \"%.*s\" was counted for it in this range.", size, name,
             (int)metric->event_type.size, (const char *)metric->event_type.data);
    } else if (results_kind(metric) == STATS_PROPORTION && has_few_conversions(results, index)) {
        warn(results,
             "%.*s: a variant has fewer than %u users with the event, or without it; its p-value "
             "is rough.",
             size, name, CONVERSIONS_FEW);
    }
}

static void warn_of_guardrail(struct results *results, uint32_t index)
{
    const struct metric *metric = results->question->metrics[index];
    for (uint32_t i = 0; i < results->question->data->variant_count; i++) {
        const struct variant *variant = &results->question->experiment->variants[i];
        if (cell_at(results, i, index)->guardrail == RESULTS_GUARDRAIL_BREACHED) {
            warn(results, "%.*s: its guardrail is breached: variant \"%.*s\" is worse than the control by more than %.4g %%.",
                 (int)metric->name.size, (const char *)metric->name.data, (int)variant->name.size, (const char *)variant->name.data,
                 100.0 * metric->guardrail_margin);
        }
    }
}

static void warn_of_cuped(struct results *results, uint32_t index)
{
    const struct metric *metric = results->question->metrics[index];
    const int size = (int)metric->name.size;
    const char *name = (const char *)metric->name.data;
    const struct stats_cuped *cuped = &results->cuped[index];
    if (!is_adjustable(metric)) {
        warn(results, "%.*s: only means and proportions are adjusted by cuped.", size, name);
    } else if (!(fabs(cuped->slope) > 0.0)) {
        warn(results, "%.*s: not adjusted by cuped: the %u days before the assignments explain nothing of it.", size, name,
             results->question->cuped_days);
    } else if (cuped->covariate_p_value < 0.001) {
        warn(results,
             "%.*s: the variants differed before the experiment already (p = %.3g): look for lost, repeated or imported "
             "assignments before you believe the difference.",
             size, name, cuped->covariate_p_value);
    }
}

static void warn_of_test(struct results *results)
{
    if (results->status == RESULTS_INSUFFICIENT_DATA && results->has_best) {
        warn(results, "There is too little data for a verdict: the sequential test wants 50 users a variant, and of a "
                      "proportion 25 with the event and 25 without; the other tests want %u users.",
             VERDICT_USERS_MIN);
    }
    if (results->question->test == RESULTS_TEST_BAYESIAN &&
        results->question->experiment->status == EXPERIMENT_RUNNING) {
        warn(results, "The Bayesian test does not protect against looking often.");
    }
    if (results->question->test == RESULTS_TEST_WELCH &&
        results->question->experiment->status == EXPERIMENT_RUNNING) {
        warn(results, "The fixed-horizon test does not protect against looking often: on a running "
                      "experiment it is right for one look, planned beforehand.");
    }
}

enum status results_compute(const struct results_question *question, struct arena *arena,
                            struct results *out_results)
{
    struct results results = {.question = question, .arena = arena};
    size_t cells = (size_t)question->data->variant_count * question->metric_count;
    assert(question->data->variant_count <= question->experiment->variant_count);
    assert(question->experiment->control < question->data->variant_count);
    results.warning_capacity = 8 + (4 + question->data->variant_count) * question->metric_count;
    results.warnings = arena_take(arena, results.warning_capacity * sizeof(*results.warnings));
    results.cells = arena_take(arena, cells * sizeof(*results.cells) + 1);
    if (results.warnings == NULL || results.cells == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        for (uint32_t j = 0; j < question->metric_count; j++) {
            cell_fill(&results, i, j);
        }
    }
    if (cuped_apply(&results) != STATUS_OK || adjust(&results) != STATUS_OK || judge_sample_ratio(&results) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    judge_guardrails(&results);
    results.duration_days = duration_days(question);
    judge(&results);
    warn_of_users(&results);
    warn_of_sample_ratio(&results);
    for (uint32_t i = 0; i < question->metric_count; i++) {
        warn_of_metric(&results, i);
        warn_of_guardrail(&results, i);
        if (question->cuped_days != 0) {
            warn_of_cuped(&results, i);
        }
    }
    warn_of_test(&results);
    *out_results = results;
    return STATUS_OK;
}
