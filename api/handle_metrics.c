/* handle_metrics.c: metric definitions: made, listed, shown, changed, archived.
 *
 * A name belongs to one metric for ever. To define a name anew that was archived makes the next version of that metric:
 * so the built-in ones are replaced, too.
 */
#include "api/handler.h"
#include "api/metric_parts.h"
#include "api/routes.h"

/* How often a change that lost against another is tried on the newest version. */
#define ATTEMPTS_MAX 32u

struct metric_work {
    uint32_t index; /* CATALOG_NONE for a new one */
    uint32_t attempts;
    struct bytes document; /* the client's */
    struct bytes name;     /* in the call's arena */
    uint8_t outcomes[METRIC_PARTS + 1];
    uint32_t count; /* of definitions: the parts of a ratio, then the metric */
};

static const char *const type_names[] = {
    [METRIC_PROPORTION] = "proportion",
    [METRIC_MEAN] = "mean",
    [METRIC_RATIO] = "ratio",
    [METRIC_RETENTION] = "retention",
    [METRIC_QUANTILE] = "quantile",
};

static const char *const aggregation_names[] = {
    [METRIC_SUM] = "sum",
    [METRIC_COUNT] = "count",
    [METRIC_UNIQUE_DAYS] = "unique_days",
    [METRIC_MAX] = "max",
};

static const char *const direction_names[] = {
    [METRIC_INCREASE] = "increase",
    [METRIC_DECREASE] = "decrease",
};

static const struct metric *metric_at(const struct call *call, uint32_t index)
{
    return call->catalog->metrics[index]->current;
}

/* JSON. */

static void write_filter(struct json_writer *writer, const struct metric_filter *filter)
{
    json_begin_object(writer);
    json_key(writer, "property");
    json_text_bytes(writer, filter->property);
    json_key(writer, "op");
    json_text(writer, rule_operator_name(filter->operation));
    handler_write_operand(writer, filter->operation, &filter->values);
    json_end_object(writer);
}

static void write_cap(struct json_writer *writer, const struct metric *metric)
{
    json_key(writer, "cap");
    if (!metric->has_cap) {
        json_null(writer);
        return;
    }
    json_begin_object(writer);
    if (metric->cap_percentile != 0) {
        json_key(writer, "percentile");
        json_millionths(writer, metric->cap_percentile);
        json_key(writer, "ignore_zeros");
        json_bool(writer, metric->cap_ignores_zeros);
    } else {
        json_key(writer, "upper");
        json_millionths(writer, metric->cap_upper);
    }
    json_end_object(writer);
}

static void write_whole(struct json_writer *writer, const char *key, bool is_there, uint32_t value)
{
    json_key(writer, key);
    if (is_there) {
        json_uint(writer, value);
    } else {
        json_null(writer);
    }
}

/* What only some types have. */
static void write_type_parts(struct json_writer *writer, const struct metric *metric)
{
    const bool is_retention = metric->type == METRIC_RETENTION;
    write_whole(writer, "window_hours", metric->window_hours != 0, metric->window_hours);
    write_whole(writer, "from_day", is_retention, metric->from_day);
    write_whole(writer, "to_day", is_retention, metric->to_day);
    json_key(writer, "quantile");
    if (metric->type == METRIC_QUANTILE) {
        json_double(writer, metric->quantile);
    } else {
        json_null(writer);
    }
    json_key(writer, "guardrail_margin");
    if (metric->is_guardrail) {
        json_double(writer, metric->guardrail_margin);
    } else {
        json_null(writer);
    }
}

static void write_metric(struct json_writer *writer, const struct metric *metric)
{
    json_begin_object(writer);
    json_key(writer, "id");
    json_uuid(writer, &metric->id);
    json_key(writer, "name");
    json_text_bytes(writer, metric->name);
    json_key(writer, "description");
    json_text_bytes(writer, metric->description);
    json_key(writer, "version");
    json_uint(writer, metric->version);
    json_key(writer, "type");
    json_text(writer, type_names[metric->type]);
    json_key(writer, "event_type");
    handler_write_optional_text(writer, metric->event_type);
    json_key(writer, "numerator");
    handler_write_optional_text(writer, metric->numerator);
    json_key(writer, "denominator");
    handler_write_optional_text(writer, metric->denominator);
    json_key(writer, "property");
    handler_write_optional_text(writer, metric->property);
    json_key(writer, "aggregation");
    json_text(writer, metric->type == METRIC_MEAN ? aggregation_names[metric->aggregation] : NULL);
    json_key(writer, "filters");
    json_begin_array(writer);
    for (uint32_t i = 0; i < metric->filter_count; i++) {
        write_filter(writer, &metric->filters[i]);
    }
    json_end_array(writer);
    json_key(writer, "direction");
    json_text(writer, direction_names[metric->direction]);
    write_cap(writer, metric);
    write_type_parts(writer, metric);
    json_key(writer, "archived");
    json_bool(writer, metric->archived);
    json_key(writer, "created_at");
    json_time(writer, metric->created_at_us);
    json_key(writer, "updated_at");
    json_time(writer, metric->updated_at_us);
    json_end_object(writer);
}

static void reply_metric(struct call *call, int status, const struct metric *metric)
{
    struct json_writer writer = json_writer_in(&call->arena);
    write_metric(&writer, metric);
    call_reply_json(call, status, &writer);
}

/* Shared by the writes. */

/* The metric of the path; replies 404 and returns CATALOG_NONE where there is none. */
static uint32_t find_metric(struct call *call)
{
    static const char *const names[] = {NULL};
    if (!call_query_only(call, names)) {
        return CATALOG_NONE;
    }
    uint32_t index = catalog_find_metric(call->catalog, call->parameters[0]);
    if (index == CATALOG_NONE) {
        call_reply_problem(call, 404, "metric_not_found", "There is no metric of this name.");
    }
    return index;
}

/* The version that follows on `current`; the first where that is NULL. */
static struct definition_context context_after(struct call *call, const struct metric *current)
{
    return (struct definition_context){
        .id = current == NULL ? handler_new_id(call) : current->id,
        .version = current == NULL ? 1 : current->version + 1,
        .author = handler_author(call),
        .now_us = call->received_at_us,
    };
}

/* The last of them is what the request is about. */
static void submit_metrics(struct call *call, struct metric *const *metrics, uint32_t count, struct metric_work *work,
                           void (*continuation)(struct call *call))
{
    struct definition definitions[METRIC_PARTS + 1];
    for (uint32_t i = 0; i < count; i++) {
        definitions[i] = (struct definition){.id = metrics[i]->id,
                                             .version = metrics[i]->version,
                                             .author = metrics[i]->author,
                                             .document = metrics[i]->document};
    }
    const struct bytes own_name = metrics[count - 1]->name;
    const char *name = arena_copy(&call->arena, own_name);
    if (name == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    work->name = bytes_of(name, own_name.size);
    work->count = count;
    call->handler_data = work;
    (void)handler_submit_definitions(call, RECORD_METRIC, definitions, count, work->outcomes, continuation);
}

static bool is_applied(const struct metric_work *work)
{
    return work->outcomes[work->count - 1] == OUTCOME_APPLIED;
}

/* False, with the reply made, where the write failed; else call->catalog is the newest. */
static bool written(struct call *call)
{
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return false;
    }
    call_refresh_catalog(call);
    return true;
}

static void reply_superseded(struct call *call)
{
    call_reply_problem(call, 409, "conflict",
                       "Another request changed this metric at the same time: send it again.");
}

static void reply_written(struct call *call, int status)
{
    const struct metric_work *work = call->handler_data;
    uint32_t index = catalog_find_metric(call->catalog, work->name);
    assert(index != CATALOG_NONE);
    reply_metric(call, status, metric_at(call, index));
}

static struct metric_work *work_make(struct call *call, uint32_t index)
{
    struct metric_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return NULL;
    }
    work->index = index;
    return work;
}

/* POST /metric-definitions */

static void reply_taken(struct call *call)
{
    call_reply_problem(call, 409, "name_taken",
                       "There is a metric of this name: PATCH it, or DELETE it first to define it "
                       "anew.");
}

static void create_done(struct call *call)
{
    const struct metric_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (is_applied(work)) {
        reply_written(call, 201);
    } else {
        reply_taken(call); /* by a request at the same time */
    }
}

/* A new metric of this document, or the next version of an archived one of its name. `member`: of the ratio that it is a part
 * of, or NULL. NULL where a reply was made. */
static struct metric *decode_new(struct call *call, struct bytes document, const char *member)
{
    const struct metric *archived = NULL;
    struct metric *metric = NULL;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct definition_context context = context_after(call, archived);
        struct field_errors errors = field_errors_in(&call->arena);
        metric_free(metric);
        metric = NULL;
        const enum status status = metric_create(document, &context, &errors, &metric);
        if (status != STATUS_OK) {
            for (uint32_t i = 0; member != NULL && i < errors.count && i < LIMIT_FIELD_ERRORS; i++) {
                const char *path = arena_format(&call->arena, "%s.%s", member, errors.items[i].path);
                errors.items[i].path = path != NULL ? path : errors.items[i].path;
            }
            handler_reply_refused(call, status, &errors);
            return NULL;
        }
        const uint32_t index = catalog_find_metric(call->catalog, metric->name);
        if (index == CATALOG_NONE) {
            return metric;
        }
        archived = metric_at(call, index);
        if (!archived->archived) {
            break;
        }
    }
    if (metric->version > 1) {
        return metric;
    }
    reply_taken(call);
    metric_free(metric);
    return NULL;
}

/* Do the parts of a ratio exist, or come with it? Replies where one does not. */
static bool check_parts(struct call *call, const struct metric *metric, struct metric *const *made, uint32_t made_count)
{
    const struct bytes names[] = {metric->numerator, metric->denominator};
    static const char *const members[] = {"numerator", "denominator"};
    struct field_errors errors = field_errors_in(&call->arena);
    for (size_t i = 0; i < COUNT_OF(names) && metric->type == METRIC_RATIO; i++) {
        const uint32_t index = catalog_find_metric(call->catalog, names[i]);
        bool is_mean = index != CATALOG_NONE && metric_at(call, index)->type == METRIC_MEAN;
        for (uint32_t k = 0; k < made_count; k++) {
            is_mean = is_mean || bytes_equal(made[k]->name, names[i]);
        }
        if (!is_mean) {
            field_error_add(&errors, "unknown_metric", "must be the name of a mean, or what one is made of", "%s", members[i]);
        }
    }
    if (errors.count != 0) {
        handler_reply_refused(call, STATUS_INVALID, &errors);
    }
    return errors.count == 0;
}

static void create_all(struct call *call, const struct metric_parts *parts, struct metric_work *work, struct metric **metrics)
{
    uint32_t count = 0;
    for (size_t i = 0; i < METRIC_PARTS; i++) {
        if (parts->documents[i].size != 0) {
            metrics[count] = decode_new(call, parts->documents[i], parts->members[i]);
            if (metrics[count++] == NULL) {
                return;
            }
        }
    }
    struct metric *metric = decode_new(call, parts->document, NULL);
    metrics[count] = metric;
    if (metric == NULL || !check_parts(call, metric, metrics, count)) {
        return;
    }
    if (call->catalog->metric_count + count + 1 > LIMIT_METRICS && metric->version == 1) {
        call_reply_problem(call, 409, "too_many_metrics", "There are %u metrics; there may be %u.", call->catalog->metric_count,
                           LIMIT_METRICS);
        return;
    }
    submit_metrics(call, metrics, count + 1, work, create_done);
}

void handle_metric_create(struct call *call)
{
    static const char *const names[] = {NULL};
    struct bytes document;
    struct metric_parts parts;
    if (!call_query_only(call, names) || !call_document(call, &document) || !metric_parts_take(call, document, &parts)) {
        return;
    }
    struct metric_work *work = work_make(call, CATALOG_NONE);
    struct metric *metrics[METRIC_PARTS + 1] = {NULL};
    if (work != NULL) {
        create_all(call, &parts, work, metrics);
    }
    for (size_t i = 0; i < COUNT_OF(metrics); i++) {
        metric_free(metrics[i]);
    }
}

/* PATCH and DELETE */

static void patch_attempt(struct call *call, struct metric_work *work,
                          void (*continuation)(struct call *call))
{
    const struct metric *current = metric_at(call, work->index);
    struct definition_context context = context_after(call, current);
    struct field_errors errors = field_errors_in(&call->arena);
    struct metric *metric = NULL;
    work->attempts++;
    enum status status = metric_patch(current, work->document, &context, &errors, &metric);
    if (status != STATUS_OK) {
        handler_reply_refused(call, status, &errors);
        return;
    }
    if (check_parts(call, metric, NULL, 0)) {
        submit_metrics(call, &metric, 1, work, continuation);
    }
    metric_free(metric);
}

static void patch_done(struct call *call)
{
    struct metric_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (is_applied(work)) {
        reply_written(call, 200);
    } else if (work->attempts < ATTEMPTS_MAX) {
        patch_attempt(call, work, patch_done);
    } else {
        reply_superseded(call);
    }
}

void handle_metric_patch(struct call *call)
{
    uint32_t index = find_metric(call);
    struct metric_work *work = index == CATALOG_NONE ? NULL : work_make(call, index);
    if (work != NULL && call_document(call, &work->document)) {
        patch_attempt(call, work, patch_done);
    }
}

static void archive_done(struct call *call)
{
    struct metric_work *work = call->handler_data;
    if (!written(call)) {
        return;
    }
    if (is_applied(work) || metric_at(call, work->index)->archived) {
        call_reply_empty(call, 204);
    } else if (work->attempts < ATTEMPTS_MAX) {
        patch_attempt(call, work, archive_done);
    } else {
        reply_superseded(call);
    }
}

void handle_metric_archive(struct call *call)
{
    static const uint8_t archived[] = {0x81, 0xa8, 'a', 'r', 'c', 'h', 'i', 'v', 'e', 'd', 0xc3};
    uint32_t index = find_metric(call);
    if (index == CATALOG_NONE) {
        return;
    }
    if (metric_at(call, index)->archived) {
        call_reply_empty(call, 204);
        return;
    }
    struct metric_work *work = work_make(call, index);
    if (work != NULL) {
        work->document = bytes_of(archived, sizeof(archived)); /* {"archived": true} */
        patch_attempt(call, work, archive_done);
    }
}

/* GET */

void handle_metric_get(struct call *call)
{
    uint32_t index = find_metric(call);
    if (index != CATALOG_NONE) {
        reply_metric(call, 200, metric_at(call, index));
    }
}

static bool read_archived(struct call *call, bool *out_archived)
{
    struct bytes text;
    *out_archived = false;
    if (!call_query(call, "archived", &text)) {
        return true;
    }
    *out_archived = bytes_equal_text(text, "true");
    if (*out_archived || bytes_equal_text(text, "false")) {
        return true;
    }
    call_reply_problem(call, 422, "invalid_archived", "archived must be true or false.");
    return false;
}

/* In the order of their making; archived ones only with ?archived=true. A cursor is how many were passed. */
void handle_metric_list(struct call *call)
{
    static const char *const names[] = {"archived", "limit", "cursor", NULL};
    struct handler_page page;
    bool with_archived = false;
    if (!call_query_only(call, names) || !handler_page_read(call, &page) ||
        !read_archived(call, &with_archived)) {
        return;
    }
    uint32_t count = call->catalog->metric_count;
    uint32_t at = page.cursor > count ? count : (uint32_t)page.cursor;
    uint32_t shown = 0;
    uint64_t next = 0;
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "metric_definitions");
    json_begin_array(&writer);
    for (; at < count && next == 0; at++) {
        const struct metric *metric = metric_at(call, at);
        if (metric->archived && !with_archived) {
            continue;
        }
        if (shown == page.limit) {
            next = at;
            continue;
        }
        write_metric(&writer, metric);
        shown++;
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, next));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}
