/* state_walk.h: questions that go through the members of an experiment, one by one: state_members.c, state_quantile.c and
 * state_breakdown.c. For state_results.c alone.
 */
#ifndef ASSAY_ENGINE_STATE_WALK_H
#define ASSAY_ENGINE_STATE_WALK_H

#include "engine/state_internal.h"

/* Can the cells not answer the metric's part of a query? Then its members are gone through. */
bool state_needs_members(const struct results_query *query, const struct metric *definition);
/* The members that a query is about. */
struct member_list {
    const uint32_t *numbers;
    uint32_t count;
};
static inline struct member_list query_members(const struct state *state, const struct results_query *query)
{
    const struct rollup_experiment *experiment = &state->rollup.experiments[query->experiment_index];
    return query->members != NULL ? (struct member_list){query->members, query->member_count}
                                  : (struct member_list){experiment->members, experiment->member_count};
}
/* Visits each day on which a member of the experiment has an event of a metric without cells. */
typedef void member_day_visit(void *context, int32_t day);
void state_visit_member_days(const struct state *state, struct member_list members, uint32_t metric, member_day_visit *visit,
                             void *context);
/* The place-th member. What lies behind the next ones is fetched ahead: a walk would else wait for each of them in turn. */
const struct enrolment *state_member(const struct state *state, struct member_list members, uint32_t place);
/* The sums of a metric of the query (its place there) by its members. STATUS_NO_MEMORY. */
MUST_USE enum status state_results_members(const struct state *state, const struct results_query *query, uint32_t metric,
                                           struct results_data *data);
/* The same of a quantile; or STATUS_TOO_LARGE. */
MUST_USE enum status state_results_quantile(const struct state *state, const struct results_query *query, uint32_t metric,
                                            struct results_data *data);

#endif
