/* metric_parts.c: see metric_parts.h. */
#include "api/metric_parts.h"

#include "api/handler.h"
#include "engine/limits.h"

/* What is put into a part beside what the client said of it. */
#define PART_ROOM (2u * LIMIT_KEY + 64)

static const char *const members[METRIC_PARTS] = {"numerator", "denominator"};

static bool reply_no_memory(struct call *call)
{
    call_reply_engine_status(call, STATUS_NO_MEMORY);
    return false;
}

static struct pack_writer writer_of(struct call *call, size_t capacity)
{
    void *data = arena_take(&call->arena, capacity);
    return pack_writer_on(data, data != NULL ? capacity : 0);
}

static int member_of(struct bytes key)
{
    for (size_t i = 0; i < METRIC_PARTS; i++) {
        if (bytes_equal_text(key, members[i])) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_map(struct bytes encoded)
{
    struct pack_cursor cursor = pack_cursor_on(encoded);
    uint32_t count = 0;
    return pack_read_map(&cursor, &count);
}

/* {"name": part_name, "type": "mean", ...described}. A name or a type of its own would stand twice: that is told there. */
static bool part_write(struct call *call, struct bytes described, const char *part_name, struct bytes *out_document)
{
    struct pack_cursor cursor = pack_cursor_on(described);
    uint32_t count = 0;
    const bool good = pack_read_map(&cursor, &count);
    assert(good);
    struct pack_writer writer = writer_of(call, described.size + PART_ROOM);
    pack_map(&writer, count + 2);
    pack_text_z(&writer, "name");
    pack_text_z(&writer, part_name);
    pack_text_z(&writer, "type");
    pack_text_z(&writer, "mean");
    pack_raw(&writer, bytes_of(cursor.at, (size_t)(cursor.end - cursor.at)));
    *out_document = bytes_of(writer.data, writer.size);
    return !writer.overflow || reply_no_memory(call);
}

/* False where the part names itself. */
static bool part_check(struct call *call, struct bytes described, const char *member)
{
    static const char *const ours[] = {"name", "type"};
    struct field_errors errors = field_errors_in(&call->arena);
    struct pack_value value;
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        if (pack_map_find(described, bytes_of_text(ours[i]), &value)) {
            field_error_add(&errors, "not_allowed", "is set by assay: the part is a mean, named after the ratio", "%s.%s",
                            member, ours[i]);
        }
    }
    if (errors.count != 0) {
        handler_reply_refused(call, STATUS_INVALID, &errors);
    }
    return errors.count == 0;
}

static bool member_take(struct call *call, struct bytes name, int member, struct bytes value, struct pack_writer *writer,
                        struct metric_parts *parts)
{
    if (member < 0 || !is_map(value)) {
        pack_raw(writer, value);
        return true;
    }
    const char *part_name = arena_format(&call->arena, "%.*s_%s", (int)name.size, (const char *)name.data, members[member]);
    if (part_name == NULL) {
        return reply_no_memory(call);
    }
    pack_text_z(writer, part_name);
    return part_check(call, value, members[member]) && part_write(call, value, part_name, &parts->documents[member]);
}

bool metric_parts_take(struct call *call, struct bytes document, struct metric_parts *out_parts)
{
    *out_parts = (struct metric_parts){.document = document, .members = {members[0], members[1]}};
    struct pack_cursor cursor = pack_cursor_on(document);
    struct pack_value name;
    uint32_t count = 0;
    /* Without a usable name nothing can be named after it: the definition's own checks say so. */
    if (!pack_read_map(&cursor, &count) || !pack_map_find(document, bytes_of_text("name"), &name) || name.type != PACK_TEXT ||
        name.as.bytes.size > LIMIT_KEY) {
        return true;
    }
    struct pack_writer writer = writer_of(call, document.size + METRIC_PARTS * PART_ROOM);
    pack_map(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key;
        struct bytes value;
        if (!pack_read_text(&cursor, &key) || !pack_read_raw(&cursor, &value)) {
            return true; /* no definition: told by its checks */
        }
        pack_text(&writer, key);
        if (!member_take(call, name.as.bytes, member_of(key), value, &writer, out_parts)) {
            return false;
        }
    }
    out_parts->document = bytes_of(writer.data, writer.size);
    return !writer.overflow || reply_no_memory(call);
}
