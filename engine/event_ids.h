/* event_ids.h: which event ids were seen, so that each event counts once.
 *
 * An id is kept as a 128-bit XXH3 fingerprint under the store's secret seed, in the order of the log. Two different ids
 * of a billion collide with a probability below 2e-21; a match is therefore not confirmed against the log. Beside it lie
 * 32 bits of a hash of the body, to tell a retry from a reused id.
 *
 * Cost         20 bytes an id, plus 8 to 27 of index: one cache miss for a new id, two for a known one.
 * Threads      One.
 */
#ifndef ASSAY_ENGINE_EVENT_IDS_H
#define ASSAY_ENGINE_EVENT_IDS_H

#include "engine/base.h"
#include "engine/index_table.h"
#include "engine/pool.h"

struct event_print {
    uint64_t low;
    uint64_t high;
};

struct event_ids {
    struct index_table table;
    struct pool prints; /* struct event_print */
    struct pool bodies; /* uint32_t */
};

enum event_ids_answer {
    EVENT_ID_NEW,
    EVENT_ID_SEEN,
    EVENT_ID_SEEN_OTHER_BODY,
};

MUST_USE enum status event_ids_init(struct event_ids *ids);
void event_ids_deinit(struct event_ids *ids); /* a zeroed one is fine */
struct event_print event_print_of(struct bytes event_id, uint64_t hash_seed);

static inline void event_ids_prefetch(const struct event_ids *ids, struct event_print print)
{
    index_prefetch(&ids->table, print.high);
}

/* Adds a new id. */
MUST_USE enum status event_ids_add(struct event_ids *ids, struct event_print print, uint32_t body,
                                   enum event_ids_answer *out_answer);
uint64_t event_ids_memory(const struct event_ids *ids);

#endif
