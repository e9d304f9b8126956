/* definition_override.c: the overrides of an experiment: a document with the whole list, sorted by user. */
#include <stdlib.h>

#include "engine/definition_document.h"

#define ARENA_SLACK          64u
#define SCRATCH_SIZE         4096u
#define OVERRIDE_ROW(member) FIELD_MEMBER(struct override, member)

/* Whatever a path may name as a user. */
static void user_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct bytes user_id;
    if (field_text(reading, field, row->least, row->most, &user_id)) {
        memcpy(member, &user_id, sizeof(user_id));
    }
}

static void user_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    struct bytes user_id;
    (void)row;
    memcpy(&user_id, member, sizeof(user_id));
    pack_text(writer, user_id);
}

static const struct field_kind kind_user = {user_read, user_write, NULL};

// clang-format off
static const struct field_row override_rows[] = {
    {"user_id", &kind_user, FIELD_GIVEN, .is_required = true, OVERRIDE_ROW(user_id), .least = 1, .most = LIMIT_USER_ID},
    {"variant_id", &field_kind_uuid, FIELD_GIVEN, .is_required = true, OVERRIDE_ROW(variant_id)},
};
// clang-format on

static int user_order(struct bytes a, struct bytes b)
{
    const int order = memcmp(a.data, b.data, size_min(a.size, b.size));
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static void items_read(struct reading *reading, const struct field_row *row, const struct field *field, void *member)
{
    struct overrides *overrides = member;
    struct field_list list;
    struct field element;
    if (!field_list_enter(reading, field, 0, row->most, &list)) {
        return;
    }
    struct override *items = arena_take_zeroed(reading->arena, sizeof(*items) * (list.count + 1));
    if (items == NULL) {
        reading->no_memory = true;
        return;
    }
    for (uint32_t i = 0; field_list_next(reading, &list, &element); i++) {
        const uint32_t faults = reading->errors->count;
        (void)document_read(reading, override_rows, COUNT_OF(override_rows), &element, NULL, &items[i]);
        if (i > 0 && reading->errors->count == faults && user_order(items[i - 1].user_id, items[i].user_id) >= 0) {
            field_fault(reading, &element, "malformed", "must come after the user before it");
        }
    }
    overrides->items = items;
    overrides->count = list.count;
}

static void items_write(struct pack_writer *writer, const struct field_row *row, const void *member)
{
    const struct overrides *overrides = member;
    (void)row;
    pack_array(writer, overrides->count);
    for (uint32_t i = 0; i < overrides->count; i++) {
        document_write(writer, override_rows, COUNT_OF(override_rows), &overrides->items[i]);
    }
}

static const struct field_kind kind_items = {items_read, items_write, NULL};

// clang-format off
static const struct field_row overrides_rows[] = {
    {"experiment_id", &field_kind_uuid, FIELD_OURS, .is_required = true, FIELD_MEMBER(struct overrides, experiment_id)},
    {"version", &field_kind_version, FIELD_OURS, .is_required = true, FIELD_MEMBER(struct overrides, version)},
    {"updated_at", &field_kind_instant, FIELD_OURS, .is_required = true, FIELD_MEMBER(struct overrides, updated_at_us)},
    {"author", &field_kind_uuid, FIELD_OURS, .is_required = true, FIELD_MEMBER(struct overrides, author)},
    {"overrides", &kind_items, FIELD_OURS, .is_required = true, .most = LIMIT_OVERRIDES},
};
// clang-format on

void overrides_free(struct overrides *overrides)
{
    if (overrides != NULL) {
        arena_deinit(&overrides->arena);
        free(overrides);
    }
}

static enum status overrides_load(struct overrides *overrides, struct bytes document, struct arena *scratch)
{
    struct field_errors errors = field_errors_in(scratch);
    struct reading reading = {.arena = &overrides->arena, .errors = &errors, .is_stored = true};
    struct field field;
    const char *copy = arena_copy(&overrides->arena, document);
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    overrides->document = bytes_of(copy, document.size);
    if (!document_check(&reading, overrides->document, &field)) {
        return STATUS_DAMAGED;
    }
    (void)document_read(&reading, overrides_rows, COUNT_OF(overrides_rows), &field, NULL, overrides);
    const enum status status = reading_status(&reading);
    return status == STATUS_INVALID ? STATUS_DAMAGED : status;
}

enum status overrides_decode(struct bytes document, struct overrides **out_overrides)
{
    struct arena scratch;
    struct overrides *overrides = calloc(1, sizeof(*overrides));
    if (overrides == NULL) {
        return STATUS_NO_MEMORY;
    }
    arena_init(&overrides->arena, document.size + ARENA_SLACK);
    arena_init(&scratch, SCRATCH_SIZE);
    const enum status status = overrides_load(overrides, document, &scratch);
    arena_deinit(&scratch);
    if (status != STATUS_OK) {
        overrides_free(overrides);
        return status;
    }
    *out_overrides = overrides;
    return STATUS_OK;
}

/* The place of the user in the list, or where it belongs. */
static uint32_t user_place(const struct overrides *overrides, struct bytes user_id)
{
    uint32_t low = 0;
    uint32_t high = overrides != NULL ? overrides->count : 0;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (user_order(overrides->items[middle].user_id, user_id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct override *overrides_find(const struct overrides *overrides, struct bytes user_id)
{
    const uint32_t place = user_place(overrides, user_id);
    const bool is_there =
        overrides != NULL && place < overrides->count && bytes_equal(overrides->items[place].user_id, user_id);
    return is_there ? &overrides->items[place] : NULL;
}

enum status overrides_change(const struct overrides *current, const struct definition_context *context,
                             struct bytes user_id, const struct uuid *variant_id, struct overrides **out_overrides)
{
    struct override items[LIMIT_OVERRIDES + 1];
    const uint32_t count = current != NULL ? current->count : 0;
    const uint32_t place = user_place(current, user_id);
    const uint32_t replaced = overrides_find(current, user_id) != NULL ? 1 : 0;
    const uint32_t added = variant_id != NULL ? 1 : 0;
    if (count + added - replaced > LIMIT_OVERRIDES) {
        return STATUS_TOO_LARGE;
    }
    for (uint32_t i = 0; i < place; i++) {
        items[i] = current->items[i];
    }
    if (variant_id != NULL) {
        items[place] = (struct override){user_id, *variant_id};
    }
    for (uint32_t i = place + replaced; i < count; i++) {
        items[i + added - replaced] = current->items[i];
    }
    const struct overrides next = {.experiment_id = context->id,
                                   .version = context->version,
                                   .author = context->author,
                                   .updated_at_us = context->now_us,
                                   .items = items,
                                   .count = count + added - replaced};
    uint8_t *owned = NULL;
    size_t size = 0;
    enum status status = document_encode(overrides_rows, COUNT_OF(overrides_rows), &next, LIMIT_DEFINITION, &owned, &size);
    assert(status != STATUS_TOO_LARGE); /* every part of it is bounded */
    if (status != STATUS_OK) {
        return status;
    }
    status = overrides_decode(bytes_of(owned, size), out_overrides);
    free(owned);
    assert(status != STATUS_DAMAGED); /* what we write is what we read */
    return status;
}
