/* handle_results.c: GET /experiments/{id}/results and GET /power. The sums are copied out of the state on the apply thread;
 * the statistics are computed here, on the loop's. */
#include <math.h>

#include "api/handler.h"
#include "api/routes.h"
#include "api/results.h"
#include "engine/timestamp.h"

#define CUPED_DAYS_DEFAULT 14u

/* Shown where the experiment names no metrics: the built-in ones. */
static const char *const metrics_default[] = {"conversion_rate", "revenue"};

struct results_request {
    struct call *call;
    struct field_errors errors;
    /* What the query asks for. */
    uint32_t metrics[LIMIT_EXPERIMENT_METRICS];
    uint32_t metric_count;
    int32_t start_day;
    int32_t end_day;
    bool has_group;
    bool group_by_day;
    double confidence_level;
    bool has_test;
    enum results_test test;
    enum stats_correction correction;
    bool as_csv;
    bool cuped;
    uint32_t cuped_days;
    /* What the state answered. */
    struct results_query query;
    struct arena *arena;
    enum status status;
    struct results_data data;
    struct bytes attribute; /* to break down by; no data: none */
    bool attribute_is_unknown;
    struct bytes *attributes; /* that there are */
    uint32_t attribute_count;
    struct results_breakdown breakdown;
};

struct results_parameter {
    const char *name;
    void (*read)(struct results_request *request, const char *name, struct bytes value);
};

static void fault(struct results_request *request, const char *name, const char *code,
                  const char *message)
{
    field_error_add(&request->errors, code, message, "%s", name);
}

/* Takes the next item of a comma-separated list; false at its end. */
static bool next_item(struct bytes *list, struct bytes *out_item)
{
    if (list->data == NULL) {
        return false;
    }
    const uint8_t *comma = list->size == 0 ? NULL : memchr(list->data, ',', list->size);
    size_t size = comma == NULL ? list->size : (size_t)(comma - list->data);
    *out_item = bytes_of(list->data, size);
    *list = comma == NULL ? bytes_of(NULL, 0) : bytes_of(comma + 1, list->size - size - 1);
    return true;
}

/* Parameters. */

static void read_day(struct results_request *request, const char *name, struct bytes value,
                     int32_t *out_day)
{
    if (day_parse(value, out_day) != STATUS_OK) {
        fault(request, name, "invalid_date", "must be a day such as 2026-01-31 (UTC)");
    }
}

static void read_start_date(struct results_request *request, const char *name, struct bytes value)
{
    read_day(request, name, value, &request->start_day);
}

static void read_end_date(struct results_request *request, const char *name, struct bytes value)
{
    read_day(request, name, value, &request->end_day);
}

/* Adds a metric unless it is there already. */
static void add_metric(struct results_request *request, uint32_t index)
{
    for (uint32_t i = 0; i < request->metric_count; i++) {
        if (request->metrics[i] == index) {
            return;
        }
    }
    assert(request->metric_count < LIMIT_EXPERIMENT_METRICS);
    request->metrics[request->metric_count++] = index;
}

static void read_metrics(struct results_request *request, const char *name, struct bytes value)
{
    struct bytes item;
    while (next_item(&value, &item)) {
        uint32_t index = catalog_find_metric(request->call->catalog, item);
        if (index == CATALOG_NONE) {
            const char *message =
                arena_format(&request->call->arena, "names \"%.*s\", which is not defined",
                             (int)item.size, (const char *)item.data);
            fault(request, name, "unknown_metric", message != NULL ? message : "is not defined");
        } else if (request->metric_count == LIMIT_EXPERIMENT_METRICS) {
            fault(request, name, "too_many_metrics", "names too many metrics");
            return;
        } else {
            add_metric(request, index);
        }
    }
}

static void read_group_by(struct results_request *request, const char *name, struct bytes value)
{
    struct bytes item;
    request->has_group = true;
    while (next_item(&value, &item)) {
        if (bytes_equal_text(item, "day")) {
            request->group_by_day = true;
        } else if (!bytes_equal_text(item, "variant")) {
            fault(request, name, "invalid_value", "must be of: day, variant");
        }
    }
}

static void read_confidence(struct results_request *request, const char *name, struct bytes value)
{
    double level = 0.0;
    if (!handler_parse_decimal(value, &level) || !(level > 0.5 && level <= 0.9999)) {
        fault(request, name, "out_of_range", "must be above 0.5 and at most 0.9999");
        return;
    }
    request->confidence_level = level;
}

static void read_test(struct results_request *request, const char *name, struct bytes value)
{
    static const enum results_test tests[] = {RESULTS_TEST_WELCH, RESULTS_TEST_SEQUENTIAL,
                                              RESULTS_TEST_BAYESIAN};

    for (size_t i = 0; i < COUNT_OF(tests); i++) {
        if (bytes_equal_text(value, results_test_name(tests[i]))) {
            request->has_test = true;
            request->test = tests[i];
            return;
        }
    }
    fault(request, name, "invalid_value", "must be welch, sequential or bayesian");
}

static void read_correction(struct results_request *request, const char *name, struct bytes value)
{
    static const char *const names[] = {
        [STATS_CORRECTION_NONE] = "none",
        [STATS_CORRECTION_HOLM] = "holm",
        [STATS_CORRECTION_BH] = "bh",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (bytes_equal_text(value, names[i])) {
            request->correction = (enum stats_correction)i;
            return;
        }
    }
    fault(request, name, "invalid_value", "must be none, holm or bh");
}

/* Options that this version knows by name only: all but one value is refused, none is passed over in silence. */
static void read_only_value(struct results_request *request, const char *name, struct bytes value,
                            const char *only)
{
    if (!bytes_equal_text(value, only)) {
        fault(request, name, "unsupported", "is not supported yet: leave it out");
    }
}

static void read_cuped(struct results_request *request, const char *name, struct bytes value)
{
    request->cuped = bytes_equal_text(value, "true");
    if (!request->cuped && !bytes_equal_text(value, "false")) {
        fault(request, name, "invalid_value", "must be true or false");
    }
}

static void read_cuped_days(struct results_request *request, const char *name, struct bytes value)
{
    uint64_t days = 0;
    if (!handler_parse_natural(value, &days) || days < 1 || days > LIMIT_CUPED_DAYS) {
        fault(request, name, "out_of_range", "must be a whole number of days from 1 to 90");
        return;
    }
    request->cuped_days = (uint32_t)days;
}

static void read_anchor(struct results_request *request, const char *name, struct bytes value)
{
    read_only_value(request, name, value, "assignment");
}

static void read_format(struct results_request *request, const char *name, struct bytes value)
{
    request->as_csv = bytes_equal_text(value, "csv");
    if (!request->as_csv && !bytes_equal_text(value, "json")) {
        fault(request, name, "invalid_value", "must be json or csv");
    }
}

static void read_breakdown(struct results_request *request, const char *name, struct bytes value)
{
    if (handler_text_fault(value, LIMIT_BREAKDOWN_VALUE) != NULL) {
        fault(request, name, "invalid_value", "must be the name of an attribute that assignments came with");
        return;
    }
    request->attribute = value;
}

static const struct results_parameter results_parameters[] = {
    {"start_date",       read_start_date},
    {"end_date",         read_end_date  },
    {"metrics",          read_metrics   },
    {"group_by",         read_group_by  },
    {"confidence_level", read_confidence},
    {"test",             read_test      },
    {"correction",       read_correction},
    {"cuped",            read_cuped     },
    {"cuped_days",       read_cuped_days},
    {"anchor",           read_anchor    },
    {"format",           read_format    },
    {"breakdown",        read_breakdown },
};

static void read_parameter(struct results_request *request, struct bytes name, struct bytes value)
{
    for (size_t i = 0; i < COUNT_OF(results_parameters); i++) {
        if (bytes_equal_text(name, results_parameters[i].name)) {
            results_parameters[i].read(request, results_parameters[i].name, value);
            return;
        }
    }
    field_error_add(&request->errors, "unknown_parameter", "there is no such parameter", "%.*s",
                    (int)name.size, (const char *)name.data);
}

static bool reply_faults(struct call *call, const struct field_errors *errors)
{
    if (errors->count == 0) {
        return false;
    }
    call_reply_field_errors(call, 422, errors->count == 1 ? errors->items[0].code : "invalid_query",
                            errors, "The query has parameters that cannot be used.");
    return true;
}

static bool read_query(struct results_request *request)
{
    size_t position = 0;
    struct bytes name;
    struct bytes value;
    while (call_query_next(request->call, &position, &name, &value)) {
        read_parameter(request, name, value);
    }
    if (request->start_day > request->end_day) {
        fault(request, "end_date", "out_of_range", "must not be before start_date");
    }
    return !reply_faults(request->call, &request->errors);
}

/* The metrics of the experiment, where the query names none. */
static void default_metrics(struct results_request *request, const struct experiment *experiment)
{
    const struct catalog *catalog = request->call->catalog;
    for (uint32_t i = 0; i < experiment->metric_count; i++) {
        uint32_t index = catalog_find_metric(catalog, experiment->metrics[i]);
        if (index != CATALOG_NONE && request->metric_count < LIMIT_EXPERIMENT_METRICS) {
            add_metric(request, index);
        }
    }
    for (size_t i = 0; request->metric_count == 0 && i < COUNT_OF(metrics_default); i++) {
        uint32_t index = catalog_find_metric(catalog, bytes_of_text(metrics_default[i]));
        if (index != CATALOG_NONE && !catalog->metrics[index]->current->archived) {
            request->metrics[request->metric_count++] = index;
        }
    }
}

/* Answering. */

static double weight_of(const struct experiment *experiment, uint32_t variant)
{
    return variant < experiment->variant_count ? experiment->variants[variant].weight : 0.0;
}

static bool same_weights(const struct experiment *one, const struct experiment *other)
{
    uint32_t count =
        one->variant_count > other->variant_count ? one->variant_count : other->variant_count;
    for (uint32_t i = 0; i < count; i++) {
        if (fabs(weight_of(one, i) - weight_of(other, i)) > 1e-9) {
            return false;
        }
    }
    return true;
}

/* Was an earlier version that took users split otherwise than this one? */
static bool weights_changed(const struct catalog_experiment *at, uint32_t first_version)
{
    const struct experiment *experiment = at->current;
    for (at = at->previous; at != NULL; at = at->previous) {
        bool was_used = first_version != 0 && at->current->version >= first_version;
        if (was_used && at->current->status == EXPERIMENT_RUNNING && !same_weights(at->current, experiment)) {
            return true;
        }
    }
    return false;
}

/* The definition that the sums were taken with: the newest catalog has it, perhaps not as its newest version. */
static const struct catalog_experiment *definition_of(struct call *call,
                                                      const struct results_request *request)
{
    call_refresh_catalog(call);
    const struct catalog_experiment *at =
        call->catalog->experiments[request->query.experiment_index];
    while (at->current->version != request->data.experiment_version) {
        at = at->previous;
        assert(at != NULL);
    }
    return at;
}

/* The same question of each part. The series is of all users alone. */
static enum status breakdown_compute(struct results_request *request, const struct results_question *whole)
{
    for (uint32_t i = 0; i < request->breakdown.count; i++) {
        struct results_part *part = &request->breakdown.parts[i];
        part->question = *whole;
        part->question.data = &part->data;
        part->question.series = false;
        part->question.breakdown = NULL;
        part->question.family_factor = request->breakdown.count;
        if (results_compute(&part->question, request->arena, &part->results) != STATUS_OK) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

static void results_reply(struct call *call, struct results_request *request)
{
    const struct catalog_experiment *definition = definition_of(call, request);
    const struct metric *metrics[LIMIT_EXPERIMENT_METRICS];
    for (uint32_t i = 0; i < request->metric_count; i++) {
        metrics[i] = call->catalog->metrics[request->metrics[i]]->current;
    }
    /* Until it is over, somebody may look again: pausing does not make one look of many. */
    bool is_over = definition->current->status == EXPERIMENT_COMPLETED ||
                   definition->current->status == EXPERIMENT_ARCHIVED;
    enum results_test test = is_over ? RESULTS_TEST_WELCH : RESULTS_TEST_SEQUENTIAL;
    struct results_question question = {
        .experiment = definition->current,
        .metrics = metrics,
        .metric_count = request->metric_count,
        .data = &request->data,
        .now_us = engine_now_us(call->engine),
        .start_day = request->start_day,
        .end_day = request->end_day,
        .confidence_level = request->confidence_level,
        .test = request->has_test ? request->test : test,
        .correction = request->correction,
        .series = request->query.series,
        .cuped_days = request->query.covariate_days,
        .family_factor = 1.0,
        .attributes = request->attributes,
        .attribute_count = request->attribute_count,
        .breakdown = request->attribute.data != NULL ? &request->breakdown : NULL,
        .weights_changed = weights_changed(definition, request->data.first_version),
    };
    struct results results;
    if (results_compute(&question, &call->arena, &results) != STATUS_OK || breakdown_compute(request, &question) != STATUS_OK) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (request->as_csv) {
        struct csv_writer table = csv_writer_in(&call->arena);
        results_write_csv(&results, &table);
        csv_reply(call, &table);
        return;
    }
    struct json_writer writer = json_writer_in(&call->arena);
    results_write(&results, &writer);
    call_reply_json(call, 200, &writer);
}

static void results_done(struct call *call)
{
    struct results_request *request = call->handler_data;
    const struct results_data *data = &request->data;
    uint64_t cells = (uint64_t)data->variant_count * data->day_count * request->metric_count;
    if (request->status == STATUS_TOO_LARGE) {
        call_reply_problem(call, 422, "result_too_large", "A quantile looks at %u values at most: ask for fewer days.",
                           LIMIT_QUANTILE_VALUES);
    } else if (request->status != STATUS_OK) {
        call_reply_engine_status(call, request->status);
    } else if (request->attribute_is_unknown) {
        fault(request, "breakdown", "unknown_attribute",
              "no assignment came with this attribute, or it came behind the first of the store that results are broken down by");
        (void)reply_faults(call, &request->errors);
    } else if (request->query.series && cells > RESULTS_SERIES_MAX) {
        call_reply_problem(call, 422, "result_too_large",
                           "The time series would have more than %u cells: ask for fewer days or "
                           "metrics, or for group_by=variant.",
                           RESULTS_SERIES_MAX);
    } else {
        results_reply(call, request);
    }
}

static void read_breakdown_parts(const struct state *state, struct results_request *request)
{
    struct breakdown_part *parts = NULL;
    struct results_breakdown *breakdown = &request->breakdown;
    breakdown->attribute = request->attribute;
    request->status = state_breakdown(state, request->query.experiment_index, request->attribute, request->arena, &parts, &breakdown->count);
    if (request->status == STATUS_NOT_FOUND) {
        request->attribute_is_unknown = true;
        request->status = STATUS_OK;
        return;
    }
    if (request->status == STATUS_OK) {
        breakdown->parts = arena_take_zeroed(request->arena, (breakdown->count + 1ull) * sizeof(*breakdown->parts));
        request->status = breakdown->parts != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < breakdown->count && request->status == STATUS_OK; i++) {
        struct results_query query = request->query;
        query.series = false;
        query.members = parts[i].members;
        query.member_count = parts[i].member_count;
        breakdown->parts[i].part = &parts[i];
        request->status = state_results(state, &query, request->arena, &breakdown->parts[i].data);
    }
}

/* Runs on the apply thread. */
static void read_results(const struct state *state, void *context)
{
    struct results_request *request = context;
    request->status = state_results(state, &request->query, request->arena, &request->data);
    if (request->status == STATUS_OK) {
        request->status = state_attributes(state, request->arena, &request->attributes, &request->attribute_count);
    }
    if (request->status == STATUS_OK && request->attribute.data != NULL) {
        read_breakdown_parts(state, request);
    }
}

void handle_results_get(struct call *call)
{
    uint32_t index = handler_experiment(call);
    if (index == CATALOG_NONE) {
        return;
    }
    struct results_request *request = arena_take_zeroed(&call->arena, sizeof(*request));
    if (request == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    request->call = call;
    request->errors = field_errors_in(&call->arena);
    request->start_day = INT32_MIN;
    request->end_day = INT32_MAX;
    request->confidence_level = 0.95;
    request->correction = STATS_CORRECTION_HOLM;
    request->cuped_days = CUPED_DAYS_DEFAULT;
    if (!read_query(request)) {
        return;
    }
    if (request->metric_count == 0) {
        default_metrics(request, call->catalog->experiments[index]->current);
    }
    request->arena = &call->arena;
    request->query = (struct results_query){
        .experiment_index = index,
        .metrics = request->metrics,
        .metric_count = request->metric_count,
        .start_day = request->start_day,
        .end_day = request->end_day,
        .today = day_of(engine_now_us(call->engine)),
        .series = request->group_by_day || !request->has_group,
        .covariate_days = request->cuped ? request->cuped_days : 0,
    };
    call->handler_data = request;
    call_set_read(call, read_results, request);
    (void)call_submit(call, results_done);
}

/* GET /power */

enum power_number {
    POWER_BASELINE,
    POWER_MDE,
    POWER_POWER,
    POWER_ALPHA,
    POWER_VARIANTS,
    POWER_STD_DEV,
    POWER_USERS_PER_DAY,
};

struct power_parameter {
    const char *name;
    bool is_required;
    double value; /* where it is missing; NAN: none */
    double above;
    double below;
    const char *message;
};

/* The bounds keep out what the formulas do not mean, not what is unwise. */
// clang-format off
static const struct power_parameter power_parameters[] = {
    [POWER_BASELINE]      = {"baseline", true, 0.0, -1e12, 1e12, "must be a number: the control's share of users, or mean"},
    [POWER_MDE]           = {"mde", true, 0.0, -1.0, 1e6, "must be the relative lift to detect, above -1, such as 0.05"},
    [POWER_POWER]         = {"power", false, 0.8, 0.0, 1.0, "must be between 0 and 1"},
    [POWER_ALPHA]         = {"alpha", false, 0.05, 0.0, 1.0, "must be between 0 and 1"},
    [POWER_VARIANTS]      = {"variants", false, 2.0, LIMIT_VARIANTS_MIN - 0.5, LIMIT_VARIANTS + 0.5,
                             "must be a whole number from 2 to 64"},
    [POWER_STD_DEV]       = {"std_dev", false, 0.0, 0.0, 1e12, "must be above 0"},
    [POWER_USERS_PER_DAY] = {"users_per_day", false, 0.0, 0.0, 1e12, "must be above 0"},
};
// clang-format on

#define POWER_PARAMETERS COUNT_OF(power_parameters)

struct power_request {
    double values[POWER_PARAMETERS];
    bool given[POWER_PARAMETERS];
};

static void power_read_one(struct call *call, size_t index, struct power_request *request,
                           struct field_errors *errors)
{
    const struct power_parameter *row = &power_parameters[index];
    struct bytes text;
    double value = row->value;
    request->given[index] = call_query(call, row->name, &text);
    if (!request->given[index] && row->is_required) {
        field_error_add(errors, "required", "is required", "%s", row->name);
    } else if (request->given[index] &&
               (!handler_parse_decimal(text, &value) ||
                !(value > row->above && value < row->below) ||
                (index == POWER_VARIANTS && fabs(value - rint(value)) > 0.0))) {
        field_error_add(errors, "out_of_range", row->message, "%s", row->name);
    }
    request->values[index] = value;
}

static bool power_read(struct call *call, struct power_request *request)
{
    const char *names[POWER_PARAMETERS + 1] = {NULL};
    for (size_t i = 0; i < POWER_PARAMETERS; i++) {
        names[i] = power_parameters[i].name;
    }
    if (!call_query_only(call, names)) {
        return false;
    }
    struct field_errors errors = field_errors_in(&call->arena);
    for (size_t i = 0; i < POWER_PARAMETERS; i++) {
        power_read_one(call, i, request, &errors);
    }
    return !reply_faults(call, &errors);
}

static void power_reply(struct call *call, const struct power_request *request, uint64_t users)
{
    uint64_t total = users * (uint64_t)request->values[POWER_VARIANTS];
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "sample_size_per_variant");
    json_uint(&writer, users);
    json_key(&writer, "total_sample_size");
    json_uint(&writer, total);
    json_key(&writer, "days");
    bool has_rate = request->given[POWER_USERS_PER_DAY];
    double days = has_rate ? (double)total / request->values[POWER_USERS_PER_DAY] : 0.0;
    if (has_rate && days < 1e15) {
        json_uint(&writer, (uint64_t)ceil(days));
    } else {
        json_null(&writer);
    }
    for (size_t i = 0; i < POWER_PARAMETERS; i++) {
        json_key(&writer, power_parameters[i].name);
        bool has_value = request->given[i] || request->values[i] > 0.0;
        if (i == POWER_VARIANTS) {
            json_uint(&writer, (uint64_t)request->values[i]);
        } else if (has_value) {
            json_double(&writer, request->values[i]);
        } else {
            json_null(&writer);
        }
    }
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

void handle_power_get(struct call *call)
{
    struct power_request request = {{0}, {false}};
    if (!power_read(call, &request)) {
        return;
    }
    struct stats_power_question question = {
        .kind = request.given[POWER_STD_DEV] ? STATS_MEAN : STATS_PROPORTION,
        .baseline = request.values[POWER_BASELINE],
        .std_dev = request.values[POWER_STD_DEV],
        .effect = request.values[POWER_MDE],
        .power = request.values[POWER_POWER],
        .alpha = request.values[POWER_ALPHA],
        .variants = (uint32_t)request.values[POWER_VARIANTS],
    };
    uint64_t users = 0;
    enum status status = stats_sample_size(&question, &users);
    if (status != STATUS_OK || users > UINT64_MAX / LIMIT_VARIANTS) {
        call_reply_problem(call, 422, "no_sample_size",
                           "No sample size answers this: without std_dev, baseline and baseline * "
                           "(1 + mde) must lie between 0 and 1; mde must not be 0, nor baseline.");
        return;
    }
    power_reply(call, &request, users);
}
