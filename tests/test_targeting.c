/* Goal: a user is targeted exactly when the documented meaning of the tree says so.
 * Method: trees and attributes as JSON (with single quotes), against expected answers; the tree's sweep against a plain
 * recursive evaluation of random trees; versions in a list that must be strictly ascending. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "engine/definitions.h"
#include "engine/order.h"
#include "engine/targeting.h"

static struct arena arena;
static struct field_errors errors;

static void begin(void)
{
    arena_init(&arena, 65536);
    errors = field_errors_in(&arena);
}

static void end(void)
{
    arena_deinit(&arena);
}

TestSuite(targeting, .init = begin, .fini = end);

static struct bytes pack_of(const char *json)
{
    size_t size = strlen(json);
    char *text = arena_take_zeroed(&arena, size + JSON_PADDING);
    memcpy(text, json, size);
    for (size_t i = 0; i < size; i++) {
        text[i] = text[i] == '\'' ? '"' : text[i];
    }
    size_t capacity = size * 2 + 64;
    struct pack_writer writer = pack_writer_on(arena_take(&arena, capacity), capacity);
    struct json_reader reader = json_reader_on(text, size);
    cr_assert(json_transcode(&reader, &arena, &writer) && json_at_end(&reader), "bad JSON: %s",
              json);
    cr_assert(!writer.overflow);
    return bytes_of(writer.data, writer.size);
}

static struct targeting targeting_of(const char *json)
{
    struct targeting targeting;
    enum status status = targeting_decode(pack_of(json), "targeting", &arena, &errors, &targeting);
    cr_assert_eq(status, STATUS_OK, "%s: %s %s", json, errors.count > 0 ? errors.items[0].path : "",
                 errors.count > 0 ? errors.items[0].message : "");
    return targeting;
}

static bool matches(const struct targeting *targeting, struct bytes attributes)
{
    return targeting_matches(targeting, &(struct targeting_subject){.attributes = attributes});
}

static void expect_match(const char *json, const char *attributes, bool expected)
{
    struct targeting targeting = targeting_of(json);
    struct bytes encoded = attributes[0] == '\0' ? bytes_of(NULL, 0) : pack_of(attributes);
    cr_expect_eq(matches(&targeting, encoded), expected, "%s on %s", json, attributes);
}

static void expect_refused(const char *json, const char *expected)
{
    struct targeting targeting;
    char text[4096] = "";
    errors = field_errors_in(&arena);
    cr_expect_eq(targeting_decode(pack_of(json), "targeting", &arena, &errors, &targeting),
                 STATUS_INVALID, "%s", json);
    for (uint32_t i = 0; i < errors.count; i++) {
        strcat(text, i > 0 ? "; " : "");
        strcat(text, errors.items[i].path);
        strcat(text, " ");
        strcat(text, errors.items[i].code);
    }
    cr_expect_str_eq(text, expected, "%s\n gave: %s\n not:  %s", json, text, expected);
}

Test(targeting, nothing_targets_everyone)
{
    static const char *const rows[] = {"{}", "{'rules': []}",
                                       "{'countries': null, 'min_version': null, 'rules': null}"};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct targeting targeting = targeting_of(rows[i]);
        cr_expect_eq(targeting.node_count, 0);
        cr_expect_null(targeting.nodes);
        cr_expect_eq(targeting.document.size, 0);
        cr_expect(matches(&targeting, bytes_of(NULL, 0)));
    }
}

Test(targeting, countries_disregard_case)
{
    static const char json[] = "{'countries': ['US', 'ca']}";
    expect_match(json, "{'country': 'US'}", true);
    expect_match(json, "{'country': 'us'}", true);
    expect_match(json, "{'country': 'CA'}", true);
    expect_match(json, "{'country': 'DE'}", false);
    expect_match(json, "{'country': 'USA'}", false);
    expect_match(json, "{'country': 5}", false);
    expect_match(json, "{'country': null}", false);
    expect_match(json, "{}", false);
    expect_match(json, "", false);
}

Test(targeting, min_version_is_a_semantic_version)
{
    static const char json[] = "{'min_version': '2.0.0'}";
    expect_match(json, "{'version': '2.0.0'}", true);
    expect_match(json, "{'version': '2.1'}", true);
    expect_match(json, "{'version': 'v10.0.0'}", true);
    expect_match(json, "{'version': '2.0.0-rc.1'}", false);
    expect_match(json, "{'version': '1.99.99'}", false);
    expect_match(json, "{'version': 'latest'}", false);
    expect_match(json, "{'version': 3}", false);
    expect_match(json, "{}", false);
}

Test(targeting, conditions_hold_as_documented)
{
    static const struct {
        const char *rule;
        const char *attributes;
        bool expected;
    } rows[] = {
        {"'op': 'eq', 'value': 'pro'",               "{'a': 'pro'}",               true },
        {"'op': 'eq', 'value': 'pro'",               "{'a': 'Pro'}",               false},
        {"'op': 'eq', 'value': 'pro'",               "{'b': 'pro'}",               false},
        {"'op': 'eq', 'value': 5",                   "{'a': 5}",                   true },
        {"'op': 'eq', 'value': 5",                   "{'a': 5.0}",                 true },
        {"'op': 'eq', 'value': 5",                   "{'a': '5'}",                 false},
        {"'op': 'eq', 'value': 0.1",                 "{'a': 0.1}",                 true },
        {"'op': 'eq', 'value': 0.1",                 "{'a': 0.10000000000000001}", true },
        {"'op': 'eq', 'value': 0.1",                 "{'a': 0.1000001}",           false},
        {"'op': 'eq', 'value': 1e300",               "{'a': 1e300}",               true },
        {"'op': 'eq', 'value': 1e300",               "{'a': 2e300}",               false},
        {"'op': 'eq', 'value': 1e-9",                "{'a': 1e-9}",                true },
        {"'op': 'eq', 'value': 1e-9",                "{'a': 2e-9}",                false},
        {"'op': 'eq', 'value': 9223372036854775808", "{'a': 9223372036854775808}", true },
        {"'op': 'eq', 'value': 9007199254740993",    "{'a': 9007199254740992}",    false},
        {"'op': 'eq', 'value': 9007199254.740993",   "{'a': 9007199254.740993}",   true },
        {"'op': 'eq', 'value': 9007199254.740993",   "{'a': 9007199254.740992}",   false},
        {"'op': 'eq', 'value': true",                "{'a': true}",                true },
        {"'op': 'eq', 'value': true",                "{'a': 1}",                   false},
        {"'op': 'eq', 'value': 'x'",                 "{'a': ['x']}",               false},
        {"'op': 'ne', 'value': 'x'",                 "{'a': ['x']}",               true },
        {"'op': 'ne', 'value': 'x'",                 "{'a': 'x'}",                 false},
        {"'op': 'ne', 'value': 'x'",                 "{}",                         true },
        {"'op': 'ne', 'value': 'x'",                 "{'a': null}",                true },
        {"'op': 'eq', 'value': 'x'",                 "{'a': null}",                false},
        {"'op': 'in', 'values': ['x', 5, true]",     "{'a': 5}",                   true },
        {"'op': 'in', 'values': ['x', 5, true]",     "{'a': false}",               false},
        {"'op': 'in', 'values': ['x']",              "{}",                         false},
        {"'op': 'not_in', 'values': ['x', 'y']",     "{'a': 'z'}",                 true },
        {"'op': 'not_in', 'values': ['x', 'y']",     "{'a': 'y'}",                 false},
        {"'op': 'not_in', 'values': ['x', 'y']",     "{}",                         true },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        expect_match(arena_format(&arena, "{'rules': [{'attribute': 'a', %s}]}", rows[i].rule),
                     rows[i].attributes, rows[i].expected);
    }
}

static struct pack_value number_of(double number)
{
    return (struct pack_value){.type = PACK_DOUBLE, .as.number = number};
}

Test(targeting, numbers_compare_as_decimals_whatever_carries_them)
{
    struct pack_value millionths = {.type = PACK_MILLIONTHS, .as.integer = 100000};
    struct pack_value double_tenth = number_of(0.1);
    struct pack_value below = number_of(0.09999999999999999);
    struct pack_value five = {.type = PACK_INT, .as.integer = 5};
    struct pack_value five_millionths = {.type = PACK_MILLIONTHS, .as.integer = 5000000};
    struct pack_value large = {.type = PACK_UINT, .as.natural = 1ull << 63};
    struct pack_value large_double = number_of(0x1p63);
    struct pack_value not_a_number = number_of(__builtin_nan(""));
    struct rule_values tenth = {.items = &millionths, .count = 1};
    struct rule_values whole = {.items = &five, .count = 1};
    struct rule_values half = {.items = &large, .count = 1};
    struct rule_values nan = {.items = &not_a_number, .count = 1};
    cr_expect(rule_holds(RULE_EQ, &double_tenth, &tenth));
    cr_expect(!rule_holds(RULE_EQ, &below, &tenth));
    cr_expect(rule_holds(RULE_EQ, &five_millionths, &whole));
    cr_expect(rule_holds(RULE_EQ, &large_double, &half));
    for (int64_t i = 0; i < 1000; i++) {
        struct pack_value integer = {.type = PACK_INT, .as.integer = (5ll << 60) + i * 1024};
        struct pack_value same = number_of((double)integer.as.integer);
        cr_expect(rule_holds(RULE_EQ, &same, &(struct rule_values){.items = &integer, .count = 1}));
    }
    cr_expect(!rule_holds(RULE_EQ, &not_a_number, &nan));
    cr_expect(rule_holds(RULE_NE, &not_a_number, &nan));
}

Test(targeting, all_parts_must_hold)
{
    static const char json[] = "{'countries': ['US'], 'min_version': '2', 'rules': [{'attribute': "
                               "'plan', 'op': 'in', 'values': ['pro']},"
                               " {'attribute': 'beta', 'op': 'eq', 'value': true}]}";
    expect_match(json, "{'country': 'US', 'version': '2.0.1', 'plan': 'pro', 'beta': true}", true);
    expect_match(json, "{'country': 'DE', 'version': '2.0.1', 'plan': 'pro', 'beta': true}", false);
    expect_match(json, "{'country': 'US', 'version': '1.0.1', 'plan': 'pro', 'beta': true}", false);
    expect_match(json, "{'country': 'US', 'version': '2.0.1', 'plan': 'free', 'beta': true}",
                 false);
    expect_match(json, "{'country': 'US', 'version': '2.0.1', 'plan': 'pro', 'beta': false}",
                 false);
}

Test(targeting, combinations_nest)
{
    static const char json[] =
        "{'rules': [{'any': [{'attribute': 'a', 'op': 'eq', 'value': 1},"
        "                    {'all': [{'attribute': 'b', 'op': 'eq', 'value': 1}, {'not': "
        "{'attribute': 'c', 'op': 'eq', 'value': 1}}]}]}]}";
    expect_match(json, "{'a': 1}", true);
    expect_match(json, "{'b': 1}", true);
    expect_match(json, "{'b': 1, 'c': 1}", false);
    expect_match(json, "{'a': 1, 'b': 1, 'c': 1}", true);
    expect_match(json, "{}", false);
}

Test(targeting, faults_are_named_by_path)
{
    expect_refused("[]", "targeting wrong_type");
    expect_refused("{'country': ['US']}", "targeting.country unknown_field");
    expect_refused("{'countries': []}", "targeting.countries out_of_range");
    expect_refused("{'countries': ['USA']}", "targeting.countries malformed");
    expect_refused("{'countries': ['U1', 5]}", "targeting.countries malformed");
    expect_refused("{'countries': 'US'}", "targeting.countries wrong_type");
    expect_refused("{'min_version': 'new'}", "targeting.min_version malformed");
    expect_refused("{'min_version': 2}", "targeting.min_version wrong_type");
    expect_refused("{'rules': [{}]}",
                   "targeting.rules[0].attribute required; targeting.rules[0].op required");
    expect_refused(
        "{'rules': [{'attribute': 'a', 'op': '>', 'value': 1}, {'attribute': 'a', 'op': "
        "'GT', 'value': 1}]}",
        "targeting.rules[0].op unknown_operator; targeting.rules[1].op unknown_operator");
    expect_refused("{'rules': [{'attribute': 'a', 'op': 'eq', 'values': [1]}]}",
                   "targeting.rules[0].values not_allowed");
    expect_refused("{'rules': [{'attribute': 'a', 'op': 'in', 'value': 1}]}",
                   "targeting.rules[0].value not_allowed");
    expect_refused("{'rules': [{'attribute': 'a', 'op': 'in', 'values': []}]}",
                   "targeting.rules[0].values out_of_range");
    expect_refused(
        "{'rules': [{'attribute': 'a', 'op': 'in', 'values': [1, null, {}]}]}",
        "targeting.rules[0].values[1] wrong_type; targeting.rules[0].values[2] wrong_type");
    expect_refused("{'rules': [{'attribute': 'a', 'op': 'eq', 'value': null}]}",
                   "targeting.rules[0].value required");
    expect_refused("{'rules': [{'attribute': '', 'op': 'eq', 'value': 1, 'x': 1}]}",
                   "targeting.rules[0].x unknown_field");
    expect_refused("{'rules': [{'all': []}]}", "targeting.rules[0].all out_of_range");
    expect_refused(
        "{'rules': [{'all': [{'attribute': 'a', 'op': 'eq', 'value': 1}], 'attribute': 'a'}]}",
        "targeting.rules[0] not_allowed");
    expect_refused("{'rules': [{'all': [{'not': {}}], 'any': [{'not': {}}]}]}",
                   "targeting.rules[0] not_allowed");
    expect_refused("{'rules': [{'any': [{'not': {'attribute': 'a', 'op': 'eq'}}]}]}",
                   "targeting.rules[0].any[0].not.value required");
}

static char *many_rules(uint32_t count)
{
    char *json = arena_take(&arena, 65536);
    size_t size =
        (size_t)sprintf(json, "{'countries': ['US'], 'min_version': '1', 'rules': [{'any': [");
    for (uint32_t i = 0; i + 1 < count; i++) {
        size += (size_t)sprintf(json + size, "%s{'attribute': 'a', 'op': 'eq', 'value': %u}",
                                i > 0 ? "," : "", i);
    }
    sprintf(json + size, "]}]}");
    return json;
}

Test(targeting, a_tree_is_bounded_in_rules_and_depth)
{
    expect_match(many_rules(LIMIT_RULES), "{'country': 'us', 'version': '1', 'a': 98}", true);
    expect_refused(many_rules(LIMIT_RULES + 1), "targeting.rules[0].any[99] out_of_range");

    /* Deeper than JSON may be, so written by hand. */
    for (uint32_t depth = LIMIT_JSON_DEPTH; depth <= LIMIT_JSON_DEPTH + 1; depth++) {
        uint8_t data[1024];
        struct pack_writer writer = pack_writer_on(data, sizeof(data));
        pack_map(&writer, 1);
        pack_text_z(&writer, "rules");
        pack_array(&writer, 1);
        for (uint32_t i = 1; i < depth; i++) {
            pack_map(&writer, 1);
            pack_text_z(&writer, "not");
        }
        pack_raw(&writer, pack_of("{'attribute': 'a', 'op': 'eq', 'value': 1}"));
        struct targeting targeting;
        errors = field_errors_in(&arena);
        enum status status =
            targeting_decode(bytes_of(data, writer.size), "targeting", &arena, &errors, &targeting);
        cr_expect_eq(status, depth <= LIMIT_JSON_DEPTH ? STATUS_OK : STATUS_INVALID);
    }
}

/* ---- Every operator ---- */

struct operator_case {
    const char *rule; /* without the attribute, which is a */
    const char *holds_for[6];
    const char *fails_for[12];
};

#define NOT_THERE "{}", "{'a': null}"
#define NO_TEXT   "{'a': 5}", "{'a': true}", "{'a': ['x']}", "{'a': {'x': 1}}"
#define NO_NUMBER                                                                                  \
    "{'a': 'x'}", "{'a': ''}", "{'a': true}", "{'a': [9]}", "{'a': '0x9'}", "{'a': ' 9'}",         \
        "{'a': '09'}"
#define NO_VERSION "{'a': 'latest'}", "{'a': ''}", "{'a': 2}", "{'a': [2]}", "{'a': '1.2.3.4'}"

static const struct operator_case operator_cases[] = {
    {"'op': 'gt', 'value': 5",
     {"{'a': 6}", "{'a': 5.000001}", "{'a': '6'}", "{'a': 1e300}"},
     {"{'a': 5}", "{'a': '5.0'}", NO_NUMBER, NOT_THERE}                                                                 },
    {"'op': 'gte', 'value': 5",
     {"{'a': 5}", "{'a': 5.0}", "{'a': '5'}", "{'a': '5e0'}"},
     {"{'a': 4.9999999}", "{'a': '-5'}", NO_NUMBER, NOT_THERE}                                                          },
    {"'op': 'lt', 'value': 10",
     {"{'a': 9}", "{'a': '9'}", "{'a': -1e300}", "{'a': '-0'}"},
     {"{'a': 10}", "{'a': '10'}", "{'a': 'x'}", "{'a': false}", NOT_THERE}                                              },
    {"'op': 'lte', 'value': 0.1",
     {"{'a': 0.1}", "{'a': '0.1'}", "{'a': '0.10'}", "{'a': 0}"},
     {"{'a': 0.10000001}", "{'a': '0.1000000000000000000000001'}", "{'a': 'x'}", "{'a': false}",
      NOT_THERE}                                                                                                        },
    {"'op': 'exists'",
     {"{'a': 0}", "{'a': ''}", "{'a': false}", "{'a': []}", "{'a': {}}"},
     {NOT_THERE, "{'b': 1}"}                                                                                            },
    {"'op': 'not_exists'",                               {NOT_THERE, "{'b': 1}"}, {"{'a': 0}", "{'a': ''}", "{'a': []}"}},
    {"'op': 'contains', 'value': 'b@'",
     {"{'a': 'ab@c'}", "{'a': 'b@'}"},
     {"{'a': 'b'}", "{'a': 'B@'}", "{'a': ''}", NO_TEXT, NOT_THERE}                                                     },
    {"'op': 'starts_with', 'value': 'ab'",
     {"{'a': 'ab'}", "{'a': 'abc'}"},
     {"{'a': 'a'}", "{'a': 'Ab'}", "{'a': ' ab'}", "{'a': ''}", NO_TEXT, NOT_THERE}                                     },
    {"'op': 'ends_with', 'value': 'é'",
     {"{'a': 'é'}", "{'a': 'café'}"},
     {"{'a': 'cafe'}", "{'a': 'éc'}", "{'a': ''}", NO_TEXT, NOT_THERE}                                                 },
    {"'op': 'matches', 'value': '^[a-z]+@(x|y)[.]org$'",
     {"{'a': 'me@x.org'}", "{'a': 'u@y.org'}"},
     {"{'a': 'me@z.org'}", "{'a': 'Me@x.org'}", "{'a': ''}", NO_TEXT, NOT_THERE}                                        },
    {"'op': 'matches', 'value': '(?i)ü.x'",
     {"{'a': 'aüéxb'}", "{'a': 'Ü日X'}"},
     {"{'a': 'üx'}", "{'a': ''}", NO_TEXT, NOT_THERE}                                                                  },
    {"'op': 'semver_gt', 'value': '2.0.0'",
     {"{'a': '2.0.1'}", "{'a': 'v10'}", "{'a': '2.1.0-rc'}"},
     {"{'a': '2'}", "{'a': '2.0.0+b'}", "{'a': '2.0.0-rc.1'}", NO_VERSION, NOT_THERE}                                   },
    {"'op': 'semver_gte', 'value': '2.0.0'",
     {"{'a': '2.0.0'}", "{'a': '2'}", "{'a': '3'}"},
     {"{'a': '2.0.0-rc.1'}", "{'a': '1.99'}", NO_VERSION, NOT_THERE}                                                    },
    {"'op': 'semver_lt', 'value': '2.0.0'",
     {"{'a': '1.99'}", "{'a': '2.0.0-rc.1'}"},
     {"{'a': '2'}", "{'a': '10'}", NO_VERSION, NOT_THERE}                                                               },
    {"'op': 'semver_lte', 'value': '2.0.0'",
     {"{'a': '2'}", "{'a': '0.1'}", "{'a': '2.0.0+b'}"},
     {"{'a': '2.0.1'}", "{'a': '10'}", NO_VERSION, NOT_THERE}                                                           },
    {"'op': 'semver_eq', 'value': '2.0.0'",
     {"{'a': '2'}", "{'a': 'v2.0'}", "{'a': '2.0.0+b'}"},
     {"{'a': '2.0.1'}", "{'a': '2.0.0-rc.1'}", NO_VERSION, NOT_THERE}                                                   },
};

Test(targeting, every_operator_has_an_answer_for_every_attribute)
{
    for (size_t i = 0; i < COUNT_OF(operator_cases); i++) {
        const struct operator_case *row = &operator_cases[i];
        const char *json = arena_format(&arena, "{'rules': [{'attribute': 'a', %s}]}", row->rule);
        const char *negated =
            arena_format(&arena, "{'rules': [{'not': {'attribute': 'a', %s}}]}", row->rule);
        for (size_t k = 0; k < COUNT_OF(row->holds_for) && row->holds_for[k] != NULL; k++) {
            expect_match(json, row->holds_for[k], true);
            expect_match(negated, row->holds_for[k], false);
        }
        for (size_t k = 0; k < COUNT_OF(row->fails_for) && row->fails_for[k] != NULL; k++) {
            expect_match(json, row->fails_for[k], false);
            expect_match(negated, row->fails_for[k], true);
        }
    }
}

Test(targeting, operators_have_their_names_and_operands)
{
    for (uint32_t i = 0; i < RULE_OPERATOR_END; i++) {
        enum rule_operator operation = (enum rule_operator)i;
        enum rule_operator parsed;
        const char *name = rule_operator_name(operation);
        cr_assert_eq(rule_operator_parse(bytes_of_text(name), &parsed), STATUS_OK);
        cr_expect(parsed == operation || operation == RULE_COUNTRY_IN, "%s", name);
    }
    enum rule_operator parsed;
    cr_expect_neq(rule_operator_parse(bytes_of_text("GT"), &parsed), STATUS_OK);
    cr_expect_neq(rule_operator_parse(bytes_of_text(""), &parsed), STATUS_OK);
    cr_expect_eq(rule_operator_operand(RULE_EXISTS), RULE_OPERAND_NONE);
    cr_expect_eq(rule_operator_operand(RULE_MATCHES), RULE_OPERAND_VALUE);
    cr_expect_eq(rule_operator_operand(RULE_NOT_IN), RULE_OPERAND_LIST);
}

static void expect_rule_refused(const char *rule, const char *expected)
{
    expect_refused(arena_format(&arena, "{'rules': [{'attribute': 'a', %s}]}", rule), expected);
}

Test(targeting, operands_are_checked_by_their_operator)
{
    static const char *const numeric[] = {"gt", "gte", "lt", "lte"};
    static const char *const textual[] = {"contains", "starts_with", "ends_with", "matches"};
    static const char *const versions[] = {"semver_gt", "semver_gte", "semver_lt", "semver_lte",
                                           "semver_eq"};
    static const char value[] = "targeting.rules[0].value ";
    for (size_t i = 0; i < COUNT_OF(numeric); i++) {
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'value': '5'", numeric[i]),
                            arena_format(&arena, "%swrong_type", value));
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'values': [5]", numeric[i]),
                            "targeting.rules[0].values not_allowed");
    }
    for (size_t i = 0; i < COUNT_OF(textual); i++) {
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'value': 5", textual[i]),
                            arena_format(&arena, "%swrong_type", value));
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'value': ''", textual[i]),
                            arena_format(&arena, "%sout_of_range", value));
    }
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'value': 2", versions[i]),
                            arena_format(&arena, "%swrong_type", value));
        expect_rule_refused(arena_format(&arena, "'op': '%s', 'value': '2.x'", versions[i]),
                            arena_format(&arena, "%smalformed", value));
    }
    expect_rule_refused("'op': 'exists', 'value': true", "targeting.rules[0].value not_allowed");
    expect_rule_refused("'op': 'not_exists', 'values': [1]",
                        "targeting.rules[0].values not_allowed");
}

/* ---- Patterns ---- */

Test(targeting, a_bad_pattern_is_refused_with_the_reason)
{
    static const char *const bad[] = {"(abc", "[z-a]", "a**", "(?=x)", "(a)\\\\1", "x{1001}", "*"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        expect_rule_refused(arena_format(&arena, "'op': 'matches', 'value': '%s'", bad[i]),
                            "targeting.rules[0].value invalid_pattern");
    }
    expect_rule_refused("'op': 'matches', 'value': '(abc'",
                        "targeting.rules[0].value invalid_pattern");
    cr_expect_str_eq(errors.items[0].message, "is no regular expression for RE2: missing ): (abc");
}

Test(targeting, patterns_are_bounded_in_length_size_and_number)
{
    char pattern[LIMIT_PATTERN + 2] = "";
    memset(pattern, 'a', LIMIT_PATTERN);
    expect_match(arena_format(&arena,
                              "{'rules': [{'attribute': 'a', 'op': 'matches', 'value': '%s'}]}",
                              pattern),
                 "{'a': 'aaa'}", false);
    pattern[LIMIT_PATTERN] = 'a';
    expect_rule_refused(arena_format(&arena, "'op': 'matches', 'value': '%s'", pattern),
                        "targeting.rules[0].value invalid_pattern");
    expect_rule_refused("'op': 'matches', 'value': '((\\\\pL{100}){10}){1}'",
                        "targeting.rules[0].value invalid_pattern");
    for (uint32_t count = LIMIT_PATTERNS; count <= LIMIT_PATTERNS + 1; count++) {
        char *json = arena_take(&arena, 65536);
        size_t size = (size_t)sprintf(json, "{'rules': [");
        for (uint32_t i = 0; i < count; i++) {
            size += (size_t)sprintf(json + size,
                                    "%s{'attribute': 'a', 'op': 'matches', 'value': 'x|%u'}",
                                    i > 0 ? "," : "", i);
        }
        sprintf(json + size, "]}");
        if (count <= LIMIT_PATTERNS) {
            expect_match(json, "{'a': 'x'}", true);
        } else {
            expect_refused(json, "targeting.rules[20].op out_of_range");
        }
    }
}

/* Patterns that take a backtracking matcher 2^n steps, on the longest attribute there is. */
Test(targeting, patterns_match_in_linear_time, .timeout = 20)
{
    static const char *const patterns[] = {"^(a+)+$", "^(a|aa)*c$", "(x+x+)+y", "^(a?){30}a{30}b",
                                           "(a|b)*a(a|b){400}c"};
    char *attributes = arena_take_zeroed(&arena, LIMIT_ATTRIBUTES + 64);
    size_t size = (size_t)sprintf(attributes, "{'a': '");
    memset(attributes + size, 'a', LIMIT_ATTRIBUTES);
    sprintf(attributes + size + LIMIT_ATTRIBUTES, "b'}");
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        expect_match(arena_format(&arena,
                                  "{'rules': [{'attribute': 'a', 'op': 'matches', 'value': '%s'}]}",
                                  patterns[i]),
                     attributes, false);
    }
}

/* ---- Outcomes of the parts ---- */

Test(targeting, every_part_has_its_path_and_its_outcome)
{
    struct targeting targeting = targeting_of(
        "{'countries': ['US'], 'min_version': '2', 'rules': [{'any': [{'attribute': 'a', 'op': "
        "'gt', 'value': 1}, {'not': {'attribute': 'b', 'op': 'exists'}}]}]}");

    static const struct {
        const char *path;
        bool holds;
    } expected[] = {
        {"targeting",                     false},
        {"targeting.countries",           true },
        {"targeting.min_version",         false},
        {"targeting.rules[0]",            true },
        {"targeting.rules[0].any[0]",     false},
        {"targeting.rules[0].any[1]",     true },
        {"targeting.rules[0].any[1].not", false},
    };

    bool holds[TARGETING_NODES_MAX];
    cr_assert_eq(targeting.node_count, COUNT_OF(expected));
    cr_expect_not(targeting_evaluate(
        &targeting, &(struct targeting_subject){.attributes = pack_of("{'country': 'us', 'a': 1}")}, holds));
    for (uint32_t i = 0; i < targeting.node_count; i++) {
        cr_expect_str_eq(targeting.nodes[i].path, expected[i].path);
        cr_expect_eq(holds[i], expected[i].holds, "%s", expected[i].path);
    }
}

/* ---- Random trees against the plain meaning ---- */

static uint64_t seed = 88172645463325252ull;

static uint32_t draw(uint32_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % bound;
}

/* Writes a random rule over the attributes a to e, and says what it means for `truth`: who of them are 1. */
static bool random_rule(struct pack_writer *writer, uint32_t depth, const bool truth[5],
                        uint32_t *budget)
{
    uint32_t kind = depth == 0 || *budget < 8 ? 0 : draw(4);
    *budget -= 1;
    if (kind == 0) {
        uint32_t which = draw(5);
        bool negated = draw(2) == 1;
        char name[2] = {(char)('a' + which), '\0'};
        pack_map(writer, 3);
        pack_text_z(writer, "attribute");
        pack_text_z(writer, name);
        pack_text_z(writer, "op");
        pack_text_z(writer, negated ? "ne" : "eq");
        pack_text_z(writer, "value");
        pack_uint(writer, 1);
        return truth[which] != negated;
    }
    pack_map(writer, 1);
    if (kind == 1) {
        pack_text_z(writer, "not");
        return !random_rule(writer, depth - 1, truth, budget);
    }
    uint32_t count = 1 + draw(3);
    uint32_t held = 0;
    pack_text_z(writer, kind == 2 ? "all" : "any");
    pack_array(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        held += random_rule(writer, depth - 1, truth, budget) ? 1 : 0;
    }
    return kind == 2 ? held == count : held > 0;
}

Test(targeting, random_trees_mean_what_they_say)
{
    uint32_t matched = 0;
    for (uint32_t round = 0; round < 5000; round++) {
        uint8_t data[8192];
        uint8_t attributes[64];
        bool truth[5];
        struct pack_writer writer = pack_writer_on(attributes, sizeof(attributes));
        pack_map(&writer, 5);
        for (uint32_t i = 0; i < 5; i++) {
            char name[2] = {(char)('a' + i), '\0'};
            truth[i] = draw(2) == 1;
            pack_text_z(&writer, name);
            pack_uint(&writer, truth[i] ? 1 : 0);
        }
        struct bytes encoded = bytes_of(attributes, writer.size);
        writer = pack_writer_on(data, sizeof(data));
        pack_map(&writer, 1);
        pack_text_z(&writer, "rules");
        pack_array(&writer, 2);
        uint32_t budget = LIMIT_RULES / 2;
        bool first = random_rule(&writer, 5, truth, &budget);
        bool second = random_rule(&writer, 5, truth, &budget);
        cr_assert(!writer.overflow);
        struct targeting targeting;
        arena_reset(&arena, 1 << 20);
        errors = field_errors_in(&arena);
        cr_assert_eq(
            targeting_decode(bytes_of(data, writer.size), "t", &arena, &errors, &targeting),
            STATUS_OK, "%s: %s", errors.count ? errors.items[0].path : "",
            errors.count ? errors.items[0].message : "");
        cr_assert_eq(matches(&targeting, encoded), first && second);
        matched += first && second ? 1 : 0;
    }
    cr_expect(matched > 500 && matched < 4500);
}

/* ---- Decimals ---- */

static struct pack_value text_number(const char *text)
{
    return (struct pack_value){.type = PACK_TEXT, .as.bytes = bytes_of_text(text)};
}

Test(targeting, decimals_order_exactly)
{
    /* Strictly ascending as texts. */
    static const char *const ascending[] = {
        "-1e999999999",
        "-123456789012345678901234567890.5",
        "-123456789012345678901234567890",
        "-10",
        "-9.5",
        "-0.00000000000000000001",
        "0",
        "1e-400",
        "0.1",
        "0.10000000000000000000000000000001",
        "0.5",
        "9",
        "9.5",
        "10",
        "9007199254740992",
        "9007199254740993",
        "1e16",
        "18446744073709551615",
        "18446744073709551616",
        "1.8e+20",
        "1e400",
    };
    for (size_t i = 0; i < COUNT_OF(ascending); i++) {
        for (size_t k = 0; k < COUNT_OF(ascending); k++) {
            int order = 7;
            struct pack_value a = text_number(ascending[i]);
            struct pack_value b = text_number(ascending[k]);
            cr_assert(decimal_compare(&a, &b, &order), "%s %s", ascending[i], ascending[k]);
            cr_expect_eq(order, (i > k) - (i < k), "%s %s", ascending[i], ascending[k]);
        }
    }
    static const char *const same[][2] = {
        {"0",    "-0.000e9"   },
        {"100",  "1.00e2"     },
        {"0.05", "5E-2"       },
        {"12.5", "0.0125e+003"},
    };
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        int order = 7;
        struct pack_value a = text_number(same[i][0]);
        struct pack_value b = text_number(same[i][1]);
        cr_expect(decimal_compare(&a, &b, &order) && order == 0, "%s", same[i][0]);
    }
    static const char *const none[] = {"",    "+1",  "1.",    ".5",          "01",  "1e",
                                       "1e+", "- 1", "1 ",    "nan",         "inf", "0x10",
                                       "1,5", "-",   "1e1.5", "1e9999999999"};
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        int order = 7;
        struct pack_value a = text_number(none[i]);
        cr_expect(!decimal_compare(&a, &a, &order) && order == 7, "%s", none[i]);
    }
}

/* What JSON, msgpack and a query string make of the same decimal. */
Test(targeting, a_double_stands_for_the_decimal_that_it_was_written_as)
{
    for (uint32_t round = 0; round < 200000; round++) {
        char text[40];
        int order = 7;
        uint32_t places = draw(16);
        uint64_t digits =
            ((uint64_t)draw(1000000) * 1000000000 + draw(1000000000)) % 1000000000000000;
        uint64_t unit = 1;
        for (uint32_t i = 0; i < places; i++) {
            unit *= 10;
        }
        (void)snprintf(text, sizeof(text), "%s%llu%s%0*llu", draw(2) == 1 ? "-" : "",
                       (unsigned long long)(digits / unit), places > 0 ? "." : "", (int)places,
                       (unsigned long long)(digits % unit));
        if (places == 0) {
            text[strlen(text) - 1] = '\0'; /* the 0 of an empty fraction */
        }
        struct pack_value written = text_number(text);
        struct pack_value sent = number_of(strtod(text, NULL));
        cr_assert(decimal_compare(&written, &sent, &order), "%s", text);
        cr_assert_eq(order, 0, "%s", text);
    }
}

Test(targeting, every_carrier_orders_alike)
{
    for (uint32_t round = 0; round < 20000; round++) {
        int order = 7;
        int64_t a = (int64_t)draw(2000000) * 1000 - 1000000000 + (int64_t)draw(3);
        int64_t b = draw(2) == 1 ? a + (int64_t)draw(3) - 1 : (int64_t)draw(2000000) * 1000;
        struct pack_value left[] = {
            {.type = PACK_MILLIONTHS, .as.integer = a},
            number_of((double)a / 1e6),
        };
        struct pack_value right[] = {
            {.type = PACK_MILLIONTHS, .as.integer = b},
            number_of((double)b / 1e6),
        };
        for (uint32_t i = 0; i < 4; i++) {
            cr_assert(decimal_compare(&left[i / 2], &right[i % 2], &order));
            cr_assert_eq(order, (a > b) - (a < b), "%lld %lld %u", (long long)a, (long long)b, i);
        }
    }
}

/* ---- Versions and operators ---- */

Test(targeting, versions_order_by_semantic_versioning)
{
    /* Strictly ascending; the pre-releases are the example of semver.org, item 11. */
    static const char *const ascending[] = {
        "0.0.0-0",
        "0",
        "0.0.1",
        "0.9.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "v1.2",
        "1.10.0",
        "2.0.0-x-y.7",
        "2.0.0",
        "2024.01.15",
        "99999999999999999999999.0.0",
        "100000000000000000000000.0.0",
    };
    int order;
    for (size_t i = 0; i < COUNT_OF(ascending); i++) {
        for (size_t k = 0; k < COUNT_OF(ascending); k++) {
            cr_assert(
                semver_compare(bytes_of_text(ascending[i]), bytes_of_text(ascending[k]), &order),
                "%s %s", ascending[i], ascending[k]);
            cr_expect_eq(order, (i > k) - (i < k), "%s %s", ascending[i], ascending[k]);
        }
    }
    static const char *const same[][2] = {
        {"1",         "1.0.0"    },
        {"v1.2",      "V1.2.0"   },
        {"1.0.0+a",   "1.0.0+b.7"},
        {"1.0.0-a+x", "1.0-a"    },
        {"01.2",      "1.2"      }
    };
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        cr_assert(semver_compare(bytes_of_text(same[i][0]), bytes_of_text(same[i][1]), &order));
        cr_expect_eq(order, 0, "%s %s", same[i][0], same[i][1]);
    }
    static const char *const wrong[] = {"",        "v",      "a",          "1.",     "1..2",
                                        "1.2.3.4", "1.0.0-", "1.0.0-a..b", "1.0.0+", "1.0.0 ",
                                        " 1",      "-1",     "1.0.0-a_b",  "1,0"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        cr_expect(!semver_compare(bytes_of_text(wrong[i]), bytes_of_text("1"), &order), "%s",
                  wrong[i]);
        cr_expect(!semver_compare(bytes_of_text("1"), bytes_of_text(wrong[i]), &order), "%s",
                  wrong[i]);
    }
}
