/* replay_send.c: see replay_send.h. One thread: a batch is collected from the log and sent, then the next. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "api/json.h"
#include "tools/answer.h"
#include "tools/offline.h"
#include "tools/replay_send.h"

#define BATCH_EVENTS    1000u
#define BATCH_BYTES     ((size_t)512 * 1024)
#define EVENT_ID_SIZE   64
#define FAULTS_SHOWN    5u
#define ARENA_KEPT      ((size_t)8 * 1024 * 1024)
#define US_PER_SECOND   1000000
#define NS_PER_US       1000
#define PACE_STEP_US    2000 /* events closer together than this go in one request */

static_assert(BATCH_EVENTS <= LIMIT_EVENTS_PER_REQUEST, "a batch is one request");
static_assert(BATCH_BYTES + 2 * LIMIT_RECORD <= LIMIT_BODY, "a batch takes one more event");

struct sending {
    const struct replay_send *options;
    struct offline *offline;
    struct client *client;
    struct error *error;
    struct arena event_arena;
    struct arena reply_arena;
    struct json_writer events;
    uint32_t event_count;
    uint64_t last_lsn; /* looked at */
    uint64_t sent_lsn; /* everything up to it was answered */
    int64_t first_received_us;
    int64_t began_us;
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t rejected;
    struct progress progress;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static int64_t monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * US_PER_SECOND + now.tv_nsec / NS_PER_US;
}

static void batch_begin(struct sending *sending)
{
    arena_reset(&sending->event_arena, ARENA_KEPT);
    sending->events = json_writer_in(&sending->event_arena);
    sending->event_count = 0;
    json_begin_array(&sending->events);
}

static void faults_show(const struct sending *sending, struct bytes document)
{
    struct answer_items items = answer_items(document, "errors");
    struct bytes item;
    for (uint64_t shown = sending->rejected; shown < FAULTS_SHOWN && answer_next(&items, &item); shown++) {
        struct bytes message = {NULL, 0};
        (void)answer_text(item, "message", &message);
        note("refused, near lsn %llu: %.*s", (unsigned long long)sending->last_lsn, (int)message.size,
             (const char *)message.data);
    }
}

/* Sends what was collected. A body whose every event is bad is answered 422, with the same counts. */
static enum status batch_send(struct sending *sending)
{
    if (sending->event_count != 0) {
        json_end_array(&sending->events);
        if (sending->events.failed) {
            return error_set(sending->error, STATUS_NO_MEMORY, "out of memory");
        }
        const struct client_request request = {.method = "POST",
                                               .path = "/events",
                                               .content_type = "application/json",
                                               .body = bytes_of(sending->events.text, sending->events.size),
                                               .is_repeatable = true};
        struct client_reply reply = {0};
        struct bytes document = {NULL, 0};
        arena_reset(&sending->reply_arena, ARENA_KEPT);
        enum status status = client_send(sending->client, &request, sending->error, &reply);
        const bool is_counted = status == STATUS_OK || reply.status == 422;
        if (is_counted) {
            status = answer_read(&sending->reply_arena, reply.body, sending->error, &document);
        }
        if (status != STATUS_OK) {
            return status;
        }
        faults_show(sending, document);
        const uint64_t taken = answer_count(document, "accepted") + answer_count(document, "duplicates");
        sending->accepted += answer_count(document, "accepted");
        sending->duplicates += answer_count(document, "duplicates");
        sending->rejected += sending->event_count - (taken < sending->event_count ? taken : sending->event_count);
    }
    sending->sent_lsn = sending->last_lsn;
    progress_show(&sending->progress, sending->accepted + sending->duplicates + sending->rejected);
    batch_begin(sending);
    return STATUS_OK;
}

/* Waits until an event that was received then is due; what is due before goes out first. */
static enum status pace(struct sending *sending, int64_t received_us)
{
    if (sending->options->speed == 0) {
        return STATUS_OK;
    }
    if (sending->began_us == 0) {
        sending->began_us = monotonic_us();
        sending->first_received_us = received_us;
    }
    const int64_t due_us =
        sending->began_us + (received_us - sending->first_received_us) / (int64_t)sending->options->speed;
    enum status status = STATUS_OK;
    if (due_us - monotonic_us() > PACE_STEP_US) {
        status = batch_send(sending);
    }
    while (status == STATUS_OK && interrupted == 0 && due_us > monotonic_us()) {
        const int64_t left_us = due_us - monotonic_us();
        const int64_t step_us = left_us < US_PER_SECOND ? left_us : US_PER_SECOND - 1;
        const struct timespec step = {0, step_us > 0 ? step_us * NS_PER_US : 0};
        (void)nanosleep(&step, NULL);
    }
    return status;
}

static void event_write(struct sending *sending, const struct event *event, uint64_t lsn)
{
    struct json_writer *writer = &sending->events;
    json_begin_object(writer);
    json_key(writer, "event_id");
    if (event->event_id.size != 0) {
        json_text_bytes(writer, event->event_id);
    } else {
        char store[UUID_TEXT_SIZE];
        char id[EVENT_ID_SIZE];
        uuid_format(&sending->offline->first.store_id, store);
        (void)snprintf(id, sizeof(id), "%s:%llu", store, (unsigned long long)lsn);
        json_text(writer, id);
    }
    json_key(writer, "user_id");
    json_text_bytes(writer, event->user_id);
    json_key(writer, "event_type");
    json_text_bytes(writer, event->event_type);
    json_key(writer, "timestamp");
    json_time(writer, event->timestamp_us);
    if (event->properties.size != 0) {
        json_key(writer, "properties");
        (void)json_pack(writer, event->properties);
    }
    json_end_object(writer);
    sending->event_count++;
}

static bool is_wanted(const struct replay_send *options, const struct event *event)
{
    return event->timestamp_us >= options->start_us && event->timestamp_us < options->end_us &&
           (options->event_type == NULL || bytes_equal_text(event->event_type, options->event_type));
}

/* STATUS_END where the user has interrupted. */
static enum status record_visit(void *context, const struct record *record)
{
    struct sending *sending = context;
    struct event event;
    enum status status = interrupted != 0 ? STATUS_END : STATUS_OK;
    if (status == STATUS_OK && record->kind == RECORD_EVENT) {
        status = event_decode(record, &event);
        if (status == STATUS_OK && is_wanted(sending->options, &event)) {
            status = pace(sending, record->received_at_us);
            if (status == STATUS_OK && interrupted == 0) {
                event_write(sending, &event, record->lsn);
            }
        }
    }
    if (status != STATUS_OK || interrupted != 0) {
        return status != STATUS_OK ? status : STATUS_END;
    }
    sending->last_lsn = record->lsn;
    const bool is_full = sending->event_count == BATCH_EVENTS || sending->events.size >= BATCH_BYTES;
    return is_full ? batch_send(sending) : STATUS_OK;
}

static enum status records_send(struct sending *sending)
{
    const struct log_reader_options reader = {.io = sending->offline->io,
                                              .directory = OFFLINE_LOG,
                                              .from_lsn = sending->options->from_lsn != 0 ? sending->options->from_lsn : 1};
    progress_begin(&sending->progress, "sending", "events", 0);
    batch_begin(sending);
    enum status status = log_scan(&reader, sending->error, record_visit, sending);
    if (status == STATUS_OK) {
        status = batch_send(sending);
    }
    progress_end(&sending->progress, sending->accepted + sending->duplicates + sending->rejected);
    return status;
}

static void report(const struct sending *sending)
{
    char number[3][NUMBER_TEXT_SIZE];
    (void)printf("%s: %s events accepted, %s known already, %s refused\n", client_url(sending->client),
                 number_text(sending->accepted, number[0]), number_text(sending->duplicates, number[1]),
                 number_text(sending->rejected, number[2]));
}

static enum exit_code outcome(const struct sending *sending, enum status status)
{
    if (sending->client != NULL) {
        report(sending);
    }
    if (status == STATUS_OK) {
        return sending->rejected == 0 ? EXIT_GOOD : EXIT_DIFFERENCE;
    }
    if (sending->sent_lsn != 0) {
        note("to go on from here: --from-lsn %llu", (unsigned long long)sending->sent_lsn + 1);
    }
    return status == STATUS_END ? complain(EXIT_CANNOT, "interrupted") : complain(offline_exit(status), "%s", sending->error->text);
}

enum exit_code replay_send(const struct replay_send *options)
{
    struct error error = {""};
    struct sending sending = {.options = options, .error = &error};
    enum status status = offline_open(options->source, &error, &sending.offline);
    if (status == STATUS_OK) {
        status = client_open(&options->client, &error, &sending.client);
    }
    if (status == STATUS_OK) {
        const struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
        (void)sigaction(SIGINT, &action, NULL);
        status = records_send(&sending);
    }
    const enum exit_code code = outcome(&sending, status);
    arena_deinit(&sending.event_arena);
    arena_deinit(&sending.reply_arena);
    client_close(sending.client);
    offline_close(sending.offline);
    return code;
}
