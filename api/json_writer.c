/* json_writer.c: JSON text from C values and from msgpack; see json.h for the promises. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "api/json_text.h"
#include "engine/timestamp.h"

#define TEXT_SIZE_MIN 1024u

struct json_writer json_writer_in(struct arena *arena)
{
    return (struct json_writer){.arena = arena};
}

/* Room for size more bytes, which count as written; NULL when memory is out. */
static char *room_take(struct json_writer *writer, size_t size)
{
    if (writer->failed) {
        return NULL;
    }
    if (UNLIKELY(size > writer->capacity - writer->size)) {
        size_t capacity = 2 * writer->capacity;
        capacity = capacity < TEXT_SIZE_MIN ? TEXT_SIZE_MIN : capacity;
        capacity = capacity < writer->size + size ? writer->size + size : capacity;
        char *text = arena_take(writer->arena, capacity);
        if (text == NULL) {
            writer->failed = true;
            return NULL;
        }
        if (writer->size != 0) {
            memcpy(text, writer->text, writer->size);
        }
        writer->text = text;
        writer->capacity = capacity;
    }
    char *taken = writer->text + writer->size;
    writer->size += size;
    return taken;
}

static void put(struct json_writer *writer, const void *data, size_t size)
{
    char *at = size != 0 ? room_take(writer, size) : NULL;
    if (at != NULL) {
        memcpy(at, data, size);
    }
}

static void put_byte(struct json_writer *writer, char byte)
{
    char *at = room_take(writer, 1);
    if (at != NULL) {
        *at = byte;
    }
}

/* What stands before a value: nothing behind its key, else a comma behind another member. */
static void value_begin(struct json_writer *writer)
{
    if (writer->after_key) {
        writer->after_key = false;
        return;
    }
    bool *has_member = &writer->has_member[writer->depth];
    if (*has_member) {
        assert(writer->depth > 0); /* one value a text, or a json_newline() between */
        put_byte(writer, ',');
    }
    *has_member = true;
}

static void container_begin(struct json_writer *writer, char bracket)
{
    value_begin(writer);
    put_byte(writer, bracket);
    assert(writer->depth + 1u < JSON_WRITER_DEPTH);
    writer->depth++;
    writer->has_member[writer->depth] = false;
}

static void container_end(struct json_writer *writer, char bracket)
{
    assert(writer->depth > 0 && !writer->after_key);
    writer->depth--;
    put_byte(writer, bracket);
}

void json_begin_object(struct json_writer *writer)
{
    container_begin(writer, '{');
}

void json_end_object(struct json_writer *writer)
{
    container_end(writer, '}');
}

void json_begin_array(struct json_writer *writer)
{
    container_begin(writer, '[');
}

void json_end_array(struct json_writer *writer)
{
    container_end(writer, ']');
}

/* The size of what stands for itself at the start of a text that has nothing readable behind it. */
static size_t plain_size(const uint8_t *text, size_t size)
{
    size_t done = 0;
    for (; size - done >= JSON_BLOCK; done += JSON_BLOCK) {
        uint32_t stops = block_bits_at(text + done).stops;
        if (stops != 0) {
            return done + (size_t)__builtin_ctz(stops);
        }
    }
    while (done < size && text[done] >= 0x20 && text[done] != '"' && text[done] != '\\') {
        done++;
    }
    return done;
}

/* A quote, backslash or control character. */
static void put_escape(struct json_writer *writer, uint8_t byte)
{
    static const char names['\\' + 1] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                         ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    static const char hex[] = "0123456789abcdef";
    if (names[byte] != '\0') {
        const char escape[2] = {'\\', names[byte]};
        put(writer, escape, sizeof(escape));
    } else {
        const char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
        put(writer, escape, sizeof(escape));
    }
}

/* Valid UTF-8, escaped as JSON needs it. */
static void put_escaped(struct json_writer *writer, const uint8_t *text, size_t size)
{
    size_t done = 0;
    while (done < size) {
        size_t plain = plain_size(text + done, size - done);
        put(writer, text + done, plain);
        done += plain;
        if (done < size) {
            put_escape(writer, text[done]);
            done++;
        }
    }
}

static void put_quoted(struct json_writer *writer, struct bytes text)
{
    static const char replacement[] = "\xef\xbf\xbd";
    put_byte(writer, '"');
    size_t done = 0;
    while (done < text.size) {
        size_t valid = pack_utf8_size(bytes_of(text.data + done, text.size - done));
        put_escaped(writer, text.data + done, valid);
        done += valid;
        if (done < text.size) {
            put(writer, replacement, sizeof(replacement) - 1);
            done++;
        }
    }
    put_byte(writer, '"');
}

void json_key(struct json_writer *writer, const char *key)
{
    json_key_bytes(writer, bytes_of_text(key));
}

void json_key_bytes(struct json_writer *writer, struct bytes key)
{
    assert(writer->depth > 0 && !writer->after_key);
    value_begin(writer);
    put_quoted(writer, key);
    put_byte(writer, ':');
    writer->after_key = true;
}

void json_text(struct json_writer *writer, const char *text)
{
    if (text == NULL) {
        json_null(writer);
    } else {
        json_text_bytes(writer, bytes_of_text(text));
    }
}

void json_text_bytes(struct json_writer *writer, struct bytes text)
{
    value_begin(writer);
    put_quoted(writer, text);
}

void json_bool(struct json_writer *writer, bool value)
{
    value_begin(writer);
    put(writer, value ? "true" : "false", value ? 4 : 5);
}

void json_null(struct json_writer *writer)
{
    value_begin(writer);
    put(writer, "null", 4);
}

/* The digits of value, right-aligned before `end`. Returns their start. */
static char *digits_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

void json_int(struct json_writer *writer, int64_t value)
{
    char text[24];
    char *end = text + sizeof(text);
    char *start = digits_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    if (value < 0) {
        *--start = '-';
    }
    value_begin(writer);
    put(writer, start, (size_t)(end - start));
}

void json_uint(struct json_writer *writer, uint64_t value)
{
    char text[24];
    char *end = text + sizeof(text);
    char *start = digits_before(end, value);
    value_begin(writer);
    put(writer, start, (size_t)(end - start));
}

/* digits * 10^exponent */
struct short_decimal {
    uint64_t digits;
    int32_t exponent;
};

static struct short_decimal without_trailing_zeros(struct short_decimal decimal)
{
    while (decimal.digits != 0 && decimal.digits % 10 == 0) {
        decimal.digits /= 10;
        decimal.exponent++;
    }
    return decimal;
}

static bool reads_back(struct short_decimal decimal, double value)
{
    double back = json_decimal_to_double(decimal.digits, decimal.exponent);
    return load_u64(&back) == load_u64(&value); /* infinity is no number, and no zero comes here */
}

/* The decimal of `precision` digits nearest to value. */
static struct short_decimal nearest_decimal(double value, int precision)
{
    char text[40];
    (void)snprintf(text, sizeof(text), "%.*e", precision - 1, value);
    struct short_decimal decimal = {0, 0};
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (digit_at(at) <= 9) { /* whatever the locale takes for a point */
            decimal.digits = decimal.digits * 10 + digit_at(at);
        }
    }
    decimal.exponent = (int32_t)strtol(at + 1, NULL, 10) - (precision - 1);
    return decimal;
}

/* The shortest decimal that reads back as value, which is positive. Of the decimals of some length the
 * nearest reads back if any does, but for powers of two: the doubles above them lie twice as far
 * apart as those below, so there it may be the next one above the nearest. Where a
 * decimal of less than 15 digits reads back, the one of 15 is the same with zeros; only below the
 * normal doubles must the shorter ones be tried themselves. */
static struct short_decimal shortest_decimal(double value)
{
    if (value >= 1e-5 && value < 1e9) {
        struct short_decimal simple = {(uint64_t)(value * 1e6 + 0.5), -6};
        if (reads_back(simple, value)) { /* of 15 digits at most: the common case */
            return simple;
        }
    }
    struct short_decimal decimal = {0, 0};
    for (int precision = value < DBL_MIN ? 1 : DBL_DIG; precision <= DBL_DECIMAL_DIG; precision++) {
        decimal = nearest_decimal(value, precision);
        struct short_decimal above = {decimal.digits + 1, decimal.exponent};
        if (reads_back(decimal, value)) {
            break;
        }
        if (reads_back(above, value)) {
            return above;
        }
    }
    return decimal;
}

static void put_zeros(struct json_writer *writer, int32_t count)
{
    static const char zeros[] = "0000000000000000000000";
    assert(count >= 0 && (size_t)count < sizeof(zeros));
    put(writer, zeros, (size_t)count);
}

/* In full where that is not long, else with an exponent. `is_double`: a whole number still shows
 * that it is none of the integers. */
static void put_decimal(struct json_writer *writer, struct short_decimal decimal, bool is_double)
{
    decimal = without_trailing_zeros(decimal);
    char text[24];
    char *end = text + sizeof(text);
    const char *digits = digits_before(end, decimal.digits);
    int32_t count = (int32_t)(end - digits);
    int32_t whole = count + decimal.exponent; /* digits before the point */
    if (decimal.digits == 0) {
        put(writer, "0.0", is_double ? 3 : 1);
    } else if (whole > 17 || whole < -5) {
        put(writer, digits, 1);
        put(writer, ".", count > 1);
        put(writer, digits + 1, (size_t)count - 1);
        char exponent[16];
        int size = snprintf(exponent, sizeof(exponent), "e%" PRId32, whole - 1);
        put(writer, exponent, (size_t)size);
    } else if (whole <= 0) {
        put(writer, "0.", 2);
        put_zeros(writer, -whole);
        put(writer, digits, (size_t)count);
    } else if (whole >= count) {
        put(writer, digits, (size_t)count);
        put_zeros(writer, whole - count);
        put(writer, ".0", is_double ? 2 : 0);
    } else {
        put(writer, digits, (size_t)whole);
        put(writer, ".", 1);
        put(writer, digits + whole, (size_t)(count - whole));
    }
}

void json_double(struct json_writer *writer, double value)
{
    if (!isfinite(value)) {
        json_null(writer);
        return;
    }
    value_begin(writer);
    if (signbit(value)) {
        put_byte(writer, '-');
    }
    double magnitude = fabs(value);
    struct short_decimal decimal = {0, 0};
    if (magnitude > 0) {
        decimal = shortest_decimal(magnitude);
    }
    put_decimal(writer, decimal, true);
}

void json_millionths(struct json_writer *writer, int64_t value)
{
    value_begin(writer);
    if (value < 0) {
        put_byte(writer, '-');
    }
    struct short_decimal decimal = {value < 0 ? 0 - (uint64_t)value : (uint64_t)value, -6};
    put_decimal(writer, decimal, false);
}

static void put_hex(struct json_writer *writer, struct bytes bytes)
{
    static const char hex[] = "0123456789abcdef";
    value_begin(writer);
    put_byte(writer, '"');
    char *at = bytes.size != 0 ? room_take(writer, 2 * bytes.size) : NULL;
    for (size_t i = 0; at != NULL && i < bytes.size; i++) {
        at[2 * i] = hex[bytes.data[i] >> 4];
        at[2 * i + 1] = hex[bytes.data[i] & 15];
    }
    put_byte(writer, '"');
}

static void put_scalar(struct json_writer *writer, const struct pack_value *value)
{
    switch (value->type) {
    case PACK_NIL:
        json_null(writer);
        return;
    case PACK_BOOL:
        json_bool(writer, value->as.boolean);
        return;
    case PACK_INT:
        json_int(writer, value->as.integer);
        return;
    case PACK_UINT:
        json_uint(writer, value->as.natural);
        return;
    case PACK_DOUBLE:
        json_double(writer, value->as.number);
        return;
    case PACK_MILLIONTHS:
        json_millionths(writer, value->as.integer);
        return;
    case PACK_TEXT:
        json_text_bytes(writer, value->as.bytes);
        return;
    case PACK_BIN:
    case PACK_EXT:
        put_hex(writer, value->as.bytes);
        return;
    case PACK_ARRAY:
    case PACK_MAP:
        break;
    }
    assert(false && "containers are the caller's");
}

struct level {
    uint32_t left; /* members still to come */
    bool is_map;
};

/* One value and all it holds. The outermost level is that of the value itself. */
static bool put_pack(struct json_writer *writer, struct pack_cursor *cursor)
{
    struct level levels[PACK_DEPTH_MAX + 1] = {
        {.left = 1, .is_map = false}
    };
    size_t depth = 0;
    while (depth > 0 || levels[0].left > 0) {
        struct level *level = &levels[depth];
        if (level->left == 0) {
            container_end(writer, level->is_map ? '}' : ']');
            depth--;
            continue;
        }
        level->left--;
        struct bytes key;
        struct pack_value value;
        if (level->is_map && !pack_read_text(cursor, &key)) {
            return false;
        }
        if (level->is_map) {
            json_key_bytes(writer, key);
        }
        if (!pack_read(cursor, &value)) {
            return false;
        }
        if (value.type != PACK_ARRAY && value.type != PACK_MAP) {
            put_scalar(writer, &value);
            continue;
        }
        if (depth == PACK_DEPTH_MAX || writer->depth + 1u >= JSON_WRITER_DEPTH) {
            return false;
        }
        levels[++depth] = (struct level){value.as.count, value.type == PACK_MAP};
        container_begin(writer, value.type == PACK_MAP ? '{' : '[');
    }
    return true;
}

bool json_pack(struct json_writer *writer, struct bytes encoded)
{
    if (!pack_check(encoded)) {
        return false;
    }
    struct json_writer before = *writer;
    struct pack_cursor cursor = pack_cursor_on(encoded);
    if (put_pack(writer, &cursor)) {
        return true;
    }
    /* What was written is taken back. The text may have moved, and stays where it is now. */
    before.text = writer->text;
    before.capacity = writer->capacity;
    before.failed = writer->failed;
    *writer = before;
    return false;
}

void json_time(struct json_writer *writer, int64_t us)
{
    char text[TIMESTAMP_TEXT_SIZE];
    timestamp_format(us, text);
    json_text(writer, text);
}

void json_uuid(struct json_writer *writer, const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];
    uuid_format(uuid, text);
    json_text(writer, text);
}

void json_newline(struct json_writer *writer)
{
    assert(writer->depth == 0 && !writer->after_key);
    writer->has_member[0] = false;
    put_byte(writer, '\n');
}
