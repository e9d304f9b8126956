/* targeting_rule.c: one condition: the operators as a table, and how it is read. */
#include <math.h>
#include <stdio.h>

#include "engine/definition_document.h"
#include "engine/order.h"
#include "engine/regex.h"

#define SUBJECT_MAX  LIMIT_NAME
#define COUNTRY_SIZE 2u
#define FAULT_SIZE   256u

/* ---- What holds ---- */

static bool is_text(const struct pack_value *value)
{
    return value->type == PACK_TEXT;
}

static bool value_equal(const struct pack_value *a, const struct pack_value *b)
{
    int order = 0;
    if (a->type == PACK_BOOL && b->type == PACK_BOOL) {
        return a->as.boolean == b->as.boolean;
    }
    if (is_text(a) || is_text(b)) {
        return a->type == b->type && bytes_equal(a->as.bytes, b->as.bytes);
    }
    return decimal_compare(a, b, &order) && order == 0;
}

static bool values_have(const struct pack_value *value, const struct rule_values *values)
{
    for (uint32_t i = 0; i < values->count; i++) {
        if (value_equal(value, &values->items[i])) {
            return true;
        }
    }
    return false;
}

static bool values_lack(const struct pack_value *value, const struct rule_values *values)
{
    return !values_have(value, values);
}

static bool is_greater(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return decimal_compare(value, &values->items[0], &order) && order > 0;
}

static bool is_greater_or_equal(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return decimal_compare(value, &values->items[0], &order) && order >= 0;
}

static bool is_less(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return decimal_compare(value, &values->items[0], &order) && order < 0;
}

static bool is_less_or_equal(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return decimal_compare(value, &values->items[0], &order) && order <= 0;
}

/* The order of two versions; false where the value is none. */
static bool version_compare(const struct pack_value *value, const struct rule_values *values,
                            int *out_order)
{
    return is_text(value) && semver_compare(value->as.bytes, values->items[0].as.bytes, out_order);
}

static bool version_is_greater(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return version_compare(value, values, &order) && order > 0;
}

static bool version_is_greater_or_equal(const struct pack_value *value,
                                        const struct rule_values *values)
{
    int order = 0;
    return version_compare(value, values, &order) && order >= 0;
}

static bool version_is_less(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return version_compare(value, values, &order) && order < 0;
}

static bool version_is_less_or_equal(const struct pack_value *value,
                                     const struct rule_values *values)
{
    int order = 0;
    return version_compare(value, values, &order) && order <= 0;
}

static bool version_is_equal(const struct pack_value *value, const struct rule_values *values)
{
    int order = 0;
    return version_compare(value, values, &order) && order == 0;
}

static bool is_there(const struct pack_value *value, const struct rule_values *values)
{
    (void)value;
    (void)values;
    return true;
}

static bool is_not_there(const struct pack_value *value, const struct rule_values *values)
{
    (void)value;
    (void)values;
    return false;
}

static bool text_contains(const struct pack_value *value, const struct rule_values *values)
{
    const struct bytes part = values->items[0].as.bytes;
    return is_text(value) &&
           memmem(value->as.bytes.data, value->as.bytes.size, part.data, part.size) != NULL;
}

static bool text_starts_with(const struct pack_value *value, const struct rule_values *values)
{
    const struct bytes part = values->items[0].as.bytes;
    return is_text(value) && value->as.bytes.size >= part.size &&
           bytes_equal(bytes_of(value->as.bytes.data, part.size), part);
}

static bool text_ends_with(const struct pack_value *value, const struct rule_values *values)
{
    const struct bytes part = values->items[0].as.bytes;
    if (!is_text(value) || value->as.bytes.size < part.size) {
        return false;
    }
    const size_t before = value->as.bytes.size - part.size;
    return bytes_equal(bytes_of(value->as.bytes.data + before, part.size), part);
}

static bool text_matches(const struct pack_value *value, const struct rule_values *values)
{
    return is_text(value) &&
           regex_matches(values->pattern, value->as.bytes.data, value->as.bytes.size);
}

static uint8_t letter_upper(uint8_t byte)
{
    return byte >= 'a' && byte <= 'z' ? (uint8_t)(byte - 'a' + 'A') : byte;
}

static bool text_equal_ignoring_case(struct bytes a, struct bytes b)
{
    bool equal = a.size == b.size;
    for (size_t i = 0; equal && i < a.size; i++) {
        equal = letter_upper(a.data[i]) == letter_upper(b.data[i]);
    }
    return equal;
}

static bool country_is_among(const struct pack_value *value, const struct rule_values *values)
{
    for (uint32_t i = 0; i < values->count; i++) {
        if (is_text(value) &&
            text_equal_ignoring_case(value->as.bytes, values->items[i].as.bytes)) {
            return true;
        }
    }
    return false;
}

/* ---- What may be compared with ---- */

/* The checks of an operand by its operator; each adds its fault. */

static void check_number(struct reading *reading, const struct field *field,
                         struct rule_values *values)
{
    if (!decimal_is_number(&values->items[0])) {
        field_fault(reading, field, "wrong_type", "must be a number");
    }
}

static void check_text(struct reading *reading, const struct field *field,
                       struct rule_values *values)
{
    if (!is_text(&values->items[0])) {
        field_fault(reading, field, "wrong_type", "must be text");
    } else if (values->items[0].as.bytes.size == 0) {
        field_fault(reading, field, "out_of_range", "must not be empty");
    }
}

static void check_version(struct reading *reading, const struct field *field,
                          struct rule_values *values)
{
    int order;
    const struct pack_value *item = &values->items[0];
    if (!is_text(item)) {
        field_fault(reading, field, "wrong_type", "must be a version as text, as in \"2.0.0\"");
    } else if (!semver_compare(item->as.bytes, item->as.bytes, &order)) {
        field_fault(reading, field, "malformed", "must be a version as in \"2.0.0\"");
    }
}

static void check_countries(struct reading *reading, const struct field *field,
                            struct rule_values *values)
{
    bool good = true;
    for (uint32_t i = 0; i < values->count; i++) {
        const struct pack_value *item = &values->items[i];
        good = good && is_text(item) && item->as.bytes.size == COUNTRY_SIZE;
        for (size_t k = 0; good && k < COUNTRY_SIZE; k++) {
            const uint8_t letter = letter_upper(item->as.bytes.data[k]);
            good = letter >= 'A' && letter <= 'Z';
        }
    }
    if (!good) {
        field_fault(reading, field, "malformed",
                    "must be two-letter country codes, as in \"US\" (ISO 3166-1)");
    }
}

static void pattern_end(void *pattern)
{
    regex_free(pattern);
}

/* Compiles it too: the regex goes with the arena of what is read. */
static void check_pattern(struct reading *reading, const struct field *field,
                          struct rule_values *values)
{
    char fault[FAULT_SIZE];
    const uint32_t faults = reading->errors->count;
    check_text(reading, field, values);
    if (reading->errors->count != faults) {
        return;
    }
    const struct bytes text = values->items[0].as.bytes;
    if (text.size > LIMIT_PATTERN) {
        field_fault(reading, field, "invalid_pattern", "may have up to %u bytes", LIMIT_PATTERN);
        return;
    }
    struct regex *pattern = regex_compile(text.data, text.size, fault, sizeof(fault));
    if (pattern == NULL && fault[0] != '\0') {
        field_fault(reading, field, "invalid_pattern", "is no regular expression for RE2: %s",
                    fault);
        return;
    }
    if (pattern == NULL || !arena_at_end(reading->arena, pattern_end, pattern)) {
        regex_free(pattern);
        reading->no_memory = true;
        return;
    }
    values->pattern = pattern;
}

/* ---- Operators ---- */

struct operator_row {
    const char *name;
    bool is_internal; /* not for clients */
    enum rule_operand operand;
    bool holds_when_missing;
    bool (*holds)(const struct pack_value *value, const struct rule_values *values);
    /* What the operand must be beside texts, numbers and booleans; NULL where nothing. */
    void (*check)(struct reading *reading, const struct field *field, struct rule_values *values);
};

#define NONE  RULE_OPERAND_NONE
#define VALUE RULE_OPERAND_VALUE
#define LIST  RULE_OPERAND_LIST

// clang-format off
static const struct operator_row operators[] = {
    /* name, is_internal, operand, holds_when_missing, holds, check */
    [RULE_EQ] =          {"eq",          false, VALUE, false, values_have,                 NULL},
    [RULE_NE] =          {"ne",          false, VALUE, true,  values_lack,                 NULL},
    [RULE_IN] =          {"in",          false, LIST,  false, values_have,                 NULL},
    [RULE_NOT_IN] =      {"not_in",      false, LIST,  true,  values_lack,                 NULL},
    [RULE_GT] =          {"gt",          false, VALUE, false, is_greater,                  check_number},
    [RULE_GTE] =         {"gte",         false, VALUE, false, is_greater_or_equal,         check_number},
    [RULE_LT] =          {"lt",          false, VALUE, false, is_less,                     check_number},
    [RULE_LTE] =         {"lte",         false, VALUE, false, is_less_or_equal,            check_number},
    [RULE_EXISTS] =      {"exists",      false, NONE,  false, is_there,                    NULL},
    [RULE_NOT_EXISTS] =  {"not_exists",  false, NONE,  true,  is_not_there,                NULL},
    [RULE_CONTAINS] =    {"contains",    false, VALUE, false, text_contains,               check_text},
    [RULE_STARTS_WITH] = {"starts_with", false, VALUE, false, text_starts_with,            check_text},
    [RULE_ENDS_WITH] =   {"ends_with",   false, VALUE, false, text_ends_with,              check_text},
    [RULE_MATCHES] =     {"matches",     false, VALUE, false, text_matches,                check_pattern},
    [RULE_SEMVER_GT] =   {"semver_gt",   false, VALUE, false, version_is_greater,          check_version},
    [RULE_SEMVER_GTE] =  {"semver_gte",  false, VALUE, false, version_is_greater_or_equal, check_version},
    [RULE_SEMVER_LT] =   {"semver_lt",   false, VALUE, false, version_is_less,             check_version},
    [RULE_SEMVER_LTE] =  {"semver_lte",  false, VALUE, false, version_is_less_or_equal,    check_version},
    [RULE_SEMVER_EQ] =   {"semver_eq",   false, VALUE, false, version_is_equal,            check_version},
    [RULE_COUNTRY_IN] =  {"in",          true,  LIST,  false, country_is_among,            check_countries},
};
// clang-format on

static_assert(COUNT_OF(operators) == RULE_OPERATOR_END, "each operator has its row");

#define OPERATORS_KNOWN                                                                            \
    "eq, ne, in, not_in, gt, gte, lt, lte, exists, not_exists, contains, starts_with, "            \
    "ends_with, matches, semver_gt, semver_gte, semver_lt, semver_lte, semver_eq"

const char *rule_operator_name(enum rule_operator operation)
{
    assert((uint32_t)operation < RULE_OPERATOR_END);
    return operators[operation].name;
}

enum rule_operand rule_operator_operand(enum rule_operator operation)
{
    assert((uint32_t)operation < RULE_OPERATOR_END);
    return operators[operation].operand;
}

enum status rule_operator_parse(struct bytes name, enum rule_operator *out_operation)
{
    for (uint32_t i = 0; i < RULE_OPERATOR_END; i++) {
        if (!operators[i].is_internal && bytes_equal_text(name, operators[i].name)) {
            *out_operation = (enum rule_operator)i;
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

bool rule_holds(enum rule_operator operation, const struct pack_value *value,
                const struct rule_values *values)
{
    assert((uint32_t)operation < RULE_OPERATOR_END);
    const struct operator_row *row = &operators[operation];
    if (value == NULL || value->type == PACK_NIL) {
        return row->holds_when_missing;
    }
    return row->holds(value, values);
}

/* ---- Reading ---- */

static bool rule_value_read(struct reading *reading, const struct field *field,
                            struct pack_value *out_value)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    struct pack_value value;
    if (!pack_read(&cursor, &value) ||
        !(is_text(&value) || value.type == PACK_BOOL || decimal_is_number(&value))) {
        field_fault(reading, field, "wrong_type", "must be text, a number, true or false");
        return false;
    }
    if (value.type == PACK_DOUBLE && !isfinite(value.as.number)) {
        field_fault(reading, field, "out_of_range", "must be a finite number");
        return false;
    }
    *out_value = value;
    return true;
}

static struct pack_value *values_take(struct reading *reading, uint32_t count)
{
    struct pack_value *items = arena_take_zeroed(reading->arena, sizeof(*items) * count);
    reading->no_memory = reading->no_memory || items == NULL;
    return items;
}

static bool value_single_read(struct reading *reading, const struct field *field,
                              struct rule_values *out_values)
{
    struct pack_value value;
    if (!rule_value_read(reading, field, &value)) {
        return false;
    }
    struct pack_value *items = values_take(reading, 1);
    if (items == NULL) {
        return false;
    }
    items[0] = value;
    *out_values = (struct rule_values){.items = items, .count = 1};
    return true;
}

static bool value_list_read(struct reading *reading, const struct field *field,
                            struct rule_values *out_values)
{
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, 1, LIMIT_RULE_VALUES, &list)) {
        return false;
    }
    struct pack_value *items = values_take(reading, list.count);
    uint32_t count = 0;
    while (items != NULL && field_list_next(reading, &list, &element)) {
        count += rule_value_read(reading, &element, &items[count]) ? 1 : 0;
    }
    if (items == NULL || count != list.count) {
        return false;
    }
    *out_values = (struct rule_values){.items = items, .count = count};
    return true;
}

bool operand_read(struct reading *reading, const struct field *field, enum rule_operator operation,
                  struct rule_values *out_values)
{
    const struct operator_row *row = &operators[operation];
    const uint32_t faults = reading->errors->count;
    struct rule_values values = {0};
    const bool good = row->operand == RULE_OPERAND_LIST
                          ? value_list_read(reading, field, &values)
                          : value_single_read(reading, field, &values);
    if (good && row->check != NULL) {
        row->check(reading, field, &values);
    }
    if (!good || reading->errors->count != faults || reading->no_memory) {
        return false;
    }
    *out_values = values;
    return true;
}

static bool operation_read(struct reading *reading, const struct field *field,
                           enum rule_operator *out_operation)
{
    struct bytes name;
    if (!field_text(reading, field, 0, LIMIT_NAME, &name)) {
        return false;
    }
    if (rule_operator_parse(name, out_operation) != STATUS_OK) {
        field_fault(reading, field, "unknown_operator", "must be one of: " OPERATORS_KNOWN);
        return false;
    }
    return true;
}

/* The fault of a part that the condition lacks, at the place where it belongs. */
static void part_required(struct reading *reading, const struct field *map, const char *name,
                          const char *message)
{
    struct field part = {.parent = field_path(reading, map), .name = name};
    if (part.parent != NULL) {
        field_fault(reading, &part, "required", "%s", message);
    }
}

/* The operand in the place where the operator has it, and none where it has none. */
static bool operand_of_condition_read(struct reading *reading, const struct field *map,
                                      const struct condition_fields *fields,
                                      struct condition *condition)
{
    static const struct {
        const char *name;
        const char *message;
        const char *advice;
    } places[] = {
        [RULE_OPERAND_NONE] = {NULL,     NULL,                                  "leave it out"   },
        [RULE_OPERAND_VALUE] = {"value",  "is required: what to compare with",   "give \"value\"" },
        [RULE_OPERAND_LIST] = {"values", "is required: a list to compare with", "give \"values\""},
    };
    const enum rule_operand wanted = rule_operator_operand(condition->operation);
    const struct field *const given[] = {
        [RULE_OPERAND_VALUE] = &fields->value,
        [RULE_OPERAND_LIST] = &fields->values,
    };
    for (uint32_t i = RULE_OPERAND_VALUE; i <= RULE_OPERAND_LIST; i++) {
        if (i != wanted && field_is_given(given[i])) {
            field_fault(reading, given[i], "not_allowed", "does not go with \"%s\": %s",
                        rule_operator_name(condition->operation), places[wanted].advice);
            return false;
        }
    }
    if (wanted == RULE_OPERAND_NONE) {
        return true;
    }
    if (!field_is_given(given[wanted])) {
        part_required(reading, map, places[wanted].name, places[wanted].message);
        return false;
    }
    return operand_read(reading, given[wanted], condition->operation, &condition->values);
}

bool condition_read(struct reading *reading, const struct field *map, const char *subject_name,
                    const struct condition_fields *fields, struct condition *out_condition)
{
    struct condition condition = {0};
    bool good = true;
    if (!field_is_given(&fields->subject)) {
        part_required(reading, map, subject_name, "is required: the name of what is compared");
        good = false;
    } else {
        good = field_text(reading, &fields->subject, 1, SUBJECT_MAX, &condition.subject);
    }
    if (!field_is_given(&fields->operation)) {
        part_required(reading, map, "op", "is required, one of: " OPERATORS_KNOWN);
        return false;
    }
    if (!operation_read(reading, &fields->operation, &condition.operation)) {
        return false;
    }
    good = operand_of_condition_read(reading, map, fields, &condition) && good;
    if (good) {
        *out_condition = condition;
    }
    return good;
}
