/* vector.h: what a user did of one metric, day by day or event by event, and the part of an assignment's day that lies before it.
 * What they mean is in rollup.h.
 *
 * Cost         48 bytes a vector with one day or event, then 16 a day or event in blocks of doubling size.
 * Threads      One.
 */
#ifndef ASSAY_ENGINE_VECTOR_H
#define ASSAY_ENGINE_VECTOR_H

#include "engine/base.h"
#include "engine/limits.h"
#include "engine/pool.h"
#include "engine/users.h"

#define VECTOR_CLASSES 23u /* capacities 1 (inside the vector), 2, 4, ... 2^22 days or events */

static_assert(LIMIT_KEPT_EVENTS == 1u << (VECTOR_CLASSES - 1), "the longest vector is of the last class");

struct vector_day {
    int32_t day;
    uint32_t count;
    int64_t sum; /* millionths, modulo 2^64 */
};

struct vector_event {
    int64_t timestamp_us;
    int64_t value; /* millionths */
};

static_assert(sizeof(struct vector_event) == sizeof(struct vector_day), "they share their blocks");
struct vector {
    uint32_t metric : 30;
    uint32_t is_mixed : 1;   /* a value was negative, or a day's sum went beyond 63 bits: the sums do not tell the magnitude */
    uint32_t has_events : 1; /* in the place of days */
    uint32_t next; /* of the same user, number + 1; 0: none */
    uint32_t count; /* of days in ascending order, or of events by moment and value; at LIMIT_KEPT_EVENTS some are missing */
    uint32_t block; /* number in days[class], where there is more than one */
    union { /* the only one, where there is one */
        struct vector_day inside;
        struct vector_event inside_event;
    };
};

struct boundary {
    uint32_t metric;
    uint32_t next; /* of the same enrolment, number + 1; 0: none */
    uint32_t count;
    int64_t sum;
};

struct vectors {
    struct pool vectors;
    struct pool boundaries;
    struct pool days[VECTOR_CLASSES];   /* blocks of 2^class days or events */
    uint32_t free_days[VECTOR_CLASSES]; /* lists of given-back blocks, number + 1 */
};

MUST_USE enum status vectors_init(struct vectors *vectors);
void vectors_deinit(struct vectors *vectors); /* a zeroed one is fine */
uint64_t vectors_memory(const struct vectors *vectors);

/* The user's vector of a metric, or NULL; and its days or events. */
struct vector *vector_find(const struct vectors *vectors, const struct user *user, uint32_t metric);
struct vector_day *vector_days(const struct vectors *vectors, const struct vector *vector);
struct vector_event *vector_events(const struct vectors *vectors, const struct vector *vector);
/* A new one, of so many days or events that the caller fills. */
MUST_USE enum status vector_make(struct vectors *vectors, struct user *user, uint32_t metric, bool has_events, uint32_t count,
                                 struct vector **out_vector);
/* Where a day is or belongs; where the events begin that are not before (moment, value). */
uint32_t vector_day_place(const struct vector_day *days, uint32_t count, int32_t day);
uint32_t vector_event_place(const struct vector_event *events, uint32_t count, int64_t timestamp_us, int64_t value);
/* Makes room for one more day or event at `place`: what is there is left as it is. */
MUST_USE enum status vector_insert(struct vectors *vectors, struct vector *vector, uint32_t place);
/* Adds an event. A full vector takes no more, and is known by that: its metric then has no numbers rather than wrong ones. */
MUST_USE enum status vector_keep(struct vectors *vectors, struct vector *vector, int64_t timestamp_us, int64_t value);
/* Empties it, to be filled with events or days from now on. */
void vector_clear(struct vectors *vectors, struct vector *vector, bool has_events);

struct boundary *boundary_find(const struct vectors *vectors, const struct enrolment *enrolment, uint32_t metric); /* or NULL */
MUST_USE enum status boundary_set(struct vectors *vectors, struct enrolment *enrolment, uint32_t metric, uint32_t count, int64_t sum);
/* One more event. */
MUST_USE enum status boundary_add(struct vectors *vectors, struct enrolment *enrolment, uint32_t metric, int64_t value);

#endif
