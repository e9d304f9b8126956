/* test_json.c: what RFC 8259 allows is read exactly, whatever else is refused with the right code at the right byte; and
 * what is written reads back as the same.
 *
 * Every text is put where its padding ends with the allocation, and read with several paddings that would change its
 * meaning if they were taken for part of it.
 */
#include "api/json.h"

#include <criterion/criterion.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <msgpack.h>
#include <time.h>

#include "engine/limits.h"

#define TEXT(literal) literal, sizeof(literal) - 1

struct outcome {
    const char *fault; /* NULL: read */
    size_t offset;
    const char *json; /* written again, in the arena */
    struct bytes pack;
};

static struct arena arena;
static struct arena scratch;

static void setup(void)
{
    arena_init(&arena, 65536);
    arena_init(&scratch, 256);
}

static void teardown(void)
{
    arena_deinit(&arena);
    arena_deinit(&scratch);
}

TestSuite(json, .init = setup, .fini = teardown);

/* A copy with JSON_PADDING bytes of `padding` behind it, and nothing readable behind those. */
static char *padded_copy(const char *text, size_t size, int padding)
{
    char *copy = malloc(size + JSON_PADDING);
    memcpy(copy, text, size);
    memset(copy + size, padding, JSON_PADDING);
    return copy;
}

static struct outcome read_once(const char *text, size_t size, int padding)
{
    char *copy = padded_copy(text, size, padding);
    size_t capacity = 8 * size + 64;
    struct pack_writer writer = pack_writer_on(arena_take(&arena, capacity), capacity);
    struct json_reader reader = json_reader_on(copy, size);
    struct outcome outcome = {0};
    bool done = json_transcode(&reader, &scratch, &writer) && json_at_end(&reader);
    cr_assert_eq(done, reader.fault == NULL);
    cr_assert(!writer.overflow);
    cr_assert(scratch.used == 0, "nothing stays in the scratch arena");
    outcome.fault = reader.fault;
    outcome.offset = reader.fault_offset;
    if (done) {
        outcome.pack = bytes_of(writer.data, writer.size);
        cr_assert(pack_check(outcome.pack));
        struct json_writer json = json_writer_in(&arena);
        cr_assert(json_pack(&json, outcome.pack));
        outcome.json = arena_copy(&arena, bytes_of(json.text, json.size));
    } else {
        cr_assert_not_null(reader.message);
        struct bytes string;
        struct pack_value number;
        bool first = true;
        cr_assert_eq(json_peek(&reader), '\0', "every later read fails");
        cr_assert(!json_read_string(&reader, &scratch, &string));
        cr_assert(!json_read_number(&reader, &number));
        cr_assert(!json_skip(&reader, &scratch));
        cr_assert(!json_enter_array(&reader));
        cr_assert(!json_next_item(&reader, &first));
        cr_assert(!json_take_null(&reader));
        cr_assert(!json_at_end(&reader));
        cr_assert_eq(reader.fault, outcome.fault, "the first fault stays");
        cr_assert_eq(reader.fault_offset, outcome.offset);
    }
    free(copy);
    return outcome;
}

static struct outcome read_text(const char *text, size_t size)
{
    static const unsigned char paddings[] = {'\0', '"', '9', '}', ']', ' ', 'e', '\\', 0xff};
    struct outcome first = read_once(text, size, paddings[0]);
    for (size_t i = 1; i < sizeof(paddings); i++) {
        struct outcome other = read_once(text, size, paddings[i]);
        cr_assert_eq(other.fault, first.fault, "%.*s: padding 0x%02x", (int)size, text,
                     paddings[i]);
        cr_assert_eq(other.offset, first.offset, "%.*s: padding 0x%02x", (int)size, text,
                     paddings[i]);
        cr_assert(first.fault != NULL || bytes_equal(first.pack, other.pack));
    }
    return first;
}

/* ---- What is accepted ---- */

static const struct {
    const char *text;
    size_t size;
    const char *json;
} accepted[] = {
  /* literals and white space */
    {TEXT("null"),                                                      "null"                                    },
    {TEXT("true"),                                                      "true"                                    },
    {TEXT("false"),                                                     "false"                                   },
    {TEXT(" null"),                                                     "null"                                    },
    {TEXT("null "),                                                     "null"                                    },
    {TEXT("\t\r\n true \n\r\t"),                                        "true"                                    },
    {TEXT("                                        1"),                 "1"                                       },
 /* integers */
    {TEXT("0"),                                                         "0"                                       },
    {TEXT("-0"),                                                        "0"                                       },
    {TEXT("7"),                                                         "7"                                       },
    {TEXT("-1"),                                                        "-1"                                      },
    {TEXT("127"),                                                       "127"                                     },
    {TEXT("128"),                                                       "128"                                     },
    {TEXT("255"),                                                       "255"                                     },
    {TEXT("256"),                                                       "256"                                     },
    {TEXT("65535"),                                                     "65535"                                   },
    {TEXT("65536"),                                                     "65536"                                   },
    {TEXT("4294967295"),                                                "4294967295"                              },
    {TEXT("4294967296"),                                                "4294967296"                              },
    {TEXT("12345678"),                                                  "12345678"                                },
    {TEXT("123456789"),                                                 "123456789"                               },
    {TEXT("1234567890123456"),                                          "1234567890123456"                        },
    {TEXT("1767225600000"),                                             "1767225600000"                           },
    {TEXT("9007199254740993"),                                          "9007199254740993"                        },
    {TEXT("9223372036854775807"),                                       "9223372036854775807"                     },
    {TEXT("9223372036854775808"),                                       "9223372036854775808"                     },
    {TEXT("10000000000000000000"),                                      "10000000000000000000"                    },
    {TEXT("18446744073709551615"),                                      "18446744073709551615"                    },
    {TEXT("-9223372036854775807"),                                      "-9223372036854775807"                    },
    {TEXT("-9223372036854775808"),                                      "-9223372036854775808"                    },
 /* integers beyond 64 bits are doubles */
    {TEXT("18446744073709551616"),                                      "1.8446744073709552e19"                   },
    {TEXT("99999999999999999999"),                                      "1e20"                                    },
    {TEXT("-9223372036854775809"),                                      "-9.223372036854776e18"                   },
    {TEXT("-18446744073709551615"),                                     "-1.8446744073709552e19"                  },
    {TEXT("123456789012345678901234567890"),                            "1.2345678901234568e29"                   },
    {TEXT("1000000000000000000000000000000"),                           "1e30"                                    },
 /* decimals */
    {TEXT("0.0"),                                                       "0.0"                                     },
    {TEXT("-0.0"),                                                      "-0.0"                                    },
    {TEXT("0.5"),                                                       "0.5"                                     },
    {TEXT("3.0"),                                                       "3.0"                                     },
    {TEXT("-3.0"),                                                      "-3.0"                                    },
    {TEXT("29.99"),                                                     "29.99"                                   },
    {TEXT("-29.99"),                                                    "-29.99"                                  },
    {TEXT("0.1"),                                                       "0.1"                                     },
    {TEXT("0.30000000000000000000000"),                                 "0.3"                                     },
    {TEXT("0.000001"),                                                  "0.000001"                                },
    {TEXT("0.0000001"),                                                 "1e-7"                                    },
    {TEXT("123456789.123456"),                                          "123456789.123456"                        },
    {TEXT("99999999.9999999"),                                          "99999999.9999999"                        },
    {TEXT("0.30000000000000004"),                                       "0.30000000000000004"                     },
    {TEXT("52.52000659999999"),                                         "52.52000659999999"                       },
    {TEXT("1234567890.12345"),                                          "1234567890.12345"                        },
 /* millionths: more than 15 digits, of which at most 6 decimals */
    {TEXT("1234567890.123456"),                                         "1234567890.123456"                       },
    {TEXT("9199999999999.123456"),                                      "9199999999999.123456"                    },
    {TEXT("-9199999999999.123456"),                                     "-9199999999999.123456"                   },
    {TEXT("9223372036854.775807"),                                      "9223372036854.775807"                    },
    {TEXT("-9223372036854.775807"),                                     "-9223372036854.775807"                   },
    {TEXT("9223372036854.775808"),                                      "9223372036854.775"                       }, /* one too many: a double */
    {TEXT("1234567890123456e-6"),                                       "1234567890.123456"                       },
    {TEXT("1.234567890123456e9"),                                       "1234567890.123456"                       },
    {TEXT("1234567890.123456000000000"),                                "1234567890.123456"                       },
    {TEXT("1234567890.1234560000000000000000000000"),                   "1234567890.123456"                       },
    {TEXT("1234567890.1234567"),                                        "1234567890.1234567"                      }, /* seven decimals: the nearest double */
  /* exponents */
    {TEXT("1e0"),                                                       "1.0"                                     },
    {TEXT("1E0"),                                                       "1.0"                                     },
    {TEXT("1e5"),                                                       "100000.0"                                },
    {TEXT("1e+5"),                                                      "100000.0"                                },
    {TEXT("1e-5"),                                                      "0.00001"                                 },
    {TEXT("1E-05"),                                                     "0.00001"                                 },
    {TEXT("1e00000000000000000000000000005"),                           "100000.0"                                },
    {TEXT("-1.5e3"),                                                    "-1500.0"                                 },
    {TEXT("0e0"),                                                       "0.0"                                     },
    {TEXT("0e999999999999999999999"),                                   "0.0"                                     },
    {TEXT("-0e-999999999999999999999"),                                 "-0.0"                                    },
    {TEXT("1e22"),                                                      "1e22"                                    },
    {TEXT("1e23"),                                                      "1e23"                                    },
    {TEXT("1e-22"),                                                     "1e-22"                                   },
    {TEXT("123e45"),                                                    "1.23e47"                                 },
    {TEXT("1e308"),                                                     "1e308"                                   },
    {TEXT("1.7976931348623157e308"),                                    "1.7976931348623157e308"                  },
    {TEXT("1.7976931348623158e308"),                                    "1.7976931348623157e308"                  },
    {TEXT("2.2250738585072014e-308"),                                   "2.2250738585072014e-308"                 },
    {TEXT("2.2250738585072011e-308"),                                   "2.225073858507201e-308"                  },
    {TEXT("4.9e-324"),                                                  "5e-324"                                  },
    {TEXT("5e-324"),                                                    "5e-324"                                  },
    {TEXT("2e-324"),                                                    "0.0"                                     },
    {TEXT("1e-400"),                                                    "0.0"                                     },
    {TEXT("-1e-99999999999999999999"),                                  "-0.0"                                    },
 /* strings */
    {TEXT("\"\""),                                                      "\"\""                                    },
    {TEXT("\"a\""),                                                     "\"a\""                                   },
    {TEXT("\"exactly 15 long\""),                                       "\"exactly 15 long\""                     },
    {TEXT("\"exactly 16 long!\""),                                      "\"exactly 16 long!\""                    },
    {TEXT("\"thirty-one bytes, the last short\""),                      "\"thirty-one bytes, the last short\""    },
    {TEXT("\"much longer than two blocks of sixteen bytes, that is\""),
     "\"much longer than two blocks of sixteen bytes, that is\""                                                  },
    {TEXT("\"\x7f\""),                                                  "\"\x7f\""                                },
    {TEXT("\"/\""),                                                     "\"/\""                                   },
    {TEXT("\"caf\xc3\xa9\""),                                           "\"caf\xc3\xa9\""                         },
    {TEXT("\"\xe2\x82\xac\""),                                          "\"\xe2\x82\xac\""                        },
    {TEXT("\"\xf0\x9f\x98\x80\""),                                      "\"\xf0\x9f\x98\x80\""                    },
    {TEXT("\"\xef\xbf\xbe\xef\xbf\xbf\""),                              "\"\xef\xbf\xbe\xef\xbf\xbf\""            },
    {TEXT("[\"ascii\",\"\xc3\xa9\"]"),                                  "[\"ascii\",\"\xc3\xa9\"]"                },
 /* escapes */
    {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),                            "\"\\\"\\\\/\\b\\f\\n\\r\\t\""            },
    {TEXT("\"\\u0041\""),                                               "\"A\""                                   },
    {TEXT("\"\\u004a\\u004A\""),                                        "\"JJ\""                                  },
    {TEXT("\"\\u0000\""),                                               "\"\\u0000\""                             },
    {TEXT("\"a\\u0000b\""),                                             "\"a\\u0000b\""                           },
    {TEXT("\"\\u001f\\u0020\""),                                        "\"\\u001f \""                            },
    {TEXT("\"\\u007f\\u0080\""),                                        "\"\x7f\xc2\x80\""                        },
    {TEXT("\"\\u07ff\\u0800\""),                                        "\"\xdf\xbf\xe0\xa0\x80\""                },
    {TEXT("\"\\ud7ff\\ue000\""),                                        "\"\xed\x9f\xbf\xee\x80\x80\""            },
    {TEXT("\"\\uffff\""),                                               "\"\xef\xbf\xbf\""                        },
    {TEXT("\"\\ud800\\udc00\""),                                        "\"\xf0\x90\x80\x80\""                    },
    {TEXT("\"\\uD83D\\uDE00\""),                                        "\"\xf0\x9f\x98\x80\""                    },
    {TEXT("\"\\udbff\\udfff\""),                                        "\"\xf4\x8f\xbf\xbf\""                    },
    {TEXT("\"caf\xc3\xa9 \\u00e9 caf\xc3\xa9\""),                       "\"caf\xc3\xa9 \xc3\xa9 caf\xc3\xa9\""    },
    {TEXT("\"0123456789abcde\\n0123456789abcdef\\\\0\""),
     "\"0123456789abcde\\n0123456789abcdef\\\\0\""                                                                },
    {TEXT("\"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\""),                  "\"\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\\""},
    {TEXT("\"\\\\\""),                                                  "\"\\\\\""                                },
    {TEXT("\"\\\\u0041\""),                                             "\"\\\\u0041\""                           },
 /* containers */
    {TEXT("[]"),                                                        "[]"                                      },
    {TEXT("{}"),                                                        "{}"                                      },
    {TEXT(" [ ] "),                                                     "[]"                                      },
    {TEXT(" { } "),                                                     "{}"                                      },
    {TEXT("[1]"),                                                       "[1]"                                     },
    {TEXT("[1,2,3]"),                                                   "[1,2,3]"                                 },
    {TEXT("[ 1 , 2 ]"),                                                 "[1,2]"                                   },
    {TEXT("[null,true,false,\"s\",1,1.5,{},[]]"),                       "[null,true,false,\"s\",1,1.5,{},[]]"     },
    {TEXT("[[],[[]],[[],[]]]"),                                         "[[],[[]],[[],[]]]"                       },
    {TEXT("{\"a\":1}"),                                                 "{\"a\":1}"                               },
    {TEXT("{ \"a\" : 1 , \"b\" : 2 }"),                                 "{\"a\":1,\"b\":2}"                       },
    {TEXT("{\"\":0}"),                                                  "{\"\":0}"                                },
    {TEXT("{\"a\":{\"a\":{\"a\":[{\"a\":1}]}}}"),                       "{\"a\":{\"a\":{\"a\":[{\"a\":1}]}}}"     },
    {TEXT("[{\"a\":1},{\"a\":2}]"),                                     "[{\"a\":1},{\"a\":2}]"                   },
    {TEXT("{\"a\":1,\"A\":2,\"a \":3,\"\\u0000a\":4}"),
     "{\"a\":1,\"A\":2,\"a \":3,\"\\u0000a\":4}"                                                                  },
    {TEXT("{\"long_key_1\":1,\"long_key_2\":2,\"1ong_key_1\":3}"),
     "{\"long_key_1\":1,\"long_key_2\":2,\"1ong_key_1\":3}"                                                       },
    {TEXT("{\"k\\n\":[1],\"\xc3\xa9\":{}}"),                            "{\"k\\n\":[1],\"\xc3\xa9\":{}}"          },
    {TEXT("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14]"),                      "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14]"    },
    {TEXT("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,[16]]"),
     "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,[16]]"                                                               },
    {TEXT("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"),                          "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"        },
    {TEXT("[[[[[[[[[[[[[[[{\"deep\":1}]]]]]]]]]]]]]]]"),
     "[[[[[[[[[[[[[[[{\"deep\":1}]]]]]]]]]]]]]]]"                                                                 },
    {TEXT("{\"event_id\":\"01J\",\"user_id\":\"u1\",\"properties\":{\"amount\":29.99,\"items\":["
          "\"a\",\"b\"]}}"),
     "{\"event_id\":\"01J\",\"user_id\":\"u1\",\"properties\":{\"amount\":29.99,\"items\":[\"a\","
     "\"b\"]}}"                                                                                                   },
};

Test(json, accepts_what_the_grammar_allows)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        struct outcome outcome = read_text(accepted[i].text, accepted[i].size);
        cr_assert_null(outcome.fault, "%s: %s at %zu", accepted[i].text, outcome.fault,
                       outcome.offset);
        cr_assert_str_eq(outcome.json, accepted[i].json);
    }
}

/* Of a double, too, unless its shortest decimal is one that millionths hold. */
Test(json, what_was_read_and_written_reads_the_same)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        struct outcome first = read_text(accepted[i].text, accepted[i].size);
        struct outcome second = read_text(first.json, strlen(first.json));
        cr_assert_str_eq(first.json, second.json);
        bool same = bytes_equal(first.pack, second.pack);
        cr_assert(same || strcmp(first.json, "9223372036854.775") == 0, "%s", first.json);
    }
}

/* No part of a text is the text: each prefix that must go on says so, at its end. */
Test(json, prefixes_are_truncated)
{
    for (size_t i = 0; i < COUNT_OF(accepted); i++) {
        const char *text = accepted[i].text;
        for (size_t size = 0; size < accepted[i].size; size++) {
            struct outcome outcome = read_text(text, size);
            if (outcome.fault == NULL) {
                cr_assert(strpbrk(text, "[{\"") == NULL || outcome.json == NULL ||
                              text[accepted[i].size - 1] == ' ',
                          "%s cut to %zu was read", text, size);
                continue;
            }
            bool in_character =
                strcmp(outcome.fault, "json_utf8") == 0 && outcome.offset + 4 > size;
            cr_assert(in_character || strcmp(outcome.fault, "json_truncated") == 0,
                      "%s cut to %zu: %s", text, size, outcome.fault);
            cr_assert(in_character || outcome.offset == size, "%s cut to %zu: %zu", text, size,
                      outcome.offset);
        }
    }
}

/* ---- What is refused ---- */

static const struct {
    const char *text;
    size_t size;
    const char *fault;
    size_t offset;
} refused[] = {
  /* nothing, or not enough */
    {TEXT(""),                                                                  "json_truncated",     0 },
    {TEXT("   "),                                                               "json_truncated",     3 },
    {TEXT("["),                                                                 "json_truncated",     1 },
    {TEXT("[1"),                                                                "json_truncated",     2 },
    {TEXT("[1,"),                                                               "json_truncated",     3 },
    {TEXT("{"),                                                                 "json_truncated",     1 },
    {TEXT("{\"a\""),                                                            "json_truncated",     4 },
    {TEXT("{\"a\":"),                                                           "json_truncated",     5 },
    {TEXT("{\"a\":1"),                                                          "json_truncated",     6 },
    {TEXT("{\"a\":1,"),                                                         "json_truncated",     7 },
    {TEXT("\""),                                                                "json_truncated",     1 },
    {TEXT("\"abc"),                                                             "json_truncated",     4 },
    {TEXT("\"0123456789abcdef"),                                                "json_truncated",     17},
    {TEXT("\"abc\\"),                                                           "json_truncated",     5 },
    {TEXT("\"abc\\\""),                                                         "json_truncated",     6 },
    {TEXT("\"\\u12"),                                                           "json_truncated",     5 },
    {TEXT("\"\\ud800"),                                                         "json_truncated",     7 },
    {TEXT("\"\\ud800\\"),                                                       "json_truncated",     8 },
    {TEXT("\"\\ud800\\udc"),                                                    "json_truncated",     11},
    {TEXT("t"),                                                                 "json_truncated",     1 },
    {TEXT("nul"),                                                               "json_truncated",     3 },
    {TEXT("-"),                                                                 "json_truncated",     1 },
    {TEXT("1."),                                                                "json_truncated",     2 },
    {TEXT("1e"),                                                                "json_truncated",     2 },
    {TEXT("1e+"),                                                               "json_truncated",     3 },
 /* too much */
    {TEXT("1 2"),                                                               "json_trailing",      2 },
    {TEXT("null,"),                                                             "json_trailing",      4 },
    {TEXT("{}}"),                                                               "json_trailing",      2 },
    {TEXT("[]]"),                                                               "json_trailing",      2 },
    {TEXT("{}{}"),                                                              "json_trailing",      2 },
    {TEXT("\"a\"\"b\""),                                                        "json_trailing",      3 },
    {TEXT("true false"),                                                        "json_trailing",      5 },
    {TEXT("1\0"),                                                               "json_trailing",      1 },
    {TEXT("0x10"),                                                              "json_trailing",      1 },
    {TEXT("1_000"),                                                             "json_trailing",      1 },
    {TEXT("1f"),                                                                "json_trailing",      1 },
    {TEXT("[] //"),                                                             "json_trailing",      3 },
    {TEXT("nullx"),                                                             "json_trailing",      4 },
 /* what no value starts with */
    {TEXT("a"),                                                                 "json_syntax",        0 },
    {TEXT("+1"),                                                                "json_syntax",        0 },
    {TEXT(".5"),                                                                "json_syntax",        0 },
    {TEXT("'a'"),                                                               "json_syntax",        0 },
    {TEXT("NaN"),                                                               "json_syntax",        0 },
    {TEXT("Infinity"),                                                          "json_syntax",        0 },
    {TEXT("True"),                                                              "json_syntax",        0 },
    {TEXT("]"),                                                                 "json_syntax",        0 },
    {TEXT("}"),                                                                 "json_syntax",        0 },
    {TEXT(","),                                                                 "json_syntax",        0 },
    {TEXT(":"),                                                                 "json_syntax",        0 },
    {TEXT("/*c*/1"),                                                            "json_syntax",        0 },
    {TEXT("\0"),                                                                "json_syntax",        0 },
    {TEXT("\xef\xbb\xbf{}"),                                                    "json_syntax",        0 },
    {TEXT("\xff"),                                                              "json_syntax",        0 },
    {TEXT("\x0c"
          "1"),
     "json_syntax",                                                                                   0 },
    {TEXT("\x0b[]"),                                                            "json_syntax",        0 },
    {TEXT("\xc2\xa0[]"),                                                        "json_syntax",        0 },
    {TEXT("[a]"),                                                               "json_syntax",        1 },
    {TEXT("[\x80]"),                                                            "json_syntax",        1 },
 /* literals */
    {TEXT("nulL"),                                                              "json_syntax",        3 },
    {TEXT("trUe"),                                                              "json_syntax",        2 },
    {TEXT("fals\""),                                                            "json_syntax",        4 },
    {TEXT("[nul]"),                                                             "json_syntax",        4 },
    {TEXT("-Infinity"),                                                         "json_number",        1 },
    {TEXT("-NaN"),                                                              "json_number",        1 },
 /* numbers */
    {TEXT("01"),                                                                "json_number",        1 },
    {TEXT("-01"),                                                               "json_number",        2 },
    {TEXT("00"),                                                                "json_number",        1 },
    {TEXT("00.5"),                                                              "json_number",        1 },
    {TEXT("012345678901"),                                                      "json_number",        1 },
    {TEXT("--1"),                                                               "json_number",        1 },
    {TEXT("-+1"),                                                               "json_number",        1 },
    {TEXT("-.5"),                                                               "json_number",        1 },
    {TEXT("- 1"),                                                               "json_number",        1 },
    {TEXT("1.e5"),                                                              "json_number",        2 },
    {TEXT("1. "),                                                               "json_number",        2 },
    {TEXT("[1.]"),                                                              "json_number",        3 },
    {TEXT("1.-5"),                                                              "json_number",        2 },
    {TEXT("1.5.5"),                                                             "json_trailing",      3 },
    {TEXT("1ee5"),                                                              "json_number",        2 },
    {TEXT("1e.5"),                                                              "json_number",        2 },
    {TEXT("1e5.5"),                                                             "json_trailing",      3 },
    {TEXT("1e+-5"),                                                             "json_number",        3 },
    {TEXT("1e 5"),                                                              "json_number",        2 },
    {TEXT("[1e]"),                                                              "json_number",        3 },
    {TEXT("[-]"),                                                               "json_number",        2 },
    {TEXT("1e309"),                                                             "json_number",        0 },
    {TEXT("[0,-1e309]"),                                                        "json_number",        3 },
    {TEXT("1.7976931348623159e308"),                                            "json_number",        0 },
    {TEXT("1e99999999999999999999"),                                            "json_number",        0 },
    {TEXT("[1 2]"),                                                             "json_syntax",        3 },
    {TEXT("[1a]"),                                                              "json_syntax",        2 },
    {TEXT("[0x1]"),                                                             "json_syntax",        2 },
 /* strings */
    {TEXT("\"\n\""),                                                            "json_syntax",        1 },
    {TEXT("\"\t\""),                                                            "json_syntax",        1 },
    {TEXT("\"\0\""),                                                            "json_syntax",        1 },
    {TEXT("\"ab\x1f\""),                                                        "json_syntax",        3 },
    {TEXT("\"0123456789abcdefgh\x01\""),                                        "json_syntax",        19},
    {TEXT("\"\\n\x01\""),                                                       "json_syntax",        3 },
    {TEXT("\"\\x41\""),                                                         "json_syntax",        2 },
    {TEXT("\"\\a\""),                                                           "json_syntax",        2 },
    {TEXT("\"\\0\""),                                                           "json_syntax",        2 },
    {TEXT("\"\\'\""),                                                           "json_syntax",        2 },
    {TEXT("\"\\\0\""),                                                          "json_syntax",        2 },
    {TEXT("\"\\U0041\""),                                                       "json_syntax",        2 },
    {TEXT("\"\\u\""),                                                           "json_syntax",        3 },
    {TEXT("\"\\u004\""),                                                        "json_syntax",        6 },
    {TEXT("\"\\u00g1\""),                                                       "json_syntax",        5 },
    {TEXT("\"\\u-041\""),                                                       "json_syntax",        3 },
    {TEXT("\"\\u{41}\""),                                                       "json_syntax",        3 },
 /* surrogates */
    {TEXT("\"\\ud800\""),                                                       "json_surrogate",     1 },
    {TEXT("\"\\udbff\""),                                                       "json_surrogate",     1 },
    {TEXT("\"\\udc00\""),                                                       "json_surrogate",     1 },
    {TEXT("\"\\udfff\""),                                                       "json_surrogate",     1 },
    {TEXT("\"ab\\ud800cd\""),                                                   "json_surrogate",     3 },
    {TEXT("\"\\ud800\\n\""),                                                    "json_surrogate",     1 },
    {TEXT("\"\\ud800\\u0041\""),                                                "json_surrogate",     1 },
    {TEXT("\"\\ud800\\ud800\""),                                                "json_surrogate",     1 },
    {TEXT("\"\\udc00\\ud800\""),                                                "json_surrogate",     1 },
    {TEXT("\"\\ud83d\\ude00\\ude00\""),                                         "json_surrogate",     13},
    {TEXT("\"\\ud800\\u00g1\""),                                                "json_syntax",        11},
 /* UTF-8 */
    {TEXT("\"\x80\""),                                                          "json_utf8",          1 },
    {TEXT("\"\xff\""),                                                          "json_utf8",          1 },
    {TEXT("\"\xc3\""),                                                          "json_utf8",          1 },
    {TEXT("\"ab\xc3(\""),                                                       "json_utf8",          3 },
    {TEXT("\"\xc0\xaf\""),                                                      "json_utf8",          1 },
    {TEXT("\"\xe0\x80\xaf\""),                                                  "json_utf8",          1 },
    {TEXT("\"\xed\xa0\x80\""),                                                  "json_utf8",          1 },
    {TEXT("\"\xf0\x80\x80\xaf\""),                                              "json_utf8",          1 },
    {TEXT("\"\xf4\x90\x80\x80\""),                                              "json_utf8",          1 },
    {TEXT("\"\xe2\x82\""),                                                      "json_utf8",          1 },
    {TEXT("\"caf\xc3\xa9 \xe9\""),                                              "json_utf8",          7 },
    {TEXT("\"\\n\xe9\\n\""),                                                    "json_utf8",          3 },
    {TEXT("\"\xe9\\q\""),                                                       "json_utf8",          1 }, /* the first of two faults */
    {TEXT("\"\xe9\n\""),                                                        "json_utf8",          1 },
    {TEXT("\"\xe9"),                                                            "json_utf8",          1 },
    {TEXT("\"\\q\xe9\""),                                                       "json_syntax",        2 },
    {TEXT("{\"\xe9\":1}"),                                                      "json_utf8",          2 },
 /* arrays */
    {TEXT("[,]"),                                                               "json_syntax",        1 },
    {TEXT("[1,]"),                                                              "json_syntax",        3 },
    {TEXT("[1,,2]"),                                                            "json_syntax",        3 },
    {TEXT("[,1]"),                                                              "json_syntax",        1 },
    {TEXT("[1}"),                                                               "json_syntax",        2 },
    {TEXT("[1:2]"),                                                             "json_syntax",        2 },
    {TEXT("[}"),                                                                "json_syntax",        1 },
    {TEXT("[\"a\" \"b\"]"),                                                     "json_syntax",        5 },
    {TEXT("[1;2]"),                                                             "json_syntax",        2 },
 /* objects */
    {TEXT("{,}"),                                                               "json_syntax",        1 },
    {TEXT("{]"),                                                                "json_syntax",        1 },
    {TEXT("{1:2}"),                                                             "json_syntax",        1 },
    {TEXT("{a:1}"),                                                             "json_syntax",        1 },
    {TEXT("{'a':1}"),                                                           "json_syntax",        1 },
    {TEXT("{null:1}"),                                                          "json_syntax",        1 },
    {TEXT("{\"a\"}"),                                                           "json_syntax",        4 },
    {TEXT("{\"a\" 1}"),                                                         "json_syntax",        5 },
    {TEXT("{\"a\",1}"),                                                         "json_syntax",        4 },
    {TEXT("{\"a\"::1}"),                                                        "json_syntax",        5 },
    {TEXT("{\"a\":}"),                                                          "json_syntax",        5 },
    {TEXT("{\"a\":1,}"),                                                        "json_syntax",        7 },
    {TEXT("{\"a\":1,,}"),                                                       "json_syntax",        7 },
    {TEXT("{\"a\":1]"),                                                         "json_syntax",        6 },
    {TEXT("{\"a\":1 \"b\":2}"),                                                 "json_syntax",        7 },
    {TEXT("{\"a\":1;\"b\":2}"),                                                 "json_syntax",        6 },
    {TEXT("{\"a\":1,\"b\"}"),                                                   "json_syntax",        10},
    {TEXT("{\"a\":1,2}"),                                                       "json_syntax",        7 },
 /* duplicate keys */
    {TEXT("{\"a\":1,\"a\":2}"),                                                 "json_duplicate_key", 7 },
    {TEXT("{\"a\":1,\"b\":{\"a\":1},\"a\":2}"),                                 "json_duplicate_key", 19},
    {TEXT("{\"a\":1,\"\\u0061\":2}"),                                           "json_duplicate_key", 7 },
    {TEXT("{\"\\u0061\":1,\"a\":2}"),                                           "json_duplicate_key", 12},
    {TEXT("{\"\":1,\"\":2}"),                                                   "json_duplicate_key", 6 },
    {TEXT("{\"\xc3\xa9\":1,\"\\u00e9\":2}"),                                    "json_duplicate_key", 8 },
    {TEXT("[{\"a_long_key_of_24_bytes__\":1,\"a_long_key_of_24_bytes__\":2}]"),
     "json_duplicate_key",                                                                            31},
    {TEXT("{\"x\":{\"y\":{\"k\":1,\"k\":1}}}"),                                 "json_duplicate_key", 17},
 /* depth */
    {TEXT("[[[[[[[[[[[[[[[[["),                                                 "json_depth",         16},
    {TEXT("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"),                                "json_depth",         16},
    {TEXT("[[[[[[[[[[[[[[[[{"),                                                 "json_depth",         16},
    {TEXT("[[[[[[[[[[[[[[[[1,{}]]]]]]]]]]]]]]]]"),                              "json_depth",         18},
};

Test(json, refuses_everything_else_at_the_right_byte)
{
    cr_assert_geq(COUNT_OF(accepted) + COUNT_OF(refused), 300);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct outcome outcome = read_text(refused[i].text, refused[i].size);
        cr_assert_not_null(outcome.fault, "%.*s was read", (int)refused[i].size, refused[i].text);
        cr_assert_str_eq(outcome.fault, refused[i].fault, "%.*s: %s", (int)refused[i].size,
                         refused[i].text, outcome.fault);
        cr_assert_eq(outcome.offset, refused[i].offset, "%.*s: %zu", (int)refused[i].size,
                     refused[i].text, outcome.offset);
    }
}

/* ---- Keys ---- */

static char *object_of(size_t count, size_t repeated, const char *prefix, size_t *out_size)
{
    char *text = arena_take(&arena, 64 * (count + 2));
    size_t size = (size_t)sprintf(text, "{");
    for (size_t i = 0; i < count; i++) {
        size += (size_t)sprintf(text + size, "%s\"%s%zu\":%zu", i > 0 ? "," : "", prefix,
                                i == count - 1 ? repeated : i, i);
    }
    size += (size_t)sprintf(text + size, "}");
    *out_size = size;
    return text;
}

Test(json, duplicates_are_found_among_any_number_of_keys)
{
    for (size_t count = 2; count <= 200; count += count < 40 ? 1 : 37) {
        size_t size;
        const char *text = object_of(count, count - 1, "key_with_a_long_name_", &size);
        struct outcome outcome = read_once(text, size, ' ');
        cr_assert_null(outcome.fault, "%zu different keys: %s at %zu", count, outcome.fault,
                       outcome.offset);
        for (size_t repeated = 0; repeated < count - 1; repeated++) {
            text = object_of(count, repeated, "", &size);
            outcome = read_once(text, size, ' ');
            cr_assert_str_eq(outcome.fault, "json_duplicate_key", "%zu of %zu", repeated, count);
            cr_assert_eq(outcome.offset, (size_t)(strrchr(text, ',') + 1 - text));
        }
        arena_reset(&arena, SIZE_MAX);
    }
}

Test(json, objects_have_a_limit_of_keys)
{
    size_t size;
    const char *text = object_of(LIMIT_OBJECT_KEYS, LIMIT_OBJECT_KEYS - 1, "k", &size);
    cr_assert_null(read_text(text, size).fault);
    text = object_of(LIMIT_OBJECT_KEYS, 0, "k", &size);
    cr_assert_str_eq(read_text(text, size).fault, "json_duplicate_key");
    text = object_of(LIMIT_OBJECT_KEYS + 1, LIMIT_OBJECT_KEYS, "k", &size);
    struct outcome outcome = read_text(text, size);
    cr_assert_str_eq(outcome.fault, "json_too_many_keys");
    cr_assert_eq(outcome.offset, (size_t)(strrchr(text, ',') + 1 - text));
}

/* Objects of many keys inside each other, before and behind the inner one: the keys of each leave the table again. */
Test(json, nested_objects_may_have_the_same_keys)
{
    size_t size;
    const char *base = object_of(300, 299, "key", &size);
    const char *tail = strstr(base, "\"key2\":");
    const char *inner = base;
    for (size_t depth = 2; depth <= LIMIT_JSON_DEPTH; depth++) {
        inner = arena_format(&arena, "{\"key0\":0,\"key1\":1,\"inner\":%s,%s", inner, tail);
        struct outcome outcome = read_once(inner, strlen(inner), ' ');
        cr_assert_null(outcome.fault, "%s at %zu", outcome.fault, outcome.offset);
        const char *last = strrchr(inner, ',');
        const char *bad = arena_format(&arena, "%.*s,\"key1\":0}", (int)(last - inner), inner);
        outcome = read_once(bad, strlen(bad), ' ');
        cr_assert_str_eq(outcome.fault, "json_duplicate_key");
        cr_assert_eq(outcome.offset, (size_t)(last + 1 - inner));
    }
}

/* ---- Numbers ---- */

static uint64_t random_state = 1;

static uint64_t random_u64(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    uint64_t mixed = random_state ^ random_state >> 29;
    return mixed * 0xbf58476d1ce4e5b9u ^ mixed >> 32;
}

static struct pack_value read_number(const char *text)
{
    char padded[2000];
    size_t size = strlen(text);
    memcpy(padded, text, size);
    memset(padded + size, '9', JSON_PADDING);
    struct json_reader reader = json_reader_on(padded, size);
    struct pack_value value;
    cr_assert(json_read_number(&reader, &value) && json_at_end(&reader), "%s: %s", text,
              reader.fault);
    return value;
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

/* The nearest double, as the C library finds it; or the same decimal in millionths. */
static void expect_exact(const char *text)
{
    struct pack_value value = read_number(text);
    if (value.type == PACK_MILLIONTHS) {
        char decimal[64];
        int64_t integer = value.as.integer;
        uint64_t magnitude = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
        snprintf(decimal, sizeof(decimal), "%s%llu.%06llu", integer < 0 ? "-" : "",
                 (unsigned long long)(magnitude / 1000000),
                 (unsigned long long)(magnitude % 1000000));
        cr_assert(same_double(strtod(decimal, NULL), strtod(text, NULL)), "%s is %s", text,
                  decimal);
        return;
    }
    double expected = strtod(text, NULL);
    cr_assert_eq(value.type, PACK_DOUBLE, "%s", text);
    cr_assert(same_double(value.as.number, expected), "%s: %a, not %a", text, value.as.number,
              expected);
}

Test(json, decimals_become_the_nearest_double)
{
    char text[64];
    for (int i = 0; i < 300000; i++) {
        uint64_t digits = random_u64() >> (random_u64() % 64);
        int exponent = (int)(random_u64() % 640) - 330;
        if (i % 2 == 0) {
            exponent = (int)(random_u64() % 60) - 30;
        }
        snprintf(text, sizeof(text), "%s%llue%d", i % 3 == 0 ? "-" : "", (unsigned long long)digits,
                 exponent);
        if (isfinite(strtod(text, NULL))) {
            expect_exact(text);
        }
        snprintf(text, sizeof(text), "%llu.%0*llu", (unsigned long long)(digits % 10000000000),
                 i % 9 + 1, (unsigned long long)(random_u64() % 1000000000));
        expect_exact(text);
    }
}

/* The decimal that lies exactly between two doubles, in all its digits, a little more and a little less. */
Test(json, ties_of_any_length_round_to_even)
{
    for (int i = 0; i < 3000; i++) {
        uint64_t bits = random_u64() & 0x7fffffffffffffff;
        if (i % 3 == 0) {
            bits &= 0x003fffffffffffff; /* subnormal numbers and the smallest normal ones */
        }
        double low;
        memcpy(&low, &bits, sizeof(low));
        double high = nextafter(low, INFINITY);
        if (!isfinite(high) || high > 1e300) {
            continue;
        }
        /* Long doubles have the 54 bits that the middle needs, but for the least numbers. */
        long double middle = ((long double)low + (long double)high) / 2;
        char text[1200];
        int size = snprintf(text, sizeof(text) - 2, "%.800Le", middle);
        cr_assert(size > 0 && (size_t)size < sizeof(text) - 2);
        expect_exact(text);
        char *exponent = strchr(text, 'e');
        char tail[16];
        snprintf(tail, sizeof(tail), "%s", exponent);
        snprintf(exponent, (size_t)(text + sizeof(text) - exponent), "1%s", tail);
        expect_exact(text);
    }
}

Test(json, long_numbers_cost_linear_time_and_no_accuracy)
{
    size_t zeros = 5000000;
    char *text = malloc(2 * zeros + 100);
    memset(text, '0', 2 * zeros);
    text[0] = '1';
    sprintf(text + zeros, "e-%zu", zeros - 1);
    size_t size = strlen(text);
    struct json_reader reader = json_reader_on(text, size);
    struct pack_value value;
    cr_assert(json_read_number(&reader, &value) && json_at_end(&reader));
    cr_assert(value.type == PACK_DOUBLE && same_double(value.as.number, 1.0));
    memset(text, '0', zeros);
    text[1] = '.';
    sprintf(text + zeros, "15e%zu", zeros - 1);
    reader = json_reader_on(text, strlen(text));
    cr_assert(json_read_number(&reader, &value) && json_at_end(&reader));
    cr_assert(value.type == PACK_DOUBLE && same_double(value.as.number, 1.5));
    free(text);
}

static const char *double_text(double value)
{
    struct json_writer writer = json_writer_in(&arena);
    json_double(&writer, value);
    return arena_copy(&arena, bytes_of(writer.text, writer.size));
}

/* The digits without leading and trailing zeros, point, sign and exponent. */
static size_t significant_digits(const char *text)
{
    size_t count = 0;
    size_t zeros = 0;
    for (; *text != '\0' && *text != 'e'; text++) {
        if (*text == '0' && count > 0) {
            zeros++;
        } else if (*text >= '1' && *text <= '9') {
            count += zeros + 1;
            zeros = 0;
        }
    }
    return count;
}

static void expect_shortest(double value)
{
    const char *text = double_text(value);
    if (!same_double(strtod(text, NULL), value)) {
        cr_assert_fail("%a is written %s", value, text);
    }
    cr_assert(strpbrk(text, ".e") != NULL, "%s would read as an integer", text);
    size_t count = significant_digits(text);
    for (int precision = 1; precision < (int)count; precision++) {
        char other[64];
        snprintf(other, sizeof(other), "%.*e", precision - 1, value);
        if (same_double(strtod(other, NULL), value)) {
            cr_assert_fail("%s is written %s", other, text);
        }
    }
}

Test(json, doubles_are_written_short_and_read_back)
{
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = random_u64();
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value)) {
            expect_shortest(value);
        }
        expect_shortest((double)(random_u64() % 100000000) / 100);
        expect_shortest((double)(random_u64() % 1000000000000) / 1000000);
        expect_shortest(-(double)(random_u64() >> (i % 64)));
        if (i % 1000 == 0) {
            arena_reset(&arena, SIZE_MAX);
        }
    }
    for (int exponent = -1074; exponent < 1024; exponent++) {
        double power = ldexp(1.0, exponent);
        expect_shortest(power);
        expect_shortest(nextafter(power, 0));
        expect_shortest(nextafter(power, DBL_MAX));
    }
}

Test(json, doubles_look_as_people_write_them)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0.0,                   "0.0"                   },
        {-0.0,                  "-0.0"                  },
        {1.0,                   "1.0"                   },
        {3.0,                   "3.0"                   },
        {-42.0,                 "-42.0"                 },
        {29.99,                 "29.99"                 },
        {0.1,                   "0.1"                   },
        {0.05,                  "0.05"                  },
        {1e-6,                  "0.000001"              },
        {1.5e-7,                "1.5e-7"                },
        {100.0,                 "100.0"                 },
        {1e15,                  "1000000000000000.0"    },
        {123456789012345680.0,  "1.2345678901234568e17" },
        {1e17,                  "1e17"                  },
        {1e100,                 "1e100"                 },
        {0.1 + 0.2,             "0.30000000000000004"   },
        {1.0 / 3,               "0.3333333333333333"    },
        {5.684341886080802e-14,
         "5.684341886080802e-14"                        }, /* 2^-44: next to the nearest of 16 digits */
        {9007199254740992.0,    "9007199254740992.0"    },
        {5e-324,                "5e-324"                },
        {DBL_MAX,               "1.7976931348623157e308"},
        {NAN,                   "null"                  },
        {INFINITY,              "null"                  },
        {-INFINITY,             "null"                  },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cr_assert_str_eq(double_text(cases[i].value), cases[i].text);
    }
}

Test(json, numbers_do_not_depend_on_the_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "nb_NO.UTF-8"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (setlocale(LC_ALL, names[i]) != NULL) {
            break;
        }
    }
    cr_assert_str_eq(double_text(0.30000000000000004), "0.30000000000000004");
    cr_assert(same_double(read_number("0.30000000000000004").as.number, 0.1 + 0.2));
    cr_assert(same_double(read_number("1.5e-300").as.number, 1.5e-300));
}

Test(json, millionths_are_written_exactly)
{
    static const struct {
        int64_t value;
        const char *text;
    } cases[] = {
        {0,         "0"                    },
        {29990000,  "29.99"                },
        {-29990000, "-29.99"               },
        {1,         "0.000001"             },
        {-1,        "-0.000001"            },
        {1000000,   "1"                    },
        {120000000, "120"                  },
        {INT64_MAX, "9223372036854.775807" },
        {INT64_MIN, "-9223372036854.775808"},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_writer writer = json_writer_in(&arena);
        json_millionths(&writer, cases[i].value);
        cr_assert_str_eq(arena_copy(&arena, bytes_of(writer.text, writer.size)), cases[i].text);
    }
}

/* ---- msgpack ---- */

Test(json, transcodes_to_what_msgpack_c_writes)
{
    static const char text[] =
        "{\"a\":[1,-1,300,1.5,true,null],\"text\":\"h\\u00e9\",\"m\":1234567890.123456,"
        "\"list\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16],\"e\":{}}";
    struct outcome outcome = read_text(text, sizeof(text) - 1);
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    msgpack_pack_map(&packer, 5);
    msgpack_pack_str_with_body(&packer, "a", 1);
    msgpack_pack_array(&packer, 6);
    msgpack_pack_int64(&packer, 1);
    msgpack_pack_int64(&packer, -1);
    msgpack_pack_int64(&packer, 300);
    msgpack_pack_double(&packer, 1.5);
    msgpack_pack_true(&packer);
    msgpack_pack_nil(&packer);
    msgpack_pack_str_with_body(&packer, "text", 4);
    msgpack_pack_str_with_body(&packer, "h\xc3\xa9", 3);
    msgpack_pack_str_with_body(&packer, "m", 1);
    uint64_t millionths = __builtin_bswap64(1234567890123456);
    msgpack_pack_ext_with_body(&packer, &millionths, 8, PACK_EXT_MILLIONTHS);
    msgpack_pack_str_with_body(&packer, "list", 4);
    msgpack_pack_array(&packer, 17);
    for (int i = 0; i < 17; i++) {
        msgpack_pack_int(&packer, i);
    }
    msgpack_pack_str_with_body(&packer, "e", 1);
    msgpack_pack_map(&packer, 0);
    cr_assert(bytes_equal(outcome.pack, bytes_of(buffer.data, buffer.size)));
    msgpack_sbuffer_destroy(&buffer);
}

Test(json, a_writer_that_is_full_overflows_and_the_text_is_still_checked)
{
    static const char text[] = "{\"key\":[\"some "
                               "text\",1,2.5,true,null,{\"k\":123456}],\"long\":"
                               "\"0123456789012345678901234567890123456789\"}";
    char *padded = padded_copy(text, sizeof(text) - 1, 0);
    struct outcome whole = read_text(text, sizeof(text) - 1);
    for (size_t capacity = 0; capacity <= whole.pack.size; capacity++) {
        uint8_t *exact = malloc(capacity + 1);
        struct pack_writer writer = pack_writer_on(exact, capacity);
        struct json_reader reader = json_reader_on(padded, sizeof(text) - 1);
        cr_assert(json_transcode(&reader, &scratch, &writer) && json_at_end(&reader));
        cr_assert_eq(writer.overflow, capacity < whole.pack.size);
        free(exact);
    }
    free(padded);
}

Test(json, msgpack_that_json_cannot_say_is_refused_and_leaves_no_trace)
{
    static const struct {
        const char *data;
        size_t size;
    } cases[] = {
        {TEXT("\x81\x01\x02")},         /* a key that is no text */
        {TEXT("\x92\x01\x81\xc0\x02")}, /* the same, inside */
        {TEXT("\xc1")},
        {TEXT("\x92\x01")},
        {TEXT("\xa1\xff")},
        {TEXT("\x01\x01")},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_writer writer = json_writer_in(&arena);
        json_begin_array(&writer);
        json_int(&writer, 1);
        cr_assert(!json_pack(&writer, bytes_of(cases[i].data, cases[i].size)), "case %zu", i);
        json_int(&writer, 2);
        json_end_array(&writer);
        cr_assert_str_eq(arena_copy(&arena, bytes_of(writer.text, writer.size)), "[1,2]");
    }
    /* Nested deeper than the writer goes: refused, not an assertion. */
    uint8_t deep[PACK_DEPTH_MAX];
    memset(deep, 0x91, sizeof(deep));
    deep[sizeof(deep) - 1] = 0x90;
    struct json_writer writer = json_writer_in(&arena);
    for (size_t i = 0; i < JSON_WRITER_DEPTH - PACK_DEPTH_MAX - 1; i++) {
        json_begin_array(&writer);
    }
    cr_assert(json_pack(&writer, bytes_of(deep, sizeof(deep))));
    json_begin_array(&writer);
    cr_assert(!json_pack(&writer, bytes_of(deep, sizeof(deep))));
}

Test(json, binary_and_extensions_are_written_in_hexadecimal)
{
    struct json_writer writer = json_writer_in(&arena);
    json_begin_array(&writer);
    cr_assert(json_pack(&writer, bytes_of("\xc4\x03\x00\xab\xff", 5)));
    cr_assert(json_pack(&writer, bytes_of("\xc4\x00", 2)));
    cr_assert(json_pack(&writer, bytes_of("\xd4\x05\x10", 3)));
    cr_assert(json_pack(&writer, bytes_of("\xca\x7f\x80\x00\x00", 5)));
    json_end_array(&writer);
    cr_assert_str_eq(arena_copy(&arena, bytes_of(writer.text, writer.size)),
                     "[\"00abff\",\"\",\"10\",null]");
}

/* ---- Reading value by value ---- */

static struct json_reader reader_of(const char *text)
{
    size_t size = strlen(text);
    char *copy = arena_take_zeroed(&arena, size + JSON_PADDING);
    memcpy(copy, text, size);
    return json_reader_on(copy, size);
}

Test(json, values_are_read_one_by_one)
{
    struct json_reader reader = reader_of(" { \"name\" : \"caf\\u00e9\", \"n\":-7, \"list\" : [ "
                                          "1.5 , true,null,{} ] , \"x\":{\"y\":[1]}} ");
    struct bytes key;
    struct bytes text;
    struct pack_value number;
    bool boolean = false;
    bool first = true;
    bool first_item = true;
    cr_assert_eq(json_peek(&reader), '{');
    cr_assert(json_enter_object(&reader));
    cr_assert(json_next_key(&reader, &first, &scratch, &key) && bytes_equal_text(key, "name"));
    cr_assert_eq(json_peek(&reader), '"');
    cr_assert(json_read_string(&reader, &scratch, &text) && bytes_equal_text(text, "caf\xc3\xa9"));
    cr_assert(json_next_key(&reader, &first, &scratch, &key) && bytes_equal_text(key, "n"));
    cr_assert_eq(json_peek(&reader), '0');
    cr_assert(!json_take_null(&reader));
    cr_assert(json_read_number(&reader, &number) && number.type == PACK_INT &&
              number.as.integer == -7);
    cr_assert(json_next_key(&reader, &first, &scratch, &key) && bytes_equal_text(key, "list"));
    cr_assert_eq(json_peek(&reader), '[');
    cr_assert(json_enter_array(&reader));
    cr_assert_eq(reader.depth, 2);
    cr_assert(json_next_item(&reader, &first_item));
    cr_assert(json_read_number(&reader, &number) && number.type == PACK_DOUBLE);
    cr_assert(json_next_item(&reader, &first_item));
    cr_assert_eq(json_peek(&reader), 't');
    cr_assert(json_read_bool(&reader, &boolean) && boolean);
    cr_assert(json_next_item(&reader, &first_item));
    cr_assert_eq(json_peek(&reader), 'n');
    cr_assert(json_take_null(&reader));
    cr_assert(json_next_item(&reader, &first_item));
    cr_assert(json_skip(&reader, &scratch));
    cr_assert(!json_next_item(&reader, &first_item));
    cr_assert(json_next_key(&reader, &first, &scratch, &key) && bytes_equal_text(key, "x"));
    cr_assert(json_skip(&reader, &scratch));
    cr_assert(!json_next_key(&reader, &first, &scratch, &key));
    cr_assert_eq(reader.depth, 0);
    cr_assert(json_at_end(&reader));
    cr_assert_null(reader.fault, "%s", reader.fault);
    cr_assert_eq(json_peek(&reader), '\0');
    cr_assert_null(reader.fault, "looking at the end is no fault");
}

Test(json, iteration_finds_the_same_faults_as_transcoding)
{
    static const struct {
        const char *text;
        const char *fault;
        size_t offset;
    } cases[] = {
        {"",                                          "json_truncated", 0 },
        {"[]",                                        "json_type",      0 },
        {"7",                                         "json_type",      0 },
        {" x",                                        "json_syntax",    1 },
        {"{",                                         "json_truncated", 1 },
        {"{,",                                        "json_syntax",    1 },
        {"{\"a\"",                                    "json_truncated", 4 },
        {"{\"a\" 1}",                                 "json_syntax",    5 },
        {"{\"a\":",                                   "json_truncated", 5 },
        {"{\"a\":1",                                  "json_truncated", 6 },
        {"{\"a\":1]",                                 "json_syntax",    6 },
        {"{\"a\":1,}",                                "json_syntax",    7 },
        {"{\"a\":1 \"b\":1}",                         "json_syntax",    7 },
        {"{\"a\":1,1:1}",                             "json_syntax",    7 },
        {"{\"a\":01}",                                "json_number",    6 },
        {"{\"\\ud800\":1}",                           "json_surrogate", 2 },
        {"{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", "json_depth",     20},
        {"{\"a\":1} x",                               "json_trailing",  8 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_reader reader = reader_of(cases[i].text);
        bool first = true;
        struct bytes key;
        if (json_enter_object(&reader)) {
            while (json_next_key(&reader, &first, &scratch, &key) && json_skip(&reader, &scratch)) {
            }
        }
        cr_assert(!json_at_end(&reader), "%s", cases[i].text);
        cr_assert_str_eq(reader.fault, cases[i].fault, "%s: %s", cases[i].text, reader.fault);
        cr_assert_eq(reader.fault_offset, cases[i].offset, "%s: %zu", cases[i].text,
                     reader.fault_offset);
    }
}

Test(json, arrays_are_iterated_strictly)
{
    static const struct {
        const char *text;
        const char *fault;
        size_t offset;
    } cases[] = {
        {"[1,2,3]", NULL,             0},
        {"[]",      NULL,             0},
        {"[1,]",    "json_syntax",    3},
        {"[,1]",    "json_syntax",    1},
        {"[1 2]",   "json_syntax",    3},
        {"[1",      "json_truncated", 2},
        {"[1,",     "json_truncated", 3},
        {"[1}",     "json_syntax",    2},
        {"[\"a\"]", "json_type",      1},
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct json_reader reader = reader_of(cases[i].text);
        struct pack_value number;
        bool first = true;
        cr_assert(json_enter_array(&reader));
        while (json_next_item(&reader, &first) && json_read_number(&reader, &number)) {
        }
        cr_assert_eq(json_at_end(&reader), cases[i].fault == NULL, "%s", cases[i].text);
        cr_assert(cases[i].fault == NULL || strcmp(reader.fault, cases[i].fault) == 0, "%s: %s",
                  cases[i].text, reader.fault);
        cr_assert_eq(reader.fault_offset, cases[i].offset, "%s: %zu", cases[i].text,
                     reader.fault_offset);
    }
}

Test(json, entering_is_bounded_too)
{
    struct json_reader reader = reader_of("[[[[[[[[[[[[[[[[[[[[");
    bool first;
    for (uint32_t i = 0; i < LIMIT_JSON_DEPTH; i++) {
        first = true;
        cr_assert(json_enter_array(&reader) && json_next_item(&reader, &first));
    }
    cr_assert(!json_enter_array(&reader));
    cr_assert_str_eq(reader.fault, "json_depth");
    cr_assert_eq(reader.fault_offset, LIMIT_JSON_DEPTH);
}

Test(json, a_stream_of_values_is_read_to_its_end)
{
    struct json_reader reader = reader_of("{\"a\":1}\n{\"a\":2}\n\n[3]\n");
    int count = 0;
    while (json_peek(&reader) != '\0') {
        cr_assert(json_skip(&reader, &scratch));
        count++;
    }
    cr_assert_null(reader.fault);
    cr_assert_eq(count, 3);
}

/* ---- Writing ---- */

Test(json, writes_commas_and_colons)
{
    struct uuid uuid = {
        {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0x7d, 0xef, 0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
         0xef}
    };
    struct json_writer writer = json_writer_in(&arena);
    json_begin_object(&writer);
    json_key(&writer, "empty");
    json_begin_object(&writer);
    json_end_object(&writer);
    json_key(&writer, "list");
    json_begin_array(&writer);
    json_int(&writer, INT64_MIN);
    json_uint(&writer, UINT64_MAX);
    json_bool(&writer, true);
    json_bool(&writer, false);
    json_null(&writer);
    json_text(&writer, NULL);
    json_double(&writer, 0.25);
    json_begin_array(&writer);
    json_end_array(&writer);
    json_end_array(&writer);
    json_key_bytes(&writer, bytes_of("k\"", 2));
    json_text(&writer, "v");
    json_key(&writer, "at");
    json_time(&writer, 0);
    json_key(&writer, "id");
    json_uuid(&writer, &uuid);
    json_end_object(&writer);
    json_newline(&writer);
    json_int(&writer, 2);
    json_newline(&writer);
    cr_assert(!writer.failed);
    cr_assert_str_eq(arena_copy(&arena, bytes_of(writer.text, writer.size)),
                     "{\"empty\":{},\"list\":[-9223372036854775808,18446744073709551615,true,false,"
                     "null,null,0.25,[]],"
                     "\"k\\\"\":\"v\",\"at\":\"1970-01-01T00:00:00.000Z\",\"id\":\"01234567-89ab-"
                     "7def-8123-456789abcdef\"}\n2\n");
}

Test(json, text_survives_whatever_its_bytes_are)
{
    for (size_t size = 0; size < 70; size++) {
        for (unsigned byte = 0; byte < 0x80; byte++) {
            char text[80];
            memset(text, 'x', sizeof(text));
            text[size / 2] = (char)byte;
            text[size > 0 ? size - 1 : 0] = (char)byte;
            struct bytes exact = bytes_of(malloc(size + 1), size);
            memcpy((void *)(uintptr_t)exact.data, text, size);
            struct json_writer writer = json_writer_in(&arena);
            json_text_bytes(&writer, exact);
            free((void *)(uintptr_t)exact.data);
            char *padded = padded_copy(writer.text, writer.size, 0);
            struct json_reader reader = json_reader_on(padded, writer.size);
            struct bytes back;
            cr_assert(json_read_string(&reader, &scratch, &back) && json_at_end(&reader));
            cr_assert(bytes_equal(back, bytes_of(text, size)));
            free(padded);
        }
        arena_reset(&arena, SIZE_MAX);
        arena_reset(&scratch, SIZE_MAX);
    }
}

Test(json, what_is_not_utf8_is_replaced)
{
    struct json_writer writer = json_writer_in(&arena);
    json_text_bytes(&writer, bytes_of("a\xff\xc3\xa9\xe2\x82", 6));
    cr_assert_str_eq(arena_copy(&arena, bytes_of(writer.text, writer.size)),
                     "\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
}

Test(json, long_texts_grow)
{
    struct json_writer writer = json_writer_in(&arena);
    json_begin_array(&writer);
    for (int i = 0; i < 100000; i++) {
        json_int(&writer, i);
    }
    json_end_array(&writer);
    cr_assert(!writer.failed);
    cr_assert_eq(writer.size, 588891);
    cr_assert_null(read_once(writer.text, writer.size, ']').fault);
}

/* ---- Cost ---- */

static double seconds_of(const char *text, size_t size)
{
    char *padded = padded_copy(text, size, 0);
    uint8_t *out = malloc(2 * size + 100);
    struct pack_writer writer = pack_writer_on(out, 2 * size + 100);
    struct json_reader reader = json_reader_on(padded, size);
    struct timespec start;
    struct timespec end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    (void)json_transcode(&reader, &scratch, &writer);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    free(out);
    free(padded);
    return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

/* 8 MiB of the worst that can be sent is read, or refused, at 2 MB a second or more even under sanitizers. */
Test(json, time_is_linear_in_the_worst_cases)
{
    static const struct {
        const char *head;
        const char *unit;
        const char *tail;
    } cases[] = {
        {"",      "[",                          ""  },
        {"[",     "1,",                         "1]"},
        {"[",     "{},",                        "1]"},
        {"[",     "0.30000000000000004,",       "1]"},
        {"",      "9",                          ""  },
        {"0.",    "9",                          ""  },
        {"\"",    "\\u0041",                    "\""},
        {"\"",    "\\",                         "\""},
        {"\"",    "\xc3\xa9",                   "\""},
        {"\"\\n", "a",                          "\""},
        {"",      " ",                          ""  },
        {"[",     "\"\\n\",",                   "1]"},
        {"[",     "{\"a\":{\"a\":{\"a\":1}}},", "1]"},
    };

    size_t size_max = LIMIT_BODY_UNPACKED;
    char *text = malloc(size_max + 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t size = strlen(cases[i].head);
        size_t unit = strlen(cases[i].unit);
        size_t tail = strlen(cases[i].tail);
        memcpy(text, cases[i].head, size);
        for (; size + unit + tail <= size_max; size += unit) {
            memcpy(text + size, cases[i].unit, unit);
        }
        memcpy(text + size, cases[i].tail, tail);
        double seconds = seconds_of(text, size + tail);
        cr_assert_lt(seconds, 4.0, "case %zu took %g s", i, seconds);
        cr_assert_lt(arena.used + scratch.chunk_size, size_max);
        arena_reset(&scratch, 0);
    }
    free(text);
}

Test(json, memory_that_is_out_is_a_fault)
{
    /* An arena that cannot grow: its size wraps. */
    struct arena none;
    arena_init(&none, SIZE_MAX);
    struct json_reader reader = reader_of("[\"plain\",\"\\n\"]");
    uint8_t out[64];
    struct pack_writer writer = pack_writer_on(out, sizeof(out));
    cr_assert(!json_transcode(&reader, &none, &writer));
    cr_assert_str_eq(reader.fault, "json_no_memory");
    struct json_writer json = json_writer_in(&none);
    json_begin_array(&json);
    json_text(&json, "text");
    json_millionths(&json, 5);
    json_end_array(&json);
    cr_assert(json.failed);
    arena_deinit(&none);
}
