/* results_json.c: results_write(): the shape that GET /experiments/{id}/results answers with. */
#include <math.h>

#include "api/results.h"
#include "engine/timestamp.h"

static void write_number(struct json_writer *writer, const char *key, double value)
{
    json_key(writer, key);
    json_double(writer, value);
}

static void write_natural(struct json_writer *writer, const char *key, uint64_t value)
{
    json_key(writer, key);
    json_uint(writer, value);
}

static void write_state(struct json_writer *writer, const char *key, enum stats_state state)
{
    if (state != STATS_OK) {
        json_key(writer, key);
        json_text(writer, stats_state_name(state));
    }
}

static void write_interval(struct json_writer *writer, const char *key,
                           const struct interval *interval)
{
    json_key(writer, key);
    if (isnan(interval->lower) || isnan(interval->upper)) {
        json_null(writer);
        return;
    }
    json_begin_array(writer);
    json_double(writer, interval->lower);
    json_double(writer, interval->upper);
    json_end_array(writer);
}

/* A sum of millionths, exactly where it fits 64 bits. */
static void write_sum(struct json_writer *writer, const char *key, int128 sum)
{
    json_key(writer, key);
    if (sum >= INT64_MIN && sum <= INT64_MAX) {
        json_millionths(writer, (int64_t)sum);
    } else {
        json_double(writer, (double)sum / 1e6);
    }
}

static void write_effect(struct json_writer *writer, const char *key, double value,
                         const struct interval *interval)
{
    json_key(writer, key);
    json_begin_object(writer);
    write_number(writer, "value", value);
    write_interval(writer, "confidence_interval", interval);
}

static void write_comparison(struct json_writer *writer, const struct results_cell *cell)
{
    const struct stats_comparison *comparison = &cell->comparison;
    json_begin_object(writer);
    write_state(writer, "state", comparison->state);
    write_effect(writer, "absolute", comparison->difference, &comparison->difference_interval);
    write_number(writer, "std_error", comparison->difference_std_error);
    json_end_object(writer);
    write_effect(writer, "relative", comparison->lift, &comparison->lift_interval);
    write_state(writer, "state", comparison->lift_state);
    json_end_object(writer);
    write_number(writer, "p_value", comparison->p_value);
    write_number(writer, "ln_p_value", comparison->ln_p_value);
    write_number(writer, "z_p_value", comparison->z_p_value);
    write_number(writer, "p_value_adjusted", cell->p_adjusted);
    write_number(writer, "statistic", comparison->statistic);
    write_number(writer, "degrees_of_freedom", comparison->degrees_of_freedom);
    json_key(writer, "sequential");
    json_begin_object(writer);
    write_number(writer, "p_value", comparison->sequential_p_value);
    write_number(writer, "p_value_adjusted", cell->sequential_p_adjusted);
    write_interval(writer, "confidence_interval", &comparison->sequential_interval);
    json_end_object(writer);
    json_key(writer, "bayesian");
    json_begin_object(writer);
    write_number(writer, "chance_to_win", comparison->chance_to_win);
    write_number(writer, "expected_loss", comparison->expected_loss);
    write_interval(writer, "credible_interval", &comparison->credible_interval);
    json_end_object(writer);
    write_number(writer, "minimum_detectable_effect", comparison->minimum_detectable_effect);
    json_key(writer, "method");
    json_text(writer, comparison->interval_method);
    if (cell->guardrail != RESULTS_GUARDRAIL_NONE) {
        static const char *const names[] = {[RESULTS_GUARDRAIL_UNDECIDED] = "undecided",
                                            [RESULTS_GUARDRAIL_OK] = "ok",
                                            [RESULTS_GUARDRAIL_BREACHED] = "breached"};
        json_key(writer, "guardrail");
        json_begin_object(writer);
        write_number(writer, "margin", cell->guardrail_margin);
        json_key(writer, "status");
        json_text(writer, names[cell->guardrail]);
        json_end_object(writer);
    }
    json_end_object(writer);
}

void results_write_cell(struct json_writer *writer, enum stats_kind kind, bool is_decrease, const struct results_cell *cell)
{
    bool is_mean = kind == STATS_MEAN;
    json_begin_object(writer);
    write_state(writer, "state", cell->state);
    write_number(writer, "value", cell->estimate.value);
    write_interval(writer, "confidence_interval", &cell->estimate.interval);
    write_natural(writer, "sample_size", cell->users);
    if (kind != STATS_RATIO) {
        write_natural(writer, "count", cell->count);
    }
    if (is_mean && cell->state == STATS_OVERFLOW) {
        json_key(writer, "sum");
        json_null(writer);
    } else if (is_mean) {
        write_sum(writer, "sum", cell->sum);
    }
    write_number(writer, "std_error", cell->estimate.std_error);
    write_number(writer, "std_dev", cell->estimate.std_dev);
    if (cell->cap != CAP_NONE && is_mean) {
        json_key(writer, "cap");
        json_begin_object(writer);
        json_key(writer, "upper");
        json_millionths(writer, cell->cap);
        write_natural(writer, "users", cell->capped);
        json_end_object(writer);
    }
    if (is_decrease) {
        json_key(writer, "direction");
        json_text(writer, "decrease");
    }
    if (cell->is_adjusted) {
        json_key(writer, "adjusted");
        results_write_adjusted(writer, &cell->adjusted);
    }
    if (cell->is_compared) {
        json_key(writer, "vs_control");
        write_comparison(writer, cell);
    }
    json_end_object(writer);
}

/* The time series. */

/* Of a quantile the series has the value alone: an interval would cost another walk a day. */
static struct stats_estimate estimate_of(const struct results *results, const struct metric *metric, const struct metric_sums *sums)
{
    if (metric->type == METRIC_QUANTILE) {
        const bool is_there = sums->events != 0;
        return (struct stats_estimate){.state = is_there ? STATS_OK : STATS_NO_DATA,
                                       .value = is_there ? (double)sums->quantile / (double)METRIC_UNIT : (double)NAN,
                                       .interval = {NAN, NAN}};
    }
    const struct stats_arm arm = results_arm(metric, sums);
    return stats_estimate_arm(results_kind(metric), &arm, results->question->confidence_level);
}

/* A day's value per user assigned so far; of a ratio and a quantile the day's own; of a retention per user whose days ended on it. The
 * mean needs no second moments, so an overflow of those does not matter. */
static double day_value(const struct results *results, const struct metric *metric, const struct metric_sums *sums)
{
    if (metric->type == METRIC_QUANTILE) {
        return estimate_of(results, metric, sums).value;
    }
    if (metric->type == METRIC_RATIO) {
        return sums->other_sum != 0 ? (double)sums->sum / (double)sums->other_sum : (double)NAN;
    }
    if (sums->users == 0) {
        return NAN;
    }
    const bool is_proportion = results_kind(metric) == STATS_PROPORTION;
    const double total = is_proportion ? (double)sums->active : (double)sums->sum / (double)METRIC_UNIT;
    return total / (double)sums->users;
}

void results_day(const struct results *results, const struct day_sums *day, uint32_t index,
                 struct results_day *out_values)
{
    const struct metric *metric = results->question->metrics[index];
    const struct metric_sums *on_day = &day->on_day[index];
    const struct metric_sums *cumulative = &day->cumulative[index];
    const bool is_proportion = results_kind(metric) == STATS_PROPORTION;
    *out_values = (struct results_day){
        .value = day_value(results, metric, on_day),
        .count = is_proportion ? on_day->active : on_day->events,
        .has_sum = metric->type == METRIC_MEAN,
        .sum = on_day->sum,
        .cumulative = {.state = STATS_OVERFLOW, .value = NAN, .interval = {NAN, NAN}},
        .cumulative_count = is_proportion ? cumulative->active : cumulative->events,
        .cumulative_users = cumulative->users,
    };
    if (is_proportion || !cumulative->overflow) {
        out_values->cumulative = estimate_of(results, metric, cumulative);
    }
}

static void write_day_metric(struct json_writer *writer, const struct results *results,
                             const struct day_sums *day, uint32_t index)
{
    struct results_day values;
    results_day(results, day, index, &values);
    json_key_bytes(writer, results->question->metrics[index]->name);
    json_begin_object(writer);
    write_number(writer, "value", values.value);
    write_natural(writer, "count", values.count);
    if (values.has_sum) {
        write_sum(writer, "sum", values.sum);
    }
    json_key(writer, "cumulative");
    json_begin_object(writer);
    write_state(writer, "state", values.cumulative.state);
    write_number(writer, "value", values.cumulative.value);
    write_interval(writer, "confidence_interval", &values.cumulative.interval);
    write_natural(writer, "sample_size", values.cumulative_users);
    write_natural(writer, "count", values.cumulative_count);
    json_end_object(writer);
    json_end_object(writer);
}

static void write_series(struct json_writer *writer, const struct results *results,
                         uint32_t variant)
{
    const struct results_data *data = results->question->data;
    json_key(writer, "time_series");
    json_begin_array(writer);
    for (uint32_t i = 0; i < data->day_count; i++) {
        const struct day_sums *day = &data->variants[variant].days[i];
        char date[TIMESTAMP_TEXT_SIZE];
        day_format(day->day, date);
        json_begin_object(writer);
        json_key(writer, "date");
        json_text(writer, date);
        write_natural(writer, "users", day->users);
        json_key(writer, "metrics");
        json_begin_object(writer);
        for (uint32_t j = 0; j < results->question->metric_count; j++) {
            write_day_metric(writer, results, day, j);
        }
        json_end_object(writer);
        json_end_object(writer);
    }
    json_end_array(writer);
}

/* The whole. */

static void write_variant(struct json_writer *writer, const struct results *results, uint32_t index)
{
    const struct results_question *question = results->question;
    const struct variant *variant = &question->experiment->variants[index];
    json_begin_object(writer);
    json_key(writer, "id");
    json_uuid(writer, &variant->id);
    json_key(writer, "name");
    json_text_bytes(writer, variant->name);
    json_key(writer, "is_control");
    json_bool(writer, index == question->experiment->control);
    write_number(writer, "weight", variant->weight);
    write_natural(writer, "users", question->data->variants[index].users);
    json_key(writer, "metrics");
    json_begin_object(writer);
    for (uint32_t i = 0; i < question->metric_count; i++) {
        json_key_bytes(writer, question->metrics[i]->name);
        const struct metric *metric = question->metrics[i];
        results_write_cell(writer, results_kind(metric), metric->direction == METRIC_DECREASE, results_cell(results, index, i));
    }
    json_end_object(writer);
    if (question->series) {
        write_series(writer, results, index);
    }
    json_end_object(writer);
}

void results_write_adjusted(struct json_writer *writer, const struct stats_estimate *estimate)
{
    json_begin_object(writer);
    write_state(writer, "state", estimate->state);
    write_number(writer, "value", estimate->value);
    write_interval(writer, "confidence_interval", &estimate->interval);
    write_number(writer, "std_error", estimate->std_error);
    json_end_object(writer);
}

void results_write_cuped(struct json_writer *writer, const struct stats_cuped *cuped)
{
    json_begin_object(writer);
    write_number(writer, "slope", cuped->slope);
    write_number(writer, "variance_share", cuped->variance_share);
    write_number(writer, "covariate_mean", cuped->mean_of_covariate);
    write_number(writer, "covariate_p_value", cuped->covariate_p_value);
    json_end_object(writer);
}

void results_write_sample_ratio(struct json_writer *writer, const struct stats_srm *srm, bool weights_changed, bool ok)
{
    json_begin_object(writer);
    if (weights_changed) {
        json_key(writer, "state");
        json_text(writer, "weights_changed");
    } else {
        write_state(writer, "state", srm->state);
    }
    write_number(writer, "p_value", srm->p_value);
    json_key(writer, "ok");
    json_bool(writer, ok);
    write_number(writer, "chi_square", srm->chi_square);
    write_number(writer, "degrees_of_freedom", srm->degrees_of_freedom);
    write_number(writer, "sequential_p_value", srm->sequential_p_value);
    json_end_object(writer);
}

/* By metric, where the question asks for it; null where a metric was not adjusted. */
static void write_cuped(struct json_writer *writer, const struct results *results)
{
    const struct results_question *question = results->question;
    json_key(writer, "cuped");
    if (question->cuped_days == 0) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    write_natural(writer, "days", question->cuped_days);
    json_key(writer, "metrics");
    json_begin_object(writer);
    for (uint32_t i = 0; i < question->metric_count; i++) {
        json_key_bytes(writer, question->metrics[i]->name);
        if (fabs(results->cuped[i].slope) > 0.0) {
            results_write_cuped(writer, &results->cuped[i]);
        } else {
            json_null(writer);
        }
    }
    json_end_object(writer);
    json_end_object(writer);
}

static void write_summary(struct json_writer *writer, const struct results *results)
{
    const struct results_data *data = results->question->data;
    json_begin_object(writer);
    write_natural(writer, "total_users", results->total_users);
    json_key(writer, "duration_days");
    json_int(writer, results->duration_days);
    json_key(writer, "status");
    json_text(writer, results_status_name(results->status));
    json_key(writer, "test");
    json_text(writer, results_test_name(results->question->test));
    write_number(writer, "confidence_level", results->question->confidence_level);
    json_key(writer, "srm");
    results_write_sample_ratio(writer, &results->srm, results->question->weights_changed, !results->srm_failed);
    write_natural(writer, "events_counted", data->events_counted);
    json_key(writer, "events_excluded");
    json_begin_object(writer);
    write_natural(writer, "duplicate", data->events_duplicate);
    write_natural(writer, "before_assignment", data->events_before_assignment);
    write_natural(writer, "filtered", data->events_filtered);
    json_end_object(writer);
    json_end_object(writer);
}

static void write_verdict(struct json_writer *writer, const struct results *results)
{
    if (!results->has_best || results->status == RESULTS_SRM) {
        json_null(writer);
        return;
    }
    const struct results_question *question = results->question;
    const struct results_cell *cell = results_cell(results, results->best_variant, 0);
    json_begin_object(writer);
    json_key(writer, "metric");
    json_text_bytes(writer, question->metrics[0]->name);
    json_key(writer, "variant");
    json_text_bytes(writer, question->experiment->variants[results->best_variant].name);
    write_number(writer, "p_value", results->best_p);
    write_number(writer, "p_value_adjusted", results->best_p_adjusted);
    write_number(writer, "confidence", 1.0 - results->best_p_adjusted);
    write_number(writer, "minimum_detectable_effect", cell->comparison.minimum_detectable_effect);
    json_key(writer, "test");
    json_text(writer, results_test_name(question->test));
    json_end_object(writer);
}

static void write_warnings(struct json_writer *writer, const struct results *results)
{
    json_key(writer, "warnings");
    json_begin_array(writer);
    for (uint32_t i = 0; i < results->warning_count; i++) {
        json_text(writer, results->warnings[i]);
    }
    json_end_array(writer);
}

static void write_part(struct json_writer *writer, const struct results_part *part)
{
    static const char *const kinds[] = {
        [BREAKDOWN_VALUE] = "value", [BREAKDOWN_OTHER] = "other", [BREAKDOWN_NONE] = "not_given"};
    const struct results *results = &part->results;
    json_begin_object(writer);
    json_key(writer, "value");
    if (part->part->kind == BREAKDOWN_VALUE) {
        json_text_bytes(writer, part->part->value);
    } else {
        json_null(writer);
    }
    json_key(writer, "kind");
    json_text(writer, kinds[part->part->kind]);
    json_key(writer, "summary");
    write_summary(writer, results);
    json_key(writer, "variants");
    json_begin_array(writer);
    for (uint32_t i = 0; i < part->data.variant_count; i++) {
        write_variant(writer, results, i);
    }
    json_end_array(writer);
    json_key(writer, "statistical_significance");
    write_verdict(writer, results);
    write_warnings(writer, results);
    json_end_object(writer);
}

static void write_breakdown(struct json_writer *writer, const struct results_breakdown *breakdown)
{
    json_key(writer, "breakdown");
    if (breakdown == NULL) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    json_key(writer, "attribute");
    json_text_bytes(writer, breakdown->attribute);
    json_key(writer, "values");
    json_begin_array(writer);
    for (uint32_t i = 0; i < breakdown->count; i++) {
        write_part(writer, &breakdown->parts[i]);
    }
    json_end_array(writer);
    json_end_object(writer);
}

void results_write(const struct results *results, struct json_writer *writer)
{
    const struct results_question *question = results->question;
    json_begin_object(writer);
    json_key(writer, "experiment_id");
    json_uuid(writer, &question->experiment->id);
    json_key(writer, "as_of");
    json_begin_object(writer);
    assert(question->data->lsn >= 1);
    write_natural(writer, "lsn", question->data->lsn - 1);
    json_key(writer, "time");
    json_time(writer, question->now_us);
    write_natural(writer, "experiment_version", question->data->experiment_version);
    write_natural(writer, "generation", question->experiment->generation);
    json_key(writer, "complete");
    json_bool(writer, true);
    json_end_object(writer);
    json_key(writer, "summary");
    write_summary(writer, results);
    json_key(writer, "variants");
    json_begin_array(writer);
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        write_variant(writer, results, i);
    }
    json_end_array(writer);
    json_key(writer, "statistical_significance");
    write_verdict(writer, results);
    write_cuped(writer, results);
    json_key(writer, "attributes");
    json_begin_array(writer);
    for (uint32_t i = 0; i < question->attribute_count; i++) {
        json_text_bytes(writer, question->attributes[i]);
    }
    json_end_array(writer);
    write_breakdown(writer, question->breakdown);
    write_warnings(writer, results);
    json_end_object(writer);
}
