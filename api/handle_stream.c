/* handle_stream.c: GET /stream: server-sent events that say what changed, for whoever shows it. See docs/api.md. */
#include <stdio.h>

#include "api/routes.h"
#include "api/server.h"
#include "api/stream.h"

/* What the event `status` tells. No padding: two of them are compared as bytes. */
struct stream_counts {
    uint64_t durable_lsn;
    uint64_t applied_lsn;
    uint64_t events_received;
    uint64_t events_rejected;
    uint64_t events_applied;
    uint64_t events_duplicate;
    uint64_t users;
    uint64_t assignments;
    uint64_t commits_queued;
    uint64_t can_write;
};

static_assert(sizeof(struct stream_counts) == 10 * sizeof(uint64_t), "compared as bytes");

struct change_stream {
    struct stream stream; /* first: next() finds the rest by it */
    bool has_told;
    struct stream_counts counts; /* as last told; so the next two */
    uint64_t generation;
};

static struct stream_counts counts_now(const struct call *call)
{
    struct engine_counters engine;
    struct server_counters server = {0};
    engine_counters(call->engine, &engine);
    if (call->api->server != NULL) {
        server_counters(call->api->server, &server);
    }
    return (struct stream_counts){
        .durable_lsn = engine.durable_lsn,
        .applied_lsn = engine.applied_lsn,
        .events_received = server.events_received,
        .events_rejected = server.events_rejected,
        .events_applied = engine.events_applied,
        .events_duplicate = engine.events_duplicate,
        .users = engine.users,
        .assignments = engine.assignments,
        .commits_queued = engine.commits_queued,
        .can_write = engine_can_write(call->engine),
    };
}

static void text_add(char *text, size_t *size, const char *format, ...) PRINTF_LIKE(3, 4);

static void text_add(char *text, size_t *size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int added = vsnprintf(text + *size, STREAM_TEXT_SIZE - *size, format, arguments);
    va_end(arguments);
    assert(added >= 0 && (size_t)added < STREAM_TEXT_SIZE - *size); /* three events of numbers are far from filling it */
    *size += (size_t)added;
}

static void add_status(char *text, size_t *size, const struct stream_counts *counts)
{
    text_add(text, size,
             "event: status\ndata: {\"durable_lsn\":%llu,\"applied_lsn\":%llu,\"events_received\":%llu,\"events_rejected\":%llu,"
             "\"events_applied\":%llu,\"events_duplicate\":%llu,\"users\":%llu,\"assignments\":%llu,\"commits_queued\":%llu,"
             "\"can_write\":%s}\n\n",
             (unsigned long long)counts->durable_lsn, (unsigned long long)counts->applied_lsn,
             (unsigned long long)counts->events_received, (unsigned long long)counts->events_rejected,
             (unsigned long long)counts->events_applied, (unsigned long long)counts->events_duplicate,
             (unsigned long long)counts->users, (unsigned long long)counts->assignments,
             (unsigned long long)counts->commits_queued, counts->can_write != 0 ? "true" : "false");
}

static size_t changes_next(struct call *call, struct stream *stream, char *out_text)
{
    struct change_stream *self = (struct change_stream *)(void *)stream;
    const struct stream_counts counts = counts_now(call);
    const uint64_t generation = engine_catalog_generation(call->engine);
    size_t size = 0;
    if (!self->has_told || generation != self->generation) {
        text_add(out_text, &size, "event: definitions\ndata: {\"generation\":%llu}\n\n", (unsigned long long)generation);
    }
    if (!self->has_told || counts.applied_lsn != self->counts.applied_lsn) {
        text_add(out_text, &size, "event: results\ndata: {\"applied_lsn\":%llu}\n\n", (unsigned long long)counts.applied_lsn);
    }
    if (!self->has_told || memcmp(&counts, &self->counts, sizeof(counts)) != 0) {
        add_status(out_text, &size, &counts);
    }
    self->has_told = true;
    self->counts = counts;
    self->generation = generation;
    return size;
}

void handle_stream(struct call *call)
{
    static const char *const names[] = {NULL};
    struct change_stream *self = arena_take_zeroed(&call->arena, sizeof(*self));
    if (self == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names)) {
        return;
    }
    self->stream.scope = SCOPE_RESULTS_READ;
    self->stream.next = changes_next;
    call_reply_stream(call, &self->stream);
}
