/* traffic.c: see traffic.h. */
#include "api/traffic.h"

#include "api/routes.h"

#define CLASS_PUBLIC SCOPE_COUNT
#define CLASS_NONE   (SCOPE_COUNT + 1)

static const int refusal_statuses[TRAFFIC_REFUSALS] = {401, 403, 429, 503};

static size_t class_of(const struct route *route)
{
    if (route == NULL) {
        return CLASS_NONE;
    }
    return route->scope != 0 ? (size_t)__builtin_ctz(route->scope) : CLASS_PUBLIC;
}

void traffic_count(struct traffic *traffic, const struct route *route, int status, uint64_t duration_us)
{
    assert(status >= 200 && status < 600);
    tally_add(&traffic->duration_us[class_of(route)][status / 100 - 2], duration_us, TALLY_UNIT_US);
    for (size_t i = 0; status >= 400 && i < TRAFFIC_REFUSALS; i++) {
        if (refusal_statuses[i] == status) {
            atomic_fetch_add_explicit(&traffic->refusals[i], 1, memory_order_relaxed);
        }
    }
}

void traffic_read(const struct traffic *traffic, struct traffic_view *view)
{
    for (size_t i = 0; i < TRAFFIC_CLASSES; i++) {
        for (size_t j = 0; j < TRAFFIC_STATUSES; j++) {
            tally_read(&traffic->duration_us[i][j], &view->duration_us[i][j]);
        }
    }
    for (size_t i = 0; i < TRAFFIC_REFUSALS; i++) {
        view->refusals[i] += atomic_load_explicit(&traffic->refusals[i], memory_order_relaxed);
    }
}

const char *traffic_class_name(size_t class)
{
    assert(class < TRAFFIC_CLASSES);
    return class == CLASS_PUBLIC ? "public" : class == CLASS_NONE ? "none" : token_scope_name(1u << class);
}

int traffic_refusal_status(size_t slot)
{
    assert(slot < TRAFFIC_REFUSALS);
    return refusal_statuses[slot];
}
