/* fold.h: a log in memory for tests of the fold: records are appended, and the state reads them back as its history.
 */
#ifndef ASSAY_TESTS_FOLD_H
#define ASSAY_TESTS_FOLD_H

#include "engine/definitions.h"
#include "engine/format.h"
#include "engine/state.h"
#include "engine/user_set.h"

struct fold_log {
    uint8_t *data;
    size_t size;
    size_t capacity;
    uint64_t next_lsn;
};

void fold_log_init(struct fold_log *log);
void fold_log_deinit(struct fold_log *log);
void fold_log_event(struct fold_log *log, const struct event *event);
void fold_log_assignment(struct fold_log *log, const struct assignment *assignment);
/* A definition from its JSON text, through the same decoders as the API's. Aborts where they refuse it. */
void fold_log_experiment(struct fold_log *log, const char *json, const struct uuid *id);
/* The same with its slice of a layer placed against this catalog. */
void fold_log_experiment_in(struct fold_log *log, const char *json, const struct uuid *id,
                            const struct catalog *catalog);
/* The next version of an experiment's overrides; variant -1: the user's goes. */
void fold_log_override(struct fold_log *log, const struct uuid *id, const char *user, int variant);
/* The erasure of a user. */
void fold_log_erasure(struct fold_log *log, const char *user);
/* A change of a set of users in `parts` records, of which the first `logged` are there. users: in any order. */
void fold_log_user_set(struct fold_log *log, const char *name, enum user_set_operation operation, const char *const *users,
                       uint32_t count, uint32_t parts, uint32_t logged);
/* The first lsn from this one on that may begin a block: the parts of one change are never apart. */
uint64_t fold_log_frame(const struct fold_log *log, uint64_t lsn);
/* The next version of an experiment of the log, which must be at the one before, rerandomized. */
void fold_log_rerandomize(struct fold_log *log, const struct uuid *id, uint32_t version);
void fold_log_metric(struct fold_log *log, const char *json, uint32_t version);
/* A state over this log as its history. */
struct state *fold_state(struct fold_log *log);
/* Applies the log's records [state_next_lsn, end_lsn) in blocks of `block` records. */
void fold_apply(struct fold_log *log, struct state *state, uint64_t end_lsn, uint32_t block);
/* Moves all rows of one state into a new one, as a restart does. */
struct state *fold_reload(struct fold_log *log, struct state *state);
/* A digest of all rows: equal states have equal digests. */
uint64_t fold_digest(struct state *state);

#endif
