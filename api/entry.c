/* entry.c: see entry.h. The fields of a document are rows of a table. */
#include "api/entry.h"

#include <stdio.h>

#include "api/handler.h"

#define ENTRY_ANY (ENTRY_ONE | ENTRY_BULK | ENTRY_EVERYWHERE | ENTRY_TEST)

struct entry_row {
    const char *name;
    unsigned shapes;
    void (*take)(struct entry_reading *reading, const struct pack_value *value,
                 struct bytes encoded);
};

static void entry_fault(struct entry_reading *reading, const char *name, const char *code,
                        const char *message)
{
    /* Of the entry as a whole, the path is without its last dot. */
    size_t size = strlen(reading->path) - (name[0] == '\0' && reading->path[0] != '\0');
    field_error_add(reading->errors, code, message, "%.*s%s", (int)size, reading->path, name);
}

static void take_user_id(struct entry_reading *reading, const struct pack_value *value,
                         struct bytes encoded)
{
    (void)encoded;
    if (value->type != PACK_TEXT) {
        entry_fault(reading, "user_id", "wrong_type", "must be text");
    } else if (handler_text_fault(value->as.bytes, LIMIT_USER_ID) != NULL) {
        entry_fault(reading, "user_id", "invalid_user_id",
                    "must be 1 to 255 bytes without control characters");
    } else {
        reading->entry->user_id = value->as.bytes;
    }
}

static void take_attributes(struct entry_reading *reading, const struct pack_value *value,
                            struct bytes encoded)
{
    if (value->type == PACK_NIL) {
        return;
    }
    if (value->type != PACK_MAP) {
        entry_fault(reading, "attributes", "wrong_type", "must be an object");
    } else if (encoded.size > LIMIT_ATTRIBUTES) {
        entry_fault(reading, "attributes", "too_large", "may take up to 8 KB as stored");
    } else if (value->as.count > 0) {
        reading->entry->attributes = encoded;
    }
}

static void take_enroll(struct entry_reading *reading, const struct pack_value *value,
                        struct bytes encoded)
{
    (void)encoded;
    if (value->type != PACK_BOOL) {
        entry_fault(reading, "enroll", "wrong_type", "must be true or false");
        return;
    }
    reading->entry->no_enrol = !value->as.boolean;
}

static void take_variant(struct entry_reading *reading, const struct pack_value *value,
                         struct bytes encoded)
{
    (void)encoded;
    if (value->type == PACK_NIL) {
        return;
    }
    const struct experiment *experiment = reading->experiment;
    for (uint32_t i = 0; value->type == PACK_TEXT && i < experiment->variant_count; i++) {
        if (bytes_equal(experiment->variants[i].name, value->as.bytes)) {
            reading->entry->forced_variant = i;
        }
    }
    if (reading->entry->forced_variant == ENTRY_NO_VARIANT) {
        entry_fault(reading, "variant", "unknown_variant",
                    "must be the name of a variant of this experiment");
    }
    reading->needs_scope = true;
}

static void take_assigned_at(struct entry_reading *reading, const struct pack_value *value,
                             struct bytes encoded)
{
    (void)encoded;
    int64_t us = 0;
    if (value->type == PACK_NIL) {
        return;
    }
    if (!handler_parse_time(value, &us)) {
        entry_fault(reading, "assigned_at", "invalid_timestamp",
                    "must be RFC 3339 text or epoch milliseconds");
    } else if (us < LIMIT_TIMESTAMP_MIN_US || us > reading->call->received_at_us) {
        entry_fault(reading, "assigned_at", "out_of_range", "must be from the year 2000 to now");
    } else {
        reading->entry->assigned_at_us = us;
    }
    reading->needs_scope = true;
}

static const struct entry_row entry_rows[] = {
    {"user_id",     ENTRY_ANY,                    take_user_id    },
    {"attributes",  ENTRY_ANY,                    take_attributes },
    {"enroll",      ENTRY_ONE | ENTRY_EVERYWHERE, take_enroll     },
    {"variant",     ENTRY_BULK,                   take_variant    },
    {"assigned_at", ENTRY_BULK,                   take_assigned_at},
};

struct targeting_subject entry_subject(const struct call *call, const struct entry *entry)
{
    return (struct targeting_subject){entry->user_id, entry->attributes, &call->catalog->user_sets};
}

static const struct entry_row *entry_row_find(struct bytes name, unsigned shape)
{
    for (size_t i = 0; i < COUNT_OF(entry_rows); i++) {
        if ((entry_rows[i].shapes & shape) != 0 && bytes_equal_text(name, entry_rows[i].name)) {
            return &entry_rows[i];
        }
    }
    return NULL;
}

void entry_read(struct entry_reading *reading, struct bytes document, unsigned shape)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &count)) {
        entry_fault(reading, "", "wrong_type", "must be an object");
        return;
    }
    bool has_user = false;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        struct bytes encoded;
        struct pack_value value;
        if (!pack_read_text(&cursor, &name) || !pack_read_raw(&cursor, &encoded)) {
            entry_fault(reading, "", "wrong_type", "must have texts as keys");
            return;
        }
        struct pack_cursor inner = pack_cursor_on(encoded);
        bool good = pack_read(&inner, &value);
        assert(good);
        const struct entry_row *row = entry_row_find(name, shape);
        if (row == NULL) {
            field_error_add(reading->errors, "unknown_field", "there is no such field here",
                            "%s%.*s", reading->path, (int)name.size, (const char *)name.data);
        } else {
            has_user = has_user || row->take == take_user_id;
            row->take(reading, &value, encoded);
        }
    }
    if (!has_user) {
        entry_fault(reading, "user_id", "required", "is required");
    }
}

bool entry_check(struct call *call, const struct field_errors *errors)
{
    if (errors->count == 0) {
        return true;
    }
    call_reply_field_errors(call, 422,
                            errors->count == 1 ? errors->items[0].code : "validation_failed",
                            errors, "The request breaks the rules listed in errors.");
    return false;
}

/* The query as attributes, except enroll. */
static bool read_query_attributes(struct call *call, struct entry *entry)
{
    struct pack_writer map = call_frame(call, LIMIT_ATTRIBUTES);
    struct bytes name;
    struct bytes value;
    size_t position = 0;
    uint32_t count = 0;
    size_t place = pack_map_begin(&map);
    while (call_query_next(call, &position, &name, &value)) {
        if (!bytes_equal_text(name, "enroll")) {
            pack_text(&map, name);
            pack_text(&map, value);
            count++;
        } else if (bytes_equal_text(value, "false")) {
            entry->no_enrol = true;
        } else if (!bytes_equal_text(value, "true")) {
            call_reply_problem(call, 422, "invalid_enroll", "enroll must be true or false.");
            return false;
        }
    }
    pack_container_end(&map, place, count);
    if (map.overflow) {
        call_reply_problem(call, 422, "too_large", "The attributes may take up to %u bytes.",
                           LIMIT_ATTRIBUTES);
        return false;
    }
    if (count > 0) {
        entry->attributes = bytes_of(map.data, map.size);
    }
    return true;
}

bool entry_read_path(struct call *call, struct entry *entry)
{
    entry->user_id = call->parameters[1];
    if (handler_text_fault(entry->user_id, LIMIT_USER_ID) != NULL) {
        call_reply_problem(call, 422, "invalid_user_id",
                           "The user id must be 1 to %u bytes without control characters.",
                           LIMIT_USER_ID);
        return false;
    }
    return read_query_attributes(call, entry);
}

bool entry_enter_users(struct call *call, struct bytes document, struct pack_cursor *out_cursor,
                       uint32_t *out_count)
{
    struct pack_cursor cursor = pack_cursor_on(document);
    struct bytes name;
    uint32_t fields = 0;
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &fields) || fields != 1 || !pack_read_text(&cursor, &name) ||
        !bytes_equal_text(name, "users") || !pack_read_array(&cursor, &count)) {
        call_reply_problem(call, 422, "validation_failed",
                           "The body must be {\"users\": [...]} and nothing else.");
        return false;
    }
    if (count > LIMIT_USERS_PER_REQUEST) {
        call_reply_problem(call, 413, "too_many_users", "A request may hold up to %u users.",
                           LIMIT_USERS_PER_REQUEST);
        return false;
    }
    *out_cursor = cursor;
    *out_count = count;
    return true;
}

void entry_read_users(struct pack_cursor *cursor, struct entry_reading *reading,
                      struct entry *entries, uint32_t count, unsigned shape)
{
    for (uint32_t i = 0; i < count; i++) {
        char path[32];
        struct bytes item;
        bool good = pack_read_raw(cursor, &item);
        assert(good); /* the document was checked as a whole */
        (void)snprintf(path, sizeof(path), "users[%u].", i);
        reading->path = path;
        reading->entry = &entries[i];
        entry_read(reading, item, shape);
    }
}
