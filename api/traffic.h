/* traffic.h: the requests of one loop, counted: how many, of which kind, how answered, how long they took.
 *
 * Class     A request's kind is the scope that its route asks for: few, and they tell reading from writing.
 * Duration  From the moment the whole request was there to the reply's being handed to the network. What the client needs to
 *           send and to receive is not in it.
 * Threads   One writer, the loop; any thread reads. See tally.h.
 */
#ifndef ASSAY_API_TRAFFIC_H
#define ASSAY_API_TRAFFIC_H

#include "api/http.h"
#include "engine/tally.h"

#define TRAFFIC_CLASSES  (SCOPE_COUNT + 2) /* the scopes, "public", and "none" for what has no route */
#define TRAFFIC_STATUSES 4                 /* 2xx to 5xx */

/* Answers that say the server would not, not that the request was wrong. */
#define TRAFFIC_REFUSALS 4

struct traffic {
    struct tally duration_us[TRAFFIC_CLASSES][TRAFFIC_STATUSES];
    atomic_uint_least64_t refusals[TRAFFIC_REFUSALS];
};

struct traffic_view {
    struct tally_view duration_us[TRAFFIC_CLASSES][TRAFFIC_STATUSES];
    uint64_t refusals[TRAFFIC_REFUSALS];
};

/* route: NULL for what has none. */
void traffic_count(struct traffic *traffic, const struct route *route, int status, uint64_t duration_us);
/* Adds what is there to a view. */
void traffic_read(const struct traffic *traffic, struct traffic_view *view);

/* "events:write" */
const char *traffic_class_name(size_t class);
/* The status of a slot of `refusals`. */
int traffic_refusal_status(size_t slot);

#endif
