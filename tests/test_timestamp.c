/* test_timestamp.c: the calendar against the C library's, day by day; the grammar by tables. */
#include "engine/timestamp.h"

#include <criterion/criterion.h>
#include <time.h>

#define SECOND 1000000ll

static struct bytes text_of(const char *text)
{
    return bytes_of_text(text);
}

Test(timestamp, reads_what_rfc_3339_allows)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z",           0                             },
        {"1970-01-01t00:00:00z",           0                             },
        {"1970-01-01T00:00:00.000001Z",    1                             },
        {"2026-01-01T10:00:00Z",           1767261600 * SECOND           },
        {"2026-01-01T10:00:00.5Z",         1767261600 * SECOND + 500000  },
        {"2026-01-01T10:00:00.123456Z",    1767261600 * SECOND + 123456  },
        {"2026-01-01T10:00:00.123456789Z", 1767261600 * SECOND + 123456  },
        {"2026-01-01T10:00:00.000000999Z", 1767261600 * SECOND           },
        {"2026-01-01T12:30:00+02:30",      1767261600 * SECOND           },
        {"2026-01-01T00:00:00-10:00",      1767261600 * SECOND           },
        {"2025-12-31T10:01:00-23:59",      1767261600 * SECOND           },
        {"2026-01-01T10:00:00-00:00",      1767261600 * SECOND           },
        {"2000-02-29T23:59:59Z",           951868799 * SECOND            },
        {"2100-02-28T00:00:00Z",           4107456000 * SECOND           },
        {"9999-12-31T23:59:59.999999Z",    253402300799 * SECOND + 999999},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t us = -1;
        cr_assert_eq(timestamp_parse(text_of(cases[i].text), &us), STATUS_OK, "%s", cases[i].text);
        cr_assert_eq(us, cases[i].us, "%s: %lld", cases[i].text, (long long)us);
    }
}

Test(timestamp, refuses_everything_else)
{
    static const char *const cases[] = {
        "",
        "2026",
        "2026-01-01",
        "2026-01-01T10:00Z",
        "2026-01-01T10:00:00",
        "2026-01-01T10:00:00 Z",
        " 2026-01-01T10:00:00Z",
        "2026-01-01T10:00:00Z ",
        "2026-01-01 10:00:00Z",
        "2026-01-01T10:00:00ZZ",
        "2026-01-01T10:00:00.Z",
        "2026-01-01T10:00:00,5Z",
        "2026-01-01T10:00:00.1234567890Z",
        "2026-01-01T10:00:00.5",
        "2026-01-01T10:00:00.5x",
        "2026-01-01T10:00:60Z",
        "2026-01-01T10:60:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-00T10:00:00Z",
        "2026-01-32T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2100-02-29T10:00:00Z",
        "2026-04-31T10:00:00Z",
        "2026-00-01T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-1-01T10:00:00ZZ",
        "2O26-01-01T10:00:00Z",
        "+026-01-01T10:00:00Z",
        "2026/01/01T10:00:00Z",
        "2026-01-01T10.00.00Z",
        "2026-01-01T10:00:00+0200",
        "2026-01-01T10:00:00+02",
        "2026-01-01T10:00:00+24:00",
        "2026-01-01T10:00:00+02:60",
        "2026-01-01T10:00:00+02-00",
        "2026-01-01T10:00:00+02:000",
        "1969-12-31T23:59:59Z",
        "1969-12-31T23:30:00-01:00",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t us = 42;
        cr_assert_eq(timestamp_parse(text_of(cases[i]), &us), STATUS_INVALID, "%s", cases[i]);
        cr_assert_eq(us, 42, "%s: touched", cases[i]);
    }
}

Test(timestamp, every_single_byte_change_is_refused_or_means_what_it_says)
{
    const char *good = "2026-03-04T05:06:07.891Z";
    size_t size = strlen(good);
    for (size_t place = 0; place < size; place++) {
        for (int byte = 0; byte < 256; byte++) {
            char text[32];
            memcpy(text, good, size);
            text[place] = (char)byte;
            int64_t us;
            if (timestamp_parse(bytes_of(text, size), &us) == STATUS_OK) {
                char again[TIMESTAMP_TEXT_SIZE];
                timestamp_format(us, again);
                text[10] = 'T';
                text[size - 1] = 'Z';
                cr_assert_eq(memcmp(again, text, size), 0, "%s of %.*s", again, (int)size, text);
            }
        }
    }
}

Test(timestamp, prefixes_are_refused)
{
    const char *good = "2026-03-04T05:06:07.891234+01:30";
    int64_t us;
    for (size_t size = 0; size < strlen(good); size++) {
        char *exact = malloc(size + 1); /* so that the sanitizer sees a read too far */
        memcpy(exact, good, size);
        cr_assert_eq(timestamp_parse(bytes_of(exact, size), &us), STATUS_INVALID, "%zu", size);
        free(exact);
    }
}

Test(timestamp, days_agree_with_the_c_library)
{
    for (int32_t day = 0; day < 2932897; day++) { /* to the end of 9999 */
        time_t seconds = (time_t)day * 86400;
        struct tm civil;
        char expected[32];
        char text[TIMESTAMP_TEXT_SIZE];
        int32_t back = -1;
        gmtime_r(&seconds, &civil);
        strftime(expected, sizeof(expected), "%Y-%m-%d", &civil);
        day_format(day, text);
        if (strcmp(text, expected) != 0 || day_parse(text_of(text), &back) != STATUS_OK ||
            back != day) {
            cr_assert_fail("day %d is %s, not %s; read as %d", day, expected, text, back);
        }
    }
}

Test(timestamp, instants_survive_text)
{
    uint64_t state = 1;
    for (int i = 0; i < 200000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        int64_t us = (int64_t)((state >> 6) % (2932897ull * 86400000000ull));
        if (i % 2 == 0) {
            us -= us % 1000;
        }
        char text[TIMESTAMP_TEXT_SIZE];
        int64_t back = -1;
        timestamp_format(us, text);
        cr_assert_eq(strlen(text), us % 1000 == 0 ? 24 : 27);
        if (timestamp_parse(text_of(text), &back) != STATUS_OK || back != us) {
            cr_assert_fail("%lld is %s is %lld", (long long)us, text, (long long)back);
        }
    }
}

Test(timestamp, formats_any_instant_within_the_buffer)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0,                          "1970-01-01T00:00:00.000Z"       },
        {-1,                         "1969-12-31T23:59:59.999999Z"    },
        {-MICROSECONDS_PER_DAY,      "1969-12-31T00:00:00.000Z"       },
        {1767261600 * SECOND + 1000, "2026-01-01T10:00:00.001Z"       },
        {1767261600 * SECOND + 1,    "2026-01-01T10:00:00.000001Z"    },
        {-62167219200 * SECOND,      "0000-01-01T00:00:00.000Z"       },
        {-62167219201 * SECOND,      "-0000001-12-31T23:59:59.000Z"   },
        {253402300800 * SECOND,      "+0010000-01-01T00:00:00.000Z"   },
        {INT64_MAX,                  "+0294247-01-10T04:00:54.775807Z"},
        {INT64_MIN,                  "-0290308-12-21T19:59:05.224192Z"},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[TIMESTAMP_TEXT_SIZE];
        timestamp_format(cases[i].us, text);
        cr_assert_str_eq(text, cases[i].text);
    }
}

Test(timestamp, day_texts_are_exact)
{
    static const char *const bad[] = {"",           "2026-01-1",   "2026-01-011", "2026-02-30",
                                      "1969-12-31", "2026-01-01T", "2026 01 01",  "20260-1-01"};
    int32_t day = 42;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        cr_assert_eq(day_parse(text_of(bad[i]), &day), STATUS_INVALID, "%s", bad[i]);
        cr_assert_eq(day, 42);
    }
    char text[TIMESTAMP_TEXT_SIZE];
    day_format(INT32_MAX, text);
    cr_assert_str_eq(text, "+5881580-07-11");
    day_format(INT32_MIN, text);
    cr_assert_str_eq(text, "-5877641-06-23");
}

Test(timestamp, day_of_rounds_down)
{
    cr_assert_eq(day_of(0), 0);
    cr_assert_eq(day_of(-1), -1);
    cr_assert_eq(day_of(-MICROSECONDS_PER_DAY), -1);
    cr_assert_eq(day_of(-MICROSECONDS_PER_DAY - 1), -2);
    cr_assert_eq(day_of(MICROSECONDS_PER_DAY - 1), 0);
    cr_assert_eq(day_of(MICROSECONDS_PER_DAY), 1);
}
