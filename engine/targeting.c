/* targeting.c: the tree as an array with every child behind its parent, so that one backward sweep evaluates it without
 * recursion. */
#include "engine/targeting.h"

#include "engine/definition_document.h"

/* ---- Reading the tree ---- */

/* Nodes in the making, breadth first: what a node's children are is read when the sweep comes to it. */
struct tree {
    struct reading *reading;
    struct targeting_node *nodes; /* [TARGETING_NODES_MAX] */
    struct field *rules; /* [TARGETING_NODES_MAX]: the document of each, empty for the shorthands */
    uint32_t *depths;    /* [TARGETING_NODES_MAX] */
    uint32_t count;
    uint32_t pattern_count;
    bool is_full;
};

struct rule_document {
    struct condition_fields condition;
    struct field combinations[3];
    struct field segment;
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
    {.name = "segment",   RULE_PART(segment)            },
};

#define RULE_PARTS_OF_CONDITION 0x0fu /* as bits of struct presence */
#define RULE_PART_SEGMENT       0x80u

static const enum targeting_kind combination_kinds[] = {
    TARGETING_ALL,
    TARGETING_ANY,
    TARGETING_NOT,
};

static_assert(COUNT_OF(combination_kinds) == COUNT_OF(((struct rule_document *)0)->combinations),
              "each combination has its kind");

/* The path of a part, to stay with what is read. */
static const char *path_keep(struct reading *reading, const struct field *part)
{
    const char *path = field_path(reading, part);
    const char *kept = path != NULL ? arena_copy(reading->arena, bytes_of_text(path)) : NULL;
    reading->no_memory = reading->no_memory || kept == NULL;
    return kept;
}

static struct targeting_node *tree_add(struct tree *tree, uint32_t parent, const struct field *rule)
{
    if (tree->count == TARGETING_NODES_MAX) {
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
    node->path = path_keep(tree->reading, rule);
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
        if (field_is_given(&document->combinations[i])) {
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

static void condition_set(struct targeting_node *node, const struct condition *condition)
{
    node->kind = TARGETING_CONDITION;
    node->attribute = condition->subject;
    node->operation = condition->operation;
    node->values = condition->values;
}

/* Counts the patterns before they are compiled, which takes memory. */
static bool tree_takes_pattern(struct tree *tree, const struct condition_fields *fields)
{
    struct pack_cursor cursor = pack_cursor_on(fields->operation.encoded);
    struct bytes name;
    enum rule_operator operation = RULE_EQ;
    const bool is_pattern = field_is_given(&fields->operation) && pack_read_text(&cursor, &name) &&
                            rule_operator_parse(name, &operation) == STATUS_OK &&
                            operation == RULE_MATCHES;
    if (!is_pattern || tree->pattern_count++ < LIMIT_PATTERNS) {
        return true;
    }
    field_fault(tree->reading, &fields->operation, "out_of_range",
                "is one pattern too many: at most %u", LIMIT_PATTERNS);
    return false;
}

static void segment_read(struct tree *tree, uint32_t index, const struct field *field)
{
    static const struct field_row row = {.name = "segment", .least = 1, .most = LIMIT_KEY};
    tree->nodes[index].kind = TARGETING_SEGMENT;
    field_kind_key.read(tree->reading, &row, field, &tree->nodes[index].segment);
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
    if (presence.set == RULE_PART_SEGMENT) {
        segment_read(tree, index, &document.segment);
        return;
    }
    if ((presence.set & RULE_PART_SEGMENT) != 0) {
        field_fault(reading, &rule, "not_allowed", "must have nothing beside \"segment\": use \"all\" or \"any\"");
        return;
    }
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
    if (tree_takes_pattern(tree, &document.condition) &&
        condition_read(reading, &rule, "attribute", &document.condition, &condition)) {
        condition_set(&tree->nodes[index], &condition);
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

/* A shorthand is a condition without a rule's document: its field stands for its path alone. */
static void shorthand_read(struct tree *tree, const struct field *field, const char *attribute,
                           enum rule_operator operation)
{
    struct condition condition = {.subject = bytes_of_text(attribute), .operation = operation};
    const struct field place = {.parent = field->parent, .name = field->name};
    struct targeting_node *node = tree_add(tree, 0, &place);
    if (node != NULL && operand_read(tree->reading, field, operation, &condition.values)) {
        condition_set(node, &condition);
    }
}

static void tree_read(struct tree *tree, const struct field *field)
{
    struct targeting_document document = {0};
    struct presence presence = document_read(tree->reading, targeting_rows,
                                             COUNT_OF(targeting_rows), field, NULL, &document);
    tree->nodes[0].kind = TARGETING_ALL;
    tree->nodes[0].path = path_keep(tree->reading, field);
    tree->count = 1;
    if (presence.set == 0) {
        return;
    }
    if (field_is_given(&document.countries)) {
        shorthand_read(tree, &document.countries, "country", RULE_COUNTRY_IN);
    }
    if (field_is_given(&document.min_version)) {
        shorthand_read(tree, &document.min_version, "version", RULE_SEMVER_GTE);
    }
    if (field_is_given(&document.rules)) {
        tree_add_list(tree, 0, &document.rules, 0);
    }
    /* The list grows while it is walked, up to TARGETING_NODES_MAX. */
    for (uint32_t i = 1; i < tree->count; i++) {
        if (field_is_given(&tree->rules[i])) {
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
        .nodes = arena_take_zeroed(scratch, sizeof(*tree.nodes) * TARGETING_NODES_MAX),
        .rules = arena_take_zeroed(scratch, sizeof(*tree.rules) * TARGETING_NODES_MAX),
        .depths = arena_take_zeroed(scratch, sizeof(*tree.depths) * TARGETING_NODES_MAX),
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

static bool segment_holds(const struct targeting_node *node, const struct targeting_subject *subject)
{
    const struct user_set *set = user_sets_find(subject->user_sets, node->segment);
    return set != NULL && user_set_has(set, user_print_of(subject->user_id));
}

static bool condition_holds(const struct targeting_node *node, struct bytes attributes)
{
    struct pack_value value;
    bool is_there = attributes.size > 0 && pack_map_find(attributes, node->attribute, &value);
    return rule_holds(node->operation, is_there ? &value : NULL, &node->values);
}

static bool node_holds(const struct targeting_node *node, const bool holds[],
                       const struct targeting_subject *subject)
{
    uint32_t held = 0;
    for (uint32_t i = 0; i < node->child_count; i++) {
        held += holds[node->first_child + i] ? 1 : 0;
    }
    switch (node->kind) {
    case TARGETING_CONDITION:
        return condition_holds(node, subject->attributes);
    case TARGETING_SEGMENT:
        return segment_holds(node, subject);
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

bool targeting_evaluate(const struct targeting *targeting, const struct targeting_subject *subject,
                        bool out_holds[TARGETING_NODES_MAX])
{
    assert(targeting->node_count <= TARGETING_NODES_MAX);
    /* Children lie behind their parent, so backwards every child is known before its parent asks. */
    for (uint32_t i = targeting->node_count; i-- > 0;) {
        out_holds[i] = node_holds(&targeting->nodes[i], out_holds, subject);
    }
    return targeting->node_count == 0 || out_holds[0];
}

bool targeting_matches(const struct targeting *targeting, const struct targeting_subject *subject)
{
    bool holds[TARGETING_NODES_MAX];
    return targeting_evaluate(targeting, subject, holds);
}
