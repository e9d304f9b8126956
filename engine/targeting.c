/* targeting.c: operators as a table, the tree as an array with every child behind its parent, so that one backward
 * sweep evaluates it without recursion. */
#include "engine/targeting.h"

#include <math.h>

#include "engine/definition_document.h"

/* The root, the two shorthands, and LIMIT_RULES rules (combinations count as rules too). */
#define NODES_MAX   (LIMIT_RULES + 3u)
#define SUBJECT_MAX LIMIT_NAME
#define COUNTRY_MAX 2u

/* ---- Values ---- */

/* A number as a count of millionths where it is a decimal of at most six places, else as the double it is. */
struct exact_number {
    bool is_decimal;
    int128 millionths;
    double number;
};

/* A double stands for the decimal that it is the nearest double to: 0.1 is one tenth, however it was sent. */
static struct exact_number exact_of_double(double number)
{
    struct exact_number exact = {.number = number};
    if (!(fabs(number) < (double)UINT64_MAX)) {
        return exact;
    }
    double whole = trunc(number);
    exact.millionths =
        (int128)whole * METRIC_UNIT + (int128)llround((number - whole) * (double)METRIC_UNIT);
    double nearest = (double)exact.millionths / (double)METRIC_UNIT;
    bool is_whole = whole <= number && whole >= number;
    exact.is_decimal = is_whole || (nearest <= number && nearest >= number);
    return exact;
}

static bool exact_of_value(const struct pack_value *value, struct exact_number *out_exact)
{
    struct exact_number exact = {.is_decimal = true};
    if (value->type == PACK_INT) {
        exact.millionths = (int128)value->as.integer * METRIC_UNIT;
    } else if (value->type == PACK_UINT) {
        exact.millionths = (int128)value->as.natural * METRIC_UNIT;
    } else if (value->type == PACK_MILLIONTHS) {
        exact.millionths = value->as.integer;
    } else if (value->type == PACK_DOUBLE) {
        exact = exact_of_double(value->as.number);
    } else {
        return false;
    }
    *out_exact = exact;
    return true;
}

static bool number_equal(const struct pack_value *a, const struct pack_value *b)
{
    struct exact_number left;
    struct exact_number right;
    if (!exact_of_value(a, &left) || !exact_of_value(b, &right) ||
        left.is_decimal != right.is_decimal) {
        return false;
    }
    if (left.is_decimal) {
        return left.millionths == right.millionths;
    }
    return left.number <= right.number && left.number >= right.number; /* false for NaN */
}

static bool value_equal(const struct pack_value *a, const struct pack_value *b)
{
    if (a->type == PACK_TEXT || a->type == PACK_BOOL) {
        return a->type == b->type && (a->type == PACK_BOOL ? a->as.boolean == b->as.boolean
                                                           : bytes_equal(a->as.bytes, b->as.bytes));
    }
    return number_equal(a, b);
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

/* ---- Versions ---- */

struct semver {
    struct bytes numbers[3];
    struct bytes prerelease; /* empty where none */
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_identifier(uint8_t byte)
{
    return is_digit(byte) || byte == '-' ||
           (letter_upper(byte) >= 'A' && letter_upper(byte) <= 'Z');
}

/* Takes the leading bytes that belong. */
static struct bytes take_while(struct bytes *text, bool (*belongs)(uint8_t))
{
    size_t size = 0;
    while (size < text->size && belongs(text->data[size])) {
        size++;
    }
    struct bytes taken = bytes_of(text->data, size);
    *text = bytes_of(text->data + size, text->size - size);
    return taken;
}

static bool take_byte(struct bytes *text, uint8_t byte)
{
    if (text->size == 0 || text->data[0] != byte) {
        return false;
    }
    *text = bytes_of(text->data + 1, text->size - 1);
    return true;
}

/* Identifiers with dots between: the whole of them. False where one is empty. */
static bool take_identifiers(struct bytes *text, struct bytes *out_identifiers)
{
    const uint8_t *start = text->data;
    do {
        if (take_while(text, is_identifier).size == 0) {
            return false;
        }
    } while (take_byte(text, '.'));
    *out_identifiers = bytes_of(start, (size_t)(text->data - start));
    return true;
}

static struct bytes without_zeros(struct bytes digits)
{
    while (digits.size > 1 && digits.data[0] == '0') {
        digits = bytes_of(digits.data + 1, digits.size - 1);
    }
    return digits;
}

static bool semver_read(struct bytes text, struct semver *out_version)
{
    struct bytes build;
    struct semver version = {.prerelease = bytes_of("", 0)};
    for (uint32_t i = 0; i < COUNT_OF(version.numbers); i++) {
        version.numbers[i] = bytes_of("0", 1);
    }
    if (!take_byte(&text, 'v')) {
        (void)take_byte(&text, 'V');
    }
    uint32_t count = 0;
    do {
        struct bytes digits = take_while(&text, is_digit);
        if (digits.size == 0 || count == COUNT_OF(version.numbers)) {
            return false;
        }
        version.numbers[count++] = without_zeros(digits);
    } while (take_byte(&text, '.'));
    if (take_byte(&text, '-') && !take_identifiers(&text, &version.prerelease)) {
        return false;
    }
    if (take_byte(&text, '+') && !take_identifiers(&text, &build)) {
        return false;
    }
    *out_version = version;
    return text.size == 0;
}

static int sign_of(int value)
{
    return (value > 0) - (value < 0);
}

/* Digits of any length without leading zeros: the longer number is the larger. */
static int digits_compare(struct bytes a, struct bytes b)
{
    if (a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return sign_of(memcmp(a.data, b.data, a.size));
}

static int text_compare(struct bytes a, struct bytes b)
{
    int order = sign_of(memcmp(a.data, b.data, size_min(a.size, b.size)));
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool all_digits(struct bytes text)
{
    return take_while(&text, is_digit).size > 0 && text.size == 0;
}

/* Numeric identifiers compare as numbers and are below the others. */
static int identifier_compare(struct bytes a, struct bytes b)
{
    bool a_is_number = all_digits(a);
    bool b_is_number = all_digits(b);
    if (a_is_number != b_is_number) {
        return a_is_number ? -1 : 1;
    }
    return a_is_number ? digits_compare(without_zeros(a), without_zeros(b)) : text_compare(a, b);
}

/* A release is above its pre-releases; of two pre-releases the first identifier that differs decides, then the count. */
static int prerelease_compare(struct bytes a, struct bytes b)
{
    if (a.size == 0 || b.size == 0) {
        return (a.size == 0) - (b.size == 0);
    }
    while (a.size > 0 && b.size > 0) {
        int order =
            identifier_compare(take_while(&a, is_identifier), take_while(&b, is_identifier));
        if (order != 0) {
            return order;
        }
        (void)take_byte(&a, '.');
        (void)take_byte(&b, '.');
    }
    return (a.size > 0) - (b.size > 0);
}

bool semver_compare(struct bytes a, struct bytes b, int *out_order)
{
    struct semver left;
    struct semver right;
    if (!semver_read(a, &left) || !semver_read(b, &right)) {
        return false;
    }
    int order = 0;
    for (uint32_t i = 0; order == 0 && i < COUNT_OF(left.numbers); i++) {
        order = digits_compare(left.numbers[i], right.numbers[i]);
    }
    *out_order = order != 0 ? order : prerelease_compare(left.prerelease, right.prerelease);
    return true;
}

/* ---- Operators ---- */

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

static bool value_reaches_version(const struct pack_value *value, const struct rule_values *values)
{
    int order;
    return value->type == PACK_TEXT && values->items[0].type == PACK_TEXT &&
           semver_compare(value->as.bytes, values->items[0].as.bytes, &order) && order >= 0;
}

struct operator_row {
    const char *name;
    bool is_for_clients;
    bool takes_list; /* "values", else "value" */
    bool holds_when_missing;
    bool (*holds)(const struct pack_value *value, const struct rule_values *values);
};

static const struct operator_row operators[] = {
    [RULE_EQ] = {"eq",         true,  false, false, values_have          },
    [RULE_NE] = {"ne",         true,  false, true,  values_lack          },
    [RULE_IN] = {"in",         true,  true,  false, values_have          },
    [RULE_NOT_IN] = {"not_in",     true,  true,  true,  values_lack          },
    [RULE_SEMVER_GTE] = {"semver_gte", false, false, false, value_reaches_version},
};

static_assert(COUNT_OF(operators) == RULE_OPERATOR_END, "each operator has its row");

#define OPERATORS_KNOWN "eq, ne, in, not_in"

const char *rule_operator_name(enum rule_operator operation)
{
    assert((uint32_t)operation < RULE_OPERATOR_END);
    return operators[operation].name;
}

enum status rule_operator_parse(struct bytes name, enum rule_operator *out_operation)
{
    for (uint32_t i = 0; i < RULE_OPERATOR_END; i++) {
        if (operators[i].is_for_clients && bytes_equal_text(name, operators[i].name)) {
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

/* ---- Reading a condition ---- */

static bool value_is_comparable(const struct pack_value *value)
{
    struct exact_number exact;
    return value->type == PACK_TEXT || value->type == PACK_BOOL || exact_of_value(value, &exact);
}

static bool rule_value_read(struct reading *reading, const struct field *field,
                            struct pack_value *out_value)
{
    struct pack_cursor cursor = pack_cursor_on(field->encoded);
    struct pack_value value;
    if (!pack_read(&cursor, &value) || !value_is_comparable(&value)) {
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
    *out_values = (struct rule_values){items, 1};
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
    *out_values = (struct rule_values){items, count};
    return true;
}

static bool is_given(const struct field *field)
{
    return field->encoded.size > 0;
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

bool condition_read(struct reading *reading, const struct field *map, const char *subject_name,
                    const struct condition_fields *fields, struct condition *out_condition)
{
    struct condition condition = {0};
    bool good = true;
    if (!is_given(&fields->subject)) {
        part_required(reading, map, subject_name, "is required: the name of what is compared");
        good = false;
    } else {
        good = field_text(reading, &fields->subject, 1, SUBJECT_MAX, &condition.subject);
    }
    if (!is_given(&fields->operation)) {
        part_required(reading, map, "op", "is required, one of: " OPERATORS_KNOWN);
        return false;
    }
    if (!operation_read(reading, &fields->operation, &condition.operation)) {
        return false;
    }
    bool takes_list = operators[condition.operation].takes_list;
    const struct field *wanted = takes_list ? &fields->values : &fields->value;
    const struct field *unwanted = takes_list ? &fields->value : &fields->values;
    if (is_given(unwanted)) {
        field_fault(reading, unwanted, "not_allowed", "does not go with \"%s\": give \"%s\"",
                    operators[condition.operation].name, takes_list ? "values" : "value");
        return false;
    }
    if (!is_given(wanted)) {
        part_required(reading, map, takes_list ? "values" : "value",
                      takes_list ? "is required: a list to compare with"
                                 : "is required: what to compare with");
        return false;
    }
    good = (takes_list ? value_list_read(reading, wanted, &condition.values)
                       : value_single_read(reading, wanted, &condition.values)) &&
           good;
    if (good) {
        *out_condition = condition;
    }
    return good;
}

/* ---- Reading the tree ---- */

/* Nodes in the making, breadth first: what a node's children are is read when the sweep comes to it. */
struct tree {
    struct reading *reading;
    struct targeting_node *nodes; /* [NODES_MAX] */
    struct field *rules;          /* [NODES_MAX]: the document of each, empty for the shorthands */
    uint32_t *depths;             /* [NODES_MAX] */
    uint32_t count;
    bool is_full;
};

struct rule_document {
    struct condition_fields condition;
    struct field combinations[3];
};

#define RULE_PART(part)                                                                            \
    .kind = &field_kind_kept, .access = FIELD_GIVEN,                                               \
    .offset = (uint32_t)offsetof(struct rule_document, part), .size = sizeof(struct field)

static const struct field_row rule_rows[] = {
    {.name = "attribute", RULE_PART(condition.subject)  },
    {.name = "op",        RULE_PART(condition.operation)},
    {.name = "value",     RULE_PART(condition.value)    },
    {.name = "values",    RULE_PART(condition.values)   },
    {.name = "all",       RULE_PART(combinations[0])    },
    {.name = "any",       RULE_PART(combinations[1])    },
    {.name = "not",       RULE_PART(combinations[2])    },
};

#define RULE_PARTS_OF_CONDITION 0x0fu /* as bits of struct presence */

static const enum targeting_kind combination_kinds[] = {
    TARGETING_ALL,
    TARGETING_ANY,
    TARGETING_NOT,
};

static_assert(COUNT_OF(combination_kinds) == COUNT_OF(((struct rule_document *)0)->combinations),
              "each combination has its kind");

static struct targeting_node *tree_add(struct tree *tree, uint32_t parent, const struct field *rule)
{
    if (tree->count == NODES_MAX) {
        if (!tree->is_full) {
            field_fault(tree->reading, rule, "out_of_range",
                        "is one rule too many: at most %u, with those inside combinations",
                        LIMIT_RULES);
        }
        tree->is_full = true;
        return NULL;
    }
    uint32_t depth = tree->depths[parent] + 1;
    if (depth > LIMIT_JSON_DEPTH) {
        field_fault(tree->reading, rule, "out_of_range", "is nested too deep: at most %u levels",
                    LIMIT_JSON_DEPTH);
        return NULL;
    }
    struct targeting_node *node = &tree->nodes[tree->count];
    tree->rules[tree->count] = *rule;
    tree->depths[tree->count] = depth;
    tree->count++;
    if (tree->nodes[parent].child_count == 0) {
        tree->nodes[parent].first_child = (uint32_t)(node - tree->nodes);
    }
    tree->nodes[parent].child_count++;
    return node;
}

static void tree_add_list(struct tree *tree, uint32_t parent, const struct field *rules,
                          uint32_t least)
{
    struct field_list list;
    struct field rule;
    if (!field_list_enter(tree->reading, rules, least, LIMIT_RULES, &list)) {
        return;
    }
    while (field_list_next(tree->reading, &list, &rule)) {
        if (tree_add(tree, parent, &rule) == NULL) {
            return;
        }
    }
}

static void combination_read(struct tree *tree, uint32_t index, const struct field *rule,
                             const struct rule_document *document)
{
    struct targeting_node *node = &tree->nodes[index];
    uint32_t given = 0;
    uint32_t which = 0;
    for (uint32_t i = 0; i < COUNT_OF(combination_kinds); i++) {
        if (is_given(&document->combinations[i])) {
            which = i;
            given++;
        }
    }
    if (given > 1) {
        field_fault(tree->reading, rule, "not_allowed",
                    "must be one of \"all\", \"any\", \"not\": nest them to combine them");
        return;
    }
    node->kind = combination_kinds[which];
    if (node->kind == TARGETING_NOT) {
        (void)tree_add(tree, index, &document->combinations[which]);
    } else {
        tree_add_list(tree, index, &document->combinations[which], 1);
    }
}

static void rule_read(struct tree *tree, uint32_t index)
{
    struct reading *reading = tree->reading;
    const struct field rule = tree->rules[index];
    struct rule_document document = {0};
    struct condition condition;
    uint32_t faults = reading->errors->count;
    struct presence presence =
        document_read(reading, rule_rows, COUNT_OF(rule_rows), &rule, NULL, &document);
    if (reading->errors->count != faults || reading->no_memory) {
        return;
    }
    bool has_parts = (presence.set & RULE_PARTS_OF_CONDITION) != 0;
    bool has_combinations = (presence.set & ~(uint64_t)RULE_PARTS_OF_CONDITION) != 0;
    if (has_parts && has_combinations) {
        field_fault(reading, &rule, "not_allowed",
                    "must be either a condition (\"attribute\", \"op\", ...) or a combination "
                    "(\"all\", \"any\" or \"not\")");
        return;
    }
    if (has_combinations) {
        combination_read(tree, index, &rule, &document);
        return;
    }
    if (condition_read(reading, &rule, "attribute", &document.condition, &condition)) {
        struct targeting_node *node = &tree->nodes[index];
        node->kind = TARGETING_CONDITION;
        node->attribute = condition.subject;
        node->operation = condition.operation;
        node->values = condition.values;
    }
}

/* ---- The shorthands ---- */

struct targeting_document {
    struct field countries;
    struct field min_version;
    struct field rules;
};

#define TARGETING_PART(part)                                                                       \
    .kind = &field_kind_kept, .access = FIELD_GIVEN,                                               \
    .offset = (uint32_t)offsetof(struct targeting_document, part), .size = sizeof(struct field)

static const struct field_row targeting_rows[] = {
    {.name = "countries",   TARGETING_PART(countries)  },
    {.name = "min_version", TARGETING_PART(min_version)},
    {.name = "rules",       TARGETING_PART(rules)      },
};

static const struct field no_rule = {.parent = "", .name = ""};

static void countries_read(struct tree *tree, const struct field *field)
{
    struct reading *reading = tree->reading;
    struct rule_values values;
    struct targeting_node *node = tree_add(tree, 0, &no_rule);
    uint32_t faults = reading->errors->count;
    if (node == NULL || !value_list_read(reading, field, &values)) {
        return;
    }
    for (uint32_t i = 0; i < values.count; i++) {
        struct bytes code =
            values.items[i].type == PACK_TEXT ? values.items[i].as.bytes : bytes_of("", 0);
        bool good = code.size == COUNTRY_MAX;
        for (size_t k = 0; good && k < code.size; k++) {
            good = letter_upper(code.data[k]) >= 'A' && letter_upper(code.data[k]) <= 'Z';
        }
        if (!good && reading->errors->count == faults) {
            field_fault(reading, field, "malformed",
                        "must be two-letter country codes, as in \"US\" (ISO 3166-1)");
        }
    }
    node->kind = TARGETING_CONDITION;
    node->attribute = bytes_of_text("country");
    node->operation = RULE_IN;
    node->ignore_case = true;
    node->values = values;
}

static void min_version_read(struct tree *tree, const struct field *field)
{
    struct reading *reading = tree->reading;
    struct bytes text;
    int order;
    struct rule_values values;
    struct targeting_node *node = tree_add(tree, 0, &no_rule);
    if (node == NULL || !field_text(reading, field, 1, LIMIT_NAME, &text) ||
        !value_single_read(reading, field, &values)) {
        return;
    }
    if (!semver_compare(text, text, &order)) {
        field_fault(reading, field, "malformed", "must be a version as in \"2.0.0\"");
        return;
    }
    node->kind = TARGETING_CONDITION;
    node->attribute = bytes_of_text("version");
    node->operation = RULE_SEMVER_GTE;
    node->values = values;
}

static void tree_read(struct tree *tree, const struct field *field)
{
    struct targeting_document document = {0};
    struct presence presence = document_read(tree->reading, targeting_rows,
                                             COUNT_OF(targeting_rows), field, NULL, &document);
    tree->nodes[0].kind = TARGETING_ALL;
    tree->count = 1;
    if (presence.set == 0) {
        return;
    }
    if (is_given(&document.countries)) {
        countries_read(tree, &document.countries);
    }
    if (is_given(&document.min_version)) {
        min_version_read(tree, &document.min_version);
    }
    if (is_given(&document.rules)) {
        tree_add_list(tree, 0, &document.rules, 0);
    }
    /* The list grows while it is walked, up to NODES_MAX. */
    for (uint32_t i = 1; i < tree->count; i++) {
        if (is_given(&tree->rules[i])) {
            rule_read(tree, i);
        }
    }
}

enum status targeting_decode(struct bytes document, const char *path, struct arena *arena,
                             struct field_errors *errors, struct targeting *out_targeting)
{
    struct reading reading = {.arena = arena, .errors = errors};
    struct arena *scratch = errors->arena;
    struct tree tree = {
        .reading = &reading,
        .nodes = arena_take_zeroed(scratch, sizeof(*tree.nodes) * NODES_MAX),
        .rules = arena_take_zeroed(scratch, sizeof(*tree.rules) * NODES_MAX),
        .depths = arena_take_zeroed(scratch, sizeof(*tree.depths) * NODES_MAX),
    };
    if (tree.nodes == NULL || tree.rules == NULL || tree.depths == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint32_t before = errors->count;
    tree_read(&tree, &(struct field){.parent = path, .name = "", .encoded = document});
    if (reading.no_memory || errors->count != before) {
        return reading.no_memory ? STATUS_NO_MEMORY : STATUS_INVALID;
    }
    if (tree.count == 1) {
        *out_targeting = (struct targeting){0};
        return STATUS_OK;
    }
    struct targeting_node *nodes = arena_take(arena, sizeof(*nodes) * tree.count);
    if (nodes == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(nodes, tree.nodes, sizeof(*nodes) * tree.count);
    *out_targeting = (struct targeting){nodes, tree.count, document};
    return STATUS_OK;
}

/* ---- Evaluation ---- */

static bool country_holds(const struct pack_value *value, const struct rule_values *values)
{
    for (uint32_t i = 0; i < values->count; i++) {
        if (value->type == PACK_TEXT &&
            text_equal_ignoring_case(value->as.bytes, values->items[i].as.bytes)) {
            return true;
        }
    }
    return false;
}

static bool condition_holds(const struct targeting_node *node, struct bytes attributes)
{
    struct pack_value value;
    bool is_there = attributes.size > 0 && pack_map_find(attributes, node->attribute, &value);
    if (node->ignore_case) {
        return is_there && country_holds(&value, &node->values);
    }
    return rule_holds(node->operation, is_there ? &value : NULL, &node->values);
}

static bool node_holds(const struct targeting_node *node, const bool holds[],
                       struct bytes attributes)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < node->child_count; i++) {
        held += holds[node->first_child + i] ? 1 : 0;
    }
    switch (node->kind) {
    case TARGETING_CONDITION:
        return condition_holds(node, attributes);
    case TARGETING_ALL:
        return held == node->child_count;
    case TARGETING_ANY:
        return held > 0;
    case TARGETING_NOT:
        return held == 0;
    }
    assert(false);
    return false;
}

bool targeting_matches(const struct targeting *targeting, struct bytes attributes)
{
    bool holds[NODES_MAX] = {false};
    assert(targeting->node_count <= NODES_MAX);
    if (targeting->node_count == 0) {
        return true;
    }
    /* Children lie behind their parent, so backwards every child is known before its parent asks. */
    for (uint32_t i = targeting->node_count; i-- > 0;) {
        holds[i] = node_holds(&targeting->nodes[i], holds, attributes);
    }
    return holds[0];
}
