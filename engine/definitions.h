/* definitions.h: experiments, metrics and tokens: what a document may say, the checked value it becomes, and back.
 *
 * A definition is a msgpack document (a map). The same decoder reads what a client sends and what the log holds, so a
 * document that was accepted once is read the same way for ever.
 *
 * Decoding     collects every fault with its path ("variants[1].weight"), code and message, not the first alone.
 * Memory       A decoded definition is one immutable value in one arena of its own: definition_free() ends it whole.
 * Threads      Immutable after decoding: any number of readers.
 */
#ifndef ASSAY_ENGINE_DEFINITIONS_H
#define ASSAY_ENGINE_DEFINITIONS_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/limits.h"
#include "engine/pack.h"
#include "engine/targeting.h"

/* Faults of a document, in the order met. At most LIMIT_FIELD_ERRORS are kept; `count` goes on. */
struct field_error {
    const char *path;    /* "variants[1].weight"; "" for the document itself */
    const char *code;    /* stable: "required", "wrong_type", "out_of_range", "malformed", "unknown_field", "not_unique",
                          * "not_allowed" (beside the other fields), "unsupported", "unknown_operator", "invalid_pattern", "weights_sum",
                          * "read_only", "immutable", "variant_in_use", "status_move", "no_memory" */
    const char *message; /* says what to do */
};

struct field_errors {
    struct arena *arena; /* holds the texts */
    struct field_error *items;
    uint32_t count;
};

struct field_errors field_errors_in(struct arena *arena);
void field_error_add(struct field_errors *errors, const char *code, const char *message, const char *path_format, ...)
    PRINTF_LIKE(4, 5);

enum experiment_status {
    EXPERIMENT_DRAFT,
    EXPERIMENT_RUNNING,
    EXPERIMENT_PAUSED,
    EXPERIMENT_COMPLETED,
    EXPERIMENT_ARCHIVED,
};

#define EXPERIMENT_STATUS_END 5

const char *experiment_status_name(enum experiment_status status);
MUST_USE enum status experiment_status_parse(struct bytes text, enum experiment_status *out_status);
/* May an experiment go from one to the other? draft -> running <-> paused -> completed -> archived; running may complete
 * and draft be archived directly; staying is always allowed. */
bool experiment_status_may_follow(enum experiment_status from, enum experiment_status to);

struct variant {
    struct uuid id;
    struct bytes name;
    double weight; /* 0 closes it to new users */
    bool is_control;
    struct bytes value; /* encoded msgpack; empty where none */
};

/* From a time on, so much traffic. */
struct ramp_step {
    int64_t at_us;
    double traffic_allocation;
};

/* What is done when a guardrail metric of an experiment is breached. */
enum guardrail_action {
    GUARDRAIL_ACTION_NONE,
    GUARDRAIL_ACTION_PAUSE,        /* takes no new users */
    GUARDRAIL_ACTION_CONTROL_ONLY, /* gives new users the control */
};

const char *guardrail_action_name(enum guardrail_action action);

struct experiment {
    struct uuid id;
    struct bytes key;
    struct bytes name;
    struct bytes description;
    uint32_t version;
    enum experiment_status status;
    struct variant *variants;
    uint32_t variant_count;
    uint32_t control; /* index of the control */
    struct targeting targeting;
    double traffic_allocation; /* 0 to 1; before the first step of the ramp */
    struct ramp_step *ramp;    /* times and allocations ascend */
    uint32_t ramp_count;
    struct bytes layer;        /* empty where none */
    struct bytes holdout;      /* group of users that are kept out; empty where none */
    double holdout_share;      /* of that group, 0 to 1 */
    double layer_start;        /* of its slice of the layer, see layer.h; the slice is as long as the largest allocation */
    uint64_t salt;             /* of its hashes */
    uint32_t generation;       /* from 1: how often users were drawn anew, and 1 */
    uint32_t generation_version; /* that began it: whoever was assigned by an older version is drawn again */
    int64_t randomized_at_us;  /* when it began; 0 in the first */
    int64_t start_at_us;       /* 0 where not scheduled */
    int64_t end_at_us;
    int64_t created_at_us;
    int64_t updated_at_us;
    int64_t started_at_us; /* 0 before it first ran */
    int64_t ended_at_us;   /* 0 until completed */
    struct bytes *metrics; /* names */
    uint32_t metric_count;
    enum guardrail_action guardrail_action;
    struct bytes breached_metric; /* by which assay itself acted; empty: it did not, or somebody has changed status or action since */
    struct bytes breached_variant;
    int64_t breached_at_us;
    struct bytes idempotency_key;  /* of the request that made it; empty where none */
    struct uuid idempotency_digest; /* of that request's body */
    struct uuid author;             /* of this version */
    struct bytes document;          /* the encoded document, for the log and the store */
    struct arena arena;
};

/* What testers are shown, whatever the rest of the definition says: variants by user. */
struct override {
    struct bytes user_id;
    struct uuid variant_id;
};

/* All overrides of one experiment: a definition beside the experiment's, with versions of its own. */
struct overrides {
    struct uuid experiment_id;
    uint32_t version;
    struct override *items; /* by user id */
    uint32_t count;
    int64_t updated_at_us;
    struct uuid author;
    struct bytes document;
    struct arena arena;
};

enum metric_type {
    METRIC_PROPORTION,
    METRIC_MEAN,
    METRIC_RATIO, /* of two means */
    METRIC_RETENTION, /* share of users with an event from_day to to_day days after their assignment's */
    METRIC_QUANTILE,  /* of the values of all events */
};

enum metric_aggregation {
    METRIC_SUM,
    METRIC_COUNT,
    METRIC_UNIQUE_DAYS,
    METRIC_MAX,
};

enum metric_direction {
    METRIC_INCREASE,
    METRIC_DECREASE,
};

struct metric_filter {
    struct bytes property;
    enum rule_operator operation; /* of targeting.h, the same operators */
    struct rule_values values;
};

struct metric {
    struct uuid id;
    struct bytes name;
    struct bytes description;
    uint32_t version;
    enum metric_type type;
    struct bytes event_type;
    struct bytes property; /* of METRIC_SUM, METRIC_MAX and METRIC_QUANTILE */
    enum metric_aggregation aggregation;
    struct metric_filter *filters; /* all must hold */
    uint32_t filter_count;
    enum metric_direction direction;
    struct bytes numerator;   /* of METRIC_RATIO: names of means, defined before */
    struct bytes denominator; /* likewise; their caps do not count here */
    bool has_cap;
    int64_t cap_upper; /* millionths: what a user's total beyond it counts as; 0: by percentile */
    int64_t cap_percentile; /* millionths, 0 to 1: the cap is this quantile of the users' totals over all variants */
    bool cap_ignores_zeros; /* the quantile is of the totals that are not 0 */
    uint32_t window_hours;  /* from the assignment on, in which events count; 0: without end */
    uint32_t from_day;      /* of METRIC_RETENTION; the assignment's own day is 0 */
    uint32_t to_day;
    double quantile;        /* of METRIC_QUANTILE, above 0 and below 1 */
    bool is_guardrail;
    double guardrail_margin; /* a lift so far in the wrong direction is still acceptable */
    bool archived;
    int64_t created_at_us;
    int64_t updated_at_us;
    struct uuid author;
    struct bytes document;
    struct arena arena;
};

enum token_scope {
    SCOPE_ADMIN = 1, /* implies all others */
    SCOPE_EXPERIMENTS_READ = 2,
    SCOPE_EXPERIMENTS_WRITE = 4,
    SCOPE_ASSIGN = 8,
    SCOPE_EVENTS_WRITE = 16,
    SCOPE_RESULTS_READ = 32,
};

#define SCOPE_COUNT 6

/* "experiments:read"; NULL for no single scope. */
const char *token_scope_name(unsigned scope);

#define TOKEN_DIGEST_SIZE 32

struct token {
    struct uuid id;
    struct bytes name;
    uint32_t version;
    unsigned scopes;
    uint8_t digest[TOKEN_DIGEST_SIZE]; /* SHA-256 of the secret; the secret itself is nowhere */
    uint8_t previous_digest[TOKEN_DIGEST_SIZE]; /* of the secret before the last rotation */
    int64_t previous_expires_at_us;             /* until when it is good as well; 0: there is none */
    uint64_t rate_limit;                        /* requests a second; 0: as many as come */
    struct bytes *origins;                      /* of the pages that alone may use it; none: anybody */
    uint32_t origin_count;
    int64_t created_at_us;
    int64_t expires_at_us; /* 0: never */
    int64_t revoked_at_us; /* 0: not */
    struct uuid author;
    struct bytes document;
    struct arena arena;
};

/* What the client's document alone cannot say. */
struct definition_context {
    struct uuid id;
    uint32_t version;
    struct uuid author;
    int64_t now_us;
};

/* A client's document for a new experiment, defaults filled in (api.md's), ids and salt made from `random`.
 * STATUS_INVALID: see errors. out_experiment->document is the stored form, which experiment_decode() reads. Not checked
 * here, because they need the catalog: unique key, known metrics. `key` is empty where the client gave none. */
MUST_USE enum status experiment_create(struct bytes document, const struct definition_context *context,
                                       const uint8_t random[64], struct field_errors *errors,
                                       struct experiment **out_experiment);
/* A client's PATCH on the current version. STATUS_CONFLICT for a life-cycle move that is not allowed (the error says
 * which are), where nothing else is wrong. A null puts the default back; what is not a client's to change may be repeated
 * as it is. Variants are matched by name: what one leaves out it keeps, new ones come last, and none can be removed
 * (variant_in_use) except from a draft without users: `variant_users[i]` says how many variant i has. */
MUST_USE enum status experiment_patch(const struct experiment *current, struct bytes patch,
                                      const uint64_t *variant_users, const struct definition_context *context,
                                      const uint8_t random[64], struct field_errors *errors,
                                      struct experiment **out_experiment);
/* The next version with a new salt and a new generation: nobody is assigned any more, and results start anew. The status
 * must be running or paused. */
MUST_USE enum status experiment_rerandomize(const struct experiment *current, const struct definition_context *context,
                                            const uint8_t random[64], struct experiment **out_experiment);
/* The next version after a breach: with the action taken, and what was breached noted. metric, variant: names. */
MUST_USE enum status experiment_breach(const struct experiment *current, const struct definition_context *context, struct bytes metric,
                                       struct bytes variant, struct experiment **out_experiment);
/* What the catalog decides about a new version: a unique key and the slice of its layer. */
struct experiment_place {
    struct bytes key;
    double layer_start;
    struct bytes idempotency_key;
    struct uuid idempotency_digest; /* not looked at where the key is empty */
};

/* The same experiment in this place. STATUS_INVALID where the key is none. */
MUST_USE enum status experiment_finish(const struct experiment *experiment, const struct experiment_place *place,
                                       struct experiment **out_experiment);
/* The stored document. Anything not wholly valid is STATUS_DAMAGED. */
MUST_USE enum status experiment_decode(struct bytes document, struct experiment **out_experiment);
void experiment_free(struct experiment *experiment); /* NULL is fine */

/* The share of the traffic that is let in at this time; INT64_MAX: once the whole ramp has been taken. */
double experiment_allocation_at(const struct experiment *experiment, int64_t at_us);

/* "Homepage CTA Test" -> "homepage-cta-test", cut to LIMIT_KEY; "experiment" where nothing is left. */
void experiment_slug(struct bytes name, char *out_slug, size_t capacity);

/* The next version with this variant for the user, or none where variant_id is NULL. current: NULL where there are none.
 * context->id is the experiment's. STATUS_TOO_LARGE where there are LIMIT_OVERRIDES. */
MUST_USE enum status overrides_change(const struct overrides *current, const struct definition_context *context,
                                      struct bytes user_id, const struct uuid *variant_id,
                                      struct overrides **out_overrides);
MUST_USE enum status overrides_decode(struct bytes document, struct overrides **out_overrides);
void overrides_free(struct overrides *overrides); /* NULL is fine */
/* The user's, or NULL. overrides: NULL where there are none. */
const struct override *overrides_find(const struct overrides *overrides, struct bytes user_id);

MUST_USE enum status metric_create(struct bytes document, const struct definition_context *context,
                                   struct field_errors *errors, struct metric **out_metric);
MUST_USE enum status metric_patch(const struct metric *current, struct bytes patch,
                                  const struct definition_context *context, struct field_errors *errors,
                                  struct metric **out_metric);
MUST_USE enum status metric_decode(struct bytes document, struct metric **out_metric);
void metric_free(struct metric *metric);
/* Does an event's properties (an encoded map; type already matched) pass the filters, and with what value?
 * METRIC_SUM: false where the property is missing or no number in range. Other aggregations: METRIC_UNIT. */
bool metric_value(const struct metric *metric, struct bytes properties, int64_t *out_millionths);
/* Does it look at a property's value? */
bool metric_takes_values(const struct metric *metric);
/* Are its events kept one by one? Then day sums cannot answer it: what counts depends on the moment, or on single values. */
bool metric_keeps_events(const struct metric *metric);

/* {"name", "scopes", "expires_at", "rate_limit", "origins"} */
MUST_USE enum status token_create(struct bytes document, const struct definition_context *context,
                                  const uint8_t digest[TOKEN_DIGEST_SIZE], struct field_errors *errors,
                                  struct token **out_token);
MUST_USE enum status token_revoke(const struct token *current, const struct definition_context *context,
                                  struct token **out_token);
/* A new secret; the one before stays good until previous_expires_at_us. */
MUST_USE enum status token_rotate(const struct token *current, const struct definition_context *context,
                                  const uint8_t digest[TOKEN_DIGEST_SIZE], int64_t previous_expires_at_us, struct token **out_token);
MUST_USE enum status token_decode(struct bytes document, struct token **out_token);
void token_free(struct token *token);

#endif
