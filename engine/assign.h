/* assign.h: the variant of a user: a pure function of the experiment's definition and the user id. Any thread.
 *
 * docs/assignment.md gives the function to the byte, tests/data/assignment_vectors.json its test vectors, so that a
 * client in any language can compute the same. Once an answer is in the log the record wins over this function.
 */
#ifndef ASSAY_ENGINE_ASSIGN_H
#define ASSAY_ENGINE_ASSIGN_H

#include "engine/base.h"
#include "engine/definitions.h"

enum assign_reason {
    ASSIGN_SPLIT,          /* a variant was chosen, or is stored */
    ASSIGN_FORCED,         /* stored: given by the caller, not by the hash */
    ASSIGN_NOT_TARGETED,
    ASSIGN_NOT_IN_TRAFFIC,
    ASSIGN_LAYER, /* the user's point is in another slice of the layer */
    ASSIGN_NOT_RUNNING,
    ASSIGN_OVERRIDE, /* shown to a tester, see catalog_find_override(); assign_user() does not say it */
    ASSIGN_HOLDOUT, /* the user is in the group that is kept out */
};

const char *assign_reason_name(enum assign_reason reason);

struct assign_result {
    enum assign_reason reason;
    uint32_t variant; /* valid for ASSIGN_SPLIT */
};

/* Independent points in [0, 1) of one user in one experiment, multiples of 2^-53. */
double assign_traffic_point(uint64_t salt, struct bytes user_id);
double assign_variant_point(uint64_t salt, struct bytes user_id);
/* One user's point in a layer, the same for all its experiments. */
double assign_layer_point(struct bytes layer, struct bytes user_id);
/* The same for a holdout group: who is below its share is kept out of every experiment that names it. */
double assign_holdout_point(struct bytes holdout, struct bytes user_id);

/* What a new user would get at this time. */
struct assign_result assign_user(const struct experiment *experiment, const struct targeting_subject *subject,
                                 int64_t now_us);

/* Every question of docs/assignment.md with its answer, those behind the first "no" as well. */
struct assign_explanation {
    bool is_open;
    bool is_held_out;
    double holdout_point; /* where there is a group */
    bool is_targeted;
    bool holds[TARGETING_NODES_MAX]; /* by the targeting's nodes */
    bool is_in_traffic;              /* in the slice where there is a layer, else in the share */
    double traffic_point;            /* the one that is asked: in the layer, or of the experiment's own */
    double variant_point;
    uint32_t variant;            /* that the point falls to */
    struct assign_result result; /* what assign_user() says */
};

/* as_if_open: whatever the status and the schedule say. */
void assign_explain(const struct experiment *experiment, const struct targeting_subject *subject, int64_t now_us,
                    bool as_if_open, struct assign_explanation *out_explanation);

#endif
