/* handle_segment.c: Segment's tracking API, for its clients and those made after them, unmodified. Each message is rewritten
 * as an event of POST /events and then takes the same way: one parser, the same limits, the same records.
 *
 *   messageId -> event_id       userId, else anonymousId -> user_id       event, or the call's own name -> event_type
 *   properties or traits -> properties, with name, category, groupId, previousId where the call has them
 *   timestamp -> timestamp, put right by the difference between the client's clock (sentAt) and ours
 *
 * What else a message holds (context, integrations, ...) is passed over.
 */
#include "api/events_work.h"
#include "api/handler.h"
#include "api/routes.h"
#include "engine/timestamp.h"

#define ENCODED_MIN 512u /* a rewritten message takes this much more than it had, at most */

enum message_member {
    MEMBER_TYPE,
    MEMBER_MESSAGE_ID,
    MEMBER_USER_ID,
    MEMBER_ANONYMOUS_ID,
    MEMBER_EVENT,
    MEMBER_PROPERTIES,
    MEMBER_TRAITS,
    MEMBER_TIMESTAMP,
    MEMBER_ORIGINAL_TIMESTAMP,
    MEMBER_SENT_AT,
    MEMBER_NAME,
    MEMBER_CATEGORY,
    MEMBER_GROUP_ID,
    MEMBER_PREVIOUS_ID,
    MEMBER_WRITE_KEY,
    MEMBER_BATCH,
    MEMBER_END,
};

static const char *const member_names[] = {
    [MEMBER_TYPE] = "type",
    [MEMBER_MESSAGE_ID] = "messageId",
    [MEMBER_USER_ID] = "userId",
    [MEMBER_ANONYMOUS_ID] = "anonymousId",
    [MEMBER_EVENT] = "event",
    [MEMBER_PROPERTIES] = "properties",
    [MEMBER_TRAITS] = "traits",
    [MEMBER_TIMESTAMP] = "timestamp",
    [MEMBER_ORIGINAL_TIMESTAMP] = "originalTimestamp",
    [MEMBER_SENT_AT] = "sentAt",
    [MEMBER_NAME] = "name",
    [MEMBER_CATEGORY] = "category",
    [MEMBER_GROUP_ID] = "groupId",
    [MEMBER_PREVIOUS_ID] = "previousId",
    [MEMBER_WRITE_KEY] = "writeKey",
    [MEMBER_BATCH] = "batch",
};

/* The members of a message that mean something here, encoded; empty where they are missing or null. */
struct message {
    struct bytes members[MEMBER_END];
};

/* The calls, by the path's last piece and in a batch by `type`. */
struct segment_call {
    const char *name;
    const char *letter;      /* what pages of Segment's own script send to; NULL: none */
    bool has_event;          /* the type is the message's `event`, else the call's name */
    enum message_member payload;     /* what becomes the properties */
    enum message_member extra[2];    /* members put beside them; MEMBER_END: none */
};

static const struct segment_call calls[] = {
    {"track",    "t", true,  MEMBER_PROPERTIES, {MEMBER_END, MEMBER_END}      },
    {"identify", "i", false, MEMBER_TRAITS,     {MEMBER_END, MEMBER_END}      },
    {"page",     "p", false, MEMBER_PROPERTIES, {MEMBER_NAME, MEMBER_CATEGORY}},
    {"screen",   "s", false, MEMBER_PROPERTIES, {MEMBER_NAME, MEMBER_CATEGORY}},
    {"group",    "g", false, MEMBER_TRAITS,     {MEMBER_GROUP_ID, MEMBER_END} },
    {"alias",    "a", false, MEMBER_TRAITS,     {MEMBER_PREVIOUS_ID, MEMBER_END}},
};

static const struct segment_call *call_find(struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        if (bytes_equal_text(name, calls[i].name) || bytes_equal_text(name, calls[i].letter)) {
            return &calls[i];
        }
    }
    return NULL;
}

void segment_refuse(struct call *call, int status, const char *code, const char *detail)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "code");
    json_text(&writer, code);
    json_key(&writer, "message");
    json_text(&writer, detail);
    json_end_object(&writer);
    call_reply_json(call, status, &writer);
}

/* ---- reading ---- */

/* False where the value is no object. The document is well-formed. */
static bool message_read(struct bytes encoded, struct message *out_message)
{
    static const uint8_t nil = 0xc0;
    struct pack_cursor cursor = pack_cursor_on(encoded);
    uint32_t count = 0;
    *out_message = (struct message){0};
    if (!pack_read_map(&cursor, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        struct bytes value;
        if (!pack_read_text(&cursor, &name) || !pack_read_raw(&cursor, &value)) {
            return false;
        }
        for (size_t j = 0; j < MEMBER_END; j++) {
            if (value.data[0] != nil && bytes_equal_text(name, member_names[j])) {
                out_message->members[j] = value;
            }
        }
    }
    return true;
}

static bool text_of(const struct message *message, enum message_member member, struct bytes *out_text)
{
    struct pack_cursor cursor = pack_cursor_on(message->members[member]);
    return message->members[member].size != 0 && pack_read_text(&cursor, out_text) && out_text->size != 0;
}

static bool time_of(const struct message *message, enum message_member member, int64_t *out_us)
{
    struct pack_cursor cursor = pack_cursor_on(message->members[member]);
    struct pack_value value;
    return message->members[member].size != 0 && pack_read(&cursor, &value) && handler_parse_time(&value, out_us);
}

/* ---- writing ---- */

static void put_member(struct pack_writer *writer, const char *name, struct bytes encoded)
{
    pack_text_z(writer, name);
    pack_raw(writer, encoded);
}

/* The payload's own members win over the extra ones. */
static void put_properties(struct pack_writer *writer, const struct segment_call *kind, const struct message *message)
{
    static const uint8_t empty_map = 0x80;
    struct bytes payload = message->members[kind->payload];
    payload = payload.size != 0 ? payload : bytes_of(&empty_map, 1);
    struct pack_cursor cursor = pack_cursor_on(payload);
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &count)) {
        pack_raw(writer, payload); /* no object: the event will be refused for it */
        return;
    }
    bool has_extra[COUNT_OF(kind->extra)];
    uint32_t extra_count = 0;
    for (size_t i = 0; i < COUNT_OF(kind->extra); i++) {
        struct pack_value there;
        const enum message_member extra = kind->extra[i];
        has_extra[i] = extra != MEMBER_END && message->members[extra].size != 0 &&
                       !pack_map_find(payload, bytes_of_text(member_names[extra]), &there);
        extra_count += has_extra[i] ? 1 : 0;
    }
    pack_map(writer, count + extra_count);
    pack_raw(writer, bytes_of(cursor.at, (size_t)(cursor.end - cursor.at)));
    for (size_t i = 0; i < COUNT_OF(kind->extra); i++) {
        if (has_extra[i]) {
            put_member(writer, member_names[kind->extra[i]], message->members[kind->extra[i]]);
        }
    }
}

/* The event's time by our clock: received_at - (sentAt - timestamp), where the client says both. What is no time is left
 * as it is, to be refused. */
static void put_timestamp(struct pack_writer *writer, const struct call *call, const struct message *message,
                          const struct message *envelope)
{
    const enum message_member member =
        message->members[MEMBER_ORIGINAL_TIMESTAMP].size != 0 ? MEMBER_ORIGINAL_TIMESTAMP : MEMBER_TIMESTAMP;
    int64_t at_us = 0;
    int64_t sent_us = 0;
    if (!time_of(message, member, &at_us)) {
        pack_raw(writer, message->members[member]);
        return;
    }
    if (time_of(message, MEMBER_SENT_AT, &sent_us) || time_of(envelope, MEMBER_SENT_AT, &sent_us)) {
        at_us += call->received_at_us - sent_us;
    }
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(at_us, text);
    pack_text_z(writer, text);
}

static void put_event(struct pack_writer *writer, const struct call *call, const struct segment_call *kind,
                      const struct message *message, const struct message *envelope)
{
    struct bytes text;
    const struct bytes user = message->members[text_of(message, MEMBER_USER_ID, &text) ? MEMBER_USER_ID
                                                                                       : MEMBER_ANONYMOUS_ID];
    const bool has_time =
        message->members[MEMBER_TIMESTAMP].size != 0 || message->members[MEMBER_ORIGINAL_TIMESTAMP].size != 0;
    const bool has_id = message->members[MEMBER_MESSAGE_ID].size != 0;
    const bool has_type = !kind->has_event || message->members[MEMBER_EVENT].size != 0;
    pack_map(writer, 1u + (user.size != 0) + has_time + has_id + has_type);
    if (has_id) {
        put_member(writer, "event_id", message->members[MEMBER_MESSAGE_ID]);
    }
    if (user.size != 0) {
        put_member(writer, "user_id", user);
    }
    if (has_type && kind->has_event) {
        put_member(writer, "event_type", message->members[MEMBER_EVENT]);
    } else if (has_type) {
        pack_text_z(writer, "event_type");
        pack_text_z(writer, kind->name);
    }
    if (has_time) {
        pack_text_z(writer, "timestamp");
        put_timestamp(writer, call, message, envelope);
    }
    pack_text_z(writer, "properties");
    put_properties(writer, kind, message);
}

/* One of a batch. What is no message of a known type becomes an event without a user, which is refused as one. */
static void put_batched(struct pack_writer *writer, const struct call *call, struct bytes encoded,
                        const struct message *envelope)
{
    struct message message;
    struct bytes type = {NULL, 0};
    const struct segment_call *kind = NULL;
    if (message_read(encoded, &message)) {
        kind = text_of(&message, MEMBER_TYPE, &type) ? call_find(type) : NULL;
    }
    if (kind != NULL) {
        put_event(writer, call, kind, &message, envelope);
    } else {
        pack_nil(writer);
    }
}

/* ---- answering ---- */

static void reply_done(struct call *call, const struct events_work *work)
{
    struct json_writer writer = json_writer_in(&call->arena);
    json_begin_object(&writer);
    json_key(&writer, "success");
    json_bool(&writer, true);
    events_write_counts(&writer, work);
    json_end_object(&writer);
    call_reply_json(call, 200, &writer);
}

static void segment_done(struct call *call)
{
    if (call->request.commit.status != STATUS_OK) {
        call_reply_engine_status(call, call->request.commit.status);
        return;
    }
    reply_done(call, call->handler_data);
}

static void events_take(struct call *call, struct bytes events)
{
    struct events_work *work = arena_take_zeroed(&call->arena, sizeof(*work));
    if (work == NULL) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return;
    }
    const enum status status = events_parse(call, EVENT_BODY_MSGPACK, events, &work->batch);
    call_count_events(call, work->batch.received, status == STATUS_OK ? work->batch.rejected : work->batch.received);
    if (status != STATUS_OK) {
        events_reply_unreadable(call, status, &work->batch);
    } else if (work->batch.accepted != 0) {
        events_submit(call, work, segment_done);
    } else if (work->batch.rejected != 0) {
        call_reply_problem(call, 400, work->batch.rejections[0].code, "nothing was stored: %s",
                           work->batch.rejections[0].message);
    } else {
        reply_done(call, work); /* an empty batch */
    }
}

/* The messages of the body as one list of events, in the arena. */
static bool events_write(struct call *call, struct bytes document, const struct message *body,
                         const struct segment_call *kind, struct bytes *out_events)
{
    struct pack_cursor cursor = pack_cursor_on(body->members[MEMBER_BATCH]);
    uint32_t count = 1;
    if (kind == NULL && (body->members[MEMBER_BATCH].size == 0 || !pack_read_array(&cursor, &count))) {
        call_reply_problem(call, 400, "invalid_batch", "\"batch\" must be an array of messages");
        return false;
    }
    if (count > LIMIT_EVENTS_PER_REQUEST) {
        call_reply_problem(call, 413, "too_many_events", "a request may hold up to %u messages; nothing was stored",
                           LIMIT_EVENTS_PER_REQUEST);
        return false;
    }
    struct pack_writer writer = call_frame(call, document.size + (size_t)(count + 1) * ENCODED_MIN);
    pack_array(&writer, count);
    for (uint32_t i = 0; i < count && kind == NULL; i++) {
        struct bytes encoded;
        const bool good = pack_read_raw(&cursor, &encoded);
        assert(good);
        put_batched(&writer, call, encoded, body);
    }
    if (kind != NULL) {
        put_event(&writer, call, kind, body, body);
    }
    if (writer.overflow) {
        call_reply_engine_status(call, STATUS_NO_MEMORY);
        return false;
    }
    *out_events = bytes_of(writer.data, writer.size);
    return true;
}

void handle_segment(struct call *call)
{
    const struct bytes name = call->parameters[0];
    const struct segment_call *kind = call_find(name);
    struct bytes document = {NULL, 0};
    struct bytes events;
    struct message body = {0};
    struct bytes write_key = {NULL, 0};
    if (call->body.size == 0 && !auth_write_key(call, SCOPE_EVENTS_WRITE, write_key)) {
        return;
    }
    if (kind == NULL && !bytes_equal_text(name, "batch") && !bytes_equal_text(name, "b")) {
        call_reply_problem(call, 404, "not_found", "there is no such call: track, identify, page, screen, group, alias, batch");
        return;
    }
    if (!call_document(call, &document)) {
        return;
    }
    const bool is_object = message_read(document, &body);
    (void)text_of(&body, MEMBER_WRITE_KEY, &write_key);
    if (!auth_write_key(call, SCOPE_EVENTS_WRITE, write_key)) {
        return;
    }
    if (!is_object) {
        call_reply_problem(call, 400, "invalid_body", "the body must be an object");
        return;
    }
    if (events_write(call, document, &body, kind, &events)) {
        events_take(call, events);
    }
}
