/* state.h: the fold of the log: everything assay knows, as a function of the records in order.
 *
 * Start-up, live operation, replay, verification and the tests all call state_apply(); there is no other way to change a
 * state. It holds the definitions (catalog), the users with their assignments, the event ids seen, and the rollups.
 *
 * Purity       Results depend only on the set of records (definitions in their order, the first record of an event id
 *              and of an assignment): not on arrival order otherwise, batching, restarts or checkpoints.
 * Late facts   An assignment may be applied after events that it makes count, and a metric be defined after its events.
 *              Then the state reads the log again, through struct history.
 * Threads      One writer. state_find_assignment() and state_catalog() may be called from any thread at any time;
 *              everything else belongs to the writer.
 * Rows         The state's durable form is a set of rows (table, key, value) in canonical order: checkpoints write the
 *              changed ones to LMDB, verify compares them. Bytes: state_rows.c and docs/format.md.
 */
#ifndef ASSAY_ENGINE_STATE_H
#define ASSAY_ENGINE_STATE_H

#include "engine/base.h"
#include "engine/catalog.h"
#include "engine/format.h"

struct state;

/* The log below a position, to be read again. */
struct history {
    enum status (*scan)(void *context, uint64_t end_lsn,
                        enum status (*visit)(void *visit_context, const struct record *record), void *visit_context);
    void *context;
};

struct state_options {
    struct history history;
    uint64_t hash_seed;  /* of the store */
    struct uuid store_id;
};

MUST_USE enum status state_open(const struct state_options *options, struct state **out_state);
void state_close(struct state *state); /* NULL is fine */

/* What became of one record, decided by its place in the log. */
enum outcome {
    OUTCOME_APPLIED = 0,
    OUTCOME_DUPLICATE,          /* an event id seen before, with the same body */
    OUTCOME_DUPLICATE_MISMATCH, /* an event id seen before, with another body: the first one counts */
    OUTCOME_SUPERSEDED,         /* an assignment where one was stored, the layer has the user elsewhere, or it followed a
                                   version of before the newest generation; a definition whose version, name or slice
                                   was taken */
};

/* Applies `count` records that follow on state_next_lsn(). outcomes: one enum outcome each, or NULL. Anything but
 * STATUS_OK (memory out, a damaged record, an unreadable log) leaves the state unusable. */
MUST_USE enum status state_apply(struct state *state, const struct record *records, size_t count, uint8_t *outcomes);
#define STATE_BATCH 64u /* the most records of one call */

/* Settles what late facts left open (see above): reads the log again where an assignment came after events that it makes
 * count. Nothing is to be asked of the state before it was settled; call it once a block. Cheap where nothing is open. */
MUST_USE enum status state_settle(struct state *state);

/* The first lsn not yet applied. */
uint64_t state_next_lsn(const struct state *state);

/* The newest definitions; a reference, to be given back. Any thread. */
const struct catalog *state_catalog(const struct state *state);
uint64_t state_catalog_generation(const struct state *state);

/* A stored assignment. */
struct assignment_view {
    uint32_t variant;
    uint32_t experiment_version;
    int64_t assigned_at_us;
    uint64_t lsn; /* of its record */
    bool forced;
};

/* One that followed a version of the range, see catalog_current_versions(). Lock-free; any thread. */
bool state_find_assignment(const struct state *state, uint32_t experiment_index, struct version_range versions,
                           struct bytes user_id, struct assignment_view *out_assignment);

/* What there is of a user; all zero but the hash where there is nothing. */
struct user_traces {
    uint64_t user_hash; /* of the id, in this store */
    uint64_t events;    /* received, duplicates included */
    uint64_t assignments;
};

void state_user_traces(const struct state *state, struct bytes user_id, struct user_traces *out_traces);

/* Who is in an experiment, or was in a generation of it, in the order of their records. Starts at `cursor` (0, then the
 * last *out_cursor), skips other variants where variant is not UINT32_MAX, fills at most `limit` and returns how many.
 * *out_cursor is 0 at the end. */
struct member {
    struct bytes user_id; /* borrowed until the next state_apply() */
    struct assignment_view assignment;
};

uint32_t state_list_members(const struct state *state, uint32_t experiment_index, struct version_range versions,
                            uint32_t variant, uint64_t cursor, struct member *members, uint32_t limit,
                            uint64_t *out_cursor);
/* Definitions as they were applied, in the order of the log: at most `limit` from the cursor-th on. Returns how many; more
 * follow where it is `limit`. The payloads live as long as the state. */
uint32_t state_list_definitions(const struct state *state, uint64_t cursor, struct record *records, uint32_t limit);
/* Users of a variant in the newest generation, all days. */
uint64_t state_variant_users(const struct state *state, uint32_t experiment_index, uint32_t variant);

/* Sums over the users of one variant, for one metric and range of days. All exact. */
struct metric_sums {
    uint64_t users;      /* that the sums are over: all of the variant, or of a retention those whose days are over */
    uint64_t active;     /* users with at least one counting event in the range */
    uint64_t events;     /* counting events in the range */
    int128 sum;          /* of the users' totals, in millionths */
    uint128 sum_square;  /* of the squares of the users' totals, in millionths squared */
    /* Of a second value: a ratio's denominator (its sum is the numerators'), or what was before the assignment. */
    int128 other_sum;
    uint128 other_square;
    int128 product;
    uint64_t capped;     /* users whose total was beyond the cap; of the whole range only */
    /* Of a quantile, in millionths: the value, and those at the ranks that bound it were the events independent. Its x are a user's
     * events up to the value and its y all of them, a unit each. */
    int64_t quantile;
    int64_t quantile_lower;
    int64_t quantile_upper;
    bool overflow; /* the magnitudes add up beyond 64 bits, or events are missing: sum_square is not to be trusted */
};

#define CAP_NONE INT64_MAX

struct results_query {
    uint32_t experiment_index;
    const uint32_t *metrics; /* dense indexes */
    uint32_t metric_count;
    int32_t start_day; /* inclusive; INT32_MIN: from the first */
    int32_t end_day;   /* inclusive; INT32_MAX: to the last */
    int32_t today;     /* a retention's days are over once they are before it */
    const uint32_t *members; /* not NULL: of these members alone, see state_breakdown(); without a series */
    uint32_t member_count;
    bool series;       /* per day as well */
    uint32_t covariate_days; /* not 0: the range's sums also get the users' values of so many days before their assignment, as
                                the second value; of a proportion 0 or one unit a user. Of means and proportions only */
};

/* One day of one variant; the cumulative sums go from the range's first day to this one. */
struct day_sums {
    int32_t day;
    uint64_t users;      /* assigned on this day */
    uint64_t users_total; /* assigned up to the end of this day, since ever */
    struct metric_sums *on_day;     /* [metric_count] */
    struct metric_sums *cumulative; /* [metric_count] */
};

struct variant_sums {
    uint64_t users; /* assigned up to the end of the range, since ever */
    struct metric_sums *metrics; /* [metric_count] */
    struct day_sums *days;       /* [day_count] */
};

struct results_data {
    uint64_t lsn; /* first lsn not in these numbers */
    uint32_t experiment_version;
    uint32_t first_version; /* least definition version that an assignment followed; 0 without assignments */
    struct variant_sums *variants; /* [variant_count], as in the definition */
    int64_t *caps; /* [metric_count] of the query: what a user's total counts as at most, in millionths; or CAP_NONE */
    uint32_t variant_count;
    uint32_t day_count; /* every day from the first to the last that has users or events, within the range */
    int32_t first_day;
    /* Of the users in the experiment, over all days. Every event they sent is in exactly one. */
    uint64_t events_counted;
    uint64_t events_before_assignment;
    uint64_t events_filtered; /* feed no metric */
    uint64_t events_duplicate;
};

/* Memory comes from the arena. Cost: days^2 additions a variant and metric, whatever the number of events or users; with a cap,
 * ratios, retention, quantiles, windows, max and covariates a few cache misses a member. STATUS_TOO_LARGE: a quantile of more
 * than LIMIT_QUANTILE_VALUES. */
MUST_USE enum status state_results(const struct state *state, const struct results_query *query, struct arena *arena,
                                   struct results_data *out_data);

/* The members with one value of an attribute, as it was when they were assigned. */
struct breakdown_part {
    struct bytes value; /* valid as long as the arena */
    enum {
        BREAKDOWN_VALUE,
        BREAKDOWN_OTHER, /* several, with few users each, or ones that are not told apart */
        BREAKDOWN_NONE,  /* the attribute was not given */
    } kind;
    uint32_t *members;
    uint32_t member_count;
};

/* Members of the newest generation by value, those with the most users first; at most LIMIT_BREAKDOWN_SHOWN values, then the others,
 * then those without, both only where there are any. STATUS_NOT_FOUND: no assignment of the store has this attribute. */
MUST_USE enum status state_breakdown(const struct state *state, uint32_t experiment_index, struct bytes attribute, struct arena *arena,
                                     struct breakdown_part **out_parts, uint32_t *out_count);

/* The names of the attributes that results can be broken down by, in the arena. */
MUST_USE enum status state_attributes(const struct state *state, struct arena *arena, struct bytes **out_names, uint32_t *out_count);

/* Totals over all records. events = counted + duplicate + not_enrolled + before_assignment + filtered, where an event of
 * a user in several experiments is counted if it counts in any, else filtered if it is after any assignment. */
struct state_totals {
    uint64_t users;
    uint64_t assignments;
    uint64_t events; /* records of events, duplicates included */
    uint64_t events_duplicate;
    uint64_t events_mismatched; /* of the duplicates: with another body */
};

void state_totals(const struct state *state, struct state_totals *out_totals);
uint64_t state_memory(const struct state *state); /* bytes, nearly */

/* Tables of rows. The numbers are permanent. */
enum state_table {
    TABLE_META = 0,
    TABLE_DEFINITIONS = 1,
    TABLE_USERS = 2,
    TABLE_CELLS = 3,
    TABLE_EVENT_IDS = 4,
    TABLE_DUPLICATES = 5,
    TABLE_USER_SETS = 6,
    TABLE_ATTRIBUTES = 7,
};

#define STATE_TABLE_END 8

const char *state_table_name(enum state_table table);

/* visit returns STATUS_OK to go on. */
typedef enum status state_row_visit(void *context, enum state_table table, struct bytes key, struct bytes value);

/* Every row, in table and key order. */
MUST_USE enum status state_export(struct state *state, state_row_visit *visit, void *context);
/* The rows changed since the last state_export_changes(); a row is visited at most once. After it, the state counts as
 * exported. Meant to be quick: it is called between blocks. */
MUST_USE enum status state_export_changes(struct state *state, state_row_visit *visit, void *context);
/* The same in slices, for a state that goes on being applied to: begin fixes what is exported to this moment; then step
 * visits at most so many users at a time, until *out_done. A user that is about to change is visited just before, so visit
 * may be called from within state_apply() too. One export at a time. */
MUST_USE enum status state_export_begin(struct state *state, state_row_visit *visit, void *context);
MUST_USE enum status state_export_step(struct state *state, uint32_t users, bool *out_done);
/* Loads rows into an empty state, in table and key order, then state_import_end() checks them as a whole.
 * STATUS_DAMAGED: throw the state away. */
MUST_USE enum status state_import(struct state *state, enum state_table table, struct bytes key, struct bytes value);
MUST_USE enum status state_import_end(struct state *state);
/* A line for a person about a row: for verify. */
void state_row_describe(enum state_table table, struct bytes key, struct bytes value, char *out_text, size_t size);

#endif
