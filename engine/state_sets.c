/* state_sets.c: sets of users in the state: changes as they come in parts, and the rows.
 *
 * A change is a row of records in one frame. It takes effect with its last part, so that nobody sees a set half changed;
 * a part that does not follow on the one before (a log cut in the middle of a frame) ends the change without an effect.
 *
 * Rows of a set    name 0            [version, author, created at, updated at, users]
 *                  name 0 bucket u8  binary: the bucket's prints, 16 bytes each, ascending
 */
#include <stdlib.h>

#include "engine/state_internal.h"

#define KEY_SIZE_MAX (LIMIT_KEY + 2u)

/* ---- changes ---- */

void state_sets_deinit(struct state *state)
{
    free(state->parts.users);
    user_set_unref(state->imported_set);
    for (uint32_t i = 0; i < state->exported_sets.count; i++) {
        user_set_unref(state->exported_sets.items[i]);
    }
    free(state->exported_sets.items);
}

static void parts_drop(struct state *state)
{
    free(state->parts.users);
    state->parts = (struct set_parts){0};
}

static bool part_follows(const struct set_parts *parts, const struct user_set_part *part)
{
    return part->part == parts->next && part->part_count == parts->part_count && part->operation == parts->operation &&
           bytes_equal(part->name, bytes_of(parts->name, parts->name_size)) &&
           (parts->count == 0 || part->users.size == 0 ||
            user_print_order(parts->users[parts->count - 1], user_print_load(part->users.data)) < 0);
}

static void parts_begin(struct set_parts *parts, const struct user_set_part *part)
{
    parts->part_count = part->part_count;
    parts->operation = part->operation;
    memcpy(parts->name, part->name.data, part->name.size);
    parts->name_size = part->name.size;
}

static enum status parts_add(struct set_parts *parts, struct bytes users)
{
    const size_t count = users.size / USER_PRINT_SIZE;
    if (parts->count + count > parts->capacity) {
        const size_t capacity = (parts->count + count) * 2;
        struct user_print *grown = realloc(parts->users, capacity * sizeof(*grown));
        if (grown == NULL) {
            return STATUS_NO_MEMORY;
        }
        parts->users = grown;
        parts->capacity = capacity;
    }
    for (size_t i = 0; i < count; i++) {
        parts->users[parts->count++] = user_print_load(users.data + i * USER_PRINT_SIZE);
    }
    parts->next++;
    return STATUS_OK;
}

/* The catalog with the whole change; NULL with STATUS_OK where it has no effect. */
static enum status change_apply(const struct catalog *catalog, const struct user_set_change *change,
                                struct catalog **out_catalog)
{
    const struct user_sets *sets = &catalog->user_sets;
    const struct user_set *base = user_sets_find(sets, change->name);
    const bool is_known = base != NULL;
    *out_catalog = NULL;
    if (!is_known && (change->operation != USER_SET_REPLACE || sets->count >= LIMIT_SEGMENTS)) {
        return STATUS_OK;
    }
    if (change->operation == USER_SET_DROP) {
        *out_catalog = catalog_without_user_set(catalog, change->name);
        return *out_catalog != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    struct user_set *set = NULL;
    const enum status status = user_set_apply(base, change, &set);
    if (status != STATUS_OK) {
        return status;
    }
    const uint64_t others = user_sets_users(sets) - (is_known ? base->users : 0);
    if (others + set->users > LIMIT_SEGMENT_USERS && set->users > (is_known ? base->users : 0)) {
        user_set_unref(set);
        return STATUS_OK;
    }
    *out_catalog = catalog_with_user_set(catalog, set);
    return *out_catalog != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

struct catalog *catalog_without_user(const struct catalog *catalog, const struct erasure *erasure)
{
    const struct catalog *from = catalog_ref(catalog);
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < catalog->user_sets.count && status == STATUS_OK; i++) {
        const struct user_set *set = catalog->user_sets.items[i]; /* removing from one leaves the places of the others */
        if (!user_set_has(set, erasure->user)) {
            continue;
        }
        const struct user_set_change change = {.name = user_set_name(set),
                                               .author = erasure->author,
                                               .operation = USER_SET_REMOVE,
                                               .users = &erasure->user,
                                               .count = 1,
                                               .at_us = erasure->erased_at_us};
        struct catalog *next = NULL;
        status = change_apply(from, &change, &next);
        if (status == STATUS_OK) {
            assert(next != NULL); /* the set is there, and only shrinks */
            catalog_unref(from);
            from = next;
        }
    }
    if (status != STATUS_OK) {
        catalog_unref(from);
        return NULL;
    }
    return (struct catalog *)(uintptr_t)from;
}

enum status state_apply_user_set(struct state *state, const struct record *record, uint8_t *outcome)
{
    struct user_set_part part;
    struct set_parts *parts = &state->parts;
    enum status status = user_set_part_decode(record, &part);
    if (status != STATUS_OK) {
        return status;
    }
    if (part.part == 0) {
        parts_drop(state);
        parts_begin(parts, &part);
    }
    if (!part_follows(parts, &part)) {
        parts_drop(state);
        *outcome = OUTCOME_SUPERSEDED;
        return STATUS_OK;
    }
    status = parts_add(parts, part.users);
    if (status != STATUS_OK || parts->next < parts->part_count) {
        return status;
    }
    const struct user_set_change change = {.name = part.name,
                                           .author = part.author,
                                           .operation = part.operation,
                                           .users = parts->users,
                                           .count = parts->count,
                                           .at_us = record->received_at_us};
    struct catalog *catalog = NULL;
    status = change_apply(state->catalog, &change, &catalog);
    if (catalog != NULL) {
        state_publish_catalog(state, catalog);
    }
    *outcome = catalog != NULL ? OUTCOME_APPLIED : OUTCOME_SUPERSEDED;
    parts_drop(state);
    return status;
}

/* ---- rows ---- */

static size_t key_write(uint8_t key[KEY_SIZE_MAX], const struct user_set *set)
{
    const struct bytes name = user_set_name(set);
    memcpy(key, name.data, name.size);
    key[name.size] = 0;
    return name.size + 1;
}

static const uint8_t gone[] = {0xc0}; /* nil: the row goes */

static enum status emit_head(struct row_writer *rows, const struct user_set *set, bool is_gone)
{
    uint8_t key[KEY_SIZE_MAX];
    uint8_t value[128];
    const size_t key_size = key_write(key, set);
    struct pack_writer writer = pack_writer_on(value, sizeof(value));
    if (is_gone) {
        return row_emit_bytes(rows, TABLE_USER_SETS, bytes_of(key, key_size), bytes_of(gone, sizeof(gone)));
    }
    pack_array(&writer, 5);
    pack_uint(&writer, set->version);
    pack_bin(&writer, bytes_of(set->author.bytes, sizeof(set->author.bytes)));
    pack_int(&writer, set->created_at_us);
    pack_int(&writer, set->updated_at_us);
    pack_uint(&writer, set->users);
    assert(!writer.overflow);
    return row_emit_bytes(rows, TABLE_USER_SETS, bytes_of(key, key_size), bytes_of(writer.data, writer.size));
}

static enum status emit_bucket(struct row_writer *rows, const struct user_set *set, uint32_t number,
                               const struct user_bucket *bucket)
{
    uint8_t key[KEY_SIZE_MAX];
    size_t key_size = key_write(key, set);
    key[key_size++] = (uint8_t)number;
    if (bucket == NULL) {
        return row_emit_bytes(rows, TABLE_USER_SETS, bytes_of(key, key_size), bytes_of(gone, sizeof(gone)));
    }
    const size_t size = bucket->count * (size_t)USER_PRINT_SIZE;
    uint8_t *value = malloc(size);
    if (value == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < bucket->count; i++) {
        user_print_store(value + i * (size_t)USER_PRINT_SIZE, bucket->prints[i]);
    }
    const enum status status = row_emit_bytes(rows, TABLE_USER_SETS, bytes_of(key, key_size), bytes_of(value, size));
    free(value);
    return status;
}

/* The rows in which a set differs from an older one of its name. Either may be NULL. */
static enum status emit_difference(struct row_writer *rows, const struct user_set *before, const struct user_set *after)
{
    const struct user_set *named = after != NULL ? after : before;
    enum status status = before != after ? emit_head(rows, named, after == NULL) : STATUS_OK;
    for (uint32_t i = 0; i < USER_SET_BUCKETS && status == STATUS_OK; i++) {
        const struct user_bucket *was = before != NULL ? before->buckets[i] : NULL;
        const struct user_bucket *is = after != NULL ? after->buckets[i] : NULL;
        if (was != is) {
            status = emit_bucket(rows, named, i, is);
        }
    }
    return status;
}

enum status state_sets_emit(struct row_writer *rows, const struct state *state)
{
    const struct user_sets *sets = &state->catalog->user_sets;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < sets->count && status == STATUS_OK; i++) {
        status = emit_difference(rows, NULL, sets->items[i]);
    }
    return status;
}

/* Takes the sets of now as those that were exported. */
static enum status exported_take(struct state *state)
{
    const struct user_sets *sets = &state->catalog->user_sets;
    struct user_sets *exported = &state->exported_sets;
    const struct user_set **items = malloc((sets->count + 1ull) * sizeof(*items));
    if (items == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < sets->count; i++) {
        items[i] = user_set_ref(sets->items[i]);
    }
    for (uint32_t i = 0; i < exported->count; i++) {
        user_set_unref(exported->items[i]);
    }
    free(exported->items);
    *exported = (struct user_sets){items, sets->count};
    return STATUS_OK;
}

enum status state_sets_emit_changes(struct row_writer *rows, struct state *state)
{
    const struct user_sets *sets = &state->catalog->user_sets;
    const struct user_sets *exported = &state->exported_sets;
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < sets->count && status == STATUS_OK; i++) {
        status = emit_difference(rows, user_sets_find(exported, user_set_name(sets->items[i])), sets->items[i]);
    }
    for (uint32_t i = 0; i < exported->count && status == STATUS_OK; i++) {
        if (user_sets_find(sets, user_set_name(exported->items[i])) == NULL) {
            status = emit_difference(rows, exported->items[i], NULL);
        }
    }
    return status == STATUS_OK ? exported_take(state) : status;
}

/* ---- loading ---- */

/* The set whose rows were being loaded goes into the catalog, if it has as many users as its head promised. */
static enum status import_finish(struct state *state)
{
    struct user_set *set = state->imported_set;
    if (set == NULL) {
        return STATUS_OK;
    }
    state->imported_set = NULL;
    if (set->users != state->imported_users) {
        user_set_unref(set);
        return STATUS_DAMAGED;
    }
    struct catalog *catalog = catalog_with_user_set(state->catalog, set);
    if (catalog == NULL) {
        return STATUS_NO_MEMORY;
    }
    state_publish_catalog(state, catalog);
    return STATUS_OK;
}

static enum status head_import(struct state *state, struct bytes name, struct bytes value)
{
    struct pack_cursor cursor = pack_cursor_on(value);
    uint32_t fields = 0;
    uint64_t version = 0;
    struct bytes author = {0};
    enum status status = import_finish(state);
    if (status == STATUS_OK) {
        status = user_set_make(name, &state->imported_set);
    }
    if (status != STATUS_OK) {
        return status;
    }
    struct user_set *set = state->imported_set;
    pack_read_array(&cursor, &fields);
    pack_read_uint(&cursor, &version);
    pack_read_bin(&cursor, &author);
    pack_read_int(&cursor, &set->created_at_us);
    pack_read_int(&cursor, &set->updated_at_us);
    pack_read_uint(&cursor, &state->imported_users);
    if (cursor.failed || cursor.at != cursor.end || fields != 5 || author.size != sizeof(set->author.bytes)) {
        return STATUS_DAMAGED;
    }
    set->version = (uint32_t)version;
    memcpy(set->author.bytes, author.data, author.size);
    return STATUS_OK;
}

static enum status bucket_import(struct state *state, struct bytes name, uint8_t bucket, struct bytes value)
{
    struct user_set *set = state->imported_set;
    const uint32_t count = (uint32_t)(value.size / USER_PRINT_SIZE);
    if (set == NULL || !bytes_equal(user_set_name(set), name) || value.size % USER_PRINT_SIZE != 0) {
        return STATUS_DAMAGED;
    }
    struct user_print *users = malloc(value.size + 1);
    if (users == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        users[i] = user_print_load(value.data + i * (size_t)USER_PRINT_SIZE);
    }
    const enum status status = user_set_fill(set, bucket, users, count);
    free(users);
    return status;
}

enum status state_sets_import(struct state *state, struct bytes key, struct bytes value)
{
    const uint8_t *zero = memchr(key.data, 0, key.size);
    const size_t name_size = zero != NULL ? (size_t)(zero - key.data) : 0;
    if (name_size == 0 || name_size > LIMIT_KEY || key.size > name_size + 2) {
        return STATUS_DAMAGED;
    }
    const struct bytes name = bytes_of(key.data, name_size);
    return key.size == name_size + 1 ? head_import(state, name, value)
                                     : bucket_import(state, name, key.data[name_size + 1], value);
}

enum status state_sets_import_end(struct state *state)
{
    const enum status status = import_finish(state);
    return status == STATUS_OK ? exported_take(state) : status;
}

uint64_t state_sets_memory(const struct state *state)
{
    const struct user_sets *sets = &state->catalog->user_sets;
    return user_sets_users(sets) * sizeof(struct user_print) + sets->count * sizeof(struct user_set);
}
