/* fuzz_pack.c: a libFuzzer entry point for engine/pack.c, with msgpack-c as the judge.
 *
 * Where we accept, msgpack-c must accept the same bytes, and both must write the same again. Where only msgpack-c accepts,
 * one of our own rules must be the reason: depth, UTF-8 in texts, or the size of PACK_EXT_MILLIONTHS.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. tests/fuzz/fuzz_pack.c engine/base.c
 *         engine/pack.c -lmsgpackc -lm -o fuzz_pack
 *   ./fuzz_pack -rss_limit_mb=0 CORPUS tests/fuzz/corpus/pack
 */
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/limits.h"
#include "engine/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* msgpack-c believes the counts of headers and asks for that much memory. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=256";
}

static void expect(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

struct traits {
    uint32_t depth;
    bool has_bad_text;
    bool has_bad_millionths;
    bool has_float; /* that msgpack-c writes in 32 bits */
};

// NOLINTNEXTLINE(misc-no-recursion): msgpack-c bounds the depth of its objects
static void look_at(const msgpack_object *object, uint32_t depth, struct traits *traits)
{
    bool is_container = object->type == MSGPACK_OBJECT_ARRAY || object->type == MSGPACK_OBJECT_MAP;
    depth += is_container;
    traits->depth = depth > traits->depth ? depth : traits->depth;
    traits->has_float = traits->has_float || object->type == MSGPACK_OBJECT_FLOAT32;
    if (object->type == MSGPACK_OBJECT_STR) {
        struct bytes text = bytes_of(object->via.str.ptr, object->via.str.size);
        traits->has_bad_text = traits->has_bad_text || pack_utf8_size(text) != text.size;
    }
    if (object->type == MSGPACK_OBJECT_EXT && object->via.ext.type == PACK_EXT_MILLIONTHS) {
        traits->has_bad_millionths = traits->has_bad_millionths || object->via.ext.size != 8;
    }
    for (uint32_t i = 0; object->type == MSGPACK_OBJECT_ARRAY && i < object->via.array.size; i++) {
        look_at(&object->via.array.ptr[i], depth, traits);
    }
    for (uint32_t i = 0; object->type == MSGPACK_OBJECT_MAP && i < object->via.map.size; i++) {
        look_at(&object->via.map.ptr[i].key, depth, traits);
        look_at(&object->via.map.ptr[i].val, depth, traits);
    }
}

/* Writes a value again as we read it; of a container its header. */
static void rewrite(struct pack_writer *writer, const struct pack_value *value, struct bytes raw)
{
    switch (value->type) {
    case PACK_NIL:
        pack_nil(writer);
        return;
    case PACK_BOOL:
        pack_bool(writer, value->as.boolean);
        return;
    case PACK_INT:
    case PACK_UINT:
    case PACK_DOUBLE:
    case PACK_MILLIONTHS:
        pack_number(writer, value);
        return;
    case PACK_TEXT:
        pack_text(writer, value->as.bytes);
        return;
    case PACK_BIN:
        pack_bin(writer, value->as.bytes);
        return;
    case PACK_ARRAY:
        pack_array(writer, value->as.count);
        return;
    case PACK_MAP:
        pack_map(writer, value->as.count);
        return;
    case PACK_EXT:
        pack_raw(writer, raw);
        return;
    }
}

/* msgpack-c writes extensions in their shortest form too, which we have no function for: not compared. */
static bool has_extension(struct bytes bytes)
{
    struct pack_cursor cursor = pack_cursor_on(bytes);
    struct pack_value value;
    while (cursor.at < cursor.end && pack_read(&cursor, &value)) {
        if (value.type == PACK_EXT) {
            return true;
        }
    }
    return false;
}

static void expect_same_rewritten(struct bytes bytes, const msgpack_object *object,
                                  const struct traits *traits)
{
    size_t capacity = 2 * bytes.size + 16;
    struct pack_writer writer = pack_writer_on(malloc(capacity), capacity);
    struct pack_cursor cursor = pack_cursor_on(bytes);
    struct pack_value value;
    while (cursor.at < cursor.end) {
        const uint8_t *start = cursor.at;
        expect(pack_read(&cursor, &value), "a checked value can be read");
        rewrite(&writer, &value, bytes_of(start, (size_t)(cursor.at - start)));
    }
    struct bytes ours = bytes_of(writer.data, writer.size);
    expect(!writer.overflow && pack_check(ours), "what is written again is well-formed");
    if (!traits->has_float && !has_extension(bytes)) {
        msgpack_sbuffer buffer;
        msgpack_packer packer;
        msgpack_sbuffer_init(&buffer);
        msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
        expect(msgpack_pack_object(&packer, *object) == 0, "memory");
        expect(bytes_equal(ours, bytes_of(buffer.data, buffer.size)), "both write the same");
        msgpack_sbuffer_destroy(&buffer);
    }
    free(writer.data);
}

/* Every function that takes any bytes, for the sanitizers to watch. */
static void read_everything(struct bytes bytes)
{
    struct pack_value value;
    int64_t millionths;
    struct bytes raw;
    struct pack_cursor cursor = pack_cursor_on(bytes);
    while (pack_read(&cursor, &value)) {
        if (pack_to_millionths(&value, &millionths)) {
            expect(millionths < LIMIT_METRIC_VALUE * METRIC_UNIT &&
                       millionths > -LIMIT_METRIC_VALUE * METRIC_UNIT,
                   "a metric value is below the limit");
        }
    }
    expect(cursor.failed && !pack_skip(&cursor), "a spent cursor stays spent");
    cursor = pack_cursor_on(bytes);
    while (pack_read_raw(&cursor, &raw)) {
        expect(raw.size > 0, "a value has bytes");
    }
    (void)pack_map_find(bytes, bytes_of_text("key"), &value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size != 0 ? size : 1); /* for the sanitizer to see a read too far */
    expect(exact != NULL, "memory");
    if (size != 0) {
        memcpy(exact, data, size);
    }
    struct bytes bytes = bytes_of(exact, size);
    bool good = pack_check(bytes);
    read_everything(bytes);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t offset = 0;
    msgpack_unpack_return result =
        msgpack_unpack_next(&unpacked, (const char *)exact, size, &offset);
    bool theirs = result == MSGPACK_UNPACK_SUCCESS && offset == size;
    struct traits traits = {0};
    if (theirs) {
        look_at(&unpacked.data, 0, &traits);
    }
    expect(!good || theirs, "msgpack-c accepts what we accept");
    expect(good || !theirs || traits.depth > PACK_DEPTH_MAX || traits.has_bad_text ||
               traits.has_bad_millionths,
           "we refuse only by our own rules");
    if (good) {
        expect_same_rewritten(bytes, &unpacked.data, &traits);
    }
    msgpack_unpacked_destroy(&unpacked);
    free(exact);
    return 0;
}
