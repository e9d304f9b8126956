/* trace.h: what assayd says while it runs, on stderr: for the people who operate it, or for the program that collects it.
 *
 * A line is a note about the server as a whole, or one request. As text it begins with "assayd: "; as JSON it is an object.
 * A request's line names its route and its token, never a secret, a user or what else its path and body say.
 *
 * Threads  Any. A line is one write. Lines about requests never wait for whoever reads stderr: what finds no room is
 *          dropped and counted.
 */
#ifndef ASSAY_API_TRACE_H
#define ASSAY_API_TRACE_H

#include "api/http.h"

enum trace_format {
    TRACE_TEXT,
    TRACE_JSON,
};

/* Which requests get a line. */
enum trace_requests {
    TRACE_NO_REQUESTS,
    TRACE_FAILED_REQUESTS, /* answered 5xx, or after more than a second */
    TRACE_ALL_REQUESTS,
};

/* Without it: text, failed requests. The format is for good; which requests may be said again at any time. */
void trace_begin(enum trace_format format, enum trace_requests requests);
void trace_note(const char *format, ...) PRINTF_LIKE(1, 2);

/* Does a request with this end get a line? */
bool trace_wants(int status, uint64_t duration_us);
/* A request that has got its reply. `address` is the client's. */
void trace_request(struct call *call, const char *address, uint64_t duration_us);
uint64_t trace_dropped(void);

/* Request ids. A client's own is kept where it is 1 to 64 characters of letters, digits and "-_.:/=+"; so is the
 * `traceparent` of W3C Trace Context. Without one, an id is made. */
void trace_identify(struct call *call, struct bytes request_id, struct bytes parent);

#endif
