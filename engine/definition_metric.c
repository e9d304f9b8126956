/* definition_metric.c: metrics: the table of their fields, and the value that an event has for one. */
#include <stdlib.h>

#include "engine/definition_document.h"

#define ARENA_SLACK        512u
#define SCRATCH_SIZE       4096u
#define METRIC_ROW(member) FIELD_MEMBER(struct metric, member)

static const char *const type_names[] = {
    [METRIC_PROPORTION] = "proportion",
    [METRIC_MEAN] = "mean",
    [METRIC_RATIO] = "ratio",
};

static const char *const aggregation_names[] = {
    [METRIC_SUM] = "sum",
    [METRIC_COUNT] = "count",
    [METRIC_UNIQUE_DAYS] = "unique_days",
};

static const char *const direction_names[] = {
    [METRIC_INCREASE] = "increase",
    [METRIC_DECREASE] = "decrease",
};

static const char *const types_unsupported[] = {"retention", "quantile", NULL};
static const char *const aggregations_unsupported[] = {"max", NULL};

static const struct field_choices type_choices = {type_names, COUNT_OF(type_names),
                                                  types_unsupported};
static const struct field_choices aggregation_choices = {
    aggregation_names, COUNT_OF(aggregation_names), aggregations_unsupported};
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
};

static const struct field_row cap_rows[] = {
    {.name = "upper", .kind = &field_kind_kept, .access = FIELD_GIVEN, .is_required = true, FIELD_MEMBER(struct cap_fields, upper)},
};

static void cap_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct metric *metric = member;
    struct cap_fields fields = {0};
    struct pack_cursor cursor;
    struct pack_value value;
    const uint32_t faults = reading->errors->count;
    (void)row;
    (void)document_read(reading, cap_rows, COUNT_OF(cap_rows), field, NULL, &fields);
    if (reading->errors->count != faults || !field_is_given(&fields.upper)) {
        return;
    }
    cursor = pack_cursor_on(fields.upper.encoded);
    if (!pack_read(&cursor, &value) || !pack_to_millionths(&value, &metric->cap_upper) ||
        metric->cap_upper <= 0) {
        field_fault(reading, &fields.upper, "out_of_range", "must be a number above 0 and below %lld",
                    (long long)LIMIT_METRIC_VALUE);
        return;
    }
    metric->has_cap = true;
}

static void cap_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct metric *metric = member;
    (void)row;
    if (!metric->has_cap) {
        pack_nil(writer);
        return;
    }
    pack_map(writer, 1);
    pack_text_z(writer, "upper");
    pack_millionths(writer, metric->cap_upper);
}

static const struct field_kind kind_cap = {cap_read, cap_write, NULL};

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
    [ROW_WINDOW] = {"window_hours", NULL, FIELD_UNSUPPORTED, .note = "attribution windows are not supported yet; leave it out, or null"},
    [ROW_CAP] = {"cap", &kind_cap, FIELD_GIVEN},
    [ROW_NUMERATOR] = {"numerator", &field_kind_word, FIELD_GIVEN, METRIC_ROW(numerator), .least = 1, .most = LIMIT_KEY},
    [ROW_DENOMINATOR] = {"denominator", &field_kind_word, FIELD_GIVEN, METRIC_ROW(denominator), .least = 1, .most = LIMIT_KEY},
    [ROW_ARCHIVED] = {"archived", &field_kind_flag, FIELD_GIVEN, METRIC_ROW(archived)},
    [ROW_CREATED_AT] = {"created_at", &field_kind_instant, FIELD_OURS, .is_required = true, METRIC_ROW(created_at_us)},
    [ROW_UPDATED_AT] = {"updated_at", &field_kind_instant, FIELD_OURS, .is_required = true, METRIC_ROW(updated_at_us)},
    [ROW_AUTHOR] = {"author", &field_kind_uuid, FIELD_OURS, .is_required = true, METRIC_ROW(author)},
};
// clang-format on

static_assert(COUNT_OF(metric_rows) == ROW_END, "each row has its place");

static const struct field cap_field = {.parent = "", .name = "cap"};
static const struct field property_field = {.parent = "", .name = "property"};
static const struct field aggregation_field = {.parent = "", .name = "aggregation"};

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

/* What holds between the fields; puts the default aggregation where `aggregation_is_open`. */
static void metric_settle(struct reading *reading, bool aggregation_is_open, struct metric *metric)
{
    bool has_property = metric->property.size > 0;
    ratio_settle(reading, aggregation_is_open, metric);
    if (metric->type == METRIC_RATIO) {
        return;
    }
    if (metric->type == METRIC_PROPORTION) {
        if (metric->has_cap) {
            field_fault(reading, &cap_field, "not_allowed", "does not go with a proportion, where a user counts once");
        }
        if (has_property) {
            field_fault(reading, &property_field, "not_allowed",
                        "does not go with a proportion, which counts users with an event");
        }
        if (!aggregation_is_open && metric->aggregation != METRIC_COUNT) {
            field_fault(reading, &aggregation_field, "not_allowed",
                        "does not go with a proportion, which counts users with an event");
        }
        metric->aggregation = METRIC_COUNT;
        return;
    }
    if (aggregation_is_open) {
        metric->aggregation = has_property ? METRIC_SUM : METRIC_COUNT;
    }
    if (metric->aggregation == METRIC_SUM && !has_property) {
        field_fault(reading, &property_field, "required",
                    "is required by the aggregation sum: the property to add up");
    }
    if (metric->aggregation != METRIC_SUM && has_property) {
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
    if (metric->aggregation != METRIC_SUM) {
        *out_millionths = METRIC_UNIT;
        return true;
    }
    return properties.size > 0 && pack_map_find(properties, metric->property, &value) &&
           pack_to_millionths(&value, out_millionths);
}
