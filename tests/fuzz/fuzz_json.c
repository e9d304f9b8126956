/* fuzz_json.c: a libFuzzer entry point for api/json.c. Any bytes are read in four ways that must agree:
 *
 * - json_transcode(), twice, with different padding behind the text;
 * - the same into a buffer that is too small;
 * - value by value, with json_enter_...() and json_next_...(), which finds the same faults but those of keys;
 * - a naive checker of the grammar below, which shares no code with the reader.
 *
 * What was read must be well-formed msgpack, and JSON again, and from then on stay the same.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. tests/fuzz/fuzz_json.c api/json.c
 *         api/json_writer.c engine/arena.c engine/base.c engine/pack.c engine/timestamp.c -lm -o fuzz_json
 *   ./fuzz_json -dict=tests/fuzz/json.dict CORPUS tests/fuzz/corpus/json
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "engine/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena arena;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* A copy of its exact size, so that the sanitizer sees a read past the padding. */
static char *padded_copy(const void *data, size_t size, int padding)
{
    char *copy = malloc(size + JSON_PADDING);
    expect(copy != NULL, "memory");
    if (size != 0) {
        memcpy(copy, data, size);
    }
    memset(copy + size, padding, JSON_PADDING);
    return copy;
}

struct result {
    const char *fault;
    size_t offset;
    struct bytes pack;
};

static struct result transcode(const void *text, size_t size, int padding, size_t capacity)
{
    char *copy = padded_copy(text, size, padding);
    struct arena scratch;
    arena_init(&scratch, 64);
    struct pack_writer writer = pack_writer_on(arena_take(&arena, capacity), capacity);
    struct json_reader reader = json_reader_on(copy, size);
    bool done = json_transcode(&reader, &scratch, &writer) && json_at_end(&reader);
    expect(done == (reader.fault == NULL), "a failed read has a fault");
    expect(done || reader.fault_offset <= size, "the fault is in the text");
    expect(capacity < 8 * size + 64 || !writer.overflow, "msgpack is not that much larger");
    arena_deinit(&scratch);
    free(copy);
    return (struct result){reader.fault, reader.fault_offset, bytes_of(writer.data, writer.size)};
}

static bool is_fault(const struct result *result, const char *code)
{
    return result->fault != NULL && strcmp(result->fault, code) == 0;
}

/* ---- Value by value ---- */

static bool read_scalar(struct json_reader *reader, struct arena *scratch, char kind)
{
    struct bytes text;
    struct pack_value number;
    bool value;
    switch (kind) {
    case '"':
        return json_read_string(reader, scratch, &text);
    case '0':
        return json_read_number(reader, &number);
    case 'n':
        return json_take_null(reader);
    default:
        return json_read_bool(reader, &value);
    }
}

/* To the next value, out of containers that have ended. False when all is read, or on a fault. */
static bool next_value(struct json_reader *reader, struct arena *scratch, const char *brackets,
                       bool *firsts)
{
    while (reader->depth > 0) {
        uint32_t depth = reader->depth;
        struct bytes key;
        bool more = brackets[depth] == '{' ? json_next_key(reader, &firsts[depth], scratch, &key)
                                           : json_next_item(reader, &firsts[depth]);
        if (more || reader->fault != NULL) {
            return more;
        }
        expect(reader->depth == depth - 1, "leaving takes one level off");
    }
    return false;
}

static struct result iterate(const void *text, size_t size)
{
    char brackets[LIMIT_JSON_DEPTH + 1] = {0};
    bool firsts[LIMIT_JSON_DEPTH + 1] = {0};
    char *copy = padded_copy(text, size, '"');
    struct arena scratch;
    arena_init(&scratch, 64);
    struct json_reader reader = json_reader_on(copy, size);
    do {
        char kind = json_peek(&reader);
        if (kind == '{' || kind == '[') {
            if (kind == '{' ? json_enter_object(&reader) : json_enter_array(&reader)) {
                brackets[reader.depth] = kind;
                firsts[reader.depth] = true;
            }
        } else if (kind == '\0') {
            (void)json_skip(&reader, &scratch);
            expect(reader.fault != NULL, "there was no value to pass over");
        } else {
            (void)read_scalar(&reader, &scratch, kind);
        }
    } while (reader.fault == NULL && next_value(&reader, &scratch, brackets, firsts));
    (void)json_at_end(&reader);
    arena_deinit(&scratch);
    free(copy);
    return (struct result){reader.fault, reader.fault_offset, bytes_of(NULL, 0)};
}

/* ---- The naive checker: RFC 8259, RFC 3629 and no lone surrogates; neither range nor keys nor depth ---- */

struct naive {
    const uint8_t *at;
    const uint8_t *end;
};

static int naive_peek(const struct naive *naive)
{
    return naive->at < naive->end ? *naive->at : -1;
}

static bool naive_take(struct naive *naive, int byte)
{
    if (naive_peek(naive) != byte) {
        return false;
    }
    naive->at++;
    return true;
}

static void naive_space(struct naive *naive)
{
    while (naive_peek(naive) >= 0 && strchr(" \t\r\n", naive_peek(naive)) != NULL &&
           naive_peek(naive) != 0) {
        naive->at++;
    }
}

static bool naive_digits(struct naive *naive)
{
    const uint8_t *start = naive->at;
    while (naive_peek(naive) >= '0' && naive_peek(naive) <= '9') {
        naive->at++;
    }
    return naive->at > start;
}

static bool naive_number(struct naive *naive)
{
    (void)naive_take(naive, '-');
    if (!naive_take(naive, '0') && !naive_digits(naive)) {
        return false;
    }
    if (naive_take(naive, '.') && !naive_digits(naive)) {
        return false;
    }
    if (naive_take(naive, 'e') || naive_take(naive, 'E')) {
        if (!naive_take(naive, '+')) {
            (void)naive_take(naive, '-');
        }
        return naive_digits(naive);
    }
    return true;
}

static long naive_hex(struct naive *naive)
{
    char digits[5] = {0};
    for (int i = 0; i < 4; i++) {
        int byte = naive_peek(naive);
        if (byte <= 0 || strchr("0123456789abcdefABCDEF", byte) == NULL) {
            return -1;
        }
        digits[i] = (char)byte;
        naive->at++;
    }
    return strtol(digits, NULL, 16);
}

static bool naive_escape(struct naive *naive)
{
    int byte = naive_peek(naive);
    if (byte <= 0 || strchr("\"\\/bfnrtu", byte) == NULL) {
        return false;
    }
    naive->at++;
    if (byte != 'u') {
        return true;
    }
    long code = naive_hex(naive);
    if (code >= 0xd800 && code <= 0xdbff) {
        long low = naive_take(naive, '\\') && naive_take(naive, 'u') ? naive_hex(naive) : -1;
        return low >= 0xdc00 && low <= 0xdfff;
    }
    return code >= 0 && (code < 0xdc00 || code > 0xdfff);
}

/* One character, put together from its bytes and then judged. */
static bool naive_character(struct naive *naive)
{
    uint32_t lead = *naive->at++;
    int more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
    for (int i = 0; i < more; i++) {
        if (naive_peek(naive) < 0x80 || naive_peek(naive) > 0xbf) {
            return false;
        }
        code = code << 6 | (*naive->at++ & 0x3fu);
    }
    static const uint32_t least[4] = {0x20, 0x80, 0x800, 0x10000};
    return code >= least[more] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) &&
           lead < 0xf8 && (lead < 0x80 || lead >= 0xc0);
}

static bool naive_string(struct naive *naive)
{
    if (!naive_take(naive, '"')) {
        return false;
    }
    while (!naive_take(naive, '"')) {
        if (naive_peek(naive) < 0 ||
            !(naive_take(naive, '\\') ? naive_escape(naive) : naive_character(naive))) {
            return false;
        }
    }
    return true;
}

static bool naive_literal(struct naive *naive, const char *literal)
{
    while (*literal != '\0' && naive_take(naive, *literal)) {
        literal++;
    }
    return *literal == '\0';
}

// NOLINTNEXTLINE(misc-no-recursion): it is naive; the caller bounds the depth
static bool naive_value(struct naive *naive)
{
    naive_space(naive);
    int byte = naive_peek(naive);
    bool good = false;
    if (byte == '{' || byte == '[') {
        int close = byte + 2;
        naive->at++;
        naive_space(naive);
        if (naive_take(naive, close)) {
            return true;
        }
        do {
            naive_space(naive);
            if (byte == '{') {
                if (!naive_string(naive)) {
                    return false;
                }
                naive_space(naive);
                if (!naive_take(naive, ':')) {
                    return false;
                }
            }
            if (!naive_value(naive)) {
                return false;
            }
            naive_space(naive);
        } while (naive_take(naive, ','));
        return naive_take(naive, close);
    }
    if (byte == '"') {
        good = naive_string(naive);
    } else if (byte == 't') {
        good = naive_literal(naive, "true");
    } else if (byte == 'f') {
        good = naive_literal(naive, "false");
    } else if (byte == 'n') {
        good = naive_literal(naive, "null");
    } else {
        good = naive_number(naive);
    }
    return good;
}

static bool naive_text(const uint8_t *data, size_t size)
{
    struct naive naive = {data, data + size};
    if (!naive_value(&naive)) {
        return false;
    }
    naive_space(&naive);
    return naive.at == naive.end;
}

/* ---- */

static struct bytes written(struct bytes pack)
{
    struct json_writer writer = json_writer_in(&arena);
    expect(json_pack(&writer, pack), "what was read can be written");
    return bytes_of(writer.text, writer.size);
}

static void expect_stable(struct bytes pack)
{
    expect(pack_check(pack), "what was read is msgpack");
    struct bytes first = written(pack);
    struct result again = transcode(first.data, first.size, '}', 8 * first.size + 64);
    expect(again.fault == NULL, "what was written can be read");
    struct bytes second = written(again.pack);
    expect(bytes_equal(first, second), "and written the same");
    struct result third = transcode(second.data, second.size, 0, 8 * second.size + 64);
    expect(third.fault == NULL && bytes_equal(again.pack, third.pack), "and read the same");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena_init(&arena, 65536);
    struct result result = transcode(data, size, 0, 8 * size + 64);
    struct result padded = transcode(data, size, '9', 8 * size + 64);
    expect(result.fault == padded.fault && result.offset == padded.offset, "padding is not read");
    expect(result.fault != NULL || bytes_equal(result.pack, padded.pack), "padding is not written");
    struct result small = transcode(data, size, ']', size / 2);
    expect(result.fault == small.fault && result.offset == small.offset,
           "a full buffer changes no fault");
    if (!is_fault(&result, "json_duplicate_key") && !is_fault(&result, "json_too_many_keys")) {
        struct result iterated = iterate(data, size);
        expect(result.fault == iterated.fault && result.offset == iterated.offset,
               "both ways find the same fault");
    }
    bool is_range =
        is_fault(&result, "json_number") && result.offset < size &&
        (data[result.offset] == '-' || (data[result.offset] >= '0' && data[result.offset] <= '9'));
    if (!is_fault(&result, "json_depth") && !is_fault(&result, "json_duplicate_key") &&
        !is_fault(&result, "json_too_many_keys") && !is_range && size < 4096) {
        expect(naive_text(data, size) == (result.fault == NULL), "the naive checker agrees");
    }
    if (result.fault == NULL) {
        expect_stable(result.pack);
    }
    arena_deinit(&arena);
    return 0;
}
