/* attributes.h: what users were assigned with, small enough to be kept in memory: for results by country, plan, version...
 *
 * A value is a number of one byte: the first LIMIT_BREAKDOWN_ATTRIBUTES attributes of the log have one, and of each the first
 * LIMIT_BREAKDOWN_VALUES values; later ones share ATTRIBUTE_OTHER. A profile is what one assignment had, interned: users with the
 * same attributes share one. A value that nobody has any more (its users were erased) is forgotten, and its number not used again.
 *
 * Values       Texts of at most LIMIT_BREAKDOWN_VALUE bytes as they are; numbers and booleans as text; all else is "other".
 * Cost         4 bytes an assignment, 32 and an index entry a distinct profile.
 * Threads      One.
 */
#ifndef ASSAY_ENGINE_ATTRIBUTES_H
#define ASSAY_ENGINE_ATTRIBUTES_H

#include "engine/base.h"
#include "engine/index_table.h"
#include "engine/limits.h"
#include "engine/pool.h"

#define ATTRIBUTE_NONE  0u   /* not given */
#define ATTRIBUTE_OTHER 255u /* given, but not told apart */

static_assert(LIMIT_BREAKDOWN_VALUES == 254, "numbers 1 to 254 of a byte");

struct attribute_value {
    struct bytes text; /* owned; no data: it was forgotten */
    uint32_t users;    /* assignments with it */
};

struct attribute {
    struct bytes name; /* owned */
    struct attribute_value *values; /* [LIMIT_BREAKDOWN_VALUES]; number - 1 */
    uint32_t value_count;
    bool dirty; /* since the last export */
};

struct profile {
    uint8_t values[LIMIT_BREAKDOWN_ATTRIBUTES]; /* by attribute */
};

struct attributes {
    struct attribute items[LIMIT_BREAKDOWN_ATTRIBUTES];
    uint32_t count;
    struct pool profiles; /* the first has nothing */
    struct index_table table;
};

MUST_USE enum status attributes_init(struct attributes *attributes);
void attributes_deinit(struct attributes *attributes); /* a zeroed one is fine */
/* The profile of an assignment's attributes (an encoded map, or empty), whose values then have one user more. */
MUST_USE enum status attributes_take(struct attributes *attributes, struct bytes map, uint32_t *out_profile);
/* The user goes. */
void attributes_drop(struct attributes *attributes, uint32_t profile);
static inline const struct profile *attributes_profile(const struct attributes *attributes, uint32_t profile)
{
    return pool_at(&attributes->profiles, profile);
}
/* The number of the attribute of this name, or UINT32_MAX. */
uint32_t attributes_find(const struct attributes *attributes, struct bytes name);
uint64_t attributes_memory(const struct attributes *attributes);

/* For loading: users first, with their profiles as they were written; then each attribute in order. STATUS_DAMAGED. */
MUST_USE enum status attributes_import_profile(struct attributes *attributes, struct bytes values, uint32_t *out_profile);
MUST_USE enum status attributes_import(struct attributes *attributes, uint32_t number, struct bytes row);
/* Does every value that a user has have a text? */
MUST_USE enum status attributes_import_end(const struct attributes *attributes);

#endif
