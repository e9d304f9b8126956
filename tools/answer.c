/* answer.c: see answer.h. */
#include "tools/answer.h"

#include "api/json.h"

enum status answer_read(struct arena *arena, struct bytes json, struct error *error,
                        struct bytes *out_document)
{
    /* The longest a value grows is from "1e1" to a double. */
    const size_t capacity = json.size * 3 + 64;
    void *data = arena_take(arena, capacity);
    if (data == NULL) {
        return error_set(error, STATUS_NO_MEMORY, "out of memory");
    }
    struct pack_writer writer = pack_writer_on(data, capacity);
    struct json_reader reader = json_reader_on((const char *)json.data, json.size);
    if (!json_transcode(&reader, arena, &writer) || !json_at_end(&reader) || writer.overflow) {
        return error_set(error, STATUS_UNSUPPORTED,
                         "the answer is not JSON (at byte %zu): is this an assay server?",
                         reader.fault_offset);
    }
    *out_document = bytes_of(writer.data, writer.size);
    return STATUS_OK;
}

/* The value of one name in an encoded map. */
static bool member_find(struct bytes map, struct bytes name, struct bytes *out_value)
{
    struct pack_cursor cursor = pack_cursor_on(map);
    uint32_t count = 0;
    if (!pack_read_map(&cursor, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key;
        struct bytes value;
        if (!pack_read_text(&cursor, &key) || !pack_read_raw(&cursor, &value)) {
            return false;
        }
        if (bytes_equal(key, name)) {
            *out_value = value;
            return true;
        }
    }
    return false;
}

bool answer_find(struct bytes document, const char *path, struct bytes *out_value)
{
    struct bytes value = document;
    while (*path != '\0') {
        const size_t size = strcspn(path, ".");
        if (!member_find(value, bytes_of(path, size), &value)) {
            return false;
        }
        path += size + (path[size] == '.');
    }
    *out_value = value;
    return true;
}

bool answer_text(struct bytes document, const char *path, struct bytes *out_text)
{
    struct bytes value;
    if (!answer_find(document, path, &value)) {
        return false;
    }
    struct pack_cursor cursor = pack_cursor_on(value);
    return pack_read_text(&cursor, out_text);
}

bool answer_number(struct bytes document, const char *path, double *out_number)
{
    struct bytes encoded;
    struct pack_value value;
    if (!answer_find(document, path, &encoded)) {
        return false;
    }
    struct pack_cursor cursor = pack_cursor_on(encoded);
    if (!pack_read(&cursor, &value)) {
        return false;
    }
    switch (value.type) {
    case PACK_INT:
        *out_number = (double)value.as.integer;
        return true;
    case PACK_UINT:
        *out_number = (double)value.as.natural;
        return true;
    case PACK_DOUBLE:
        *out_number = value.as.number;
        return true;
    case PACK_MILLIONTHS:
        *out_number = (double)value.as.integer / 1e6;
        return true;
    case PACK_NIL:
    case PACK_BOOL:
    case PACK_TEXT:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        break;
    }
    return false;
}

uint64_t answer_count(struct bytes document, const char *path)
{
    struct bytes encoded;
    uint64_t count = 0;
    if (answer_find(document, path, &encoded)) {
        struct pack_cursor cursor = pack_cursor_on(encoded);
        (void)pack_read_uint(&cursor, &count);
    }
    return count;
}

bool answer_is_true(struct bytes document, const char *path)
{
    struct bytes encoded;
    bool value = false;
    if (answer_find(document, path, &encoded)) {
        struct pack_cursor cursor = pack_cursor_on(encoded);
        (void)pack_read_bool(&cursor, &value);
    }
    return value;
}

struct answer_items answer_items(struct bytes document, const char *path)
{
    struct answer_items items = {
        {NULL, NULL, false},
        0
    };
    struct bytes encoded;
    if (answer_find(document, path, &encoded)) {
        items.cursor = pack_cursor_on(encoded);
        if (!pack_read_array(&items.cursor, &items.left)) {
            items.left = 0;
        }
    }
    return items;
}

bool answer_next(struct answer_items *items, struct bytes *out_item)
{
    if (items->left == 0) {
        return false;
    }
    items->left--;
    return pack_read_raw(&items->cursor, out_item);
}

struct answer_items answer_members(struct bytes document, const char *path)
{
    struct answer_items members = {
        {NULL, NULL, false},
        0
    };
    struct bytes encoded;
    if (answer_find(document, path, &encoded)) {
        members.cursor = pack_cursor_on(encoded);
        if (!pack_read_map(&members.cursor, &members.left)) {
            members.left = 0;
        }
    }
    return members;
}

bool answer_next_member(struct answer_items *members, struct bytes *out_name,
                        struct bytes *out_value)
{
    if (members->left == 0) {
        return false;
    }
    members->left--;
    return pack_read_text(&members->cursor, out_name) && pack_read_raw(&members->cursor, out_value);
}
