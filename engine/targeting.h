/* targeting.h: who may enter an experiment: a tree of conditions over a user's attributes. Pure; any thread.
 *
 * A document is {"countries": [...], "min_version": "2.0.0", "rules": [rule, ...]}; all of it must hold. A rule is
 * {"attribute", "op", "value" or "values"} or {"all": [rule...]}, {"any": [rule...]}, {"not": rule}. `countries` stands
 * for {"attribute": "country", "op": "in"}, without regard to case; `min_version` for {"attribute": "version", "op":
 * "semver_gte"}.
 * A missing attribute makes a condition false, except `ne` and `not_in`, which it makes true.
 */
#ifndef ASSAY_ENGINE_TARGETING_H
#define ASSAY_ENGINE_TARGETING_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/pack.h"

struct field_errors;

/* The operators, as rows of a table in targeting.c. Numbers are not stored: documents hold the names. */
enum rule_operator {
    RULE_EQ,
    RULE_NE,
    RULE_IN,
    RULE_NOT_IN,
    RULE_SEMVER_GTE,
};

#define RULE_OPERATOR_END 5

const char *rule_operator_name(enum rule_operator operation);
/* Known to clients: eq ne in not_in. */
MUST_USE enum status rule_operator_parse(struct bytes name, enum rule_operator *out_operation);

struct rule_values {
    struct pack_value *items; /* texts, numbers, booleans */
    uint32_t count;
};

/* Does the value (NULL: missing) stand in this relation to the values? Numbers compare as exact decimals, texts by
 * bytes, values of different types are never equal. */
bool rule_holds(enum rule_operator operation, const struct pack_value *value, const struct rule_values *values);

enum targeting_kind {
    TARGETING_CONDITION,
    TARGETING_ALL,
    TARGETING_ANY,
    TARGETING_NOT,
};

/* A node of the tree, children next to each other in one array. */
struct targeting_node {
    enum targeting_kind kind;
    struct bytes attribute; /* of a condition */
    enum rule_operator operation;
    bool ignore_case; /* countries */
    struct rule_values values;
    uint32_t first_child; /* index in nodes */
    uint32_t child_count;
};

struct targeting {
    struct targeting_node *nodes; /* nodes[0] is the root, an ALL; NULL where everyone is targeted */
    uint32_t node_count;
    struct bytes document; /* encoded, as given; empty where everyone is targeted */
};

/* Reads the document (an encoded map) into nodes of the arena; faults go to errors under `path`. The nodes borrow their
 * texts from the document, which must live as long. */
MUST_USE enum status targeting_decode(struct bytes document, const char *path, struct arena *arena,
                                      struct field_errors *errors, struct targeting *out_targeting);

/* attributes: an encoded map, or empty. */
bool targeting_matches(const struct targeting *targeting, struct bytes attributes);

/* -1, 0, 1 by the rules of semantic versioning 2.0.0; a missing minor or patch counts as 0, a leading "v" is passed over.
 * Leading zeros do not count, and numbers may have any length. False where either is no version. */
bool semver_compare(struct bytes a, struct bytes b, int *out_order);

#endif
