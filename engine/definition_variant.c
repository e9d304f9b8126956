/* definition_variant.c: the variants of an experiment: their weights, their control, and what may change about them.
 *
 * Assignments record a variant by its index, so an index is for ever: a change keeps every variant of the current
 * version in its place and appends the new ones. Only a draft that nobody is in may be dealt anew. */
#include "engine/definition_document.h"

#include <math.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Ten times 0.1, or three times 0.333333, are one; the excess lets the latter pass in binary. */
#define WEIGHTS_TOLERANCE (1e-6 + 1e-12)
#define UUID_RANDOM_SIZE  10u
#define RANDOM_SIZE       64u

/* A variant on its way. */
struct variant_draft {
    struct variant variant; /* first: the rows' offsets are those of struct variant */
    struct presence presence;
    struct field field;           /* its place in the document */
    const struct variant *before; /* of the current version; NULL for a new one */
};

struct variant_list {
    struct variant_draft *items; /* [LIMIT_VARIANTS] */
    uint32_t count;
};

/* ---- Fields ---- */

/* Bytes and foreign extensions have no form in JSON, in which a value is handed out. */
static bool value_is_json(struct bytes encoded)
{
    struct pack_cursor cursor = pack_cursor_on(encoded);
    struct pack_value value;
    while (cursor.at < cursor.end) {
        if (!pack_read(&cursor, &value) || value.type == PACK_BIN || value.type == PACK_EXT ||
            (value.type == PACK_DOUBLE && !isfinite(value.as.number))) {
            return false;
        }
    }
    return true;
}

static void value_read(struct reading *reading, const struct field_row *row,
                       const struct field *field, void *member)
{
    if (field->encoded.size > row->most) {
        field_fault(reading, field, "out_of_range",
                    "must have at most %u bytes as msgpack, not %zu", row->most,
                    field->encoded.size);
        return;
    }
    if (!value_is_json(field->encoded)) {
        field_fault(reading, field, "wrong_type", "must be a JSON value");
        return;
    }
    memcpy(member, &field->encoded, sizeof(field->encoded));
}

static void value_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    struct bytes encoded;
    (void)row;
    memcpy(&encoded, member, sizeof(encoded));
    if (encoded.size == 0) {
        pack_nil(writer);
    } else {
        pack_raw(writer, encoded);
    }
}

static const struct field_kind kind_value = {value_read, value_write, NULL};

enum variant_row {
    ROW_ID,
    ROW_NAME,
    ROW_WEIGHT,
    ROW_IS_CONTROL,
    ROW_VALUE,
    ROW_END,
};

// clang-format off
static const struct field_row variant_rows[] = {
    [ROW_ID] = {"id", &field_kind_uuid, FIELD_OURS, .is_required = true, FIELD_MEMBER(struct variant, id)},
    [ROW_NAME] = {"name", &field_kind_name, FIELD_GIVEN, .is_required = true, FIELD_MEMBER(struct variant, name), .least = 1, .most = LIMIT_NAME},
    [ROW_WEIGHT] = {"weight", &field_kind_fraction, FIELD_GIVEN, FIELD_MEMBER(struct variant, weight)},
    [ROW_IS_CONTROL] = {"is_control", &field_kind_flag, FIELD_GIVEN, FIELD_MEMBER(struct variant, is_control)},
    [ROW_VALUE] = {"value", &kind_value, FIELD_GIVEN, FIELD_MEMBER(struct variant, value), .most = LIMIT_VARIANT_VALUE},
};
// clang-format on

static_assert(COUNT_OF(variant_rows) == ROW_END, "each row has its place");

static void variants_keep(struct reading *reading, const struct field_row *row,
                          const struct field *field, void *member)
{
    struct experiment_draft *draft = member;
    (void)reading;
    (void)row;
    draft->variants = *field;
}

static void variants_write(struct pack_writer *writer, const struct field_row *row,
                           const void *member)
{
    const struct experiment *experiment = member;
    (void)row;
    pack_array(writer, experiment->variant_count);
    for (uint32_t i = 0; i < experiment->variant_count; i++) {
        document_write(writer, variant_rows, ROW_END, &experiment->variants[i]);
    }
}

const struct field_kind field_kind_variants = {variants_keep, variants_write, NULL};

/* ---- Reading the list ---- */

static const struct variant *variant_named(const struct experiment *experiment, struct bytes name)
{
    for (uint32_t i = 0; experiment != NULL && i < experiment->variant_count; i++) {
        if (bytes_equal(experiment->variants[i].name, name)) {
            return &experiment->variants[i];
        }
    }
    return NULL;
}

static bool name_is_taken(const struct variant_list *list, uint32_t count, struct bytes name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (name.size > 0 && bytes_equal(list->items[i].variant.name, name)) {
            return true;
        }
    }
    return false;
}

static void variant_read(struct reading *reading, const struct experiment *current,
                         struct variant_list *list, const struct field *element)
{
    struct variant_draft *draft = &list->items[list->count];
    struct pack_value name;
    struct pack_cursor cursor = pack_cursor_on(element->encoded);
    uint32_t fields;
    draft->field = *element;
    if (current != NULL && pack_read_map(&cursor, &fields) &&
        pack_map_find(element->encoded, bytes_of_text("name"), &name) && name.type == PACK_TEXT) {
        draft->before = variant_named(current, name.as.bytes);
    }
    if (draft->before != NULL) {
        draft->variant = *draft->before;
    }
    draft->presence =
        document_read(reading, variant_rows, ROW_END, element, draft->before, &draft->variant);
    if (name_is_taken(list, list->count, draft->variant.name)) {
        struct field name_field = {.parent = element->parent, .name = "name"};
        field_fault(reading, &name_field, "not_unique", "is the name of another variant too");
    }
    list->count++;
}

/* An empty list after a fault that leaves nothing to look at. */
static struct variant_list variants_read(struct reading *reading, const struct field *field,
                                         const struct experiment *current)
{
    struct variant_list list = {0};
    struct field_list elements;
    struct field element;
    if (!field_list_enter(reading, field, LIMIT_VARIANTS_MIN, LIMIT_VARIANTS, &elements)) {
        return list;
    }
    list.items = arena_take_zeroed(reading->errors->arena, sizeof(*list.items) * LIMIT_VARIANTS);
    reading->no_memory = reading->no_memory || list.items == NULL;
    while (list.items != NULL && field_list_next(reading, &elements, &element)) {
        variant_read(reading, current, &list, &element);
    }
    return list;
}

/* ---- Order ---- */

static bool may_deal_anew(const struct experiment *current, const uint64_t *variant_users)
{
    uint64_t users = 0;
    for (uint32_t i = 0; i < current->variant_count; i++) {
        users |= variant_users[i];
    }
    return current->status == EXPERIMENT_DRAFT && users == 0;
}

static const struct variant_draft *draft_of(const struct variant_list *list,
                                            const struct variant *before)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i].before == before) {
            return &list->items[i];
        }
    }
    return NULL;
}

static void missing_fault(struct reading *reading, const struct field *field,
                          const struct variant *variant, uint64_t users)
{
    int size = (int)variant->name.size;
    const char *name = (const char *)variant->name.data;
    if (users > 0) {
        field_fault(reading, field, "variant_in_use",
                    "must keep \"%.*s\", which has %llu users: close it with weight 0", size, name,
                    (unsigned long long)users);
    } else {
        field_fault(reading, field, "variant_in_use",
                    "must keep \"%.*s\", since the experiment is no draft: close it with weight 0",
                    size, name);
    }
}

/* The current variants in their places, then the new ones. */
static struct variant_list variants_in_order(struct reading *reading, const struct field *field,
                                             const struct variant_list *given,
                                             const struct experiment *current,
                                             const uint64_t *variant_users)
{
    struct variant_list ordered = {0};
    ordered.items =
        arena_take_zeroed(reading->errors->arena, sizeof(*ordered.items) * LIMIT_VARIANTS);
    if (ordered.items == NULL) {
        reading->no_memory = true;
        return ordered;
    }
    for (uint32_t i = 0; i < current->variant_count; i++) {
        const struct variant_draft *draft = draft_of(given, &current->variants[i]);
        if (draft == NULL) {
            missing_fault(reading, field, &current->variants[i], variant_users[i]);
        } else {
            ordered.items[ordered.count++] = *draft;
        }
    }
    for (uint32_t i = 0; i < given->count; i++) {
        if (given->items[i].before == NULL) {
            ordered.items[ordered.count++] = given->items[i];
        }
    }
    return ordered;
}

/* ---- Weights ---- */

static uint32_t weights_given(const struct variant_list *list)
{
    uint32_t given = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        given += presence_has(list->items[i].presence.set, ROW_WEIGHT) ? 1 : 0;
    }
    return given;
}

/* Does the list hold exactly the current variants? */
static bool is_same_set(const struct variant_list *list, const struct experiment *current)
{
    bool is_same = current != NULL && list->count == current->variant_count;
    for (uint32_t i = 0; i < list->count; i++) {
        is_same = is_same && list->items[i].before != NULL;
    }
    return is_same;
}

static void weights_sum_check(struct reading *reading, const struct field *field,
                              const struct variant_list *list)
{
    double sum = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        sum += list->items[i].variant.weight;
    }
    if (!(fabs(sum - 1) <= WEIGHTS_TOLERANCE)) {
        field_fault(reading, field, "weights_sum", "weights add up to %.9g; they must add up to 1",
                    sum);
    }
}

/* Each given, or none: then they stay as they are, or are equal among new variants. */
static void weights_settle(struct reading *reading, const struct field *field,
                           struct variant_list *list, const struct experiment *current,
                           bool may_equalise)
{
    uint32_t given = weights_given(list);
    bool is_kept = given == 0 && is_same_set(list, current);
    if (given == 0 && !is_kept && !may_equalise) {
        field_fault(reading, field, "required",
                    "must have a weight for each variant when one is added");
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        struct variant_draft *draft = &list->items[i];
        if (is_kept) {
            draft->variant.weight = draft->before->weight;
        } else if (given == 0) {
            draft->variant.weight = 1.0 / (double)list->count;
        } else if (!presence_has(draft->presence.set, ROW_WEIGHT)) {
            struct field weight = {.parent = draft->field.parent, .name = "weight"};
            field_fault(reading, &weight, "required",
                        "is required where other variants have a weight");
        }
    }
    if (given == 0 || given == list->count) {
        weights_sum_check(reading, field, list);
    }
}

/* ---- Control ---- */

/* The one that says so; else the control as it was; else the first. */
static void control_settle(struct reading *reading, const struct field *field,
                           struct variant_list *list, const struct experiment *current)
{
    uint32_t said = 0;
    uint32_t control = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct variant_draft *draft = &list->items[i];
        bool says_so =
            presence_has(draft->presence.set, ROW_IS_CONTROL) && draft->variant.is_control;
        if (says_so && said > 0) {
            struct field flag = {.parent = draft->field.parent, .name = "is_control"};
            field_fault(reading, &flag, "not_unique", "is true for another variant too");
        }
        bool stays = said == 0 && draft->before != NULL && draft->variant.is_control;
        control = says_so || stays ? i : control;
        said += says_so ? 1 : 0;
    }
    bool is_fixed = current != NULL && current->status != EXPERIMENT_DRAFT;
    if (is_fixed && list->items[control].before != &current->variants[current->control]) {
        field_fault(reading, field, "immutable",
                    "must keep the control, since the experiment is no draft");
    }
    for (uint32_t i = 0; i < list->count; i++) {
        list->items[i].variant.is_control = i == control;
    }
}

/* ---- Together ---- */

/* A version 7 UUID whose random part is drawn from the request's random bytes and the index. */
static struct uuid variant_id_make(const struct definition_context *context,
                                   const uint8_t random[RANDOM_SIZE], uint32_t index)
{
    XXH128_canonical_t drawn;
    XXH128_canonicalFromHash(&drawn, XXH3_128bits_withSeed(random, RANDOM_SIZE, index));
    static_assert(sizeof(drawn.digest) >= UUID_RANDOM_SIZE, "enough random bytes for an id");
    return uuid_make(context->now_us, drawn.digest);
}

static void variants_hand_over(struct reading *reading, const struct variant_list *list,
                               struct experiment *experiment,
                               const struct definition_context *context, const uint8_t random[64])
{
    struct variant *variants = arena_take(reading->arena, sizeof(*variants) * list->count);
    if (variants == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        variants[i] = list->items[i].variant;
        experiment->control = variants[i].is_control ? i : experiment->control;
        if (list->items[i].before == NULL && !reading->is_stored) {
            variants[i].id = variant_id_make(context, random, i);
        }
    }
    experiment->variants = variants;
    experiment->variant_count = list->count;
}

void variants_settle(struct reading *reading, struct experiment_draft *draft,
                     const struct experiment *current, const uint64_t *variant_users,
                     const struct definition_context *context, const uint8_t random[64])
{
    const struct field *field = &draft->variants;
    uint32_t faults = reading->errors->count;
    struct variant_list list = variants_read(reading, field, current);
    if (list.count == 0 || reading->no_memory) {
        return;
    }
    bool may_equalise = current == NULL || may_deal_anew(current, variant_users);
    if (reading->errors->count == faults && !may_equalise) {
        list = variants_in_order(reading, field, &list, current, variant_users);
    }
    if (reading->errors->count == faults && !reading->no_memory) {
        weights_settle(reading, field, &list, current, may_equalise);
        control_settle(reading, field, &list, current);
    }
    if (reading->errors->count == faults && !reading->no_memory) {
        variants_hand_over(reading, &list, &draft->experiment, context, random);
    }
}
