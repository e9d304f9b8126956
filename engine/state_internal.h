/* state_internal.h: what the parts of the state share: state.c (apply), state_past.c (late facts), state_rows.c (the
 * durable form), state_load.c (back from it), state_erase.c (erasures), state_sets.c (sets of users), state_results.c,
 * state_members.c and state_quantile.c (answers). Nobody else includes it.
 */
#ifndef ASSAY_ENGINE_STATE_INTERNAL_H
#define ASSAY_ENGINE_STATE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/attributes.h"
#include "engine/event_ids.h"
#include "engine/pool.h"
#include "engine/rollup.h"
#include "engine/state.h"
#include "engine/users.h"

/* A definition record as it was applied. */
struct applied_definition {
    uint64_t lsn;
    enum record_kind kind;
    uint8_t version; /* of the payload */
    struct bytes payload; /* owned */
};

/* An event type that has occurred. */
struct seen_type {
    struct bytes name; /* owned */
    uint64_t events;   /* duplicates left out */
};

struct row_writer; /* state_rows.c */

/* A change of a set of users whose parts have not all come. */
struct set_parts {
    char name[LIMIT_KEY];
    size_t name_size;
    enum user_set_operation operation;
    uint32_t part_count;
    uint32_t next;
    struct user_print *users;
    size_t count;
    size_t capacity;
};

struct state {
    struct state_options options;
    uint64_t next_lsn;
    struct state_totals totals;

    /* Swapped by the writer, referenced by anyone, both under the mutex; the generation is read without it. */
    pthread_mutex_t catalog_mutex;
    struct catalog *catalog;
    _Atomic uint64_t catalog_generation;

    struct users users;
    struct event_ids event_ids;
    struct pool duplicates; /* uint64_t: lsns of duplicate events, ascending */
    struct rollup rollup;
    struct attributes attributes;
    struct seen_type *types; /* the first LIMIT_EVENT_TYPES */
    uint32_t type_count;
    struct index_table type_table;

    struct applied_definition *definitions;
    uint32_t definition_count;
    uint32_t definition_capacity;

    /* Enrolments whose past is still to be read from the log, ascending. */
    uint32_t *pending;
    uint32_t pending_count;
    uint32_t pending_capacity;

    /* What the next state_export_changes() has to visit. */
    struct user_list {
        uint32_t *numbers;
        uint32_t count;
        uint32_t capacity;
    } dirty[3];    /* by epoch (0 is not used): users changed in it */
    uint8_t epoch; /* 1 or 2: of changes now. The other one's users are being exported, as they were when it ended */
    uint32_t exported_users; /* of the other epoch's list */
    struct row_writer *export; /* while an export is under way */
    struct {
        uint32_t users;
        uint32_t enrolments;
        uint32_t event_ids;
        uint32_t duplicates;
    } expected; /* while loading: what the meta row promised */
    uint32_t exported_definitions;
    uint32_t exported_event_ids;
    uint32_t exported_duplicates;

    struct set_parts parts;
    struct user_sets exported_sets; /* as the last export left them */
    struct user_set *imported_set;  /* while loading: the one whose rows come */
    uint64_t imported_users;        /* that its head promised */
};

/* Of two values in millionths, in two's complement: added up modulo 2^128 it can be taken back. */
static inline uint128 value_product(int64_t a, int64_t b)
{
    return (uint128)((int128)a * b);
}

/* Appends a number to a growing list. */
MUST_USE enum status list_append(uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t number);
/* Before a user, its enrolments or vectors change: notes it for the next export, and exports it as it is now where the one
 * under way has not come to it yet. */
MUST_USE enum status state_touch_user(struct state *state, uint32_t user);
/* Makes a catalog the one that everybody is given. */
void state_publish_catalog(struct state *state, struct catalog *catalog);
/* Sets of users, in state_sets.c: a record; all rows; the rows that changed since the last time; loading. */
MUST_USE enum status state_apply_user_set(struct state *state, const struct record *record, uint8_t *outcome);
MUST_USE enum status state_sets_emit(struct row_writer *rows, const struct state *state);
MUST_USE enum status state_sets_emit_changes(struct row_writer *rows, struct state *state);
MUST_USE enum status state_sets_import(struct state *state, struct bytes key, struct bytes value);
MUST_USE enum status state_sets_import_end(struct state *state);
uint64_t state_sets_memory(const struct state *state);
void state_sets_deinit(struct state *state);
/* The big-endian number of so many bytes within a row's key. */
static inline uint64_t row_key_number(struct bytes key, size_t at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | key.data[at + i];
    }
    return value;
}
#define EVENT_ID_ROW_SIZE 20u /* of one event id in its row */
/* Visits a row. */
MUST_USE enum status row_emit_bytes(struct row_writer *rows, enum state_table table, struct bytes key, struct bytes value);
/* Visits one user's row. */
MUST_USE enum status row_emit_user(struct row_writer *rows, const struct state *state, uint32_t user);
void row_writer_close(struct row_writer *rows); /* NULL is fine */
/* Counts events of a type, remembering it where new. */
MUST_USE enum status state_see_type(struct state *state, struct bytes name, uint64_t events);
/* False only where no event of the type was ever applied. */
bool state_may_have_seen_type(const struct state *state, struct bytes name);
/* Applies a definition to the catalog. *out_applied is false where its version or name was taken. With `past`, a
 * metric's history is read from the log. */
MUST_USE enum status state_apply_definition(struct state *state, const struct record *record, bool past,
                                            bool *out_applied);
/* Applies an erasure. With `past`, the user is taken out of the aggregates; without, they were loaded without the user. */
MUST_USE enum status state_apply_erasure(struct state *state, const struct definition *definition, uint64_t lsn, bool past,
                                         bool *out_applied);
/* The catalog whose sets do not have a user that `catalog` has in any; NULL where memory is out. */
MUST_USE struct catalog *catalog_without_user(const struct catalog *catalog, const struct erasure *erasure);
/* Does the event count no more, because its user was erased since? */
bool state_is_erased(const struct state *state, const struct record *record, const struct event *event);
/* Duplicates along the log. */
struct duplicate_cursor {
    const struct pool *duplicates;
    uint32_t at;
};
bool duplicate_cursor_is(struct duplicate_cursor *cursor, uint64_t lsn); /* lsns must ascend from call to call */
/* Adds one event to the rollups of the metrics that it feeds. *out_matches: it feeds any. */
MUST_USE enum status state_feed_metrics(struct state *state, const struct event *event, uint32_t user, bool *out_matches);
/* Reads the history of a metric that was defined or changed by `record` at lsn. before, after: the catalogs. */
MUST_USE enum status state_redo_metric(struct state *state, const struct catalog *before, const struct catalog *after,
                                       uint32_t metric, uint64_t end_lsn);
static inline struct rollup_experiment *state_experiment(const struct state *state, uint32_t experiment)
{
    assert(experiment < state->rollup.experiment_count);
    return &state->rollup.experiments[experiment];
}

#endif
