/* event_ids.c: see event_ids.h. */
#include "engine/event_ids.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum status event_ids_init(struct event_ids *ids)
{
    memset(ids, 0, sizeof(*ids));
    enum status status = index_table_init(&ids->table, false);
    if (status == STATUS_OK) {
        status = pool_init(&ids->prints, sizeof(struct event_print));
    }
    if (status == STATUS_OK) {
        status = pool_init(&ids->bodies, sizeof(uint32_t));
    }
    if (status != STATUS_OK) {
        event_ids_deinit(ids);
    }
    return status;
}

void event_ids_deinit(struct event_ids *ids)
{
    index_table_deinit(&ids->table);
    pool_deinit(&ids->prints);
    pool_deinit(&ids->bodies);
}

struct event_print event_print_of(struct bytes event_id, uint64_t hash_seed)
{
    const XXH128_hash_t hash = XXH3_128bits_withSeed(event_id.data, event_id.size, hash_seed);
    return (struct event_print){hash.low64, hash.high64};
}

enum status event_ids_add(struct event_ids *ids, struct event_print print, uint32_t body,
                          enum event_ids_answer *out_answer)
{
    struct index_probe probe = index_probe_start(&ids->table, print.high);
    uint32_t number = index_probe_next(&probe);
    while (number != INDEX_NONE) {
        const struct event_print *seen = pool_at(&ids->prints, number);
        if (seen->low == print.low && seen->high == print.high) {
            const uint32_t *seen_body = pool_at(&ids->bodies, number);
            *out_answer = *seen_body == body ? EVENT_ID_SEEN : EVENT_ID_SEEN_OTHER_BODY;
            return STATUS_OK;
        }
        number = index_probe_next(&probe);
    }
    uint32_t body_number = 0;
    enum status status = pool_append(&ids->prints, &number);
    if (status == STATUS_OK) {
        status = pool_append(&ids->bodies, &body_number);
    }
    if (status == STATUS_OK) {
        *(struct event_print *)pool_at(&ids->prints, number) = print;
        *(uint32_t *)pool_at(&ids->bodies, body_number) = body;
        status = index_table_insert(&ids->table, print.high, number);
    }
    if (status == STATUS_OK) {
        *out_answer = EVENT_ID_NEW;
    }
    return status;
}

uint64_t event_ids_memory(const struct event_ids *ids)
{
    return index_table_memory(&ids->table) + pool_memory(&ids->prints) + pool_memory(&ids->bodies);
}
