/* json.c: the reader goes over the text once, forwards, and never looks back; see json.h for the
 * promises.
 *
 * Functions that read take the place to read at and return the place behind what they read, or NULL
 * once a fault is set: the place then lives in a register, not in memory that every byte written
 * might alias.
 */
#include "api/json.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "api/json_text.h"
#include "engine/limits.h"

/* Blocks of text are read whole, so the last may reach past the text by less than its size; so may
 * the copy of a string, and the words of a key. */
static_assert(JSON_PADDING >= JSON_BLOCK, "what is read past the end");
static_assert(JSON_PADDING >= PACK_PADDING, "what is copied past the end");

/* ---- Faults ---- */

/* Returns NULL, for `return fail(...)`. */
__attribute__((cold, noinline)) static const char *fail(struct json_reader *reader, const char *at,
                                                        const char *code, const char *message)
{
    if (reader->fault == NULL) {
        reader->fault = code;
        reader->message = message;
        reader->fault_offset = (size_t)(at - reader->text);
    }
    reader->at = reader->end; /* so that every later read fails by itself */
    return NULL;
}

/* The same where the grammar holds and a limit on top of it does not: json_recover() may go on behind it. */
__attribute__((cold, noinline)) static const char *
fail_limit(struct json_reader *reader, const char *at, const char *code, const char *message)
{
    reader->fault_is_limit = reader->fault == NULL;
    return fail(reader, at, code, message);
}

/* The byte at `at` cannot stand there, or there is none. */
__attribute__((cold, noinline)) static const char *
fail_unexpected(struct json_reader *reader, const char *at, const char *code, const char *message)
{
    if (at >= reader->end) {
        return fail(reader, reader->end, "json_truncated",
                    "the text ends in the middle of a value");
    }
    return fail(reader, at, code, message);
}

static const char *fail_memory(struct json_reader *reader, const char *at)
{
    return fail(reader, at, "json_no_memory", "no memory to read this value");
}

/* ---- Characters ---- */

/* Of the bytes before the first stop, those beyond ASCII. (stops - 1 has those before the first stop
 * set, and behind it only further stops, which are ASCII.) */
static inline uint32_t high_before_stop(struct block_bits bits)
{
    return bits.high & (bits.stops - 1);
}

/* The first byte from `at` that does not stand for itself inside a string, or `end`. Sets *high to
 * nonzero where one before it is (or might be) beyond ASCII. */
static const char *plain_end(const char *at, const char *end, uint32_t *high)
{
    for (; at < end; at += JSON_BLOCK) {
        struct block_bits bits = block_bits_at(at);
        *high |= high_before_stop(bits);
        if (bits.stops != 0) {
            at += __builtin_ctz(bits.stops);
            return at < end ? at : end;
        }
    }
    return end;
}

static inline bool is_space(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static inline const char *skip_space(const char *at, const char *end)
{
    if (LIKELY((uint8_t)*at > ' ')) { /* the padding is readable, so the end may be read too */
        return at;
    }
    while (at < end && is_space(*at)) {
        at++;
    }
    return at;
}

/* ---- Strings ---- */

static const char *utf8_check(struct json_reader *reader, const char *at, const char *end)
{
    size_t size = (size_t)(end - at);
    size_t valid = pack_utf8_size(bytes_of(at, size));
    if (valid != size) {
        return fail(reader, at + valid, "json_utf8", "not valid UTF-8");
    }
    return end;
}

/* Four hexadecimal digits. */
static const char *read_hex4(struct json_reader *reader, const char *at, uint32_t *out_code)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, at++) {
        uint32_t digit = at < reader->end ? digit_at(at) : UINT32_MAX;
        uint32_t letter = (digit + '0') | 0x20;
        if (digit <= 9) {
            code = code << 4 | digit;
        } else if (letter >= 'a' && letter <= 'f') {
            code = code << 4 | (letter - 'a' + 10);
        } else {
            return fail_unexpected(reader, at, "json_syntax", "\\u takes four hexadecimal digits");
        }
    }
    *out_code = code;
    return at;
}

static uint8_t *put_utf8(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (uint8_t)code;
        return to;
    }
    if (code < 0x800) {
        *to++ = (uint8_t)(0xc0 | code >> 6);
    } else {
        if (code < 0x10000) {
            *to++ = (uint8_t)(0xe0 | code >> 12);
        } else {
            *to++ = (uint8_t)(0xf0 | code >> 18);
            *to++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        }
        *to++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    }
    *to++ = (uint8_t)(0x80 | (code & 0x3f));
    return to;
}

/* At the backslash of a \u escape, or of two that are a surrogate pair. */
static const char *unescape_unicode(struct json_reader *reader, const char *escape, uint8_t **to)
{
    static const char lone[] = "half of a surrogate pair";
    uint32_t code;
    const char *at = read_hex4(reader, escape + 2, &code);
    if (at == NULL) {
        return NULL;
    }
    if (code >= 0xdc00 && code <= 0xdfff) {
        return fail(reader, escape, "json_surrogate", lone);
    }
    if (code >= 0xd800 && code <= 0xdbff) {
        uint32_t low;
        if (at >= reader->end || (*at == '\\' && at + 1 >= reader->end)) {
            return fail_unexpected(reader, reader->end, "json_surrogate", lone);
        }
        if (at[0] != '\\' || at[1] != 'u') {
            return fail(reader, escape, "json_surrogate", lone);
        }
        at = read_hex4(reader, at + 2, &low);
        if (at == NULL) {
            return NULL;
        }
        if (low < 0xdc00 || low > 0xdfff) {
            return fail(reader, escape, "json_surrogate", lone);
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *to = put_utf8(*to, code);
    return at;
}

/* At a backslash. What it stands for is never longer than the escape. */
static const char *unescape_one(struct json_reader *reader, const char *at, uint8_t **to)
{
    static const uint8_t meanings[256] = {
        ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
        ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
    };
    uint8_t name = at + 1 < reader->end ? (uint8_t)at[1] : 0;
    if (name == 'u') {
        return unescape_unicode(reader, at, to);
    }
    if (meanings[name] == 0) {
        return fail_unexpected(reader, at + 1, "json_syntax", "no such escape");
    }
    *(*to)++ = meanings[name];
    return at + 2;
}

/* The closing quote of a string with escapes, or whatever stops it first: the bound of its size. */
static const char *raw_string_end(const char *at, const char *end)
{
    uint32_t high = 0;
    for (;;) {
        at = plain_end(at, end, &high);
        if (at + 1 >= end || *at != '\\') {
            return at;
        }
        at += 2;
    }
}

/* A string from behind its opening quote, copied piece by piece so that the first fault is found
 * first, whatever its kind. */
static const char *unescape(struct json_reader *reader, const char *at, struct arena *scratch,
                            struct bytes *out_text)
{
    size_t room = (size_t)(raw_string_end(at, reader->end) - at);
    uint8_t *text = arena_take(scratch, room + JSON_PADDING); /* read and written in blocks */
    if (text == NULL) {
        return fail_memory(reader, at);
    }
    uint8_t *to = text;
    for (;;) {
        uint32_t high = 0;
        const char *stop = plain_end(at, reader->end, &high);
        if (high != 0 && utf8_check(reader, at, stop) == NULL) {
            return NULL;
        }
        assert((size_t)(to - text) + (size_t)(stop - at) <= room);
        for (ptrdiff_t done = 0; done < stop - at; done += JSON_BLOCK) {
            memcpy(to + done, at + done, JSON_BLOCK); /* both have padding */
        }
        to += stop - at;
        if (stop < reader->end && *stop == '"') {
            *out_text = bytes_of(text, (size_t)(to - text));
            return stop + 1;
        }
        if (stop >= reader->end || *stop != '\\') {
            return fail_unexpected(reader, stop, "json_syntax",
                                   "control characters in strings must be escaped");
        }
        at = unescape_one(reader, stop, &to);
        if (at == NULL) {
            return NULL;
        }
    }
}

/* At an opening quote of any string. */
__attribute__((noinline)) static const char *read_any_string(struct json_reader *reader,
                                                             const char *quote,
                                                             struct arena *scratch,
                                                             struct bytes *out_text)
{
    uint32_t high = 0;
    const char *at = quote + 1;
    const char *stop = plain_end(at, reader->end, &high);
    if (stop >= reader->end || *stop != '"') {
        return unescape(reader, at, scratch, out_text);
    }
    if (high != 0 && utf8_check(reader, at, stop) == NULL) {
        return NULL;
    }
    *out_text = bytes_of(at, (size_t)(stop - at));
    return stop + 1;
}

/* At an opening quote. Strings of ASCII without escapes are done here, the others in the general
 * way. */
static inline const char *read_string(struct json_reader *reader, const char *quote,
                                      struct arena *scratch, struct bytes *out_text)
{
    const char *at = quote + 1;
    struct block_bits bits = block_bits_at(at);
    while ((bits.stops | bits.high) == 0 && reader->end - at > (ptrdiff_t)JSON_BLOCK) {
        at += JSON_BLOCK;
        bits = block_bits_at(at);
    }
    const char *stop = at + __builtin_ctz(bits.stops | 1u << JSON_BLOCK);
    if (UNLIKELY(high_before_stop(bits) != 0 || stop >= reader->end || *stop != '"')) {
        return read_any_string(reader, quote, scratch, out_text);
    }
    *out_text = bytes_of(quote + 1, (size_t)(stop - quote) - 1);
    return stop + 1;
}

/* ---- Numbers ---- */

#define DIGITS_EXACT 19 /* any decimal of so many digits fits 64 bits */
/* More digits than this cannot change which double is nearest, but for whether any of them is not
 * zero: the middle between two doubles has at most 767. */
#define DIGITS_KEPT 800

struct decimal {
    bool is_negative;
    bool is_integer;   /* written without point and exponent */
    size_t digits;     /* written, leading zeros too */
    uint64_t mantissa; /* of all digits; wrapped around where they are more than DIGITS_EXACT */
    int64_t exponent;  /* of ten */
    const char *first; /* digit */
    const char *end;
};

static const uint64_t powers_of_ten[20] = {
    1ull,
    10ull,
    100ull,
    1000ull,
    10000ull,
    100000ull,
    1000000ull,
    10000000ull,
    100000000ull,
    1000000000ull,
    10000000000ull,
    100000000000ull,
    1000000000000ull,
    10000000000000ull,
    100000000000000ull,
    1000000000000000ull,
    10000000000000000ull,
    100000000000000000ull,
    1000000000000000000ull,
    10000000000000000000ull,
};

double json_decimal_to_double(uint64_t mantissa, int64_t exponent)
{
    /* These are doubles without error, so one multiplication or division rounds once. */
    static const double exact_powers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                            1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                            1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (LIKELY(mantissa <= 1ull << DBL_MANT_DIG && exponent >= -22 && exponent <= 22)) {
        double value = (double)mantissa;
        return exponent < 0 ? value / exact_powers[-exponent] : value * exact_powers[exponent];
    }
    if (mantissa == 0) {
        return 0.0;
    }
    /* Digits and exponent without a point are the same in every locale. */
    char text[48];
    (void)snprintf(text, sizeof(text), "%" PRIu64 "e%" PRId64, mantissa, exponent);
    return strtod(text, NULL);
}

/* The eight bytes, all of them digits? Each byte's high half must be 3, and stay so with 6 added. */
static inline bool are_digits(uint64_t bytes)
{
    uint64_t halves = bytes & 0xf0f0f0f0f0f0f0f0u;
    uint64_t carried = (bytes + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u;
    return (halves | carried >> 4) == 0x3333333333333333u;
}

/* The number that eight digits spell: pairs, then fours, then all are added up side by side. */
static inline uint64_t eight_digits(uint64_t bytes)
{
    bytes -= 0x3030303030303030u;
    bytes = bytes * 10 + (bytes >> 8);
    uint64_t even = (bytes & 0x000000ff000000ffu) * (100 + (1000000ull << 32));
    uint64_t odd = (bytes >> 16 & 0x000000ff000000ffu) * (1 + (10000ull << 32));
    return (even + odd) >> 32;
}

static inline const char *read_digits(const char *at, const char *end, uint64_t *mantissa)
{
    uint64_t value = *mantissa;
    while (end - at >= 8 && are_digits(load_u64(at))) {
        value = value * 100000000 + eight_digits(load_u64(at));
        at += 8;
    }
    for (; at < end && digit_at(at) <= 9; at++) {
        value = value * 10 + digit_at(at);
    }
    *mantissa = value;
    return at;
}

/* Behind the "e". Exponents beyond any use stop growing, at a bound that the number of digits (the
 * text is below 4 GiB) cannot make up for. */
static const char *read_exponent(struct json_reader *reader, const char *at, int64_t *exponent)
{
    bool is_negative = at < reader->end && *at == '-';
    if (at < reader->end && (*at == '-' || *at == '+')) {
        at++;
    }
    if (at >= reader->end || digit_at(at) > 9) {
        return fail_unexpected(reader, at, "json_number", "an exponent needs a digit");
    }
    int64_t value = 0;
    for (; at < reader->end && digit_at(at) <= 9; at++) {
        value = value < 1000000000000 ? value * 10 + digit_at(at) : value;
    }
    *exponent += is_negative ? -value : value;
    return at;
}

/* At the first character of a number: checks the grammar and adds the digits up. */
static inline const char *scan_number(struct json_reader *reader, const char *at,
                                      struct decimal *decimal)
{
    const char *end = reader->end;
    decimal->is_negative = *at == '-';
    decimal->first = at + (*at == '-');
    decimal->mantissa = 0;
    decimal->exponent = 0;
    decimal->is_integer = true;
    at = read_digits(decimal->first, end, &decimal->mantissa);
    decimal->digits = (size_t)(at - decimal->first);
    if (UNLIKELY(decimal->digits == 0)) {
        return fail_unexpected(reader, at, "json_number", "a number needs a digit");
    }
    if (UNLIKELY(*decimal->first == '0' && decimal->digits > 1)) {
        return fail(reader, decimal->first + 1, "json_number", "a number has no leading zeros");
    }
    if (at < end && *at == '.') {
        const char *fraction = at + 1;
        at = read_digits(fraction, end, &decimal->mantissa);
        if (UNLIKELY(at == fraction)) {
            return fail_unexpected(reader, at, "json_number", "a digit must follow the point");
        }
        decimal->exponent = fraction - at;
        decimal->digits += (size_t)(at - fraction);
        decimal->is_integer = false;
    }
    decimal->end = at;
    if (at < end && (*at == 'e' || *at == 'E')) {
        decimal->is_integer = false;
        return read_exponent(reader, at + 1, &decimal->exponent);
    }
    return at;
}

/* The value of mantissa * 10^exponent. False where it is beyond a double. */
static bool decimal_value(uint64_t mantissa, int64_t exponent, bool is_negative,
                          struct pack_value *out_number)
{
    /* 0.1000000000000000000 has one digit that counts. */
    while (mantissa >= powers_of_ten[DBL_DIG] && mantissa % 10 == 0) {
        mantissa /= 10;
        exponent++;
    }
    if (mantissa >= powers_of_ten[DBL_DIG] && exponent >= -6 && exponent <= 0) {
        uint64_t scale = powers_of_ten[exponent + 6];
        uint64_t scaled;
        if (!__builtin_mul_overflow(mantissa, scale, &scaled) && scaled <= INT64_MAX) {
            out_number->type = PACK_MILLIONTHS;
            out_number->as.integer = is_negative ? -(int64_t)scaled : (int64_t)scaled;
            return true;
        }
    }
    double value = json_decimal_to_double(mantissa, exponent);
    out_number->type = PACK_DOUBLE;
    out_number->as.number = is_negative ? -value : value;
    return isfinite(value);
}

/* A number of more digits than 64 bits hold, from its text again. */
static bool long_decimal_value(const struct decimal *decimal, struct pack_value *out_number)
{
    char digits[DIGITS_KEPT + 32];
    size_t count = 0;
    bool is_cut = false; /* before a digit that is not zero */
    int64_t exponent = decimal->exponent;
    for (const char *at = decimal->first; at < decimal->end; at++) {
        if (*at == '.' || (*at == '0' && count == 0)) {
            continue;
        }
        if (count < DIGITS_KEPT) {
            digits[count++] = *at;
        } else {
            is_cut = is_cut || *at != '0';
            exponent++;
        }
    }
    while (!is_cut && count > 0 && digits[count - 1] == '0') {
        count--;
        exponent++;
    }
    if (count <= DIGITS_EXACT) {
        uint64_t mantissa = 0;
        (void)read_digits(digits, digits + count, &mantissa);
        return decimal_value(mantissa, exponent, decimal->is_negative, out_number);
    }
    if (is_cut) {
        digits[count++] = '1';
        exponent--;
    }
    (void)snprintf(digits + count, sizeof(digits) - count, "e%" PRId64, exponent);
    double value = strtod(digits, NULL);
    out_number->type = PACK_DOUBLE;
    out_number->as.number = decimal->is_negative ? -value : value;
    return isfinite(value);
}

/* An integer of 64 bits. False where it is none. */
static bool integer_value(const struct decimal *decimal, struct pack_value *out_number)
{
    uint64_t value = decimal->mantissa;
    if (decimal->digits > DIGITS_EXACT) {
        /* The digits before the last fit; so may all of them. */
        uint64_t before = 0;
        (void)read_digits(decimal->first, decimal->first + DIGITS_EXACT, &before);
        if (decimal->digits > DIGITS_EXACT + 1 || __builtin_mul_overflow(before, 10ull, &value) ||
            __builtin_add_overflow(value, digit_at(decimal->end - 1), &value)) {
            return false;
        }
    }
    if (decimal->is_negative && value > (uint64_t)INT64_MAX + 1) {
        return false;
    }
    if (decimal->is_negative) {
        *out_number = (struct pack_value){.type = PACK_INT, .as.integer = (int64_t)(0 - value)};
    } else if (value <= INT64_MAX) {
        *out_number = (struct pack_value){.type = PACK_INT, .as.integer = (int64_t)value};
    } else {
        *out_number = (struct pack_value){.type = PACK_UINT, .as.natural = value};
    }
    return true;
}

/* At a minus sign or digit. */
static inline const char *read_number(struct json_reader *reader, const char *at,
                                      struct pack_value *out_number)
{
    struct decimal decimal;
    const char *end = scan_number(reader, at, &decimal);
    if (UNLIKELY(end == NULL)) {
        return NULL;
    }
    if (decimal.is_integer && integer_value(&decimal, out_number)) {
        return end;
    }
    bool is_finite =
        LIKELY(decimal.digits <= DIGITS_EXACT)
            ? decimal_value(decimal.mantissa, decimal.exponent, decimal.is_negative, out_number)
            : long_decimal_value(&decimal, out_number);
    if (UNLIKELY(!is_finite)) {
        return fail_limit(reader, at, "json_number", "a number beyond the range of a double");
    }
    return end;
}

/* ---- Literals ---- */

/* At the first letter of a literal that is not there. */
__attribute__((cold, noinline)) static const char *fail_literal(struct json_reader *reader,
                                                                const char *at, const char *literal)
{
    while (at < reader->end && *at == *literal) {
        at++;
        literal++;
    }
    return fail_unexpected(reader, at, "json_syntax", "no such literal");
}

/* At the first letter of a literal. */
static inline const char *read_literal(struct json_reader *reader, const char *at,
                                       const char *literal)
{
    size_t size = strlen(literal);
    if (UNLIKELY((size_t)(reader->end - at) < size || memcmp(at, literal, size) != 0)) {
        return fail_literal(reader, at, literal);
    }
    return at + size;
}

/* ---- Keys: finding duplicates in linear time ----
 *
 * The keys of all open objects are one stack, the innermost object's on top. An object of few keys
 * compares each with those before it, by fingerprint. From KEYS_COMPARED on its keys also go into a
 * table (open addressing, shared by all open objects). Keys leave in the reverse order of their
 * coming, so that a slot can simply be emptied. The table's seed is random: nobody can choose keys
 * that collide.
 */

#define KEYS_COMPARED 16u
#define KEYS_AT_HAND  64u /* kept without asking the arena for memory */

struct key {
    const uint8_t *data;
    uint64_t fingerprint;
    uint32_t size;
    uint32_t hash; /* this and the slot only while the key is in the table */
    uint32_t slot;
};

struct key_stack {
    struct key *keys;
    uint32_t count;
    uint32_t capacity;
    uint16_t *slots;     /* indices of keys plus one; 0 is empty */
    uint32_t slot_count; /* a power of two, or 0 before it is needed */
    struct key at_hand[KEYS_AT_HAND];
};

static_assert(LIMIT_JSON_DEPTH * LIMIT_OBJECT_KEYS < UINT16_MAX, "a slot holds any key's index");

static inline void keys_init(struct key_stack *stack)
{
    stack->keys = stack->at_hand; /* which need no value before they are pushed */
    stack->count = 0;
    stack->capacity = KEYS_AT_HAND;
    stack->slots = NULL;
    stack->slot_count = 0;
}

static uint64_t hash_seed(void)
{
    static _Atomic uint64_t seed; /* 0 until chosen */
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (LIKELY(value != 0)) {
        return value;
    }
    uint64_t chosen = 0;
    if (getrandom(&chosen, sizeof(chosen), GRND_NONBLOCK) != (ssize_t)sizeof(chosen)) {
        /* Before the kernel has entropy: where it put the stack is the next best secret. */
        chosen = (uint64_t)(uintptr_t)&value;
    }
    chosen |= 1;
    /* The first thread's choice holds for all. */
    return atomic_compare_exchange_strong(&seed, &value, chosen) ? chosen : value;
}

/* Different for nearly all different keys. Reads whole words: keys have padding behind them. */
static inline uint64_t key_fingerprint(const uint8_t *data, size_t size)
{
    uint64_t head = load_u64(data);
    if (size < 8) {
        return (head & ((1ull << 8 * size) - 1)) | (uint64_t)size << 56;
    }
    uint64_t tail = load_u64(data + size - 8);
    return (head ^ (tail << 29 | tail >> 35)) + size;
}

static inline bool key_equals(const struct key *a, const struct key *b)
{
    return a->fingerprint == b->fingerprint && a->size == b->size &&
           memcmp(a->data, b->data, a->size) == 0;
}

/* The slot of the key that equals keys[index] among those of its object, which begin at first_key;
 * an empty slot where it is the first such. */
static uint32_t slot_find(const struct key_stack *stack, uint32_t index, uint32_t first_key)
{
    const struct key *key = &stack->keys[index];
    uint32_t slot = key->hash & (stack->slot_count - 1);
    while (stack->slots[slot] != 0) {
        uint32_t other = stack->slots[slot] - 1u;
        if (other >= first_key && key_equals(&stack->keys[other], key)) {
            break;
        }
        slot = (slot + 1) & (stack->slot_count - 1);
    }
    return slot;
}

static void slot_fill(struct key_stack *stack, uint32_t index, uint32_t slot)
{
    stack->keys[index].slot = slot;
    stack->slots[slot] = (uint16_t)(index + 1);
}

/* A table at most half full once the stack's `count` keys are all in it. */
static bool slots_grow(struct key_stack *stack, struct arena *scratch)
{
    if (LIKELY(stack->slot_count >= 2 * stack->count)) {
        return true;
    }
    uint32_t old_count = stack->slot_count;
    const uint16_t *old_slots = stack->slots;
    uint32_t slot_count = 8 * KEYS_COMPARED;
    while (slot_count < 4 * stack->count) {
        slot_count *= 2;
    }
    uint16_t *slots = arena_take_zeroed(scratch, slot_count * sizeof(*slots));
    if (slots == NULL) {
        return false;
    }
    stack->slots = slots;
    stack->slot_count = slot_count;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old_slots[i] != 0) {
            /* All are different: first_key is out of reach, so that none is compared. */
            uint32_t index = old_slots[i] - 1u;
            slot_fill(stack, index, slot_find(stack, index, UINT32_MAX));
        }
    }
    return true;
}

static bool keys_grow(struct key_stack *stack, struct arena *scratch)
{
    uint32_t capacity = stack->capacity * 4;
    struct key *keys = arena_take(scratch, capacity * sizeof(*keys));
    if (keys == NULL) {
        return false;
    }
    memcpy(keys, stack->keys, stack->count * sizeof(*keys));
    stack->keys = keys;
    stack->capacity = capacity;
    return true;
}

enum key_result { KEY_NEW, KEY_DUPLICATE, KEY_NO_MEMORY };

/* The top of the stack is the newest key of an object with many. */
static enum key_result key_hash_top(struct key_stack *stack, uint32_t first_key,
                                    struct arena *scratch)
{
    if (!slots_grow(stack, scratch)) {
        return KEY_NO_MEMORY;
    }
    uint32_t top = stack->count - 1;
    uint32_t from = top - first_key == KEYS_COMPARED ? first_key : top; /* the first few are due */
    for (uint32_t i = from; i <= top; i++) {
        struct key *key = &stack->keys[i];
        /* Objects inside each other often have the same keys; first_key sets them apart. */
        key->hash = (uint32_t)XXH3_64bits_withSeed(key->data, key->size, hash_seed() + first_key);
        uint32_t slot = slot_find(stack, i, first_key);
        if (stack->slots[slot] != 0) {
            return KEY_DUPLICATE;
        }
        slot_fill(stack, i, slot);
    }
    return KEY_NEW;
}

/* Puts a key on the stack, on top of those of its object. */
static inline enum key_result key_push(struct key_stack *stack, struct bytes name,
                                       uint32_t first_key, struct arena *scratch)
{
    if (UNLIKELY(stack->count == stack->capacity) && !keys_grow(stack, scratch)) {
        return KEY_NO_MEMORY;
    }
    struct key *key = &stack->keys[stack->count];
    key->data = name.data;
    key->size = (uint32_t)name.size;
    key->fingerprint = key_fingerprint(name.data, name.size);
    if (UNLIKELY(stack->count - first_key >= KEYS_COMPARED)) {
        stack->count++;
        return key_hash_top(stack, first_key, scratch);
    }
    for (uint32_t i = first_key; i < stack->count; i++) {
        if (UNLIKELY(key_equals(&stack->keys[i], key))) {
            return KEY_DUPLICATE;
        }
    }
    stack->count++;
    return KEY_NEW;
}

/* Takes the keys of the innermost object off. */
static inline void keys_pop(struct key_stack *stack, uint32_t first_key)
{
    if (UNLIKELY(stack->count - first_key > KEYS_COMPARED)) {
        for (uint32_t i = first_key; i < stack->count; i++) {
            stack->slots[stack->keys[i].slot] = 0;
        }
    }
    stack->count = first_key;
}

/* ---- Transcoding ---- */

struct container {
    size_t place; /* of its header in the output */
    uint32_t count;
    uint32_t first_key; /* of its keys on the stack */
    bool is_object;
};

/* What the text must go on with. */
enum step {
    STEP_KEY,
    STEP_VALUE,
    STEP_NEXT, /* a value has ended: a comma or closing bracket */
    STEP_DONE,
};

struct transcoder {
    struct json_reader *reader;
    struct arena *scratch;
    struct pack_writer *writer;
    uint32_t depth;
    uint32_t depth_max;
    struct container containers[LIMIT_JSON_DEPTH];
    struct key_stack keys;
};

/* A member's key and its colon, to the place where its value may start. */
static inline const char *transcode_key(struct transcoder *coder, const char *at)
{
    struct json_reader *reader = coder->reader;
    const struct container *object = &coder->containers[coder->depth - 1];
    if (UNLIKELY(at >= reader->end || *at != '"')) {
        return fail_unexpected(reader, at, "json_syntax", "expected a key in quotes");
    }
    const char *quote = at;
    struct bytes name;
    at = read_string(reader, at, coder->scratch, &name);
    if (UNLIKELY(at == NULL)) {
        return NULL;
    }
    if (UNLIKELY(object->count >= LIMIT_OBJECT_KEYS)) {
        return fail_limit(reader, quote, "json_too_many_keys", "an object has too many keys");
    }
    enum key_result result = key_push(&coder->keys, name, object->first_key, coder->scratch);
    if (UNLIKELY(result != KEY_NEW)) {
        return result == KEY_NO_MEMORY ? fail_memory(reader, quote)
                                       : fail_limit(reader, quote, "json_duplicate_key",
                                                    "the object has this key already");
    }
    pack_text_padded(coder->writer, name);
    at = skip_space(at, reader->end);
    if (UNLIKELY(at >= reader->end || *at != ':')) {
        return fail_unexpected(reader, at, "json_syntax", "expected a colon after the key");
    }
    return at + 1;
}

/* At the closing bracket of the innermost container. */
static inline const char *transcode_close(struct transcoder *coder, const char *at,
                                          enum step *out_step)
{
    const struct container *container = &coder->containers[--coder->depth];
    if (container->is_object) {
        keys_pop(&coder->keys, container->first_key);
        pack_close_map(coder->writer, container->place, container->count);
    } else {
        pack_close_array(coder->writer, container->place, container->count);
    }
    *out_step = coder->depth == 0 ? STEP_DONE : STEP_NEXT;
    return at + 1;
}

/* At an opening bracket. */
static inline const char *transcode_open(struct transcoder *coder, const char *at,
                                         enum step *out_step)
{
    struct json_reader *reader = coder->reader;
    if (UNLIKELY(coder->depth >= coder->depth_max)) {
        return fail_limit(reader, at, "json_depth", "objects and arrays nest too deep");
    }
    struct container *container = &coder->containers[coder->depth++];
    container->is_object = *at == '{';
    container->place = pack_open(coder->writer);
    container->count = 0;
    container->first_key = coder->keys.count;
    at = skip_space(at + 1, reader->end);
    if (UNLIKELY(at < reader->end && *at == (container->is_object ? '}' : ']'))) {
        return transcode_close(coder, at, out_step);
    }
    *out_step = container->is_object ? STEP_KEY : STEP_VALUE;
    return at;
}

/* A value that is neither string nor container. Not inlined: the loop of json_transcode() then keeps
 * its registers, which is worth a tenth of its time. */
__attribute__((noinline)) static const char *transcode_other(struct transcoder *coder,
                                                             const char *at)
{
    struct json_reader *reader = coder->reader;
    if (digit_at(at) <= 9 || *at == '-') {
        struct pack_value number;
        at = read_number(reader, at, &number);
        if (LIKELY(at != NULL)) {
            pack_number(coder->writer, &number);
        }
        return at;
    }
    switch (*at) {
    case 't':
        pack_bool(coder->writer, true);
        return read_literal(reader, at, "true");
    case 'f':
        pack_bool(coder->writer, false);
        return read_literal(reader, at, "false");
    case 'n':
        pack_nil(coder->writer);
        return read_literal(reader, at, "null");
    default:
        return fail(reader, at, "json_syntax", "no value starts like this");
    }
}

/* A scalar, or the opening of a container. */
static inline const char *transcode_value(struct transcoder *coder, const char *at,
                                          enum step *out_step)
{
    struct json_reader *reader = coder->reader;
    at = skip_space(at, reader->end);
    if (UNLIKELY(at >= reader->end)) {
        return fail_unexpected(reader, at, "json_syntax", "expected a value");
    }
    if (*at == '{' || *at == '[') {
        return transcode_open(coder, at, out_step);
    }
    *out_step = coder->depth == 0 ? STEP_DONE : STEP_NEXT;
    if (*at != '"') {
        return transcode_other(coder, at);
    }
    struct bytes text;
    at = read_string(reader, at, coder->scratch, &text);
    if (LIKELY(at != NULL)) {
        pack_text_padded(coder->writer, text);
    }
    return at;
}

/* Behind a member of the innermost container. */
static inline const char *transcode_next(struct transcoder *coder, const char *at,
                                         enum step *out_step)
{
    struct json_reader *reader = coder->reader;
    struct container *container = &coder->containers[coder->depth - 1];
    bool is_object = container->is_object;
    container->count++;
    at = skip_space(at, reader->end);
    if (LIKELY(at < reader->end)) {
        if (*at == ',') {
            *out_step = is_object ? STEP_KEY : STEP_VALUE;
            return skip_space(at + 1, reader->end);
        }
        if (LIKELY(*at == (is_object ? '}' : ']'))) {
            return transcode_close(coder, at, out_step);
        }
    }
    return fail_unexpected(reader, at, "json_syntax", "expected a comma or the closing bracket");
}

bool json_transcode(struct json_reader *reader, struct arena *scratch, struct pack_writer *writer)
{
    struct arena_mark mark = arena_mark(scratch);
    struct transcoder coder; /* large, and most of it never touched */
    coder.reader = reader;
    coder.scratch = scratch;
    coder.writer = writer;
    coder.depth = 0;
    coder.depth_max = LIMIT_JSON_DEPTH - reader->depth;
    keys_init(&coder.keys);
    const char *at = reader->at;
    enum step step = STEP_VALUE;
    while (at != NULL && step != STEP_DONE) {
        if (step == STEP_NEXT) {
            at = transcode_next(&coder, at, &step);
        } else if (step == STEP_VALUE) {
            at = transcode_value(&coder, at, &step);
        } else {
            at = transcode_key(&coder, at);
            step = STEP_VALUE;
        }
    }
    arena_rewind(scratch, mark);
    if (at == NULL) {
        return false;
    }
    reader->at = at;
    return true;
}

bool json_skip(struct json_reader *reader, struct arena *scratch)
{
    struct pack_writer nowhere = pack_writer_on(NULL, 0);
    return json_transcode(reader, scratch, &nowhere);
}

/* ---- Reading value by value ---- */

struct json_reader json_reader_on(const char *text, size_t size)
{
    assert(size <= UINT32_MAX);
    return (struct json_reader){.text = text, .at = text, .end = text + size};
}

char json_peek(struct json_reader *reader)
{
    reader->at = skip_space(reader->at, reader->end);
    if (reader->at >= reader->end) {
        return '\0';
    }
    char byte = *reader->at;
    switch (byte) {
    case '{':
    case '[':
    case '"':
    case 't':
    case 'f':
    case 'n':
        return byte;
    default:
        break;
    }
    if (byte == '-' || digit_at(reader->at) <= 9) {
        return '0';
    }
    (void)fail(reader, reader->at, "json_syntax", "no value starts like this");
    return '\0';
}

/* True at a value of the kind that json_peek() calls `kind`. */
static bool expect_kind(struct json_reader *reader, char kind, const char *message)
{
    char found = json_peek(reader);
    if (found == kind) {
        return true;
    }
    (void)fail_unexpected(reader, reader->at, "json_type", message);
    return false;
}

static bool enter(struct json_reader *reader, char bracket, const char *message)
{
    if (!expect_kind(reader, bracket, message)) {
        return false;
    }
    if (reader->depth >= LIMIT_JSON_DEPTH) {
        return fail_limit(reader, reader->at, "json_depth", "objects and arrays nest too deep") !=
               NULL;
    }
    reader->depth++;
    reader->at++;
    return true;
}

bool json_enter_object(struct json_reader *reader)
{
    return enter(reader, '{', "expected an object");
}

bool json_enter_array(struct json_reader *reader)
{
    return enter(reader, '[', "expected an array");
}

/* To the next member of what ends with `bracket`. False at the end, or on a fault. */
static bool next_member(struct json_reader *reader, char bracket, bool *first)
{
    const char *at = skip_space(reader->at, reader->end);
    if (at < reader->end && *at == bracket) {
        assert(reader->depth > 0);
        reader->depth--;
        reader->at = at + 1;
        return false;
    }
    bool is_first = *first;
    *first = false;
    if (is_first && at < reader->end) {
        reader->at = at;
        return true;
    }
    if (at >= reader->end || *at != ',') {
        return fail_unexpected(reader, at, "json_syntax",
                               "expected a comma or the closing bracket") != NULL;
    }
    reader->at = skip_space(at + 1, reader->end);
    return true;
}

bool json_next_key(struct json_reader *reader, bool *first, struct arena *scratch,
                   struct bytes *out_key)
{
    if (!next_member(reader, '}', first)) {
        return false;
    }
    const char *at = reader->at;
    if (at >= reader->end || *at != '"') {
        return fail_unexpected(reader, at, "json_syntax", "expected a key in quotes") != NULL;
    }
    struct bytes key;
    at = read_string(reader, at, scratch, &key);
    if (at == NULL) {
        return false;
    }
    at = skip_space(at, reader->end);
    if (at >= reader->end || *at != ':') {
        return fail_unexpected(reader, at, "json_syntax", "expected a colon after the key") != NULL;
    }
    reader->at = skip_space(at + 1, reader->end);
    *out_key = key;
    return true;
}

bool json_next_item(struct json_reader *reader, bool *first)
{
    return next_member(reader, ']', first);
}

bool json_read_string(struct json_reader *reader, struct arena *scratch, struct bytes *out_text)
{
    if (!expect_kind(reader, '"', "expected a string")) {
        return false;
    }
    const char *at = read_string(reader, reader->at, scratch, out_text);
    if (at == NULL) {
        return false;
    }
    reader->at = at;
    return true;
}

bool json_read_number(struct json_reader *reader, struct pack_value *out_number)
{
    if (!expect_kind(reader, '0', "expected a number")) {
        return false;
    }
    struct pack_value number;
    const char *at = read_number(reader, reader->at, &number);
    if (at == NULL) {
        return false;
    }
    reader->at = at;
    *out_number = number;
    return true;
}

bool json_read_bool(struct json_reader *reader, bool *out_value)
{
    bool value = json_peek(reader) == 't';
    if (!value && !expect_kind(reader, 'f', "expected true or false")) {
        return false;
    }
    const char *at = read_literal(reader, reader->at, value ? "true" : "false");
    if (at == NULL) {
        return false;
    }
    reader->at = at;
    *out_value = value;
    return true;
}

bool json_take_null(struct json_reader *reader)
{
    if (json_peek(reader) != 'n') {
        return false;
    }
    const char *at = read_literal(reader, reader->at, "null");
    if (at == NULL) {
        return false;
    }
    reader->at = at;
    return true;
}

/* The end of the value at `at` by its quotes and brackets alone; NULL where the text ends first. */
static const char *value_end(const char *at, const char *end)
{
    uint32_t depth = 0;
    bool in_string = false;
    for (; at < end; at++) {
        if (in_string) {
            at += *at == '\\';
            in_string = at >= end || *at != '"';
        } else if (*at == '"') {
            in_string = true;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if ((*at == '}' || *at == ']') && --depth == 0) {
            return at + 1;
        }
    }
    return NULL;
}

bool json_recover(struct json_reader *reader, const struct json_reader *before)
{
    const char *start = skip_space(before->at, before->end);
    const char *end = reader->fault_is_limit && start < before->end && *start == '{'
                          ? value_end(start, before->end)
                          : NULL;
    if (end == NULL) {
        return false;
    }
    *reader = *before;
    reader->at = end;
    return true;
}

bool json_at_end(struct json_reader *reader)
{
    if (reader->fault != NULL) {
        return false;
    }
    reader->at = skip_space(reader->at, reader->end);
    if (reader->at < reader->end) {
        return fail(reader, reader->at, "json_trailing", "something follows the value") != NULL;
    }
    return true;
}
