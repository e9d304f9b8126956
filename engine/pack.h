/* pack.h: msgpack written into a bounded buffer and read by a cursor: the payload of every record.
 *
 * Source       the msgpack specification; msgpack-c reads what we write, byte for byte (tests/test_pack.c), and is used
 *              for the cold documents. This is for the hot path: no allocation, no tree, one bounds check a value.
 * Writer       Writes the shortest form of each value (a double always in 64 bits). Past the end nothing is written and
 *              `overflow` stays set: check once at the end.
 * Cursor       After a failed read the cursor is spent: `failed` stays set and every later read fails. A count in a
 *              header is checked against the bytes left before it is believed.
 * Decimals     Numbers that neither an integer nor a double holds exactly travel as extension PACK_EXT_MILLIONTHS: a
 *              signed 64-bit big-endian count of millionths. That extension with another size is not well-formed.
 */
#ifndef ASSAY_ENGINE_PACK_H
#define ASSAY_ENGINE_PACK_H

#include "engine/base.h"

#define PACK_EXT_MILLIONTHS 1
#define PACK_DEPTH_MAX      32u /* nesting that pack_skip() and pack_check() accept */
#define PACK_PADDING        16u /* see pack_text_padded() */

struct pack_writer {
    uint8_t *data;
    size_t size; /* written so far */
    size_t capacity;
    bool overflow;
};

static inline struct pack_writer pack_writer_on(void *data, size_t capacity)
{
    return (struct pack_writer){(uint8_t *)data, 0, capacity, false};
}

void pack_nil(struct pack_writer *writer);
void pack_bool(struct pack_writer *writer, bool value);
void pack_uint(struct pack_writer *writer, uint64_t value);
void pack_int(struct pack_writer *writer, int64_t value);
void pack_double(struct pack_writer *writer, double value);
void pack_millionths(struct pack_writer *writer, int64_t value);
void pack_text(struct pack_writer *writer, struct bytes text);
void pack_text_z(struct pack_writer *writer, const char *text);
/* pack_text() for text with PACK_PADDING readable bytes behind it: short ones are copied in whole blocks, inline, for the
 * sake of JSON, which is mostly these. */
static inline void pack_text_padded(struct pack_writer *writer, struct bytes text)
{
    size_t room = writer->capacity - writer->size;
    if (UNLIKELY(text.size >= 32 || room <= 32 || writer->overflow)) {
        pack_text(writer, text);
        return;
    }
    uint8_t *at = writer->data + writer->size;
    writer->size += 1 + text.size;
    at[0] = (uint8_t)(0xa0 | text.size);
    memcpy(at + 1, text.data, 16);
    if (text.size > 16) {
        memcpy(at + 17, text.data + 16, 16);
    }
}

void pack_bin(struct pack_writer *writer, struct bytes bytes);
void pack_array(struct pack_writer *writer, uint32_t count);
void pack_map(struct pack_writer *writer, uint32_t count);
/* Already encoded msgpack, copied as it is. */
void pack_raw(struct pack_writer *writer, struct bytes encoded);

/* A map or array whose count is known only at its end: begin reserves a header of 3 bytes (16-bit form) and returns its
 * place, end fills it. Counts up to 65,535. */
size_t pack_map_begin(struct pack_writer *writer);
size_t pack_array_begin(struct pack_writer *writer);
void pack_container_end(struct pack_writer *writer, size_t place, uint32_t count);

/* The same in the shortest form and for any count: open reserves one byte, close moves what was written since where the
 * count needs a longer header (so nothing may hold places behind an open container's). */
size_t pack_open(struct pack_writer *writer);
void pack_close_array(struct pack_writer *writer, size_t place, uint32_t count);
void pack_close_map(struct pack_writer *writer, size_t place, uint32_t count);

enum pack_type {
    PACK_NIL,
    PACK_BOOL,
    PACK_INT,  /* fits int64_t */
    PACK_UINT, /* above INT64_MAX */
    PACK_DOUBLE,
    PACK_MILLIONTHS,
    PACK_TEXT,
    PACK_BIN,
    PACK_ARRAY,
    PACK_MAP,
    PACK_EXT, /* any other extension: its bytes are in `bytes`; its type is the byte before them */
};

struct pack_value {
    enum pack_type type;
    union {
        bool boolean;
        int64_t integer;  /* PACK_INT, PACK_MILLIONTHS */
        uint64_t natural; /* PACK_UINT */
        double number;
        uint32_t count;     /* PACK_ARRAY, PACK_MAP: what follows at the cursor */
        struct bytes bytes; /* PACK_TEXT, PACK_BIN, PACK_EXT: borrowed from the input */
    } as;
};

/* A value that was read as PACK_INT, PACK_UINT, PACK_DOUBLE or PACK_MILLIONTHS. */
void pack_number(struct pack_writer *writer, const struct pack_value *number);

struct pack_cursor {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct pack_cursor pack_cursor_on(struct bytes bytes)
{
    return (struct pack_cursor){bytes.data, bytes.data + bytes.size, false};
}

/* Reads one value; of a container only its header. False (and failed) at the end or on bytes that are not msgpack. */
bool pack_read(struct pack_cursor *cursor, struct pack_value *out_value);
/* Typed reads: false (and failed) when the next value has another type. */
bool pack_read_array(struct pack_cursor *cursor, uint32_t *out_count);
bool pack_read_map(struct pack_cursor *cursor, uint32_t *out_count);
bool pack_read_text(struct pack_cursor *cursor, struct bytes *out_text);
bool pack_read_bin(struct pack_cursor *cursor, struct bytes *out_bytes);
bool pack_read_uint(struct pack_cursor *cursor, uint64_t *out_value);
bool pack_read_int(struct pack_cursor *cursor, int64_t *out_value);
bool pack_read_bool(struct pack_cursor *cursor, bool *out_value);
/* Takes a nil if one is next. False, and nothing is taken, where something else is. */
bool pack_take_nil(struct pack_cursor *cursor);
/* Passes over one whole value, containers with all they hold. Linear, not recursive beyond PACK_DEPTH_MAX. */
bool pack_skip(struct pack_cursor *cursor);
/* The bytes of one whole value, and passes over it. */
bool pack_read_raw(struct pack_cursor *cursor, struct bytes *out_encoded);
/* True when `bytes` is exactly one whole well-formed value: texts are UTF-8, depth within PACK_DEPTH_MAX. */
bool pack_check(struct bytes bytes);

/* The value of key in an encoded map (the first, where several are): false where the map has none. */
bool pack_map_find(struct bytes encoded_map, struct bytes key, struct pack_value *out_value);

/* How many bytes at the start of `text` are whole, valid UTF-8: text.size where all are, else the place of the first bad
 * sequence. */
size_t pack_utf8_size(struct bytes text);

/* The number as millionths, rounded to the nearest, ties away from zero; of a double its exact binary value. False where
 * the value is not a number, not finite, or at or beyond LIMIT_METRIC_VALUE in magnitude. */
bool pack_to_millionths(const struct pack_value *value, int64_t *out_millionths);

#endif
