/* user_set.c: see user_set.h. */
#include "engine/user_set.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct user_print user_print_of(struct bytes user_id)
{
    const XXH128_hash_t hash = XXH3_128bits(user_id.data, user_id.size);
    return (struct user_print){hash.high64, hash.low64};
}

static uint32_t bucket_of(struct user_print print)
{
    return (uint32_t)(print.high >> 56);
}

static struct user_bucket *bucket_make(uint32_t count)
{
    struct user_bucket *bucket = malloc(sizeof(*bucket) + count * sizeof(struct user_print));
    if (bucket != NULL) {
        atomic_init(&bucket->references, 1);
        bucket->count = count;
    }
    return bucket;
}

static struct user_bucket *bucket_ref(struct user_bucket *bucket)
{
    if (bucket != NULL) {
        atomic_fetch_add(&bucket->references, 1);
    }
    return bucket;
}

static void bucket_unref(struct user_bucket *bucket)
{
    if (bucket != NULL && atomic_fetch_sub(&bucket->references, 1) == 1) {
        free(bucket);
    }
}

bool user_set_has(const struct user_set *set, struct user_print print)
{
    const struct user_bucket *bucket = set->buckets[bucket_of(print)];
    uint32_t low = 0;
    uint32_t high = bucket != NULL ? bucket->count : 0;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = user_print_order(bucket->prints[middle], print);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* Both lists ascend. Writes what is left after the operation where out is not NULL; returns how many. */
static uint32_t prints_merge(const struct user_bucket *base, const struct user_print *users, uint32_t count,
                             enum user_set_operation operation, struct user_print *out)
{
    const uint32_t base_count = base != NULL ? base->count : 0;
    uint32_t kept = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < base_count || j < count) {
        const int order = i == base_count ? 1 : j == count ? -1 : user_print_order(base->prints[i], users[j]);
        const bool is_kept = operation == USER_SET_REMOVE ? order < 0 : true;
        if (is_kept && out != NULL) {
            out[kept] = order <= 0 ? base->prints[i] : users[j];
        }
        kept += is_kept ? 1 : 0;
        i += order <= 0 ? 1 : 0;
        j += order >= 0 ? 1 : 0;
    }
    return kept;
}

/* The bucket after the change: the old one where nothing changes. */
static enum status bucket_change(struct user_bucket *base, const struct user_print *users, uint32_t count,
                                 enum user_set_operation operation, struct user_bucket **out_bucket)
{
    const struct user_bucket *from = operation == USER_SET_REPLACE ? NULL : base;
    const uint32_t base_count = base != NULL ? base->count : 0;
    const uint32_t kept = prints_merge(from, users, count, operation, NULL);
    const bool is_same = operation == USER_SET_REPLACE
                             ? kept == base_count && (kept == 0 || memcmp(base->prints, users, kept * sizeof(*users)) == 0)
                             : kept == base_count;
    if (is_same || kept == 0) {
        *out_bucket = is_same ? bucket_ref(base) : NULL;
        return STATUS_OK;
    }
    struct user_bucket *bucket = bucket_make(kept);
    if (bucket == NULL) {
        return STATUS_NO_MEMORY;
    }
    (void)prints_merge(from, users, count, operation, bucket->prints);
    *out_bucket = bucket;
    return STATUS_OK;
}

enum status user_set_make(struct bytes name, struct user_set **out_set)
{
    struct user_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return STATUS_NO_MEMORY;
    }
    assert(name.size <= sizeof(set->name_text));
    memcpy(set->name_text, name.data, name.size);
    set->name_size = name.size;
    atomic_init(&set->references, 1);
    *out_set = set;
    return STATUS_OK;
}

enum status user_set_fill(struct user_set *set, uint32_t bucket, const struct user_print *users, uint32_t count)
{
    if (set->buckets[bucket] != NULL || count == 0) {
        return STATUS_DAMAGED;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (bucket_of(users[i]) != bucket || (i > 0 && user_print_order(users[i - 1], users[i]) >= 0)) {
            return STATUS_DAMAGED;
        }
    }
    set->buckets[bucket] = bucket_make(count);
    if (set->buckets[bucket] == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(set->buckets[bucket]->prints, users, count * sizeof(*users));
    set->users += count;
    return STATUS_OK;
}

enum status user_set_apply(const struct user_set *base, const struct user_set_change *change, struct user_set **out_set)
{
    struct user_set *set = NULL;
    enum status status = user_set_make(change->name, &set);
    size_t at = 0;
    for (uint32_t i = 0; i < USER_SET_BUCKETS && status == STATUS_OK; i++) {
        const size_t first = at;
        while (at < change->count && bucket_of(change->users[at]) == i) {
            at++;
        }
        status = bucket_change(base != NULL ? base->buckets[i] : NULL, change->users + first, (uint32_t)(at - first),
                               change->operation, &set->buckets[i]);
        set->users += status == STATUS_OK && set->buckets[i] != NULL ? set->buckets[i]->count : 0;
    }
    if (status != STATUS_OK) {
        user_set_unref(set);
        return status;
    }
    set->version = base != NULL ? base->version + 1 : 1;
    set->author = change->author;
    set->created_at_us = base != NULL ? base->created_at_us : change->at_us;
    set->updated_at_us = change->at_us;
    *out_set = set;
    return STATUS_OK;
}

/* The reference counts are the one part of a shared set that changes. */
static struct user_set *unshared(const struct user_set *set)
{
    return (struct user_set *)(uintptr_t)set;
}

const struct user_set *user_set_ref(const struct user_set *set)
{
    atomic_fetch_add(&unshared(set)->references, 1);
    return set;
}

void user_set_unref(const struct user_set *set)
{
    if (set == NULL || atomic_fetch_sub(&unshared(set)->references, 1) != 1) {
        return;
    }
    for (uint32_t i = 0; i < USER_SET_BUCKETS; i++) {
        bucket_unref(set->buckets[i]);
    }
    free(unshared(set));
}

static int name_order(struct bytes a, struct bytes b)
{
    const int order = memcmp(a.data, b.data, size_min(a.size, b.size));
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

uint32_t user_sets_place(const struct user_sets *sets, struct bytes name, bool *out_found)
{
    uint32_t low = 0;
    uint32_t high = sets->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (name_order(user_set_name(sets->items[middle]), name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *out_found = low < sets->count && bytes_equal(user_set_name(sets->items[low]), name);
    return low;
}

const struct user_set *user_sets_find(const struct user_sets *sets, struct bytes name)
{
    bool is_found = false;
    const uint32_t place = sets != NULL ? user_sets_place(sets, name, &is_found) : 0;
    return is_found ? sets->items[place] : NULL;
}

uint64_t user_sets_users(const struct user_sets *sets)
{
    uint64_t users = 0;
    for (uint32_t i = 0; i < sets->count; i++) {
        users += sets->items[i]->users;
    }
    return users;
}
