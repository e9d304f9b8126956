/* pack.c: msgpack in both directions; see pack.h for the promises. */
#include "engine/pack.h"

#include <math.h>

#include "engine/limits.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The first byte of a value. Below 0xc0 and from 0xe0 on it holds a small value or count itself. */
enum lead {
    LEAD_FIXMAP = 0x80,
    LEAD_FIXARRAY = 0x90,
    LEAD_FIXTEXT = 0xa0,
    LEAD_NIL = 0xc0,
    LEAD_FALSE = 0xc2,
    LEAD_BIN_8 = 0xc4,
    LEAD_DOUBLE = 0xcb,
    LEAD_UINT_8 = 0xcc,
    LEAD_INT_8 = 0xd0,
    LEAD_FIXEXT_8 = 0xd7,
    LEAD_TEXT_8 = 0xd9,
    LEAD_ARRAY_16 = 0xdc,
    LEAD_MAP_16 = 0xde,
    LEAD_NEGATIVE = 0xe0,
};

/* Room for size bytes, or NULL once the buffer has overflowed. */
static inline uint8_t *writer_take(struct pack_writer *writer, size_t size)
{
    if (UNLIKELY(writer->overflow || size > writer->capacity - writer->size)) {
        writer->overflow = true;
        return NULL;
    }
    uint8_t *taken = writer->data + writer->size;
    writer->size += size;
    return taken;
}

/* A lead byte, then the last `width` bytes of value, big-endian. */
static inline void put_number(struct pack_writer *writer, uint32_t lead, uint64_t value,
                              size_t width)
{
    uint8_t *at = writer_take(writer, 1 + width);
    if (at == NULL) {
        return;
    }
    at[0] = (uint8_t)lead;
    uint64_t big_endian = __builtin_bswap64(value << (64 - 8 * width));
    memcpy(at + 1, &big_endian, width);
}

static inline void put_lead(struct pack_writer *writer, uint32_t lead)
{
    uint8_t *at = writer_take(writer, 1);
    if (at != NULL) {
        at[0] = (uint8_t)lead;
    }
}

void pack_nil(struct pack_writer *writer)
{
    put_lead(writer, LEAD_NIL);
}

void pack_bool(struct pack_writer *writer, bool value)
{
    put_lead(writer, LEAD_FALSE + (uint32_t)value);
}

void pack_uint(struct pack_writer *writer, uint64_t value)
{
    if (value < 0x80) {
        put_lead(writer, (uint32_t)value);
    } else if (value <= UINT8_MAX) {
        put_number(writer, LEAD_UINT_8, value, 1);
    } else if (value <= UINT16_MAX) {
        put_number(writer, LEAD_UINT_8 + 1, value, 2);
    } else if (value <= UINT32_MAX) {
        put_number(writer, LEAD_UINT_8 + 2, value, 4);
    } else {
        put_number(writer, LEAD_UINT_8 + 3, value, 8);
    }
}

void pack_int(struct pack_writer *writer, int64_t value)
{
    if (value >= 0) {
        pack_uint(writer, (uint64_t)value);
    } else if (value >= -32) {
        put_lead(writer, (uint32_t)value & 0xff);
    } else if (value >= INT8_MIN) {
        put_number(writer, LEAD_INT_8, (uint64_t)value, 1);
    } else if (value >= INT16_MIN) {
        put_number(writer, LEAD_INT_8 + 1, (uint64_t)value, 2);
    } else if (value >= INT32_MIN) {
        put_number(writer, LEAD_INT_8 + 2, (uint64_t)value, 4);
    } else {
        put_number(writer, LEAD_INT_8 + 3, (uint64_t)value, 8);
    }
}

void pack_double(struct pack_writer *writer, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_number(writer, LEAD_DOUBLE, bits, 8);
}

void pack_millionths(struct pack_writer *writer, int64_t value)
{
    uint8_t *at = writer_take(writer, 10);
    if (at == NULL) {
        return;
    }
    at[0] = LEAD_FIXEXT_8;
    at[1] = PACK_EXT_MILLIONTHS;
    store_u64(at + 2, __builtin_bswap64((uint64_t)value));
}

void pack_number(struct pack_writer *writer, const struct pack_value *number)
{
    switch (number->type) {
    case PACK_INT:
        pack_int(writer, number->as.integer);
        return;
    case PACK_UINT:
        pack_uint(writer, number->as.natural);
        return;
    case PACK_DOUBLE:
        pack_double(writer, number->as.number);
        return;
    case PACK_MILLIONTHS:
        pack_millionths(writer, number->as.integer);
        return;
    case PACK_NIL:
    case PACK_BOOL:
    case PACK_TEXT:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        break;
    }
    assert(false && "not a number");
}

/* A header of 1, 2 or 4 bytes of size, by the first of three consecutive lead bytes. */
static void put_size(struct pack_writer *writer, uint32_t lead, size_t size)
{
    if (size <= UINT8_MAX) {
        put_number(writer, lead, size, 1);
    } else if (size <= UINT16_MAX) {
        put_number(writer, lead + 1, size, 2);
    } else if (size <= UINT32_MAX) {
        put_number(writer, lead + 2, size, 4);
    } else {
        writer->overflow = true; /* no header can say it */
    }
}

static inline void put_text_header(struct pack_writer *writer, size_t size)
{
    if (LIKELY(size < 32)) {
        put_lead(writer, LEAD_FIXTEXT | (uint32_t)size);
    } else {
        put_size(writer, LEAD_TEXT_8, size);
    }
}

void pack_text(struct pack_writer *writer, struct bytes text)
{
    put_text_header(writer, text.size);
    pack_raw(writer, text);
}

void pack_text_z(struct pack_writer *writer, const char *text)
{
    pack_text(writer, bytes_of_text(text));
}

void pack_bin(struct pack_writer *writer, struct bytes bytes)
{
    put_size(writer, LEAD_BIN_8, bytes.size);
    pack_raw(writer, bytes);
}

void pack_array(struct pack_writer *writer, uint32_t count)
{
    if (count < 16) {
        put_lead(writer, LEAD_FIXARRAY | count);
    } else if (count <= UINT16_MAX) {
        put_number(writer, LEAD_ARRAY_16, count, 2);
    } else {
        put_number(writer, LEAD_ARRAY_16 + 1, count, 4);
    }
}

void pack_map(struct pack_writer *writer, uint32_t count)
{
    if (count < 16) {
        put_lead(writer, LEAD_FIXMAP | count);
    } else if (count <= UINT16_MAX) {
        put_number(writer, LEAD_MAP_16, count, 2);
    } else {
        put_number(writer, LEAD_MAP_16 + 1, count, 4);
    }
}

void pack_raw(struct pack_writer *writer, struct bytes encoded)
{
    if (encoded.size == 0) {
        return; /* it may be NULL, which memcpy() forbids */
    }
    uint8_t *at = writer_take(writer, encoded.size);
    if (at != NULL) {
        memcpy(at, encoded.data, encoded.size);
    }
}

size_t pack_map_begin(struct pack_writer *writer)
{
    size_t place = writer->size;
    put_number(writer, LEAD_MAP_16, 0, 2);
    return place;
}

size_t pack_array_begin(struct pack_writer *writer)
{
    size_t place = writer->size;
    put_number(writer, LEAD_ARRAY_16, 0, 2);
    return place;
}

void pack_container_end(struct pack_writer *writer, size_t place, uint32_t count)
{
    assert(count <= UINT16_MAX);
    if (writer->overflow) {
        return;
    }
    assert(place + 3 <= writer->size);
    store_u16(writer->data + place + 1, __builtin_bswap16((uint16_t)count));
}

size_t pack_open(struct pack_writer *writer)
{
    size_t place = writer->size;
    put_lead(writer, LEAD_NIL);
    return place;
}

/* Makes room behind the one byte that pack_open() reserved, and steps back to that byte, so that
 * the header can be written over it. Returns the size to restore afterwards. */
static size_t header_widen(struct pack_writer *writer, size_t place, uint32_t count)
{
    size_t more = count < 16 ? 0 : count <= UINT16_MAX ? 2 : 4;
    if (writer_take(writer, more) == NULL) {
        return writer->size;
    }
    size_t size = writer->size;
    assert(place + 1 + more <= size);
    uint8_t *content = writer->data + place + 1;
    if (more != 0) {
        memmove(content + more, content, size - more - place - 1);
    }
    writer->size = place;
    return size;
}

/* By far most containers are small; those only fill their byte in. */
static inline void close_container(struct pack_writer *writer, size_t place, uint32_t count,
                                   uint32_t lead, void (*header)(struct pack_writer *, uint32_t))
{
    if (LIKELY(count < 16 && !writer->overflow)) {
        assert(place < writer->size);
        writer->data[place] = (uint8_t)(lead | count);
        return;
    }
    size_t size = header_widen(writer, place, count);
    header(writer, count);
    writer->size = size;
}

void pack_close_array(struct pack_writer *writer, size_t place, uint32_t count)
{
    close_container(writer, place, count, LEAD_FIXARRAY, pack_array);
}

void pack_close_map(struct pack_writer *writer, size_t place, uint32_t count)
{
    close_container(writer, place, count, LEAD_FIXMAP, pack_map);
}

/* What the lead bytes 0xc0 to 0xdf announce: `width` bytes of number or size follow. */
enum form {
    FORM_NONE, /* never used by the specification */
    FORM_NIL,
    FORM_FALSE,
    FORM_TRUE,
    FORM_FLOAT,
    FORM_DOUBLE,
    FORM_UINT,
    FORM_INT,
    FORM_TEXT,
    FORM_BIN,
    FORM_EXT,
    FORM_FIXEXT, /* here `width` is that of the content, and no size follows */
    FORM_ARRAY,
    FORM_MAP,
};

// clang-format off
static const struct {
    uint8_t form;
    uint8_t width;
} forms[32] = {
    {FORM_NIL, 0},    {FORM_NONE, 0},   {FORM_FALSE, 0},  {FORM_TRUE, 0},   /* c0 */
    {FORM_BIN, 1},    {FORM_BIN, 2},    {FORM_BIN, 4},    {FORM_EXT, 1},    /* c4 */
    {FORM_EXT, 2},    {FORM_EXT, 4},    {FORM_FLOAT, 4},  {FORM_DOUBLE, 8}, /* c8 */
    {FORM_UINT, 1},   {FORM_UINT, 2},   {FORM_UINT, 4},   {FORM_UINT, 8},   /* cc */
    {FORM_INT, 1},    {FORM_INT, 2},    {FORM_INT, 4},    {FORM_INT, 8},    /* d0 */
    {FORM_FIXEXT, 1}, {FORM_FIXEXT, 2}, {FORM_FIXEXT, 4}, {FORM_FIXEXT, 8}, /* d4 */
    {FORM_FIXEXT, 16}, {FORM_TEXT, 1},  {FORM_TEXT, 2},   {FORM_TEXT, 4},   /* d8 */
    {FORM_ARRAY, 2},  {FORM_ARRAY, 4},  {FORM_MAP, 2},    {FORM_MAP, 4},    /* dc */
};

// clang-format on

static bool cursor_fail(struct pack_cursor *cursor)
{
    cursor->failed = true;
    cursor->at = cursor->end; /* so that every later read fails by itself */
    return false;
}

static inline size_t cursor_left(const struct pack_cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

static bool take_bytes(struct pack_cursor *cursor, enum pack_type type, uint64_t size,
                       struct pack_value *out_value)
{
    if (size > cursor_left(cursor)) {
        return cursor_fail(cursor);
    }
    out_value->type = type;
    out_value->as.bytes = bytes_of(cursor->at, (size_t)size);
    cursor->at += size;
    return true;
}

/* Every member takes at least a byte, so a count beyond the bytes left is a lie. */
static bool take_count(struct pack_cursor *cursor, enum pack_type type, uint64_t count,
                       struct pack_value *out_value)
{
    uint64_t values = type == PACK_MAP ? 2 * count : count;
    if (values > cursor_left(cursor)) {
        return cursor_fail(cursor);
    }
    out_value->type = type;
    out_value->as.count = (uint32_t)count;
    return true;
}

/* At the type byte of an extension whose content has `size` bytes. */
static bool take_extension(struct pack_cursor *cursor, uint64_t size, struct pack_value *out_value)
{
    if (size >= cursor_left(cursor)) {
        return cursor_fail(cursor);
    }
    uint8_t extension = *cursor->at++;
    if (extension != PACK_EXT_MILLIONTHS) {
        return take_bytes(cursor, PACK_EXT, size, out_value);
    }
    if (size != 8) {
        return cursor_fail(cursor);
    }
    out_value->type = PACK_MILLIONTHS;
    out_value->as.integer = (int64_t)__builtin_bswap64(load_u64(cursor->at));
    cursor->at += 8;
    return true;
}

static struct pack_value value_of_float(uint64_t number)
{
    uint32_t bits = (uint32_t)number;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return (struct pack_value){.type = PACK_DOUBLE, .as.number = (double)value};
}

static struct pack_value value_of_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return (struct pack_value){.type = PACK_DOUBLE, .as.number = value};
}

static struct pack_value value_of_uint(uint64_t number)
{
    return number <= INT64_MAX
               ? (struct pack_value){.type = PACK_INT, .as.integer = (int64_t)number}
               : (struct pack_value){.type = PACK_UINT, .as.natural = number};
}

/* A signed number of so many bytes. */
static struct pack_value value_of_int(uint64_t number, size_t width)
{
    assert(width > 0);
    size_t unused = 64 - 8 * width;
    int64_t integer = (int64_t)(number << unused) >> unused;
    return (struct pack_value){.type = PACK_INT, .as.integer = integer};
}

/* The value behind a lead byte of 0xc0 to 0xdf, at the byte after it. */
static bool read_form(struct pack_cursor *cursor, size_t index, struct pack_value *out_value)
{
    enum form form = forms[index].form;
    size_t width = forms[index].width;
    if (form == FORM_FIXEXT) {
        return take_extension(cursor, width, out_value);
    }
    if (width > cursor_left(cursor)) {
        return cursor_fail(cursor);
    }
    uint64_t number = 0;
    for (size_t i = 0; i < width; i++) {
        number = number << 8 | cursor->at[i];
    }
    cursor->at += width;
    switch (form) {
    case FORM_NIL:
        *out_value = (struct pack_value){.type = PACK_NIL};
        return true;
    case FORM_FALSE:
    case FORM_TRUE:
        *out_value = (struct pack_value){.type = PACK_BOOL, .as.boolean = form == FORM_TRUE};
        return true;
    case FORM_FLOAT:
        *out_value = value_of_float(number);
        return true;
    case FORM_DOUBLE:
        *out_value = value_of_double(number);
        return true;
    case FORM_UINT:
        *out_value = value_of_uint(number);
        return true;
    case FORM_INT:
        *out_value = value_of_int(number, width);
        return true;
    case FORM_TEXT:
        return take_bytes(cursor, PACK_TEXT, number, out_value);
    case FORM_BIN:
        return take_bytes(cursor, PACK_BIN, number, out_value);
    case FORM_EXT:
        return take_extension(cursor, number, out_value);
    case FORM_ARRAY:
        return take_count(cursor, PACK_ARRAY, number, out_value);
    case FORM_MAP:
        return take_count(cursor, PACK_MAP, number, out_value);
    case FORM_NONE:
    case FORM_FIXEXT:
        break;
    }
    return cursor_fail(cursor);
}

bool pack_read(struct pack_cursor *cursor, struct pack_value *out_value)
{
    if (UNLIKELY(cursor->at >= cursor->end)) {
        return cursor_fail(cursor);
    }
    uint8_t lead = *cursor->at++;
    if (lead < LEAD_FIXMAP) {
        *out_value = (struct pack_value){.type = PACK_INT, .as.integer = lead};
        return true;
    }
    if (lead >= LEAD_NEGATIVE) {
        *out_value = (struct pack_value){.type = PACK_INT, .as.integer = (int8_t)lead};
        return true;
    }
    if (lead >= LEAD_NIL) {
        return read_form(cursor, lead - (size_t)LEAD_NIL, out_value);
    }
    if (lead >= LEAD_FIXTEXT) {
        return take_bytes(cursor, PACK_TEXT, lead & 31u, out_value);
    }
    return take_count(cursor, lead >= LEAD_FIXARRAY ? PACK_ARRAY : PACK_MAP, lead & 15u, out_value);
}

/* Reads a value that must have one type. */
static bool read_typed(struct pack_cursor *cursor, enum pack_type type,
                       struct pack_value *out_value)
{
    struct pack_value value;
    if (!pack_read(cursor, &value)) {
        return false;
    }
    if (value.type != type) {
        return cursor_fail(cursor);
    }
    *out_value = value;
    return true;
}

bool pack_read_array(struct pack_cursor *cursor, uint32_t *out_count)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_ARRAY, &value)) {
        return false;
    }
    *out_count = value.as.count;
    return true;
}

bool pack_read_map(struct pack_cursor *cursor, uint32_t *out_count)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_MAP, &value)) {
        return false;
    }
    *out_count = value.as.count;
    return true;
}

bool pack_read_text(struct pack_cursor *cursor, struct bytes *out_text)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_TEXT, &value)) {
        return false;
    }
    *out_text = value.as.bytes;
    return true;
}

bool pack_read_bin(struct pack_cursor *cursor, struct bytes *out_bytes)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_BIN, &value)) {
        return false;
    }
    *out_bytes = value.as.bytes;
    return true;
}

bool pack_read_uint(struct pack_cursor *cursor, uint64_t *out_value)
{
    struct pack_value value;
    if (!pack_read(cursor, &value)) {
        return false;
    }
    if (value.type == PACK_UINT) {
        *out_value = value.as.natural;
        return true;
    }
    if (value.type != PACK_INT || value.as.integer < 0) {
        return cursor_fail(cursor);
    }
    *out_value = (uint64_t)value.as.integer;
    return true;
}

bool pack_read_int(struct pack_cursor *cursor, int64_t *out_value)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_INT, &value)) {
        return false;
    }
    *out_value = value.as.integer;
    return true;
}

bool pack_read_bool(struct pack_cursor *cursor, bool *out_value)
{
    struct pack_value value;
    if (!read_typed(cursor, PACK_BOOL, &value)) {
        return false;
    }
    *out_value = value.as.boolean;
    return true;
}

bool pack_take_nil(struct pack_cursor *cursor)
{
    if (cursor->at >= cursor->end || *cursor->at != LEAD_NIL) {
        return false;
    }
    cursor->at++;
    return true;
}

static bool is_good_text(const struct pack_value *value)
{
    return value->type != PACK_TEXT || pack_utf8_size(value->as.bytes) == value->as.bytes.size;
}

/* Passes over one whole value. left[] counts the members still to come of each open container; the
 * outermost is the value itself. */
static bool walk(struct pack_cursor *cursor, bool check_texts)
{
    uint64_t left[PACK_DEPTH_MAX + 1];
    size_t depth = 0;
    left[0] = 1;
    for (;;) {
        while (depth > 0 && left[depth] == 0) {
            depth--;
        }
        if (left[depth] == 0) {
            return true;
        }
        left[depth]--;
        struct pack_value value;
        if (!pack_read(cursor, &value)) {
            return false;
        }
        bool is_container = value.type == PACK_ARRAY || value.type == PACK_MAP;
        if (is_container && depth == PACK_DEPTH_MAX) {
            return cursor_fail(cursor);
        }
        if (is_container) {
            left[++depth] = value.type == PACK_MAP ? 2 * (uint64_t)value.as.count : value.as.count;
        } else if (check_texts && !is_good_text(&value)) {
            return cursor_fail(cursor);
        }
    }
}

bool pack_skip(struct pack_cursor *cursor)
{
    return walk(cursor, false);
}

bool pack_read_raw(struct pack_cursor *cursor, struct bytes *out_encoded)
{
    const uint8_t *start = cursor->at;
    if (!walk(cursor, false)) {
        return false;
    }
    *out_encoded = bytes_of(start, (size_t)(cursor->at - start));
    return true;
}

bool pack_check(struct bytes bytes)
{
    struct pack_cursor cursor = pack_cursor_on(bytes);
    return walk(&cursor, true) && cursor.at == cursor.end;
}

bool pack_map_find(struct bytes encoded_map, struct bytes key, struct pack_value *out_value)
{
    struct pack_cursor cursor = pack_cursor_on(encoded_map);
    uint32_t count;
    if (!pack_read_map(&cursor, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct pack_cursor at_key = cursor;
        struct pack_value found;
        if (!walk(&cursor, false) || !pack_read(&at_key, &found)) {
            return false;
        }
        if (found.type == PACK_TEXT && bytes_equal(found.as.bytes, key)) {
            return pack_read(&cursor, out_value);
        }
        if (!walk(&cursor, false)) {
            return false;
        }
    }
    return false;
}

/* How many bytes at the start are ASCII, or fewer where less than a block is left. */
static inline size_t ascii_size(const uint8_t *at, size_t size)
{
    size_t done = 0;
#ifdef __SSE2__
    for (; size - done >= 16; done += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)(const void *)(at + done));
        int high = _mm_movemask_epi8(block);
        if (high != 0) {
            return done + (size_t)__builtin_ctz((unsigned)high);
        }
    }
#else
    while (size - done >= 8 && (load_u64(at + done) & 0x8080808080808080u) == 0) {
        done += 8;
    }
#endif
    return done;
}

/* The length of the sequence at `at`, of which `left` bytes are readable, or 0 where it is bad. The
 * range of the second byte is what keeps out overlong forms, surrogates and what is past U+10FFFF. */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t lead = at[0];
    if (lead < 0x80) {
        return 1;
    }
    size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || left < size) {
        return 0;
    }
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

size_t pack_utf8_size(struct bytes text)
{
    size_t done = ascii_size(text.data, text.size);
    while (done < text.size) {
        size_t size = utf8_sequence(text.data + done, text.size - done);
        if (size == 0) {
            break;
        }
        done += size;
        if (size == 1) {
            done += ascii_size(text.data + done, text.size - done);
        }
    }
    return done;
}

#define MILLIONTHS_LIMIT (LIMIT_METRIC_VALUE * METRIC_UNIT)

/* Exact: the 53 bits of the mantissa times a million fit 128 bits, so nothing is rounded twice. */
static bool double_to_millionths(double value, int64_t *out_millionths)
{
    if (!(fabs(value) < (double)LIMIT_METRIC_VALUE)) {
        return false; /* NaN too */
    }
    int exponent;
    double fraction = frexp(fabs(value), &exponent);
    uint64_t mantissa = (uint64_t)ldexp(fraction, 53);
    /* |value| = mantissa / 2^places; the limit is below 2^44, so there are at least 9 places. */
    int places = 53 - exponent;
    uint64_t magnitude = 0;
    if (places < 127) {
        uint128 scaled = (uint128)mantissa * (uint64_t)METRIC_UNIT;
        magnitude = (uint64_t)((scaled + ((uint128)1 << (places - 1))) >> places);
    }
    if (magnitude >= (uint64_t)MILLIONTHS_LIMIT) {
        return false;
    }
    *out_millionths = value < 0 ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

bool pack_to_millionths(const struct pack_value *value, int64_t *out_millionths)
{
    switch (value->type) {
    case PACK_INT:
        if (value->as.integer <= -LIMIT_METRIC_VALUE || value->as.integer >= LIMIT_METRIC_VALUE) {
            return false;
        }
        *out_millionths = value->as.integer * METRIC_UNIT;
        return true;
    case PACK_MILLIONTHS:
        if (value->as.integer <= -MILLIONTHS_LIMIT || value->as.integer >= MILLIONTHS_LIMIT) {
            return false;
        }
        *out_millionths = value->as.integer;
        return true;
    case PACK_DOUBLE:
        return double_to_millionths(value->as.number, out_millionths);
    case PACK_NIL:
    case PACK_BOOL:
    case PACK_UINT: /* all are beyond the limit */
    case PACK_TEXT:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        break;
    }
    return false;
}
