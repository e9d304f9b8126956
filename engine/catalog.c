/* catalog.c: a family of catalogs shares its definitions; each catalog has its own arrays and hash index. */
#include "engine/catalog.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* What a hash slot points at. */
enum index_kind {
    INDEX_EXPERIMENT_ID = 1,
    INDEX_EXPERIMENT_KEY,
    INDEX_IDEMPOTENCY,
    INDEX_METRIC_NAME,
    INDEX_EVENT_TYPE, /* value: place in spans */
    INDEX_TOKEN_ID,
    INDEX_TOKEN_DIGEST,
};

struct index_entry {
    uint64_t hash;
    enum index_kind kind;
    uint32_t value;
    struct bytes key; /* borrowed from the definition */
};

/* The metrics fed by one event type: a run in `members`. */
struct metric_span {
    uint32_t first;
    uint32_t count;
};

struct catalog_index {
    struct index_entry *entries; /* open addressing; kind 0 is free */
    uint32_t mask;
    struct metric_span *spans;
    uint32_t span_count;
    uint32_t *members;
};

/* One definition with its version node, in the list of everything the family owns. */
struct family_item {
    struct family_item *next;
    struct experiment *experiment;
    struct overrides *overrides;
    struct metric *metric;
    struct token *token;
    struct catalog_experiment experiment_node;
    struct catalog_metric metric_node;
    struct catalog_token token_node;
};

/* All catalogs that descend from one another. Only the writer adds items; the last catalog frees them all. */
struct catalog_family {
    struct family_item *items;
    atomic_uint catalogs;
};

struct catalog_full {
    struct catalog catalog; /* first: what the world sees */
    struct catalog_family *family;
};

static uint64_t index_hash(enum index_kind kind, struct bytes key)
{
    return XXH3_64bits_withSeed(key.data, key.size, (uint64_t)kind);
}

static const struct index_entry *index_find(const struct catalog *catalog, enum index_kind kind, struct bytes key)
{
    const struct catalog_index *index = catalog->index;
    const uint64_t hash = index_hash(kind, key);
    for (uint32_t at = (uint32_t)hash & index->mask; index->entries[at].kind != 0; at = (at + 1) & index->mask) {
        const struct index_entry *entry = &index->entries[at];
        if (entry->hash == hash && entry->kind == kind && bytes_equal(entry->key, key)) {
            return entry;
        }
    }
    return NULL;
}

static void index_put(struct catalog_index *index, enum index_kind kind, struct bytes key, uint32_t value)
{
    const uint64_t hash = index_hash(kind, key);
    uint32_t at = (uint32_t)hash & index->mask;
    while (index->entries[at].kind != 0) {
        at = (at + 1) & index->mask;
    }
    index->entries[at] = (struct index_entry){hash, kind, value, key};
}

static void index_free(struct catalog_index *index)
{
    if (index != NULL) {
        free(index->entries);
        free(index->spans);
        free(index->members);
        free(index);
    }
}

/* Runs of metrics by event type: for each metric that is the first of its type, all of that type. */
static void index_event_types(struct catalog_index *index, const struct catalog *catalog)
{
    uint32_t members = 0;
    for (uint32_t i = 0; i < catalog->metric_count; i++) {
        const struct metric *metric = catalog->metrics[i]->current;
        const uint32_t first = members;
        bool seen = false;
        for (uint32_t j = 0; j < i && !seen; j++) {
            const struct metric *earlier = catalog->metrics[j]->current;
            seen = bytes_equal(earlier->event_type, metric->event_type);
        }
        for (uint32_t j = i; j < catalog->metric_count && !seen; j++) {
            const struct metric *other = catalog->metrics[j]->current;
            if (bytes_equal(other->event_type, metric->event_type)) {
                index->members[members++] = j;
            }
        }
        if (!seen) {
            index->spans[index->span_count] = (struct metric_span){first, members - first};
            index_put(index, INDEX_EVENT_TYPE, metric->event_type, index->span_count++);
        }
    }
}

static struct catalog_index *index_build(const struct catalog *catalog)
{
    struct catalog_index *index = calloc(1, sizeof(*index));
    if (index == NULL) {
        return NULL;
    }
    const uint64_t keys = catalog->experiment_count * 3ull + catalog->metric_count * 2ull + catalog->token_count * 3ull;
    uint32_t size = 16;
    while (size < keys * 2) {
        size *= 2;
    }
    index->mask = size - 1;
    index->entries = calloc(size, sizeof(*index->entries));
    index->spans = calloc(catalog->metric_count + 1ull, sizeof(*index->spans));
    index->members = calloc(catalog->metric_count + 1ull, sizeof(*index->members));
    if (index->entries == NULL || index->spans == NULL || index->members == NULL) {
        index_free(index);
        return NULL;
    }
    for (uint32_t i = 0; i < catalog->experiment_count; i++) {
        const struct experiment *experiment = catalog->experiments[i]->current;
        index_put(index, INDEX_EXPERIMENT_ID, bytes_of(&experiment->id, sizeof(experiment->id)), i);
        index_put(index, INDEX_EXPERIMENT_KEY, experiment->key, i);
        if (experiment->idempotency_key.size != 0) {
            index_put(index, INDEX_IDEMPOTENCY, experiment->idempotency_key, i);
        }
    }
    for (uint32_t i = 0; i < catalog->metric_count; i++) {
        index_put(index, INDEX_METRIC_NAME, catalog->metrics[i]->current->name, i);
    }
    for (uint32_t i = 0; i < catalog->token_count; i++) {
        const struct token *token = catalog->tokens[i]->current;
        index_put(index, INDEX_TOKEN_ID, bytes_of(&token->id, sizeof(token->id)), i);
        index_put(index, INDEX_TOKEN_DIGEST, bytes_of(token->digest, sizeof(token->digest)), i);
        if (token->previous_expires_at_us != 0) {
            index_put(index, INDEX_TOKEN_DIGEST, bytes_of(token->previous_digest, sizeof(token->previous_digest)), i);
        }
    }
    index_event_types(index, catalog);
    return index;
}

static uint32_t found(const struct index_entry *entry)
{
    return entry != NULL ? entry->value : CATALOG_NONE;
}

uint32_t catalog_find_experiment(const struct catalog *catalog, const struct uuid *id)
{
    return found(index_find(catalog, INDEX_EXPERIMENT_ID, bytes_of(id, sizeof(*id))));
}

uint32_t catalog_find_experiment_key(const struct catalog *catalog, struct bytes key)
{
    return found(index_find(catalog, INDEX_EXPERIMENT_KEY, key));
}

uint32_t catalog_find_experiment_idempotency(const struct catalog *catalog, struct bytes key)
{
    return found(index_find(catalog, INDEX_IDEMPOTENCY, key));
}

uint32_t catalog_find_metric(const struct catalog *catalog, struct bytes name)
{
    return found(index_find(catalog, INDEX_METRIC_NAME, name));
}

uint32_t catalog_find_token(const struct catalog *catalog, const struct uuid *id)
{
    return found(index_find(catalog, INDEX_TOKEN_ID, bytes_of(id, sizeof(*id))));
}

uint32_t catalog_find_token_digest(const struct catalog *catalog, const uint8_t digest[TOKEN_DIGEST_SIZE])
{
    return found(index_find(catalog, INDEX_TOKEN_DIGEST, bytes_of(digest, TOKEN_DIGEST_SIZE)));
}

struct version_range catalog_generation_versions(const struct catalog_experiment *experiment, uint32_t generation)
{
    struct version_range range = {0, UINT32_MAX};
    const struct catalog_experiment *at = experiment;
    while (at != NULL && at->current->generation > generation) {
        range.last = at->current->generation_version - 1;
        at = at->previous;
    }
    if (at != NULL && at->current->generation == generation) {
        range.first = at->current->generation_version;
    }
    return range;
}

struct version_range catalog_current_versions(const struct catalog *catalog, uint32_t experiment)
{
    return (struct version_range){catalog->experiments[experiment]->current->generation_version, UINT32_MAX};
}

uint32_t catalog_find_override(const struct catalog *catalog, uint32_t experiment, struct bytes user_id)
{
    const struct experiment *current = catalog->experiments[experiment]->current;
    const struct override *found = current->status != EXPERIMENT_ARCHIVED
                                       ? overrides_find(catalog->experiments[experiment]->overrides, user_id)
                                       : NULL;
    for (uint32_t i = 0; found != NULL && i < current->variant_count; i++) {
        if (uuid_equal(&current->variants[i].id, &found->variant_id)) {
            return i;
        }
    }
    return CATALOG_NONE; /* a draft's variant may be gone */
}

uint32_t catalog_metrics_of_event(const struct catalog *catalog, struct bytes event_type, const uint32_t **out_metrics)
{
    const struct index_entry *entry = index_find(catalog, INDEX_EVENT_TYPE, event_type);
    if (entry == NULL) {
        *out_metrics = NULL;
        return 0;
    }
    const struct metric_span *span = &catalog->index->spans[entry->value];
    *out_metrics = &catalog->index->members[span->first];
    return span->count;
}

static void family_unref(struct catalog_family *family)
{
    if (family == NULL || atomic_fetch_sub(&family->catalogs, 1) != 1) {
        return;
    }
    while (family->items != NULL) {
        struct family_item *item = family->items;
        family->items = item->next;
        experiment_free(item->experiment);
        overrides_free(item->overrides);
        metric_free(item->metric);
        token_free(item->token);
        free(item);
    }
    free(family);
}

static void catalog_free(struct catalog_full *full)
{
    if (full != NULL) {
        index_free(full->catalog.index);
        free(full->catalog.experiments);
        free(full->catalog.metrics);
        free(full->catalog.tokens);
        for (uint32_t i = 0; i < full->catalog.user_sets.count; i++) {
            user_set_unref(full->catalog.user_sets.items[i]);
        }
        free(full->catalog.user_sets.items);
        erasures_unref(full->catalog.erasures);
        family_unref(full->family);
        free(full);
    }
}

/* The reference count is the one part of a shared catalog that changes. */
static struct catalog *catalog_unshared(const struct catalog *catalog)
{
    return (struct catalog *)(uintptr_t)catalog;
}

const struct catalog *catalog_ref(const struct catalog *catalog)
{
    atomic_fetch_add(&catalog_unshared(catalog)->references, 1);
    return catalog;
}

void catalog_unref(const struct catalog *catalog)
{
    if (catalog != NULL && atomic_fetch_sub(&catalog_unshared(catalog)->references, 1) == 1) {
        catalog_free((struct catalog_full *)catalog_unshared(catalog));
    }
}

/* A copy of an array of pointers with room for `extra` more. NULL when memory is out. */
static void *array_copy(const void *from, uint32_t count, uint32_t extra)
{
    void **copy = calloc(count + extra + 1ull, sizeof(void *));
    if (copy != NULL && count != 0) {
        memcpy(copy, from, count * sizeof(void *));
    }
    return copy;
}

/* A copy of base (NULL: nothing) with room for one more of each, and no index yet. */
static struct catalog_full *catalog_copy(const struct catalog *base)
{
    static const struct catalog nothing;
    const struct catalog *from = base != NULL ? base : &nothing;
    struct catalog_full *full = calloc(1, sizeof(*full));
    if (full == NULL) {
        return NULL;
    }
    full->catalog = (struct catalog){.experiment_count = from->experiment_count,
                                     .metric_count = from->metric_count,
                                     .token_count = from->token_count,
                                     .erasures = erasures_ref(from->erasures),
                                     .generation = from->generation + 1};
    atomic_init(&full->catalog.references, 1);
    full->catalog.experiments = array_copy(from->experiments, from->experiment_count, 1);
    full->catalog.metrics = array_copy(from->metrics, from->metric_count, 1);
    full->catalog.tokens = array_copy(from->tokens, from->token_count, 1);
    full->catalog.user_sets.items = array_copy(from->user_sets.items, from->user_sets.count, 1);
    full->catalog.user_sets.count = full->catalog.user_sets.items != NULL ? from->user_sets.count : 0;
    for (uint32_t i = 0; i < full->catalog.user_sets.count; i++) {
        (void)user_set_ref(full->catalog.user_sets.items[i]);
    }
    if (base != NULL) {
        full->family = ((const struct catalog_full *)base)->family;
        atomic_fetch_add(&full->family->catalogs, 1);
    } else {
        full->family = calloc(1, sizeof(*full->family));
        if (full->family != NULL) {
            atomic_init(&full->family->catalogs, 1);
        }
    }
    if (full->catalog.experiments == NULL || full->catalog.metrics == NULL || full->catalog.tokens == NULL ||
        full->catalog.user_sets.items == NULL || full->family == NULL) {
        catalog_free(full);
        return NULL;
    }
    return full;
}

static struct catalog *catalog_seal(struct catalog_full *full)
{
    full->catalog.index = index_build(&full->catalog);
    if (full->catalog.index == NULL) {
        catalog_free(full);
        return NULL;
    }
    return &full->catalog;
}

struct catalog *catalog_empty(void)
{
    struct catalog_full *full = catalog_copy(NULL);
    return full != NULL ? catalog_seal(full) : NULL;
}

static struct family_item *family_add(struct catalog_family *family)
{
    struct family_item *item = calloc(1, sizeof(*item));
    if (item != NULL) {
        item->next = family->items;
        family->items = item;
    }
    return item;
}

struct catalog *catalog_with_experiment(const struct catalog *base, struct experiment *experiment)
{
    struct catalog_full *full = catalog_copy(base);
    struct family_item *item = full != NULL ? family_add(full->family) : NULL;
    if (item == NULL) {
        catalog_free(full);
        return NULL;
    }
    item->experiment = experiment;
    uint32_t at = catalog_find_experiment(base, &experiment->id);
    if (at == CATALOG_NONE) {
        at = full->catalog.experiment_count++;
    }
    const struct catalog_experiment *before = full->catalog.experiments[at];
    item->experiment_node =
        (struct catalog_experiment){experiment, before, before != NULL ? before->overrides : NULL};
    full->catalog.experiments[at] = &item->experiment_node;
    return catalog_seal(full);
}

struct catalog *catalog_with_overrides(const struct catalog *base, uint32_t experiment, struct overrides *overrides)
{
    struct catalog_full *full = catalog_copy(base);
    struct family_item *item = full != NULL ? family_add(full->family) : NULL;
    if (item == NULL) {
        catalog_free(full);
        return NULL;
    }
    item->overrides = overrides;
    item->experiment_node = *full->catalog.experiments[experiment];
    item->experiment_node.overrides = overrides;
    full->catalog.experiments[experiment] = &item->experiment_node;
    return catalog_seal(full);
}

struct catalog *catalog_with_metric(const struct catalog *base, struct metric *metric)
{
    struct catalog_full *full = catalog_copy(base);
    struct family_item *item = full != NULL ? family_add(full->family) : NULL;
    if (item == NULL) {
        catalog_free(full);
        return NULL;
    }
    item->metric = metric;
    uint32_t at = catalog_find_metric(base, metric->name);
    if (at == CATALOG_NONE) {
        at = full->catalog.metric_count++;
    }
    item->metric_node = (struct catalog_metric){metric, full->catalog.metrics[at]};
    full->catalog.metrics[at] = &item->metric_node;
    return catalog_seal(full);
}

struct catalog *catalog_with_token(const struct catalog *base, struct token *token)
{
    struct catalog_full *full = catalog_copy(base);
    struct family_item *item = full != NULL ? family_add(full->family) : NULL;
    if (item == NULL) {
        catalog_free(full);
        return NULL;
    }
    item->token = token;
    uint32_t at = catalog_find_token(base, &token->id);
    if (at == CATALOG_NONE) {
        at = full->catalog.token_count++;
    }
    item->token_node = (struct catalog_token){token};
    full->catalog.tokens[at] = &item->token_node;
    return catalog_seal(full);
}

struct catalog *catalog_with_user_set(const struct catalog *base, const struct user_set *set)
{
    struct catalog_full *full = catalog_copy(base);
    if (full == NULL) {
        user_set_unref(set);
        return NULL;
    }
    struct user_sets *sets = &full->catalog.user_sets;
    bool is_known = false;
    const uint32_t place = user_sets_place(sets, user_set_name(set), &is_known);
    if (is_known) {
        user_set_unref(sets->items[place]);
    } else {
        memmove(&sets->items[place + 1], &sets->items[place], (sets->count - place) * sizeof(*sets->items));
        sets->count++;
    }
    sets->items[place] = set;
    return catalog_seal(full);
}

struct catalog *catalog_without_user_set(const struct catalog *base, struct bytes name)
{
    struct catalog_full *full = catalog_copy(base);
    if (full == NULL) {
        return NULL;
    }
    struct user_sets *sets = &full->catalog.user_sets;
    bool is_known = false;
    const uint32_t place = user_sets_place(sets, name, &is_known);
    assert(is_known);
    user_set_unref(sets->items[place]);
    sets->count--;
    memmove(&sets->items[place], &sets->items[place + 1], (sets->count - place) * sizeof(*sets->items));
    return catalog_seal(full);
}

struct catalog *catalog_with_erasure(const struct catalog *base, const struct erasure *erasure)
{
    struct catalog_full *full = catalog_copy(base);
    struct erasures *erasures = full != NULL ? erasures_with(base->erasures, erasure) : NULL;
    if (erasures == NULL) {
        catalog_free(full);
        return NULL;
    }
    erasures_unref(full->catalog.erasures);
    full->catalog.erasures = erasures;
    return catalog_seal(full);
}
