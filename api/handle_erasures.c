/* handle_erasures.c: DELETE /users/{user_id}, and the receipts of it. docs/privacy.md says what goes and what stays. */
#include <stdlib.h>

#include "api/handler.h"
#include "api/routes.h"
#include "engine/erasure.h"
#include "engine/user_set.h"

struct erasure_work {
    struct bytes user_id;
    struct user_traces traces; /* just before */
    struct erasure erasure;
    uint8_t outcome;
};

static void write_receipt(struct json_writer *writer, const struct erasure *erasure)
{
    json_key(writer, "receipt_id");
    json_uuid(writer, &erasure->receipt);
    json_key(writer, "erased_at");
    json_time(writer, erasure->erased_at_us);
    json_key(writer, "author");
    json_uuid(writer, &erasure->author);
    json_key(writer, "lsn");
    json_uint(writer, erasure->lsn);
    json_key(writer, "status");
    json_text(writer, "pending");
    json_key(writer, "results_erased");
    json_bool(writer, true);
    json_key(writer, "log_erased");
    json_bool(writer, false);
}

static void erasure_done(struct call *call)
{
    const struct erasure_work *work = call->handler_data;
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    call_refresh_catalog(call);
    const struct erasure *erasure = erasures_find(call->catalog->erasures, &work->erasure.receipt);
    assert(erasure != NULL); /* it was applied */
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_receipt(&writer, erasure);
    json_key(&writer, "events");
    json_uint(&writer, work->traces.events);
    json_key(&writer, "assignments");
    json_uint(&writer, work->traces.assignments);
    json_end_object(&writer);
    call_reply_json(call, 202, &writer);
}

/* Runs on the apply thread. */
static void read_traces(const struct state *state, void *context)
{
    struct erasure_work *work = context;
    state_user_traces(state, work->user_id, &work->traces);
}

static void traces_done(struct call *call)
{
    struct erasure_work *work = call->handler_data;
    uint8_t document[ERASURE_DOCUMENT_MAX];
    struct pack_writer writer = pack_writer_on(document, sizeof(document));
    work->erasure = (struct erasure){.receipt = handler_new_id(call),
                                     .author = handler_author(call),
                                     .user = user_print_of(work->user_id),
                                     .user_hash = work->traces.user_hash,
                                     .erased_at_us = call->received_at_us};
    erasure_encode(&work->erasure, &writer);
    assert(!writer.overflow);
    const struct definition definition = {.id = work->erasure.receipt,
                                          .version = 1,
                                          .author = work->erasure.author,
                                          .document = bytes_of(document, writer.size)};
    (void)handler_submit_definitions(call, RECORD_ERASURE, &definition, 1, &work->outcome, erasure_done);
}

void handle_user_erase(struct call *call)
{
    static const char *const names[] = {NULL};
    struct erasure_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    if (!call_query_only(call, names)) {
        return;
    }
    const char *fault = handler_text_fault(call->parameters[0], LIMIT_USER_ID);
    if (fault != NULL) {
        call_reply_problem(call, 422, "invalid_user_id", "The user id %s.", fault);
        return;
    }
    work->user_id = call->parameters[0];
    call->handler_data = work;
    call_set_read(call, read_traces, work);
    (void)call_submit(call, traces_done);
}

/* By the position in the log; the list is by user. */
static int receipt_order(const void *a, const void *b)
{
    const struct erasure *left = *(const struct erasure *const *)a;
    const struct erasure *right = *(const struct erasure *const *)b;
    return (left->lsn > right->lsn) - (left->lsn < right->lsn);
}

void handle_erasure_list(struct call *call)
{
    static const char *const names[] = {"limit", "cursor", NULL};
    struct handler_page page;
    if (!call_query_only(call, names) || !handler_page_read(call, &page)) {
        return;
    }
    const struct erasures *erasures = call->catalog->erasures;
    const uint32_t count = erasures != NULL ? erasures->count : 0;
    const struct erasure **order = arena_take(&call->arena, (count + 1ull) * sizeof(*order));
    if (order == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        order[i] = &erasures->items[i];
    }
    qsort(order, count, sizeof(*order), receipt_order);
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "erasures");
    json_begin_array(&writer);
    uint64_t at = page.cursor;
    for (; at < count && at < page.cursor + page.limit; at++) {
        json_begin_object(&writer);
        write_receipt(&writer, order[at]);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_key(&writer, "next_cursor");
    json_text(&writer, handler_cursor(call, at < count ? at : 0));
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

void handle_erasure_get(struct call *call)
{
    static const char *const names[] = {NULL};
    struct uuid receipt;
    if (!call_query_only(call, names)) {
        return;
    }
    const bool is_id = uuid_parse(call->parameters[0], &receipt) == STATUS_OK;
    const struct erasure *erasure = is_id ? erasures_find(call->catalog->erasures, &receipt) : NULL;
    if (erasure == NULL) {
        call_reply_problem(call, 404, "erasure_not_found", "there is no erasure with this receipt");
        return;
    }
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    write_receipt(&writer, erasure);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}
