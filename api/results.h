/* results.h: from the exact sums of an experiment to what they mean, as plain values, and then as JSON or CSV. Pure: no
 * engine, no clock; the same question gives the same answer.
 *
 * Verdict      is about the first metric: the comparison with the least p-value of the chosen test, after the correction
 *              over the family of all metrics and treatments asked for. A sample-ratio mismatch withholds it.
 * Undefined    numbers are NaN here and null in JSON, with a `state` beside them that says why.
 */
#ifndef ASSAY_API_RESULTS_H
#define ASSAY_API_RESULTS_H

#include "api/csv.h"
#include "api/json.h"
#include "engine/arena.h"
#include "engine/definitions.h"
#include "engine/state.h"
#include "engine/stats.h"

enum results_test {
    RESULTS_TEST_WELCH,
    RESULTS_TEST_SEQUENTIAL,
    RESULTS_TEST_BAYESIAN,
};

const char *results_test_name(enum results_test test);

/* Cells of a time series in one answer: variants x days x metrics. */
#define RESULTS_SERIES_MAX 100000u

struct results_breakdown;

struct results_question {
    const struct experiment *experiment; /* of the version in `data` or later */
    const struct metric *const *metrics; /* in the order of data's */
    uint32_t metric_count;
    const struct results_data *data;
    int64_t now_us;
    int32_t start_day; /* INT32_MIN, INT32_MAX: not given */
    int32_t end_day;
    double confidence_level;
    enum results_test test;
    enum stats_correction correction;
    bool series;
    uint32_t cuped_days; /* not 0: comparisons are adjusted by so many days before each user's assignment */
    double family_factor; /* how often the question is asked, of one part of the users each: corrections count it; else 1 */
    const struct bytes *attributes; /* that may be broken down by */
    uint32_t attribute_count;
    const struct results_breakdown *breakdown; /* written with the results; NULL: none */
    bool weights_changed; /* since users were first assigned: the sample ratio cannot be judged */
};

/* Of a metric with a margin: is the variant worse than the control by more than that? By the interval of the question's test. */
enum results_guardrail {
    RESULTS_GUARDRAIL_NONE,      /* the metric is none */
    RESULTS_GUARDRAIL_UNDECIDED, /* the interval holds the margin, or there is none */
    RESULTS_GUARDRAIL_OK,        /* all of the interval is better: no worse than the margin allows */
    RESULTS_GUARDRAIL_BREACHED,  /* all of it is worse */
};

/* One metric in one variant. */
struct results_cell {
    enum stats_state state; /* STATS_OVERFLOW: nothing of the rest is meant */
    uint64_t users; /* of a retention: whose days are over */
    uint64_t count; /* proportion, retention: users with an event; else events */
    int128 sum;     /* mean: of the values, in millionths */
    int64_t cap;    /* what a user's total counted as at most, in millionths; CAP_NONE */
    uint64_t capped; /* users beyond it */
    struct stats_estimate estimate;
    bool is_adjusted; /* by CUPED: then `adjusted` is, and the comparison */
    struct stats_estimate adjusted;
    bool is_compared; /* not the control's */
    struct stats_comparison comparison;
    double p_adjusted;            /* of comparison.p_value */
    double sequential_p_adjusted; /* of comparison.sequential_p_value */
    enum results_guardrail guardrail;
    double guardrail_margin;
    double bayesian_p;            /* twice the smaller posterior tail */
};

enum results_status {
    RESULTS_INSUFFICIENT_DATA,
    RESULTS_NOT_SIGNIFICANT,
    RESULTS_SIGNIFICANT,
    RESULTS_SRM,
};

const char *results_status_name(enum results_status status);

struct results {
    const struct results_question *question;
    struct arena *arena;
    struct results_cell *cells; /* [variant_count][metric_count] */
    struct stats_cuped *cuped; /* [metric_count], where the question asks for it; slope 0 where a metric is not adjusted */
    uint64_t total_users;
    int64_t duration_days;
    struct stats_srm srm;
    bool srm_failed;
    enum results_status status;
    bool has_best;         /* the first metric has a comparison with a p-value */
    uint32_t best_variant; /* of the verdict */
    double best_p;         /* by the question's test */
    double best_p_adjusted;
    const char **warnings;
    uint32_t warning_count;
    uint32_t warning_capacity;
};

/* The results by the value of an attribute of assignments. */
struct results_part {
    const struct breakdown_part *part;
    struct results_data data;
    struct results_question question; /* about `data` */
    struct results results;
};

struct results_breakdown {
    struct bytes attribute;
    struct results_part *parts;
    uint32_t count;
};

/* STATUS_NO_MEMORY, or STATUS_OK. The question must live as long as the results. */
MUST_USE enum status results_compute(const struct results_question *question, struct arena *arena,
                                     struct results *out_results);

const struct results_cell *results_cell(const struct results *results, uint32_t variant,
                                        uint32_t metric);

enum stats_kind results_kind(const struct metric *metric);
struct stats_arm results_arm(const struct metric *metric, const struct metric_sums *sums);

/* One cell as an object: the estimate, and against the control where it is compared. A ratio has no count. */
void results_write_cell(struct json_writer *writer, enum stats_kind kind, bool is_decrease, const struct results_cell *cell);
/* An estimate adjusted by CUPED, and the adjustment itself, as objects. */
void results_write_adjusted(struct json_writer *writer, const struct stats_estimate *estimate);
void results_write_cuped(struct json_writer *writer, const struct stats_cuped *cuped);
/* The sample-ratio check as an object. */
void results_write_sample_ratio(struct json_writer *writer, const struct stats_srm *srm, bool weights_changed, bool ok);

/* One metric on one day of a time series. */
struct results_day {
    double value; /* of the day, per user assigned so far */
    uint64_t count;
    bool has_sum;
    int128 sum; /* in millionths */
    struct stats_estimate cumulative; /* from the range's first day on */
    uint64_t cumulative_count;
    uint64_t cumulative_users;
};

void results_day(const struct results *results, const struct day_sums *day, uint32_t metric,
                 struct results_day *out_values);

void results_write(const struct results *results, struct json_writer *writer);
/* The columns are in docs/api.md. */
void results_write_csv(const struct results *results, struct csv_writer *writer);

#endif
