/* test_event_parser.c: bodies of POST /events: every shape, every refusal, every limit at its edge. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/event_parser.h"
#include "engine/timestamp.h"

#define NOW_US 1767261600000000ll /* 2026-01-01T10:00:00Z */

/* A body parsed, with everything it took. */
struct parsed {
    struct arena arena;
    struct catalog *catalog;
    uint8_t *body;
    uint8_t *frame;
    struct event_batch batch;
    enum status status;
};

static struct parsed parse_bytes(enum event_body kind, const void *body, size_t size, size_t room)
{
    struct parsed out = {0};
    arena_init(&out.arena, 65536);
    out.catalog = catalog_empty();
    out.body = calloc(1, size + JSON_PADDING);
    memcpy(out.body, body, size);
    out.frame = malloc(room);
    out.batch = (struct event_batch){
        .catalog = out.catalog,
        .received_at_us = NOW_US,
        .frame = pack_writer_on(out.frame, room),
    };
    out.batch.arena = &out.arena;
    out.status = event_batch_parse(&out.batch, kind, bytes_of(out.body, size));
    return out;
}

static struct parsed parse(enum event_body kind, const char *body)
{
    return parse_bytes(kind, body, strlen(body), strlen(body) * 3 + 4096);
}

static void parsed_free(struct parsed *parsed)
{
    arena_deinit(&parsed->arena);
    catalog_unref(parsed->catalog);
    free(parsed->body);
    free(parsed->frame);
}

static struct event event_at(const struct parsed *parsed, uint32_t number)
{
    struct record_cursor cursor = {bytes_of(parsed->batch.frame.data, parsed->batch.frame.size), 1};
    struct record record;
    struct event event;
    for (uint32_t i = 0; i <= number; i++) {
        cr_assert_eq(record_next(&cursor, &record), STATUS_OK);
    }
    cr_assert_eq(record.kind, RECORD_EVENT);
    cr_assert_eq(record.received_at_us, NOW_US);
    cr_assert_eq(event_decode(&record, &event), STATUS_OK);
    return event;
}

/* One event of JSON that must be rejected alone, with this code. */
static void expect_rejected(const char *event, const char *code)
{
    char *body = malloc(strlen(event) + 64);
    sprintf(body, "[{\"user_id\":\"u\",\"event_type\":\"t\"},%s]", event);
    struct parsed parsed = parse(EVENT_BODY_JSON, body);
    cr_assert_eq(parsed.status, STATUS_OK, "%s", body);
    cr_assert_eq(parsed.batch.received, 2);
    cr_assert_eq(parsed.batch.accepted, 1, "%s", body);
    cr_assert_eq(parsed.batch.rejected, 1);
    cr_assert_eq(parsed.batch.rejections[0].index, 1);
    cr_assert_str_eq(parsed.batch.rejections[0].code, code, "%s: %s", body,
                     parsed.batch.rejections[0].code);
    parsed_free(&parsed);
    free(body);
}

static void expect_fault(enum event_body kind, const char *body, const char *code, size_t offset)
{
    struct parsed parsed = parse(kind, body);
    cr_assert_eq(parsed.status, STATUS_INVALID, "%s", body);
    cr_assert_str_eq(parsed.batch.fault_code, code, "%s: %s", body, parsed.batch.fault_code);
    cr_assert_eq(parsed.batch.reader.fault_offset, offset, "%s: %zu", body,
                 parsed.batch.reader.fault_offset);
    parsed_free(&parsed);
}

#define ONE                                                                                        \
    "{\"event_id\":\"e1\",\"user_id\":\"u1\",\"event_type\":\"purchase\",\"timestamp\":"           \
    "\"2026-01-01T09:00:00.5Z\",\"properties\":{\"amount\":29.99,\"items\":[\"a\",\"b\"]}}"

static void expect_one(const struct parsed *parsed, uint32_t number)
{
    struct event event = event_at(parsed, number);
    struct pack_value amount;
    int64_t millionths = 0;
    cr_assert(bytes_equal_text(event.event_id, "e1"));
    cr_assert(bytes_equal_text(event.user_id, "u1"));
    cr_assert(bytes_equal_text(event.event_type, "purchase"));
    cr_assert_eq(event.timestamp_us, NOW_US - 3600000000ll + 500000);
    cr_assert(pack_check(event.properties));
    cr_assert(pack_map_find(event.properties, bytes_of_text("amount"), &amount));
    cr_assert(pack_to_millionths(&amount, &millionths));
    cr_assert_eq(millionths, 29990000);
}

Test(event_parser, takes_every_shape_of_json)
{
    static const struct {
        enum event_body kind;
        const char *body;
        uint32_t count;
    } rows[] = {
        {EVENT_BODY_JSON,   ONE,                              1},
        {EVENT_BODY_JSON,   " [" ONE "," ONE "] ",            2},
        {EVENT_BODY_JSON,   "{\"events\":[" ONE "," ONE "]}", 2},
        {EVENT_BODY_JSON,   "[]",                             0},
        {EVENT_BODY_JSON,   "{\"events\":[]}",                0},
        {EVENT_BODY_NDJSON, ONE,                              1},
        {EVENT_BODY_NDJSON, ONE "\n" ONE "\r\n\n" ONE "\n",   3},
        {EVENT_BODY_NDJSON, "\n",                             0},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct parsed parsed = parse(rows[i].kind, rows[i].body);
        cr_assert_eq(parsed.status, STATUS_OK, "%s", rows[i].body);
        cr_assert_eq(parsed.batch.received, rows[i].count, "%s", rows[i].body);
        cr_assert_eq(parsed.batch.accepted, rows[i].count, "%s", rows[i].body);
        for (uint32_t j = 0; j < rows[i].count; j++) {
            expect_one(&parsed, j);
        }
        parsed_free(&parsed);
    }
}

Test(event_parser, order_of_fields_does_not_matter)
{
    struct parsed parsed =
        parse(EVENT_BODY_JSON, "{\"properties\":{\"amount\":29.99},\"timestamp\":1767258000500,"
                               "\"event_type\":\"purchase\","
                               "\"user_id\":\"u1\",\"event_id\":\"e1\"}");
    cr_assert_eq(parsed.status, STATUS_OK);
    expect_one(&parsed, 0);
    parsed_free(&parsed);
}

Test(event_parser, fills_in_what_is_left_out)
{
    struct parsed parsed =
        parse(EVENT_BODY_JSON, "[{\"user_id\":\"u\",\"event_type\":\"t\"},{\"user_id\":\"u\","
                               "\"event_type\":\"t\",\"timestamp\":null,\"properties\":null,"
                               "\"event_id\":null}]");
    cr_assert_eq(parsed.batch.accepted, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct event event = event_at(&parsed, i);
        cr_assert_eq(event.event_id.size, 0);
        cr_assert_eq(event.timestamp_us, NOW_US);
        cr_assert_eq(event.properties.size, 1);
        cr_assert_eq(event.properties.data[0], 0x80);
    }
    parsed_free(&parsed);
}

Test(event_parser, reads_escapes)
{
    struct parsed parsed = parse(
        EVENT_BODY_JSON, "{\"user\\u005fid\":\"\\u00e9\\ud83d\\ude00\",\"event_type\":\"a\\/b\"}");
    struct event event = event_at(&parsed, 0);
    cr_assert(bytes_equal_text(event.user_id, "\xc3\xa9\xf0\x9f\x98\x80"));
    cr_assert(bytes_equal_text(event.event_type, "a/b"));
    parsed_free(&parsed);
}

Test(event_parser, rejects_bad_events_alone)
{
    static const char *const rows[][2] = {
        {"1",                                                                               "wrong_type"         },
        {"[]",                                                                              "wrong_type"         },
        {"\"x\"",                                                                           "wrong_type"         },
        {"{\"event_type\":\"t\"}",                                                          "required"           },
        {"{\"user_id\":\"u\"}",                                                             "required"           },
        {"{}",                                                                              "required"           },
        {"{\"user_id\":5,\"event_type\":\"t\"}",                                            "wrong_type"         },
        {"{\"user_id\":null,\"event_type\":\"t\"}",                                         "wrong_type"         },
        {"{\"user_id\":\"\",\"event_type\":\"t\"}",                                         "invalid_user_id"    },
        {"{\"user_id\":\"a\\u0000\",\"event_type\":\"t\"}",                                 "invalid_user_id"    },
        {"{\"user_id\":\"a\\u007f\",\"event_type\":\"t\"}",                                 "invalid_user_id"    },
        {"{\"user_id\":\"u\",\"event_type\":\"\"}",                                         "invalid_event_type" },
        {"{\"user_id\":\"u\",\"event_type\":{}}",                                           "wrong_type"         },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"event_id\":\"\"}",                      "invalid_event_id"   },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"event_id\":7}",                         "wrong_type"         },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"value\":7}",                            "unknown_field"      },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"user_id\":\"u\"}",                      "duplicate_field"    },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"properties\":[]}",                      "wrong_type"         },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"properties\":\"x\"}",                   "wrong_type"         },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":\"yesterday\"}",
         "invalid_timestamp"                                                                                     },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":true}",                     "invalid_timestamp"  },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":1e300}",                    "invalid_timestamp"  },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":1767261600}",
         "timestamp_too_early"                                                                                   },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":-1}",                       "timestamp_too_early"},
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":1767348000001}",
         "timestamp_in_future"                                                                                   },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":\"2027-01-01T00:00:00Z\"}",
         "timestamp_in_future"                                                                                   },
        {"{\"user_id\":\"u\",\"event_type\":\"t\",\"events\":[]}",                          "unknown_field"      },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        expect_rejected(rows[i][0], rows[i][1]);
    }
}

Test(event_parser, timestamps_at_the_edges)
{
    static const struct {
        const char *text;
        int64_t us;
    } rows[] = {
        {"1767348000000",                 NOW_US + LIMIT_TIMESTAMP_AHEAD_US},
        {"946684800000",                  LIMIT_TIMESTAMP_MIN_US           },
        {"1767261600000.25",              NOW_US + 250                     },
        {"1.7672616e12",                  NOW_US                           },
        {"\"2026-01-01T12:00:00+02:00\"", NOW_US                           },
        {"\"2000-01-01T00:00:00Z\"",      LIMIT_TIMESTAMP_MIN_US           },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char body[256];
        sprintf(body, "{\"user_id\":\"u\",\"event_type\":\"t\",\"timestamp\":%s}", rows[i].text);
        struct parsed parsed = parse(EVENT_BODY_JSON, body);
        cr_assert_eq(parsed.batch.accepted, 1, "%s", body);
        cr_assert_eq(event_at(&parsed, 0).timestamp_us, rows[i].us, "%s", body);
        parsed_free(&parsed);
    }
}

/* {"user_id": <users>, "event_type": <types>, "event_id": <ids>} with texts of these lengths. */
static uint32_t accepted_of_lengths(size_t users, size_t types, size_t ids)
{
    char text[4][512];
    size_t lengths[] = {users, types, ids};
    for (size_t i = 0; i < 3; i++) {
        memset(text[i], 'a', lengths[i]);
        text[i][lengths[i]] = '\0';
    }
    char body[2048];
    sprintf(body, "{\"user_id\":\"%s\",\"event_type\":\"%s\",\"event_id\":\"%s\"}", text[0],
            text[1], text[2]);
    struct parsed parsed = parse(EVENT_BODY_JSON, body);
    cr_assert_eq(parsed.status, STATUS_OK);
    uint32_t accepted = parsed.batch.accepted;
    parsed_free(&parsed);
    return accepted;
}

Test(event_parser, lengths_at_their_limits)
{
    cr_assert_eq(accepted_of_lengths(LIMIT_USER_ID, LIMIT_EVENT_TYPE, LIMIT_EVENT_ID), 1);
    cr_assert_eq(accepted_of_lengths(LIMIT_USER_ID + 1, LIMIT_EVENT_TYPE, LIMIT_EVENT_ID), 0);
    cr_assert_eq(accepted_of_lengths(LIMIT_USER_ID, LIMIT_EVENT_TYPE + 1, LIMIT_EVENT_ID), 0);
    cr_assert_eq(accepted_of_lengths(LIMIT_USER_ID, LIMIT_EVENT_TYPE, LIMIT_EVENT_ID + 1), 0);
}

/* Properties of exactly `size` bytes of JSON text. */
static uint32_t accepted_of_properties(size_t size)
{
    static const char head[] = "{\"user_id\":\"u\",\"event_type\":\"t\",\"properties\": ";
    char *body = malloc(size + 256);
    size_t at = (size_t)sprintf(body, "%s{\"k\":\"", head);
    memset(body + at, 'a', size - 8);
    strcpy(body + at + size - 8, "\"}}");
    struct parsed parsed = parse(EVENT_BODY_JSON, body);
    cr_assert_eq(parsed.status, STATUS_OK);
    uint32_t accepted = parsed.batch.accepted;
    if (accepted == 0) {
        cr_assert_str_eq(parsed.batch.rejections[0].code, "properties_too_large");
    }
    parsed_free(&parsed);
    free(body);
    return accepted;
}

Test(event_parser, properties_at_their_limit)
{
    cr_assert_eq(accepted_of_properties(LIMIT_PROPERTIES), 1);
    cr_assert_eq(accepted_of_properties(LIMIT_PROPERTIES + 1), 0);
}

static enum status status_of_count(size_t count, uint32_t *out_accepted)
{
    static const char event[] = "{\"user_id\":\"u\",\"event_type\":\"t\"}";
    char *body = malloc((count + 1) * sizeof(event));
    size_t at = 0;
    body[at++] = '[';
    for (size_t i = 0; i < count; i++) {
        at += (size_t)sprintf(body + at, "%s%s", i == 0 ? "" : ",", event);
    }
    strcpy(body + at, "]");
    struct parsed parsed = parse(EVENT_BODY_JSON, body);
    enum status status = parsed.status;
    *out_accepted = parsed.batch.accepted;
    parsed_free(&parsed);
    free(body);
    return status;
}

Test(event_parser, number_of_events_at_its_limit)
{
    uint32_t accepted = 0;
    cr_assert_eq(status_of_count(LIMIT_EVENTS_PER_REQUEST, &accepted), STATUS_OK);
    cr_assert_eq(accepted, LIMIT_EVENTS_PER_REQUEST);
    cr_assert_eq(status_of_count(LIMIT_EVENTS_PER_REQUEST + 1, &accepted), STATUS_TOO_LARGE);
}

Test(event_parser, broken_json_refuses_the_body)
{
    expect_fault(EVENT_BODY_JSON, "", "json_truncated", 0);
    expect_fault(EVENT_BODY_JSON, "[" ONE ",", "json_truncated", sizeof(ONE) + 1);
    expect_fault(EVENT_BODY_JSON, "[" ONE "] x", "json_trailing", sizeof(ONE) + 2);
    expect_fault(EVENT_BODY_JSON, ONE "\n" ONE, "json_trailing", sizeof(ONE));
    expect_fault(EVENT_BODY_NDJSON, ONE " " ONE, "json_trailing", sizeof(ONE));
    expect_fault(EVENT_BODY_JSON, "{\"user_id\":\"u\",\"event_type\":tru}", "json_syntax", 31);
    expect_fault(EVENT_BODY_JSON,
                 "{\"user_id\":\"u\",\"event_type\":\"t\",\"properties\":{\"a\":1,\"a\":2}}",
                 "json_duplicate_key", 52);
    expect_fault(EVENT_BODY_JSON, "{\"user_id\":\"\xff\",\"event_type\":\"t\"}", "json_utf8", 12);
}

Test(event_parser, an_envelope_holds_events_alone)
{
    struct parsed parsed = parse(EVENT_BODY_JSON, "{\"events\":[" ONE "],\"x\":1}");
    cr_assert_eq(parsed.status, STATUS_UNSUPPORTED);
    cr_assert_str_eq(parsed.batch.fault_code, "unknown_field");
    parsed_free(&parsed);
    parsed = parse(EVENT_BODY_JSON, "{\"events\":{}}");
    cr_assert_eq(parsed.status, STATUS_UNSUPPORTED);
    cr_assert_str_eq(parsed.batch.fault_code, "wrong_type");
    parsed_free(&parsed);
}

Test(event_parser, a_full_frame_says_so)
{
    for (size_t room = 0; room < 2048; room += 7) {
        struct parsed parsed = parse_bytes(EVENT_BODY_JSON, ONE, strlen(ONE), room);
        bool fits = parsed.status == STATUS_OK;
        cr_assert(fits ? parsed.batch.accepted == 1 : parsed.status == STATUS_NO_SPACE);
        cr_assert(fits || room < 2 * EVENT_HEAD_MAX);
        parsed_free(&parsed);
    }
}

Test(event_parser, knows_which_event_a_record_was)
{
    struct parsed parsed = parse(EVENT_BODY_JSON, "[1," ONE ",2,3," ONE "," ONE ",4]");
    cr_assert_eq(parsed.batch.accepted, 3);
    cr_assert_eq(parsed.batch.rejected, 4);
    cr_assert_eq(event_batch_index(&parsed.batch, 0), 1);
    cr_assert_eq(event_batch_index(&parsed.batch, 1), 4);
    cr_assert_eq(event_batch_index(&parsed.batch, 2), 5);
    parsed_free(&parsed);
}

Test(event_parser, lists_a_bounded_number_of_rejections)
{
    char body[4096] = "[0";
    for (uint32_t i = 0; i < LIMIT_FIELD_ERRORS; i++) {
        strcat(body, ",{\"x\":0}");
    }
    strcat(body, "," ONE "]");
    struct parsed parsed = parse(EVENT_BODY_JSON, body);
    cr_assert_eq(parsed.batch.rejected, LIMIT_FIELD_ERRORS + 1);
    cr_assert_eq(parsed.batch.rejection_count, LIMIT_FIELD_ERRORS);
    cr_assert_str_eq(parsed.batch.rejections[1].code, "unknown_field");
    cr_assert(strstr(parsed.batch.rejections[1].message, "\"x\"") != NULL);
    expect_one(&parsed, 0);
    parsed_free(&parsed);
}

/* The same with a metric that sums purchase.amount. */
static const char *code_of_amount(const char *amount)
{
    static char code[64];
    char body[256];
    sprintf(body, "{\"user_id\":\"u\",\"event_type\":\"purchase\",\"properties\":{\"amount\":%s}}",
            amount);
    struct parsed parsed = parse(EVENT_BODY_JSON, "[]");
    uint8_t document[256];
    struct pack_writer writer = pack_writer_on(document, sizeof(document));
    static const char *const fields[][2] = {
        {"name",        "spent"   },
        {"type",        "mean"    },
        {"event_type",  "purchase"},
        {"property",    "amount"  },
        {"aggregation", "sum"     },
    };
    pack_map(&writer, COUNT_OF(fields));
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        pack_text_z(&writer, fields[i][0]);
        pack_text_z(&writer, fields[i][1]);
    }
    struct definition_context context = {.version = 1, .now_us = NOW_US};
    context.id.bytes[0] = 1;
    struct field_errors errors = field_errors_in(&parsed.arena);
    struct metric *metric = NULL;
    cr_assert_eq(metric_create(bytes_of(document, writer.size), &context, &errors, &metric),
                 STATUS_OK, "%s", errors.count > 0 ? errors.items[0].message : "");
    struct catalog *with = catalog_with_metric(parsed.catalog, metric);
    parsed.batch.catalog = with;
    parsed.batch.arena = &parsed.arena; /* which was returned by value */
    char padded[512] = {0};
    strcpy(padded, body);
    cr_assert_eq(event_batch_parse(&parsed.batch, EVENT_BODY_JSON, bytes_of(padded, strlen(body))),
                 STATUS_OK);
    strcpy(code, parsed.batch.rejected > 0 ? parsed.batch.rejections[0].code : "");
    catalog_unref(with);
    parsed_free(&parsed);
    return code;
}

Test(event_parser, refuses_values_that_cannot_be_summed)
{
    cr_assert_str_eq(code_of_amount("9199999999999.999"), "");
    cr_assert_str_eq(code_of_amount("9200000000000"), "value_out_of_range");
    cr_assert_str_eq(code_of_amount("-9200000000000"), "value_out_of_range");
    cr_assert_str_eq(code_of_amount("1e200"), "value_out_of_range");
    cr_assert_str_eq(code_of_amount("18446744073709551615"), "value_out_of_range");
    cr_assert_str_eq(code_of_amount("\"a lot\""), "");
    cr_assert_str_eq(code_of_amount("null"), "");
}

/* msgpack. */

static void pack_event(struct pack_writer *writer)
{
    pack_map(writer, 5);
    pack_text_z(writer, "properties");
    pack_map(writer, 1);
    pack_text_z(writer, "amount");
    pack_double(writer, 29.99);
    pack_text_z(writer, "event_id");
    pack_text_z(writer, "e1");
    pack_text_z(writer, "user_id");
    pack_text_z(writer, "u1");
    pack_text_z(writer, "event_type");
    pack_text_z(writer, "purchase");
    pack_text_z(writer, "timestamp");
    pack_int(writer, (NOW_US - 3600000000ll + 500000) / 1000);
}

Test(event_parser, takes_every_shape_of_msgpack)
{
    for (int shape = 0; shape < 3; shape++) {
        uint8_t body[1024];
        struct pack_writer writer = pack_writer_on(body, sizeof(body));
        if (shape == 2) {
            pack_map(&writer, 1);
            pack_text_z(&writer, "events");
        }
        if (shape > 0) {
            pack_array(&writer, 2);
            pack_event(&writer);
        }
        pack_event(&writer);
        struct parsed parsed = parse_bytes(EVENT_BODY_MSGPACK, body, writer.size, 4096);
        cr_assert_eq(parsed.status, STATUS_OK);
        cr_assert_eq(parsed.batch.accepted, shape > 0 ? 2 : 1);
        expect_one(&parsed, parsed.batch.accepted - 1);
        parsed_free(&parsed);
    }
}

/* An event whose properties are {"k": <raw>} or, where key is given, {<key>: nil, "k": <raw>}. */
static const char *code_of_packed(const char *key, struct bytes raw)
{
    static char code[64];
    static uint8_t body[65536];
    struct pack_writer writer = pack_writer_on(body, sizeof(body));
    pack_map(&writer, 3);
    pack_text_z(&writer, "user_id");
    pack_text_z(&writer, "u1");
    pack_text_z(&writer, "event_type");
    pack_text_z(&writer, "t");
    pack_text_z(&writer, "properties");
    pack_map(&writer, key != NULL ? 2 : 1);
    if (key != NULL) {
        pack_text_z(&writer, key);
        pack_nil(&writer);
    }
    pack_text_z(&writer, "k");
    pack_raw(&writer, raw);
    struct parsed parsed = parse_bytes(EVENT_BODY_MSGPACK, body, writer.size, sizeof(body));
    cr_assert_eq(parsed.status, STATUS_OK);
    strcpy(code, parsed.batch.rejected > 0 ? parsed.batch.rejections[0].code : "");
    parsed_free(&parsed);
    return code;
}

Test(event_parser, msgpack_must_be_sayable_in_json)
{
    static const uint8_t infinity[] = {0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0};
    uint8_t deep[LIMIT_JSON_DEPTH + 2];
    memset(deep, 0x91, sizeof(deep));
    cr_assert_str_eq(code_of_packed(NULL, bytes_of("\xc3", 1)), "");
    cr_assert_str_eq(code_of_packed("j", bytes_of("\xc3", 1)), "");
    cr_assert_str_eq(code_of_packed("k", bytes_of("\xc3", 1)), "invalid_properties");
    cr_assert_str_eq(code_of_packed(NULL, bytes_of("\xc4\x01x", 3)), "invalid_properties");
    cr_assert_str_eq(code_of_packed(NULL, bytes_of(infinity, sizeof(infinity))),
                     "invalid_properties");
    cr_assert_str_eq(code_of_packed(NULL, bytes_of("\x81\x01\x02", 3)), "invalid_properties");
    cr_assert_str_eq(code_of_packed(NULL, bytes_of("\x81\xa1y\x02", 4)), "");
    /* The map is one level, its arrays are the rest. */
    deep[LIMIT_JSON_DEPTH - 2] = 0x90;
    cr_assert_str_eq(code_of_packed(NULL, bytes_of(deep, LIMIT_JSON_DEPTH - 1)), "");
    deep[LIMIT_JSON_DEPTH - 2] = 0x91;
    deep[LIMIT_JSON_DEPTH - 1] = 0x90;
    cr_assert_str_eq(code_of_packed(NULL, bytes_of(deep, LIMIT_JSON_DEPTH)), "invalid_properties");
}

/* A map of `count` keys of which the last repeats key number `twin`. */
static const char *code_of_keys(uint32_t count, uint32_t twin)
{
    static uint8_t map[65536];
    struct pack_writer writer = pack_writer_on(map, sizeof(map));
    pack_map(&writer, count);
    for (uint32_t i = 0; i < count; i++) {
        char key[16];
        sprintf(key, "%u", i == count - 1 ? twin : i);
        pack_text_z(&writer, key);
        pack_uint(&writer, i);
    }
    return code_of_packed(NULL, bytes_of(map, writer.size));
}

Test(event_parser, keys_of_msgpack_maps_are_unique_whatever_their_number)
{
    static const uint32_t counts[] = {2, 15, 16, 17, 18, 100, LIMIT_OBJECT_KEYS};
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        cr_assert_str_eq(code_of_keys(counts[i], counts[i] - 1), "");
        cr_assert_str_eq(code_of_keys(counts[i], 0), "invalid_properties");
        cr_assert_str_eq(code_of_keys(counts[i], counts[i] - 2), "invalid_properties");
    }
    cr_assert_str_eq(code_of_keys(LIMIT_OBJECT_KEYS + 1, LIMIT_OBJECT_KEYS), "invalid_properties");
}

Test(event_parser, broken_msgpack_refuses_the_body)
{
    static const char *const rows[] = {"", "\x81", "\xc1", "\xc0\xc0", "\x81\xa1\xff\xc0"};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct parsed parsed = parse_bytes(EVENT_BODY_MSGPACK, rows[i], strlen(rows[i]), 4096);
        cr_assert_eq(parsed.status, STATUS_INVALID, "row %zu", i);
        cr_assert_str_eq(parsed.batch.fault_code, "msgpack_syntax");
        parsed_free(&parsed);
    }
}
