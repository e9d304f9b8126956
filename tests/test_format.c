/* test_format.c: the bytes of the log are what docs/format.md says, in both directions and for ever.
 *
 * Method: values go through encoder and decoder; encoded bytes are compared with msgpack written value by value; every
 * byte of every fixed part is flipped in turn; records are cut at every length, on memory that ends where they do, so
 * that a sanitizer sees one byte read too many; and the golden segment holds the writers of today to the bytes of
 * version 1. ASSAY_GOLDEN_WRITE=1 in the environment writes the golden file anew: only ever for a new version's name. */
#include "engine/erasure.h"
#include "engine/format.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SALT     0x5eed5a175eed5a17ull
#define RECEIVED 1767225600123456ll /* 2026-01-01T00:00:00.123456Z */

static const struct segment_header header_example = {
    .store_id = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    .salt = SALT,
    .first_lsn = 42,
    .created_at_us = RECEIVED,
    .chain = 0x1122334455667788ull,
    .file_size = 5 * LOG_BLOCK_ALIGN,
    .hash_seed = 0x99aabbccddeeff00ull,
};

static const struct block_header block_example = {
    .first_lsn = 42,
    .record_count = 3,
    .payload_size = 300,
    .payload_check = 0x0123456789abcdefull,
    .chain = 0xfedcba9876543210ull,
    .durable_lsn = 42,
    .written_at_us = RECEIVED + 1,
    .offset = 3 * LOG_BLOCK_ALIGN,
};

static const struct segment_footer footer_example = {
    .first_lsn = 42,
    .end_lsn = 52,
    .timestamp_min_us = RECEIVED - 5,
    .timestamp_max_us = RECEIVED + 5,
    .received_min_us = RECEIVED,
    .received_max_us = RECEIVED + 9,
    .events = 7,
    .assignments = 2,
    .others = 1,
    .blocks = 4,
    .chain = 0x1234,
};

Test(format, segment_header_survives_the_round_trip)
{
    uint8_t bytes[FORMAT_SEGMENT_HEADER_SIZE];
    struct segment_header out;
    segment_header_encode(&header_example, bytes);
    cr_assert_eq(segment_header_decode(bytes, &out), STATUS_OK);
    cr_assert_eq(memcmp(&out, &header_example, sizeof(out)), 0);
    cr_assert_eq(memcmp(bytes, "ASSAYLOG\1\0\0\0\0\0\0\0", 16), 0);
}

Test(format, block_header_survives_the_round_trip)
{
    uint8_t bytes[FORMAT_BLOCK_HEADER_SIZE];
    struct block_header out;
    block_header_encode(&block_example, SALT, bytes);
    cr_assert_eq(block_header_decode(bytes, SALT, &out), STATUS_OK);
    cr_assert_eq(memcmp(&out, &block_example, sizeof(out)), 0);
    cr_assert_eq(memcmp(bytes, "BLK1", 4), 0);
    cr_assert_eq(load_u32(bytes + 56), 3);
    cr_assert_eq(block_header_decode(bytes, SALT + 1, &out), STATUS_DAMAGED,
                 "another segment's salt");
}

Test(format, footer_survives_the_round_trip)
{
    uint8_t bytes[FORMAT_FOOTER_SIZE];
    struct segment_footer out;
    segment_footer_encode(&footer_example, SALT, bytes);
    cr_assert_eq(segment_footer_decode(bytes, SALT, &out), STATUS_OK);
    cr_assert_eq(memcmp(&out, &footer_example, sizeof(out)), 0);
    cr_assert_eq(memcmp(bytes, "ASSAYEND", 8), 0);
    cr_assert_eq(segment_footer_decode(bytes, SALT + 1, &out), STATUS_DAMAGED,
                 "another segment's salt");
}

Test(format, every_flipped_bit_of_a_fixed_part_is_noticed)
{
    uint8_t header[FORMAT_SEGMENT_HEADER_SIZE];
    uint8_t block[FORMAT_BLOCK_HEADER_SIZE];
    uint8_t footer[FORMAT_FOOTER_SIZE];
    struct segment_header out_header;
    struct block_header out_block;
    struct segment_footer out_footer;
    segment_header_encode(&header_example, header);
    block_header_encode(&block_example, SALT, block);
    segment_footer_encode(&footer_example, SALT, footer);
    for (size_t bit = 0; bit < 8 * sizeof(header); bit++) {
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(segment_header_decode(header, &out_header), STATUS_DAMAGED, "bit %zu", bit);
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof(block); bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(block_header_decode(block, SALT, &out_block), STATUS_DAMAGED, "bit %zu", bit);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof(footer); bit++) {
        footer[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert_eq(segment_footer_decode(footer, SALT, &out_footer), STATUS_DAMAGED, "bit %zu",
                     bit);
        footer[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* A segment header with other values in it, and a check that fits them. */
static enum status header_decode_patched(size_t offset, uint64_t value, size_t size)
{
    uint8_t bytes[FORMAT_SEGMENT_HEADER_SIZE];
    struct segment_header out;
    segment_header_encode(&header_example, bytes);
    memcpy(bytes + offset, &value, size);
    store_u64(bytes + 120, XXH3_64bits(bytes, 120));
    return segment_header_decode(bytes, &out);
}

Test(format, segment_header_of_a_newer_version_is_told_from_a_damaged_one)
{
    cr_expect_eq(header_decode_patched(8, 1, 4), STATUS_OK);
    cr_expect_eq(header_decode_patched(8, 2, 4), STATUS_UNSUPPORTED);
    cr_expect_eq(header_decode_patched(8, 0, 4), STATUS_UNSUPPORTED);
    cr_expect_eq(header_decode_patched(12, 1, 4), STATUS_UNSUPPORTED, "a feature");
    cr_expect_eq(header_decode_patched(40, 0, 8), STATUS_DAMAGED, "first lsn 0");
    cr_expect_eq(header_decode_patched(40, 1ull << 63, 8), STATUS_DAMAGED, "lsn too large");
    cr_expect_eq(header_decode_patched(48, UINT64_MAX, 8), STATUS_DAMAGED, "negative time");
    cr_expect_eq(header_decode_patched(64, 4097, 8), STATUS_DAMAGED, "size not aligned");
    cr_expect_eq(header_decode_patched(64, 8192, 8), STATUS_DAMAGED, "no room for a block");
    cr_expect_eq(header_decode_patched(119, 1, 1), STATUS_DAMAGED, "reserved");
}

static enum status block_decode_patched(size_t offset, uint64_t value, size_t size)
{
    uint8_t bytes[FORMAT_BLOCK_HEADER_SIZE];
    struct block_header out;
    block_header_encode(&block_example, SALT, bytes);
    memcpy(bytes + offset, &value, size);
    store_u32(bytes + 4, (uint32_t)XXH3_64bits_withSeed(bytes + 8, 56, SALT));
    return block_header_decode(bytes, SALT, &out);
}

Test(format, block_header_decodes_to_possible_values_only)
{
    cr_expect_eq(block_decode_patched(8, 43, 8), STATUS_OK);
    cr_expect_eq(block_decode_patched(8, 0, 8), STATUS_DAMAGED, "first lsn 0");
    cr_expect_eq(block_decode_patched(16, 0, 4), STATUS_DAMAGED, "no records");
    cr_expect_eq(block_decode_patched(16, 300 / 17 + 1, 4), STATUS_DAMAGED,
                 "more records than bytes can hold");
    cr_expect_eq(block_decode_patched(20, LOG_BLOCK_PAYLOAD, 4), STATUS_OK);
    cr_expect_eq(block_decode_patched(20, LOG_BLOCK_PAYLOAD + 1, 4), STATUS_DAMAGED,
                 "payload too large");
    cr_expect_eq(block_decode_patched(40, 43, 8), STATUS_DAMAGED, "durable before it was written");
    cr_expect_eq(block_decode_patched(40, 0, 8), STATUS_DAMAGED, "durable lsn 0");
    cr_expect_eq(block_decode_patched(56, 0, 4), STATUS_DAMAGED, "where the header is");
    cr_expect_eq(block_decode_patched(60, 1, 4), STATUS_DAMAGED, "reserved");
}

Test(format, names_of_segments_sort_and_parse)
{
    char name[SEGMENT_NAME_SIZE];
    uint64_t lsn = 0;
    segment_name(1, name);
    cr_assert_str_eq(name, "00000000000000000001.seg");
    segment_name(FORMAT_LSN_MAX, name);
    cr_assert_str_eq(name, "09223372036854775807.seg");
    cr_assert(segment_name_parse(name, &lsn));
    cr_assert_eq(lsn, FORMAT_LSN_MAX);
    const char *const no_names[] = {
        "",
        "1.seg",
        "00000000000000000000.seg",
        "0000000000000000000a.seg",
        "00000000000000000001.tmp",
        "00000000000000000001.seg~",
        "00000000000000000001.se",
        "000000000000000000001.seg",
        "09223372036854775808.seg",
        "99999999999999999999.seg",
        "-0000000000000000001.seg",
        "next.tmp",
    };
    for (size_t i = 0; i < COUNT_OF(no_names); i++) {
        cr_expect_not(segment_name_parse(no_names[i], &lsn), "%s", no_names[i]);
    }
}

Test(format, zero_test_sees_every_byte)
{
    uint8_t bytes[100] = {0};
    cr_assert(format_is_zero(bytes, 0));
    cr_assert(format_is_zero(bytes, sizeof(bytes)));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = 1;
        cr_assert_not(format_is_zero(bytes, sizeof(bytes)), "byte %zu", i);
        bytes[i] = 0;
    }
}

/* Records */

static uint8_t text_memory[1024];

/* `size` letters. */
static struct bytes letters(size_t size)
{
    memset(text_memory, 'u', sizeof(text_memory));
    return bytes_of(text_memory, size);
}

static struct event event_example(void)
{
    static const uint8_t properties[] = {0x81, 0xa1, 'v', 0x2a}; /* {"v": 42} */
    return (struct event){
        .event_id = bytes_of_text("evt-1"),
        .user_id = bytes_of_text("user-7"),
        .event_type = bytes_of_text("purchase"),
        .timestamp_us = RECEIVED - 1000000,
        .properties = bytes_of(properties, sizeof(properties)),
    };
}

/* The only record in these bytes. */
static enum status record_only(struct bytes bytes, struct record *out_record)
{
    struct record_cursor cursor = {bytes, 9};
    enum status status = record_next(&cursor, out_record);
    if (status == STATUS_OK) {
        struct record none;
        cr_assert_eq(record_next(&cursor, &none), STATUS_END);
        cr_assert_eq(cursor.next_lsn, 10);
    }
    return status;
}

static void event_expect_equal(const struct event *a, const struct event *b)
{
    cr_expect(bytes_equal(a->event_id, b->event_id));
    cr_expect(bytes_equal(a->user_id, b->user_id));
    cr_expect(bytes_equal(a->event_type, b->event_type));
    cr_expect_eq(a->timestamp_us, b->timestamp_us);
    cr_expect(bytes_equal(a->properties, b->properties));
}

/* The same record, written value by value. */
static void event_encode_plainly(struct pack_writer *writer, const struct event *event)
{
    uint8_t header[FORMAT_RECORD_HEADER_SIZE] = {0, 0, 0, 0, RECORD_EVENT, 1};
    store_u64(header + 8, (uint64_t)RECEIVED);
    pack_raw(writer, bytes_of(header, sizeof(header)));
    pack_array(writer, 5);
    pack_text(writer, event->event_id);
    pack_text(writer, event->user_id);
    pack_text(writer, event->event_type);
    pack_int(writer, event->timestamp_us);
    pack_raw(writer, event->properties);
    store_u32(writer->data, (uint32_t)writer->size);
}

Test(format, event_bytes_are_plain_msgpack_at_every_length)
{
    static const size_t sizes[] = {0, 1, 2, 30, 31, 32, 33, 127, 128};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t user_size = 1; user_size <= LIMIT_USER_ID; user_size++) {
            uint8_t fast[1024];
            uint8_t plain[1024];
            struct pack_writer fast_writer = pack_writer_on(fast, sizeof(fast));
            struct pack_writer plain_writer = pack_writer_on(plain, sizeof(plain));
            struct event event = event_example();
            event.event_id = letters(sizes[i]);
            event.event_type = letters(sizes[i] == 0 ? 1 : sizes[i]);
            event.user_id = letters(user_size);
            event_encode(&fast_writer, &event, RECEIVED);
            event_encode_plainly(&plain_writer, &event);
            cr_assert_not(fast_writer.overflow);
            cr_assert(
                bytes_equal(bytes_of(fast, fast_writer.size), bytes_of(plain, plain_writer.size)));
            struct record record;
            struct event out;
            cr_assert_eq(record_only(bytes_of(fast, fast_writer.size), &record), STATUS_OK);
            cr_assert_eq(record.lsn, 9);
            cr_assert_eq(record.kind, RECORD_EVENT);
            cr_assert_eq(record.version, 1);
            cr_assert_eq(record.received_at_us, RECEIVED);
            cr_assert(pack_check(record.payload));
            cr_assert_eq(event_decode(&record, &out), STATUS_OK);
            event_expect_equal(&out, &event);
        }
    }
}

Test(format, event_properties_may_be_written_in_place)
{
    uint8_t whole[256];
    uint8_t parts[256];
    struct event event = event_example();
    struct pack_writer whole_writer = pack_writer_on(whole, sizeof(whole));
    struct pack_writer parts_writer = pack_writer_on(parts, sizeof(parts));
    event_encode(&whole_writer, &event, RECEIVED);
    size_t place = event_encode_begin(&parts_writer, &event, RECEIVED);
    pack_map(&parts_writer, 1);
    pack_text_z(&parts_writer, "v");
    pack_int(&parts_writer, 42);
    event_encode_end(&parts_writer, place);
    cr_assert(bytes_equal(bytes_of(whole, whole_writer.size), bytes_of(parts, parts_writer.size)));
}

Test(format, event_without_properties_has_the_empty_map)
{
    uint8_t buffer[256];
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    struct event event = event_example();
    event.properties = bytes_of(NULL, 0);
    event_encode(&writer, &event, RECEIVED);
    struct record record;
    struct event out;
    cr_assert_eq(record_only(bytes_of(buffer, writer.size), &record), STATUS_OK);
    cr_assert_eq(event_decode(&record, &out), STATUS_OK);
    cr_assert_eq(out.properties.size, 1);
    cr_assert_eq(out.properties.data[0], 0x80);
}

Test(format, full_buffer_overflows_and_is_not_written_beyond)
{
    uint8_t buffer[256];
    struct event event = event_example();
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    event_encode(&writer, &event, RECEIVED);
    size_t whole = writer.size;
    for (size_t capacity = 0; capacity < whole; capacity++) {
        memset(buffer, 0xee, sizeof(buffer));
        writer = pack_writer_on(buffer, capacity);
        event_encode(&writer, &event, RECEIVED);
        cr_assert(writer.overflow, "capacity %zu", capacity);
        for (size_t i = capacity; i < sizeof(buffer); i++) {
            cr_assert_eq(buffer[i], 0xee, "capacity %zu, byte %zu", capacity, i);
        }
    }
}

/* Decodes what is at `bytes` from memory that ends right behind it. */
static enum status decode_tight(enum record_kind kind, struct bytes payload)
{
    uint8_t *copy = malloc(payload.size);
    memcpy(copy, payload.data, payload.size);
    struct record record = {
        .lsn = 1, .kind = kind, .version = 1, .payload = bytes_of(copy, payload.size)};

    union {
        struct event event;
        struct assignment assignment;
        struct definition definition;
        struct user_set_part part;
    } out;
    enum status status = kind == RECORD_EVENT        ? event_decode(&record, &out.event)
                         : kind == RECORD_ASSIGNMENT ? assignment_decode(&record, &out.assignment)
                         : kind == RECORD_USER_SET   ? user_set_part_decode(&record, &out.part)
                                                     : definition_decode(&record, &out.definition);
    free(copy);
    return status;
}

static struct assignment assignment_example(void)
{
    static const uint8_t attributes[] = {0x81, 0xa7, 'c', 'o',  'u', 'n',
                                         't',  'r',  'y', 0xa2, 'D', 'E'};
    return (struct assignment){
        .experiment_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
        .user_id = bytes_of_text("user-7"),
        .variant = 1,
        .experiment_version = 3,
        .assigned_at_us = RECEIVED - 10,
        .forced = false,
        .attributes = bytes_of(attributes, sizeof(attributes)),
    };
}

static struct definition definition_example(void)
{
    static const uint8_t document[] = {0x81, 0xa4, 'n', 'a', 'm', 'e', 0xa4, 't', 'e', 's', 't'};
    return (struct definition){
        .id = {{16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
        .version = 2,
        .author = {{0xff}},
        .document = bytes_of(document, sizeof(document)),
    };
}

Test(format, assignment_survives_the_round_trip)
{
    uint8_t buffer[512];
    struct record record;
    struct assignment out;
    for (int i = 0; i < 2; i++) {
        struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
        struct assignment in = assignment_example();
        in.forced = i == 1;
        in.attributes = i == 1 ? bytes_of(NULL, 0) : in.attributes;
        in.user_id = i == 1 ? letters(LIMIT_USER_ID) : in.user_id;
        in.variant = i == 1 ? LIMIT_VARIANTS - 1 : 0;
        in.experiment_version = i == 1 ? UINT32_MAX : 1;
        assignment_encode(&writer, &in, RECEIVED);
        cr_assert_not(writer.overflow);
        cr_assert_eq(record_only(bytes_of(buffer, writer.size), &record), STATUS_OK);
        cr_assert_eq(record.kind, RECORD_ASSIGNMENT);
        cr_assert(pack_check(record.payload));
        cr_assert_eq(assignment_decode(&record, &out), STATUS_OK);
        cr_assert(uuid_equal(&in.experiment_id, &out.experiment_id));
        cr_assert(bytes_equal(in.user_id, out.user_id));
        cr_assert_eq(in.variant, out.variant);
        cr_assert_eq(in.experiment_version, out.experiment_version);
        cr_assert_eq(in.assigned_at_us, out.assigned_at_us);
        cr_assert_eq(in.forced, out.forced);
        cr_assert(bytes_equal(in.attributes, out.attributes));
    }
}

Test(format, definition_survives_the_round_trip)
{
    static const enum record_kind kinds[] = {RECORD_EXPERIMENT, RECORD_METRIC, RECORD_TOKEN, RECORD_OVERRIDES, RECORD_ERASURE};

    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        uint8_t buffer[512];
        struct record record;
        struct definition in = definition_example();
        struct definition out;
        struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
        definition_encode(&writer, kinds[i], &in, RECEIVED);
        cr_assert_eq(record_only(bytes_of(buffer, writer.size), &record), STATUS_OK);
        cr_assert_eq(record.kind, kinds[i]);
        cr_assert_eq(definition_decode(&record, &out), STATUS_OK);
        cr_assert(uuid_equal(&in.id, &out.id));
        cr_assert(uuid_equal(&in.author, &out.author));
        cr_assert_eq(in.version, out.version);
        cr_assert(bytes_equal(in.document, out.document));
    }
}

static struct user_set_part user_set_part_example(void)
{
    static uint8_t users[3 * USER_PRINT_SIZE];
    for (size_t i = 0; i < 3; i++) {
        user_print_store(users + i * USER_PRINT_SIZE, (struct user_print){0x1122334455667788ull, 7 + i});
    }
    return (struct user_set_part){.name = bytes_of_text("beta"),
                                  .author = {{9, 8, 7}},
                                  .operation = USER_SET_ADD,
                                  .part = 1,
                                  .part_count = 2,
                                  .users = bytes_of(users, sizeof(users))};
}

Test(format, part_of_a_user_set_survives_the_round_trip)
{
    uint8_t buffer[512];
    struct record record;
    const struct user_set_part in = user_set_part_example();
    struct user_set_part out;
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    user_set_part_encode(&writer, &in, RECEIVED);
    cr_assert_eq(record_only(bytes_of(buffer, writer.size), &record), STATUS_OK);
    cr_assert(pack_check(record.payload));
    cr_assert_eq(user_set_part_decode(&record, &out), STATUS_OK);
    cr_assert(bytes_equal(in.name, out.name) && bytes_equal(in.users, out.users));
    cr_assert(uuid_equal(&in.author, &out.author));
    cr_assert(in.operation == out.operation && in.part == out.part && in.part_count == out.part_count);
}

/* The example with one field spoilt, encoded by hand. */
static enum status part_decode_spoilt(uint64_t operation, uint64_t part, uint64_t part_count, struct bytes users)
{
    uint8_t buffer[512];
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    pack_array(&writer, 6);
    pack_text_z(&writer, "beta");
    pack_bin(&writer, bytes_of((const uint8_t *)"0123456789abcdef", 16));
    pack_uint(&writer, operation);
    pack_uint(&writer, part);
    pack_uint(&writer, part_count);
    pack_bin(&writer, users);
    return decode_tight(RECORD_USER_SET, bytes_of(buffer, writer.size));
}

Test(format, parts_of_user_sets_are_checked)
{
    const struct bytes good = user_set_part_example().users;
    uint8_t twice[2 * USER_PRINT_SIZE];
    memcpy(twice, good.data, USER_PRINT_SIZE);
    memcpy(twice + USER_PRINT_SIZE, good.data, USER_PRINT_SIZE);
    cr_expect_eq(part_decode_spoilt(1, 0, 1, good), STATUS_OK);
    cr_expect_eq(part_decode_spoilt(4, 0, 1, bytes_of(NULL, 0)), STATUS_OK);
    cr_expect_eq(part_decode_spoilt(0, 0, 1, good), STATUS_DAMAGED, "no operation");
    cr_expect_eq(part_decode_spoilt(5, 0, 1, good), STATUS_DAMAGED, "an operation of the future");
    cr_expect_eq(part_decode_spoilt(1, 1, 1, good), STATUS_DAMAGED, "a part beyond the last");
    cr_expect_eq(part_decode_spoilt(4, 0, 1, good), STATUS_DAMAGED, "users of a set that goes");
    cr_expect_eq(part_decode_spoilt(2, 0, 1, bytes_of(good.data, 17)), STATUS_DAMAGED, "half a user");
    cr_expect_eq(part_decode_spoilt(2, 0, 1, bytes_of(twice, sizeof(twice))), STATUS_DAMAGED, "a user twice");
}

static size_t example_encode(enum record_kind kind, uint8_t *buffer, size_t capacity)
{
    struct pack_writer writer = pack_writer_on(buffer, capacity);
    struct event event = event_example();
    struct assignment assignment = assignment_example();
    struct definition definition = definition_example();
    if (kind == RECORD_EVENT) {
        event_encode(&writer, &event, RECEIVED);
    } else if (kind == RECORD_ASSIGNMENT) {
        assignment_encode(&writer, &assignment, RECEIVED);
    } else if (kind == RECORD_USER_SET) {
        const struct user_set_part part = user_set_part_example();
        user_set_part_encode(&writer, &part, RECEIVED);
    } else {
        definition_encode(&writer, kind, &definition, RECEIVED);
    }
    cr_assert_not(writer.overflow);
    return writer.size;
}

Test(format, record_cut_at_any_length_is_refused)
{
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++) {
        uint8_t buffer[512];
        size_t size = example_encode((enum record_kind)kind, buffer, sizeof(buffer)) -
                      FORMAT_RECORD_HEADER_SIZE;
        const uint8_t *payload = buffer + FORMAT_RECORD_HEADER_SIZE;
        cr_assert_eq(decode_tight((enum record_kind)kind, bytes_of(payload, size)), STATUS_OK);
        size_t end = size;
        if (kind == RECORD_EVENT) {
            end -= 3; /* what follows the first byte of the properties is not looked at */
        }
        for (size_t cut = 1; cut < end; cut++) {
            cr_expect_eq(decode_tight((enum record_kind)kind, bytes_of(payload, cut)),
                         STATUS_DAMAGED, "kind %u cut to %zu bytes", kind, cut);
        }
    }
}

Test(format, decoders_hold_on_any_bytes)
{
    /* What one to four changed bytes decode to is wholly valid, or refused: the encoder's assertions are the judge. */
    uint64_t random = 88172645463325252ull;
    for (int round = 0; round < 200000; round++) {
        uint8_t buffer[512];
        enum record_kind kind = (enum record_kind)(1 + round % (RECORD_KIND_END - 1));
        size_t size = example_encode(kind, buffer, sizeof(buffer));
        for (int i = 0; i <= round % 4; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            size_t at = FORMAT_RECORD_HEADER_SIZE + random % (size - FORMAT_RECORD_HEADER_SIZE);
            buffer[at] = (uint8_t)(random >> 32);
        }
        struct bytes payload =
            bytes_of(buffer + FORMAT_RECORD_HEADER_SIZE, size - FORMAT_RECORD_HEADER_SIZE);
        struct record record = {.lsn = 1, .kind = kind, .version = 1, .payload = payload};
        uint8_t again[1024];
        struct pack_writer writer = pack_writer_on(again, sizeof(again));
        struct event event;
        struct assignment assignment;
        struct definition definition;
        struct user_set_part part;
        if (kind == RECORD_EVENT && event_decode(&record, &event) == STATUS_OK) {
            event_encode(&writer, &event, RECEIVED);
            cr_assert(bytes_equal(payload, bytes_of(again + FORMAT_RECORD_HEADER_SIZE,
                                                    writer.size - FORMAT_RECORD_HEADER_SIZE)));
        } else if (kind == RECORD_ASSIGNMENT &&
                   assignment_decode(&record, &assignment) == STATUS_OK) {
            assignment_encode(&writer, &assignment, RECEIVED);
        } else if (kind == RECORD_USER_SET && user_set_part_decode(&record, &part) == STATUS_OK) {
            user_set_part_encode(&writer, &part, RECEIVED);
        } else if (kind != RECORD_EVENT && kind != RECORD_ASSIGNMENT && kind != RECORD_USER_SET &&
                   definition_decode(&record, &definition) == STATUS_OK) {
            definition_encode(&writer, kind, &definition, RECEIVED);
        }
    }
}

Test(format, record_header_is_checked)
{
    uint8_t buffer[512];
    uint8_t good[512];
    struct record record;
    size_t size = example_encode(RECORD_EVENT, good, sizeof(good));

    static const struct {
        size_t offset;
        uint32_t value;
        size_t size;
        enum status status;
        const char *what;
    } cases[] = {
        {0,  0,                4, STATUS_DAMAGED,     "no size"                },
        {0,  16,               4, STATUS_DAMAGED,     "no payload"             },
        {0,  513,              4, STATUS_DAMAGED,     "beyond the block"       },
        {0,  LIMIT_RECORD + 1, 4, STATUS_DAMAGED,     "beyond the limit"       },
        {0,  UINT32_MAX,       4, STATUS_DAMAGED,     "beyond everything"      },
        {4,  0,                1, STATUS_UNSUPPORTED, "kind 0"                 },
        {4,  RECORD_KIND_END,  1, STATUS_UNSUPPORTED, "a kind of the future"   },
        {4,  255,              1, STATUS_UNSUPPORTED, "kind 255"               },
        {5,  0,                1, STATUS_UNSUPPORTED, "version 0"              },
        {5,  2,                1, STATUS_UNSUPPORTED, "a version of the future"},
        {6,  1,                1, STATUS_DAMAGED,     "reserved"               },
        {7,  1,                1, STATUS_DAMAGED,     "reserved"               },
        {15, 0x80,             1, STATUS_DAMAGED,     "received before 1970"   },
        {15, 0x7f,             1, STATUS_DAMAGED,     "received after 9999"    },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        memcpy(buffer, good, sizeof(buffer));
        memcpy(buffer + cases[i].offset, &cases[i].value, cases[i].size);
        struct record_cursor cursor = {bytes_of(buffer, size), 1};
        cr_expect_eq(record_next(&cursor, &record), cases[i].status, "%s", cases[i].what);
        cr_expect_eq(cursor.next_lsn, 1, "the cursor stays");
    }
    for (size_t cut = 1; cut < size; cut++) {
        struct record_cursor cursor = {bytes_of(good, cut), 1};
        cr_expect_eq(record_next(&cursor, &record), STATUS_DAMAGED, "cut to %zu", cut);
    }
}

/* Payloads with one thing wrong; 'u' stands for a user id of one letter. */
Test(format, event_outside_the_limits_is_refused)
{
    for (int wrong = 0; wrong <= 9; wrong++) {
        uint8_t buffer[1024];
        struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
        pack_array(&writer, wrong == 1 ? 6 : 5);
        pack_text(&writer, letters(wrong == 2 ? LIMIT_EVENT_ID + 1 : LIMIT_EVENT_ID));
        pack_text(&writer, letters(wrong == 3   ? 0
                                   : wrong == 4 ? LIMIT_USER_ID + 1
                                                : LIMIT_USER_ID));
        pack_text(&writer, letters(wrong == 5   ? 0
                                   : wrong == 6 ? LIMIT_EVENT_TYPE + 1
                                                : LIMIT_EVENT_TYPE));
        pack_int(&writer, wrong == 7   ? LIMIT_TIMESTAMP_MIN_US - 1
                          : wrong == 8 ? FORMAT_TIME_MAX_US + 1
                                       : LIMIT_TIMESTAMP_MIN_US);
        if (wrong == 9) {
            pack_array(&writer, 0);
        } else {
            pack_map(&writer, 0);
        }
        cr_expect_eq(decode_tight(RECORD_EVENT, bytes_of(buffer, writer.size)),
                     wrong == 0 ? STATUS_OK : STATUS_DAMAGED, "case %d", wrong);
    }
}

Test(format, assignment_outside_the_limits_is_refused)
{
    static uint8_t buffer[LIMIT_ATTRIBUTES + 1024];
    for (int wrong = 0; wrong <= 13; wrong++) {
        struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
        pack_array(&writer, wrong == 1 ? 8 : 7);
        pack_bin(&writer, letters(wrong == 2 ? 15 : 16));
        pack_text(&writer, letters(wrong == 3   ? 0
                                   : wrong == 4 ? LIMIT_USER_ID + 1
                                                : LIMIT_USER_ID));
        pack_uint(&writer, wrong == 5 ? LIMIT_VARIANTS : LIMIT_VARIANTS - 1);
        pack_uint(&writer, wrong == 6 ? 0 : wrong == 7 ? UINT32_MAX + 1ull : UINT32_MAX);
        pack_int(&writer, wrong == 8   ? -1
                          : wrong == 9 ? FORMAT_TIME_MAX_US + 1
                                       : FORMAT_TIME_MAX_US);
        if (wrong == 10) {
            pack_uint(&writer, 1);
        } else {
            pack_bool(&writer, true);
        }
        if (wrong == 11) {
            pack_text_z(&writer, "no map");
        } else {
            pack_nil(&writer);
        }
        if (wrong == 12) {
            pack_nil(&writer);
        }
        if (wrong == 13) {
            writer.size--; /* attributes too long, as a map of one binary */
            pack_map(&writer, 1);
            pack_text_z(&writer, "a");
            static uint8_t long_bytes[LIMIT_ATTRIBUTES];
            pack_bin(&writer, bytes_of(long_bytes, sizeof(long_bytes)));
        }
        cr_assert_not(writer.overflow);
        cr_expect_eq(decode_tight(RECORD_ASSIGNMENT, bytes_of(buffer, writer.size)),
                     wrong == 0 ? STATUS_OK : STATUS_DAMAGED, "case %d", wrong);
    }
}

Test(format, definition_outside_the_limits_is_refused)
{
    static uint8_t buffer[LIMIT_DEFINITION + 1024];
    static uint8_t long_bytes[LIMIT_DEFINITION];
    for (int wrong = 0; wrong <= 7; wrong++) {
        struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
        pack_array(&writer, wrong == 1 ? 3 : 4);
        pack_bin(&writer, letters(wrong == 2 ? 17 : 16));
        pack_uint(&writer, wrong == 3 ? 0 : 1);
        pack_bin(&writer, letters(wrong == 4 ? 0 : 16));
        if (wrong == 5) {
            pack_nil(&writer);
        } else {
            pack_map(&writer, 1);
            pack_text_z(&writer, "d");
            /* map, key of two bytes, five bytes of binary header: at the limit, and one beyond */
            pack_bin(&writer, bytes_of(long_bytes, LIMIT_DEFINITION - 8 + (wrong == 6)));
        }
        if (wrong == 7) {
            pack_nil(&writer);
        }
        cr_assert_not(writer.overflow);
        cr_expect_eq(decode_tight(RECORD_METRIC, bytes_of(buffer, writer.size)),
                     wrong == 0 ? STATUS_OK : STATUS_DAMAGED, "case %d", wrong);
    }
}

Test(format, encoder_asserts_what_the_decoder_demands, .signal = SIGABRT)
{
    uint8_t buffer[1024];
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    struct event event = event_example();
    event.user_id = letters(LIMIT_USER_ID + 1);
    event_encode(&writer, &event, RECEIVED);
}

Test(format, footer_counts_what_blocks_hold)
{
    uint8_t buffer[1024];
    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    struct event event = event_example();
    struct assignment assignment = assignment_example();
    struct definition definition = definition_example();
    event_encode(&writer, &event, RECEIVED + 7);
    event.timestamp_us += 99;
    event_encode(&writer, &event, RECEIVED + 2);
    assignment_encode(&writer, &assignment, RECEIVED + 3);
    definition_encode(&writer, RECORD_METRIC, &definition, RECEIVED + 4);
    struct segment_footer footer;
    segment_footer_init(&footer, 11, 5);
    struct segment_footer before = footer;
    cr_assert_eq(segment_footer_add(&footer, bytes_of(buffer, writer.size), 3, 6), STATUS_DAMAGED,
                 "one too many");
    cr_assert_eq(segment_footer_add(&footer, bytes_of(buffer, writer.size - 1), 4, 6),
                 STATUS_DAMAGED, "cut");
    cr_assert_eq(memcmp(&footer, &before, sizeof(footer)), 0, "left as it was");
    cr_assert_eq(segment_footer_add(&footer, bytes_of(buffer, writer.size), 4, 6), STATUS_OK);
    cr_assert_eq(footer.first_lsn, 11);
    cr_assert_eq(footer.end_lsn, 15);
    cr_assert_eq(footer.events, 2);
    cr_assert_eq(footer.assignments, 1);
    cr_assert_eq(footer.others, 1);
    cr_assert_eq(footer.blocks, 1);
    cr_assert_eq(footer.chain, 6);
    cr_assert_eq(footer.timestamp_min_us, RECEIVED - 1000000);
    cr_assert_eq(footer.timestamp_max_us, RECEIVED - 1000000 + 99);
    cr_assert_eq(footer.received_min_us, RECEIVED + 2);
    cr_assert_eq(footer.received_max_us, RECEIVED + 7);
}

/* The document */

static char *file_read(const char *path, size_t *out_size)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    char *text = calloc(1, 1 << 20);
    *out_size = fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    return text;
}

Test(format, document_names_every_kind_and_field)
{
    size_t size = 0;
    char *text = file_read(ASSAY_SOURCE_DIR "/docs/format.md", &size);
    cr_assert_null(record_kind_row(0));
    cr_assert_null(record_kind_row(RECORD_KIND_END));
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++) {
        const struct record_kind_row *row = record_kind_row(kind);
        char line[128];
        (void)snprintf(line, sizeof(line), "| %u | %s | %u |", kind, row->name, row->version);
        cr_expect_not_null(strstr(text, line), "docs/format.md has no row \"%s\"", line);
        for (size_t i = 0; row->fields[i] != NULL; i++) {
            (void)snprintf(line, sizeof(line), "| %s |", row->fields[i]);
            cr_expect_not_null(strstr(text, line), "docs/format.md does not explain the field %s",
                               row->fields[i]);
        }
    }
    free(text);
}

/* The golden segment: five pages; header, two blocks with a record of each kind, nothing, footer. */

#define GOLDEN_PATH  ASSAY_SOURCE_DIR "/tests/data/golden/v1-segment.bin"
#define GOLDEN_PAGES 5u

static uint64_t golden_block(uint8_t *page, const struct pack_writer *payload,
                             struct block_header header)
{
    memcpy(page + FORMAT_BLOCK_HEADER_SIZE, payload->data, payload->size);
    header.payload_size = (uint32_t)payload->size;
    header.payload_check = format_payload_check(payload->data, payload->size, SALT);
    header.durable_lsn = header.first_lsn;
    block_header_encode(&header, SALT, page);
    return format_chain(page, FORMAT_BLOCK_HEADER_SIZE);
}

static void golden_make(uint8_t image[GOLDEN_PAGES * LOG_BLOCK_ALIGN])
{
    uint8_t buffer[2048];
    struct segment_header header = header_example;
    struct segment_footer footer;
    struct event event = event_example();
    struct assignment assignment = assignment_example();
    struct definition definition = definition_example();
    memset(image, 0, GOLDEN_PAGES * LOG_BLOCK_ALIGN);
    header.first_lsn = 1;
    header.chain = 0;
    segment_header_encode(&header, image);
    segment_footer_init(&footer, 1, format_chain(image, FORMAT_SEGMENT_HEADER_SIZE));

    struct pack_writer writer = pack_writer_on(buffer, sizeof(buffer));
    definition_encode(&writer, RECORD_TOKEN, &definition, RECEIVED);
    definition_encode(&writer, RECORD_EXPERIMENT, &definition, RECEIVED + 1);
    definition_encode(&writer, RECORD_METRIC, &definition, RECEIVED + 2);
    uint8_t *page = image + LOG_BLOCK_ALIGN;
    struct block_header block = {.first_lsn = 1,
                                 .record_count = 3,
                                 .chain = footer.chain,
                                 .written_at_us = RECEIVED + 3,
                                 .offset = 4096};
    uint64_t chain = golden_block(page, &writer, block);
    cr_assert_eq(segment_footer_add(&footer, bytes_of(buffer, writer.size), 3, chain), STATUS_OK);

    writer = pack_writer_on(buffer, sizeof(buffer));
    assignment_encode(&writer, &assignment, RECEIVED + 4);
    assignment.attributes = bytes_of(NULL, 0);
    assignment.user_id = letters(40);
    assignment.forced = true;
    assignment_encode(&writer, &assignment, RECEIVED + 5);
    event_encode(&writer, &event, RECEIVED + 6);
    event.event_id = bytes_of(NULL, 0);
    event.properties = bytes_of(NULL, 0);
    event_encode(&writer, &event, RECEIVED + 7);
    block = (struct block_header){.first_lsn = 4,
                                  .record_count = 4,
                                  .chain = footer.chain,
                                  .written_at_us = RECEIVED + 8,
                                  .offset = 8192};
    chain = golden_block(page + LOG_BLOCK_ALIGN, &writer, block);
    cr_assert_eq(segment_footer_add(&footer, bytes_of(buffer, writer.size), 4, chain), STATUS_OK);
    segment_footer_encode(&footer, SALT, image + (GOLDEN_PAGES - 1) * LOG_BLOCK_ALIGN);
}

Test(format, golden_segment_is_what_is_written_today)
{
    static uint8_t image[GOLDEN_PAGES * LOG_BLOCK_ALIGN];
    golden_make(image);
    if (getenv("ASSAY_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(GOLDEN_PATH, "wb");
        cr_assert_not_null(file);
        cr_assert_eq(fwrite(image, 1, sizeof(image), file), sizeof(image));
        cr_assert_eq(fclose(file), 0);
    }
    size_t size = 0;
    char *golden = file_read(GOLDEN_PATH, &size);
    cr_assert_eq(size, sizeof(image));
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq((uint8_t)golden[i], image[i], "byte %zu", i);
    }
    free(golden);
}

Test(format, golden_segment_is_still_understood)
{
    /* Read with literal offsets: an independent, if small, decoder. */
    size_t size = 0;
    char *text = file_read(GOLDEN_PATH, &size);
    const uint8_t *golden = (const uint8_t *)text;
    struct segment_header header;
    struct segment_footer footer;
    struct block_header block;
    struct record record;
    cr_assert_eq(segment_header_decode(golden, &header), STATUS_OK);
    cr_assert_eq(segment_footer_decode(golden + header.file_size - 4096, header.salt, &footer),
                 STATUS_OK);
    cr_assert_eq(footer.events, 2);
    cr_assert_eq(footer.assignments, 2);
    cr_assert_eq(footer.others, 3);
    static const uint8_t kinds[] = {RECORD_TOKEN,      RECORD_EXPERIMENT, RECORD_METRIC,
                                    RECORD_ASSIGNMENT, RECORD_ASSIGNMENT, RECORD_EVENT,
                                    RECORD_EVENT};
    size_t seen = 0;
    for (size_t offset = 4096; offset <= 8192; offset += 4096) {
        cr_assert_eq(block_header_decode(golden + offset, header.salt, &block), STATUS_OK);
        struct bytes payload = bytes_of(golden + offset + 64, block.payload_size);
        cr_assert_eq(format_payload_check(payload.data, payload.size, header.salt),
                     block.payload_check);
        struct record_cursor cursor = {payload, block.first_lsn};
        while (record_next(&cursor, &record) == STATUS_OK) {
            cr_assert_eq(record.kind, kinds[seen]);
            cr_assert_eq(record.lsn, seen + 1);
            cr_assert_eq(record.received_at_us, RECEIVED + (int64_t)seen + (seen >= 3));
            cr_assert_eq(decode_tight(record.kind, record.payload), STATUS_OK);
            seen++;
        }
    }
    cr_assert_eq(seen, COUNT_OF(kinds));
    struct event event;
    struct event expected = event_example();
    struct record_cursor cursor = {bytes_of(golden + 8192 + 64, block.payload_size), 4};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
    }
    cr_assert_eq(event_decode(&record, &event), STATUS_OK);
    event_expect_equal(&event, &expected);
    free(text);
}

/* The kinds that came after the golden segment: a record of each, back to back as in a block. */

#define GOLDEN_ERASURE_PATH ASSAY_SOURCE_DIR "/tests/data/golden/v1-record-8.bin"
#define GOLDEN_LATER_PATH ASSAY_SOURCE_DIR "/tests/data/golden/v1-records-6-7.bin"

Test(format, golden_records_of_later_kinds_are_what_is_written_today)
{
    uint8_t image[1024];
    struct pack_writer writer = pack_writer_on(image, sizeof(image));
    const struct definition definition = definition_example();
    const struct user_set_part part = user_set_part_example();
    definition_encode(&writer, RECORD_OVERRIDES, &definition, RECEIVED);
    user_set_part_encode(&writer, &part, RECEIVED + 1);
    cr_assert_not(writer.overflow);
    if (getenv("ASSAY_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(GOLDEN_LATER_PATH, "wb");
        cr_assert_not_null(file);
        cr_assert_eq(fwrite(image, 1, writer.size, file), writer.size);
        cr_assert_eq(fclose(file), 0);
    }
    size_t size = 0;
    char *golden = file_read(GOLDEN_LATER_PATH, &size);
    cr_assert(bytes_equal(bytes_of((const uint8_t *)golden, size), bytes_of(image, writer.size)));

    struct record_cursor cursor = {bytes_of((const uint8_t *)golden, size), 1};
    struct record record;
    struct definition old_definition;
    struct user_set_part old_part;
    cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
    cr_assert_eq((int)record.kind, 6);
    cr_assert_eq(definition_decode(&record, &old_definition), STATUS_OK);
    cr_assert(bytes_equal(old_definition.document, definition.document));
    cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
    cr_assert_eq((int)record.kind, 7);
    cr_assert_eq(user_set_part_decode(&record, &old_part), STATUS_OK);
    cr_assert(bytes_equal(old_part.name, part.name) && bytes_equal(old_part.users, part.users));
    cr_assert_eq(record_next(&cursor, &record), STATUS_END);
    free(golden);
}

Test(format, golden_record_of_an_erasure_is_what_is_written_today)
{
    uint8_t document[ERASURE_DOCUMENT_MAX];
    uint8_t image[512];
    struct erasure erasure = {
        .user = {0x0102030405060708ull, 0x090a0b0c0d0e0f10ull}, .user_hash = UINT64_MAX - 1, .erased_at_us = RECEIVED};
    memset(erasure.receipt.bytes, 7, sizeof(erasure.receipt.bytes));
    struct pack_writer inner = pack_writer_on(document, sizeof(document));
    erasure_encode(&erasure, &inner);
    cr_assert_not(inner.overflow);
    struct pack_writer writer = pack_writer_on(image, sizeof(image));
    definition_encode(&writer, RECORD_ERASURE,
                      &(struct definition){.id = erasure.receipt, .version = 1, .document = bytes_of(document, inner.size)}, RECEIVED);
    if (getenv("ASSAY_GOLDEN_WRITE") != NULL) {
        FILE *file = fopen(GOLDEN_ERASURE_PATH, "wb");
        cr_assert_not_null(file);
        cr_assert_eq(fwrite(image, 1, writer.size, file), writer.size);
        cr_assert_eq(fclose(file), 0);
    }
    size_t size = 0;
    char *golden = file_read(GOLDEN_ERASURE_PATH, &size);
    cr_assert(bytes_equal(bytes_of((const uint8_t *)golden, size), bytes_of(image, writer.size)));
    struct record_cursor cursor = {bytes_of((const uint8_t *)golden, size), 1};
    struct record record;
    struct definition definition;
    struct erasure old;
    cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
    cr_assert_eq((int)record.kind, 8);
    cr_assert_eq(definition_decode(&record, &definition), STATUS_OK);
    cr_assert_eq(erasure_decode(&definition, &old), STATUS_OK);
    cr_assert(uuid_equal(&old.receipt, &erasure.receipt) && user_print_order(old.user, erasure.user) == 0);
    cr_assert(old.user_hash == erasure.user_hash && old.erased_at_us == erasure.erased_at_us);
    free(golden);
}

/* The print is part of the format: other programs make and compare it. */
Test(format, prints_of_users_are_big_endian)
{
    uint8_t bytes[USER_PRINT_SIZE];
    const struct user_print print = {0x0102030405060708ull, 0x090a0b0c0d0e0f10ull};
    user_print_store(bytes, print);
    for (uint8_t i = 0; i < USER_PRINT_SIZE; i++) {
        cr_assert_eq(bytes[i], i + 1);
    }
    cr_assert_eq(user_print_order(user_print_load(bytes), print), 0);
}
