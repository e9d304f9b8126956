/* results_csv.c: results_write_csv(): a row a variant and metric for the whole range (its date is empty), and where a time
 * series was asked for, a row for each of its days: what came on that day, and from the range's first day to it.
 */
#include <math.h>

#include "api/csv.h"
#include "api/results.h"
#include "engine/timestamp.h"

static const char *const columns[] = {
    "experiment", "variant", "is_control", "metric", "date", "users", "sample_size", "count", "sum", "value", "std_error",
    "confidence_lower", "confidence_upper", "difference", "difference_lower", "difference_upper", "lift", "lift_lower",
    "lift_upper", "p_value", "p_value_adjusted", "sequential_p_value", "sequential_lower", "sequential_upper",
    "chance_to_win", "expected_loss", "cumulative_count", "cumulative_value", "cumulative_lower", "cumulative_upper",
    "attribute", "attribute_value"};

#define COMPARISON_COLUMNS 13u
#define CUMULATIVE_COLUMNS 4u

static void csv_empties(struct csv_writer *writer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        csv_empty(writer);
    }
}

static void csv_interval(struct csv_writer *writer, const struct interval *interval)
{
    csv_double(writer, interval->lower);
    csv_double(writer, interval->upper);
}

static void row_begin(struct csv_writer *writer, const struct results *results, uint32_t variant, uint32_t metric)
{
    const struct experiment *experiment = results->question->experiment;
    csv_text(writer, experiment->key);
    csv_text(writer, experiment->variants[variant].name);
    csv_bool(writer, variant == experiment->control);
    csv_text(writer, results->question->metrics[metric]->name);
}

static void write_comparison(struct csv_writer *writer, const struct results_cell *cell)
{
    const struct stats_comparison *comparison = &cell->comparison;
    csv_double(writer, comparison->difference);
    csv_interval(writer, &comparison->difference_interval);
    csv_double(writer, comparison->lift);
    csv_interval(writer, &comparison->lift_interval);
    csv_double(writer, comparison->p_value);
    csv_double(writer, cell->p_adjusted);
    csv_double(writer, comparison->sequential_p_value);
    csv_interval(writer, &comparison->sequential_interval);
    csv_double(writer, comparison->chance_to_win);
    csv_double(writer, comparison->expected_loss);
}

/* The last columns; breakdown: NULL in rows about all users. */
static void row_end(struct csv_writer *writer, const struct results_breakdown *breakdown, const struct breakdown_part *part)
{
    static const char *const unnamed[] = {[BREAKDOWN_OTHER] = "(other)", [BREAKDOWN_NONE] = "(not given)"};
    if (breakdown == NULL) {
        csv_empties(writer, 2);
    } else {
        csv_text(writer, breakdown->attribute);
        csv_text(writer, part->kind == BREAKDOWN_VALUE ? part->value : bytes_of_text(unnamed[part->kind]));
    }
    csv_end_row(writer);
}

static void write_total(struct csv_writer *writer, const struct results *results, uint32_t variant, uint32_t metric,
                        const struct results_breakdown *breakdown, const struct breakdown_part *part)
{
    const struct results_cell *cell = results_cell(results, variant, metric);
    row_begin(writer, results, variant, metric);
    csv_empty(writer);
    csv_uint(writer, results->question->data->variants[variant].users);
    csv_uint(writer, cell->users);
    csv_uint(writer, cell->count);
    if (results->question->metrics[metric]->type == METRIC_MEAN && cell->state != STATS_OVERFLOW) {
        csv_double(writer, (double)cell->sum / (double)METRIC_UNIT);
    } else {
        csv_empty(writer);
    }
    csv_double(writer, cell->estimate.value);
    csv_double(writer, cell->estimate.std_error);
    csv_interval(writer, &cell->estimate.interval);
    if (cell->is_compared) {
        write_comparison(writer, cell);
    } else {
        csv_empties(writer, COMPARISON_COLUMNS);
    }
    csv_empties(writer, CUMULATIVE_COLUMNS);
    row_end(writer, breakdown, part);
}

static void write_day(struct csv_writer *writer, const struct results *results, uint32_t variant, uint32_t metric,
                      const struct day_sums *day)
{
    struct results_day values;
    results_day(results, day, metric, &values);
    char date[TIMESTAMP_TEXT_SIZE];
    day_format(day->day, date);
    row_begin(writer, results, variant, metric);
    csv_text(writer, bytes_of_text(date));
    csv_uint(writer, day->users);
    csv_uint(writer, values.cumulative_users);
    csv_uint(writer, values.count);
    csv_double(writer, values.has_sum ? (double)values.sum / (double)METRIC_UNIT : (double)NAN);
    csv_double(writer, values.value);
    csv_empties(writer, 3 + COMPARISON_COLUMNS);
    csv_uint(writer, values.cumulative_count);
    csv_double(writer, values.cumulative.value);
    csv_interval(writer, &values.cumulative.interval);
    row_end(writer, NULL, NULL);
}

static void write_part(struct csv_writer *writer, const struct results_breakdown *breakdown, const struct results_part *part)
{
    for (uint32_t i = 0; i < part->data.variant_count; i++) {
        for (uint32_t j = 0; j < part->question.metric_count; j++) {
            write_total(writer, &part->results, i, j, breakdown, part->part);
        }
    }
}

void results_write_csv(const struct results *results, struct csv_writer *writer)
{
    const struct results_question *question = results->question;
    csv_names(writer, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < question->data->variant_count; i++) {
        for (uint32_t j = 0; j < question->metric_count; j++) {
            write_total(writer, results, i, j, NULL, NULL);
            for (uint32_t day = 0; question->series && day < question->data->day_count; day++) {
                write_day(writer, results, i, j, &question->data->variants[i].days[day]);
            }
        }
    }
    for (uint32_t i = 0; question->breakdown != NULL && i < question->breakdown->count; i++) {
        write_part(writer, question->breakdown, &question->breakdown->parts[i]);
    }
}
