/* fold.c: see fold.h. */
#include "tests/support/fold.h"

#include <stdlib.h>

#include "api/json.h"
#include "engine/arena.h"
#include "engine/layer.h"
#include "engine/replay.h"
#include "engine/users.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define NOW_US 1704067200000000ll /* 2024-01-01 */
#define HASH_SEED 42

void fold_log_init(struct fold_log *log)
{
    *log = (struct fold_log){.next_lsn = 1};
}

void fold_log_deinit(struct fold_log *log)
{
    free(log->data);
    *log = (struct fold_log){0};
}

static struct pack_writer log_writer(struct fold_log *log, size_t room)
{
    if (log->capacity - log->size < room) {
        log->capacity = log->capacity * 2 + room;
        log->data = realloc(log->data, log->capacity);
        assert(log->data != NULL);
    }
    return pack_writer_on(log->data + log->size, log->capacity - log->size);
}

static void log_written(struct fold_log *log, const struct pack_writer *writer)
{
    assert(!writer->overflow);
    log->size += writer->size;
    log->next_lsn++;
}

void fold_log_event(struct fold_log *log, const struct event *event)
{
    struct pack_writer writer = log_writer(log, 4096 + event->properties.size);
    event_encode(&writer, event, event->timestamp_us);
    log_written(log, &writer);
}

void fold_log_assignment(struct fold_log *log, const struct assignment *assignment)
{
    struct pack_writer writer = log_writer(log, 4096);
    assignment_encode(&writer, assignment, assignment->assigned_at_us);
    log_written(log, &writer);
}

static void log_definition(struct fold_log *log, enum record_kind kind, const struct definition *definition)
{
    struct pack_writer writer = log_writer(log, LIMIT_RECORD);
    definition_encode(&writer, kind, definition, NOW_US);
    log_written(log, &writer);
}

static struct bytes document_of(struct arena *arena, const char *json)
{
    const size_t size = strlen(json);
    char *padded = arena_take_zeroed(arena, size + JSON_PADDING);
    uint8_t *packed = arena_take(arena, size * 2 + 64);
    assert(padded != NULL && packed != NULL);
    memcpy(padded, json, size);
    struct json_reader reader = json_reader_on(padded, size);
    struct pack_writer writer = pack_writer_on(packed, size * 2 + 64);
    const bool fine = json_transcode(&reader, arena, &writer) && json_at_end(&reader) && !writer.overflow;
    assert(fine);
    return bytes_of(writer.data, writer.size);
}

void fold_log_experiment(struct fold_log *log, const char *json, const struct uuid *id)
{
    fold_log_experiment_in(log, json, id, NULL);
}

void fold_log_experiment_in(struct fold_log *log, const char *json, const struct uuid *id,
                            const struct catalog *catalog)
{
    struct arena arena;
    arena_init(&arena, 16 * 1024);
    struct field_errors errors = field_errors_in(&arena);
    const struct definition_context context = {.id = *id, .version = 1, .now_us = NOW_US};
    uint8_t random[64];
    memset(random, id->bytes[0], sizeof(random));
    struct experiment *experiment = NULL;
    enum status status = experiment_create(document_of(&arena, json), &context, random, &errors, &experiment);
    assert(status == STATUS_OK);
    struct experiment *finished = NULL;
    char key[LIMIT_KEY + 1];
    experiment_slug(experiment->name, key, sizeof(key));
    struct experiment_place place = {.key = bytes_of_text(key)};
    double largest = 0;
    if (catalog != NULL) {
        status = layer_place(catalog, experiment, &place.layer_start, &largest);
        assert(status == STATUS_OK);
    }
    status = experiment_finish(experiment, &place, &finished);
    assert(status == STATUS_OK);
    log_definition(log, RECORD_EXPERIMENT,
                   &(struct definition){.id = *id, .version = 1, .document = finished->document});
    experiment_free(experiment);
    experiment_free(finished);
    arena_deinit(&arena);
}

/* The experiment's newest version in the log. */
static struct experiment *experiment_newest(const struct fold_log *log, const struct uuid *id)
{
    struct record_cursor cursor = {bytes_of(log->data, log->size), 1};
    struct record record;
    struct experiment *newest = NULL;
    while (record_next(&cursor, &record) == STATUS_OK) {
        struct definition definition;
        if (record.kind == RECORD_EXPERIMENT && definition_decode(&record, &definition) == STATUS_OK &&
            uuid_equal(&definition.id, id)) {
            experiment_free(newest);
            const enum status status = experiment_decode(definition.document, &newest);
            assert(status == STATUS_OK);
        }
    }
    return newest;
}

void fold_log_rerandomize(struct fold_log *log, const struct uuid *id, uint32_t version)
{
    struct experiment *current = experiment_newest(log, id);
    struct experiment *next = NULL;
    uint8_t random[64];
    assert(current != NULL && current->version + 1 == version);
    memset(random, (int)version, sizeof(random));
    const struct definition_context context = {.id = *id, .version = version, .now_us = NOW_US};
    const enum status status = experiment_rerandomize(current, &context, random, &next);
    assert(status == STATUS_OK);
    log_definition(log, RECORD_EXPERIMENT, &(struct definition){.id = *id, .version = version, .document = next->document});
    experiment_free(current);
    experiment_free(next);
}

void fold_log_erasure(struct fold_log *log, const char *user)
{
    const struct bytes id = bytes_of_text(user);
    const struct erasure erasure = {
        .user = user_print_of(id), .user_hash = user_hash_of(id, HASH_SEED), .erased_at_us = NOW_US};
    uint8_t document[ERASURE_DOCUMENT_MAX];
    struct pack_writer writer = pack_writer_on(document, sizeof(document));
    erasure_encode(&erasure, &writer);
    assert(!writer.overflow);
    struct definition definition = {.version = 1, .document = bytes_of(document, writer.size)};
    memcpy(definition.id.bytes, &log->next_lsn, sizeof(log->next_lsn)); /* one receipt a record */
    log_definition(log, RECORD_ERASURE, &definition);
}

/* What an erasure makes of the overrides. */
static struct overrides *overrides_erase(struct overrides *current, const struct definition *definition)
{
    struct erasure erasure;
    enum status status = erasure_decode(definition, &erasure);
    assert(status == STATUS_OK);
    for (uint32_t i = 0; current != NULL && i < current->count; i++) {
        if (user_print_order(user_print_of(current->items[i].user_id), erasure.user) == 0) {
            const struct definition_context context = {
                .id = current->experiment_id, .version = current->version + 1, .now_us = NOW_US};
            struct overrides *next = NULL;
            status = overrides_change(current, &context, current->items[i].user_id, NULL, &next);
            assert(status == STATUS_OK);
            overrides_free(current);
            return next;
        }
    }
    return current;
}

void fold_log_override(struct fold_log *log, const struct uuid *id, const char *user, int variant)
{
    struct record_cursor cursor = {bytes_of(log->data, log->size), 1};
    struct record record;
    struct overrides *current = NULL;
    while (record_next(&cursor, &record) == STATUS_OK) {
        struct definition definition;
        if (record.kind == RECORD_OVERRIDES && definition_decode(&record, &definition) == STATUS_OK &&
            uuid_equal(&definition.id, id)) {
            overrides_free(current);
            const enum status status = overrides_decode(definition.document, &current);
            assert(status == STATUS_OK);
        } else if (record.kind == RECORD_ERASURE && definition_decode(&record, &definition) == STATUS_OK) {
            current = overrides_erase(current, &definition);
        }
    }
    struct experiment *experiment = experiment_newest(log, id);
    const struct definition_context context = {
        .id = *id, .version = current != NULL ? current->version + 1 : 1, .now_us = NOW_US};
    struct overrides *next = NULL;
    const enum status status =
        overrides_change(current, &context, bytes_of_text(user),
                         variant >= 0 ? &experiment->variants[variant].id : NULL, &next);
    assert(status == STATUS_OK);
    log_definition(log, RECORD_OVERRIDES,
                   &(struct definition){.id = *id, .version = next->version, .document = next->document});
    experiment_free(experiment);
    overrides_free(current);
    overrides_free(next);
}

static int print_compare(const void *a, const void *b)
{
    return user_print_order(*(const struct user_print *)a, *(const struct user_print *)b);
}

void fold_log_user_set(struct fold_log *log, const char *name, enum user_set_operation operation, const char *const *users,
                       uint32_t count, uint32_t parts, uint32_t logged)
{
    struct user_print prints[64];
    uint8_t bytes[sizeof(prints)];
    assert(count <= COUNT_OF(prints));
    for (uint32_t i = 0; i < count; i++) {
        prints[i] = user_print_of(bytes_of_text(users[i]));
    }
    qsort(prints, count, sizeof(prints[0]), print_compare);
    for (uint32_t i = 0; i < count; i++) {
        user_print_store(bytes + i * USER_PRINT_SIZE, prints[i]);
    }
    for (uint32_t i = 0; i < logged; i++) {
        const uint32_t first = count * i / parts;
        const uint32_t end = count * (i + 1) / parts;
        const struct user_set_part part = {
            .name = bytes_of_text(name),
            .operation = operation,
            .part = i,
            .part_count = parts,
            .users = bytes_of(bytes + first * USER_PRINT_SIZE, (end - first) * USER_PRINT_SIZE)};
        struct pack_writer writer = log_writer(log, 4096);
        user_set_part_encode(&writer, &part, NOW_US);
        log_written(log, &writer);
    }
}

uint64_t fold_log_frame(const struct fold_log *log, uint64_t lsn)
{
    struct record_cursor cursor = {bytes_of(log->data, log->size), 1};
    struct record record;
    struct user_set_part part = {0};
    while (record_next(&cursor, &record) == STATUS_OK && record.lsn < lsn) {
        continue;
    }
    while (record.lsn >= lsn && record.kind == RECORD_USER_SET && user_set_part_decode(&record, &part) == STATUS_OK &&
           part.part > 0) {
        lsn++;
        if (record_next(&cursor, &record) != STATUS_OK) {
            break;
        }
    }
    return lsn;
}

void fold_log_metric(struct fold_log *log, const char *json, uint32_t version)
{
    struct arena arena;
    arena_init(&arena, 16 * 1024);
    struct field_errors errors = field_errors_in(&arena);
    const uint64_t hash = XXH3_64bits(json, strcspn(json, ","));
    struct definition_context context = {.version = version, .now_us = NOW_US};
    memcpy(context.id.bytes, &hash, sizeof(hash)); /* one id a name: the name is the document's first field */
    struct metric *metric = NULL;
    const enum status status = metric_create(document_of(&arena, json), &context, &errors, &metric);
    assert(status == STATUS_OK);
    log_definition(log, RECORD_METRIC,
                   &(struct definition){.id = context.id, .version = version, .document = metric->document});
    metric_free(metric);
    arena_deinit(&arena);
}

static enum status history_scan(void *context, uint64_t end_lsn,
                                enum status (*visit)(void *visit_context, const struct record *record),
                                void *visit_context)
{
    const struct fold_log *log = context;
    struct record_cursor cursor = {bytes_of(log->data, log->size), 1};
    struct record record;
    while (record_next(&cursor, &record) == STATUS_OK && record.lsn < end_lsn) {
        const enum status status = visit(visit_context, &record);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

struct state *fold_state(struct fold_log *log)
{
    const struct state_options options = {.history = {history_scan, log}, .hash_seed = HASH_SEED};
    struct state *state = NULL;
    const enum status status = state_open(&options, &state);
    assert(status == STATUS_OK);
    return state;
}

void fold_apply(struct fold_log *log, struct state *state, uint64_t end_lsn, uint32_t block)
{
    struct record_cursor cursor = {bytes_of(log->data, log->size), 1};
    struct record record;
    while (cursor.next_lsn < state_next_lsn(state)) {
        const enum status skipped = record_next(&cursor, &record);
        assert(skipped == STATUS_OK);
    }
    while (state_next_lsn(state) < end_lsn) {
        const uint8_t *start = cursor.rest.data;
        const uint64_t first_lsn = cursor.next_lsn;
        for (uint32_t i = 0; i < block && cursor.next_lsn < end_lsn; i++) {
            const enum status status = record_next(&cursor, &record);
            assert(status == STATUS_OK);
        }
        const enum status status =
            replay_block(state, first_lsn, bytes_of(start, (size_t)(cursor.rest.data - start)), NULL);
        assert(status == STATUS_OK);
    }
}

static enum status row_move(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    return state_import(context, table, key, value);
}

struct state *fold_reload(struct fold_log *log, struct state *state)
{
    struct state *loaded = fold_state(log);
    enum status status = state_export(state, row_move, loaded);
    assert(status == STATUS_OK);
    status = state_import_end(loaded);
    assert(status == STATUS_OK);
    state_close(state);
    return loaded;
}

static enum status row_digest(void *context, enum state_table table, struct bytes key, struct bytes value)
{
    uint64_t *digest = context;
    *digest = XXH3_64bits_withSeed(key.data, key.size, *digest + (uint64_t)table);
    *digest = XXH3_64bits_withSeed(value.data, value.size, *digest);
    return STATUS_OK;
}

uint64_t fold_digest(struct state *state)
{
    uint64_t digest = 0;
    const enum status status = state_export(state, row_digest, &digest);
    assert(status == STATUS_OK);
    return digest;
}
