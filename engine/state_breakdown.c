/* state_breakdown.c: the members of an experiment by the value of an attribute. Two passes over the members. */
#include <stdlib.h>

#include "engine/arena.h"
#include "engine/state_walk.h"

#define NUMBERS 256u /* of values: see attributes.h */

struct value_count {
    uint32_t number; /* of the value */
    uint32_t users;
    struct bytes text;
};

/* Most users first, then by text. */
static int value_order(const void *a, const void *b)
{
    const struct value_count *left = a;
    const struct value_count *right = b;
    if (left->users != right->users) {
        return left->users > right->users ? -1 : 1;
    }
    const int order = memcmp(left->text.data, right->text.data, size_min(left->text.size, right->text.size));
    return order != 0 ? order : (left->text.size > right->text.size) - (left->text.size < right->text.size);
}

static uint8_t value_of(const struct state *state, const struct enrolment *enrolment, uint32_t attribute)
{
    return attributes_profile(&state->attributes, enrolment->profile)->values[attribute];
}

/* The part that each number of a value goes to. */
struct division {
    struct breakdown_part *parts;
    uint32_t count;
    uint32_t part_of[NUMBERS];
};

static struct breakdown_part *part_add(struct division *division, struct bytes value, int kind)
{
    struct breakdown_part *part = &division->parts[division->count++];
    *part = (struct breakdown_part){.value = value};
    part->kind = kind;
    return part;
}

/* Decides the parts, and gives each room for its members. */
static enum status divide(const struct attribute *attribute, const uint32_t users[NUMBERS], struct arena *arena, struct division *division)
{
    struct value_count values[NUMBERS];
    uint32_t count = 0;
    uint32_t others = users[ATTRIBUTE_OTHER];
    uint32_t sizes[LIMIT_BREAKDOWN_SHOWN + 2] = {0};
    for (uint32_t i = 0; i < attribute->value_count; i++) {
        if (users[i + 1] != 0) {
            values[count++] = (struct value_count){i + 1, users[i + 1], attribute->values[i].text};
        }
    }
    qsort(values, count, sizeof(values[0]), value_order);
    division->parts = arena_take(arena, (LIMIT_BREAKDOWN_SHOWN + 2) * sizeof(*division->parts));
    if (division->parts == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *copy = i < LIMIT_BREAKDOWN_SHOWN ? arena_copy(arena, values[i].text) : "";
        if (copy == NULL) {
            return STATUS_NO_MEMORY;
        }
        if (i < LIMIT_BREAKDOWN_SHOWN) {
            sizes[division->count] = values[i].users;
            division->part_of[values[i].number] = division->count;
            (void)part_add(division, bytes_of(copy, values[i].text.size), BREAKDOWN_VALUE);
        } else {
            others += values[i].users;
            division->part_of[values[i].number] = LIMIT_BREAKDOWN_SHOWN; /* the first behind all that are shown */
        }
    }
    division->part_of[ATTRIBUTE_OTHER] = division->count;
    if (others != 0) {
        sizes[division->count] = others;
        (void)part_add(division, bytes_of(NULL, 0), BREAKDOWN_OTHER);
    }
    division->part_of[ATTRIBUTE_NONE] = division->count;
    if (users[ATTRIBUTE_NONE] != 0) {
        sizes[division->count] = users[ATTRIBUTE_NONE];
        (void)part_add(division, bytes_of(NULL, 0), BREAKDOWN_NONE);
    }
    for (uint32_t i = 0; i < division->count; i++) {
        division->parts[i].members = arena_take(arena, (sizes[i] + 1ull) * sizeof(uint32_t));
        if (division->parts[i].members == NULL) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

enum status state_breakdown(const struct state *state, uint32_t experiment_index, struct bytes attribute, struct arena *arena,
                            struct breakdown_part **out_parts, uint32_t *out_count)
{
    const uint32_t number = attributes_find(&state->attributes, attribute);
    if (number == UINT32_MAX) {
        return STATUS_NOT_FOUND;
    }
    const struct rollup_experiment *entry = state_experiment(state, experiment_index);
    uint32_t users[NUMBERS] = {0};
    for (uint32_t i = 0; i < entry->member_count; i++) {
        users[value_of(state, enrolment_at(&state->users, entry->members[i]), number)]++;
    }
    struct division division = {0};
    const enum status status = divide(&state->attributes.items[number], users, arena, &division);
    for (uint32_t i = 0; i < entry->member_count && status == STATUS_OK; i++) {
        const uint8_t value = value_of(state, enrolment_at(&state->users, entry->members[i]), number);
        struct breakdown_part *part = &division.parts[division.part_of[value]];
        part->members[part->member_count++] = entry->members[i];
    }
    *out_parts = division.parts;
    *out_count = division.count;
    return status;
}

enum status state_attributes(const struct state *state, struct arena *arena, struct bytes **out_names, uint32_t *out_count)
{
    struct bytes *names = arena_take(arena, (state->attributes.count + 1ull) * sizeof(*names));
    for (uint32_t i = 0; names != NULL && i < state->attributes.count; i++) {
        const char *copy = arena_copy(arena, state->attributes.items[i].name);
        if (copy == NULL) {
            return STATUS_NO_MEMORY;
        }
        names[i] = bytes_of(copy, state->attributes.items[i].name.size);
    }
    *out_names = names;
    *out_count = state->attributes.count;
    return names != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}
