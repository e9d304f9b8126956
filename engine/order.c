/* order.c: see order.h. Both orders read texts from the left, in place. */
#include "engine/order.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/limits.h"

/* ---- Scanning ---- */

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Takes the leading bytes that belong. */
static struct bytes take_while(struct bytes *text, bool (*belongs)(uint8_t))
{
    size_t size = 0;
    while (size < text->size && belongs(text->data[size])) {
        size++;
    }
    struct bytes taken = bytes_of(text->data, size);
    *text = bytes_of(text->data + size, text->size - size);
    return taken;
}

static bool take_byte(struct bytes *text, uint8_t byte)
{
    if (text->size == 0 || text->data[0] != byte) {
        return false;
    }
    *text = bytes_of(text->data + 1, text->size - 1);
    return true;
}

static struct bytes without_zeros(struct bytes digits)
{
    while (digits.size > 1 && digits.data[0] == '0') {
        digits = bytes_of(digits.data + 1, digits.size - 1);
    }
    return digits;
}

static int sign_of(int value)
{
    return (value > 0) - (value < 0);
}

/* ---- Decimals ---- */

#define EXPONENT_DIGITS_MAX 9u
/* Below this doubles lie closer together than millionths: each is the nearest to one count of them at most. */
#define MILLIONTHS_DOUBLE_MAX 0x1p33
/* "-1.7976931348623157e+308", and "-9223372036854.775808" */
#define NUMBER_TEXT_SIZE 48u

/* A number as its digits, from the first that is not 0. */
struct decimal {
    int sign;            /* -1, 0, 1 */
    int64_t magnitude;   /* the power of ten of the first digit */
    struct bytes digits; /* perhaps with the point among them */
};

static bool is_equal(double a, double b)
{
    return a <= b && a >= b;
}

bool decimal_is_number(const struct pack_value *value)
{
    return value->type == PACK_INT || value->type == PACK_UINT || value->type == PACK_DOUBLE ||
           value->type == PACK_MILLIONTHS;
}

/* What most numbers are: a whole count of millionths. False for others, which go through their text. */
static bool millionths_of(const struct pack_value *value, int128 *out_millionths)
{
    if (value->type == PACK_INT) {
        *out_millionths = (int128)value->as.integer * METRIC_UNIT;
        return true;
    }
    if (value->type == PACK_UINT) {
        *out_millionths = (int128)value->as.natural * METRIC_UNIT;
        return true;
    }
    if (value->type == PACK_MILLIONTHS) {
        *out_millionths = value->as.integer;
        return true;
    }
    if (value->type != PACK_DOUBLE) {
        return false;
    }
    const double number = value->as.number;
    if (fabs(number) < 0x1p64 && is_equal(trunc(number), number)) {
        *out_millionths = (int128)number * METRIC_UNIT;
        return true;
    }
    if (!(fabs(number) < MILLIONTHS_DOUBLE_MAX)) {
        return false;
    }
    const double rounded = round(number * (double)METRIC_UNIT);
    if (!is_equal(rounded / (double)METRIC_UNIT, number)) {
        return false;
    }
    *out_millionths = (int128)rounded;
    return true;
}

/* The shortest decimal that reads back as the same double: 15 digits hold any that was written with so many, 17 all. */
static struct bytes double_write(double number, char text[NUMBER_TEXT_SIZE])
{
    int size = 0;
    for (int digits = 15; digits <= 17; digits++) {
        size = snprintf(text, NUMBER_TEXT_SIZE, "%.*e", digits - 1, number);
        if (is_equal(strtod(text, NULL), number)) {
            break;
        }
    }
    return bytes_of(text, (size_t)size);
}

static struct bytes number_write(const struct pack_value *value, char text[NUMBER_TEXT_SIZE])
{
    int128 millionths = 0;
    if (!millionths_of(value, &millionths)) {
        return double_write(value->as.number, text);
    }
    const uint128 magnitude = (uint128)(millionths < 0 ? -millionths : millionths);
    const int size = snprintf(text, NUMBER_TEXT_SIZE, "%s%llu.%06llu", millionths < 0 ? "-" : "",
                              (unsigned long long)(magnitude / (uint128)METRIC_UNIT),
                              (unsigned long long)(magnitude % (uint128)METRIC_UNIT));
    return bytes_of(text, (size_t)size);
}

/* The part behind the mantissa: none, or "e-7". */
static bool exponent_read(struct bytes text, int64_t *out_exponent)
{
    int64_t exponent = 0;
    if (text.size > 0) {
        if (!take_byte(&text, 'e') && !take_byte(&text, 'E')) {
            return false;
        }
        const bool is_negative = take_byte(&text, '-');
        if (!is_negative) {
            (void)take_byte(&text, '+');
        }
        const struct bytes digits = without_zeros(take_while(&text, is_digit));
        if (digits.size == 0 || digits.size > EXPONENT_DIGITS_MAX || text.size > 0) {
            return false;
        }
        for (size_t i = 0; i < digits.size; i++) {
            exponent = exponent * 10 + (digits.data[i] - '0');
        }
        exponent = is_negative ? -exponent : exponent;
    }
    *out_exponent = exponent;
    return true;
}

static bool decimal_read(struct bytes text, struct decimal *out_decimal)
{
    int64_t exponent = 0;
    const bool is_negative = take_byte(&text, '-');
    const uint8_t *mantissa = text.data;
    const struct bytes whole = take_while(&text, is_digit);
    if (whole.size == 0 || (whole.size > 1 && whole.data[0] == '0')) {
        return false;
    }
    if (take_byte(&text, '.') && take_while(&text, is_digit).size == 0) {
        return false;
    }
    struct bytes digits = bytes_of(mantissa, (size_t)(text.data - mantissa));
    if (!exponent_read(text, &exponent)) {
        return false;
    }
    int64_t magnitude = exponent + (int64_t)whole.size - 1;
    while (digits.size > 0 && (digits.data[0] == '0' || digits.data[0] == '.')) {
        magnitude -= digits.data[0] == '0' ? 1 : 0;
        digits = bytes_of(digits.data + 1, digits.size - 1);
    }
    const int sign = is_negative ? -1 : 1;
    *out_decimal = (struct decimal){digits.size == 0 ? 0 : sign, magnitude, digits};
    return true;
}

static bool decimal_of(const struct pack_value *value, char text[NUMBER_TEXT_SIZE],
                       struct decimal *out_decimal)
{
    if (value->type == PACK_TEXT) {
        return decimal_read(value->as.bytes, out_decimal);
    }
    if (!decimal_is_number(value) || (value->type == PACK_DOUBLE && !isfinite(value->as.number))) {
        return false;
    }
    return decimal_read(number_write(value, text), out_decimal);
}

/* Behind the last digit are zeros. */
static uint8_t digit_take(struct bytes *digits)
{
    (void)take_byte(digits, '.');
    if (digits->size == 0) {
        return '0';
    }
    const uint8_t digit = digits->data[0];
    *digits = bytes_of(digits->data + 1, digits->size - 1);
    return digit;
}

static int decimal_order(const struct decimal *a, const struct decimal *b)
{
    if (a->sign != b->sign || a->sign == 0) {
        return (a->sign > b->sign) - (a->sign < b->sign);
    }
    if (a->magnitude != b->magnitude) {
        return a->magnitude > b->magnitude ? a->sign : -a->sign;
    }
    struct bytes left = a->digits;
    struct bytes right = b->digits;
    while (left.size > 0 || right.size > 0) {
        const uint8_t left_digit = digit_take(&left);
        const uint8_t right_digit = digit_take(&right);
        if (left_digit != right_digit) {
            return left_digit > right_digit ? a->sign : -a->sign;
        }
    }
    return 0;
}

bool decimal_compare(const struct pack_value *a, const struct pack_value *b, int *out_order)
{
    int128 left_millionths = 0;
    int128 right_millionths = 0;
    if (millionths_of(a, &left_millionths) && millionths_of(b, &right_millionths)) {
        *out_order = (left_millionths > right_millionths) - (left_millionths < right_millionths);
        return true;
    }
    char left_text[NUMBER_TEXT_SIZE];
    char right_text[NUMBER_TEXT_SIZE];
    struct decimal left;
    struct decimal right;
    if (!decimal_of(a, left_text, &left) || !decimal_of(b, right_text, &right)) {
        return false;
    }
    *out_order = decimal_order(&left, &right);
    return true;
}

/* ---- Versions ---- */

struct semver {
    struct bytes numbers[3];
    struct bytes prerelease; /* empty where none */
};

static bool is_identifier(uint8_t byte)
{
    return is_digit(byte) || byte == '-' || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z');
}

/* Identifiers with dots between: the whole of them. False where one is empty. */
static bool take_identifiers(struct bytes *text, struct bytes *out_identifiers)
{
    const uint8_t *start = text->data;
    do {
        if (take_while(text, is_identifier).size == 0) {
            return false;
        }
    } while (take_byte(text, '.'));
    *out_identifiers = bytes_of(start, (size_t)(text->data - start));
    return true;
}

static bool semver_read(struct bytes text, struct semver *out_version)
{
    struct bytes build;
    struct semver version = {.prerelease = bytes_of("", 0)};
    for (uint32_t i = 0; i < COUNT_OF(version.numbers); i++) {
        version.numbers[i] = bytes_of("0", 1);
    }
    if (!take_byte(&text, 'v')) {
        (void)take_byte(&text, 'V');
    }
    uint32_t count = 0;
    do {
        struct bytes digits = take_while(&text, is_digit);
        if (digits.size == 0 || count == COUNT_OF(version.numbers)) {
            return false;
        }
        version.numbers[count++] = without_zeros(digits);
    } while (take_byte(&text, '.'));
    if (take_byte(&text, '-') && !take_identifiers(&text, &version.prerelease)) {
        return false;
    }
    if (take_byte(&text, '+') && !take_identifiers(&text, &build)) {
        return false;
    }
    *out_version = version;
    return text.size == 0;
}

/* Digits of any length without leading zeros: the longer number is the larger. */
static int digits_compare(struct bytes a, struct bytes b)
{
    if (a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return sign_of(memcmp(a.data, b.data, a.size));
}

static int text_compare(struct bytes a, struct bytes b)
{
    int order = sign_of(memcmp(a.data, b.data, size_min(a.size, b.size)));
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static bool all_digits(struct bytes text)
{
    return take_while(&text, is_digit).size > 0 && text.size == 0;
}

/* Numeric identifiers compare as numbers and are below the others. */
static int identifier_compare(struct bytes a, struct bytes b)
{
    bool a_is_number = all_digits(a);
    bool b_is_number = all_digits(b);
    if (a_is_number != b_is_number) {
        return a_is_number ? -1 : 1;
    }
    return a_is_number ? digits_compare(without_zeros(a), without_zeros(b)) : text_compare(a, b);
}

/* A release is above its pre-releases; of two pre-releases the first identifier that differs decides, then the count. */
static int prerelease_compare(struct bytes a, struct bytes b)
{
    if (a.size == 0 || b.size == 0) {
        return (a.size == 0) - (b.size == 0);
    }
    while (a.size > 0 && b.size > 0) {
        int order =
            identifier_compare(take_while(&a, is_identifier), take_while(&b, is_identifier));
        if (order != 0) {
            return order;
        }
        (void)take_byte(&a, '.');
        (void)take_byte(&b, '.');
    }
    return (a.size > 0) - (b.size > 0);
}

bool semver_compare(struct bytes a, struct bytes b, int *out_order)
{
    struct semver left;
    struct semver right;
    if (!semver_read(a, &left) || !semver_read(b, &right)) {
        return false;
    }
    int order = 0;
    for (uint32_t i = 0; order == 0 && i < COUNT_OF(left.numbers); i++) {
        order = digits_compare(left.numbers[i], right.numbers[i]);
    }
    *out_order = order != 0 ? order : prerelease_compare(left.prerelease, right.prerelease);
    return true;
}
