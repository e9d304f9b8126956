/* vector.c: see vector.h. Blocks of days and events come in classes of doubling size, given back to a list a class. */
#include "engine/vector.h"

enum status vectors_init(struct vectors *vectors)
{
    memset(vectors, 0, sizeof(*vectors));
    enum status status = pool_init(&vectors->vectors, sizeof(struct vector));
    if (status == STATUS_OK) {
        status = pool_init(&vectors->boundaries, sizeof(struct boundary));
    }
    for (uint32_t class = 1; class < VECTOR_CLASSES && status == STATUS_OK; class++) {
        status = pool_init(&vectors->days[class], sizeof(struct vector_day) << class);
    }
    if (status != STATUS_OK) {
        vectors_deinit(vectors);
    }
    return status;
}

void vectors_deinit(struct vectors *vectors)
{
    pool_deinit(&vectors->vectors);
    pool_deinit(&vectors->boundaries);
    for (uint32_t class = 0; class < VECTOR_CLASSES; class++) {
        pool_deinit(&vectors->days[class]);
    }
}

uint64_t vectors_memory(const struct vectors *vectors)
{
    uint64_t bytes = pool_memory(&vectors->vectors) + pool_memory(&vectors->boundaries);
    for (uint32_t class = 1; class < VECTOR_CLASSES; class++) {
        bytes += pool_memory(&vectors->days[class]);
    }
    return bytes;
}

/* ---- vectors ---- */

struct vector *vector_find(const struct vectors *vectors, const struct user *user, uint32_t metric)
{
    for (uint32_t at = user->vectors; at != 0;) {
        struct vector *vector = pool_at(&vectors->vectors, at - 1);
        if (vector->metric == metric) {
            return vector;
        }
        at = vector->next;
    }
    return NULL;
}

/* The class of blocks that holds `count` days: 2^class >= count; 0 is the place inside the vector. */
static uint32_t class_of(uint32_t count)
{
    return count <= 1 ? 0 : 32u - (uint32_t)__builtin_clz(count - 1);
}

struct vector_day *vector_days(const struct vectors *vectors, const struct vector *vector)
{
    if (vector->count <= 1) {
        return (struct vector_day *)(uintptr_t)&vector->inside;
    }
    return pool_at(&vectors->days[class_of(vector->count)], vector->block);
}

struct vector_event *vector_events(const struct vectors *vectors, const struct vector *vector)
{
    if (vector->count <= 1) {
        return (struct vector_event *)(uintptr_t)&vector->inside_event;
    }
    return pool_at(&vectors->days[class_of(vector->count)], vector->block);
}

static enum status block_take(struct vectors *vectors, uint32_t class, uint32_t *out_block)
{
    if (class >= VECTOR_CLASSES) {
        return STATUS_TOO_LARGE;
    }
    if (vectors->free_days[class] != 0) {
        const uint32_t block = vectors->free_days[class] - 1;
        memcpy(&vectors->free_days[class], pool_at(&vectors->days[class], block), sizeof(uint32_t));
        *out_block = block;
        return STATUS_OK;
    }
    return pool_append(&vectors->days[class], out_block);
}

static void block_give(struct vectors *vectors, uint32_t class, uint32_t block)
{
    memcpy(pool_at(&vectors->days[class], block), &vectors->free_days[class], sizeof(uint32_t));
    vectors->free_days[class] = block + 1;
}

/* Makes room for one more day or event at `place`: what is there is left as it is. */
enum status vector_insert(struct vectors *vectors, struct vector *vector, uint32_t place)
{
    const uint32_t old_class = class_of(vector->count);
    const uint32_t class = class_of(vector->count + 1);
    struct vector_day *days = vector_days(vectors, vector);
    if (vector->count >= 1 && class != old_class) {
        uint32_t block = 0;
        const enum status status = block_take(vectors, class, &block);
        if (status != STATUS_OK) {
            return status;
        }
        struct vector_day *grown = pool_at(&vectors->days[class], block);
        memcpy(grown, days, vector->count * sizeof(*grown));
        if (old_class != 0) {
            block_give(vectors, old_class, vector->block);
        }
        vector->block = block;
        days = grown;
    }
    memmove(days + place + 1, days + place, (vector->count - place) * sizeof(*days));
    vector->count++;
    return STATUS_OK;
}

enum status vector_make(struct vectors *vectors, struct user *user, uint32_t metric, bool has_events, uint32_t count,
                        struct vector **out_vector)
{
    uint32_t number = 0;
    enum status status = pool_append(&vectors->vectors, &number);
    if (status != STATUS_OK) {
        return status;
    }
    struct vector *vector = pool_at(&vectors->vectors, number);
    vector->metric = metric & 0x3fffffffu;
    vector->has_events = has_events;
    if (count > 1) {
        status = block_take(vectors, class_of(count), &vector->block);
    }
    if (status == STATUS_OK) {
        vector->count = count;
        vector->next = user->vectors;
        user->vectors = number + 1;
        *out_vector = vector;
    }
    return status;
}

/* Where a day is, or belongs: events mostly come in order, so look from the end. */
uint32_t vector_day_place(const struct vector_day *days, uint32_t count, int32_t day)
{
    uint32_t place = count;
    while (place > 0 && days[place - 1].day >= day) {
        place--;
    }
    return place;
}

/* How many events lie before (moment, value), by moment first. Most come in order, so the end is looked at first. */
uint32_t vector_event_place(const struct vector_event *events, uint32_t count, int64_t timestamp_us, int64_t value)
{
    uint32_t low = 0;
    uint32_t high = count;
    uint32_t middle = count - 1;
    while (low < high) {
        const struct vector_event *event = &events[middle];
        const bool is_before = event->timestamp_us != timestamp_us ? event->timestamp_us < timestamp_us : event->value < value;
        if (is_before) {
            low = middle + 1;
        } else {
            high = middle;
        }
        middle = low + (high - low) / 2;
    }
    return low;
}

/* A full vector takes no more, and is known by that: its metric then has no numbers rather than wrong ones. */
enum status vector_keep(struct vectors *vectors, struct vector *vector, int64_t timestamp_us, int64_t value)
{
    if (vector->count == LIMIT_KEPT_EVENTS) {
        return STATUS_OK;
    }
    const uint32_t place = vector_event_place(vector_events(vectors, vector), vector->count, timestamp_us, value);
    const enum status status = vector_insert(vectors, vector, place);
    if (status == STATUS_OK) {
        vector_events(vectors, vector)[place] = (struct vector_event){timestamp_us, value};
    }
    return status;
}

void vector_clear(struct vectors *vectors, struct vector *vector, bool has_events)
{
    if (vector->count > 1) {
        block_give(vectors, class_of(vector->count), vector->block);
    }
    vector->count = 0;
    vector->is_mixed = false;
    vector->has_events = has_events;
}

/* ---- boundaries ---- */

struct boundary *boundary_find(const struct vectors *vectors, const struct enrolment *enrolment, uint32_t metric)
{
    for (uint32_t at = enrolment->boundary; at != 0;) {
        struct boundary *boundary = pool_at(&vectors->boundaries, at - 1);
        if (boundary->metric == metric) {
            return boundary;
        }
        at = boundary->next;
    }
    return NULL;
}

enum status boundary_set(struct vectors *vectors, struct enrolment *enrolment, uint32_t metric, uint32_t count,
                                int64_t sum)
{
    struct boundary *boundary = boundary_find(vectors, enrolment, metric);
    if (boundary == NULL) {
        uint32_t number = 0;
        const enum status status = pool_append(&vectors->boundaries, &number);
        if (status != STATUS_OK) {
            return status;
        }
        boundary = pool_at(&vectors->boundaries, number);
        boundary->metric = metric;
        boundary->next = enrolment->boundary;
        enrolment->boundary = number + 1;
    }
    boundary->count = count;
    boundary->sum = sum;
    return STATUS_OK;
}

enum status boundary_add(struct vectors *vectors, struct enrolment *enrolment, uint32_t metric, int64_t value)
{
    const struct boundary *boundary = boundary_find(vectors, enrolment, metric);
    const uint32_t count = boundary != NULL ? boundary->count : 0;
    const uint64_t sum = boundary != NULL ? (uint64_t)boundary->sum : 0;
    return boundary_set(vectors, enrolment, metric, count + 1, (int64_t)(sum + (uint64_t)value));
}
