/* users.c: see users.h. Users, and the chunks of longer ids, are never moved, so that readers may compare at any time. */
#include "engine/users.h"

#include <stdlib.h>

#include "engine/limits.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define TEXT_CHUNK (1u << 20)

static_assert(LIMIT_USER_ID <= UINT8_MAX, "id_size is one byte");
static_assert(LIMIT_VARIANTS <= UINT16_MAX, "variant is two bytes");

enum status users_init(struct users *users, uint64_t hash_seed)
{
    memset(users, 0, sizeof(*users));
    users->hash_seed = hash_seed;
    enum status status = index_table_init(&users->table, true);
    if (status == STATUS_OK) {
        status = pool_init(&users->users, sizeof(struct user));
    }
    if (status == STATUS_OK) {
        status = pool_init(&users->enrolments, sizeof(struct enrolment));
    }
    if (status != STATUS_OK) {
        users_deinit(users);
    }
    return status;
}

void users_deinit(struct users *users)
{
    index_table_deinit(&users->table);
    pool_deinit(&users->users);
    pool_deinit(&users->enrolments);
    for (uint32_t i = 0; i < users->text_chunk_count; i++) {
        free(users->text_chunks[i]);
    }
    free(users->text_chunks);
    memset(users, 0, sizeof(*users));
}

uint64_t user_hash_of(struct bytes id, uint64_t hash_seed)
{
    return XXH3_64bits_withSeed(id.data, id.size, hash_seed);
}

uint64_t user_hash(const struct users *users, struct bytes id)
{
    return user_hash_of(id, users->hash_seed);
}

uint32_t user_find(const struct users *users, struct bytes id, uint64_t hash)
{
    struct index_probe probe = index_probe_start(&users->table, hash);
    uint32_t number = index_probe_next(&probe);
    while (number != INDEX_NONE) {
        const struct user *user = user_at(users, number);
        if (user->id_size == id.size && memcmp(user_id(user).data, id.data, id.size) == 0 &&
            !atomic_load_explicit(&user->is_erased, memory_order_acquire)) {
            return number;
        }
        number = index_probe_next(&probe);
    }
    return INDEX_NONE;
}

uint32_t user_find_print(const struct users *users, struct user_print print, uint64_t hash)
{
    struct index_probe probe = index_probe_start(&users->table, hash);
    uint32_t number = index_probe_next(&probe);
    while (number != INDEX_NONE) {
        const struct user *user = user_at(users, number);
        if (!atomic_load_explicit(&user->is_erased, memory_order_relaxed) &&
            user_print_order(user_print_of(user_id(user)), print) == 0) {
            return number;
        }
        number = index_probe_next(&probe);
    }
    return INDEX_NONE;
}

void user_erase(struct users *users, uint32_t number)
{
    struct user *user = user_at(users, number);
    atomic_store_explicit(&user->is_erased, true, memory_order_release);
    atomic_store_explicit(&user->enrolments, 0, memory_order_release);
    user->events = 0;
    user->duplicates = 0;
    user->last_timestamp_us = INT64_MIN;
    user->vectors = 0;
    users->erased++;
}

enum status user_add_erased(struct users *users)
{
    uint32_t number = 0;
    const enum status status = pool_append(&users->users, &number);
    if (status == STATUS_OK) {
        user_erase(users, number);
    }
    return status;
}

static enum status text_copy(struct users *users, struct bytes text, const uint8_t **out_copy)
{
    if (text.size > users->text_left) {
        uint8_t **chunks = realloc(users->text_chunks, (users->text_chunk_count + 1ull) * sizeof(*chunks));
        if (chunks == NULL) {
            return STATUS_NO_MEMORY;
        }
        users->text_chunks = chunks;
        users->text = malloc(TEXT_CHUNK);
        if (users->text == NULL) {
            users->text_left = 0;
            return STATUS_NO_MEMORY;
        }
        chunks[users->text_chunk_count++] = users->text;
        users->text_left = TEXT_CHUNK;
    }
    memcpy(users->text, text.data, text.size);
    *out_copy = users->text;
    users->text += text.size;
    users->text_left -= text.size;
    return STATUS_OK;
}

enum status user_find_or_add(struct users *users, struct bytes id, uint64_t hash, uint32_t *out_user)
{
    assert(id.size >= 1 && id.size <= LIMIT_USER_ID);
    uint32_t number = user_find(users, id, hash);
    if (number != INDEX_NONE) {
        *out_user = number;
        return STATUS_OK;
    }
    const uint8_t *outside = NULL;
    enum status status = id.size > USER_ID_INSIDE ? text_copy(users, id, &outside) : STATUS_OK;
    if (status == STATUS_OK) {
        status = pool_append(&users->users, &number);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct user *user = user_at(users, number);
    if (outside != NULL) {
        memcpy(user->id, &outside, sizeof(outside));
    } else {
        memcpy(user->id, id.data, id.size);
    }
    user->id_size = (uint8_t)id.size;
    user->last_timestamp_us = INT64_MIN;
    status = index_table_insert(&users->table, hash, number);
    if (status == STATUS_OK) {
        *out_user = number;
    }
    return status;
}

struct enrolment *enrolment_find(const struct users *users, uint32_t user, uint32_t experiment, uint32_t first_version,
                                 uint32_t last_version)
{
    uint32_t at = atomic_load_explicit(&user_at(users, user)->enrolments, memory_order_acquire);
    while (at != 0) {
        struct enrolment *enrolment = enrolment_at(users, at - 1);
        if (enrolment->experiment == experiment && enrolment->version >= first_version &&
            enrolment->version <= last_version) {
            return enrolment;
        }
        at = enrolment->next;
    }
    return NULL;
}

enum status enrolment_add(struct users *users, const struct enrolment *enrolment, uint32_t *out_enrolment)
{
    uint32_t number = 0;
    const enum status status = pool_append(&users->enrolments, &number);
    if (status != STATUS_OK) {
        return status;
    }
    struct user *user = user_at(users, enrolment->user);
    struct enrolment *added = enrolment_at(users, number);
    *added = *enrolment;
    added->next = atomic_load_explicit(&user->enrolments, memory_order_relaxed);
    atomic_store_explicit(&user->enrolments, number + 1, memory_order_release);
    *out_enrolment = number;
    return STATUS_OK;
}

uint64_t users_memory(const struct users *users)
{
    return index_table_memory(&users->table) + pool_memory(&users->users) + pool_memory(&users->enrolments) +
           (uint64_t)users->text_chunk_count * TEXT_CHUNK;
}
