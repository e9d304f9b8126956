/* definitions.c: see definitions.h. Making one costs a parse of JSON and a validation, more than a whole crash state. */
#include "tests/torture/definitions.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "engine/arena.h"
#include "tests/support/fold.h"

#define NOW_US 1704067200000000ll /* 2024-01-01 */

struct made {
    uint64_t key;
    uint8_t *data;
    size_t size;
};

static struct made *all;
static size_t all_count;

/* Takes the record over where `data` is not NULL. */
static struct bytes made_find(uint64_t key, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < all_count; i++) {
        if (all[i].key == key) {
            return bytes_of(all[i].data, all[i].size);
        }
    }
    if (data == NULL) {
        return bytes_of(NULL, 0);
    }
    all = realloc(all, (all_count + 1) * sizeof(*all));
    assert(all != NULL);
    all[all_count] = (struct made){.key = key, .data = malloc(size), .size = size};
    assert(all[all_count].data != NULL);
    memcpy(all[all_count].data, data, size);
    return bytes_of(all[all_count++].data, size);
}

struct bytes definition_of_metric(int metric, const struct model_metric *definition,
                                  uint32_t version)
{
    static const char *const kinds[MODEL_METRIC_KINDS] = {
        "\"proportion\"", "\"mean\",\"aggregation\":\"sum\",\"property\":\"amount\"",
        "\"mean\",\"aggregation\":\"count\"", "\"mean\",\"aggregation\":\"unique_days\""};
    const uint64_t key = (uint64_t)version << 32 | (uint64_t)metric << 16 |
                         (uint64_t)definition->type << 8 | (uint64_t)definition->kind << 1;
    struct bytes record = made_find(key, NULL, 0);
    if (record.data == NULL) {
        char name[16];
        char json[256];
        struct fold_log log;
        model_metric_name(metric, name);
        (void)snprintf(json, sizeof(json), "{\"name\":\"%s\",\"event_type\":\"%s\",\"type\":%s}",
                       name, model_type_name(definition->type), kinds[definition->kind]);
        fold_log_init(&log);
        fold_log_metric(&log, json, version);
        record = made_find(key, log.data, log.size);
        fold_log_deinit(&log);
    }
    return record;
}

/* A client's document as msgpack. */
static struct bytes document_of(struct arena *arena, const char *json)
{
    const size_t size = strlen(json);
    char *padded = arena_take_zeroed(arena, size + JSON_PADDING);
    uint8_t *packed = arena_take(arena, size * 2 + 64);
    assert(padded != NULL && packed != NULL);
    memcpy(padded, json, size);
    struct json_reader reader = json_reader_on(padded, size);
    struct pack_writer writer = pack_writer_on(packed, size * 2 + 64);
    const bool good =
        json_transcode(&reader, arena, &writer) && json_at_end(&reader) && !writer.overflow;
    assert(good);
    return bytes_of(writer.data, writer.size);
}

static struct bytes experiment_make(int experiment, uint32_t version, uint64_t key)
{
    static uint8_t record[64 * 1024];
    char json[256];
    struct arena arena;
    arena_init(&arena, 16 * 1024);
    (void)snprintf(json, sizeof(json),
                   "{\"name\":\"experiment %d\",\"description\":\"version %u\","
                   "\"variants\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"metrics\":[]}",
                   experiment, version);
    struct field_errors errors = field_errors_in(&arena);
    const struct definition_context context = {
        .id = model_experiment_id(experiment), .version = version, .now_us = NOW_US};
    uint8_t random[64];
    memset(random, experiment + 1, sizeof(random));
    struct experiment *made = NULL;
    struct experiment *finished = NULL;
    enum status status =
        experiment_create(document_of(&arena, json), &context, random, &errors, &made);
    assert(status == STATUS_OK);
    char slug[LIMIT_KEY + 1];
    experiment_slug(made->name, slug, sizeof(slug));
    status =
        experiment_finish(made, &(struct experiment_place){.key = bytes_of_text(slug)}, &finished);
    assert(status == STATUS_OK);
    struct pack_writer writer = pack_writer_on(record, sizeof(record));
    const struct definition definition = {
        .id = context.id, .version = version, .document = finished->document};
    definition_encode(&writer, RECORD_EXPERIMENT, &definition, NOW_US);
    assert(!writer.overflow);
    experiment_free(made);
    experiment_free(finished);
    arena_deinit(&arena);
    return made_find(key, record, writer.size);
}

struct bytes definition_of_experiment(int experiment, uint32_t version)
{
    const uint64_t key = (uint64_t)version << 32 | (uint64_t)experiment << 16 | 1;
    struct bytes record = made_find(key, NULL, 0);
    return record.data != NULL ? record : experiment_make(experiment, version, key);
}

void definitions_free(void)
{
    for (size_t i = 0; i < all_count; i++) {
        free(all[i].data);
    }
    free(all);
    all = NULL;
    all_count = 0;
}
