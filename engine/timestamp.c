/* timestamp.c: the calendar in integers. Years are counted from March, so that the leap day is the
 * last of its year and a month's first day is a straight line in the month's number. */
#include "engine/timestamp.h"

#define YEAR_MIN                1970
#define YEAR_MAX                9999
#define DAYS_PER_ERA            146097 /* 400 Gregorian years */
#define DAYS_TO_EPOCH           719468 /* from 1 March of the year 0 to 1 January 1970 */
#define MICROSECONDS_PER_SECOND 1000000ll

struct civil {
    int64_t year;
    uint32_t month; /* 1 to 12 */
    uint32_t day;   /* 1 to 31 */
};

static int64_t floor_divide(int64_t value, int64_t unit)
{
    int64_t quotient = value / unit;
    return value % unit < 0 ? quotient - 1 : quotient;
}

/* year >= 0 */
static int64_t days_from_civil(struct civil date)
{
    int64_t year = date.month > 2 ? date.year : date.year - 1;
    int64_t month = date.month > 2 ? (int64_t)date.month - 3 : (int64_t)date.month + 9;
    int64_t era = floor_divide(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * month + 2) / 5 + (int64_t)date.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH;
}

static struct civil civil_from_days(int64_t day)
{
    int64_t shifted = day + DAYS_TO_EPOCH;
    int64_t era = floor_divide(shifted, DAYS_PER_ERA);
    int64_t day_of_era = shifted - era * DAYS_PER_ERA;
    /* Take the leap days out, then years are 365 days each. */
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    int64_t year = era * 400 + year_of_era;
    return (struct civil){
        .year = month < 10 ? year : year + 1,
        .month = (uint32_t)(month < 10 ? month + 3 : month - 9),
        .day = (uint32_t)(day_of_year - (153 * month + 2) / 5 + 1),
    };
}

static uint32_t month_length(int64_t year, uint32_t month)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && is_leap ? 29 : lengths[month - 1];
}

/* The number that two digits spell, or 100 and more where they are no digits. */
static uint32_t two_digits(const uint8_t *at)
{
    uint32_t tens = (uint32_t)at[0] - '0';
    uint32_t ones = (uint32_t)at[1] - '0';
    return tens <= 9 && ones <= 9 ? tens * 10 + ones : 100;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* The ten characters of a date. */
static bool date_read(const uint8_t *at, int64_t *out_day)
{
    uint32_t century = two_digits(at);
    uint32_t year_of_century = two_digits(at + 2);
    struct civil date = {.month = two_digits(at + 5), .day = two_digits(at + 8)};
    date.year = (int64_t)century * 100 + year_of_century;
    if (century > 99 || year_of_century > 99 || at[4] != '-' || at[7] != '-') {
        return false;
    }
    if (date.year < YEAR_MIN || date.month < 1 || date.month > 12 || date.day < 1 ||
        date.day > month_length(date.year, date.month)) {
        return false;
    }
    *out_day = days_from_civil(date);
    return true;
}

/* The eight characters of a time of day, in seconds. */
static bool clock_read(const uint8_t *at, int64_t *out_seconds)
{
    uint32_t hour = two_digits(at);
    uint32_t minute = two_digits(at + 3);
    uint32_t second = two_digits(at + 6);
    if (hour > 23 || minute > 59 || second > 59 || at[2] != ':' || at[5] != ':') {
        return false;
    }
    *out_seconds = (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
    return true;
}

/* An optional fraction: 1 to 9 digits behind a point. Digits past the sixth are cut off. */
static bool fraction_read(const uint8_t **at, const uint8_t *end, int64_t *out_us)
{
    static const int64_t scale[7] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    int64_t value = 0;
    size_t digits = 0;
    if (*at < end && **at == '.') {
        const uint8_t *digit = *at + 1;
        for (; digit < end && is_digit(*digit); digit++, digits++) {
            value = digits < 6 ? value * 10 + (*digit - '0') : value;
        }
        if (digits < 1 || digits > 9) {
            return false;
        }
        *at = digit;
    }
    *out_us = value * scale[digits < 6 ? digits : 6];
    return true;
}

/* "Z" or "+hh:mm", which must be all that is left, in seconds east of UTC. */
static bool offset_read(const uint8_t *at, const uint8_t *end, int64_t *out_seconds)
{
    if (end - at == 1 && (*at == 'Z' || *at == 'z')) {
        *out_seconds = 0;
        return true;
    }
    if (end - at != 6 || (*at != '+' && *at != '-') || at[3] != ':') {
        return false;
    }
    uint32_t hour = two_digits(at + 1);
    uint32_t minute = two_digits(at + 4);
    if (hour > 23 || minute > 59) {
        return false;
    }
    int64_t seconds = (int64_t)hour * 3600 + (int64_t)minute * 60;
    *out_seconds = *at == '+' ? seconds : -seconds;
    return true;
}

enum status timestamp_parse(struct bytes text, int64_t *out_us)
{
    /* The shortest is "2026-01-01T10:00:00Z". */
    if (text.size < 20) {
        return STATUS_INVALID;
    }
    const uint8_t *at = text.data + 19;
    const uint8_t *end = text.data + text.size;
    int64_t day = 0;
    int64_t clock = 0;
    int64_t fraction = 0;
    int64_t offset = 0;
    if ((text.data[10] != 'T' && text.data[10] != 't') || !date_read(text.data, &day) ||
        !clock_read(text.data + 11, &clock) || !fraction_read(&at, end, &fraction) ||
        !offset_read(at, end, &offset)) {
        return STATUS_INVALID;
    }
    int64_t us = day * MICROSECONDS_PER_DAY + (clock - offset) * MICROSECONDS_PER_SECOND + fraction;
    /* An offset can carry the instant over either edge of the calendar. */
    static const struct civil first_refused = {YEAR_MAX + 1, 1, 1};
    if (us < 0 || us >= days_from_civil(first_refused) * MICROSECONDS_PER_DAY) {
        return STATUS_INVALID;
    }
    *out_us = us;
    return STATUS_OK;
}

static char *put_digits(char *at, uint64_t value, size_t digits)
{
    for (size_t i = digits; i > 0; i--) {
        at[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + digits;
}

/* Years that four digits cannot hold get a sign and seven digits: no text is ever wrong or cut. */
static char *put_date(char *at, int64_t day)
{
    struct civil date = civil_from_days(day);
    if (date.year >= 0 && date.year <= YEAR_MAX) {
        at = put_digits(at, (uint64_t)date.year, 4);
    } else {
        *at++ = date.year < 0 ? '-' : '+';
        at = put_digits(at, (uint64_t)(date.year < 0 ? -date.year : date.year), 7);
    }
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    return put_digits(at, date.day, 2);
}

void timestamp_format(int64_t us, char out_text[TIMESTAMP_TEXT_SIZE])
{
    int64_t day = floor_divide(us, MICROSECONDS_PER_DAY);
    int64_t remainder = us % MICROSECONDS_PER_DAY;
    int64_t in_day = remainder < 0 ? remainder + MICROSECONDS_PER_DAY : remainder;
    uint64_t seconds = (uint64_t)(in_day / MICROSECONDS_PER_SECOND);
    uint64_t fraction = (uint64_t)(in_day % MICROSECONDS_PER_SECOND);
    char *at = put_date(out_text, day);
    *at++ = 'T';
    at = put_digits(at, seconds / 3600, 2);
    *at++ = ':';
    at = put_digits(at, seconds / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, seconds % 60, 2);
    *at++ = '.';
    at = fraction % 1000 != 0 ? put_digits(at, fraction, 6) : put_digits(at, fraction / 1000, 3);
    *at++ = 'Z';
    *at = '\0';
}

enum status day_parse(struct bytes text, int32_t *out_day)
{
    int64_t day = 0;
    if (text.size != 10 || !date_read(text.data, &day)) {
        return STATUS_INVALID;
    }
    *out_day = (int32_t)day;
    return STATUS_OK;
}

void day_format(int32_t day, char out_text[TIMESTAMP_TEXT_SIZE])
{
    *put_date(out_text, day) = '\0';
}
