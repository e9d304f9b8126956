/* assign.c: two hashes and a walk along the weights; docs/assignment.md says the same in words and bytes. */
#include "engine/assign.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define POINT_SHIFT 11 /* 64 bits down to the 53 that a double holds exactly */
#define POINT_UNIT  0x1p-53
#define PURPOSE_MAX 8u

static const char *const reason_names[] = {
    [ASSIGN_SPLIT] = "split",
    [ASSIGN_FORCED] = "forced",
    [ASSIGN_NOT_TARGETED] = "not_targeted",
    [ASSIGN_NOT_IN_TRAFFIC] = "not_in_traffic",
    [ASSIGN_LAYER] = "layer",
    [ASSIGN_NOT_RUNNING] = "not_running",
    [ASSIGN_HOLDOUT] = "holdout",
    [ASSIGN_OVERRIDE] = "override",
};

const char *assign_reason_name(enum assign_reason reason)
{
    assert((size_t)reason < COUNT_OF(reason_names));
    return reason_names[reason];
}

/* One seed a purpose, so that who is let in says nothing about what they get. */
static uint64_t purpose_seed(uint64_t salt, struct bytes purpose)
{
    uint8_t text[sizeof(salt) + PURPOSE_MAX];
    assert(purpose.size <= PURPOSE_MAX);
    store_u64(text, salt);
    memcpy(text + sizeof(salt), purpose.data, purpose.size);
    return XXH3_64bits(text, sizeof(salt) + purpose.size);
}

static double point_of(uint64_t salt, struct bytes purpose, struct bytes user_id)
{
    uint64_t hash = XXH3_64bits_withSeed(user_id.data, user_id.size, purpose_seed(salt, purpose));
    return (double)(hash >> POINT_SHIFT) * POINT_UNIT;
}

double assign_traffic_point(uint64_t salt, struct bytes user_id)
{
    return point_of(salt, bytes_of_text("traffic"), user_id);
}

double assign_variant_point(uint64_t salt, struct bytes user_id)
{
    return point_of(salt, bytes_of_text("variant"), user_id);
}

double assign_layer_point(struct bytes layer, struct bytes user_id)
{
    return point_of(XXH3_64bits(layer.data, layer.size), bytes_of_text("layer"), user_id);
}

double assign_holdout_point(struct bytes holdout, struct bytes user_id)
{
    return point_of(XXH3_64bits(holdout.data, holdout.size), bytes_of_text("holdout"), user_id);
}

static bool is_held_out(const struct experiment *experiment, struct bytes user_id)
{
    return experiment->holdout.size != 0 &&
           assign_holdout_point(experiment->holdout, user_id) < experiment->holdout_share;
}

/* In a layer the traffic is a slice of it; elsewhere a share of the experiment's own. */
static double traffic_point(const struct experiment *experiment, struct bytes user_id)
{
    return experiment->layer.size != 0 ? assign_layer_point(experiment->layer, user_id)
                                       : assign_traffic_point(experiment->salt, user_id);
}

static enum assign_reason traffic_reason(const struct experiment *experiment, double point, int64_t now_us)
{
    const double allocation = experiment_allocation_at(experiment, now_us);
    if (experiment->layer.size != 0) {
        const double inside = point - experiment->layer_start;
        return inside >= 0 && inside < allocation ? ASSIGN_SPLIT : ASSIGN_LAYER;
    }
    return point < allocation ? ASSIGN_SPLIT : ASSIGN_NOT_IN_TRAFFIC;
}

/* The first variant whose cumulative weight is above the point. Weights add up to 1 only nearly: the last open variant
 * takes what is left. */
static uint32_t variant_at(const struct experiment *experiment, double point)
{
    double cumulative = 0;
    uint32_t last_open = experiment->control;
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        double weight = experiment->variants[i].weight;
        if (!(weight > 0)) {
            continue;
        }
        cumulative += weight;
        last_open = i;
        if (point < cumulative) {
            return i;
        }
    }
    return last_open;
}

static bool is_open(const struct experiment *experiment, int64_t now_us)
{
    return experiment->status == EXPERIMENT_RUNNING && now_us >= experiment->start_at_us &&
           (experiment->end_at_us == 0 || now_us < experiment->end_at_us);
}

struct assign_result assign_user(const struct experiment *experiment, const struct targeting_subject *subject,
                                 int64_t now_us)
{
    const struct bytes user_id = subject->user_id;
    struct assign_result result = {.reason = ASSIGN_NOT_RUNNING};
    if (!is_open(experiment, now_us)) {
        return result;
    }
    if (is_held_out(experiment, user_id)) {
        result.reason = ASSIGN_HOLDOUT;
        return result;
    }
    if (!targeting_matches(&experiment->targeting, subject)) {
        result.reason = ASSIGN_NOT_TARGETED;
        return result;
    }
    result.reason = traffic_reason(experiment, traffic_point(experiment, user_id), now_us);
    if (result.reason != ASSIGN_SPLIT) {
        return result;
    }
    result.variant = variant_at(experiment, assign_variant_point(experiment->salt, user_id));
    return result;
}

void assign_explain(const struct experiment *experiment, const struct targeting_subject *subject, int64_t now_us,
                    bool as_if_open, struct assign_explanation *out_explanation)
{
    const struct bytes user_id = subject->user_id;
    struct assign_explanation told = {
        .is_open = as_if_open || is_open(experiment, now_us),
        .is_held_out = is_held_out(experiment, user_id),
        .traffic_point = traffic_point(experiment, user_id),
        .variant_point = assign_variant_point(experiment->salt, user_id),
    };
    if (experiment->holdout.size != 0) {
        told.holdout_point = assign_holdout_point(experiment->holdout, user_id);
    }
    told.is_targeted = targeting_evaluate(&experiment->targeting, subject, told.holds);
    told.variant = variant_at(experiment, told.variant_point);
    const enum assign_reason traffic = traffic_reason(experiment, told.traffic_point, now_us);
    told.is_in_traffic = traffic == ASSIGN_SPLIT;
    if (!told.is_open) {
        told.result.reason = ASSIGN_NOT_RUNNING;
    } else if (told.is_held_out) {
        told.result.reason = ASSIGN_HOLDOUT;
    } else if (!told.is_targeted) {
        told.result.reason = ASSIGN_NOT_TARGETED;
    } else {
        told.result.reason = traffic;
    }
    told.result.variant = told.result.reason == ASSIGN_SPLIT ? told.variant : 0;
    *out_explanation = told;
}
