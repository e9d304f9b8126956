/* Goal: a definition that was accepted is read back the same for ever, and one that is refused says everything that is
 * wrong with it, by path and code.
 * Method: documents are written as JSON (with single quotes), transcoded as the server does it, and given to the
 * functions of definitions.h; refused ones are compared with the whole list of "path code" that must come out. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "engine/definitions.h"
#include "engine/timestamp.h"

#define NOW_US 1767225600000000ll /* 2026-01-01T00:00:00Z */

static struct arena arena;
static struct field_errors errors;
static uint8_t random_bytes[64];

static void begin(void)
{
    arena_init(&arena, 65536);
    errors = field_errors_in(&arena);
    for (size_t i = 0; i < sizeof(random_bytes); i++) {
        random_bytes[i] = (uint8_t)(i * 37 + 11);
    }
}

static void end(void)
{
    arena_deinit(&arena);
}

TestSuite(definitions, .init = begin, .fini = end);

/* The JSON text (with ' for ") as msgpack. */
static struct bytes pack_of(const char *json)
{
    size_t size = strlen(json);
    char *text = arena_take_zeroed(&arena, size + JSON_PADDING);
    memcpy(text, json, size);
    for (size_t i = 0; i < size; i++) {
        text[i] = text[i] == '\'' ? '"' : text[i];
    }
    size_t capacity = size * 2 + 1024;
    struct pack_writer writer = pack_writer_on(arena_take(&arena, capacity), capacity);
    struct json_reader reader = json_reader_on(text, size);
    cr_assert(json_transcode(&reader, &arena, &writer) && json_at_end(&reader), "bad JSON: %s",
              json);
    cr_assert(!writer.overflow);
    return bytes_of(writer.data, writer.size);
}

static struct definition_context context_at(uint32_t version, int64_t now_us)
{
    struct definition_context context = {.version = version, .now_us = now_us};
    memset(context.id.bytes, 0x11, sizeof(context.id.bytes));
    memset(context.author.bytes, 0x22, sizeof(context.author.bytes));
    return context;
}

/* "path code; path code" of all faults, in the order met. */
static const char *faults(void)
{
    char *text = arena_take_zeroed(&arena, 16384);
    for (uint32_t i = 0; i < errors.count && i < LIMIT_FIELD_ERRORS; i++) {
        strcat(text, i > 0 ? "; " : "");
        strcat(text, errors.items[i].path);
        strcat(text, " ");
        strcat(text, errors.items[i].code);
        cr_assert_gt(strlen(errors.items[i].message), 0);
    }
    return text;
}

static void forget_faults(void)
{
    errors = field_errors_in(&arena);
}

static struct experiment *created(const char *json)
{
    struct definition_context context = context_at(1, NOW_US);
    struct experiment *experiment = NULL;
    forget_faults();
    enum status status =
        experiment_create(pack_of(json), &context, random_bytes, &errors, &experiment);
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_name(status), faults());
    return experiment;
}

static void expect_refused(const char *json, const char *expected)
{
    struct definition_context context = context_at(1, NOW_US);
    struct experiment *experiment = NULL;
    forget_faults();
    enum status status =
        experiment_create(pack_of(json), &context, random_bytes, &errors, &experiment);
    cr_expect_eq(status, STATUS_INVALID, "accepted: %s", json);
    cr_expect_str_eq(faults(), expected, "%s\n gave: %s\n not:  %s", json, faults(), expected);
    cr_expect_null(experiment);
}

static enum status patch_by(const struct experiment *current, const char *json,
                            const uint64_t *users, struct experiment **out_experiment)
{
    static const uint64_t nobody[LIMIT_VARIANTS];
    struct definition_context context = context_at(current->version + 1, NOW_US + 1000000);
    forget_faults();
    return experiment_patch(current, pack_of(json), users != NULL ? users : nobody, &context,
                            random_bytes, &errors, out_experiment);
}

static struct experiment *patched(const struct experiment *current, const char *json)
{
    struct experiment *experiment = NULL;
    enum status status = patch_by(current, json, NULL, &experiment);
    cr_assert_eq(status, STATUS_OK, "%s: %s: %s", json, status_name(status), faults());
    return experiment;
}

static void expect_patch_refused(const struct experiment *current, const char *json,
                                 const uint64_t *users, enum status expected_status,
                                 const char *expected)
{
    struct experiment *experiment = NULL;
    enum status status = patch_by(current, json, users, &experiment);
    cr_expect_eq(status, expected_status, "%s gave %s", json, status_name(status));
    cr_expect_str_eq(faults(), expected, "%s\n gave: %s\n not:  %s", json, faults(), expected);
    cr_expect_null(experiment);
}

#define TWO_VARIANTS "'variants': [{'name': 'a'}, {'name': 'b'}]"

static const char full_document[] =
    "{'name': 'Homepage CTA Test', 'description': 'Testing button colors\\nand more', 'key': "
    "'homepage-cta',"
    " 'variants': [{'name': 'control', 'weight': 0.5, 'is_control': true, 'value': {'color': "
    "'grey'}},"
    "              {'name': 'blue_button', 'weight': 0.25}, {'name': 'green_button', 'weight': "
    "0.25}],"
    " 'targeting': {'countries': ['US', 'CA'], 'min_version': '2.0.0',"
    "               'rules': [{'attribute': 'plan', 'op': 'in', 'values': ['pro', 'team']}]},"
    " 'traffic_allocation': 1.0, 'layer': 'checkout', 'status': 'running', 'start_at': "
    "'2026-02-01T00:00:00Z',"
    " 'end_at': 1772323200000, 'metrics': ['conversion_rate', 'revenue']}";

/* ---- Create ---- */

Test(definitions, the_documented_example_is_taken_whole)
{
    struct experiment *experiment = created(full_document);
    cr_expect(bytes_equal_text(experiment->name, "Homepage CTA Test"));
    cr_expect(bytes_equal_text(experiment->key, "homepage-cta"));
    cr_expect(bytes_equal_text(experiment->description, "Testing button colors\nand more"));
    cr_expect(bytes_equal_text(experiment->layer, "checkout"));
    cr_expect_eq(experiment->version, 1);
    cr_expect_eq(experiment->status, EXPERIMENT_RUNNING);
    cr_expect_eq(experiment->variant_count, 3);
    cr_expect_eq(experiment->control, 0);
    cr_expect(bytes_equal_text(experiment->variants[1].name, "blue_button"));
    cr_expect_eq(experiment->variants[1].weight, 0.25);
    cr_expect(bytes_equal(experiment->variants[0].value, pack_of("{'color': 'grey'}")));
    cr_expect_eq(experiment->variants[1].value.size, 0);
    cr_expect_eq(experiment->traffic_allocation, 1);
    cr_expect_eq(experiment->targeting.node_count, 4);
    cr_expect_eq(experiment->start_at_us, 1769904000000000ll);
    cr_expect_eq(experiment->end_at_us, 1772323200000000ll);
    cr_expect_eq(experiment->created_at_us, NOW_US);
    cr_expect_eq(experiment->started_at_us, NOW_US);
    cr_expect_eq(experiment->ended_at_us, 0);
    cr_expect_eq(experiment->metric_count, 2);
    cr_expect_eq(experiment->salt, load_u64(random_bytes));
    cr_expect(!uuid_equal(&experiment->variants[0].id, &experiment->variants[1].id));
    experiment_free(experiment);
}

Test(definitions, only_name_and_variants_are_required)
{
    struct experiment *experiment =
        created("{'name': 'x', 'variants': [{'name': 'a'}, {'name': 'b'}, {'name': 'c'}]}");
    cr_expect_eq(experiment->key.size, 0);
    cr_expect_eq(experiment->status, EXPERIMENT_RUNNING);
    cr_expect_eq(experiment->traffic_allocation, 1);
    cr_expect_eq(experiment->control, 0);
    cr_expect(experiment->variants[0].is_control);
    cr_expect_float_eq(experiment->variants[2].weight, 1.0 / 3, 1e-15);
    cr_expect_eq(experiment->targeting.node_count, 0);
    cr_expect_eq(experiment->layer.size, 0);
    cr_assert_eq(experiment->metric_count, 2);
    cr_expect(bytes_equal_text(experiment->metrics[0], "conversion_rate"));
    cr_expect(bytes_equal_text(experiment->metrics[1], "revenue"));
    experiment_free(experiment);
}

Test(definitions, null_stands_for_left_out)
{
    struct experiment *experiment = created("{'name': 'x', 'id': null, 'key': null, 'description': "
                                            "null, 'targeting': null, 'layer': null,"
                                            " 'traffic_allocation': null, 'status': null, "
                                            "'start_at': null, 'end_at': null, 'metrics': null,"
                                            " 'holdout': null, 'variants': [{'name': 'a', "
                                            "'weight': null, 'value': null}, {'name': 'b'}]}");
    cr_expect_eq(experiment->status, EXPERIMENT_RUNNING);
    cr_expect_eq(experiment->traffic_allocation, 1);
    cr_expect_eq(experiment->metric_count, 2);
    cr_expect_eq(experiment->variants[0].weight, 0.5);
    experiment_free(experiment);
}

Test(definitions, all_faults_are_reported_with_their_paths)
{
    expect_refused("{}", "name required; variants required");
    expect_refused("[]", " wrong_type");
    expect_refused("{'nmae': 'x', " TWO_VARIANTS ", 'colour': {'a': 1}}",
                   "nmae unknown_field; colour unknown_field; name required");
    expect_refused("{'name': 5, 'variants': [{'name': 'a', 'wieght': 1}, {'name': 7}], "
                   "'traffic_allocation': 2, 'layer': 7}",
                   "name wrong_type; traffic_allocation out_of_range; layer wrong_type; "
                   "variants[0].wieght unknown_field; variants[1].name wrong_type");
    expect_refused("{'name': 'x', 'targeting': {'county': [], 'rules': [{'attribute': 'a', 'op': "
                   "'like', 'value': 1}]}, " TWO_VARIANTS "}",
                   "targeting.county unknown_field; targeting.rules[0].op unknown_operator");
}

Test(definitions, more_faults_than_the_limit_are_counted_only)
{
    struct definition_context context = context_at(1, NOW_US);
    struct experiment *experiment = NULL;
    char *json = arena_take(&arena, 65536);
    size_t size = (size_t)sprintf(json, "{");
    for (int i = 0; i < 150; i++) {
        size += (size_t)sprintf(json + size, "%s'x%d': 1", i > 0 ? ", " : "", i);
    }
    sprintf(json + size, "}");
    cr_expect_eq(experiment_create(pack_of(json), &context, random_bytes, &errors, &experiment),
                 STATUS_INVALID);
    cr_expect_eq(errors.count, 152);
    cr_expect_str_eq(errors.items[LIMIT_FIELD_ERRORS - 1].path, "x99");
}

Test(definitions, fields_of_the_wrong_shape_are_refused)
{
    static const char *const rows[][2] = {
        {"'name': ''",                                                                        "name out_of_range"                          },
        {"'name': 'a\\nb'",                                                                   "name malformed"                             },
        {"'name': 'a\\u0085b'",                                                               "name malformed"                             },
        {"'name': null",                                                                      "name required"                              },
        {"'name': 'x', 'key': 'Upper'",                                                       "key malformed"                              },
        {"'name': 'x', 'key': '-a'",                                                          "key malformed"                              },
        {"'name': 'x', 'key': 'a b'",                                                         "key malformed"                              },
        {"'name': 'x', 'key': ''",                                                            "key out_of_range"                           },
        {"'name': 'x', 'key': '01890a5d-ac96-774b-bcce-b302099a8057'",                        "key malformed"                              },
        {"'name': 'x', 'status': 'paused'",                                                   "status out_of_range"                        },
        {"'name': 'x', 'status': 'archived'",                                                 "status out_of_range"                        },
        {"'name': 'x', 'status': 'started'",                                                  "status out_of_range"                        },
        {"'name': 'x', 'traffic_allocation': -0.1",                                           "traffic_allocation out_of_range"            },
        {"'name': 'x', 'traffic_allocation': '1'",                                            "traffic_allocation wrong_type"              },
        {"'name': 'x', 'start_at': 'tomorrow'",                                               "start_at malformed"                         },
        {"'name': 'x', 'start_at': true",                                                     "start_at wrong_type"                        },
        {"'name': 'x', 'start_at': 1767225600",                                               "start_at out_of_range"                      },
        {"'name': 'x', 'end_at': '2026-01-01T00:00:00Z', 'start_at': '2026-01-01T00:00:00Z'",
         "end_at out_of_range"                                                                                                             },
        {"'name': 'x', 'metrics': 'revenue'",                                                 "metrics wrong_type"                         },
        {"'name': 'x', 'metrics': ['a', 'B', 'a']",                                           "metrics[1] malformed; metrics[2] not_unique"},
        {"'name': 'x', 'holdout': 'group'",                                                   "holdout wrong_type"                         },
        {"'name': 'x', 'holdout': {'name': 'g'}",                                             "holdout.share required"                     },
        {"'name': 'x', 'holdout': {'name': 'g', 'share': 1.5}",                               "holdout.share out_of_range"                 },
        {"'name': 'x', 'holdout': {'name': '', 'share': 0.5, 'x': 1}",                        "holdout.x unknown_field; holdout.name out_of_range"},
        {"'name': 'x', 'id': '01890a5d-ac96-774b-bcce-b302099a8057'",                         "id read_only"                               },
        {"'name': 'x', 'version': 1",                                                         "version read_only"                          },
        {"'name': 'x', 'idempotency_key': 'k'",                                               "idempotency_key unknown_field"              },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        expect_refused(arena_format(&arena, "{%s, " TWO_VARIANTS "}", rows[i][0]), rows[i][1]);
    }
}

Test(definitions, texts_are_taken_at_the_limit_and_refused_beyond)
{
    char name[LIMIT_NAME + 2] = {0};
    memset(name, 'n', LIMIT_NAME);
    experiment_free(created(arena_format(&arena, "{'name': '%s', 'key': '%.*s', " TWO_VARIANTS "}",
                                         name, (int)LIMIT_KEY, name)));
    name[LIMIT_NAME] = 'n';
    expect_refused(arena_format(&arena, "{'name': '%s', 'key': '%.*s', " TWO_VARIANTS "}", name,
                                (int)LIMIT_KEY + 1, name),
                   "key out_of_range; name out_of_range");
    char *text = arena_take_zeroed(&arena, LIMIT_VARIANT_VALUE + 2);
    memset(text, 'v', LIMIT_VARIANT_VALUE - 3); /* and the three bytes of its header */
    static const char value_json[] =
        "{'name': 'x', 'variants': [{'name': 'a', 'value': '%s'}, {'name': 'b'}]}";
    char *json = arena_take(&arena, LIMIT_VARIANT_VALUE + 256);
    sprintf(json, value_json, text);
    experiment_free(created(json));
    text[LIMIT_VARIANT_VALUE - 3] = 'v';
    sprintf(json, value_json, text);
    expect_refused(json, "variants[0].value out_of_range");
}

Test(definitions, a_definition_that_is_too_large_in_all_is_refused)
{
    char *text = arena_take_zeroed(&arena, 15000);
    memset(text, 'v', 14999);
    char *json = arena_take(&arena, 64 * 16000);
    size_t size = (size_t)sprintf(json, "{'name': 'x', 'variants': [");
    for (int i = 0; i < 20; i++) {
        size += (size_t)sprintf(json + size, "%s{'name': 'v%d', 'value': '%s'}", i > 0 ? "," : "",
                                i, text);
    }
    sprintf(json + size, "]}");
    expect_refused(json, " out_of_range");
}

/* ---- Variants ---- */

Test(definitions, weights_add_up_to_one_or_the_sum_is_stated)
{
    static const char *const rows[][2] = {
        {"[{'name': 'a', 'weight': 0.5}, {'name': 'b', 'weight': 0.6}]",           "variants weights_sum"             },
        {"[{'name': 'a', 'weight': 0}, {'name': 'b', 'weight': 0}]",               "variants weights_sum"             },
        {"[{'name': 'a', 'weight': -0.5}, {'name': 'b', 'weight': 1}]",
         "variants[0].weight out_of_range"                                                                            },
        {"[{'name': 'a', 'weight': 50}, {'name': 'b', 'weight': 50}]",
         "variants[0].weight out_of_range; variants[1].weight out_of_range"                                           },
        {"[{'name': 'a', 'weight': 0.5}, {'name': 'b'}, {'name': 'c'}]",
         "variants[1].weight required; variants[2].weight required"                                                   },
        {"[{'name': 'a', 'weight': '0.5'}, {'name': 'b', 'weight': 0.5}]",
         "variants[0].weight wrong_type"                                                                              },
        {"[{'name': 'a', 'weight': 0.333}, {'name': 'b', 'weight': 0.333}, {'name': 'c', 'weight': "
         "0.333}]",                                                       "variants weights_sum"             },
        {"[{'name': 'a'}]",                                                        "variants out_of_range"            },
        {"[]",                                                                     "variants out_of_range"            },
        {"[{'name': 'a'}, 'b']",                                                   "variants[1] wrong_type"           },
        {"[{'name': 'a'}, {'name': 'a'}]",                                         "variants[1].name not_unique"      },
        {"[{'name': 'a'}, {}]",                                                    "variants[1].name required"        },
        {"[{'name': 'a', 'is_control': true}, {'name': 'b', 'is_control': true}]",
         "variants[1].is_control not_unique"                                                                          },
        {"[{'name': 'a', 'is_control': 1}, {'name': 'b'}]",                        "variants[0].is_control wrong_type"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        expect_refused(arena_format(&arena, "{'name': 'x', 'variants': %s}", rows[i][0]),
                       rows[i][1]);
    }
    expect_refused(
        "{'name': 'x', 'variants': [{'name': 'a', 'weight': 0.5}, {'name': 'b', 'weight': 0.6}]}",
        "variants weights_sum");
    cr_expect_not_null(strstr(errors.items[0].message, "1.1"));
}

Test(definitions, weights_within_a_millionth_are_taken)
{
    experiment_free(created("{'name': 'x', 'variants': [{'name': 'a', 'weight': 0.333333}, "
                            "{'name': 'b', 'weight': 0.333333},"
                            " {'name': 'c', 'weight': 0.333333}]}"));
    experiment_free(created("{'name': 'x', 'variants': [{'name': 'a', 'weight': "
                            "0.3333333333333333}, {'name': 'b', 'weight': 0.3333333333333333},"
                            " {'name': 'c', 'weight': 0.3333333333333333}]}"));
    experiment_free(created(
        "{'name': 'x', 'variants': [{'name': 'a', 'weight': 0}, {'name': 'b', 'weight': 1}]}"));
    expect_refused("{'name': 'x', 'variants': [{'name': 'a', 'weight': 0.5}, {'name': 'b', "
                   "'weight': 0.500002}]}",
                   "variants weights_sum");
}

static char *many_variants(uint32_t count)
{
    char *json = arena_take(&arena, 65536);
    size_t size = (size_t)sprintf(json, "{'name': 'x', 'variants': [");
    for (uint32_t i = 0; i < count; i++) {
        size += (size_t)sprintf(json + size, "%s{'name': 'v%u'}", i > 0 ? "," : "", i);
    }
    sprintf(json + size, "]}");
    return json;
}

Test(definitions, sixty_four_variants_are_the_most)
{
    struct experiment *experiment = created(many_variants(LIMIT_VARIANTS));
    cr_expect_eq(experiment->variant_count, LIMIT_VARIANTS);
    for (uint32_t i = 0; i < LIMIT_VARIANTS; i++) {
        for (uint32_t k = 0; k < i; k++) {
            cr_expect(!uuid_equal(&experiment->variants[i].id, &experiment->variants[k].id));
        }
    }
    experiment_free(experiment);
    expect_refused(many_variants(LIMIT_VARIANTS + 1), "variants out_of_range");
}

Test(definitions, the_control_is_the_one_that_says_so)
{
    struct experiment *experiment =
        created("{'name': 'x', 'variants': [{'name': 'a'}, {'name': 'b', 'is_control': true}]}");
    cr_expect_eq(experiment->control, 1);
    cr_expect(!experiment->variants[0].is_control && experiment->variants[1].is_control);
    experiment_free(experiment);
    experiment = created("{'name': 'x', 'variants': [{'name': 'a', 'is_control': false}, {'name': "
                         "'b', 'is_control': false}]}");
    cr_expect_eq(experiment->control, 0);
    experiment_free(experiment);
}

Test(definitions, a_variant_value_may_be_any_json)
{
    static const char *const values[] = {"5",
                                         "-2.5",
                                         "true",
                                         "false",
                                         "'text'",
                                         "''",
                                         "[1, [2, {'a': null}]]",
                                         "{}",
                                         "18446744073709551615"};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct experiment *experiment = created(arena_format(
            &arena, "{'name': 'x', 'variants': [{'name': 'a'}, {'name': 'b', 'value': %s}]}",
            values[i]));
        cr_expect(bytes_equal(experiment->variants[1].value, pack_of(values[i])), "%s", values[i]);
        experiment_free(experiment);
    }
}

/* ---- The stored form ---- */

static void expect_same(const struct experiment *a, const struct experiment *b)
{
    cr_expect(uuid_equal(&a->id, &b->id) && uuid_equal(&a->author, &b->author));
    cr_expect(bytes_equal(a->key, b->key) && bytes_equal(a->name, b->name) &&
              bytes_equal(a->layer, b->layer));
    cr_expect(bytes_equal(a->description, b->description));
    cr_expect_eq(a->version, b->version);
    cr_expect_eq(a->status, b->status);
    cr_expect_eq(a->salt, b->salt);
    cr_expect_eq(a->traffic_allocation, b->traffic_allocation);
    cr_expect_eq(a->start_at_us, b->start_at_us);
    cr_expect_eq(a->end_at_us, b->end_at_us);
    cr_expect_eq(a->created_at_us, b->created_at_us);
    cr_expect_eq(a->updated_at_us, b->updated_at_us);
    cr_expect_eq(a->started_at_us, b->started_at_us);
    cr_expect_eq(a->ended_at_us, b->ended_at_us);
    cr_expect(bytes_equal(a->targeting.document, b->targeting.document));
    cr_expect_eq(a->targeting.node_count, b->targeting.node_count);
    cr_expect_eq(a->control, b->control);
    cr_assert_eq(a->variant_count, b->variant_count);
    for (uint32_t i = 0; i < a->variant_count; i++) {
        cr_expect(uuid_equal(&a->variants[i].id, &b->variants[i].id));
        cr_expect(bytes_equal(a->variants[i].name, b->variants[i].name));
        cr_expect(bytes_equal(a->variants[i].value, b->variants[i].value));
        cr_expect_eq(a->variants[i].weight, b->variants[i].weight);
    }
    cr_assert_eq(a->metric_count, b->metric_count);
    for (uint32_t i = 0; i < a->metric_count; i++) {
        cr_expect(bytes_equal(a->metrics[i], b->metrics[i]));
    }
    cr_expect(bytes_equal(a->document, b->document));
}

Test(definitions, the_stored_document_reads_back_the_same)
{
    struct experiment *experiment = created(full_document);
    struct experiment *again = NULL;
    cr_assert_eq(experiment_decode(experiment->document, &again), STATUS_OK);
    expect_same(experiment, again);
    experiment_free(experiment);
    cr_expect(
        bytes_equal_text(again->variants[2].name, "green_button")); /* its memory is its own */
    experiment_free(again);
}

Test(definitions, finishing_gives_a_key_and_an_idempotency_key)
{
    struct experiment *draft = created("{'name': 'x', " TWO_VARIANTS "}");
    struct experiment *finished = NULL;
    struct uuid digest = {
        {1, 2, 3}
    };
    struct bytes idempotency_key = bytes_of("k\xff\x01", 3); /* a header need not be UTF-8 */
    cr_assert_eq(experiment_finish(draft,
                                   &(struct experiment_place){.key = bytes_of_text("x-2"),
                                                              .layer_start = 0.25,
                                                              .idempotency_key = idempotency_key,
                                                              .idempotency_digest = digest},
                                   &finished),
                 STATUS_OK);
    cr_expect(bytes_equal_text(finished->key, "x-2"));
    cr_expect(bytes_equal(finished->idempotency_key, idempotency_key));
    cr_expect(uuid_equal(&finished->idempotency_digest, &digest));
    cr_expect(uuid_equal(&finished->variants[1].id, &draft->variants[1].id));
    struct experiment *later = patched(finished, "{'name': 'y'}");
    cr_expect(bytes_equal(later->idempotency_key, idempotency_key));
    cr_expect(uuid_equal(&later->idempotency_digest, &digest));
    experiment_free(later);
    experiment_free(finished);
    cr_expect_eq(experiment_finish(
                     draft, &(struct experiment_place){.key = bytes_of_text("Bad Key")}, &finished),
                 STATUS_INVALID);
    experiment_free(draft);
}

/* Damage of any one byte must never crash, and never be half read. Many changes leave a valid document; that is for
 * the log's checksums to find. */
Test(definitions, damaged_documents_are_refused_or_whole)
{
    struct experiment *experiment = created(full_document);
    size_t size = experiment->document.size;
    uint8_t *bytes = malloc(size);
    uint32_t refused = 0;
    for (size_t i = 0; i < size; i++) {
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            struct experiment *again = NULL;
            memcpy(bytes, experiment->document.data, size);
            bytes[i] ^= (uint8_t)flip;
            enum status status = experiment_decode(bytes_of(bytes, size), &again);
            cr_assert(status == STATUS_OK || status == STATUS_DAMAGED);
            refused += status == STATUS_DAMAGED ? 1 : 0;
            experiment_free(again);
        }
        struct experiment *cut = NULL;
        cr_assert_eq(experiment_decode(bytes_of(bytes, i), &cut), STATUS_DAMAGED);
    }
    cr_expect_gt(refused, 1000);
    free(bytes);
    experiment_free(experiment);
}

Test(definitions, a_client_document_is_no_stored_one)
{
    struct experiment *experiment = NULL;
    cr_expect_eq(experiment_decode(pack_of(full_document), &experiment), STATUS_DAMAGED);
    cr_expect_eq(experiment_decode(bytes_of("", 0), &experiment), STATUS_DAMAGED);
    experiment_free(NULL);
}

/* ---- Patch ---- */

Test(definitions, a_patch_changes_only_what_it_names)
{
    struct experiment *first = created(full_document);
    struct experiment *second = patched(
        first, "{'traffic_allocation': 0.5, 'layer': null, 'metrics': null, 'targeting': null}");
    cr_expect_eq(second->version, 2);
    cr_expect_eq(second->traffic_allocation, 0.5);
    cr_expect_eq(second->layer.size, 0);
    cr_expect_eq(second->metric_count, 2);
    cr_expect_eq(second->targeting.node_count, 0);
    cr_expect_eq(second->created_at_us, first->created_at_us);
    cr_expect_eq(second->updated_at_us, NOW_US + 1000000);
    cr_expect_eq(second->started_at_us, first->started_at_us);
    cr_expect_eq(second->salt, first->salt);
    cr_expect(bytes_equal(second->name, first->name));
    cr_expect(bytes_equal(second->variants[0].value, first->variants[0].value));
    experiment_free(first);
    struct experiment *third = patched(second, "{}");
    cr_expect_eq(third->traffic_allocation, 0.5);
    cr_expect_eq(third->version, 3);
    experiment_free(second);
    experiment_free(third);
}

Test(definitions, an_object_may_be_sent_back_as_it_was_shown)
{
    struct experiment *experiment = created(full_document);
    char id[UUID_TEXT_SIZE];
    char variant_ids[3][UUID_TEXT_SIZE];
    uuid_format(&experiment->id, id);
    for (int i = 0; i < 3; i++) {
        uuid_format(&experiment->variants[i].id, variant_ids[i]);
    }
    const char *shown = arena_format(
        &arena,
        "{'id': '%s', 'key': 'homepage-cta', 'version': 1, 'name': 'Renamed', 'description': '', "
        "'status': 'running',"
        " 'created_at': '2026-01-01T00:00:00.000Z', 'updated_at': '2026-01-01T00:00:00.000Z',"
        " 'started_at': '2026-01-01T00:00:00.000Z', 'ended_at': null,"
        " 'variants': [{'id': '%s', 'name': 'control', 'weight': 0.5, 'is_control': true, 'value': "
        "{'color': 'red'}},"
        "              {'id': '%s', 'name': 'blue_button', 'weight': 0.25, 'is_control': false, "
        "'value': null},"
        "              {'id': '%s', 'name': 'green_button', 'weight': 0.25, 'is_control': false, "
        "'value': null}]}",
        id, variant_ids[0], variant_ids[1], variant_ids[2]);
    struct experiment *second = patched(experiment, shown);
    cr_expect(bytes_equal_text(second->name, "Renamed"));
    cr_expect_eq(second->description.size, 0);
    cr_expect(bytes_equal(second->variants[0].value, pack_of("{'color': 'red'}")));
    cr_expect(uuid_equal(&second->variants[2].id, &experiment->variants[2].id));
    experiment_free(second);
    expect_patch_refused(experiment, "{'version': 2}", NULL, STATUS_INVALID, "version read_only");
    expect_patch_refused(experiment, "{'id': '01890a5d-ac96-774b-bcce-b302099a8057'}", NULL,
                         STATUS_INVALID, "id read_only");
    expect_patch_refused(experiment, "{'created_at': '2025-01-01T00:00:00Z'}", NULL, STATUS_INVALID,
                         "created_at read_only");
    expect_patch_refused(experiment, "{'created_at': '1999-01-01T00:00:00Z'}", NULL, STATUS_INVALID,
                         "created_at read_only");
    expect_patch_refused(experiment, "{'key': 'another'}", NULL, STATUS_INVALID, "key immutable");
    expect_patch_refused(experiment, "{'key': null}", NULL, STATUS_INVALID, "key immutable");
    expect_patch_refused(experiment, "{'name': null, 'variants': null, 'status': null}", NULL,
                         STATUS_INVALID, "name required; variants required; status wrong_type");
    expect_patch_refused(
        experiment,
        "{'variants': [{'id': '01890a5d-ac96-774b-bcce-b302099a8057', 'name': 'control'},"
        " {'name': 'blue_button'}, {'name': 'green_button'}]}",
        NULL, STATUS_INVALID, "variants[0].id read_only");
    experiment_free(experiment);
}

Test(definitions, the_life_cycle_is_the_documented_one)
{
    static const bool expected[EXPERIMENT_STATUS_END][EXPERIMENT_STATUS_END] = {
  /*            draft  running paused completed archived */
  /* draft */ {true,  true,  false, false, true },
 /* running */
        {false, true,  true,  true,  false},
 /* paused */
        {false, true,  true,  true,  false},
 /* completed */
        {false, false, false, true,  true },
 /* archived */
        {false, false, false, false, true },
    };
    for (int from = 0; from < EXPERIMENT_STATUS_END; from++) {
        for (int to = 0; to < EXPERIMENT_STATUS_END; to++) {
            cr_expect_eq(experiment_status_may_follow((enum experiment_status)from,
                                                      (enum experiment_status)to),
                         expected[from][to]);
        }
    }
    for (int i = 0; i < EXPERIMENT_STATUS_END; i++) {
        enum experiment_status status;
        cr_assert_eq(experiment_status_parse(
                         bytes_of_text(experiment_status_name((enum experiment_status)i)), &status),
                     STATUS_OK);
        cr_expect_eq(status, i);
    }
}

Test(definitions, moves_stamp_their_times_and_wrong_moves_conflict)
{
    struct experiment *draft = created("{'name': 'x', 'status': 'draft', " TWO_VARIANTS "}");
    cr_expect_eq(draft->started_at_us, 0);
    expect_patch_refused(draft, "{'status': 'paused'}", NULL, STATUS_CONFLICT,
                         "status status_move");
    cr_expect_not_null(strstr(errors.items[0].message, "allowed: running, archived"));
    expect_patch_refused(draft, "{'status': 'paused', 'layer': 1}", NULL, STATUS_INVALID,
                         "layer wrong_type; status status_move");
    expect_patch_refused(draft, "{'status': 'stopped'}", NULL, STATUS_INVALID,
                         "status out_of_range");
    struct experiment *running = patched(draft, "{'status': 'running'}");
    cr_expect_eq(running->started_at_us, NOW_US + 1000000);
    struct experiment *paused = patched(running, "{'status': 'paused'}");
    cr_expect_eq(paused->ended_at_us, 0);
    struct experiment *completed = patched(paused, "{'status': 'completed'}");
    cr_expect_eq(completed->ended_at_us, NOW_US + 1000000);
    cr_expect_eq(completed->started_at_us, running->started_at_us);
    expect_patch_refused(completed, "{'status': 'running'}", NULL, STATUS_CONFLICT,
                         "status status_move");
    struct experiment *archived = patched(completed, "{'status': 'archived'}");
    expect_patch_refused(archived, "{'status': 'draft'}", NULL, STATUS_CONFLICT,
                         "status status_move");
    cr_expect_not_null(strstr(errors.items[0].message, "allowed: none"));
    experiment_free(draft);
    experiment_free(running);
    experiment_free(paused);
    experiment_free(completed);
    experiment_free(archived);
}

Test(definitions, variants_keep_their_index_whatever_order_is_sent)
{
    struct experiment *first =
        created("{'name': 'x', 'variants': [{'name': 'a', 'value': 1}, {'name': 'b'}]}");
    struct experiment *second =
        patched(first, "{'variants': [{'name': 'c', 'weight': 0.5}, {'name': 'b', 'weight': 0}, "
                       "{'name': 'a', 'weight': 0.5}]}");
    cr_assert_eq(second->variant_count, 3);
    cr_expect(bytes_equal_text(second->variants[0].name, "a"));
    cr_expect(bytes_equal_text(second->variants[1].name, "b"));
    cr_expect(bytes_equal_text(second->variants[2].name, "c"));
    cr_expect_eq(second->variants[1].weight, 0);
    cr_expect_eq(second->control, 0);
    cr_expect(bytes_equal(second->variants[0].value, pack_of("1")), "a field left out stays");
    cr_expect(uuid_equal(&first->variants[0].id, &second->variants[0].id));
    struct experiment *third = patched(
        second,
        "{'variants': [{'name': 'c'}, {'name': 'b', 'value': 2}, {'name': 'a', 'value': null}]}");
    cr_expect_eq(third->variants[2].weight, 0.5,
                 "weights left out in a list of the same variants stay");
    cr_expect_eq(third->variants[0].value.size, 0);
    cr_expect(bytes_equal(third->variants[1].value, pack_of("2")));
    experiment_free(first);
    experiment_free(second);
    experiment_free(third);
}

Test(definitions, variants_of_a_started_experiment_cannot_go)
{
    static const uint64_t users[LIMIT_VARIANTS] = {10, 20, 0};
    struct experiment *running =
        created("{'name': 'x', 'variants': [{'name': 'a'}, {'name': 'b'}, {'name': 'c'}]}");
    expect_patch_refused(
        running, "{'variants': [{'name': 'a', 'weight': 0.5}, {'name': 'c', 'weight': 0.5}]}",
        users, STATUS_INVALID, "variants variant_in_use");
    cr_expect_not_null(strstr(errors.items[0].message, "20 users"));
    expect_patch_refused(
        running, "{'variants': [{'name': 'a', 'weight': 0.5}, {'name': 'b', 'weight': 0.5}]}",
        users, STATUS_INVALID, "variants variant_in_use");
    expect_patch_refused(
        running, "{'variants': [{'name': 'a'}, {'name': 'b'}, {'name': 'c'}, {'name': 'd'}]}",
        users, STATUS_INVALID, "variants required");
    expect_patch_refused(
        running, "{'variants': [{'name': 'a'}, {'name': 'b', 'is_control': true}, {'name': 'c'}]}",
        users, STATUS_INVALID, "variants immutable");
    struct experiment *closed =
        patched(running, "{'variants': [{'name': 'a', 'weight': 1}, {'name': 'b', 'weight': 0}, "
                         "{'name': 'c', 'weight': 0}]}");
    cr_expect_eq(closed->variants[2].weight, 0);
    experiment_free(running);
    experiment_free(closed);
}

Test(definitions, the_variants_of_a_draft_may_be_dealt_anew)
{
    static const uint64_t users[LIMIT_VARIANTS] = {0, 1};
    struct experiment *draft =
        created("{'name': 'x', 'status': 'draft', 'variants': [{'name': 'a'}, {'name': 'b'}]}");
    struct experiment *other = patched(draft, "{'variants': [{'name': 'c', 'value': 3}, {'name': "
                                              "'b', 'is_control': true}, {'name': 'd'}]}");
    cr_assert_eq(other->variant_count, 3);
    cr_expect(bytes_equal_text(other->variants[0].name, "c"));
    cr_expect_eq(other->control, 1);
    cr_expect_float_eq(other->variants[2].weight, 1.0 / 3, 1e-15);
    cr_expect(uuid_equal(&other->variants[1].id, &draft->variants[1].id));
    cr_expect(!uuid_equal(&other->variants[0].id, &draft->variants[0].id));
    struct experiment *third = patched(
        other, "{'variants': [{'name': 'c', 'is_control': true}, {'name': 'b'}, {'name': 'd'}]}");
    cr_expect_eq(third->control, 0, "who says so now goes before who was it");
    cr_expect(!third->variants[1].is_control);
    experiment_free(third);
    /* Imported assignments may fill a draft: then indexes stand. */
    expect_patch_refused(
        draft, "{'variants': [{'name': 'a', 'weight': 0.5}, {'name': 'c', 'weight': 0.5}]}", users,
        STATUS_INVALID, "variants variant_in_use");
    experiment_free(draft);
    experiment_free(other);
}

/* ---- Slugs ---- */

Test(definitions, slugs_are_keys)
{
    static const char *const rows[][2] = {
        {"Homepage CTA Test",                    "homepage-cta-test"},
        {"  --Rock & Roll!! 2 ",                 "rock-roll-2"      },
        {"Überraschung",                        "berraschung"      },
        {"日本語",                            "experiment"       },
        {"",                                     "experiment"       },
        {"01890A5D-ac96-774b-bcce-b302099a8057", "experiment"       },
    };
    char slug[LIMIT_KEY + 1];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        experiment_slug(bytes_of_text(rows[i][0]), slug, sizeof(slug));
        cr_expect_str_eq(slug, rows[i][1]);
    }
    char name[LIMIT_NAME];
    memset(name, 'a', sizeof(name));
    name[LIMIT_KEY - 1] = ' ';
    experiment_slug(bytes_of(name, sizeof(name)), slug, sizeof(slug));
    cr_expect_eq(strlen(slug), LIMIT_KEY - 1);
    name[LIMIT_KEY - 1] = 'a';
    experiment_slug(bytes_of(name, sizeof(name)), slug, sizeof(slug));
    cr_expect_eq(strlen(slug), LIMIT_KEY);
}

/* ---- Metrics ---- */

static enum status metric_try(const char *json, struct metric **out_metric)
{
    struct definition_context context = context_at(1, NOW_US);
    forget_faults();
    return metric_create(pack_of(json), &context, &errors, out_metric);
}

static struct metric *metric_made(const char *json)
{
    struct metric *metric = NULL;
    enum status status = metric_try(json, &metric);
    cr_assert_eq(status, STATUS_OK, "%s: %s", json, faults());
    return metric;
}

Test(definitions, metrics_take_their_defaults)
{
    struct metric *metric = metric_made(
        "{'name': 'conversion_rate', 'type': 'proportion', 'event_type': 'conversion'}");
    cr_expect_eq(metric->type, METRIC_PROPORTION);
    cr_expect_eq(metric->direction, METRIC_INCREASE);
    cr_expect(!metric->archived);
    cr_expect_eq(metric->filter_count, 0);
    metric_free(metric);
    metric = metric_made(
        "{'name': 'revenue', 'type': 'mean', 'event_type': 'purchase', 'property': 'amount'}");
    cr_expect_eq(metric->aggregation, METRIC_SUM);
    metric_free(metric);
    metric = metric_made("{'name': 'visits', 'type': 'mean', 'event_type': 'page', 'window_hours': "
                         "null, 'cap': null, 'direction': 'decrease'}");
    cr_expect_eq(metric->aggregation, METRIC_COUNT);
    cr_expect_eq(metric->direction, METRIC_DECREASE);
    metric_free(metric);
}

Test(definitions, metrics_of_the_wrong_shape_are_refused)
{
    static const char *const rows[][2] = {
        {"{}",                                                                           "name required; type required"                                                           },
        {"{'name': 'A', 'type': 'mean', 'event_type': 'e'}",                             "name malformed"                                                                         },
        {"{'name': '1a', 'type': 'mean', 'event_type': 'e'}",                            "name malformed"                                                                         },
        {"{'name': 'a', 'type': 'ratio', 'event_type': 'e'}",                            "event_type not_allowed; numerator required; denominator required"                       },
        {"{'name': 'a', 'type': 'ratio', 'numerator': 'b', 'denominator': 'c', 'property': 'p', 'cap': {'upper': 1}}", "property not_allowed; cap not_allowed"},
        {"{'name': 'a', 'type': 'mean', 'numerator': 'b'}",                              "numerator not_allowed; event_type required"                                             },
        {"{'name': 'a', 'type': 'quantile', 'event_type': 'e'}",                         "quantile required; property required"                                                   },
        {"{'name': 'a', 'type': 'quantile', 'event_type': 'e', 'property': 'p', 'quantile': 1}", "quantile out_of_range"},
        {"{'name': 'a', 'type': 'quantile', 'event_type': 'e', 'property': 'p', 'quantile': 0.5, 'aggregation': 'sum'}",
         "aggregation not_allowed"},
        {"{'name': 'a', 'type': 'retention', 'event_type': 'e'}", "to_day required"},
        {"{'name': 'a', 'type': 'retention', 'event_type': 'e', 'from_day': 3, 'to_day': 2}", "from_day out_of_range"},
        {"{'name': 'a', 'type': 'retention', 'event_type': 'e', 'to_day': 366}", "to_day out_of_range"},
        {"{'name': 'a', 'type': 'retention', 'event_type': 'e', 'to_day': 1.5}", "to_day out_of_range"},
        {"{'name': 'a', 'type': 'retention', 'event_type': 'e', 'to_day': 1, 'window_hours': 1}", "window_hours not_allowed"},
        {"{'name': 'a', 'type': 'proportion', 'event_type': 'e', 'from_day': 1, 'to_day': 1}", "to_day not_allowed; from_day not_allowed"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'quantile': 0.5}", "quantile not_allowed"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'guardrail_margin': 1}", "guardrail_margin out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'guardrail_margin': -0.1}", "guardrail_margin out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'window_hours': 0}", "window_hours out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'window_hours': 8761}", "window_hours out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'percentile': 1}}", "cap.percentile out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': 1, 'percentile': 0.9}}", "cap required"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': 1, 'ignore_zeros': true}}", "cap.ignore_zeros not_allowed"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'percentile': 0.9, 'ignore_zeros': 1}}", "cap.ignore_zeros wrong_type"},
        {"{'name': 'a', 'type': 'median', 'event_type': 'e'}",                           "type out_of_range"                                                                      },
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'aggregation': 'max'}",
         "property required"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'aggregation': 'sum'}",
         "property required"                                                                                                                                                      },
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'aggregation': 'count', 'property': "
         "'p'}",                                                                "property not_allowed"                                                                   },
        {"{'name': 'a', 'type': 'proportion', 'event_type': 'e', 'property': 'p'}",
         "property not_allowed"                                                                                                                                                   },
        {"{'name': 'a', 'type': 'proportion', 'event_type': 'e', 'aggregation': 'sum'}",
         "aggregation not_allowed"                                                                                                                                                },
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': 0}}",      "cap.upper out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': 9.2e12}}", "cap.upper out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': '5'}}",    "cap.upper out_of_range"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {}}",                "cap required"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': 5}",                 "cap wrong_type"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'cap': {'upper': 5, 'lower': 1}}", "cap.lower unknown_field"},
        {"{'name': 'a', 'type': 'proportion', 'event_type': 'e', 'cap': {'upper': 5}}", "cap not_allowed"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'filters': [{'property': 'p', 'op': "
         "'like', 'value': 1}, {'op': 'eq'}]}",                                 "filters[0].op unknown_operator; filters[1].property required; filters[1].value required"},
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'filters': [{'attribute': 'p', 'op': "
         "'eq', 'value': 1}]}",                                                 "filters[0].attribute unknown_field"                                                     },
        {"{'name': 'a', 'type': 'mean', 'event_type': 'e', 'filters': {}}",              "filters wrong_type"                                                                     },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct metric *metric = NULL;
        cr_expect_eq(metric_try(rows[i][0], &metric), STATUS_INVALID, "%s", rows[i][0]);
        cr_expect_str_eq(faults(), rows[i][1], "%s\n gave: %s\n not:  %s", rows[i][0], faults(),
                         rows[i][1]);
    }
}

Test(definitions, filters_of_every_operand_read_back_and_hold)
{
    struct metric *metric =
        metric_made("{'name': 'large', 'type': 'mean', 'event_type': 'purchase', 'filters': ["
                    "{'property': 'amount', 'op': 'gte', 'value': 9.99}, {'property': 'test', "
                    "'op': 'not_exists'},"
                    "{'property': 'sku', 'op': 'matches', 'value': '^A[0-9]+$'},"
                    "{'property': 'shop', 'op': 'in', 'values': ['x', 'y']}]}");
    struct metric *again = NULL;
    cr_assert_eq(metric_decode(metric->document, &again), STATUS_OK);
    cr_expect(bytes_equal(metric->document, again->document));
    metric_free(metric);

    static const struct {
        const char *properties;
        bool counts;
    } rows[] = {
        {"{'amount': 9.99, 'sku': 'A1', 'shop': 'y'}",                true },
        {"{'amount': '10', 'sku': 'A1', 'shop': 'y'}",                true },
        {"{'amount': 9.98, 'sku': 'A1', 'shop': 'y'}",                false},
        {"{'amount': 9.99, 'sku': 'B1', 'shop': 'y'}",                false},
        {"{'amount': 9.99, 'sku': 'A1', 'shop': 'z'}",                false},
        {"{'amount': 9.99, 'sku': 'A1', 'shop': 'y', 'test': false}", false},
        {"{'amount': 9.99, 'sku': 'A1', 'shop': 'y', 'test': null}",  true },
        {"{}",                                                        false},
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t millionths = 0;
        cr_expect_eq(metric_value(again, pack_of(rows[i].properties), &millionths), rows[i].counts,
                     "%s", rows[i].properties);
    }
    metric_free(again);
}

Test(definitions, metrics_read_back_and_are_patched)
{
    struct metric *metric =
        metric_made("{'name': 'revenue', 'description': 'd', 'type': 'mean', 'event_type': "
                    "'purchase', 'property': 'amount',"
                    " 'filters': [{'property': 'currency', 'op': 'eq', 'value': 'EUR'},"
                    "             {'property': 'kind', 'op': 'not_in', 'values': ['test', 5, 0.1, "
                    "true, 18446744073709551615, 9007199254.740993]}]}");
    struct metric *again = NULL;
    cr_assert_eq(metric_decode(metric->document, &again), STATUS_OK);
    cr_expect(bytes_equal(metric->document, again->document));
    cr_assert_eq(again->filter_count, 2);
    cr_expect_eq(again->filters[1].operation, RULE_NOT_IN);
    cr_expect_eq(again->filters[1].values.count, 6);
    metric_free(metric);

    struct definition_context context = context_at(2, NOW_US + 5);
    struct metric *changed = NULL;
    forget_faults();
    cr_assert_eq(metric_patch(again,
                              pack_of("{'filters': null, 'archived': true, 'description': null, "
                                      "'name': 'revenue', 'version': 1}"),
                              &context, &errors, &changed),
                 STATUS_OK, "%s", faults());
    cr_expect_eq(changed->filter_count, 0);
    cr_expect(changed->archived);
    cr_expect_eq(changed->version, 2);
    cr_expect_eq(changed->created_at_us, NOW_US);
    cr_expect_eq(changed->updated_at_us, NOW_US + 5);
    cr_expect(bytes_equal_text(changed->property, "amount"));
    metric_free(again);

    struct metric *none = NULL;
    forget_faults();
    cr_expect_eq(metric_patch(changed, pack_of("{'name': 'other', 'property': null}"), &context,
                              &errors, &none),
                 STATUS_INVALID);
    cr_expect_str_eq(faults(), "name immutable");
    forget_faults();
    cr_expect_eq(metric_patch(changed, pack_of("{'property': null}"), &context, &errors, &none),
                 STATUS_INVALID);
    cr_expect_str_eq(faults(), "property required");
    forget_faults();
    cr_assert_eq(metric_patch(changed, pack_of("{'type': 'proportion', 'property': null}"),
                              &context, &errors, &none),
                 STATUS_OK, "%s", faults());
    cr_expect_eq(none->type, METRIC_PROPORTION);
    metric_free(none);
    metric_free(changed);
    cr_expect_eq(metric_decode(pack_of("{}"), &none), STATUS_DAMAGED);
}

Test(definitions, a_metric_takes_its_value_from_the_event)
{
    struct metric *sum = metric_made(
        "{'name': 'revenue', 'type': 'mean', 'event_type': 'purchase', 'property': 'amount',"
        " 'filters': [{'property': 'currency', 'op': 'eq', 'value': 'EUR'},"
        "             {'property': 'test', 'op': 'ne', 'value': true}]}");
    struct metric *count = metric_made("{'name': 'n', 'type': 'mean', 'event_type': 'purchase'}");

    static const struct {
        const char *properties;
        bool counts;
        int64_t millionths;
    } rows[] = {
        {"{'amount': 29.99, 'currency': 'EUR'}",               true,  29990000},
        {"{'amount': -5, 'currency': 'EUR', 'test': false}",   true,  -5000000},
        {"{'amount': 29.99, 'currency': 'USD'}",               false, 0       },
        {"{'amount': 29.99}",                                  false, 0       },
        {"{'amount': 29.99, 'currency': 'EUR', 'test': true}", false, 0       },
        {"{'amount': '29.99', 'currency': 'EUR'}",             false, 0       },
        {"{'amount': null, 'currency': 'EUR'}",                false, 0       },
        {"{'amount': 9200000000000, 'currency': 'EUR'}",       false, 0       },
        {"{'currency': 'EUR'}",                                false, 0       },
        {"{}",                                                 false, 0       },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t value = 0;
        struct bytes properties = pack_of(rows[i].properties);
        cr_expect_eq(metric_value(sum, properties, &value), rows[i].counts, "%s",
                     rows[i].properties);
        cr_expect_eq(value, rows[i].millionths, "%s", rows[i].properties);
        cr_expect(metric_value(count, properties, &value));
        cr_expect_eq(value, METRIC_UNIT);
    }
    int64_t value = 0;
    cr_expect(!metric_value(sum, bytes_of(NULL, 0), &value));
    cr_expect(metric_value(count, bytes_of(NULL, 0), &value));
    metric_free(sum);
    metric_free(count);
}

/* ---- Tokens ---- */

static enum status token_try(const char *json, struct token **out_token)
{
    static const uint8_t digest[TOKEN_DIGEST_SIZE] = {9, 8, 7};
    struct definition_context context = context_at(1, NOW_US);
    forget_faults();
    return token_create(pack_of(json), &context, digest, &errors, out_token);
}

Test(definitions, tokens_read_back_and_are_revoked)
{
    struct token *token = NULL;
    struct token *revoked = NULL;
    struct token *again = NULL;
    cr_assert_eq(token_try("{'name': 'ci', 'scopes': ['events:write', 'assign'], 'expires_at': "
                           "'2026-06-01T00:00:00Z'}",
                           &token),
                 STATUS_OK, "%s", faults());
    cr_expect_eq(token->scopes, SCOPE_ASSIGN | SCOPE_EVENTS_WRITE);
    cr_expect_eq(token->digest[2], 7);
    cr_expect_eq(token->revoked_at_us, 0);
    struct definition_context context = context_at(2, NOW_US + 7);
    cr_assert_eq(token_revoke(token, &context, &revoked), STATUS_OK);
    cr_assert_eq(token_decode(revoked->document, &again), STATUS_OK);
    cr_expect_eq(again->revoked_at_us, NOW_US + 7);
    cr_expect_eq(again->version, 2);
    cr_expect_eq(again->scopes, token->scopes);
    cr_expect_eq(again->expires_at_us, token->expires_at_us);
    cr_expect_arr_eq(again->digest, token->digest, TOKEN_DIGEST_SIZE);
    token_free(token);
    token_free(revoked);
    token_free(again);
    cr_assert_eq(token_try("{'name': 'admin', 'scopes': ['admin']}", &token), STATUS_OK);
    cr_expect_eq(token->expires_at_us, 0);
    token_free(token);
}

Test(definitions, tokens_of_the_wrong_shape_are_refused)
{
    static const char *const rows[][2] = {
        {"{}",                                                                        "name required; scopes required"},
        {"{'name': 'x', 'scopes': []}",                                               "scopes out_of_range"           },
        {"{'name': 'x', 'scopes': ['all', 'assign', 'assign']}",
         "scopes[0] out_of_range; scopes[2] not_unique"                                                               },
        {"{'name': 'x', 'scopes': ['assign'], 'expires_at': '2026-01-01T00:00:00Z'}",
         "expires_at out_of_range"                                                                                    },
        {"{'name': 'x', 'scopes': ['assign'], 'digest': 'abc', 'secret': 1}",
         "digest unknown_field; secret unknown_field"                                                                 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct token *token = NULL;
        cr_expect_eq(token_try(rows[i][0], &token), STATUS_INVALID, "%s", rows[i][0]);
        cr_expect_str_eq(faults(), rows[i][1], "%s\n gave: %s\n not:  %s", rows[i][0], faults(),
                         rows[i][1]);
    }
    for (unsigned i = 0; i < SCOPE_COUNT; i++) {
        cr_expect_not_null(token_scope_name(1u << i));
    }
    cr_expect_str_eq(token_scope_name(SCOPE_EXPERIMENTS_READ), "experiments:read");
    cr_expect_null(token_scope_name(3));
    cr_expect_null(token_scope_name(0));
    cr_expect_null(token_scope_name(1u << SCOPE_COUNT));
}
