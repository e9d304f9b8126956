/* event_parser.c: see event_parser.h.
 *
 * Properties may come before the fields that lead the record, so they are transcoded at a place beyond the longest head
 * and moved down behind the head once it is written: one parse whatever the order of the fields, and the move is a copy of
 * bytes that are in the cache.
 */
#include "api/event_parser.h"

#include <math.h>
#include <stdlib.h>

#include "api/handler.h"

/* An unknown field's name is repeated to the client up to this length. */
#define NAME_SHOWN_MAX 64u

#define REJECTED_WORDS ((LIMIT_EVENTS_PER_REQUEST + 63u) / 64u)

static_assert(EVENT_HEAD_MAX >= FORMAT_RECORD_HEADER_SIZE + 1 + (LIMIT_EVENT_ID + 3) +
                                    (LIMIT_USER_ID + 3) + (LIMIT_EVENT_TYPE + 3) + 9,
              "the head of an event's record must fit its reserve");

/* An event while it is read: the first fault found makes it a rejected one, and the rest is only passed over. */
struct event_draft {
    struct event event;
    unsigned seen; /* one bit a field */
    const char *code;
    const char *message;
};

/* A field's value, whichever form the body has. */
struct field_value {
    struct pack_value value; /* PACK_EXT stands for whatever no field takes */
    struct bytes map;        /* encoded, where value is a map */
    size_t text_size;        /* of the map as it was sent */
};

struct field_row {
    const char *name;
    size_t name_size;
    bool is_required;
    void (*take)(const struct event_batch *batch, struct event_draft *draft,
                 const struct field_value *value);
};

static void refuse(struct event_draft *draft, const char *code, const char *message)
{
    if (draft->code == NULL) {
        draft->code = code;
        draft->message = message;
    }
}

static void take_text(struct event_draft *draft, const struct pack_value *value, size_t limit,
                      const char *code, const char *message, struct bytes *out_text)
{
    if (value->type != PACK_TEXT) {
        refuse(draft, "wrong_type", message);
    } else if (handler_text_fault(value->as.bytes, limit) != NULL) {
        refuse(draft, code, message);
    } else {
        *out_text = value->as.bytes;
    }
}

static void take_event_id(const struct event_batch *batch, struct event_draft *draft,
                          const struct field_value *value)
{
    (void)batch;
    if (value->value.type == PACK_NIL) {
        return;
    }
    take_text(draft, &value->value, LIMIT_EVENT_ID, "invalid_event_id",
              "event_id must be text of 1 to 128 bytes without control characters",
              &draft->event.event_id);
}

static void take_user_id(const struct event_batch *batch, struct event_draft *draft,
                         const struct field_value *value)
{
    (void)batch;
    take_text(draft, &value->value, LIMIT_USER_ID, "invalid_user_id",
              "user_id must be text of 1 to 255 bytes without control characters",
              &draft->event.user_id);
}

static void take_event_type(const struct event_batch *batch, struct event_draft *draft,
                            const struct field_value *value)
{
    (void)batch;
    take_text(draft, &value->value, LIMIT_EVENT_TYPE, "invalid_event_type",
              "event_type must be text of 1 to 128 bytes without control characters",
              &draft->event.event_type);
}

static void take_timestamp(const struct event_batch *batch, struct event_draft *draft,
                           const struct field_value *value)
{
    int64_t us = 0;
    if (value->value.type == PACK_NIL) {
        return;
    }
    if (!handler_parse_time(&value->value, &us)) {
        refuse(draft, "invalid_timestamp",
               "timestamp must be RFC 3339 text such as 2026-01-01T10:00:00Z, or epoch "
               "milliseconds");
    } else if (us < LIMIT_TIMESTAMP_MIN_US) {
        refuse(draft, "timestamp_too_early",
               "timestamp must not be before 2000-01-01 (are these seconds? milliseconds are "
               "expected)");
    } else if (us > batch->received_at_us + LIMIT_TIMESTAMP_AHEAD_US) {
        refuse(draft, "timestamp_in_future",
               "timestamp must not be more than 24 hours ahead of the server's clock");
    } else {
        draft->event.timestamp_us = us;
    }
}

static void take_properties(const struct event_batch *batch, struct event_draft *draft,
                            const struct field_value *value)
{
    (void)batch;
    if (value->value.type == PACK_NIL) {
        return;
    }
    if (value->value.type != PACK_MAP) {
        refuse(draft, "wrong_type", "properties must be an object");
    } else if (value->text_size > LIMIT_PROPERTIES) {
        refuse(draft, "properties_too_large", "properties may take up to 32 KB");
    } else {
        draft->event.properties = value->map;
    }
}

#define FIELD_PROPERTIES 4u

static const struct field_row field_rows[] = {
    {"event_id",   8,  false, take_event_id  },
    {"user_id",    7,  true,  take_user_id   },
    {"event_type", 10, true,  take_event_type},
    {"timestamp",  9,  false, take_timestamp },
    {"properties", 10, false, take_properties},
};

static_assert(COUNT_OF(field_rows) == FIELD_PROPERTIES + 1, "properties are the last row");

/* The field of this name, noted as seen; COUNT_OF(field_rows) for one that must not be there, which refuses the event. */
static size_t field_find(const struct event_batch *batch, struct event_draft *draft,
                         struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(field_rows); i++) {
        if (field_rows[i].name_size != name.size ||
            memcmp(field_rows[i].name, name.data, name.size) != 0) {
            continue;
        }
        if ((draft->seen & 1u << i) != 0) {
            refuse(draft, "duplicate_field", "a field stands twice in the event");
            return COUNT_OF(field_rows);
        }
        draft->seen |= 1u << i;
        return i;
    }
    if (draft->code == NULL) {
        const char *message = name.size > NAME_SHOWN_MAX
                                  ? NULL
                                  : arena_format(batch->arena,
                                                 "unknown field \"%.*s\": an event's own fields "
                                                 "belong inside properties",
                                                 (int)name.size, (const char *)name.data);
        refuse(draft, "unknown_field",
               message != NULL ? message
                               : "unknown field: an event's own fields belong inside properties");
    }
    return COUNT_OF(field_rows);
}

static struct event_draft draft_make(const struct event_batch *batch)
{
    static const uint8_t empty_map = 0x80;
    struct event_draft draft = {0};
    draft.event.timestamp_us = batch->received_at_us;
    draft.event.properties = bytes_of(&empty_map, 1);
    return draft;
}

/* False where a property that some metric takes is a number beyond what can be summed exactly. */
static bool values_fit(const struct catalog *catalog, const struct event *event)
{
    const uint32_t *metrics = NULL;
    uint32_t count = catalog_metrics_of_event(catalog, event->event_type, &metrics);
    for (uint32_t i = 0; i < count; i++) {
        const struct metric *metric = catalog->metrics[metrics[i]]->current;
        struct pack_value value;
        int64_t millionths = 0;
        if (!metric_takes_values(metric) || !pack_map_find(event->properties, metric->property, &value)) {
            continue;
        }
        bool is_number = value.type == PACK_INT || value.type == PACK_UINT ||
                         value.type == PACK_DOUBLE || value.type == PACK_MILLIONTHS;
        if (is_number && !pack_to_millionths(&value, &millionths)) {
            return false;
        }
    }
    return true;
}

/* The checks that need the whole event. */
static void draft_complete(const struct event_batch *batch, struct event_draft *draft)
{
    static const char *const missing[] = {NULL, "user_id is required", "event_type is required"};
    for (size_t i = 0; i < COUNT_OF(missing); i++) {
        if (field_rows[i].is_required && (draft->seen & 1u << i) == 0) {
            refuse(draft, "required", missing[i]);
        }
    }
    if (draft->code == NULL && !values_fit(batch->catalog, &draft->event)) {
        refuse(draft, "value_out_of_range",
               "a property that a metric adds up must be below 9.2e12 in magnitude");
    }
}

static enum status note_rejected(struct event_batch *batch, const struct event_draft *draft)
{
    if (batch->rejected_bits == NULL) {
        batch->rejected_bits =
            arena_take_zeroed(batch->arena, REJECTED_WORDS * sizeof(*batch->rejected_bits));
        batch->rejections =
            arena_take(batch->arena, LIMIT_FIELD_ERRORS * sizeof(*batch->rejections));
        if (batch->rejected_bits == NULL || batch->rejections == NULL) {
            return STATUS_NO_MEMORY;
        }
    }
    uint32_t index = batch->received;
    batch->rejected_bits[index / 64] |= (uint64_t)1 << index % 64;
    batch->rejected++;
    if (batch->rejection_count < LIMIT_FIELD_ERRORS) {
        batch->rejections[batch->rejection_count++] =
            (struct event_rejection){index, draft->code, draft->message};
    }
    return STATUS_OK;
}

static enum status encode(struct event_batch *batch, const struct event *event)
{
    struct pack_writer *frame = &batch->frame;
    size_t start = frame->size;
    if (frame->capacity - start < EVENT_HEAD_MAX + event->properties.size) {
        return STATUS_NO_SPACE;
    }
    size_t place = event_encode_begin(frame, event, batch->received_at_us);
    assert(frame->size - start <= EVENT_HEAD_MAX);
    /* The properties may lie further up in this same frame. */
    memmove(frame->data + frame->size, event->properties.data, event->properties.size);
    frame->size += event->properties.size;
    event_encode_end(frame, place);
    batch->accepted++;
    return STATUS_OK;
}

/* An event was read to its end: into the frame, or onto the list of the rejected. */
static enum status draft_finish(struct event_batch *batch, struct event_draft *draft,
                                struct arena_mark scratch)
{
    draft_complete(batch, draft);
    enum status status =
        draft->code == NULL ? encode(batch, &draft->event) : note_rejected(batch, draft);
    batch->received++;
    if (draft->code == NULL || batch->rejected > LIMIT_FIELD_ERRORS) {
        arena_rewind(batch->arena, scratch); /* a noted rejection keeps its message there */
    }
    return status;
}

/* JSON. */

static bool read_json_map(struct event_batch *batch, struct field_value *out_value)
{
    struct pack_writer *frame = &batch->frame;
    size_t start = frame->size;
    if (frame->capacity - start <= EVENT_HEAD_MAX) {
        frame->overflow = true;
        return false;
    }
    const char *text = batch->reader.at;
    frame->size = start + EVENT_HEAD_MAX;
    bool good = json_transcode(&batch->reader, batch->arena, frame);
    size_t size = frame->size - start - EVENT_HEAD_MAX;
    frame->size = start;
    out_value->value.type = PACK_MAP;
    out_value->map = bytes_of(frame->data + start + EVENT_HEAD_MAX, size);
    out_value->text_size = (size_t)(batch->reader.at - text);
    return good && !frame->overflow;
}

/* False on a fault of the text, or where the frame is full. */
static bool read_json_value(struct event_batch *batch, size_t field, struct field_value *out_value)
{
    struct json_reader *reader = &batch->reader;
    char kind = json_peek(reader);
    if (kind == '"') {
        out_value->value.type = PACK_TEXT;
        return json_read_string(reader, batch->arena, &out_value->value.as.bytes);
    }
    if (kind == '0') {
        return json_read_number(reader, &out_value->value);
    }
    if (kind == '{' && field == FIELD_PROPERTIES) {
        return read_json_map(batch, out_value);
    }
    out_value->value.type = kind == 'n' ? PACK_NIL : PACK_EXT;
    return json_skip(reader, batch->arena);
}

static enum status json_failure(const struct event_batch *batch)
{
    if (batch->reader.fault != NULL) {
        return STATUS_INVALID;
    }
    return batch->frame.overflow ? STATUS_NO_SPACE : STATUS_NO_MEMORY;
}

static enum status read_json_fields(struct event_batch *batch, struct event_draft *draft)
{
    bool first = true;
    struct bytes name;
    if (!json_enter_object(&batch->reader)) {
        return json_failure(batch);
    }
    while (json_next_key(&batch->reader, &first, batch->arena, &name)) {
        size_t field = field_find(batch, draft, name);
        struct field_value value = {0};
        if (!read_json_value(batch, field, &value)) {
            return json_failure(batch);
        }
        if (field < COUNT_OF(field_rows)) {
            field_rows[field].take(batch, draft, &value);
        }
    }
    return batch->reader.fault == NULL ? STATUS_OK : STATUS_INVALID;
}

/* One event. A limit broken by one of several rejects that one; the fault of a lone one is the body's. */
static enum status parse_json_event(struct event_batch *batch, bool is_alone)
{
    if (batch->received == LIMIT_EVENTS_PER_REQUEST) {
        return STATUS_TOO_LARGE;
    }
    struct arena_mark scratch = arena_mark(batch->arena);
    struct event_draft draft = draft_make(batch);
    char kind = json_peek(&batch->reader);
    if (kind == '{') {
        struct json_reader before = batch->reader;
        size_t frame_size = batch->frame.size;
        enum status status = read_json_fields(batch, &draft);
        struct json_reader faulty = batch->reader;
        if (status == STATUS_INVALID && !is_alone && json_recover(&batch->reader, &before)) {
            batch->frame.size = frame_size;
            refuse(&draft, faulty.fault, faulty.message);
        } else if (status != STATUS_OK) {
            return status;
        }
    } else {
        refuse(&draft, "wrong_type", "an event must be an object");
        if (!json_skip(&batch->reader, batch->arena)) {
            return json_failure(batch);
        }
    }
    return draft_finish(batch, &draft, scratch);
}

static enum status parse_json_array(struct event_batch *batch)
{
    bool first = true;
    if (!json_enter_array(&batch->reader)) {
        return json_failure(batch);
    }
    while (json_next_item(&batch->reader, &first)) {
        enum status status = parse_json_event(batch, false);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return batch->reader.fault == NULL ? STATUS_OK : STATUS_INVALID;
}

static enum status refuse_shape(struct event_batch *batch, const char *code, const char *message)
{
    batch->fault_code = code;
    batch->fault_message = message;
    return STATUS_UNSUPPORTED;
}

static enum status refuse_envelope(struct event_batch *batch)
{
    return refuse_shape(batch, "unknown_field",
                        "a body with \"events\" must hold nothing but this array");
}

/* One event, or {"events": [...]}: the first key tells. */
static enum status parse_json_object(struct event_batch *batch)
{
    struct json_reader ahead = batch->reader;
    bool first = true;
    struct bytes key;
    bool is_envelope = json_enter_object(&ahead) &&
                       json_next_key(&ahead, &first, batch->arena, &key) &&
                       bytes_equal_text(key, "events");
    if (!is_envelope) {
        return parse_json_event(batch, true);
    }
    batch->reader = ahead;
    char kind = json_peek(&batch->reader);
    if (kind != '[' && kind != '\0') {
        return refuse_shape(batch, "wrong_type", "\"events\" must be an array");
    }
    enum status status = parse_json_array(batch);
    if (status != STATUS_OK) {
        return status;
    }
    if (json_next_key(&batch->reader, &first, batch->arena, &key)) {
        return refuse_envelope(batch);
    }
    return batch->reader.fault == NULL ? STATUS_OK : STATUS_INVALID;
}

static enum status parse_json(struct event_batch *batch)
{
    char kind = json_peek(&batch->reader);
    enum status status = kind == '['   ? parse_json_array(batch)
                         : kind == '{' ? parse_json_object(batch)
                                       : parse_json_event(batch, true);
    return status == STATUS_OK && !json_at_end(&batch->reader) ? STATUS_INVALID : status;
}

/* True at a line's end, or the body's; else the fault is noted. */
static bool line_ends(struct json_reader *reader)
{
    const char *at = reader->at;
    while (at < reader->end && (*at == ' ' || *at == '\t' || *at == '\r')) {
        at++;
    }
    if (at >= reader->end || *at == '\n') {
        return true;
    }
    reader->fault = "json_trailing";
    reader->message = "each line must hold one JSON value";
    reader->fault_offset = (size_t)(at - reader->text);
    return false;
}

static enum status parse_lines(struct event_batch *batch)
{
    while (json_peek(&batch->reader) != '\0') {
        enum status status = parse_json_event(batch, false);
        if (status != STATUS_OK) {
            return status;
        }
        if (!line_ends(&batch->reader)) {
            return STATUS_INVALID;
        }
    }
    return batch->reader.fault == NULL ? STATUS_OK : STATUS_INVALID;
}

/* msgpack. */

static int compare_bytes(const void *a, const void *b)
{
    const struct bytes *one = a;
    const struct bytes *other = b;
    int order = memcmp(one->data, other->data, size_min(one->size, other->size));
    if (order != 0) {
        return order;
    }
    return (one->size > other->size) - (one->size < other->size);
}

/* The keys of maps up to this size are compared with each other as they come; those of larger ones are sorted first. */
#define KEYS_COMPARED 16u

/* The keys of a large map whose header was just read: texts, each once. The cursor is the caller's copy. */
static const char *large_map_fault(struct arena *arena, struct pack_cursor cursor, uint32_t count)
{
    if (count > LIMIT_OBJECT_KEYS) {
        return "an object of properties has too many keys";
    }
    struct arena_mark mark = arena_mark(arena);
    struct bytes *keys = arena_take(arena, count * sizeof(*keys));
    const char *fault = keys == NULL ? "no memory to check the keys" : NULL;
    for (uint32_t i = 0; i < count && fault == NULL; i++) {
        if (!pack_read_text(&cursor, &keys[i]) || !pack_skip(&cursor)) {
            fault = "the keys of properties must be texts";
        }
    }
    if (fault == NULL) {
        qsort(keys, count, sizeof(*keys), compare_bytes);
    }
    for (uint32_t i = 1; i < count && fault == NULL; i++) {
        if (bytes_equal(keys[i - 1], keys[i])) {
            fault = "a key stands twice in properties";
        }
    }
    arena_rewind(arena, mark);
    return fault;
}

/* An open container on the way through a value. */
struct pack_level {
    uint32_t left; /* members to come */
    bool is_map;
    uint32_t key_count; /* of a small map: its keys so far */
};

struct pack_walk {
    struct pack_cursor cursor;
    uint32_t depth;
    struct pack_level levels[LIMIT_JSON_DEPTH];
    struct bytes keys[LIMIT_JSON_DEPTH][KEYS_COMPARED];
};

static const char *walk_key(struct pack_walk *walk)
{
    struct pack_level *level = &walk->levels[walk->depth - 1];
    struct bytes *keys = walk->keys[walk->depth - 1];
    struct bytes key;
    if (!level->is_map) {
        return NULL;
    }
    if (!pack_read_text(&walk->cursor, &key)) {
        return "the keys of properties must be texts";
    }
    if (level->key_count == KEYS_COMPARED) {
        return NULL; /* a large map: checked when it was entered */
    }
    for (uint32_t i = 0; i < level->key_count; i++) {
        if (bytes_equal(keys[i], key)) {
            return "a key stands twice in properties";
        }
    }
    keys[level->key_count++] = key;
    return NULL;
}

static const char *walk_enter(struct pack_walk *walk, struct arena *arena,
                              const struct pack_value *value)
{
    bool is_map = value->type == PACK_MAP;
    bool is_large = is_map && value->as.count > KEYS_COMPARED;
    if (walk->depth == LIMIT_JSON_DEPTH) {
        return "properties are nested too deeply";
    }
    walk->levels[walk->depth++] =
        (struct pack_level){value->as.count, is_map, is_large ? KEYS_COMPARED : 0};
    return is_large ? large_map_fault(arena, walk->cursor, value->as.count) : NULL;
}

static const char *walk_value(struct pack_walk *walk, struct arena *arena)
{
    struct pack_value value;
    if (!pack_read(&walk->cursor, &value)) {
        return "properties are no well-formed msgpack";
    }
    if (value.type == PACK_MAP || value.type == PACK_ARRAY) {
        return walk_enter(walk, arena, &value);
    }
    if (value.type == PACK_BIN || value.type == PACK_EXT ||
        (value.type == PACK_DOUBLE && !isfinite(value.as.number))) {
        return "properties must hold only what JSON has: no binary, extensions or infinities";
    }
    return NULL;
}

/* Why well-formed msgpack could not have come from JSON; NULL where it could. So everything stored can be read back as
 * JSON. */
static const char *not_json_fault(struct arena *arena, struct bytes encoded)
{
    struct pack_walk walk;
    walk.cursor = pack_cursor_on(encoded);
    walk.depth = 0;
    const char *fault = walk_value(&walk, arena);
    while (fault == NULL) {
        while (walk.depth > 0 && walk.levels[walk.depth - 1].left == 0) {
            walk.depth--;
        }
        if (walk.depth == 0) {
            return NULL;
        }
        walk.levels[walk.depth - 1].left--;
        fault = walk_key(&walk);
        if (fault == NULL) {
            fault = walk_value(&walk, arena);
        }
    }
    return fault;
}

/* The body was checked as a whole, so reads cannot fail. */
static struct field_value read_packed_value(const struct event_batch *batch,
                                            struct pack_cursor *cursor, struct event_draft *draft)
{
    struct field_value out = {0};
    struct pack_cursor ahead = *cursor;
    bool good = pack_read(&ahead, &out.value);
    assert(good);
    if (out.value.type != PACK_MAP && out.value.type != PACK_ARRAY) {
        *cursor = ahead;
        return out;
    }
    good = pack_read_raw(cursor, &out.map);
    assert(good);
    out.text_size = out.map.size;
    if (out.value.type == PACK_MAP && draft->code == NULL && out.text_size <= LIMIT_PROPERTIES) {
        const char *fault = not_json_fault(batch->arena, out.map);
        if (fault != NULL) {
            refuse(draft, "invalid_properties", fault);
        }
    }
    return out;
}

static enum status parse_packed_event(struct event_batch *batch, struct pack_cursor *cursor)
{
    if (batch->received == LIMIT_EVENTS_PER_REQUEST) {
        return STATUS_TOO_LARGE;
    }
    struct arena_mark scratch = arena_mark(batch->arena);
    struct event_draft draft = draft_make(batch);
    struct pack_cursor inner = *cursor;
    uint32_t count = 0;
    if (!pack_read_map(&inner, &count)) {
        inner = *cursor;
        bool good = pack_skip(&inner);
        assert(good);
        refuse(&draft, "wrong_type", "an event must be a map");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct field_value name = read_packed_value(batch, &inner, &draft);
        struct bytes text = name.value.type == PACK_TEXT ? name.value.as.bytes : bytes_of("?", 1);
        size_t field = field_find(batch, &draft, text);
        struct field_value value = read_packed_value(batch, &inner, &draft);
        if (field < COUNT_OF(field_rows)) {
            field_rows[field].take(batch, &draft, &value);
        }
    }
    *cursor = inner;
    return draft_finish(batch, &draft, scratch);
}

/* Moves past the header of {"events": [...]}; false, and nothing is taken, where the body is something else. */
static bool take_packed_envelope(struct pack_cursor *cursor, uint32_t *out_fields)
{
    struct pack_cursor ahead = *cursor;
    struct bytes key;
    if (!pack_read_map(&ahead, out_fields) || *out_fields == 0 || !pack_read_text(&ahead, &key) ||
        !bytes_equal_text(key, "events")) {
        return false;
    }
    *cursor = ahead;
    return true;
}

static enum status parse_packed(struct event_batch *batch, struct bytes body)
{
    if (!pack_check(body)) {
        batch->fault_code = "msgpack_syntax";
        batch->fault_message = "the body must be exactly one well-formed msgpack value";
        return STATUS_INVALID;
    }
    struct pack_cursor cursor = pack_cursor_on(body);
    uint32_t fields = 0;
    bool is_envelope = take_packed_envelope(&cursor, &fields);
    if (is_envelope && fields != 1) {
        return refuse_envelope(batch);
    }
    struct pack_cursor ahead = cursor;
    uint32_t count = 0;
    if (!pack_read_array(&ahead, &count)) {
        return is_envelope ? refuse_shape(batch, "wrong_type", "\"events\" must be an array")
                           : parse_packed_event(batch, &cursor);
    }
    for (uint32_t i = 0; i < count; i++) {
        enum status status = parse_packed_event(batch, &ahead);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

enum status event_batch_parse(struct event_batch *batch, enum event_body kind, struct bytes body)
{
    enum status status = STATUS_OK;
    if (kind == EVENT_BODY_MSGPACK) {
        return parse_packed(batch, body);
    }
    batch->reader = json_reader_on((const char *)body.data, body.size);
    status = kind == EVENT_BODY_NDJSON ? parse_lines(batch) : parse_json(batch);
    if (status == STATUS_INVALID) {
        batch->fault_code = batch->reader.fault;
        batch->fault_message = batch->reader.message;
    }
    return status;
}

uint32_t event_batch_index(const struct event_batch *batch, uint32_t record)
{
    assert(record < batch->accepted);
    if (batch->rejected_bits == NULL) {
        return record;
    }
    uint32_t index = 0;
    for (uint32_t left = record;; index++) {
        bool is_rejected = (batch->rejected_bits[index / 64] >> index % 64 & 1) != 0;
        if (!is_rejected && left-- == 0) {
            return index;
        }
    }
}
