/* guard.c: see guard.h. */
#include "api/guard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "api/results.h"
#include "api/trace.h"
#include "api/webhook.h"
#include "engine/timestamp.h"

#define PASS_US       1000000ll
#define REMINDED_US   86400000000ll /* breaches so young are told again after a restart: they may not have been */
#define ERROR_LEVEL   0.95          /* confidence of the sequential interval */
#define STOP_CHECK_NS 100000000l

struct guard {
    struct guard_options options;
    struct engine_port *port;
    struct webhook *webhook; /* NULL: none */
    pthread_t thread;
    atomic_bool is_stopping;
    uint64_t judged_lsn; /* as of the last pass */
};

/* A question to the state, and what it answered. */
struct question {
    struct results_query query;
    uint32_t metrics[LIMIT_EXPERIMENT_METRICS];
    struct arena arena;
    struct results_data data;
    enum status status;
};

/* Runs on the apply thread. */
static void question_read(const struct state *state, void *context)
{
    struct question *question = context;
    question->status = state_results(state, &question->query, &question->arena, &question->data);
}

static void told(struct guard *guard, const struct experiment *experiment)
{
    if (guard->webhook == NULL) {
        return;
    }
    struct arena arena;
    arena_init(&arena, 2048);
    struct json_writer writer = json_writer_in(&arena);
    json_begin_object(&writer);
    json_key(&writer, "type");
    json_text(&writer, "guardrail_breached");
    json_key(&writer, "id");
    char id[UUID_TEXT_SIZE];
    uuid_format(&experiment->id, id);
    json_text(&writer, arena_format(&arena, "%s.%u", id, experiment->version));
    json_key(&writer, "experiment_id");
    json_uuid(&writer, &experiment->id);
    json_key(&writer, "experiment_key");
    json_text_bytes(&writer, experiment->key);
    json_key(&writer, "version");
    json_uint(&writer, experiment->version);
    json_key(&writer, "metric");
    json_text_bytes(&writer, experiment->breached_metric);
    json_key(&writer, "variant");
    json_text_bytes(&writer, experiment->breached_variant);
    json_key(&writer, "action");
    json_text(&writer, guardrail_action_name(experiment->guardrail_action));
    json_key(&writer, "at");
    json_time(&writer, experiment->breached_at_us);
    json_end_object(&writer);
    if (!writer.failed) {
        webhook_add(guard->webhook, bytes_of(writer.text, writer.size), engine_now_us(guard->options.engine));
    }
    arena_deinit(&arena);
}

/* The next version, through the log like any other. Where somebody else was first, the next pass looks again. */
static void act(struct guard *guard, const struct experiment *current, struct bytes metric, struct bytes variant)
{
    struct engine *engine = guard->options.engine;
    const struct definition_context context = {
        .id = current->id, .version = current->version + 1, .now_us = engine_now_us(engine)};
    struct experiment *next = NULL;
    if (experiment_breach(current, &context, metric, variant, &next) != STATUS_OK) {
        return;
    }
    const size_t capacity = next->document.size + 256;
    uint8_t *frame = malloc(capacity);
    uint8_t outcome = OUTCOME_SUPERSEDED;
    struct pack_writer writer = pack_writer_on(frame, frame != NULL ? capacity : 0);
    const struct definition definition = {next->id, next->version, next->author, next->document};
    definition_encode(&writer, RECORD_EXPERIMENT, &definition, context.now_us);
    struct engine_request request = {.kind = ENGINE_WRITE,
                                     .commit = {.records = bytes_of(writer.data, writer.size), .record_count = 1},
                                     .outcomes = &outcome,
                                     .port = guard->port};
    const bool is_written = !writer.overflow && engine_call(engine, &request) == STATUS_OK && request.commit.status == STATUS_OK;
    if (is_written && outcome == OUTCOME_APPLIED) {
        trace_note("guardrail: %.*s of %.*s is breached by '%.*s': %s", (int)metric.size, (const char *)metric.data, (int)next->key.size,
                   (const char *)next->key.data, (int)variant.size, (const char *)variant.data,
                   next->guardrail_action == GUARDRAIL_ACTION_PAUSE ? "paused" : "new users get the control");
        told(guard, next);
    }
    free(frame);
    experiment_free(next);
}

static uint32_t guardrails_of(const struct catalog *catalog, const struct experiment *experiment, uint32_t metrics[LIMIT_EXPERIMENT_METRICS])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < experiment->metric_count; i++) {
        const uint32_t at = catalog_find_metric(catalog, experiment->metrics[i]);
        if (at != CATALOG_NONE && catalog->metrics[at]->current->is_guardrail) {
            metrics[count++] = at;
        }
    }
    return count;
}

/* The first breach there is, if any, is acted upon. */
static void breach_find(struct guard *guard, const struct catalog *catalog, const struct experiment *experiment, struct question *question)
{
    const struct metric *metrics[LIMIT_EXPERIMENT_METRICS];
    for (uint32_t i = 0; i < question->query.metric_count; i++) {
        metrics[i] = catalog->metrics[question->metrics[i]]->current;
    }
    const struct results_question asked = {.experiment = experiment,
                                           .metrics = metrics,
                                           .metric_count = question->query.metric_count,
                                           .data = &question->data,
                                           .now_us = engine_now_us(guard->options.engine),
                                           .start_day = INT32_MIN,
                                           .end_day = INT32_MAX,
                                           .confidence_level = ERROR_LEVEL,
                                           .test = RESULTS_TEST_SEQUENTIAL,
                                           .correction = STATS_CORRECTION_NONE,
                                           .family_factor = 1.0};
    struct results results;
    if (question->data.variant_count > experiment->variant_count || results_compute(&asked, &question->arena, &results) != STATUS_OK) {
        return;
    }
    for (uint32_t i = 0; i < question->data.variant_count; i++) {
        for (uint32_t j = 0; j < asked.metric_count; j++) {
            if (results_cell(&results, i, j)->guardrail == RESULTS_GUARDRAIL_BREACHED) {
                act(guard, experiment, metrics[j]->name, experiment->variants[i].name);
                return;
            }
        }
    }
}

static void experiment_judge(struct guard *guard, const struct catalog *catalog, uint32_t index)
{
    const struct experiment *experiment = catalog->experiments[index]->current;
    struct question question = {.query = {.experiment_index = index, .start_day = INT32_MIN, .end_day = INT32_MAX}};
    if (experiment->status != EXPERIMENT_RUNNING || experiment->guardrail_action == GUARDRAIL_ACTION_NONE || experiment->breached_at_us != 0) {
        return;
    }
    question.query.metrics = question.metrics;
    question.query.metric_count = guardrails_of(catalog, experiment, question.metrics);
    question.query.today = day_of(engine_now_us(guard->options.engine));
    if (question.query.metric_count == 0) {
        return;
    }
    arena_init(&question.arena, 16 * 1024);
    struct engine_request request = {.kind = ENGINE_READ, .read = question_read, .context = &question, .port = guard->port};
    if (engine_call(guard->options.engine, &request) == STATUS_OK && question.status == STATUS_OK) {
        breach_find(guard, catalog, experiment, &question);
    }
    arena_deinit(&question.arena);
}

/* All experiments, where anything was applied since the last time. */
static void pass(struct guard *guard)
{
    struct engine_counters counters;
    engine_counters(guard->options.engine, &counters);
    if (counters.applied_lsn == guard->judged_lsn) {
        return;
    }
    guard->judged_lsn = counters.applied_lsn;
    const struct catalog *catalog = engine_catalog(guard->options.engine);
    for (uint32_t i = 0; i < catalog->experiment_count && !atomic_load(&guard->is_stopping); i++) {
        experiment_judge(guard, catalog, i);
    }
    catalog_unref(catalog);
}

/* Breaches of before this start, which may not have been told. */
static void remind(struct guard *guard)
{
    const struct catalog *catalog = engine_catalog(guard->options.engine);
    const int64_t now_us = engine_now_us(guard->options.engine);
    for (uint32_t i = 0; i < catalog->experiment_count; i++) {
        const struct experiment *experiment = catalog->experiments[i]->current;
        if (experiment->breached_at_us != 0 && now_us - experiment->breached_at_us < REMINDED_US) {
            told(guard, experiment);
        }
    }
    catalog_unref(catalog);
}

static void *guard_main(void *data)
{
    struct guard *guard = data;
    int64_t passed_us = 0;
    remind(guard);
    while (!atomic_load(&guard->is_stopping)) {
        const int64_t now_us = engine_now_us(guard->options.engine);
        if (now_us - passed_us >= PASS_US || now_us < passed_us) {
            passed_us = now_us;
            pass(guard);
            if (guard->webhook != NULL) {
                webhook_turn(guard->webhook, now_us);
            }
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = STOP_CHECK_NS}, NULL);
    }
    return NULL;
}

enum status guard_start(const struct guard_options *options, struct guard **out_guard)
{
    struct guard *guard = calloc(1, sizeof(*guard));
    if (guard == NULL) {
        return STATUS_NO_MEMORY;
    }
    guard->options = *options;
    enum status status = engine_port_open(options->engine, &guard->port);
    if (status == STATUS_OK && options->webhook_url != NULL) {
        status = webhook_open(options->webhook_url, options->webhook_secret, &guard->webhook);
    }
    if (status == STATUS_OK && pthread_create(&guard->thread, NULL, guard_main, guard) != 0) {
        status = STATUS_NO_MEMORY;
    }
    if (status != STATUS_OK) {
        webhook_close(guard->webhook);
        engine_port_close(guard->port);
        free(guard);
        return status;
    }
    *out_guard = guard;
    return STATUS_OK;
}

void guard_stop(struct guard *guard)
{
    if (guard == NULL) {
        return;
    }
    atomic_store(&guard->is_stopping, true);
    (void)pthread_join(guard->thread, NULL);
    webhook_close(guard->webhook);
    engine_port_close(guard->port);
    free(guard);
}
