/* definition_metric.c: metrics: the table of their fields, and the value that an event has for one. */
#include <math.h>
#include <stdlib.h>

#include "engine/definition_document.h"

#define ARENA_SLACK        512u
#define SCRATCH_SIZE       4096u
#define METRIC_ROW(member) FIELD_MEMBER(struct metric, member)

static const char *const type_names[] = {
    [METRIC_PROPORTION] = "proportion",
    [METRIC_MEAN] = "mean",
    [METRIC_RATIO] = "ratio",
    [METRIC_RETENTION] = "retention",
    [METRIC_QUANTILE] = "quantile",
};

static const char *const aggregation_names[] = {
    [METRIC_SUM] = "sum",
    [METRIC_COUNT] = "count",
    [METRIC_UNIQUE_DAYS] = "unique_days",
    [METRIC_MAX] = "max",
};

static const char *const direction_names[] = {
    [METRIC_INCREASE] = "increase",
    [METRIC_DECREASE] = "decrease",
};

static const struct field_choices type_choices = {type_names, COUNT_OF(type_names), NULL};
static const struct field_choices aggregation_choices = {aggregation_names, COUNT_OF(aggregation_names), NULL};
static const struct field_choices direction_choices = {direction_names, COUNT_OF(direction_names),
                                                       NULL};

static_assert(sizeof(enum metric_type) == sizeof(uint32_t) &&
                  sizeof(enum metric_aggregation) == sizeof(uint32_t) &&
                  sizeof(enum metric_direction) == sizeof(uint32_t),
              "field_kind_choice reads 32 bits");

/* ---- Filters ---- */

#define FILTER_PART(part)                                                                          \
    .kind = &field_kind_kept, .access = FIELD_GIVEN, FIELD_MEMBER(struct condition_fields, part)

static const struct field_row filter_rows[] = {
    {.name = "property", FILTER_PART(subject)  },
    {.name = "op",       FILTER_PART(operation)},
    {.name = "value",    FILTER_PART(value)    },
    {.name = "values",   FILTER_PART(values)   },
};

static void filter_read(struct reading *reading, const struct field *field,
                        struct metric_filter *out_filter)
{
    struct condition_fields fields = {0};
    struct condition condition;
    uint32_t faults = reading->errors->count;
    (void)document_read(reading, filter_rows, COUNT_OF(filter_rows), field, NULL, &fields);
    if (reading->errors->count == faults &&
        condition_read(reading, field, "property", &fields, &condition)) {
        *out_filter =
            (struct metric_filter){condition.subject, condition.operation, condition.values};
    }
}

static void filters_read(struct reading *reading, const struct field_row *row,
                         const struct field *field, void *member)
{
    struct metric *metric = member;
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, row->least, row->most, &list)) {
        return;
    }
    struct metric_filter *filters =
        arena_take_zeroed(reading->arena, sizeof(*filters) * (list.count + 1));
    if (filters == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; field_list_next(reading, &list, &element); i++) {
        filter_read(reading, &element, &filters[i]);
    }
    metric->filters = filters;
    metric->filter_count = list.count;
}

static void value_write(struct pack_writer *writer, const struct pack_value *value)
{
    switch (value->type) {
    case PACK_BOOL:
        pack_bool(writer, value->as.boolean);
        return;
    case PACK_INT:
        pack_int(writer, value->as.integer);
        return;
    case PACK_UINT:
        pack_uint(writer, value->as.natural);
        return;
    case PACK_DOUBLE:
        pack_double(writer, value->as.number);
        return;
    case PACK_MILLIONTHS:
        pack_millionths(writer, value->as.integer);
        return;
    case PACK_TEXT:
        pack_text(writer, value->as.bytes);
        return;
    case PACK_NIL:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        break;
    }
    assert(false); /* condition_read() lets none of these in */
}

static void filters_write(struct pack_writer *writer, const struct field_row *row,
                          const void *member)
{
    const struct metric *metric = member;
    (void)row;
    pack_array(writer, metric->filter_count);
    for (uint32_t i = 0; i < metric->filter_count; i++) {
        const struct metric_filter *filter = &metric->filters[i];
        const enum rule_operand operand = rule_operator_operand(filter->operation);
        pack_map(writer, operand == RULE_OPERAND_NONE ? 2 : 3);
        pack_text_z(writer, "property");
        pack_text(writer, filter->property);
        pack_text_z(writer, "op");
        pack_text_z(writer, rule_operator_name(filter->operation));
        if (operand == RULE_OPERAND_VALUE) {
            pack_text_z(writer, "value");
        } else if (operand == RULE_OPERAND_LIST) {
            pack_text_z(writer, "values");
            pack_array(writer, filter->values.count);
        }
        for (uint32_t k = 0; k < filter->values.count; k++) {
            value_write(writer, &filter->values.items[k]);
        }
    }
}

static const struct field_kind kind_filters = {filters_read, filters_write, NULL};

/* ---- Cap ---- */

struct cap_fields {
    struct field upper;
    struct field percentile;
    struct field ignore_zeros;
};

#define CAP_PART(part) .kind = &field_kind_kept, .access = FIELD_GIVEN, FIELD_MEMBER(struct cap_fields, part)

static const struct field_row cap_rows[] = {
    {.name = "upper", CAP_PART(upper)},
    {.name = "percentile", CAP_PART(percentile)},
    {.name = "ignore_zeros", CAP_PART(ignore_zeros)},
};

/* A number in millionths within bounds, both left out; or a fault. */
static bool millionths_read(struct reading *reading, const struct field *field, int64_t above, int64_t below, const char *message,
                            int64_t *out_millionths)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    struct pack_value value;
    int64_t millionths = 0;
    if (!pack_read(&cursor, &value) || !pack_to_millionths(&value, &millionths) || millionths <= above || millionths >= below) {
        field_fault(reading, field, "out_of_range", "%s", message);
        return false;
    }
    *out_millionths = millionths;
    return true;
}

static bool cap_flag_read(struct reading *reading, const struct field *field, bool *out_flag)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    if (field_is_given(field) && !pack_read_bool(&cursor, out_flag)) {
        field_fault(reading, field, "wrong_type", "must be true or false");
        return false;
    }
    return true;
}

static void cap_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct metric *metric = member;
    struct cap_fields fields = {0};
    const uint32_t faults = reading->errors->count;
    int64_t upper = 0;
    int64_t percentile = 0;
    bool ignores_zeros = true;
    (void)row;
    (void)document_read(reading, cap_rows, COUNT_OF(cap_rows), field, NULL, &fields);
    if (reading->errors->count != faults) {
        return;
    }
    const bool by_percentile = field_is_given(&fields.percentile);
    if (by_percentile == field_is_given(&fields.upper)) {
        field_fault(reading, field, "required", "wants one of upper and percentile");
        return;
    }
    if (by_percentile) {
        if (!millionths_read(reading, &fields.percentile, 0, METRIC_UNIT, "must be a number above 0 and below 1, such as 0.99",
                             &percentile) ||
            !cap_flag_read(reading, &fields.ignore_zeros, &ignores_zeros)) {
            return;
        }
    } else if (field_is_given(&fields.ignore_zeros)) {
        field_fault(reading, &fields.ignore_zeros, "not_allowed", "goes with percentile only");
        return;
    } else if (!millionths_read(reading, &fields.upper, 0, INT64_MAX, "must be a number above 0 and below 9.2e12", &upper)) {
        return;
    }
    metric->has_cap = true;
    metric->cap_upper = upper;
    metric->cap_percentile = percentile;
    metric->cap_ignores_zeros = by_percentile && ignores_zeros;
}

static void cap_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct metric *metric = member;
    (void)row;
    if (!metric->has_cap) {
        pack_nil(writer);
    } else if (metric->cap_percentile != 0) {
        pack_map(writer, 2);
        pack_text_z(writer, "percentile");
        pack_millionths(writer, metric->cap_percentile);
        pack_text_z(writer, "ignore_zeros");
        pack_bool(writer, metric->cap_ignores_zeros);
    } else {
        pack_map(writer, 1);
        pack_text_z(writer, "upper");
        pack_millionths(writer, metric->cap_upper);
    }
}

static const struct field_kind kind_cap = {cap_read, cap_write, NULL};

/* ---- Days, hours, quantiles ---- */

/* A whole number up to row->most into a uint32_t. Zero is written as null where it means nothing (row->least above 0). */
static void whole_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    double number = 0;
    if (!field_number(reading, field, &number)) {
        return;
    }
    if (!(number >= row->least && number <= row->most) || fabs(number - floor(number)) > 0.0) {
        field_fault(reading, field, "out_of_range", "must be a whole number from %u to %u", row->least, row->most);
        return;
    }
    const uint32_t whole = (uint32_t)number;
    memcpy(member, &whole, sizeof(whole));
}

static void whole_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    uint32_t whole;
    memcpy(&whole, member, sizeof(whole));
    if (whole < row->least) {
        pack_nil(writer);
    } else {
        pack_uint(writer, whole);
    }
}

static const struct field_kind kind_whole = {whole_read, whole_write, NULL};

static void quantile_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    double number = 0;
    (void)row;
    if (!field_number(reading, field, &number)) {
        return;
    }
    if (!(number > 0.0 && number < 1.0)) {
        field_fault(reading, field, "out_of_range", "must be above 0 and below 1, such as 0.9");
        return;
    }
    memcpy(member, &number, sizeof(number));
}

static void quantile_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    double number;
    (void)row;
    memcpy(&number, member, sizeof(number));
    if (number > 0.0) {
        pack_double(writer, number);
    } else {
        pack_nil(writer);
    }
}

static const struct field_kind kind_quantile = {quantile_read, quantile_write, NULL};

static void guardrail_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct metric *metric = member;
    double number = 0;
    (void)row;
    if (!field_number(reading, field, &number)) {
        return;
    }
    if (!(number >= 0.0 && number < 1.0)) {
        field_fault(reading, field, "out_of_range", "must be a relative change from 0 to below 1, such as 0.02");
        return;
    }
    metric->is_guardrail = true;
    metric->guardrail_margin = fabs(number);
}

static void guardrail_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct metric *metric = member;
    (void)row;
    if (metric->is_guardrail) {
        pack_double(writer, metric->guardrail_margin);
    } else {
        pack_nil(writer);
    }
}

static const struct field_kind kind_guardrail = {guardrail_read, guardrail_write, NULL};

/* ---- Fields ---- */

enum metric_row {
    ROW_ID,
    ROW_NAME,
    ROW_DESCRIPTION,
    ROW_VERSION,
    ROW_TYPE,
    ROW_EVENT_TYPE,
    ROW_PROPERTY,
    ROW_AGGREGATION,
    ROW_FILTERS,
    ROW_DIRECTION,
    ROW_WINDOW,
    ROW_CAP,
    ROW_NUMERATOR,
    ROW_DENOMINATOR,
    ROW_FROM_DAY,
    ROW_TO_DAY,
    ROW_QUANTILE,
    ROW_GUARDRAIL,
    ROW_ARCHIVED,
    ROW_CREATED_AT,
    ROW_UPDATED_AT,
    ROW_AUTHOR,
    ROW_END,
};

// clang-format off
static const struct field_row metric_rows[] = {
    [ROW_ID] = {"id", &field_kind_uuid, FIELD_OURS, .is_required = true, METRIC_ROW(id)},
    [ROW_NAME] = {"name", &field_kind_word, FIELD_FIXED, .is_required = true, METRIC_ROW(name), .least = 1, .most = LIMIT_KEY},
    [ROW_DESCRIPTION] = {"description", &field_kind_prose, FIELD_GIVEN, METRIC_ROW(description), .most = LIMIT_DESCRIPTION},
    [ROW_VERSION] = {"version", &field_kind_version, FIELD_OURS, .is_required = true, METRIC_ROW(version)},
    [ROW_TYPE] = {"type", &field_kind_choice, FIELD_GIVEN, .is_required = true, METRIC_ROW(type), .choices = &type_choices},
    [ROW_EVENT_TYPE] = {"event_type", &field_kind_name, FIELD_GIVEN, METRIC_ROW(event_type), .least = 1, .most = LIMIT_EVENT_TYPE},
    [ROW_PROPERTY] = {"property", &field_kind_name, FIELD_GIVEN, METRIC_ROW(property), .least = 1, .most = LIMIT_NAME},
    [ROW_AGGREGATION] = {"aggregation", &field_kind_choice, FIELD_GIVEN, METRIC_ROW(aggregation), .choices = &aggregation_choices},
    [ROW_FILTERS] = {"filters", &kind_filters, FIELD_GIVEN, .most = LIMIT_METRIC_FILTERS},
    [ROW_DIRECTION] = {"direction", &field_kind_choice, FIELD_GIVEN, METRIC_ROW(direction), .choices = &direction_choices},
    [ROW_WINDOW] = {"window_hours", &kind_whole, FIELD_GIVEN, METRIC_ROW(window_hours), .least = 1, .most = LIMIT_WINDOW_HOURS},
    [ROW_CAP] = {"cap", &kind_cap, FIELD_GIVEN},
    [ROW_NUMERATOR] = {"numerator", &field_kind_word, FIELD_GIVEN, METRIC_ROW(numerator), .least = 1, .most = LIMIT_KEY},
    [ROW_DENOMINATOR] = {"denominator", &field_kind_word, FIELD_GIVEN, METRIC_ROW(denominator), .least = 1, .most = LIMIT_KEY},
    [ROW_FROM_DAY] = {"from_day", &kind_whole, FIELD_GIVEN, METRIC_ROW(from_day), .most = LIMIT_RETENTION_DAYS},
    [ROW_TO_DAY] = {"to_day", &kind_whole, FIELD_GIVEN, METRIC_ROW(to_day), .least = 1, .most = LIMIT_RETENTION_DAYS},
    [ROW_QUANTILE] = {"quantile", &kind_quantile, FIELD_GIVEN, METRIC_ROW(quantile)},
    [ROW_GUARDRAIL] = {"guardrail_margin", &kind_guardrail, FIELD_GIVEN},
    [ROW_ARCHIVED] = {"archived", &field_kind_flag, FIELD_GIVEN, METRIC_ROW(archived)},
    [ROW_CREATED_AT] = {"created_at", &field_kind_instant, FIELD_OURS, .is_required = true, METRIC_ROW(created_at_us)},
    [ROW_UPDATED_AT] = {"updated_at", &field_kind_instant, FIELD_OURS, .is_required = true, METRIC_ROW(updated_at_us)},
    [ROW_AUTHOR] = {"author", &field_kind_uuid, FIELD_OURS, .is_required = true, METRIC_ROW(author)},
};
// clang-format on

static_assert(COUNT_OF(metric_rows) == ROW_END, "each row has its place");

static const struct field property_field = {.parent = "", .name = "property"};

struct part {
    const char *name;
    bool is_given;
};

/* Faults the parts that are given and must not be, or missing and must be. */
static void parts_check(struct reading *reading, const struct part *parts, size_t count, bool are_wanted, const char *message)
{
    for (size_t i = 0; i < count; i++) {
        const struct field field = {.parent = "", .name = parts[i].name};
        if (parts[i].is_given != are_wanted) {
            field_fault(reading, &field, are_wanted ? "required" : "not_allowed", "%s", message);
        }
    }
}

/* A ratio is of two metrics and has no events of its own; everything else has events and no such parts. */
static void ratio_settle(struct reading *reading, bool aggregation_is_open, struct metric *metric)
{
    const struct part own[] = {{"event_type", metric->event_type.size > 0},
                               {"property", metric->property.size > 0},
                               {"filters", metric->filter_count > 0},
                               {"cap", metric->has_cap},
                               {"aggregation", !aggregation_is_open && metric->aggregation != METRIC_COUNT}};
    const struct part ratio[] = {{"numerator", metric->numerator.size > 0}, {"denominator", metric->denominator.size > 0}};
    if (metric->type == METRIC_RATIO) {
        parts_check(reading, own, COUNT_OF(own), false, "does not go with a ratio, which is of two metrics");
        parts_check(reading, ratio, COUNT_OF(ratio), true, "is required by a ratio: the name of a mean, or what one is made of");
        metric->aggregation = METRIC_COUNT;
    } else {
        parts_check(reading, ratio, COUNT_OF(ratio), false, "goes with a ratio only");
        parts_check(reading, own, 1, true, "is required: the events it takes");
    }
}

/* Which of the fields that go with some types only are given, and whether they are in their place. */
static void type_parts_settle(struct reading *reading, const struct metric *metric)
{
    const struct part retention[] = {{"to_day", metric->to_day != 0}};
    const struct part retention_start[] = {{"from_day", metric->from_day != 0}};
    const struct part quantile[] = {{"quantile", metric->quantile > 0.0}};
    const struct part window[] = {{"window_hours", metric->window_hours != 0}};
    const struct part cap[] = {{"cap", metric->has_cap}};
    const bool is_retention = metric->type == METRIC_RETENTION;
    const bool is_quantile = metric->type == METRIC_QUANTILE;
    parts_check(reading, retention, 1, is_retention,
                is_retention ? "is required by a retention: the last day, counted from the assignment's" : "goes with a retention only");
    if (!is_retention) {
        parts_check(reading, retention_start, 1, false, "goes with a retention only");
    } else if (metric->to_day != 0 && metric->from_day > metric->to_day) {
        const struct field field = {.parent = "", .name = "from_day"};
        field_fault(reading, &field, "out_of_range", "must not be after to_day");
    }
    parts_check(reading, quantile, 1, is_quantile,
                is_quantile ? "is required by a quantile: 0.5 is the median" : "goes with a quantile only");
    if (is_retention || metric->type == METRIC_RATIO) {
        parts_check(reading, window, 1, false,
                    is_retention ? "does not go with a retention, whose days are from_day to to_day"
                                 : "does not go with a ratio: give it to the metrics that it is of");
    }
    if (metric->type != METRIC_MEAN && metric->type != METRIC_RATIO) {
        parts_check(reading, cap, 1, false, "goes with a mean only, which adds up a user's values");
    }
}

/* A proportion and a retention count users with an event; a quantile takes the values as they are. */
static void no_aggregation_settle(struct reading *reading, bool aggregation_is_open, struct metric *metric)
{
    const bool is_quantile = metric->type == METRIC_QUANTILE;
    const char *message = is_quantile ? "is required by a quantile: the property it is of" : "does not go with a metric that counts users with an event";
    const struct part property[] = {{"property", metric->property.size > 0}};
    const struct part aggregation[] = {{"aggregation", !aggregation_is_open && metric->aggregation != METRIC_COUNT}};
    parts_check(reading, property, 1, is_quantile, message);
    parts_check(reading, aggregation, 1, false, "goes with a mean only");
    metric->aggregation = METRIC_COUNT;
}

/* What holds between the fields; puts the default aggregation where `aggregation_is_open`. */
static void metric_settle(struct reading *reading, bool aggregation_is_open, struct metric *metric)
{
    const bool has_property = metric->property.size > 0;
    ratio_settle(reading, aggregation_is_open, metric);
    type_parts_settle(reading, metric);
    if (metric->type == METRIC_RATIO) {
        return;
    }
    if (metric->type != METRIC_MEAN) {
        no_aggregation_settle(reading, aggregation_is_open, metric);
        return;
    }
    if (aggregation_is_open) {
        metric->aggregation = has_property ? METRIC_SUM : METRIC_COUNT;
    }
    const bool wants_property = metric->aggregation == METRIC_SUM || metric->aggregation == METRIC_MAX;
    if (wants_property && !has_property) {
        field_fault(reading, &property_field, "required", "is required by the aggregation %s: the property to look at",
                    aggregation_names[metric->aggregation]);
    }
    if (!wants_property && has_property) {
        field_fault(reading, &property_field, "not_allowed",
                    "does not go with the aggregation %s, which looks at no property",
                    aggregation_names[metric->aggregation]);
    }
}

/* ---- Stored form ---- */

void metric_free(struct metric *metric)
{
    if (metric != NULL) {
        arena_deinit(&metric->arena);
        free(metric);
    }
}

static enum status metric_load(struct metric *metric, struct bytes document, struct arena *scratch)
{
    struct field_errors errors = field_errors_in(scratch);
    struct reading reading = {.arena = &metric->arena, .errors = &errors, .is_stored = true};
    struct field field;
    const char *copy = arena_copy(&metric->arena, document);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    metric->document = bytes_of(copy, document.size);
    if (!document_check(&reading, metric->document, &field)) {
        return STATUS_DAMAGED;
    }
    (void)document_read(&reading, metric_rows, ROW_END, &field, NULL, metric);
    if (errors.count == 0) {
        metric_settle(&reading, false, metric);
    }
    enum status status = reading_status(&reading);
    return status == STATUS_INVALID ? STATUS_DAMAGED : status;
}

enum status metric_decode(struct bytes document, struct metric **out_metric)
{
    struct arena scratch;
    struct metric *metric = calloc(1, sizeof(*metric));
    if (metric == NULL) {
        return STATUS_NO_MEMORY;
    }
    arena_init(&metric->arena, document.size + ARENA_SLACK);
    arena_init(&scratch, SCRATCH_SIZE);
    enum status status = metric_load(metric, document, &scratch);
    arena_deinit(&scratch);
    if (status != STATUS_OK) {
        metric_free(metric);
        return status;
    }
    *out_metric = metric;
    return STATUS_OK;
}

static enum status metric_seal(struct reading *reading, const struct metric *draft,
                               struct metric **out_metric)
{
    static const struct field whole = {.parent = "", .name = ""};
    uint8_t *owned = NULL;
    size_t size = 0;
    enum status status =
        document_encode(metric_rows, ROW_END, draft, (size_t)LIMIT_DEFINITION, &owned, &size);
    if (status == STATUS_TOO_LARGE) {
        field_fault(reading, &whole, "out_of_range",
                    "is too large: a definition may have %u bytes in all", LIMIT_DEFINITION);
        return STATUS_INVALID;
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = metric_decode(bytes_of(owned, size), out_metric);
    free(owned);
    assert(status != STATUS_DAMAGED); /* what we write is what we read */
    return status;
}

/* ---- Create and patch ---- */

enum status metric_create(struct bytes document, const struct definition_context *context,
                          struct field_errors *errors, struct metric **out_metric)
{
    struct reading reading = {.arena = errors->arena, .errors = errors};
    struct metric draft = {0};
    struct field field;
    if (!document_check(&reading, document, &field)) {
        return reading_status(&reading);
    }
    struct presence presence = document_read(&reading, metric_rows, ROW_END, &field, NULL, &draft);
    if (errors->count == 0) {
        metric_settle(&reading, !presence_has(presence.set, ROW_AGGREGATION), &draft);
    }
    enum status status = reading_status(&reading);
    if (status != STATUS_OK) {
        return status;
    }
    draft.id = context->id;
    draft.version = context->version;
    draft.author = context->author;
    draft.created_at_us = context->now_us;
    draft.updated_at_us = context->now_us;
    return metric_seal(&reading, &draft, out_metric);
}

enum status metric_patch(const struct metric *current, struct bytes patch,
                         const struct definition_context *context, struct field_errors *errors,
                         struct metric **out_metric)
{
    struct reading reading = {.arena = errors->arena, .errors = errors};
    struct metric draft = *current;
    struct field field;
    if (!document_check(&reading, patch, &field)) {
        return reading_status(&reading);
    }
    struct presence presence =
        document_read(&reading, metric_rows, ROW_END, &field, current, &draft);
    if (presence_has(presence.null, ROW_FILTERS)) {
        draft.filter_count = 0;
    }
    if (presence_has(presence.null, ROW_CAP)) {
        draft.has_cap = false;
        draft.cap_percentile = 0;
    }
    if (presence_has(presence.null, ROW_GUARDRAIL)) {
        draft.is_guardrail = false;
    }
    /* A change of type takes the aggregation of the new type along. */
    bool type_changed = draft.type != current->type;
    if ((draft.type == METRIC_RATIO) != (current->type == METRIC_RATIO)) {
        static const struct field type_field = {.parent = "", .name = "type"};
        field_fault(&reading, &type_field, "immutable", "cannot become a ratio, or cease to be one: define another metric");
    }
    bool aggregation_is_open = presence_has(presence.null, ROW_AGGREGATION) ||
                               (type_changed && !presence_has(presence.set, ROW_AGGREGATION));
    if (errors->count == 0) {
        metric_settle(&reading, aggregation_is_open, &draft);
    }
    enum status status = reading_status(&reading);
    if (status != STATUS_OK) {
        return status;
    }
    draft.version = context->version;
    draft.author = context->author;
    draft.updated_at_us = context->now_us;
    return metric_seal(&reading, &draft, out_metric);
}

/* ---- The value of an event ---- */

bool metric_takes_values(const struct metric *metric)
{
    return metric->type == METRIC_QUANTILE ||
           (metric->type == METRIC_MEAN && (metric->aggregation == METRIC_SUM || metric->aggregation == METRIC_MAX));
}

bool metric_keeps_events(const struct metric *metric)
{
    return metric->type == METRIC_QUANTILE || metric->window_hours != 0 ||
           (metric->type == METRIC_MEAN && metric->aggregation == METRIC_MAX);
}

bool metric_value(const struct metric *metric, struct bytes properties, int64_t *out_millionths)
{
    struct pack_value value;
    for (uint32_t i = 0; i < metric->filter_count; i++) {
        const struct metric_filter *filter = &metric->filters[i];
        bool is_there = properties.size > 0 && pack_map_find(properties, filter->property, &value);
        if (!rule_holds(filter->operation, is_there ? &value : NULL, &filter->values)) {
            return false;
        }
    }
    if (!metric_takes_values(metric)) {
        *out_millionths = METRIC_UNIT;
        return true;
    }
    return properties.size > 0 && pack_map_find(properties, metric->property, &value) &&
           pack_to_millionths(&value, out_millionths);
}
