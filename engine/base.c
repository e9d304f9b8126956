/* base.c: the few words of base.h that need more than a line. */
#include "engine/base.h"

#include <stdio.h>

const char *status_name(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return "ok";
    case STATUS_END:
        return "end";
    case STATUS_INVALID:
        return "invalid";
    case STATUS_NOT_FOUND:
        return "not_found";
    case STATUS_EXISTS:
        return "exists";
    case STATUS_CONFLICT:
        return "conflict";
    case STATUS_TOO_LARGE:
        return "too_large";
    case STATUS_BUSY:
        return "busy";
    case STATUS_NO_MEMORY:
        return "no_memory";
    case STATUS_NO_SPACE:
        return "no_space";
    case STATUS_IO:
        return "io";
    case STATUS_DAMAGED:
        return "damaged";
    case STATUS_LOCKED:
        return "locked";
    case STATUS_UNAVAILABLE:
        return "unavailable";
    case STATUS_UNSUPPORTED:
        return "unsupported";
    }
    return "unknown";
}

enum status error_set(struct error *error, enum status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
        va_end(arguments);
    }
    return status;
}

struct uuid uuid_make(int64_t now_us, const uint8_t random[10])
{
    struct uuid uuid;
    /* A clock before 1970 must not set the bits of a far future. */
    uint64_t now_ms = now_us > 0 ? (uint64_t)now_us / 1000 : 0;
    for (size_t i = 0; i < 6; i++) {
        uuid.bytes[i] = (uint8_t)(now_ms >> (40 - 8 * i));
    }
    memcpy(uuid.bytes + 6, random, 10);
    uuid.bytes[6] = (uint8_t)(0x70 | (uuid.bytes[6] & 0x0f)); /* version 7 */
    uuid.bytes[8] = (uint8_t)(0x80 | (uuid.bytes[8] & 0x3f)); /* the variant of RFC 9562 */
    return uuid;
}

/* True where the text form has a dash instead of a digit. */
static bool uuid_dash_at(size_t at)
{
    return at == 8 || at == 13 || at == 18 || at == 23;
}

void uuid_format(const struct uuid *uuid, char out_text[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < sizeof(uuid->bytes); i++) {
        if (uuid_dash_at(at)) {
            out_text[at++] = '-';
        }
        out_text[at++] = digits[uuid->bytes[i] >> 4];
        out_text[at++] = digits[uuid->bytes[i] & 0x0f];
    }
    assert(at == UUID_TEXT_SIZE - 1);
    out_text[at] = '\0';
}

/* The value of a hexadecimal digit, or -1. */
static int digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

enum status uuid_parse(struct bytes text, struct uuid *out_uuid)
{
    struct uuid uuid;
    if (text.size != UUID_TEXT_SIZE - 1) {
        return STATUS_INVALID;
    }
    size_t at = 0;
    for (size_t i = 0; i < sizeof(uuid.bytes); i++) {
        if (uuid_dash_at(at) && text.data[at++] != '-') {
            return STATUS_INVALID;
        }
        int high = digit_value(text.data[at++]);
        int low = digit_value(text.data[at++]);
        if (high < 0 || low < 0) {
            return STATUS_INVALID;
        }
        uuid.bytes[i] = (uint8_t)(high * 16 + low);
    }
    *out_uuid = uuid;
    return STATUS_OK;
}
