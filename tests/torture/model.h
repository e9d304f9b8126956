/* model.h: what a log must hold and what it must answer, kept as a plain list of facts.
 *
 * The workload tells the model of every frame that it submits and of every answer that it gets. The model knows then
 * which records must be there after a crash (those acknowledged), which may be there (those submitted), in which order,
 * and what any prefix of them adds up to: it counts the facts again for each question, and shares no code with the
 * engine's log or fold. Records are compared with what was submitted by a hash of their bytes.
 */
#ifndef ASSAY_TORTURE_MODEL_H
#define ASSAY_TORTURE_MODEL_H

#include "engine/base.h"
#include "engine/state.h"

#define MODEL_FACTS       4096u
#define MODEL_FRAMES      2048u
#define MODEL_USERS       5
#define MODEL_EXPERIMENTS 2
#define MODEL_VARIANTS    2
#define MODEL_METRICS     3
#define MODEL_TYPES       3
#define MODEL_DAYS        6
#define MODEL_FIRST_DAY   20450 /* 2025-12-28 */
#define MODEL_NO_ID       (-1)

enum fact_kind {
    FACT_EVENT,
    FACT_ASSIGNMENT,
    FACT_METRIC,
    FACT_EXPERIMENT,
};

enum model_metric_kind {
    MODEL_PROPORTION,
    MODEL_SUM,
    MODEL_COUNT,
    MODEL_UNIQUE_DAYS,
};

#define MODEL_METRIC_KINDS 4

struct model_metric {
    bool defined;
    int type;
    enum model_metric_kind kind;
};

/* One record, in the model's own words. */
struct fact {
    enum fact_kind kind;
    int user;
    int64_t time_us;
    int type;       /* event */
    int id;         /* event; MODEL_NO_ID: none */
    int64_t amount; /* event, millionths */
    int experiment; /* assignment */
    int variant;    /* assignment */
    int metric;
    struct model_metric definition;
    uint64_t record_hash; /* of the bytes that were submitted */
};

/* The records of one commit: all or nothing. */
struct model_frame {
    uint32_t first;
    uint32_t count;
    uint32_t ticket; /* by which it is answered */
};

struct model {
    struct fact facts[MODEL_FACTS];
    uint64_t chain[MODEL_FACTS + 1]; /* of the first n record hashes */
    uint32_t fact_count;
    struct model_frame frames[MODEL_FRAMES];
    uint32_t frame_count;
    uint32_t frames_acknowledged;
    uint32_t tickets;
};

struct trouble {
    char text[768];
};

/* Fills the text where nothing is in it yet, and returns false. */
bool trouble_set(struct trouble *trouble, const char *format, ...) PRINTF_LIKE(2, 3);

void model_clear(struct model *model);
bool model_has_room(const struct model *model, uint32_t facts);
/* A frame goes to the log. Returns its ticket. */
uint32_t model_submit(struct model *model, const struct fact *facts, uint32_t count);
/* The frame was acknowledged with this first lsn. Frames before it that have no answer yet can only be refused: they
 * are taken out. */
bool model_acknowledge(struct model *model, uint32_t ticket, uint64_t first_lsn,
                       struct trouble *trouble);
/* The frame was refused: it is not in the log, and never will be. */
void model_refuse(struct model *model, uint32_t ticket);
/* A start found the log to end here. What lies behind never was; what lies before must stay. */
void model_recover(struct model *model, uint64_t end_lsn);

/* First lsns not acknowledged, and not submitted. */
uint64_t model_acknowledged_lsn(const struct model *model);
uint64_t model_submitted_lsn(const struct model *model);
bool model_ends_frame(const struct model *model, uint64_t end_lsn);
uint64_t model_chain_add(uint64_t chain, uint64_t record_hash);
uint64_t model_chain(const struct model *model, uint64_t end_lsn);
uint64_t model_record_hash(const void *record, size_t size);

/* Everything a state of the first records says, against a recount of the facts. */
bool model_check_state(const struct model *model, uint64_t end_lsn, const struct state *state,
                       struct trouble *trouble);

/* The names that records carry. */
struct uuid model_experiment_id(int experiment);
void model_user_name(int user, char out_name[16]);
void model_metric_name(int metric, char out_name[16]);
const char *model_type_name(int type);

#endif
