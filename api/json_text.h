/* json_text.h: what the reading (json.c) and the writing (json_writer.c) of JSON have in common. For these two only. */
#ifndef ASSAY_API_JSON_TEXT_H
#define ASSAY_API_JSON_TEXT_H

#include "engine/base.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Strings are looked through in blocks of so many bytes. */
#define JSON_BLOCK 16u

struct block_bits {
    uint32_t stops; /* a bit for each quote, backslash and control character */
    uint32_t high;  /* a bit for each byte beyond ASCII */
};

static inline struct block_bits block_bits_at(const void *at)
{
#ifdef __SSE2__
    __m128i block = _mm_loadu_si128(at);
    __m128i quotes = _mm_cmpeq_epi8(block, _mm_set1_epi8('"'));
    __m128i escapes = _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'));
    __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    __m128i stops = _mm_or_si128(_mm_or_si128(quotes, escapes), controls);
    return (struct block_bits){(uint32_t)_mm_movemask_epi8(stops),
                               (uint32_t)_mm_movemask_epi8(block)};
#else
    struct block_bits bits = {0, 0};
    const uint8_t *bytes = at;
    for (uint32_t i = 0; i < JSON_BLOCK; i++) {
        bool stops = bytes[i] == '"' || bytes[i] == '\\' || bytes[i] < 0x20;
        bits.stops |= (uint32_t)stops << i;
        bits.high |= (uint32_t)(bytes[i] >> 7) << i;
    }
    return bits;
#endif
}

static inline uint32_t digit_at(const char *at)
{
    return (uint32_t)(uint8_t)*at - '0';
}

/* mantissa * 10^exponent, correctly rounded; infinite where it is too large. */
double json_decimal_to_double(uint64_t mantissa, int64_t exponent);

#endif
