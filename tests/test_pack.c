/* test_pack.c: what is written is byte for byte what msgpack-c writes, and reads back; what is no msgpack is refused
 * without a read out of bounds (inputs are copied to memory of their exact size, for the sanitizer). */
#include "engine/pack.h"

#include <criterion/criterion.h>
#include <math.h>
#include <msgpack.h>

#include "engine/limits.h"

static uint64_t random_state = 1;

static uint64_t random_u64(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    uint64_t mixed = random_state ^ random_state >> 29;
    return mixed * 0xbf58476d1ce4e5b9u ^ mixed >> 32;
}

/* A number of any size: small ones are as likely as large ones. */
static uint64_t random_size_u64(void)
{
    return random_u64() >> (random_u64() % 64);
}

static struct bytes exact_copy(struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size != 0 ? bytes.size : 1);
    if (bytes.size != 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return bytes_of(copy, bytes.size);
}

static void exact_free(struct bytes copy)
{
    free((void *)(uintptr_t)copy.data);
}

static bool check_exact(const void *data, size_t size)
{
    struct bytes copy = exact_copy(bytes_of(data, size));
    bool good = pack_check(copy);
    exact_free(copy);
    return good;
}

/* ---- Writing ---- */

struct pair {
    uint8_t data[200000];
    struct pack_writer ours;
    msgpack_sbuffer buffer;
    msgpack_packer theirs;
};

static struct pair pair;

static void pair_init(void)
{
    pair.ours = pack_writer_on(pair.data, sizeof(pair.data));
    msgpack_sbuffer_init(&pair.buffer);
    msgpack_packer_init(&pair.theirs, &pair.buffer, msgpack_sbuffer_write);
}

static void pair_expect_same(const char *what, int64_t detail)
{
    cr_assert(!pair.ours.overflow);
    bool same = pair.ours.size == pair.buffer.size &&
                (pair.buffer.size == 0 || memcmp(pair.data, pair.buffer.data, pair.ours.size) == 0);
    cr_assert(same, "%s %lld differs from msgpack-c", what, (long long)detail);
    msgpack_sbuffer_destroy(&pair.buffer);
    pair_init();
}

Test(pack, integers_are_those_of_msgpack_c)
{
    static const int64_t edges[] = {0,          1,          127,
                                    128,        255,        256,
                                    32767,      32768,      65535,
                                    65536,      2147483647, INT64_MAX,
                                    INT64_MIN,  -1,         -31,
                                    -32,        -33,        -127,
                                    -128,       -129,       -255,
                                    -32768,     -32769,     -65536,
                                    4294967295, 4294967296, -2147483647 - 1,
                                    -2147483649};
    pair_init();
    for (size_t i = 0; i < COUNT_OF(edges); i++) {
        pack_int(&pair.ours, edges[i]);
        msgpack_pack_int64(&pair.theirs, edges[i]);
        pair_expect_same("integer", edges[i]);
    }
    for (int i = 0; i < 100000; i++) {
        uint64_t natural = random_size_u64();
        int64_t integer = (int64_t)random_size_u64() * (i % 2 == 0 ? 1 : -1);
        pack_uint(&pair.ours, natural);
        pack_int(&pair.ours, integer);
        msgpack_pack_uint64(&pair.theirs, natural);
        msgpack_pack_int64(&pair.theirs, integer);
        pair_expect_same("integer", integer);
    }
}

Test(pack, scalars_are_those_of_msgpack_c)
{
    static const double doubles[] = {0.0, -0.0, 1.0, 29.99, 1e300, -5e-324, INFINITY, -INFINITY};
    pair_init();
    pack_nil(&pair.ours);
    pack_bool(&pair.ours, true);
    pack_bool(&pair.ours, false);
    msgpack_pack_nil(&pair.theirs);
    msgpack_pack_true(&pair.theirs);
    msgpack_pack_false(&pair.theirs);
    pair_expect_same("nil and bool", 0);
    for (size_t i = 0; i < COUNT_OF(doubles); i++) {
        pack_double(&pair.ours, doubles[i]);
        msgpack_pack_double(&pair.theirs, doubles[i]);
        pair_expect_same("double", (int64_t)i);
    }
    static const uint8_t millionths[8] = {0, 0, 0, 0, 0x01, 0xc9, 0x9d, 0x30};
    pack_millionths(&pair.ours, 29990192);
    msgpack_pack_ext_with_body(&pair.theirs, millionths, 8, PACK_EXT_MILLIONTHS);
    pair_expect_same("millionths", 29990192);
}

Test(pack, texts_and_containers_are_those_of_msgpack_c)
{
    static const uint32_t sizes[] = {0,  1,   15,  16,   17,    30,    31,   32,
                                     33, 255, 256, 1000, 65535, 65536, 70000};
    static uint8_t content[70000 + PACK_PADDING];
    memset(content, 'x', sizeof(content));
    pair_init();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint32_t size = sizes[i];
        struct bytes text = bytes_of(content, size);
        pack_text(&pair.ours, text);
        msgpack_pack_str_with_body(&pair.theirs, content, size);
        pair_expect_same("text", size);
        pack_text_padded(&pair.ours, text);
        msgpack_pack_str_with_body(&pair.theirs, content, size);
        pair_expect_same("padded text", size);
        pack_bin(&pair.ours, text);
        msgpack_pack_bin_with_body(&pair.theirs, content, size);
        pair_expect_same("binary", size);
        pack_array(&pair.ours, size);
        pack_map(&pair.ours, size);
        msgpack_pack_array(&pair.theirs, size);
        msgpack_pack_map(&pair.theirs, size);
        pair_expect_same("container", size);
    }
    pack_array(&pair.ours, UINT32_MAX);
    msgpack_pack_array(&pair.theirs, UINT32_MAX);
    pair_expect_same("largest array", 0);
    pack_text_z(&pair.ours, "a text");
    msgpack_pack_str_with_body(&pair.theirs, "a text", 6);
    pair_expect_same("text", 6);
}

Test(pack, closed_containers_have_the_shortest_header)
{
    static const uint32_t counts[] = {0, 1, 15, 16, 17, 65535, 65536, 70000};
    pair_init();
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        uint32_t count = counts[i];
        pack_text_z(&pair.ours, "before");
        size_t place = pack_open(&pair.ours);
        for (uint32_t k = 0; k < count; k++) {
            pack_uint(&pair.ours, k % 128);
        }
        pack_close_array(&pair.ours, place, count);
        pack_text_z(&pair.ours, "behind");
        msgpack_pack_str_with_body(&pair.theirs, "before", 6);
        msgpack_pack_array(&pair.theirs, count);
        for (uint32_t k = 0; k < count; k++) {
            msgpack_pack_uint64(&pair.theirs, k % 128);
        }
        msgpack_pack_str_with_body(&pair.theirs, "behind", 6);
        pair_expect_same("array of", count);
    }
    size_t outer = pack_open(&pair.ours);
    for (uint32_t k = 0; k < 20; k++) {
        pack_uint(&pair.ours, k);
        size_t inner = pack_open(&pair.ours);
        pack_nil(&pair.ours);
        pack_close_array(&pair.ours, inner, 1);
    }
    pack_close_map(&pair.ours, outer, 20);
    msgpack_pack_map(&pair.theirs, 20);
    for (uint32_t k = 0; k < 20; k++) {
        msgpack_pack_uint64(&pair.theirs, k);
        msgpack_pack_array(&pair.theirs, 1);
        msgpack_pack_nil(&pair.theirs);
    }
    pair_expect_same("map of arrays", 20);
}

Test(pack, begun_containers_take_their_count_at_the_end)
{
    uint8_t data[64];
    struct pack_writer writer = pack_writer_on(data, sizeof(data));
    size_t map = pack_map_begin(&writer);
    pack_text_z(&writer, "k");
    size_t array = pack_array_begin(&writer);
    pack_uint(&writer, 7);
    pack_container_end(&writer, array, 1);
    pack_container_end(&writer, map, 1);
    static const uint8_t expected[] = {0xde, 0, 1, 0xa1, 'k', 0xdc, 0, 1, 7};
    cr_assert_eq(writer.size, sizeof(expected));
    cr_assert_eq(memcmp(data, expected, sizeof(expected)), 0);
    cr_assert(pack_check(bytes_of(data, writer.size)));
}

/* Writes one of everything. */
static void write_all(struct pack_writer *writer, const uint8_t padded[64])
{
    size_t map = pack_open(writer);
    pack_text_z(writer, "array");
    size_t array = pack_open(writer);
    for (int i = 0; i < 20; i++) {
        pack_int(writer, -i * 100);
    }
    pack_close_array(writer, array, 20);
    pack_text_padded(writer, bytes_of(padded, 40));
    pack_text_padded(writer, bytes_of(padded, 20));
    pack_text_padded(writer, bytes_of(padded, 3));
    pack_double(writer, 1.5);
    pack_bin(writer, bytes_of(padded, 5));
    pack_millionths(writer, -1);
    pack_close_map(writer, map, 4);
}

Test(pack, nothing_is_written_past_the_capacity)
{
    uint8_t padded[64];
    memset(padded, 'p', sizeof(padded));
    uint8_t whole[256];
    struct pack_writer writer = pack_writer_on(whole, sizeof(whole));
    write_all(&writer, padded);
    size_t size = writer.size;
    cr_assert(!writer.overflow && pack_check(bytes_of(whole, size)));
    for (size_t capacity = 0; capacity <= size; capacity++) {
        uint8_t *exact = malloc(capacity + 1);
        exact[capacity] = 0xee;
        writer = pack_writer_on(exact, capacity);
        write_all(&writer, padded);
        cr_assert_eq(writer.overflow, capacity < size, "%zu of %zu", capacity, size);
        cr_assert_leq(writer.size, capacity);
        cr_assert_eq(exact[capacity], 0xee);
        cr_assert(capacity < size || memcmp(exact, whole, size) == 0);
        free(exact);
    }
}

/* ---- Reading ---- */

Test(pack, every_form_is_read)
{
    static const struct {
        const char *bytes;
        size_t size;
        enum pack_type type;
        double number; /* of any numeric type; the count or size of others */
    } cases[] = {
        {"\x00",                                         1,  PACK_INT,        0                     },
        {"\x7f",                                         1,  PACK_INT,        127                   },
        {"\xff",                                         1,  PACK_INT,        -1                    },
        {"\xe0",                                         1,  PACK_INT,        -32                   },
        {"\xcc\xff",                                     2,  PACK_INT,        255                   },
        {"\xcc\x01",                                     2,  PACK_INT,        1                     }, /* longer than it need be */
        {"\xcd\x01\x00",                                 3,  PACK_INT,        256                   },
        {"\xce\x80\x00\x00\x00",                         5,  PACK_INT,        2147483648.0          },
        {"\xcf\x00\x00\x00\x01\x00\x00\x00\x00",         9,  PACK_INT,        4294967296.0          },
        {"\xcf\x80\x00\x00\x00\x00\x00\x00\x00",         9,  PACK_UINT,       9223372036854775808.0 },
        {"\xd0\x80",                                     2,  PACK_INT,        -128                  },
        {"\xd0\x05",                                     2,  PACK_INT,        5                     },
        {"\xd1\x80\x00",                                 3,  PACK_INT,        -32768                },
        {"\xd2\x80\x00\x00\x00",                         5,  PACK_INT,        -2147483648.0         },
        {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",         9,  PACK_INT,        -9223372036854775808.0},
        {"\xca\x3f\xc0\x00\x00",                         5,  PACK_DOUBLE,     1.5                   },
        {"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",         9,  PACK_DOUBLE,     1.5                   },
        {"\xc0",                                         1,  PACK_NIL,        0                     },
        {"\xc2",                                         1,  PACK_BOOL,       0                     },
        {"\xc3",                                         1,  PACK_BOOL,       1                     },
        {"\xa0",                                         1,  PACK_TEXT,       0                     },
        {"\xa2hi",                                       3,  PACK_TEXT,       2                     },
        {"\xd9\x02hi",                                   4,  PACK_TEXT,       2                     },
        {"\xda\x00\x02hi",                               5,  PACK_TEXT,       2                     },
        {"\xdb\x00\x00\x00\x02hi",                       7,  PACK_TEXT,       2                     },
        {"\xc4\x02hi",                                   4,  PACK_BIN,        2                     },
        {"\xc5\x00\x02hi",                               5,  PACK_BIN,        2                     },
        {"\xc6\x00\x00\x00\x02hi",                       7,  PACK_BIN,        2                     },
        {"\x90",                                         1,  PACK_ARRAY,      0                     },
        {"\x91\x01",                                     2,  PACK_ARRAY,      1                     },
        {"\xdc\x00\x01\x01",                             4,  PACK_ARRAY,      1                     },
        {"\xdd\x00\x00\x00\x01\x01",                     6,  PACK_ARRAY,      1                     },
        {"\x80",                                         1,  PACK_MAP,        0                     },
        {"\x81\x01\x02",                                 3,  PACK_MAP,        1                     },
        {"\xde\x00\x01\x01\x02",                         5,  PACK_MAP,        1                     },
        {"\xdf\x00\x00\x00\x01\x01\x02",                 7,  PACK_MAP,        1                     },
        {"\xd4\x05x",                                    3,  PACK_EXT,        1                     },
        {"\xd5\x05xx",                                   4,  PACK_EXT,        2                     },
        {"\xd6\xffxxxx",                                 6,  PACK_EXT,        4                     },
        {"\xd7\x05xxxxxxxx",                             10, PACK_EXT,        8                     },
        {"\xd8\x05xxxxxxxxxxxxxxxx",                     18, PACK_EXT,        16                    },
        {"\xc7\x03\x05xxx",                              6,  PACK_EXT,        3                     },
        {"\xc7\x00\x05",                                 3,  PACK_EXT,        0                     },
        {"\xc8\x00\x03\x05xxx",                          7,  PACK_EXT,        3                     },
        {"\xc9\x00\x00\x00\x03\x05xxx",                  9,  PACK_EXT,        3                     },
        {"\xd7\x01\x00\x00\x00\x00\x00\x00\x00\x07",     10, PACK_MILLIONTHS, 7                     },
        {"\xd7\x01\xff\xff\xff\xff\xff\xff\xff\xff",     10, PACK_MILLIONTHS, -1                    },
        {"\xc7\x08\x01\x00\x00\x00\x00\x00\x00\x00\x07", 11, PACK_MILLIONTHS, 7                     },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bytes bytes = exact_copy(bytes_of(cases[i].bytes, cases[i].size));
        struct pack_cursor cursor = pack_cursor_on(bytes);
        struct pack_value value = {0};
        cr_assert(pack_read(&cursor, &value), "case %zu", i);
        cr_assert_eq(value.type, cases[i].type, "case %zu", i);
        double number =
            value.type == PACK_BOOL                                   ? value.as.boolean
            : value.type == PACK_NIL                                  ? 0
            : value.type == PACK_UINT                                 ? (double)value.as.natural
            : value.type == PACK_DOUBLE                               ? value.as.number
            : value.type == PACK_INT || value.type == PACK_MILLIONTHS ? (double)value.as.integer
            : value.type == PACK_ARRAY || value.type == PACK_MAP      ? (double)value.as.count
                                                                      : (double)value.as.bytes.size;
        cr_assert_eq(number, cases[i].number, "case %zu: %g", i, number);
        cr_assert(pack_check(bytes), "case %zu", i);
        for (size_t size = 0; size < bytes.size; size++) {
            cr_assert(!check_exact(bytes.data, size), "case %zu cut to %zu", i, size);
        }
        cr_assert(value.type != PACK_EXT ||
                  value.as.bytes.data[-1] ==
                      (uint8_t)cases[i].bytes[value.as.bytes.data - bytes.data - 1]);
        exact_free(bytes);
    }
}

Test(pack, what_is_no_msgpack_is_refused)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *why;
    } cases[] = {
        {"",                             0, "empty"                                    },
        {"\xc1",                         1, "never used"                               },
        {"\x01\x01",                     2, "two values"                               },
        {"\x91\xc1",                     2, "a bad member"                             },
        {"\xdd\xff\xff\xff\xff",         5, "a count that lies"                        },
        {"\xdf\xff\xff\xff\xff\x01\x01", 7, "a count that lies"                        },
        {"\xdf\x80\x00\x00\x00\x01\x01", 7, "a count that lies, twice of which is 2^32"},
        {"\x82\x01\x01\x01",             4, "a key without value"                      },
        {"\xdb\xff\xff\xff\xff",         5, "a size that lies"                         },
        {"\xc6\xff\xff\xff\xff",         5, "a size that lies"                         },
        {"\xc9\xff\xff\xff\xff\x05",     6, "a size that lies"                         },
        {"\xc9\x00\x00\x00\x01\x05",     6, "an extension without content"             },
        {"\xd6\x01xxxx",                 6, "millionths of 4 bytes"                    },
        {"\xc7\x00\x01",                 3, "millionths of no bytes"                   },
        {"\xa1\x80",                     2, "not UTF-8"                                },
        {"\xa2\xc3\x28",                 3, "not UTF-8"                                },
        {"\x81\xa1\xff\x01",             4, "a key that is not UTF-8"                  },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cr_assert(!check_exact(cases[i].bytes, cases[i].size), "%s", cases[i].why);
    }
}

Test(pack, a_spent_cursor_stays_spent)
{
    struct pack_cursor cursor = pack_cursor_on(bytes_of("\xc1\x01\x02", 3));
    struct pack_value value = {.type = PACK_BIN};
    cr_assert(!pack_read(&cursor, &value));
    cr_assert(cursor.failed);
    cr_assert_eq(value.type, PACK_BIN, "outputs are untouched");
    uint64_t natural;
    cr_assert(!pack_read_uint(&cursor, &natural));
    cr_assert(!pack_take_nil(&cursor));
    cr_assert(!pack_skip(&cursor));
    cr_assert(cursor.failed);
}

Test(pack, typed_reads_take_their_type_only)
{
    uint8_t data[128];
    struct pack_writer writer = pack_writer_on(data, sizeof(data));
    pack_uint(&writer, UINT64_MAX);
    pack_uint(&writer, 5);
    pack_int(&writer, -5);
    pack_bool(&writer, true);
    pack_text_z(&writer, "text");
    pack_bin(&writer, bytes_of("bin", 3));
    pack_nil(&writer);
    pack_array(&writer, 0);
    pack_map(&writer, 0);
    struct pack_cursor cursor = pack_cursor_on(bytes_of(data, writer.size));
    uint64_t natural;
    int64_t integer;
    bool boolean;
    uint32_t count;
    struct bytes bytes;
    cr_assert(!pack_take_nil(&cursor) && !cursor.failed);
    cr_assert(pack_read_uint(&cursor, &natural) && natural == UINT64_MAX);
    cr_assert(pack_read_uint(&cursor, &natural) && natural == 5);
    struct pack_cursor at_negative = cursor;
    cr_assert(!pack_read_uint(&at_negative, &natural) && at_negative.failed);
    cr_assert(pack_read_int(&cursor, &integer) && integer == -5);
    struct pack_cursor at_bool = cursor;
    cr_assert(!pack_read_text(&at_bool, &bytes) && at_bool.failed);
    cr_assert(pack_read_bool(&cursor, &boolean) && boolean);
    struct pack_cursor at_text = cursor;
    cr_assert(!pack_read_bin(&at_text, &bytes) && at_text.failed);
    cr_assert(pack_read_text(&cursor, &bytes) && bytes_equal_text(bytes, "text"));
    cr_assert(pack_read_bin(&cursor, &bytes) && bytes_equal_text(bytes, "bin"));
    cr_assert(pack_take_nil(&cursor));
    struct pack_cursor at_array = cursor;
    cr_assert(!pack_read_map(&at_array, &count) && at_array.failed);
    cr_assert(pack_read_array(&cursor, &count) && count == 0);
    cr_assert(pack_read_map(&cursor, &count) && count == 0);
    cr_assert(!cursor.failed && cursor.at == cursor.end);
    cr_assert(!pack_read_int(&cursor, &integer) && cursor.failed);
}

Test(pack, depth_is_bounded)
{
    uint8_t data[PACK_DEPTH_MAX + 2];
    memset(data, 0x91, sizeof(data));
    data[PACK_DEPTH_MAX] = 0xc0;
    cr_assert(check_exact(data, PACK_DEPTH_MAX + 1));
    data[PACK_DEPTH_MAX] = 0x90;
    cr_assert(!check_exact(data, PACK_DEPTH_MAX + 1), "an empty array is one deeper too");
    data[PACK_DEPTH_MAX - 1] = 0x90;
    cr_assert(check_exact(data, PACK_DEPTH_MAX));
}

Test(pack, deep_input_costs_neither_stack_nor_time)
{
    size_t size = 10000000;
    uint8_t *data = malloc(size);
    memset(data, 0x91, size);
    cr_assert(!pack_check(bytes_of(data, size)));
    memset(data, 0xc0, size);
    data[0] = 0xdd;
    data[1] = 0;
    data[2] = (uint8_t)((size - 5) >> 16);
    data[3] = (uint8_t)((size - 5) >> 8);
    data[4] = (uint8_t)(size - 5);
    cr_assert(pack_check(bytes_of(data, size)));
    free(data);
}

Test(pack, raw_values_are_passed_whole)
{
    static const uint8_t data[] = {0x93, 0x92, 1, 2, 0x81, 0xa1, 'k', 0x90, 0xc0, 0x07};
    struct pack_cursor cursor = pack_cursor_on(bytes_of(data, sizeof(data)));
    struct bytes raw;
    cr_assert(pack_read_raw(&cursor, &raw));
    cr_assert_eq(raw.size, 9);
    cr_assert(pack_read_raw(&cursor, &raw));
    cr_assert_eq(raw.size, 1);
    cr_assert_eq(raw.data[0], 7);
    cr_assert(!pack_read_raw(&cursor, &raw));
    cr_assert_eq(raw.size, 1, "outputs are untouched");
    uint8_t copy[16];
    struct pack_writer writer = pack_writer_on(copy, sizeof(copy));
    pack_raw(&writer, bytes_of(data, 9));
    pack_raw(&writer, bytes_of(NULL, 0));
    cr_assert_eq(writer.size, 9);
    cr_assert_eq(memcmp(copy, data, 9), 0);
}

Test(pack, maps_are_searched_by_key)
{
    uint8_t data[128];
    struct pack_writer writer = pack_writer_on(data, sizeof(data));
    pack_map(&writer, 5);
    pack_text_z(&writer, "nested");
    pack_map(&writer, 1);
    pack_text_z(&writer, "inner");
    pack_uint(&writer, 1);
    pack_uint(&writer, 9); /* a key that is no text */
    pack_uint(&writer, 2);
    pack_text_z(&writer, "twice");
    pack_uint(&writer, 3);
    pack_text_z(&writer, "twice");
    pack_uint(&writer, 4);
    pack_text_z(&writer, "");
    pack_uint(&writer, 5);
    struct bytes map = bytes_of(data, writer.size);
    struct pack_value value;
    cr_assert(pack_map_find(map, bytes_of_text("nested"), &value) && value.type == PACK_MAP);
    cr_assert(!pack_map_find(map, bytes_of_text("inner"), &value), "only the map's own keys");
    cr_assert(pack_map_find(map, bytes_of_text("twice"), &value) && value.as.integer == 3);
    cr_assert(pack_map_find(map, bytes_of_text(""), &value) && value.as.integer == 5);
    cr_assert(!pack_map_find(map, bytes_of_text("none"), &value));
    cr_assert(!pack_map_find(bytes_of("\x90", 1), bytes_of_text("k"), &value), "not a map");
    for (size_t size = 0; size < map.size; size++) {
        (void)pack_map_find(bytes_of(data, size), bytes_of_text("none"), &value);
    }
}

Test(pack, utf8_is_checked_to_the_byte)
{
    static const struct {
        const char *text;
        size_t valid;
    } cases[] = {
        {"",                                                    0 },
        {"plain ascii, longer than one block of sixteen",       45},
        {"\x7f",                                                1 },
        {"\xc2\x80",                                            2 },
        {"\xdf\xbf",                                            2 },
        {"\xe0\xa0\x80",                                        3 },
        {"\xed\x9f\xbf",                                        3 },
        {"\xee\x80\x80",                                        3 },
        {"\xef\xbf\xbf",                                        3 },
        {"\xf0\x90\x80\x80",                                    4 },
        {"\xf4\x8f\xbf\xbf",                                    4 },
        {"ab\x80",                                              2 },
        {"\xc0\x80",                                            0 },
        {"\xc1\xbf",                                            0 },
        {"\xc3",                                                0 },
        {"\xc3\x28",                                            0 },
        {"a\xe0\x9f\xbf",                                       1 },
        {"\xed\xa0\x80",                                        0 },
        {"\xe2\x82",                                            0 },
        {"\xe2\x82\x28",                                        0 },
        {"\xf0\x8f\xbf\xbf",                                    0 },
        {"\xf4\x90\x80\x80",                                    0 },
        {"\xf5\x80\x80\x80",                                    0 },
        {"\xff",                                                0 },
        {"0123456789abcde\xc3\xa9",                             17},
        {"0123456789abcdef\xe2\x82\xac tail",                   24},
        {"0123456789abcdef\xe2\x82",                            16},
        {"0123456789abcdef0123456789abcde\xf0\x9f\x98\x80\xfe", 35},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bytes text = exact_copy(bytes_of_text(cases[i].text));
        cr_assert_eq(pack_utf8_size(text), cases[i].valid, "case %zu", i);
        exact_free(text);
    }
}

/* Encodes every code point by the definition and compares. */
Test(pack, utf8_takes_every_code_point_and_no_surrogate)
{
    for (uint32_t code = 0; code < 0x120000; code++) {
        uint8_t text[4];
        size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = size; i > 1; i--) {
            text[i - 1] = (uint8_t)(0x80 | (code >> (6 * (size - i)) & 0x3f));
        }
        text[0] = size == 1 ? (uint8_t)code : (uint8_t)(0xf00 >> size | code >> (6 * (size - 1)));
        bool valid = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
        if ((pack_utf8_size(bytes_of(text, size)) == size) != valid) {
            cr_assert_fail("U+%04X", code);
        }
    }
}

/* ---- Millionths ---- */

static bool millionths_of(double number, int64_t *out_value)
{
    struct pack_value value = {.type = PACK_DOUBLE, .as.number = number};
    return pack_to_millionths(&value, out_value);
}

Test(pack, doubles_round_to_the_nearest_millionth)
{
    static const struct {
        double number;
        int64_t millionths;
    } cases[] = {
        {0.0,                     0                  },
        {-0.0,                    0                  },
        {29.99,                   29990000           },
        {-29.99,                  -29990000          },
        {0.1,                     100000             },
        {1e-6,                    1                  },
        {4e-7,                    0                  },
        {6e-7,                    1                  },
        {-6e-7,                   -1                 },
        {0.0000005,               0                  }, /* the double is a little below the tie */
        {1.0 / 128,               7813               }, /* 7812.5 exactly: away from zero */
        {-1.0 / 128,              -7813              },
        {3.0 / 128,               23438              }, /* 23437.5 */
        {5e-324,                  0                  },
        {2.2250738585072014e-308, 0                  },
        {9199999999999.0,         9199999999999000000},
        {9199999999999.998,
         9199999999999998047                         }, /* 0.998046875 behind the point: only exact products get this */
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t value = 42;
        cr_assert(millionths_of(cases[i].number, &value), "case %zu", i);
        cr_assert_eq(value, cases[i].millionths, "case %zu: %lld", i, (long long)value);
    }
}

Test(pack, doubles_of_decimals_name_those_decimals)
{
    for (int i = 0; i < 300000; i++) {
        int64_t expected = (int64_t)(random_size_u64() % 1000000000000000ull); /* 15 digits */
        char text[40];
        snprintf(text, sizeof(text), "%lld.%06lld", (long long)(expected / 1000000),
                 (long long)(expected % 1000000));
        int64_t value;
        if (!millionths_of(strtod(text, NULL), &value) || value != expected) {
            cr_assert_fail("%s is %lld", text, (long long)value);
        }
        if (!millionths_of(-strtod(text, NULL), &value) || value != -expected) {
            cr_assert_fail("-%s is %lld", text, (long long)value);
        }
    }
}

Test(pack, millionths_end_below_the_limit)
{
    int64_t value = 42;
    cr_assert(!millionths_of(9.2e12, &value));
    cr_assert(!millionths_of(-9.2e12, &value));
    cr_assert(!millionths_of(INFINITY, &value));
    cr_assert(!millionths_of(NAN, &value));
    cr_assert(!millionths_of(1e300, &value));
    struct pack_value integer = {.type = PACK_INT, .as.integer = LIMIT_METRIC_VALUE};
    cr_assert(!pack_to_millionths(&integer, &value));
    integer.as.integer = -LIMIT_METRIC_VALUE;
    cr_assert(!pack_to_millionths(&integer, &value));
    integer.as.integer = INT64_MIN;
    cr_assert(!pack_to_millionths(&integer, &value));
    struct pack_value exact = {.type = PACK_MILLIONTHS,
                               .as.integer = LIMIT_METRIC_VALUE * METRIC_UNIT};
    cr_assert(!pack_to_millionths(&exact, &value));
    exact.as.integer = INT64_MIN;
    cr_assert(!pack_to_millionths(&exact, &value));
    struct pack_value large = {.type = PACK_UINT, .as.natural = UINT64_MAX};
    cr_assert(!pack_to_millionths(&large, &value));
    struct pack_value text = {.type = PACK_TEXT, .as.bytes = bytes_of_text("1")};
    cr_assert(!pack_to_millionths(&text, &value));
    cr_assert_eq(value, 42, "outputs are untouched");

    integer.as.integer = LIMIT_METRIC_VALUE - 1;
    cr_assert(pack_to_millionths(&integer, &value) &&
              value == (LIMIT_METRIC_VALUE - 1) * METRIC_UNIT);
    integer.as.integer = 1 - LIMIT_METRIC_VALUE;
    cr_assert(pack_to_millionths(&integer, &value) &&
              value == (1 - LIMIT_METRIC_VALUE) * METRIC_UNIT);
    exact.as.integer = LIMIT_METRIC_VALUE * METRIC_UNIT - 1;
    cr_assert(pack_to_millionths(&exact, &value) && value == exact.as.integer);
}
