/* users.h: the people: one entry a user id, with the assignments made to it.
 *
 * A user's number is its place in the order of first appearance in the log, so it is the same after a replay. An
 * enrolment is one assignment: immutable once published, but for the writer's own counters.
 *
 * Cost         a lookup is two cache misses (slot, user), three where the id is longer than USER_ID_INSIDE. 64 bytes a
 *              user, 56 an enrolment, plus the ids that are longer.
 * Threads      One writer. user_find() and enrolment_find() are lock-free for any thread; of an enrolment they may read
 *              the fields above the line.
 */
#ifndef ASSAY_ENGINE_USERS_H
#define ASSAY_ENGINE_USERS_H

#include "engine/base.h"
#include "engine/index_table.h"
#include "engine/pool.h"
#include "engine/user_set.h"

/* An id up to so long lies inside its user: a UUID as text does. */
#define USER_ID_INSIDE 36u

/* One cache line: an event's lookup touches no other of the user's, where the id lies inside. */
struct user {
    int64_t last_timestamp_us;   /* greatest of its events; INT64_MIN without */
    uint32_t events;     /* received, duplicates left out */
    uint32_t duplicates;
    _Atomic uint32_t enrolments; /* newest, number + 1; 0: none */
    uint32_t vectors;            /* head of the list in rollup.c, number + 1; 0: none */
    uint8_t dirty; /* the epoch of exports in which it changed, 1 or 2; 0: exported as it is */
    bool pending; /* has enrolments whose past is still to be read from the log */
    atomic_bool is_erased; /* found by nobody any more; has neither events nor assignments */
    uint8_t id_size;
    uint8_t id[USER_ID_INSIDE]; /* the id, or a pointer to it: user_id() knows */
};

static_assert(sizeof(struct user) == 64, "a user is one cache line");

struct enrolment {
    uint32_t experiment;
    uint32_t version;
    uint16_t variant;
    bool forced;
    uint32_t next; /* of the same user, number + 1; 0: none */
    int64_t assigned_at_us;
    uint64_t lsn;
    /* ---- below: the writer's alone ---- */
    bool pending;
    uint32_t user;
    uint32_t before;  /* the user's events with a timestamp before assigned_at_us */
    uint32_t counted; /* the user's events from then on that feed a metric */
    uint32_t boundary; /* list of struct boundary in rollup.c, number + 1; 0: none */
    uint32_t profile;  /* the attributes it came with, see attributes.h */
};

struct users {
    struct index_table table;
    struct pool users;
    struct pool enrolments;
    uint32_t erased;     /* of the users */
    uint64_t hash_seed;
    uint8_t *text;       /* chunk that longer ids are copied into */
    size_t text_left;
    uint8_t **text_chunks;
    uint32_t text_chunk_count;
};

MUST_USE enum status users_init(struct users *users, uint64_t hash_seed);
void users_deinit(struct users *users); /* a zeroed one is fine */

uint64_t user_hash_of(struct bytes id, uint64_t hash_seed);
uint64_t user_hash(const struct users *users, struct bytes id); /* the same with the seed of its store */
/* The user's number, or INDEX_NONE. hash is user_hash() of the id. */
uint32_t user_find(const struct users *users, struct bytes id, uint64_t hash);
/* The same by the print of its id. */
uint32_t user_find_print(const struct users *users, struct user_print print, uint64_t hash);
/* Takes the user out of what is found, and its assignments from it. */
void user_erase(struct users *users, uint32_t user);
/* For loading: adds one that was erased. */
MUST_USE enum status user_add_erased(struct users *users);
/* The same as user_find(), adding it where it is new. */
MUST_USE enum status user_find_or_add(struct users *users, struct bytes id, uint64_t hash, uint32_t *out_user);

static inline struct user *user_at(const struct users *users, uint32_t user)
{
    return pool_at(&users->users, user);
}

static inline struct enrolment *enrolment_at(const struct users *users, uint32_t enrolment)
{
    return pool_at(&users->enrolments, enrolment);
}

/* Valid as long as `users`. */
static inline struct bytes user_id(const struct user *user)
{
    if (LIKELY(user->id_size <= USER_ID_INSIDE)) {
        return bytes_of(user->id, user->id_size);
    }
    const uint8_t *outside = NULL;
    memcpy(&outside, user->id, sizeof(outside));
    return bytes_of(outside, user->id_size);
}

/* The enrolment of a user in an experiment that followed one of these versions (both included), or NULL. */
struct enrolment *enrolment_find(const struct users *users, uint32_t user, uint32_t experiment, uint32_t first_version,
                                 uint32_t last_version);
/* Adds one, copied from `enrolment` (its `next` is set here), and publishes it. */
MUST_USE enum status enrolment_add(struct users *users, const struct enrolment *enrolment, uint32_t *out_enrolment);
uint64_t users_memory(const struct users *users);

#endif
