/* events_work.h: a request's events on their way into the log, whatever protocol they came by: parsed, written, counted.
 * In handle_events.c.
 */
#ifndef ASSAY_API_EVENTS_WORK_H
#define ASSAY_API_EVENTS_WORK_H

#include "api/event_parser.h"
#include "api/http.h"

struct events_work {
    struct event_batch batch;
    uint8_t *outcomes; /* one a record */
};

/* How the events of a request ended. */
struct events_tally {
    uint32_t applied;
    uint32_t duplicates;
    uint32_t mismatches; /* of the duplicates */
};

/* Parses into a frame of the call's arena that is large enough: event_batch_parse() says what comes back. */
MUST_USE enum status events_parse(struct call *call, enum event_body kind, struct bytes body, struct event_batch *batch);
/* Why a body was refused whole, as the problem that fits. */
void events_reply_unreadable(struct call *call, enum status status, struct event_batch *batch);
/* Submits the accepted ones, at least one. Where the engine refuses, the reply was made. */
void events_submit(struct call *call, struct events_work *work, void (*continuation)(struct call *call));
struct events_tally events_tally(const struct events_work *work);
/* Members "accepted", "duplicates", "rejected" and "errors" of an open object. */
void events_write_counts(struct json_writer *writer, const struct events_work *work);

#endif
