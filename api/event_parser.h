/* event_parser.h: the body of POST /events into a frame of event records: each event parsed once, checked once, encoded
 * once.
 *
 * Shapes       JSON: one event, an array of events, or {"events": [...]}; NDJSON: one event a line; msgpack: the shapes of
 *              JSON.
 * Bad events   are left out alone and noted with their index. A body that is not well-formed, or has another shape, is
 *              refused whole.
 * Memory       No allocation an event: records are encoded in the caller's frame; the arena is used for the list of the
 *              rejected ones, and as scratch for texts with escapes, given back after each event.
 */
#ifndef ASSAY_API_EVENT_PARSER_H
#define ASSAY_API_EVENT_PARSER_H

#include "api/json.h"
#include "engine/arena.h"
#include "engine/base.h"
#include "engine/catalog.h"
#include "engine/format.h"
#include "engine/limits.h"

/* The most that an event's record takes before its properties; frames need this much room to spare. */
#define EVENT_HEAD_MAX 640u

enum event_body {
    EVENT_BODY_JSON,
    EVENT_BODY_NDJSON,
    EVENT_BODY_MSGPACK,
};

struct event_rejection {
    uint32_t index; /* of the event in the body, from 0 */
    const char *code;
    const char *message;
};

struct event_batch {
    /* Set by the caller. */
    const struct catalog *catalog; /* values that a metric could not hold are refused */
    int64_t received_at_us;
    struct arena *arena;
    struct pack_writer frame;
    /* What was found. received == accepted + rejected. */
    uint32_t received;
    uint32_t accepted; /* records in the frame */
    uint32_t rejected;
    struct event_rejection *rejections; /* the first LIMIT_FIELD_ERRORS of them */
    uint32_t rejection_count;
    /* Why the body was refused as a whole. */
    const char *fault_code;
    const char *fault_message;
    /* The parser's own; `reader` names the place where fault_code is one of its faults. */
    struct json_reader reader;
    uint64_t *rejected_bits; /* one an event, NULL while none is rejected */
};

/* STATUS_OK: see the counts. STATUS_INVALID: not well-formed. STATUS_UNSUPPORTED: well-formed, but none of the shapes.
 * STATUS_TOO_LARGE: more than LIMIT_EVENTS_PER_REQUEST events. STATUS_NO_SPACE: the frame is too small.
 * STATUS_NO_MEMORY. */
MUST_USE enum status event_batch_parse(struct event_batch *batch, enum event_body kind,
                                       struct bytes body);

/* The index in the body of the event that became the frame's record of this number. */
uint32_t event_batch_index(const struct event_batch *batch, uint32_t record);

#endif
