/* erasure.c: see erasure.h. */
#include "engine/erasure.h"

#include <stdlib.h>

#include "engine/user_set.h"

void erasure_encode(const struct erasure *erasure, struct pack_writer *writer)
{
    uint8_t user[USER_PRINT_SIZE];
    user_print_store(user, erasure->user);
    pack_map(writer, 3);
    pack_text_z(writer, "user");
    pack_bin(writer, bytes_of(user, sizeof(user)));
    pack_text_z(writer, "user_hash");
    pack_uint(writer, erasure->user_hash);
    pack_text_z(writer, "erased_at");
    pack_int(writer, erasure->erased_at_us);
}

/* The next name of the map. */
static bool name_is(struct pack_cursor *cursor, const char *name)
{
    struct bytes text = {0};
    return pack_read_text(cursor, &text) && bytes_equal_text(text, name);
}

enum status erasure_decode(const struct definition *definition, struct erasure *out_erasure)
{
    struct erasure erasure = {.receipt = definition->id, .author = definition->author};
    struct pack_cursor cursor = pack_cursor_on(definition->document);
    struct bytes user = {0};
    uint32_t fields = 0;
    const bool good = pack_read_map(&cursor, &fields) && fields == 3 && name_is(&cursor, "user") && pack_read_bin(&cursor, &user) &&
                      user.size == USER_PRINT_SIZE && name_is(&cursor, "user_hash") &&
                      pack_read_uint(&cursor, &erasure.user_hash) && name_is(&cursor, "erased_at") &&
                      pack_read_int(&cursor, &erasure.erased_at_us) && cursor.at == cursor.end;
    if (!good || definition->version != 1 || erasure.erased_at_us < 0 || erasure.erased_at_us > FORMAT_TIME_MAX_US) {
        return STATUS_DAMAGED;
    }
    erasure.user = user_print_load(user.data);
    *out_erasure = erasure;
    return STATUS_OK;
}

/* Where the users begin that are greater than this one. */
static uint32_t place_after(const struct erasures *erasures, struct user_print user)
{
    uint32_t low = 0;
    uint32_t high = erasures != NULL ? erasures->count : 0;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (user_print_order(erasures->items[middle].user, user) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct erasures *erasures_with(const struct erasures *base, const struct erasure *erasure)
{
    const uint32_t count = base != NULL ? base->count : 0;
    const uint32_t place = place_after(base, erasure->user); /* lsns ascend, so it is the user's last */
    struct erasures *grown = malloc(sizeof(*grown) + (count + 1ull) * sizeof(struct erasure));
    if (grown == NULL) {
        return NULL;
    }
    atomic_init(&grown->references, 1);
    grown->count = count + 1;
    if (place != 0) {
        memcpy(grown->items, base->items, place * sizeof(struct erasure));
    }
    grown->items[place] = *erasure;
    if (place != count) {
        memcpy(grown->items + place + 1, base->items + place, (count - place) * sizeof(struct erasure));
    }
    return grown;
}

struct erasures *erasures_ref(const struct erasures *erasures)
{
    struct erasures *shared = (struct erasures *)(uintptr_t)erasures; /* the count is the one part that changes */
    if (shared != NULL) {
        atomic_fetch_add(&shared->references, 1);
    }
    return shared;
}

void erasures_unref(struct erasures *erasures)
{
    if (erasures != NULL && atomic_fetch_sub(&erasures->references, 1) == 1) {
        free(erasures);
    }
}

uint64_t erasures_find_user(const struct erasures *erasures, struct bytes user_id)
{
    if (erasures == NULL) {
        return 0;
    }
    const struct user_print user = user_print_of(user_id);
    const uint32_t place = place_after(erasures, user);
    const bool is_there = place != 0 && user_print_order(erasures->items[place - 1].user, user) == 0;
    return is_there ? erasures->items[place - 1].lsn : 0;
}

const struct erasure *erasures_find(const struct erasures *erasures, const struct uuid *receipt)
{
    for (uint32_t i = 0; erasures != NULL && i < erasures->count; i++) {
        if (uuid_equal(&erasures->items[i].receipt, receipt)) {
            return &erasures->items[i];
        }
    }
    return NULL;
}
