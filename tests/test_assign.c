/* Goal: assay gives every user the variant that docs/assignment.md says, evenly, independently between experiments, and
 * stably when the definition changes.
 * Method: vectors made by an independent implementation (tests/oracle/assignment.py); chi-square over a million users of
 * several shapes (deterministic, so a pass stays a pass); experiments built as plain structs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/assign.h"

#define USERS   1000000u
#define NOW_US  1767225600000000ll
#define BUCKETS 100u
/* The 99.99 % point of chi-square with so many degrees of freedom. */
#define CHI_SQUARE_99 161.3
#define CHI_SQUARE_3  21.1
#define CHI_SQUARE_81 138.2

static const struct bytes no_attributes = {NULL, 0};

static struct experiment experiment_of(uint64_t salt, double traffic_allocation,
                                       struct variant *variants, uint32_t count)
{
    return (struct experiment){
        .status = EXPERIMENT_RUNNING,
        .salt = salt,
        .traffic_allocation = traffic_allocation,
        .variants = variants,
        .variant_count = count,
    };
}

static struct assign_result assign_one(const struct experiment *experiment, struct bytes user_id, struct bytes attributes,
                                       int64_t now_us)
{
    return assign_user(experiment, &(struct targeting_subject){.user_id = user_id, .attributes = attributes}, now_us);
}

static void explain_one(const struct experiment *experiment, struct bytes user_id, struct bytes attributes, int64_t now_us,
                        bool as_if_open, struct assign_explanation *out)
{
    const struct targeting_subject subject = {.user_id = user_id, .attributes = attributes};
    assign_explain(experiment, &subject, now_us, as_if_open, out);
}

/* ---- Vectors ---- */

static FILE *vectors_open(void)
{
    FILE *file = fopen(ASSAY_SOURCE_DIR "/tests/data/assignment_vectors.json", "r");
    cr_assert_not_null(file);
    return file;
}

static struct bytes bytes_of_hex(const char *hex, uint8_t *out_data)
{
    size_t size = strlen(hex) / 2;
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        cr_assert_eq(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out_data[i] = (uint8_t)byte;
    }
    return bytes_of(out_data, size);
}

Test(assign, points_are_those_of_the_published_vectors)
{
    FILE *file = vectors_open();
    char line[4096];
    uint32_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long salt;
        unsigned long long traffic;
        unsigned long long variant;
        char hex[512];
        uint8_t data[256];
        if (sscanf(line, " {\"salt\": \"%16llx\", \"user_id_hex\": \"%511[0-9a-f]\"", &salt, hex) !=
            2) {
            continue;
        }
        const char *points = strstr(line, "\"traffic\": ");
        cr_assert_not_null(points);
        cr_assert_eq(
            sscanf(points, "\"traffic\": \"%llx\", \"variant\": \"%llx\"", &traffic, &variant), 2);
        struct bytes user_id = bytes_of_hex(hex, data);
        cr_expect_eq(assign_traffic_point(salt, user_id), (double)traffic * 0x1p-53, "%s", line);
        cr_expect_eq(assign_variant_point(salt, user_id), (double)variant * 0x1p-53, "%s", line);
        count++;
    }
    fclose(file);
    cr_expect_eq(count, 205);
}

/* "[0.5, 0.25]" */
static uint32_t weights_read(const char *text, struct variant *variants)
{
    uint32_t count = 0;
    const char *at = strchr(text, '[') + 1;
    while (*at != ']') {
        char *end;
        cr_assert_lt(count, 10);
        variants[count++].weight = strtod(at, &end);
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

Test(assign, layer_points_are_those_of_the_published_vectors)
{
    FILE *file = vectors_open();
    char line[4096];
    uint32_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long point;
        char layer_hex[512];
        char hex[512];
        uint8_t layer[256];
        uint8_t user[256];
        if (sscanf(line, " {\"layer_hex\": \"%511[0-9a-f]\", \"user_id_hex\": \"%511[0-9a-f]\"",
                   layer_hex, hex) != 2) {
            continue;
        }
        const char *at = strstr(line, "\"point\": ");
        cr_assert_not_null(at);
        cr_assert_eq(sscanf(at, "\"point\": \"%llx\"", &point), 1);
        cr_expect_eq(assign_layer_point(bytes_of_hex(layer_hex, layer), bytes_of_hex(hex, user)),
                     (double)point * 0x1p-53, "%s", line);
        count++;
    }
    fclose(file);
    cr_expect_eq(count, 205);
}

Test(assign, holdout_points_are_those_of_the_published_vectors)
{
    FILE *file = vectors_open();
    char line[4096];
    uint32_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long point;
        char holdout_hex[512];
        char hex[512];
        uint8_t holdout[256];
        uint8_t user[256];
        if (sscanf(line, " {\"holdout_hex\": \"%511[0-9a-f]\", \"user_id_hex\": \"%511[0-9a-f]\"", holdout_hex, hex) != 2) {
            continue;
        }
        const char *at = strstr(line, "\"point\": ");
        cr_assert_not_null(at);
        cr_assert_eq(sscanf(at, "\"point\": \"%llx\"", &point), 1);
        cr_expect_eq(assign_holdout_point(bytes_of_hex(holdout_hex, holdout), bytes_of_hex(hex, user)),
                     (double)point * 0x1p-53, "%s", line);
        count++;
    }
    fclose(file);
    cr_expect_eq(count, 123);
}

Test(assign, variants_are_those_of_the_published_vectors)
{
    FILE *file = vectors_open();
    char line[4096];
    struct variant variants[10] = {0};
    struct experiment experiment = {0};
    char layer[64];
    struct ramp_step ramp[2];
    long long now = NOW_US;
    uint32_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long salt;
        double traffic_allocation;
        char user_id[256];
        char variant[16];
        if (sscanf(line, " {\"salt\": \"%16llx\", \"traffic_allocation\": %lf", &salt,
                   &traffic_allocation) == 2) {
            uint32_t variant_count = weights_read(strstr(line, "\"weights\""), variants);
            experiment = experiment_of(salt, traffic_allocation, variants, variant_count);
            const char *sliced = strstr(line, "\"layer\": ");
            if (sliced != NULL) {
                cr_assert_eq(sscanf(sliced, "\"layer\": \"%63[^\"]\", \"layer_start\": %lf", layer,
                                    &experiment.layer_start),
                             2);
                experiment.layer = bytes_of_text(layer);
            }
            const char *ramped = strstr(line, "\"ramp\": ");
            if (ramped != NULL) {
                long long at[2];
                cr_assert_eq(sscanf(ramped, "\"ramp\": [[%lld, %lf], [%lld, %lf]], \"now\": %lld", &at[0],
                                    &ramp[0].traffic_allocation, &at[1], &ramp[1].traffic_allocation, &now),
                             5);
                ramp[0].at_us = at[0];
                ramp[1].at_us = at[1];
                experiment.ramp = ramp;
                experiment.ramp_count = 2;
            }
            if (strstr(line, "\"holdout\": \"q4\"") != NULL) {
                experiment.holdout = bytes_of_text("q4");
                experiment.holdout_share = 0.3;
            }
        }
        if (sscanf(line, " {\"user_id\": \"%255[^\"]\", \"variant\": %15[0-9a-z]", user_id,
                   variant) != 2) {
            continue;
        }
        struct assign_result result =
            assign_one(&experiment, bytes_of_text(user_id), no_attributes, now);
        if (strcmp(variant, "null") == 0) {
            cr_expect_eq(result.reason,
                         experiment.layer.size > 0     ? ASSIGN_LAYER
                         : experiment.holdout.size > 0 ? ASSIGN_HOLDOUT
                                                       : ASSIGN_NOT_IN_TRAFFIC,
                         "%s", line);
        } else {
            cr_expect_eq(result.reason, ASSIGN_SPLIT, "%s", line);
            cr_expect_eq(result.variant, (uint32_t)atoi(variant), "%s", line);
        }
        count++;
    }
    fclose(file);
    cr_expect_eq(count, 560);
}

/* ---- Evenness ---- */

static uint64_t mixed(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

static int shape_integer(char *text, size_t capacity, uint32_t i)
{
    return snprintf(text, capacity, "%u", i);
}

static int shape_uuid(char *text, size_t capacity, uint32_t i)
{
    uint64_t high = mixed(i + 0x9e3779b97f4a7c15ull);
    uint64_t low = mixed(high ^ i);
    return snprintf(text, capacity, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(high >> 32),
                    (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xfff),
                    (unsigned)(low >> 52), (unsigned long long)(low & 0xffffffffffffull));
}

static int shape_email(char *text, size_t capacity, uint32_t i)
{
    return snprintf(text, capacity, "user.%u@mail%u.example.com", i / 7, i % 7);
}

/* Ids of a counter in binary, fixed size: the shape with the least entropy in most of its bytes. */
static int shape_binary(char *text, size_t capacity, uint32_t i)
{
    cr_assert_geq(capacity, 8);
    memcpy(text, "id:", 3);
    store_u32(text + 3, i);
    return 7;
}

typedef int (*shape_function)(char *text, size_t capacity, uint32_t i);

static const shape_function shapes[] = {shape_integer, shape_uuid, shape_email, shape_binary};

static double chi_square(const uint32_t *counts, const double *shares, uint32_t count,
                         uint32_t users)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        double expected = shares[i] * users;
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    return sum;
}

Test(assign, points_are_uniform_for_ids_of_every_shape)
{
    double shares[BUCKETS];
    for (uint32_t i = 0; i < BUCKETS; i++) {
        shares[i] = 1.0 / BUCKETS;
    }
    for (size_t shape = 0; shape < COUNT_OF(shapes); shape++) {
        uint32_t traffic[BUCKETS] = {0};
        uint32_t variant[BUCKETS] = {0};
        for (uint32_t i = 0; i < USERS; i++) {
            char text[64];
            struct bytes user_id = bytes_of(text, (size_t)shapes[shape](text, sizeof(text), i));
            traffic[(uint32_t)(assign_traffic_point(1, user_id) * BUCKETS)]++;
            variant[(uint32_t)(assign_variant_point(1, user_id) * BUCKETS)]++;
        }
        double of_traffic = chi_square(traffic, shares, BUCKETS, USERS);
        double of_variant = chi_square(variant, shares, BUCKETS, USERS);
        cr_expect_lt(of_traffic, CHI_SQUARE_99, "shape %zu: %g", shape, of_traffic);
        cr_expect_lt(of_variant, CHI_SQUARE_99, "shape %zu: %g", shape, of_variant);
    }
}

Test(assign, variants_get_their_weights)
{
    struct variant variants[] = {
        {.weight = 0.1}, {.weight = 0.2}, {.weight = 0}, {.weight = 0.3}, {.weight = 0.4}};
    static const double shares[] = {0.1, 0.2, 0.3, 0.4};
    for (size_t shape = 0; shape < COUNT_OF(shapes); shape++) {
        struct experiment experiment = experiment_of(42 + shape, 0.5, variants, COUNT_OF(variants));
        uint32_t counts[5] = {0};
        uint32_t enrolled = 0;
        for (uint32_t i = 0; i < USERS; i++) {
            char text[64];
            struct bytes user_id = bytes_of(text, (size_t)shapes[shape](text, sizeof(text), i));
            struct assign_result result = assign_one(&experiment, user_id, no_attributes, NOW_US);
            if (result.reason == ASSIGN_SPLIT) {
                counts[result.variant]++;
                enrolled++;
            }
        }
        /* Six standard deviations of a fair coin. */
        cr_expect_float_eq((double)enrolled, USERS / 2.0, 6 * 500.0);
        cr_expect_eq(counts[2], 0, "a closed variant takes nobody");
        const uint32_t open[] = {counts[0], counts[1], counts[3], counts[4]};
        cr_expect_lt(chi_square(open, shares, COUNT_OF(open), enrolled), CHI_SQUARE_3);
    }
}

/* ---- Independence ---- */

typedef double (*point_function)(uint64_t salt, struct bytes user_id);

/* Chi-square of the ten by ten table of two points against independence of two uniform ones. */
static double dependence(point_function first, uint64_t first_salt, point_function second,
                         uint64_t second_salt, shape_function shape)
{
    static double shares[100];
    uint32_t rows[10] = {0};
    uint32_t columns[10] = {0};
    uint32_t cells[100] = {0};
    for (uint32_t i = 0; i < USERS; i++) {
        char text[64];
        struct bytes user_id = bytes_of(text, (size_t)shape(text, sizeof(text), i));
        uint32_t row = (uint32_t)(first(first_salt, user_id) * 10);
        uint32_t column = (uint32_t)(second(second_salt, user_id) * 10);
        rows[row]++;
        columns[column]++;
        cells[row * 10 + column]++;
    }
    for (uint32_t i = 0; i < 100; i++) {
        shares[i] = (double)rows[i / 10] / USERS * columns[i % 10] / USERS;
    }
    return chi_square(cells, shares, 100, USERS);
}

Test(assign, experiments_are_independent_of_each_other)
{
    /* The closest salts there are, and some far apart. */
    static const uint64_t salts[][2] = {
        {0,                     1                    },
        {1,                     2                    },
        {1,                     1ull << 63 | 1       },
        {0x0123456789abcdefull, 0xfedcba9876543210ull}
    };
    for (size_t i = 0; i < COUNT_OF(salts); i++) {
        double found = dependence(assign_variant_point, salts[i][0], assign_variant_point,
                                  salts[i][1], shapes[i]);
        cr_expect_lt(found, CHI_SQUARE_81, "salts %zu: %g", i, found);
    }
}

Test(assign, who_is_let_in_says_nothing_about_the_variant)
{
    for (size_t shape = 0; shape < COUNT_OF(shapes); shape++) {
        double found = dependence(assign_traffic_point, 7, assign_variant_point, 7, shapes[shape]);
        cr_expect_lt(found, CHI_SQUARE_81, "shape %zu: %g", shape, found);
    }
}

/* ---- Meaning ---- */

Test(assign, more_traffic_keeps_everyone_where_they_are)
{
    struct variant variants[] = {{.weight = 0.5}, {.weight = 0.5}};
    struct experiment less = experiment_of(3, 0.3, variants, 2);
    struct experiment more = experiment_of(3, 0.6, variants, 2);
    uint32_t joined = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        char text[64];
        struct bytes user_id = bytes_of(text, (size_t)shape_integer(text, sizeof(text), i));
        struct assign_result before = assign_one(&less, user_id, no_attributes, NOW_US);
        struct assign_result after = assign_one(&more, user_id, no_attributes, NOW_US);
        if (before.reason == ASSIGN_SPLIT) {
            cr_assert_eq(after.reason, ASSIGN_SPLIT);
            cr_assert_eq(after.variant, before.variant);
        } else {
            joined += after.reason == ASSIGN_SPLIT ? 1 : 0;
        }
    }
    cr_expect(joined > 2700 && joined < 3300);
}

Test(assign, all_or_nobody_at_the_ends_of_traffic)
{
    struct variant variants[] = {{.weight = 0.5}, {.weight = 0.5}};
    struct experiment nobody = experiment_of(3, 0, variants, 2);
    struct experiment everybody = experiment_of(3, 1, variants, 2);
    for (uint32_t i = 0; i < 100000; i++) {
        char text[64];
        struct bytes user_id = bytes_of(text, (size_t)shape_integer(text, sizeof(text), i));
        cr_assert_eq(assign_one(&nobody, user_id, no_attributes, NOW_US).reason,
                     ASSIGN_NOT_IN_TRAFFIC);
        cr_assert_eq(assign_one(&everybody, user_id, no_attributes, NOW_US).reason, ASSIGN_SPLIT);
        double point = assign_traffic_point(3, user_id);
        cr_assert(point >= 0 && point < 1);
    }
}

Test(assign, the_last_open_variant_takes_the_remainder)
{
    /* Half of the weight is missing, far more than a definition may lack. */
    struct variant variants[] = {{.weight = 0}, {.weight = 0.25}, {.weight = 0.25}, {.weight = 0}};
    struct experiment experiment = experiment_of(3, 1, variants, 4);
    uint32_t counts[4] = {0};
    for (uint32_t i = 0; i < 100000; i++) {
        char text[64];
        struct bytes user_id = bytes_of(text, (size_t)shape_integer(text, sizeof(text), i));
        counts[assign_one(&experiment, user_id, no_attributes, NOW_US).variant]++;
    }
    cr_expect_eq(counts[0] + counts[3], 0);
    cr_expect_float_eq((double)counts[1], 25000, 900);
    cr_expect_float_eq((double)counts[2], 75000, 900);
}

Test(assign, only_running_experiments_inside_their_schedule_assign)
{
    struct variant variants[] = {{.weight = 0.5}, {.weight = 0.5}};
    struct experiment experiment = experiment_of(3, 1, variants, 2);
    struct bytes user_id = bytes_of_text("u1");
    for (int status = 0; status < EXPERIMENT_STATUS_END; status++) {
        experiment.status = (enum experiment_status)status;
        enum assign_reason expected =
            status == EXPERIMENT_RUNNING ? ASSIGN_SPLIT : ASSIGN_NOT_RUNNING;
        cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US).reason, expected);
    }
    experiment.status = EXPERIMENT_RUNNING;
    experiment.start_at_us = NOW_US;
    experiment.end_at_us = NOW_US + 10;
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US - 1).reason,
                 ASSIGN_NOT_RUNNING);
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US).reason, ASSIGN_SPLIT);
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US + 9).reason, ASSIGN_SPLIT);
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US + 10).reason,
                 ASSIGN_NOT_RUNNING);
}

Test(assign, status_is_asked_before_targeting_and_targeting_before_traffic)
{
    struct pack_value country = {.type = PACK_TEXT, .as.bytes = bytes_of_text("US")};
    struct targeting_node nodes[] = {
        {.kind = TARGETING_ALL,                 .first_child = 1, .child_count = 1},
        { .kind = TARGETING_CONDITION,
         .attribute = bytes_of_text("country"),
         .operation = RULE_COUNTRY_IN,
         .values = {&country, 1}},
    };
    struct variant variants[] = {{.weight = 0.5}, {.weight = 0.5}};
    struct experiment experiment = experiment_of(3, 0, variants, 2);
    experiment.targeting = (struct targeting){.nodes = nodes, .node_count = 2};
    struct bytes user_id = bytes_of_text("u1");
    uint8_t data[32];
    struct pack_writer writer = pack_writer_on(data, sizeof(data));
    pack_map(&writer, 1);
    pack_text_z(&writer, "country");
    pack_text_z(&writer, "us");
    struct bytes attributes = bytes_of(data, writer.size);
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US).reason,
                 ASSIGN_NOT_TARGETED);
    cr_expect_eq(assign_one(&experiment, user_id, attributes, NOW_US).reason,
                 ASSIGN_NOT_IN_TRAFFIC);
    experiment.traffic_allocation = 1;
    cr_expect_eq(assign_one(&experiment, user_id, attributes, NOW_US).reason, ASSIGN_SPLIT);
    experiment.status = EXPERIMENT_PAUSED;
    cr_expect_eq(assign_one(&experiment, user_id, no_attributes, NOW_US).reason,
                 ASSIGN_NOT_RUNNING);
}

/* ---- Explanations ---- */

/* Conditions over one attribute: age at least 18. */
static struct targeting adults(struct targeting_node nodes[2], struct pack_value *age)
{
    *age = (struct pack_value){.type = PACK_INT, .as.integer = 18};
    nodes[0] = (struct targeting_node){.kind = TARGETING_ALL, .first_child = 1, .child_count = 1};
    nodes[1] = (struct targeting_node){
        .kind = TARGETING_CONDITION,
        .attribute = bytes_of_text("age"),
        .operation = RULE_GTE,
        .values = {.items = age, .count = 1}
    };
    return (struct targeting){.nodes = nodes, .node_count = 2};
}

Test(assign, an_explanation_says_what_is_done)
{
    struct variant variants[] = {{.weight = 0.25}, {.weight = 0}, {.weight = 0.75}};
    struct targeting_node nodes[2];
    struct pack_value age;
    uint32_t reasons[ASSIGN_HOLDOUT + 1] = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        struct experiment experiment = experiment_of(i % 7, 0.5, variants, COUNT_OF(variants));
        char text[64];
        uint8_t data[32];
        struct assign_explanation told;
        struct bytes user_id = bytes_of(text, (size_t)shape_integer(text, sizeof(text), i));
        struct pack_writer attributes = pack_writer_on(data, sizeof(data));
        pack_map(&attributes, 1);
        pack_text_z(&attributes, "age");
        pack_uint(&attributes, i % 36);
        struct bytes encoded = bytes_of(data, attributes.size);
        experiment.targeting = adults(nodes, &age);
        experiment.status = i % 5 == 0 ? EXPERIMENT_PAUSED : EXPERIMENT_RUNNING;
        experiment.layer = i % 3 == 0 ? bytes_of_text("checkout") : no_attributes;
        experiment.layer_start = 0.25;
        experiment.holdout = i % 2 == 0 ? bytes_of_text("q4") : no_attributes;
        experiment.holdout_share = 0.4;
        struct assign_result done = assign_one(&experiment, user_id, encoded, NOW_US);
        explain_one(&experiment, user_id, encoded, NOW_US, false, &told);
        cr_assert_eq(told.result.reason, done.reason);
        cr_assert_eq(told.result.variant, done.variant);
        cr_assert_eq(told.is_open, i % 5 != 0);
        cr_assert_eq(told.is_targeted, i % 36 >= 18);
        cr_assert_eq(told.holds[1], told.is_targeted);
        cr_assert_eq(done.reason == ASSIGN_SPLIT,
                     told.is_open && !told.is_held_out && told.is_targeted && told.is_in_traffic);
        reasons[done.reason]++;
        explain_one(&experiment, user_id, encoded, NOW_US, true, &told);
        experiment.status = EXPERIMENT_RUNNING;
        done = assign_one(&experiment, user_id, encoded, NOW_US);
        cr_assert_eq(told.result.reason, done.reason, "as if it were running");
        cr_assert_eq(told.result.variant, done.variant);
    }
    cr_expect(reasons[ASSIGN_SPLIT] > 1000 && reasons[ASSIGN_NOT_TARGETED] > 1000);
    cr_expect(reasons[ASSIGN_NOT_IN_TRAFFIC] > 1000 && reasons[ASSIGN_LAYER] > 1000);
    cr_expect(reasons[ASSIGN_NOT_RUNNING] > 1000 && reasons[ASSIGN_HOLDOUT] > 1000);
}

Test(assign, reasons_have_the_names_of_the_interface)
{
    cr_expect_str_eq(assign_reason_name(ASSIGN_SPLIT), "split");
    cr_expect_str_eq(assign_reason_name(ASSIGN_FORCED), "forced");
    cr_expect_str_eq(assign_reason_name(ASSIGN_NOT_TARGETED), "not_targeted");
    cr_expect_str_eq(assign_reason_name(ASSIGN_NOT_IN_TRAFFIC), "not_in_traffic");
    cr_expect_str_eq(assign_reason_name(ASSIGN_LAYER), "layer");
    cr_expect_str_eq(assign_reason_name(ASSIGN_NOT_RUNNING), "not_running");
    cr_expect_str_eq(assign_reason_name(ASSIGN_HOLDOUT), "holdout");
}
