/* attributes.c: see attributes.h. */
#include "engine/attributes.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/pack.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum status attributes_init(struct attributes *attributes)
{
    memset(attributes, 0, sizeof(*attributes));
    enum status status = pool_init(&attributes->profiles, sizeof(struct profile));
    if (status == STATUS_OK) {
        status = index_table_init(&attributes->table, false);
    }
    uint32_t nothing = 0;
    return status == STATUS_OK ? attributes_import_profile(attributes, bytes_of(NULL, 0), &nothing) : status;
}

static void text_free(struct bytes text)
{
    free((void *)(uintptr_t)text.data);
}

void attributes_deinit(struct attributes *attributes)
{
    for (uint32_t i = 0; i < LIMIT_BREAKDOWN_ATTRIBUTES; i++) {
        struct attribute *attribute = &attributes->items[i];
        for (uint32_t j = 0; j < attribute->value_count; j++) {
            text_free(attribute->values[j].text);
        }
        free(attribute->values);
        text_free(attribute->name);
    }
    pool_deinit(&attributes->profiles);
    index_table_deinit(&attributes->table);
    memset(attributes, 0, sizeof(*attributes));
}

static enum status text_copy(struct bytes text, struct bytes *out_copy)
{
    uint8_t *copy = malloc(text.size + 1); /* never NULL for an empty one */
    if (copy == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (text.size != 0) {
        memcpy(copy, text.data, text.size);
    }
    *out_copy = bytes_of(copy, text.size);
    return STATUS_OK;
}

uint32_t attributes_find(const struct attributes *attributes, struct bytes name)
{
    for (uint32_t i = 0; i < attributes->count; i++) {
        if (bytes_equal(attributes->items[i].name, name)) {
            return i;
        }
    }
    return UINT32_MAX;
}

static enum status values_make(struct attribute *attribute)
{
    if (attribute->values == NULL) {
        attribute->values = calloc(LIMIT_BREAKDOWN_VALUES, sizeof(*attribute->values));
    }
    return attribute->values != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* UINT32_MAX where there are as many as there may be. */
static enum status attribute_find_or_add(struct attributes *attributes, struct bytes name, uint32_t *out_number)
{
    *out_number = attributes_find(attributes, name);
    if (*out_number != UINT32_MAX || attributes->count == LIMIT_BREAKDOWN_ATTRIBUTES || name.size == 0 ||
        name.size > LIMIT_BREAKDOWN_VALUE) {
        return STATUS_OK;
    }
    struct attribute *attribute = &attributes->items[attributes->count];
    enum status status = text_copy(name, &attribute->name);
    if (status == STATUS_OK) {
        status = values_make(attribute);
    }
    if (status == STATUS_OK) {
        attribute->dirty = true;
        *out_number = attributes->count++;
    }
    return status;
}

/* A value as text; false where it is none that can be told apart. */
static bool value_text(const struct pack_value *value, char scratch[32], struct bytes *out_text)
{
    int size = 0;
    switch (value->type) {
    case PACK_TEXT:
        *out_text = value->as.bytes;
        return value->as.bytes.size <= LIMIT_BREAKDOWN_VALUE;
    case PACK_BOOL:
        *out_text = bytes_of_text(value->as.boolean ? "true" : "false");
        return true;
    case PACK_INT:
        size = snprintf(scratch, 32, "%lld", (long long)value->as.integer);
        break;
    case PACK_UINT:
        size = snprintf(scratch, 32, "%llu", (unsigned long long)value->as.natural);
        break;
    case PACK_DOUBLE:
        size = snprintf(scratch, 32, "%.15g", value->as.number);
        break;
    case PACK_MILLIONTHS:
        size = snprintf(scratch, 32, "%.15g", (double)value->as.integer / 1e6);
        break;
    case PACK_NIL:
    case PACK_BIN:
    case PACK_ARRAY:
    case PACK_MAP:
    case PACK_EXT:
        return false;
    }
    assert(size > 0 && size < 32);
    *out_text = bytes_of(scratch, (size_t)size);
    return true;
}

static enum status value_number(struct attribute *attribute, struct bytes text, uint8_t *out_number)
{
    for (uint32_t i = 0; i < attribute->value_count; i++) {
        if (attribute->values[i].text.data != NULL && bytes_equal(attribute->values[i].text, text)) {
            *out_number = (uint8_t)(i + 1);
            return STATUS_OK;
        }
    }
    if (attribute->value_count == LIMIT_BREAKDOWN_VALUES) {
        *out_number = ATTRIBUTE_OTHER;
        return STATUS_OK;
    }
    const enum status status = text_copy(text, &attribute->values[attribute->value_count].text);
    if (status == STATUS_OK) {
        attribute->dirty = true;
        *out_number = (uint8_t)(++attribute->value_count);
    }
    return status;
}

static enum status profile_intern(struct attributes *attributes, const struct profile *profile, uint32_t *out_number)
{
    const uint64_t hash = XXH3_64bits(profile, sizeof(*profile));
    struct index_probe probe = index_probe_start(&attributes->table, hash);
    uint32_t number = index_probe_next(&probe);
    while (number != INDEX_NONE && memcmp(attributes_profile(attributes, number), profile, sizeof(*profile)) != 0) {
        number = index_probe_next(&probe);
    }
    if (number != INDEX_NONE) {
        *out_number = number;
        return STATUS_OK;
    }
    const enum status status = pool_append(&attributes->profiles, &number);
    if (status != STATUS_OK) {
        return status;
    }
    *(struct profile *)pool_at(&attributes->profiles, number) = *profile;
    *out_number = number;
    return index_table_insert(&attributes->table, hash, number);
}

/* Counts the profile's user in or out: change is 1, or -1 modulo 2^32. */
static void users_count(struct attributes *attributes, uint32_t number, uint32_t change)
{
    const struct profile *profile = attributes_profile(attributes, number);
    for (uint32_t i = 0; i < LIMIT_BREAKDOWN_ATTRIBUTES; i++) {
        const uint8_t value = profile->values[i];
        if (value != ATTRIBUTE_NONE && value != ATTRIBUTE_OTHER) {
            attributes->items[i].values[value - 1].users += change;
        }
    }
}

enum status attributes_take(struct attributes *attributes, struct bytes map, uint32_t *out_profile)
{
    struct pack_cursor cursor = pack_cursor_on(map);
    struct profile profile = {{0}};
    uint32_t fields = 0;
    enum status status = map.size == 0 || pack_read_map(&cursor, &fields) ? STATUS_OK : STATUS_DAMAGED;
    for (uint32_t i = 0; i < fields && status == STATUS_OK; i++) {
        struct bytes name;
        struct bytes encoded;
        struct pack_value value;
        struct bytes text;
        char scratch[32];
        uint32_t number = UINT32_MAX;
        if (!pack_read_text(&cursor, &name) || !pack_read_raw(&cursor, &encoded)) {
            return STATUS_DAMAGED;
        }
        struct pack_cursor inner = pack_cursor_on(encoded);
        if (!pack_read(&inner, &value)) {
            return STATUS_DAMAGED;
        }
        if (value.type == PACK_NIL) {
            continue;
        }
        status = attribute_find_or_add(attributes, name, &number);
        if (status != STATUS_OK || number == UINT32_MAX) {
            continue;
        }
        if (value_text(&value, scratch, &text)) {
            status = value_number(&attributes->items[number], text, &profile.values[number]);
        } else {
            profile.values[number] = ATTRIBUTE_OTHER;
        }
    }
    if (status == STATUS_OK) {
        status = profile_intern(attributes, &profile, out_profile);
    }
    if (status == STATUS_OK) {
        users_count(attributes, *out_profile, 1);
    }
    return status;
}

void attributes_drop(struct attributes *attributes, uint32_t number)
{
    const struct profile *profile = attributes_profile(attributes, number);
    users_count(attributes, number, UINT32_MAX);
    for (uint32_t i = 0; i < LIMIT_BREAKDOWN_ATTRIBUTES; i++) {
        const uint8_t value = profile->values[i];
        if (value == ATTRIBUTE_NONE || value == ATTRIBUTE_OTHER || attributes->items[i].values[value - 1].users != 0) {
            continue;
        }
        text_free(attributes->items[i].values[value - 1].text);
        attributes->items[i].values[value - 1].text = bytes_of(NULL, 0);
        attributes->items[i].dirty = true;
    }
}

uint64_t attributes_memory(const struct attributes *attributes)
{
    return pool_memory(&attributes->profiles) + index_table_memory(&attributes->table) +
           attributes->count * (uint64_t)LIMIT_BREAKDOWN_VALUES * sizeof(struct attribute_value);
}

enum status attributes_import_profile(struct attributes *attributes, struct bytes values, uint32_t *out_profile)
{
    struct profile profile = {{0}};
    if (values.size > sizeof(profile.values)) {
        return STATUS_DAMAGED;
    }
    if (values.size != 0) {
        memcpy(profile.values, values.data, values.size);
    }
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < values.size && status == STATUS_OK; i++) {
        status = profile.values[i] != ATTRIBUTE_NONE ? values_make(&attributes->items[i]) : STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = profile_intern(attributes, &profile, out_profile);
    }
    if (status == STATUS_OK) {
        users_count(attributes, *out_profile, 1);
    }
    return status;
}

enum status attributes_import(struct attributes *attributes, uint32_t number, struct bytes row)
{
    struct pack_cursor cursor = pack_cursor_on(row);
    struct bytes text = {0};
    uint32_t fields = 0;
    if (number != attributes->count || number >= LIMIT_BREAKDOWN_ATTRIBUTES || !pack_read_array(&cursor, &fields) || fields < 1 ||
        fields > 1 + LIMIT_BREAKDOWN_VALUES || !pack_read_text(&cursor, &text)) {
        return STATUS_DAMAGED;
    }
    struct attribute *attribute = &attributes->items[number];
    enum status status = text_copy(text, &attribute->name);
    if (status == STATUS_OK) {
        status = values_make(attribute);
    }
    attributes->count++;
    for (uint32_t i = 1; i < fields && status == STATUS_OK; i++) {
        struct attribute_value *value = &attribute->values[attribute->value_count++];
        if (pack_take_nil(&cursor)) {
            continue;
        }
        status = pack_read_text(&cursor, &text) ? text_copy(text, &value->text) : STATUS_DAMAGED;
    }
    return status == STATUS_OK && (cursor.failed || cursor.at != cursor.end) ? STATUS_DAMAGED : status;
}

enum status attributes_import_end(const struct attributes *attributes)
{
    for (uint32_t i = 0; i < LIMIT_BREAKDOWN_ATTRIBUTES; i++) {
        const struct attribute *attribute = &attributes->items[i];
        for (uint32_t j = 0; attribute->values != NULL && j < LIMIT_BREAKDOWN_VALUES; j++) {
            if ((attribute->values[j].users != 0) != (attribute->values[j].text.data != NULL)) {
                return STATUS_DAMAGED;
            }
        }
    }
    return STATUS_OK;
}
