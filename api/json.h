/* json.h: strict JSON (RFC 8259) in both directions: transcoded to msgpack on the way in, written from C values and
 * msgpack on the way out.
 *
 * Strict       UTF-8 is checked, control characters in strings refused, numbers follow the grammar, lone surrogates and
 *              duplicate keys are refused, depth is at most LIMIT_JSON_DEPTH, an object has at most LIMIT_OBJECT_KEYS
 *              keys. Time is linear in the bytes whatever they are.
 * Numbers      Integers (no point, no exponent) of 64 bits, signed or not, become msgpack integers; "-0" is 0. Other
 *              numbers become the nearest double where that names the same decimal (15 significant digits or less), else
 *              exact millionths where they have at most six decimals and fit, else the nearest double. "-0.0" keeps its
 *              sign, what is too small is 0.0, numbers beyond a double's range are refused.
 * Faults       name a byte offset from the start of the text and one stable code, of the first fault. It ends the
 *              reading: every later read fails, and the fault stays.
 *                json_syntax         the byte at the offset cannot stand there; a bad escape or control character too
 *                json_truncated      the text ends where more must come; the offset is its size
 *                json_trailing       something follows the value: json_at_end()
 *                json_utf8           a malformed sequence starts at the offset
 *                json_surrogate      the escape at the offset is half of a surrogate pair
 *                json_number         the byte breaks the grammar of a number, or the number from there is out of range
 *                json_depth          the bracket at the offset nests too deep
 *                json_duplicate_key  the key at the offset (its quote) was in the object before
 *                json_too_many_keys  the key at the offset is one too many
 *                json_type           the value at the offset is not of the kind that the caller asked for
 *                json_no_memory      the arena has no more: not the text's fault
 * Memory       The reader borrows the text, which must be followed by JSON_PADDING readable bytes; strings with escapes
 *              are unpacked into the caller's scratch. Nothing allocates.
 */
#ifndef ASSAY_API_JSON_H
#define ASSAY_API_JSON_H

#include "engine/arena.h"
#include "engine/base.h"
#include "engine/pack.h"

#define JSON_PADDING 32u

struct json_reader {
    const char *text;
    const char *at;
    const char *end;
    const char *fault;   /* NULL, or the stable code of the first fault */
    const char *message; /* for a person, static text */
    size_t fault_offset;
    bool fault_is_limit; /* the grammar holds there; a limit on top of it does not */
    uint32_t depth; /* of the objects and arrays entered; part of what LIMIT_JSON_DEPTH bounds */
};

/* size is below 4 GiB. */
struct json_reader json_reader_on(const char *text, size_t size);

/* The kind of the next value by its first character, white space passed: one of { [ " 0 (any number) t f n. Or 0: at the
 * end of the text (no fault: a read there is json_truncated), and where no value can start (a fault). */
char json_peek(struct json_reader *reader);

/* Iteration. Enter an object or array, then ask for each member: `true` and positioned at its value, or `false` at the
 * end (or on a fault: look at reader->fault). `*first` starts as true. Keys come unescaped. Keys are neither counted nor
 * compared here: the callers of these know their keys. */
bool json_enter_object(struct json_reader *reader);
bool json_next_key(struct json_reader *reader, bool *first, struct arena *scratch, struct bytes *out_key);
bool json_enter_array(struct json_reader *reader);
bool json_next_item(struct json_reader *reader, bool *first);

/* A string value, unescaped: borrowed from the text where it has no escapes, else from scratch. */
bool json_read_string(struct json_reader *reader, struct arena *scratch, struct bytes *out_text);
/* A number: PACK_INT (PACK_UINT above INT64_MAX), PACK_DOUBLE or PACK_MILLIONTHS as described above. */
bool json_read_number(struct json_reader *reader, struct pack_value *out_number);
bool json_read_bool(struct json_reader *reader, bool *out_value);
/* Takes a null if one is next. False, and nothing is taken, where something else is. */
bool json_take_null(struct json_reader *reader);
/* Any value, whole, written as msgpack in the shortest form. Looks for duplicate keys in every object. Room in the writer
 * is the caller's to check (writer->overflow); nothing stays in scratch. */
bool json_transcode(struct json_reader *reader, struct arena *scratch, struct pack_writer *writer);
/* Passes over any value, with all the checks of json_transcode(). */
bool json_skip(struct json_reader *reader, struct arena *scratch);
/* After a fault in the object that began at `before`: where the fault is one of the limits put on top of the grammar (a
 * number beyond a double, a repeated key, depth, too many keys), passes over the object by its quotes and brackets and goes
 * on behind it, so that it does not take its neighbours with it. False, and nothing changes, for any other fault. */
bool json_recover(struct json_reader *reader, const struct json_reader *before);
/* True when only white space is left. Anything else is json_trailing. */
bool json_at_end(struct json_reader *reader);

/* JSON text under construction. Grows in the arena; `failed` stays set when memory is out. Commas and colons are put by
 * the writer. Depth is bounded by JSON_WRITER_DEPTH (an assert: the shapes are ours). */
#define JSON_WRITER_DEPTH 48u

struct json_writer {
    struct arena *arena;
    char *text;
    size_t size;
    size_t capacity;
    bool failed;
    uint8_t depth;
    bool has_member[JSON_WRITER_DEPTH];
    bool after_key;
};

struct json_writer json_writer_in(struct arena *arena);
void json_begin_object(struct json_writer *writer);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer);
void json_end_array(struct json_writer *writer);
void json_key(struct json_writer *writer, const char *key);
void json_key_bytes(struct json_writer *writer, struct bytes key);
void json_text(struct json_writer *writer, const char *text); /* NULL writes null */
/* What is not UTF-8 is written as U+FFFD: the output is always JSON. */
void json_text_bytes(struct json_writer *writer, struct bytes text);
void json_bool(struct json_writer *writer, bool value);
void json_null(struct json_writer *writer);
void json_int(struct json_writer *writer, int64_t value);
void json_uint(struct json_writer *writer, uint64_t value);
/* The shortest decimal that reads back as the same double, with a point or an exponent (3.0) so that it stays a double;
 * NaN and infinities write null: they are no JSON. (The reader above takes 16 and 17 digits with at most six decimals for
 * millionths: the same decimal, exactly.) */
void json_double(struct json_writer *writer, double value);
/* An exact decimal from millionths: 29990000 is 29.99. */
void json_millionths(struct json_writer *writer, int64_t value);
/* An encoded msgpack value as JSON; binary and extensions as lower-case hexadecimal text. False, and nothing is written,
 * where it is not well-formed, a key is not text, or it nests deeper than the writer can. */
bool json_pack(struct json_writer *writer, struct bytes encoded);
/* The same for an instant (RFC 3339) and a UUID. */
void json_time(struct json_writer *writer, int64_t us);
void json_uuid(struct json_writer *writer, const struct uuid *uuid);
/* A newline between NDJSON lines, at depth 0. */
void json_newline(struct json_writer *writer);

#endif
