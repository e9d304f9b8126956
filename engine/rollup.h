/* rollup.h: the aggregates: per-user vectors (vector.h), and per experiment, variant and metric the sums over users that any
 * range of days can be answered from.
 *
 * Vector       of (user, metric): for each active day the count of events and the sum x[d] of their values. One for all
 *              experiments; what an experiment counts is the part from the user's assignment on.
 *              Of a metric that keeps its events (metric_keeps_events()): each of them, with its moment and value. Such a
 *              metric has no boundaries and no cells: its questions go through the vectors (state_members.c).
 * Boundary     of (enrolment, metric): the part of the assignment's own day that lies before the assignment. So the
 *              enrolment's x[d] is: nothing before that day, vector minus boundary on it, the vector after it.
 * Cell         of (experiment, variant, metric), over the variant's users u:
 *                events[d]     count of events                  sums[d]        sum of x_u[d]
 *                products[d,e] sum of x_u[d] * x_u[e]           (the day-pair matrix; means only)
 *                first[t]      users whose first active day is t
 *                follows[p,t]  users active on t whose previous active day is p
 *              For a range a..b the exact sum over users of (range total)^2 is the sum of products over the square
 *              a..b; the exact count of distinct active users is the sum over t in a..b of first[t] and of
 *              follows[p,t] with p < a.
 * Exactness    x is in millionths, 64 bits; sums and products are 128 bits, added modulo their width, so that order
 *              never matters and everything can be taken back. `magnitude` adds up |value| over the counting events:
 *              while it is below 2^63 nothing has wrapped; beyond, the cell says overflow instead of a number.
 * Cost         an event costs, for each metric it feeds and each enrolment that it counts for, one product a day the
 *              user was active on. A query costs days^2 additions. Both are flat in events and users.
 * Threads      One.
 */
#ifndef ASSAY_ENGINE_ROLLUP_H
#define ASSAY_ENGINE_ROLLUP_H

#include "engine/base.h"
#include "engine/cell.h"
#include "engine/pool.h"
#include "engine/state.h"
#include "engine/users.h"
#include "engine/vector.h"

/* Users of a variant by the day of their assignment. */
struct arm {
    uint64_t users;
    uint32_t day_count;
    uint32_t day_capacity;
    int32_t *days; /* ascending */
    uint64_t *day_users;
    struct cell **cells; /* by metric; NULL where it has no events */
    uint32_t cell_count;
    bool dirty;
};

struct rollup_experiment {
    struct arm *arms;
    uint32_t arm_count;
    uint32_t *members; /* enrolment numbers, in the order of the log */
    uint32_t member_count;
    uint32_t member_capacity;
    uint32_t first_version; /* least definition version of a member; 0: none */
    /* Who was assigned by a version before this one is history: in no sum, and in no list but this. */
    uint32_t from_version;
    uint32_t *past_members;
    uint32_t past_member_count;
    uint32_t past_member_capacity;
    /* Sums over the members; state.c keeps them. */
    uint64_t events;
    uint64_t duplicates;
    uint64_t before;
    uint64_t counted;
};

struct cell_name {
    uint32_t experiment;
    uint32_t variant;
    uint32_t metric; /* ROLLUP_ARM: the arm itself */
};

#define ROLLUP_ARM UINT32_MAX
struct rollup {
    struct vectors vectors;
    struct rollup_experiment *experiments;
    uint32_t experiment_count;
    struct cell_name *changed; /* since the last export */
    uint32_t changed_count;
    uint32_t changed_capacity;
};

MUST_USE enum status rollup_init(struct rollup *rollup);
void rollup_deinit(struct rollup *rollup); /* a zeroed one is fine */
/* Makes room for an experiment's arms. Numbers and variants only grow. */
MUST_USE enum status rollup_grow(struct rollup *rollup, uint32_t experiment, uint32_t variants);

/* Everybody was drawn anew by this version: all members are history, and the sums start from nothing. What the members'
 * enrolments count stays as it is from now on. */
MUST_USE enum status rollup_retire(struct rollup *rollup, uint32_t experiment, uint32_t from_version);

static inline bool rollup_is_current(const struct rollup *rollup, const struct enrolment *enrolment)
{
    return enrolment->version >= rollup->experiments[enrolment->experiment].from_version;
}

/* Counts a new enrolment's user in its arm. */
MUST_USE enum status rollup_enrol(struct rollup *rollup, const struct users *users, uint32_t enrolment);
/* For an assignment that came after its events: what it counts of a metric, into its cell. magnitude: of the values. */
MUST_USE enum status rollup_add_past(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                                     uint32_t metric, const struct metric *definition, uint128 magnitude);

/* Takes what a current enrolment counts of a vector's metric out of its cell again. magnitude: of the values; NULL where the vector
 * is not mixed, and tells it by itself. */
MUST_USE enum status rollup_subtract(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                                     const struct vector *vector, const struct metric *definition, const uint128 *magnitude);
/* Takes an enrolment out of its experiment's members, and of its arm. */
MUST_USE enum status rollup_withdraw(struct rollup *rollup, const struct users *users, const struct enrolment *enrolment);

/* What an enrolment counts of a metric: each of its days with an event, in ascending order. */
struct counted_day {
    int32_t day;
    uint32_t events;
    int64_t value;     /* of the day alone, by the metric's aggregation */
    uint128 magnitude; /* of the values, added up, where they are kept; else the cell has it */
    bool incomplete;   /* more events than are kept */
};
typedef void counted_day_visit(void *context, const struct counted_day *day);
void rollup_visit_days(const struct rollup *rollup, const struct users *users, const struct enrolment *enrolment,
                       uint32_t metric, const struct metric *definition, counted_day_visit *visit, void *context);
/* The events that an enrolment counts of a metric that keeps them, in order. Valid until the next change. */
const struct vector_event *rollup_counted_events(const struct rollup *rollup, const struct users *users,
                                                 const struct enrolment *enrolment, uint32_t metric,
                                                 const struct metric *definition, uint32_t *out_count);

/* What its user did of a metric in so many days before the assignment's day, and on that day before the assignment. */
struct before_assignment {
    uint64_t events;
    int64_t value;
};
struct before_assignment rollup_before(const struct rollup *rollup, const struct users *users,
                                       const struct enrolment *enrolment, uint32_t metric, const struct metric *definition,
                                       uint32_t days);

/* One event's value for one metric: into its user's vector, and the cells of every enrolment that counts it (pending ones
 * excepted: rollup_add_past() comes later for them). */
MUST_USE enum status rollup_add(struct rollup *rollup, const struct users *users, uint32_t user, uint32_t metric,
                                const struct metric *definition, int64_t timestamp_us, int64_t value);
/* Forgets all vectors, boundaries and cells of a metric: its definition changed, and now keeps its events, or not. */
MUST_USE enum status rollup_clear_metric(struct rollup *rollup, const struct users *users, uint32_t metric, bool keeps_events);

const struct arm *rollup_arm(const struct rollup *rollup, uint32_t experiment, uint32_t variant); /* or NULL */
const struct cell *rollup_cell(const struct rollup *rollup, const struct cell_name *name); /* likewise */
/* For loading: made where missing. */
MUST_USE enum status rollup_cell_make(struct rollup *rollup, const struct cell_name *name, bool has_values,
                                      struct cell **out_cell);
MUST_USE enum status arm_add_users(struct arm *arm, int32_t day, uint64_t users);

void rollup_note_version(struct rollup_experiment *experiment, uint32_t version);
uint64_t rollup_memory(const struct rollup *rollup);

#endif
