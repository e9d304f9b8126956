/* stats_case.c: see stats_case.h. Numbers are read exactly: sums into millionths, sums of squares into their squares. */
#include "tools/stats_case.h"

#include <math.h>
#include <stdio.h>

#include "api/results.h"
#include "engine/limits.h"
#include "engine/stats.h"
#include "tools/answer.h"

#define SUM_DECIMALS    6u
#define SQUARE_DECIMALS 12u
#define PATH_SIZE       64
#define DIGITS_MAX      64
#define ADJUSTED_MAX    100000u

struct reading {
    struct arena *arena;
    struct stats_fault *fault;
    bool failed;
};

static PRINTF_LIKE(3, 4) void fail(struct reading *reading, const char *path, const char *format, ...)
{
    if (reading->failed) {
        return; /* the first fault is told */
    }
    va_list arguments;
    va_start(arguments, format);
    (void)snprintf(reading->fault->path, sizeof(reading->fault->path), "%s", path);
    (void)vsnprintf(reading->fault->message, sizeof(reading->fault->message), format, arguments);
    va_end(arguments);
    reading->failed = true;
}

/* ---- exact numbers ---- */

/* Decimal digits as an integer of 10^-decimals; false where there are more decimals than that, or it does not fit 127 bits. */
static bool decimal_parse(struct bytes text, uint32_t decimals, int128 *out_value)
{
    const int128 most = (int128)(~(uint128)0 >> 1);
    bool is_negative = text.size > 0 && text.data[0] == '-';
    size_t at = is_negative ? 1 : 0;
    uint32_t after = 0;
    bool has_point = false;
    bool has_digit = false;
    int128 value = 0;
    for (; at < text.size; at++) {
        const uint8_t character = text.data[at];
        if (character == '.' && !has_point) {
            has_point = true;
            continue;
        }
        if (character < '0' || character > '9' || (has_point && after == decimals && character != '0') ||
            value > (most - 9) / 10) {
            return false;
        }
        has_digit = true;
        if (!has_point || after < decimals) {
            value = value * 10 + (character - '0');
            after += has_point ? 1 : 0;
        }
    }
    for (; after < decimals; after++) {
        if (value > most / 10) {
            return false;
        }
        value *= 10;
    }
    *out_value = is_negative ? -value : value;
    return has_digit;
}

/* A member that is an exact decimal: text, or a JSON number that is an integer or has at most six decimals. */
static int128 exact_read(struct reading *reading, struct bytes map, const char *parent, const char *name, uint32_t decimals,
                         bool is_required)
{
    char path[PATH_SIZE];
    char digits[DIGITS_MAX];
    struct bytes encoded;
    struct pack_value value;
    int128 number = 0;
    (void)snprintf(path, sizeof(path), "%s%s", parent, name);
    if (!answer_find(map, name, &encoded)) {
        if (is_required) {
            fail(reading, path, "is required");
        }
        return 0;
    }
    struct pack_cursor cursor = pack_cursor_on(encoded);
    if (!pack_read(&cursor, &value)) {
        value.type = PACK_NIL;
    }
    struct bytes text = {NULL, 0};
    if (value.type == PACK_TEXT) {
        text = value.as.bytes;
    } else if (value.type == PACK_INT || value.type == PACK_MILLIONTHS) {
        (void)snprintf(digits, sizeof(digits), "%lld", (long long)value.as.integer);
        text = bytes_of_text(digits);
    }
    const uint32_t scale = value.type == PACK_MILLIONTHS ? decimals - SUM_DECIMALS : decimals;
    if (value.type == PACK_MILLIONTHS && decimals < SUM_DECIMALS) {
        text.size = 0;
    }
    if (text.size == 0 || text.size >= DIGITS_MAX || !decimal_parse(text, scale, &number)) {
        fail(reading, path, "must be an exact decimal of at most %u places and 127 bits, as text such as \"29.99\"", decimals);
        return 0;
    }
    return number;
}

static uint64_t users_read(struct reading *reading, struct bytes map, const char *parent, const char *name)
{
    const int128 number = exact_read(reading, map, parent, name, 0, true);
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s%s", parent, name);
    if (number < 0 || number > (int128)1 << 53) {
        fail(reading, path, "must be a whole number from 0 to 2^53");
        return 0;
    }
    return (uint64_t)number;
}

/* ---- options ---- */

/* A number between two bounds, both out; the default where it is missing. */
static double number_read(struct reading *reading, struct bytes map, const char *name, double missing, double above, double below)
{
    struct bytes encoded;
    double number = missing;
    if (!answer_find(map, name, &encoded)) {
        if (isnan(missing)) {
            fail(reading, name, "is required");
        }
        return missing;
    }
    if (!answer_number(map, name, &number) || !(number > above && number < below)) {
        fail(reading, name, "must be a number above %g and below %g", above, below);
        return missing;
    }
    return number;
}

/* One of some words; the first where it is missing. */
static uint32_t word_read(struct reading *reading, struct bytes map, const char *name, const char *const *words, uint32_t count)
{
    struct bytes encoded;
    struct bytes text;
    if (!answer_find(map, name, &encoded)) {
        return 0;
    }
    for (uint32_t i = 0; answer_text(map, name, &text) && i < count; i++) {
        if (bytes_equal_text(text, words[i])) {
            return i;
        }
    }
    char known[128] = "";
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i == 0 ? "" : ", ", words[i]);
    }
    fail(reading, name, "must be one of %s", known);
    return 0;
}

static enum stats_correction correction_read(struct reading *reading, struct bytes document)
{
    static const char *const words[] = {"none", "holm", "bh"};
    static const enum stats_correction corrections[] = {STATS_CORRECTION_NONE, STATS_CORRECTION_HOLM, STATS_CORRECTION_BH};
    return corrections[word_read(reading, document, "correction", words, COUNT_OF(words))];
}

/* Numbers of a list, in the arena. */
static double *numbers_read(struct reading *reading, struct bytes document, const char *name, uint32_t most, uint32_t *out_count)
{
    struct answer_items items = answer_items(document, name);
    double *numbers = items.left <= most ? arena_take(reading->arena, (items.left + 1ull) * sizeof(*numbers)) : NULL;
    uint32_t count = 0;
    struct bytes item;
    while (numbers != NULL && answer_next(&items, &item)) {
        struct pack_cursor cursor = pack_cursor_on(item);
        struct pack_value value;
        numbers[count] = NAN;
        if (!pack_read(&cursor, &value) || (value.type != PACK_NIL && !answer_number(item, "", &numbers[count]))) {
            fail(reading, name, "must hold numbers; entry %u is none", count);
        }
        count++;
    }
    if (numbers == NULL || count == 0) {
        fail(reading, name, "must be a list of 1 to %u numbers", most);
    }
    *out_count = count;
    return numbers;
}

/* ---- comparisons ---- */

struct comparison_case {
    enum stats_kind kind;
    struct bytes names[LIMIT_VARIANTS];
    struct stats_arm arms[LIMIT_VARIANTS];
    uint64_t counts[LIMIT_VARIANTS];
    uint32_t arm_count;
    uint32_t control;
    struct stats_options options;
    enum stats_correction correction;
    bool is_decrease;
    double *weights; /* NULL: not given */
    uint32_t covariates; /* arms that have one */
    struct stats_cuped cuped; /* where all have */
};

static uint128 square_read(struct reading *reading, struct bytes map, const char *parent, const char *name)
{
    const int128 number = exact_read(reading, map, parent, name, SQUARE_DECIMALS, true);
    if (number < 0) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%s%s", parent, name);
        fail(reading, path, "must not be negative");
    }
    return (uint128)number;
}

/* What the users did before, where the arm has it. */
static void covariate_read(struct reading *reading, struct comparison_case *question, struct bytes encoded, const char *parent,
                           struct stats_arm *arm)
{
    struct bytes there;
    if (answer_find(encoded, "pre_sum", &there)) {
        arm->other_sum = exact_read(reading, encoded, parent, "pre_sum", SUM_DECIMALS, true);
        arm->other_square = square_read(reading, encoded, parent, "pre_sum_squares");
        arm->product = exact_read(reading, encoded, parent, "sum_products", SQUARE_DECIMALS, true);
        question->covariates++;
    }
}

static void arm_read(struct reading *reading, struct comparison_case *question, struct bytes encoded, uint32_t index)
{
    char parent[PATH_SIZE];
    (void)snprintf(parent, sizeof(parent), "variants[%u].", index);
    struct stats_arm *arm = &question->arms[index];
    *arm = (struct stats_arm){.users = users_read(reading, encoded, parent, "n")};
    question->names[index] = bytes_of(NULL, 0);
    (void)answer_text(encoded, "name", &question->names[index]);
    switch (question->kind) {
    case STATS_PROPORTION:
        question->counts[index] = users_read(reading, encoded, parent, "count");
        arm->sum = (int128)question->counts[index];
        return;
    case STATS_MEAN:
        arm->sum = exact_read(reading, encoded, parent, "sum", SUM_DECIMALS, true);
        arm->sum_square = square_read(reading, encoded, parent, "sum_squares");
        question->counts[index] = (uint64_t)exact_read(reading, encoded, parent, "count", 0, false);
        covariate_read(reading, question, encoded, parent, arm);
        return;
    case STATS_QUANTILE: /* wants the events: of no type of case */
        assert(false);
        return;
    case STATS_RATIO:
        arm->sum = exact_read(reading, encoded, parent, "numerator_sum", SUM_DECIMALS, true);
        arm->sum_square = square_read(reading, encoded, parent, "numerator_sum_squares");
        arm->other_sum = exact_read(reading, encoded, parent, "denominator_sum", SUM_DECIMALS, true);
        arm->other_square = square_read(reading, encoded, parent, "denominator_sum_squares");
        arm->product = exact_read(reading, encoded, parent, "sum_products", SQUARE_DECIMALS, true);
        return;
    }
}

static void arms_read(struct reading *reading, struct comparison_case *question, struct bytes document)
{
    struct answer_items items = answer_items(document, "variants");
    struct bytes item;
    if (items.left < LIMIT_VARIANTS_MIN || items.left > LIMIT_VARIANTS) {
        fail(reading, "variants", "must be a list of %u to %u variants", LIMIT_VARIANTS_MIN, LIMIT_VARIANTS);
        return;
    }
    while (answer_next(&items, &item)) {
        arm_read(reading, question, item, question->arm_count++);
    }
}

static void options_read_all(struct reading *reading, struct comparison_case *question, struct bytes document)
{
    static const char *const directions[] = {"increase", "decrease"};
    const struct stats_options missing = stats_options_default();
    uint32_t count = 0;
    struct bytes encoded;
    question->options = (struct stats_options){
        .confidence_level = number_read(reading, document, "confidence_level", missing.confidence_level, 0.5, 1.0),
        .sequential_total = number_read(reading, document, "sequential_total", missing.sequential_total, 0.0, 1e15),
        .prior_lift_std_dev = number_read(reading, document, "prior_lift_std_dev", missing.prior_lift_std_dev, 0.0, 1e6),
        .power = number_read(reading, document, "power", missing.power, 0.0, 1.0),
    };
    question->correction = correction_read(reading, document);
    question->is_decrease = word_read(reading, document, "direction", directions, COUNT_OF(directions)) == 1;
    question->control = (uint32_t)number_read(reading, document, "control", 0.0, -1.0, question->arm_count);
    if (answer_find(document, "weights", &encoded)) {
        question->weights = numbers_read(reading, document, "weights", LIMIT_VARIANTS, &count);
        if (count != question->arm_count) {
            fail(reading, "weights", "must have one entry a variant: %u, not %u", question->arm_count, count);
        }
    }
}

static bool is_cuped(const struct comparison_case *question)
{
    return question->covariates == question->arm_count;
}

static struct stats_comparison arms_compare(const struct comparison_case *question, uint32_t treatment)
{
    const struct stats_arm *control = &question->arms[question->control];
    return is_cuped(question) ? stats_compare_cuped(control, &question->arms[treatment], &question->cuped, &question->options)
                              : stats_compare(question->kind, control, &question->arms[treatment], &question->options);
}

static void cuped_prepare(struct reading *reading, struct comparison_case *question)
{
    if (question->covariates != 0 && !is_cuped(question)) {
        fail(reading, "variants", "must all have pre_sum, pre_sum_squares and sum_products, or none");
    } else if (is_cuped(question) && !reading->failed &&
               stats_cuped_of(question->arms, question->arm_count, question->control, &question->cuped) == STATS_OVERFLOW) {
        fail(reading, "variants", "no users can have these sums, squares and products");
    }
}

static struct results_cell *cells_compute(struct reading *reading, const struct comparison_case *question)
{
    const uint32_t count = question->arm_count;
    struct results_cell *cells = arena_take_zeroed(reading->arena, count * sizeof(*cells));
    double *p_values = arena_take(reading->arena, 2 * count * sizeof(*p_values));
    size_t *scratch = arena_take(reading->arena, count * sizeof(*scratch));
    if (cells == NULL || p_values == NULL || scratch == NULL) {
        fail(reading, "", "out of memory");
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct results_cell *cell = &cells[i];
        cell->users = question->arms[i].users;
        cell->count = question->counts[i];
        cell->sum = question->arms[i].sum;
        cell->estimate = stats_estimate_arm(question->kind, &question->arms[i], question->options.confidence_level);
        cell->state = cell->estimate.state;
        cell->is_compared = i != question->control;
        p_values[i] = NAN;
        p_values[count + i] = NAN;
        if (cell->is_compared) {
            cell->comparison = arms_compare(question, i);
            p_values[i] = cell->comparison.p_value;
            p_values[count + i] = cell->comparison.sequential_p_value;
        }
    }
    stats_adjust(question->correction, p_values, count, scratch, p_values);
    stats_adjust(question->correction, p_values + count, count, scratch, p_values + count);
    for (uint32_t i = 0; i < count; i++) {
        cells[i].p_adjusted = p_values[i];
        cells[i].sequential_p_adjusted = p_values[count + i];
    }
    return cells;
}

static void sample_ratio_write(struct json_writer *writer, const struct comparison_case *question)
{
    uint64_t users[LIMIT_VARIANTS];
    for (uint32_t i = 0; i < question->arm_count; i++) {
        users[i] = question->arms[i].users;
    }
    const struct stats_srm srm = stats_sample_ratio(users, question->weights, question->arm_count);
    json_key(writer, "srm");
    results_write_sample_ratio(writer, &srm, false, srm.ok);
}

static void comparison_answer(struct reading *reading, struct bytes document, enum stats_kind kind, struct json_writer *writer)
{
    struct comparison_case *question = arena_take_zeroed(reading->arena, sizeof(*question));
    if (question == NULL) {
        fail(reading, "", "out of memory");
        return;
    }
    question->kind = kind;
    arms_read(reading, question, document);
    options_read_all(reading, question, document);
    cuped_prepare(reading, question);
    const struct results_cell *cells = reading->failed ? NULL : cells_compute(reading, question);
    if (cells == NULL) {
        return;
    }
    json_key(writer, "variants");
    json_begin_array(writer);
    for (uint32_t i = 0; i < question->arm_count; i++) {
        json_begin_object(writer);
        json_key(writer, "name");
        if (question->names[i].size != 0) {
            json_text_bytes(writer, question->names[i]);
        } else {
            json_null(writer);
        }
        json_key(writer, "is_control");
        json_bool(writer, i == question->control);
        json_key(writer, "result");
        results_write_cell(writer, kind, question->is_decrease, &cells[i]);
        if (is_cuped(question)) {
            const struct stats_estimate adjusted =
                stats_estimate_cuped(&question->arms[i], &question->cuped, question->options.confidence_level);
            json_key(writer, "adjusted");
            results_write_adjusted(writer, &adjusted);
        }
        json_end_object(writer);
    }
    json_end_array(writer);
    if (is_cuped(question)) {
        json_key(writer, "cuped");
        results_write_cuped(writer, &question->cuped);
    }
    if (question->weights != NULL) {
        sample_ratio_write(writer, question);
    }
}

static void proportion_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    comparison_answer(reading, document, STATS_PROPORTION, writer);
}

static void mean_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    comparison_answer(reading, document, STATS_MEAN, writer);
}

static void ratio_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    comparison_answer(reading, document, STATS_RATIO, writer);
}

/* ---- other questions ---- */

static void sample_ratio_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    uint64_t users[LIMIT_VARIANTS];
    uint32_t count = 0;
    uint32_t weight_count = 0;
    struct answer_items items = answer_items(document, "observed");
    struct bytes item;
    double *weights = numbers_read(reading, document, "weights", LIMIT_VARIANTS, &weight_count);
    while (count < LIMIT_VARIANTS && answer_next(&items, &item)) {
        double number = NAN;
        if (!answer_number(item, "", &number) || !(number >= 0 && number <= 9007199254740992.0) ||
            fabs(number - rint(number)) > 0.0) {
            fail(reading, "observed", "must hold whole numbers of users; entry %u is none", count);
            number = 0;
        }
        users[count++] = (uint64_t)number;
    }
    if (count == 0 || items.left != 0 || count != weight_count) {
        fail(reading, "observed", "must have as many entries as weights, up to %u", LIMIT_VARIANTS);
    }
    for (uint32_t i = 0; !reading->failed && i < count; i++) {
        if (!(weights[i] >= 0.0 && weights[i] < 1e15)) {
            fail(reading, "weights", "must not be negative");
        }
    }
    if (!reading->failed) {
        const struct stats_srm srm = stats_sample_ratio(users, weights, count);
        json_key(writer, "srm");
        results_write_sample_ratio(writer, &srm, false, srm.ok);
    }
}

static void power_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    const double none = NAN;
    struct bytes encoded;
    const bool has_std_dev = answer_find(document, "std_dev", &encoded);
    const struct stats_power_question question = {
        .kind = has_std_dev ? STATS_MEAN : STATS_PROPORTION,
        .baseline = number_read(reading, document, "baseline", none, -1e12, 1e12),
        .std_dev = number_read(reading, document, "std_dev", 0.0, 0.0, 1e12),
        .effect = number_read(reading, document, "mde", none, -1.0, 1e6),
        .power = number_read(reading, document, "power", 0.8, 0.0, 1.0),
        .alpha = number_read(reading, document, "alpha", 0.05, 0.0, 1.0),
        .variants = (uint32_t)number_read(reading, document, "variants", 2.0, LIMIT_VARIANTS_MIN - 0.5, LIMIT_VARIANTS + 0.5),
    };
    const double users_per_day = number_read(reading, document, "users_per_day", 0.0, 0.0, 1e12);
    uint64_t users = 0;
    if (reading->failed) {
        return;
    }
    if (stats_sample_size(&question, &users) != STATUS_OK) {
        fail(reading, "", "no sample size answers this: without std_dev, baseline and baseline * (1 + mde) must lie between 0 "
                          "and 1; mde must not be 0, nor baseline");
        return;
    }
    json_key(writer, "sample_size_per_variant");
    json_uint(writer, users);
    json_key(writer, "total_sample_size");
    json_uint(writer, users * question.variants);
    json_key(writer, "days");
    if (users_per_day > 0.0) {
        json_double(writer, ceil((double)users * question.variants / users_per_day));
    } else {
        json_null(writer);
    }
}

static void adjust_answer(struct reading *reading, struct bytes document, struct json_writer *writer)
{
    uint32_t count = 0;
    double *p_values = numbers_read(reading, document, "p_values", ADJUSTED_MAX, &count);
    const enum stats_correction correction = correction_read(reading, document);
    size_t *scratch = arena_take(reading->arena, (count + 1ull) * sizeof(*scratch));
    for (uint32_t i = 0; !reading->failed && i < count; i++) {
        if (!isnan(p_values[i]) && !(p_values[i] >= 0.0 && p_values[i] <= 1.0)) {
            fail(reading, "p_values", "must lie from 0 to 1; entry %u does not", i);
        }
    }
    if (reading->failed || scratch == NULL) {
        fail(reading, "", "out of memory");
        return;
    }
    stats_adjust(correction, p_values, count, scratch, p_values);
    json_key(writer, "p_values_adjusted");
    json_begin_array(writer);
    for (uint32_t i = 0; i < count; i++) {
        json_double(writer, p_values[i]);
    }
    json_end_array(writer);
}

/* ---- the case ---- */

struct case_row {
    const char *type;
    void (*answer)(struct reading *reading, struct bytes document, struct json_writer *writer);
};

static const struct case_row case_rows[] = {
    {"proportion", proportion_answer  },
    {"mean",       mean_answer        },
    {"ratio",      ratio_answer       },
    {"srm",        sample_ratio_answer},
    {"power",      power_answer       },
    {"adjust",     adjust_answer      },
};

bool stats_case_answer(struct bytes document, struct arena *arena, struct json_writer *writer, struct stats_fault *out_fault)
{
    struct reading reading = {.arena = arena, .fault = out_fault};
    struct bytes type = {NULL, 0};
    struct bytes id;
    const struct case_row *row = NULL;
    (void)answer_text(document, "type", &type);
    for (size_t i = 0; i < COUNT_OF(case_rows); i++) {
        row = bytes_equal_text(type, case_rows[i].type) ? &case_rows[i] : row;
    }
    if (row == NULL) {
        fail(&reading, "type", "must be one of proportion, mean, ratio, srm, power, adjust");
        return false;
    }
    json_begin_object(writer);
    if (answer_find(document, "id", &id)) {
        json_key(writer, "id");
        (void)json_pack(writer, id);
    }
    json_key(writer, "type");
    json_text(writer, row->type);
    row->answer(&reading, document, writer);
    json_end_object(writer);
    if (writer->failed) {
        fail(&reading, "", "out of memory");
    }
    return !reading.failed;
}
