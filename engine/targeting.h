/* targeting.h: who may enter an experiment: a tree of conditions over a user's attributes. Pure; any thread.
 *
 * A document is {"countries": [...], "min_version": "2.0.0", "rules": [rule, ...]}; all of it must hold. A rule is
 * {"attribute", "op", "value" or "values"}, {"segment": name}, or {"all": [rule...]}, {"any": [rule...]}, {"not": rule}. `countries` stands
 * for {"attribute": "country", "op": "in"}, without regard to case; `min_version` for {"attribute": "version", "op":
 * "semver_gte"}.
 *
 * Meaning      docs/assignment.md has each operator's, that of a missing attribute and of one of another type included.
 * Memory       Evaluation takes none (but see regex.h). Patterns are compiled while a document is read, into its arena.
 */
#ifndef ASSAY_ENGINE_TARGETING_H
#define ASSAY_ENGINE_TARGETING_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/limits.h"
#include "engine/pack.h"
#include "engine/user_set.h"

struct field_errors;
struct regex;

/* The operators, as rows of a table in targeting_rule.c. Numbers are not stored: documents hold the names. */
enum rule_operator {
    RULE_EQ,
    RULE_NE,
    RULE_IN,
    RULE_NOT_IN,
    RULE_GT,
    RULE_GTE,
    RULE_LT,
    RULE_LTE,
    RULE_EXISTS,
    RULE_NOT_EXISTS,
    RULE_CONTAINS,
    RULE_STARTS_WITH,
    RULE_ENDS_WITH,
    RULE_MATCHES,
    RULE_SEMVER_GT,
    RULE_SEMVER_GTE,
    RULE_SEMVER_LT,
    RULE_SEMVER_LTE,
    RULE_SEMVER_EQ,
    RULE_COUNTRY_IN, /* of the shorthand alone: `in` for country codes, without regard to case */
};

#define RULE_OPERATOR_END 20

/* What an operator compares with. */
enum rule_operand {
    RULE_OPERAND_NONE,
    RULE_OPERAND_VALUE, /* "value" */
    RULE_OPERAND_LIST,  /* "values" */
};

const char *rule_operator_name(enum rule_operator operation);
enum rule_operand rule_operator_operand(enum rule_operator operation);
/* Known to clients: all but RULE_COUNTRY_IN. */
MUST_USE enum status rule_operator_parse(struct bytes name, enum rule_operator *out_operation);

struct rule_values {
    struct pack_value *items; /* texts, numbers, booleans */
    uint32_t count;
    const struct regex *pattern; /* of RULE_MATCHES: items[0], compiled */
};

/* Does the value (NULL: missing) stand in this relation to the values? Numbers compare as exact decimals, texts by
 * bytes, values of different types are never equal. */
bool rule_holds(enum rule_operator operation, const struct pack_value *value, const struct rule_values *values);

enum targeting_kind {
    TARGETING_CONDITION,
    TARGETING_ALL,
    TARGETING_ANY,
    TARGETING_NOT,
    TARGETING_SEGMENT, /* the user is in this set */
};

/* A node of the tree, children next to each other in one array. */
struct targeting_node {
    enum targeting_kind kind;
    struct bytes attribute; /* of a condition */
    struct bytes segment;   /* its name */
    enum rule_operator operation;
    struct rule_values values;
    uint32_t first_child; /* index in nodes */
    uint32_t child_count;
    const char *path; /* in the definition: "targeting.rules[0].any[1]" */
};

/* The root, the two shorthands, and LIMIT_RULES rules (combinations count as rules too). */
#define TARGETING_NODES_MAX (LIMIT_RULES + 3u)

struct targeting {
    struct targeting_node *nodes; /* nodes[0] is the root, an ALL; NULL where everyone is targeted */
    uint32_t node_count;
    struct bytes document; /* encoded, as given; empty where everyone is targeted */
};

/* Reads the document (an encoded map) into nodes of the arena; faults go to errors under `path`. The nodes borrow their
 * texts from the document, which must live as long. */
MUST_USE enum status targeting_decode(struct bytes document, const char *path, struct arena *arena,
                                      struct field_errors *errors, struct targeting *out_targeting);

/* Who is asked about. */
struct targeting_subject {
    struct bytes user_id;
    struct bytes attributes;           /* an encoded map, or empty */
    const struct user_sets *user_sets; /* NULL: there are none. In a set that is not there is nobody */
};

bool targeting_matches(const struct targeting *targeting, const struct targeting_subject *subject);
/* The same, with the outcome of each node by its index. */
bool targeting_evaluate(const struct targeting *targeting, const struct targeting_subject *subject,
                        bool out_holds[TARGETING_NODES_MAX]);

#endif
