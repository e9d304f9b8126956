/* import_define.c: what the server must know before the first row: metrics and the experiment. What is there already is
 * used as it is; an experiment only gains metrics. */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/import.h"
#include "tools/terminal.h"

#define NAME_ATTEMPTS 20

/* ---- metrics ---- */

static bool text_is(struct bytes document, const char *path, struct bytes wanted)
{
    struct bytes text = {NULL, 0};
    return answer_text(document, path, &text) && bytes_equal(text, wanted);
}

/* Does this metric show what the column would? Then a second one would only count the same again. */
static bool metric_fits(const struct import_source *source, struct bytes metric)
{
    const bool is_value = source->property.size != 0;
    const bool same_shape =
        text_is(metric, "type", bytes_of_text(is_value ? "mean" : "proportion")) &&
        text_is(metric, "event_type", source->event_type) &&
        answer_items(metric, "filters").left == 0;
    return same_shape && (!is_value || (text_is(metric, "property", source->property) &&
                                        text_is(metric, "aggregation", bytes_of_text("sum"))));
}

static void metrics_match(struct import *import, struct bytes page)
{
    struct answer_items items = answer_items(page, "metric_definitions");
    struct bytes metric;
    while (answer_next(&items, &metric)) {
        for (uint32_t i = 0; i < import->source_count; i++) {
            struct import_source *source = &import->sources[i];
            struct bytes name = {NULL, 0};
            if (source->metric[0] == '\0' && metric_fits(source, metric) &&
                answer_text(metric, "name", &name)) {
                (void)snprintf(source->metric, sizeof(source->metric), "%.*s", (int)name.size,
                               (const char *)name.data);
            }
        }
    }
}

static enum status metrics_find(struct import *import, struct error *error)
{
    const char *path = "/metric-definitions?limit=500";
    while (path != NULL) {
        const struct client_request request = {
            .method = "GET", .path = path, .is_repeatable = true};
        struct bytes page;
        const enum status status =
            client_call(import->client, &request, &import->arena, error, &page);
        if (status != STATUS_OK) {
            return status;
        }
        metrics_match(import, page);
        struct bytes cursor = {NULL, 0};
        path = answer_text(page, "next_cursor", &cursor)
                   ? arena_format(&import->arena, "/metric-definitions?limit=500&cursor=%.*s",
                                  (int)cursor.size, (const char *)cursor.data)
                   : NULL;
    }
    return STATUS_OK;
}

/* A metric's name: lower-case letters, digits and "_", beginning with a letter. */
static void metric_name_make(const struct import_source *source, int attempt,
                             char out_name[IMPORT_METRIC_NAME])
{
    const bool is_value = source->property.size != 0;
    const bool is_long = is_value && attempt > 0;
    char text[2 * LIMIT_EVENT_TYPE + LIMIT_NAME];
    const struct bytes last = is_value ? source->property : source->event_type;
    (void)snprintf(text, sizeof(text), "%.*s%s%.*s", is_long ? (int)source->event_type.size : 0,
                   (const char *)source->event_type.data, is_long ? "_" : "", (int)last.size,
                   (const char *)last.data);
    size_t size = 0;
    const size_t most = IMPORT_METRIC_NAME - 4; /* room for a number */
    for (const char *at = text; *at != '\0' && size < most; at++) {
        const bool is_upper = *at >= 'A' && *at <= 'Z';
        const bool is_kept = (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9');
        if (size == 0 && !is_upper && (*at < 'a' || *at > 'z')) {
            out_name[size++] = 'm';
            out_name[size++] = '_';
        }
        out_name[size++] = is_upper ? (char)(*at + 32) : is_kept ? *at : '_';
    }
    out_name[size] = '\0';
    const int number = is_value ? attempt : attempt + 1;
    if (number > 1) {
        (void)snprintf(out_name + size, IMPORT_METRIC_NAME - size, "_%d", number);
    }
}

static enum status metric_post(struct import *import, const struct import_source *source,
                               struct error *error)
{
    struct json_writer writer = json_writer_in(&import->arena);
    json_begin_object(&writer);
    json_key(&writer, "name");
    json_text(&writer, source->metric);
    json_key(&writer, "type");
    json_text(&writer, source->property.size != 0 ? "mean" : "proportion");
    json_key(&writer, "event_type");
    json_text_bytes(&writer, source->event_type);
    if (source->property.size != 0) {
        json_key(&writer, "property");
        json_text_bytes(&writer, source->property);
        json_key(&writer, "aggregation");
        json_text(&writer, "sum");
    }
    json_end_object(&writer);
    const struct client_request request = {.method = "POST",
                                           .path = "/metric-definitions",
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size)};
    struct client_reply reply;
    return client_send(import->client, &request, error, &reply);
}

/* Makes the metric under the first name that is free. */
static enum status metric_make(struct import *import, struct import_source *source,
                               struct error *error)
{
    enum status status = STATUS_CONFLICT;
    for (int i = 0; i < NAME_ATTEMPTS && status == STATUS_CONFLICT; i++) {
        metric_name_make(source, i, source->metric);
        status = metric_post(import, source, error);
    }
    source->is_metric_new = status == STATUS_OK;
    return status;
}

/* Two columns may feed the same metric. */
static bool metric_shared(struct import *import, uint32_t index)
{
    struct import_source *source = &import->sources[index];
    for (uint32_t i = 0; i < index; i++) {
        const struct import_source *other = &import->sources[i];
        if (bytes_equal(other->event_type, source->event_type) &&
            bytes_equal(other->property, source->property)) {
            memcpy(source->metric, other->metric, sizeof(source->metric));
            return true;
        }
    }
    return false;
}

static enum status metrics_define(struct import *import, struct error *error)
{
    enum status status = metrics_find(import, error);
    for (uint32_t i = 0; i < import->source_count && status == STATUS_OK; i++) {
        if (import->sources[i].metric[0] == '\0' && !metric_shared(import, i)) {
            status = metric_make(import, &import->sources[i], error);
        }
    }
    return status;
}

/* ---- the experiment ---- */

static bool metric_listed_before(const struct import *import, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(import->sources[i].metric, import->sources[index].metric) == 0) {
            return true;
        }
    }
    return false;
}

static void variants_write(const struct import *import, struct json_writer *writer)
{
    json_begin_array(writer);
    for (uint32_t i = 0; i < import->variant_count; i++) {
        const struct import_variant *variant = &import->variants[i];
        json_begin_object(writer);
        json_key(writer, "name");
        json_text_bytes(writer, variant->name);
        json_key(writer, "is_control");
        json_bool(writer, i == import->control_index);
        if (variant->weight != NULL) {
            json_key(writer, "weight");
            json_double(writer, strtod(variant->weight, NULL));
        }
        json_end_object(writer);
    }
    json_end_array(writer);
}

static enum status experiment_make(struct import *import, struct error *error,
                                   struct bytes *out_experiment)
{
    struct json_writer writer = json_writer_in(&import->arena);
    json_begin_object(&writer);
    json_key(&writer, "name");
    json_text(&writer, import->name != NULL ? import->name : import->experiment);
    json_key(&writer, "key");
    json_text(&writer, import->experiment);
    json_key(&writer, "description");
    const char *slash = strrchr(import->path, '/');
    json_text(&writer, arena_format(&import->arena, "Imported from %s",
                                    slash != NULL ? slash + 1 : import->path));
    json_key(&writer, "variants");
    variants_write(import, &writer);
    json_key(&writer, "metrics");
    json_begin_array(&writer);
    for (uint32_t i = 0; i < import->source_count; i++) {
        if (!metric_listed_before(import, i)) {
            json_text(&writer, import->sources[i].metric);
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    const struct client_request request = {.method = "POST",
                                           .path = "/experiments",
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size)};
    import->is_experiment_new = true;
    return client_call(import->client, &request, &import->arena, error, out_experiment);
}

static bool list_has(struct bytes experiment, const char *path, const char *member,
                     struct bytes wanted)
{
    struct answer_items items = answer_items(experiment, path);
    struct bytes item;
    while (answer_next(&items, &item)) {
        if (text_is(item, member, wanted)) {
            return true;
        }
    }
    return false;
}

static enum status variants_check(const struct import *import, struct bytes experiment,
                                  struct error *error)
{
    for (uint32_t i = 0; i < import->variant_count; i++) {
        const struct bytes name = import->variants[i].name;
        if (!list_has(experiment, "variants", "name", name)) {
            return error_set(error, STATUS_INVALID,
                             "the experiment '%s' is there already, without a variant '%.*s': "
                             "import under another "
                             "--experiment, or add the variant first; nothing was sent",
                             import->experiment, (int)name.size, (const char *)name.data);
        }
    }
    return STATUS_OK;
}

/* Adds the metrics that the experiment does not show yet. */
static enum status experiment_extend(struct import *import, struct error *error,
                                     struct bytes experiment)
{
    bool is_complete = true;
    struct json_writer writer = json_writer_in(&import->arena);
    json_begin_object(&writer);
    json_key(&writer, "metrics");
    json_begin_array(&writer);
    struct answer_items items = answer_items(experiment, "metrics");
    struct bytes item;
    while (answer_next(&items, &item)) {
        struct bytes name = {NULL, 0};
        if (answer_text(item, "", &name)) {
            json_text_bytes(&writer, name);
        }
    }
    for (uint32_t i = 0; i < import->source_count; i++) {
        const char *metric = import->sources[i].metric;
        if (!list_has(experiment, "metrics", "", bytes_of_text(metric)) &&
            !metric_listed_before(import, i)) {
            is_complete = false;
            json_text(&writer, metric);
        }
    }
    json_end_array(&writer);
    json_end_object(&writer);
    if (is_complete) {
        return STATUS_OK;
    }
    const struct client_request request = {.method = "PATCH",
                                           .path = import->experiment_path,
                                           .content_type = "application/json",
                                           .body = bytes_of(writer.text, writer.size)};
    struct client_reply reply;
    return client_send(import->client, &request, error, &reply);
}

/* The moment of assignment: given, or when the experiment was made, which is the same however often the import is run. */
static enum status times_settle(struct import *import, struct bytes experiment, struct error *error)
{
    struct bytes created = {NULL, 0};
    int64_t assigned_us = import->assigned_at_us;
    if (assigned_us == 0 && (!answer_text(experiment, "created_at", &created) ||
                             timestamp_parse(created, &assigned_us) != STATUS_OK)) {
        return error_set(error, STATUS_UNSUPPORTED,
                         "the server does not say when the experiment was made");
    }
    const int64_t event_us =
        import->event_time_us != 0 ? import->event_time_us : assigned_us + 1000000;
    assert(event_us >= assigned_us); /* the command line was checked for it */
    timestamp_format(assigned_us, import->assigned_at);
    timestamp_format(event_us, import->event_time);
    return STATUS_OK;
}

enum status import_define(struct import *import, struct error *error)
{
    const char *key =
        client_escape(import->client, &import->arena, bytes_of_text(import->experiment));
    import->experiment_path =
        key != NULL ? arena_format(&import->arena, "/experiments/%s", key) : NULL;
    if (import->experiment_path == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    const struct client_request request = {
        .method = "GET", .path = import->experiment_path, .is_repeatable = true};
    struct bytes experiment;
    enum status status = client_call(import->client, &request, &import->arena, error, &experiment);
    const bool is_there = status == STATUS_OK;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        return status;
    }
    status = is_there ? variants_check(import, experiment, error) : STATUS_OK;
    if (status == STATUS_OK) {
        status = metrics_define(import, error);
    }
    if (status == STATUS_OK) {
        status = is_there ? experiment_extend(import, error, experiment)
                          : experiment_make(import, error, &experiment);
    }
    return status == STATUS_OK ? times_settle(import, experiment, error) : status;
}
