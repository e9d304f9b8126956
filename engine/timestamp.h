/* timestamp.h: instants as signed 64-bit microseconds since 1970 UTC, days as signed 32-bit counts since 1970.
 *
 * Text is RFC 3339; the proleptic Gregorian calendar, no leap seconds (second 60 is refused). Pure; any thread.
 */
#ifndef ASSAY_ENGINE_TIMESTAMP_H
#define ASSAY_ENGINE_TIMESTAMP_H

#include "engine/base.h"

#define MICROSECONDS_PER_DAY 86400000000ll
#define MICROSECONDS_PER_HOUR 3600000000ll
#define TIMESTAMP_TEXT_SIZE  32

/* "2026-01-01T10:00:00Z", with up to 9 digits of fraction (cut to microseconds) and any numeric offset. Years 1970 to
 * 9999. Anything else is STATUS_INVALID. */
MUST_USE enum status timestamp_parse(struct bytes text, int64_t *out_us);
/* "2026-01-01T10:00:00.000Z": milliseconds, or microseconds where they are not zero. */
void timestamp_format(int64_t us, char out_text[TIMESTAMP_TEXT_SIZE]);

/* "2026-01-01" */
MUST_USE enum status day_parse(struct bytes text, int32_t *out_day);
void day_format(int32_t day, char out_text[TIMESTAMP_TEXT_SIZE]);

static inline int32_t day_of(int64_t us)
{
    int64_t day = us / MICROSECONDS_PER_DAY;
    return (int32_t)(us % MICROSECONDS_PER_DAY < 0 ? day - 1 : day);
}

#endif
