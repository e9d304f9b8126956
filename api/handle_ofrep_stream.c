/* handle_ofrep_stream.c: GET /ofrep/v1/stream: server-sent events that tell OpenFeature's clients to evaluate anew. The answer
 * with all flags names the address. See docs/openfeature.md.
 *
 * What changes evaluations: definitions, each of which moves the catalog's generation, and the clock, as it passes a start, an
 * end or a step of a ramp. A stream keeps the last such instant and the next, so that a quiet second costs it two comparisons. */
#include <stdio.h>

#include "api/routes.h"
#include "api/stream.h"

struct schedule {
    int64_t last_us; /* the latest instant that is over; 0 where none is */
    int64_t next_us; /* the first that is to come; INT64_MAX where none is */
};

struct flag_stream {
    struct stream stream; /* first: next() finds the rest by it */
    uint64_t generation;
    struct schedule schedule;
    bool has_looked;
    char heard[64]; /* the tag of the client's last event, empty where it had none */
};

static void schedule_add(struct schedule *schedule, int64_t at_us, int64_t now_us)
{
    if (at_us <= now_us && at_us > schedule->last_us) {
        schedule->last_us = at_us;
    } else if (at_us > now_us && at_us < schedule->next_us) {
        schedule->next_us = at_us;
    }
}

static struct schedule schedule_of(const struct catalog *catalog, int64_t now_us)
{
    struct schedule schedule = {.next_us = INT64_MAX};
    for (uint32_t i = 0; i < catalog->experiment_count; i++) {
        const struct experiment *experiment = catalog->experiments[i]->current;
        if (experiment->status != EXPERIMENT_RUNNING) {
            continue;
        }
        schedule_add(&schedule, experiment->start_at_us, now_us);
        schedule_add(&schedule, experiment->end_at_us, now_us);
        for (uint32_t j = 0; j < experiment->ramp_count; j++) {
            schedule_add(&schedule, experiment->ramp[j].at_us, now_us);
        }
    }
    return schedule;
}

/* Generations are counted anew in each process, so its start is part of the tag. */
static void tag_write(const struct call *call, const struct flag_stream *self, char out_tag[64])
{
    (void)snprintf(out_tag, 64, "%llx-%llx-%llx", (unsigned long long)call->api->started_at_us,
                   (unsigned long long)self->generation, (unsigned long long)self->schedule.last_us);
}

/* To a client that comes without a tag, or with another, it is said at once: something may have changed between its evaluation
 * and its stream. */
static size_t flags_next(struct call *call, struct stream *stream, char *out_text)
{
    struct flag_stream *self = (struct flag_stream *)(void *)stream;
    const int64_t now_us = engine_now_us(call->engine);
    const uint64_t generation = engine_catalog_generation(call->engine);
    if (self->has_looked && generation == self->generation && now_us < self->schedule.next_us) {
        return 0;
    }
    call_refresh_catalog(call);
    self->has_looked = true;
    self->generation = call->catalog->generation;
    self->schedule = schedule_of(call->catalog, now_us);
    char tag[64];
    tag_write(call, self, tag);
    if (strcmp(tag, self->heard) == 0) {
        return 0;
    }
    memcpy(self->heard, tag, sizeof(tag));
    const int size = snprintf(out_text, STREAM_TEXT_SIZE,
                              "id: %s\nevent: message\n"
                              "data: {\"type\":\"refetchEvaluation\",\"etag\":\"%s\",\"lastModified\":%lld}\n\n",
                              tag, tag, (long long)(now_us / 1000000));
    assert(size > 0 && (size_t)size < STREAM_TEXT_SIZE);
    return (size_t)size;
}

void handle_ofrep_stream(struct call *call)
{
    static const char *const names[] = {"ticket", NULL};
    struct flag_stream *self = arena_take_zeroed(&call->arena, sizeof(*self));
    if (self == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names)) {
        return;
    }
    if (call->last_event_id.size < sizeof(self->heard)) {
        memcpy(self->heard, call->last_event_id.data, call->last_event_id.size);
    }
    self->stream.scope = SCOPE_ASSIGN;
    self->stream.next = flags_next;
    call_reply_stream(call, &self->stream);
}
