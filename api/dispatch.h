/* dispatch.h: the way of a request, as it came, to its handler. */
#ifndef ASSAY_API_DISPATCH_H
#define ASSAY_API_DISPATCH_H

#include "api/http.h"

/* A request as it came, borrowed until call_run() returns. Absent headers are empty. */
struct call_input {
    struct bytes method;
    struct bytes target; /* path and query */
    struct bytes body;   /* as sent */
    bool body_is_padded; /* JSON_PADDING readable bytes follow it */
    struct bytes authorization;
    struct bytes content_type;
    struct bytes content_encoding;
    struct bytes accept;
    struct bytes if_match;
    struct bytes if_none_match;
    struct bytes idempotency_key;
    struct bytes last_event_id;    /* Last-Event-ID */
    struct bytes api_key;          /* X-API-Key */
    struct bytes origin;           /* of the page that a browser calls for */
    struct bytes preflight_method; /* Access-Control-Request-Method */
    struct bytes request_id;       /* X-Request-Id */
    struct bytes trace_parent;     /* traceparent */
    uint32_t authorization_count;
    uint32_t header_count;
    size_t head_size;          /* request line and headers */
    const char *framing_fault; /* what is wrong with the head as a whole; NULL where nothing is */
};

/* Takes a fresh call (arena, api and catalog set) through every check in the order of the list in dispatch.c, then to
 * its handler. */
void call_run(struct call *call, const struct call_input *input);

#endif
