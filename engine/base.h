/* base.h: the words that every module speaks: status, error text, borrowed bytes, assertions, checked arithmetic.
 *
 * Errors       A function that can fail returns enum status. Cold functions (open, recover, load) also fill a
 *              struct error with one line for a person. Library code never prints.
 * Assertions   A broken promise of ours is an assert, and asserts stay on in release builds. Bad input never is.
 * Outputs      come last, are named out_..., and are untouched on failure.
 */
#ifndef ASSAY_ENGINE_BASE_H
#define ASSAY_ENGINE_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define LIKELY(x)         __builtin_expect(!!(x), 1)
#define UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define COUNT_OF(array)   (sizeof(array) / sizeof((array)[0]))

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

enum status {
    STATUS_OK = 0,
    STATUS_END,         /* nothing more to read */
    STATUS_INVALID,     /* the input breaks a rule; the caller's to mend */
    STATUS_NOT_FOUND,
    STATUS_EXISTS,      /* a unique name is taken */
    STATUS_CONFLICT,    /* the thing changed since it was read */
    STATUS_TOO_LARGE,   /* beyond a limit of limits.h */
    STATUS_BUSY,        /* a bounded queue is full: try again later */
    STATUS_NO_MEMORY,
    STATUS_NO_SPACE,    /* the disk is full; nothing was lost */
    STATUS_IO,          /* the disk failed */
    STATUS_DAMAGED,     /* bytes on disk are not what was written */
    STATUS_LOCKED,      /* another process has the directory */
    STATUS_UNAVAILABLE, /* the log is poisoned or closing: no more writes in this process */
    STATUS_UNSUPPORTED, /* this kernel, filesystem or format version cannot do it */
};

/* The name of a status, for traces. Never NULL. */
const char *status_name(enum status status);

struct error {
    char text[512];
};

/* Fills the text (cut at the end if long) and returns status, so that a caller can write
 * `return error_set(error, STATUS_DAMAGED, "...")`. error may be NULL. */
enum status error_set(struct error *error, enum status status, const char *format, ...) PRINTF_LIKE(3, 4);

/* Borrowed memory: whoever made it owns it. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){(const uint8_t *)data, size};
}

static inline struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool bytes_equal_text(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_of_text(text));
}

/* 16 bytes that name a thing: RFC 9562 version 7 for whatever assay makes itself. */
struct uuid {
    uint8_t bytes[16];
};

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

#define UUID_TEXT_SIZE 37 /* with the terminating NUL */

/* Version 7: 48 bits of unix milliseconds, then 74 random bits taken from `random`. */
struct uuid uuid_make(int64_t now_us, const uint8_t random[10]);
void uuid_format(const struct uuid *uuid, char out_text[UUID_TEXT_SIZE]);
/* Accepts the 36-character form in either case; anything else is STATUS_INVALID. */
MUST_USE enum status uuid_parse(struct bytes text, struct uuid *out_uuid);

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* |value|, right for INT64_MIN too. */
static inline uint64_t magnitude_of(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

static inline uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* Little-endian loads and stores: every format on disk is little-endian, written and read through these. */
static inline uint16_t load_u16(const void *from)
{
    uint16_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint32_t load_u32(const void *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline uint64_t load_u64(const void *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof(value));
    return value;
}

static inline void store_u16(void *to, uint16_t value)
{
    memcpy(to, &value, sizeof(value));
}

static inline void store_u32(void *to, uint32_t value)
{
    memcpy(to, &value, sizeof(value));
}

static inline void store_u64(void *to, uint64_t value)
{
    memcpy(to, &value, sizeof(value));
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the loads and stores above are plain copies");

#endif
