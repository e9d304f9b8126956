/* catalog.h: all definitions at one position of the log, as an immutable value.
 *
 * Each applied definition makes a new catalog that shares everything unchanged with the one before. A reader takes a
 * reference, looks things up as long as it likes, and gives it back; nothing it sees ever changes.
 *
 * Indexes      An experiment, metric or token keeps its dense index (0, 1, ...) for ever: it is what the other modules
 *              store.
 * Threads      catalog_ref and catalog_unref are atomic; everything else only reads. Only state.c makes new ones.
 */
#ifndef ASSAY_ENGINE_CATALOG_H
#define ASSAY_ENGINE_CATALOG_H

#include <stdatomic.h>

#include "engine/base.h"
#include "engine/definitions.h"
#include "engine/erasure.h"
#include "engine/user_set.h"

#define CATALOG_NONE UINT32_MAX

struct catalog_experiment {
    const struct experiment *current;
    const struct catalog_experiment *previous; /* the version before; NULL at version 1 */
    const struct overrides *overrides;         /* NULL where there never were any */
};

/* Versions of an experiment, both included. */
struct version_range {
    uint32_t first;
    uint32_t last;
};

struct catalog_metric {
    const struct metric *current;
    const struct catalog_metric *previous;
};

struct catalog_token {
    const struct token *current;
};

struct catalog {
    const struct catalog_experiment **experiments;
    const struct catalog_metric **metrics;
    const struct catalog_token **tokens;
    uint32_t experiment_count;
    uint32_t metric_count;
    uint32_t token_count;
    struct user_sets user_sets;
    struct erasures *erasures; /* NULL: none */
    uint64_t generation; /* grows with each change: a cache key */
    struct catalog_index *index; /* hashed names and ids */
    atomic_uint references;
};

const struct catalog *catalog_ref(const struct catalog *catalog);
void catalog_unref(const struct catalog *catalog); /* NULL is fine */

/* Each returns the dense index, or CATALOG_NONE. */
uint32_t catalog_find_experiment(const struct catalog *catalog, const struct uuid *id);
uint32_t catalog_find_experiment_key(const struct catalog *catalog, struct bytes key);
/* By the Idempotency-Key of the request that made it. */
uint32_t catalog_find_experiment_idempotency(const struct catalog *catalog, struct bytes key);
uint32_t catalog_find_metric(const struct catalog *catalog, struct bytes name);
uint32_t catalog_find_token(const struct catalog *catalog, const struct uuid *id);
uint32_t catalog_find_token_digest(const struct catalog *catalog, const uint8_t digest[TOKEN_DIGEST_SIZE]);

/* The versions of a generation; of the newest one with those to come. first is 0 where there was no such generation. */
struct version_range catalog_generation_versions(const struct catalog_experiment *experiment, uint32_t generation);
/* Those of the newest generation. */
struct version_range catalog_current_versions(const struct catalog *catalog, uint32_t experiment);

/* The variant that an override gives the user, or CATALOG_NONE. Of archived experiments none does. */
uint32_t catalog_find_override(const struct catalog *catalog, uint32_t experiment, struct bytes user_id);

/* Metrics that an event type feeds, archived ones too: they go on being counted, so that old results stay what they were.
 * `*out_metrics` is borrowed from the catalog. */
uint32_t catalog_metrics_of_event(const struct catalog *catalog, struct bytes event_type, const uint32_t **out_metrics);

/* For state.c: builds the successor of `base` (NULL: an empty one) with one definition replaced or appended. Ownership of
 * the definition moves to the catalogs. NULL when memory is out. Version chains are freed with the last catalog. */
struct catalog *catalog_with_experiment(const struct catalog *base, struct experiment *experiment);
/* The experiment is one of base. */
struct catalog *catalog_with_overrides(const struct catalog *base, uint32_t experiment, struct overrides *overrides);
struct catalog *catalog_with_metric(const struct catalog *base, struct metric *metric);
struct catalog *catalog_with_token(const struct catalog *base, struct token *token);
/* The reference to the set moves to the catalog, and ends where memory is out. */
struct catalog *catalog_with_user_set(const struct catalog *base, const struct user_set *set);
struct catalog *catalog_without_user_set(const struct catalog *base, struct bytes name);
struct catalog *catalog_with_erasure(const struct catalog *base, const struct erasure *erasure);
struct catalog *catalog_empty(void);

#endif
