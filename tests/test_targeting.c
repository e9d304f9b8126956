/* Goal: a user is targeted exactly when the documented meaning of the tree says so.
 * Method: trees and attributes as JSON (with single quotes), against expected answers; the tree's sweep against a plain
 * recursive evaluation of random trees; versions in a list that must be strictly ascending. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "api/json.h"
#include "engine/definitions.h"
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

static void expect_match(const char *json, const char *attributes, bool expected)
{
    struct targeting targeting = targeting_of(json);
    struct bytes encoded = attributes[0] == '\0' ? bytes_of(NULL, 0) : pack_of(attributes);
    cr_expect_eq(targeting_matches(&targeting, encoded), expected, "%s on %s", json, attributes);
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
        cr_expect(targeting_matches(&targeting, bytes_of(NULL, 0)));
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
    struct rule_values tenth = {&millionths, 1};
    struct rule_values whole = {&five, 1};
    struct rule_values half = {&large, 1};
    struct rule_values nan = {&not_a_number, 1};
    cr_expect(rule_holds(RULE_EQ, &double_tenth, &tenth));
    cr_expect(!rule_holds(RULE_EQ, &below, &tenth));
    cr_expect(rule_holds(RULE_EQ, &five_millionths, &whole));
    cr_expect(rule_holds(RULE_EQ, &large_double, &half));
    for (int64_t i = 0; i < 1000; i++) {
        struct pack_value integer = {.type = PACK_INT, .as.integer = (5ll << 60) + i * 1024};
        struct pack_value same = number_of((double)integer.as.integer);
        cr_expect(rule_holds(RULE_EQ, &same, &(struct rule_values){&integer, 1}));
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
        "{'rules': [{'attribute': 'a', 'op': 'gte', 'value': 1}, {'attribute': 'a', 'op': "
        "'semver_gte', 'value': '1'}]}",
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
        cr_assert_eq(targeting_matches(&targeting, encoded), first && second);
        matched += first && second ? 1 : 0;
    }
    cr_expect(matched > 500 && matched < 4500);
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

Test(targeting, operators_have_names)
{
    static const char *const known[] = {"eq", "ne", "in", "not_in"};
    for (uint32_t i = 0; i < COUNT_OF(known); i++) {
        enum rule_operator operation;
        cr_assert_eq(rule_operator_parse(bytes_of_text(known[i]), &operation), STATUS_OK);
        cr_expect_str_eq(rule_operator_name(operation), known[i]);
    }
    enum rule_operator operation;
    cr_expect_neq(rule_operator_parse(bytes_of_text("semver_gte"), &operation), STATUS_OK);
    cr_expect_neq(rule_operator_parse(bytes_of_text("gt"), &operation), STATUS_OK);
    cr_expect_str_eq(rule_operator_name(RULE_SEMVER_GTE), "semver_gte");
}
